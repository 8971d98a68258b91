//! A configuration as a tree of values that know where they came from.
//!
//! Reading is strict. A [`Section`] remembers which keys it was asked for, and
//! [`Section::finish`] refuses whatever else is there, with the nearest key
//! that exists. So a key is declared in one place, the line that reads it, and
//! none can be forgotten. The same record says which keys there are and what
//! is in force ([`Setting`]).
//!
//! Errors name the file and line (or the variable or flag) and the key's full
//! path. A derived reader could do neither for values that were overridden.

use super::value::{Show, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file, counted from 1.
    File {
        /// The file, as it was named.
        file: Arc<Path>,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A flag or argument of the command line.
    Flag(&'static str),
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it came from.
    pub origin: Origin,
    /// The value.
    pub value: Value,
}

/// A table of values.
pub type Table = BTreeMap<String, Node>;

/// A configuration that was read but not yet interpreted.
#[derive(Debug)]
pub struct Document {
    root: Node,
    settings: RefCell<Vec<Setting>>,
}

/// A key that was asked for, and what is in force for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key's full path: `store.url`.
    pub key: String,
    /// The value as TOML; `None` if there is neither a value nor a default.
    pub value: Option<String>,
    /// Where it came from; `None` for a default.
    pub origin: Option<Origin>,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there but cannot be read, or is not there.
    #[error("cannot read `{}`", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{origin}: {message}")]
    Syntax {
        /// Where.
        origin: Origin,
        /// What the parser says.
        message: String,
    },
    /// A value is wrong, missing or unknown.
    #[error("{origin}: {message}")]
    Wrong {
        /// Where.
        origin: Origin,
        /// Which key, and why.
        message: String,
        /// What to do about it, if we know.
        hint: Option<String>,
    },
}

/// One table of a [`Document`] while it is read.
#[derive(Debug)]
pub struct Section<'a> {
    document: &'a Document,
    path: String,
    origin: Origin,
    table: Option<&'a Table>,
    asked: RefCell<Vec<&'static str>>,
}

/// How different an unknown key may be from the one that was probably meant.
const SIMILARITY_MIN: f64 = 0.6;

// === impl Document ===

impl Document {
    /// A document without any value. Errors about what is missing in it name
    /// `origin`.
    pub fn empty(origin: Origin) -> Self {
        Self::of(origin, Table::new())
    }

    /// Reads a file.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Unreadable {
            file: file.to_owned(),
            source,
        })?;
        Self::parse(file, &text)
    }

    /// Parses what `file` contains.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let source = Source {
            file: file.into(),
            text,
        };
        let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            origin: source.at(error.span().map_or(0, |it| it.start)),
            message: error.message().replace('\n', ", "),
        })?;
        let table = source.table(table.get_ref())?;
        Ok(Self::of(source.at(0), table))
    }

    /// Puts a value at `section.key`, over what is there.
    pub fn set(&mut self, section: &str, key: &str, node: Node) {
        let Value::Table(root) = &mut self.root.value else {
            return;
        };
        let parent = root.entry(section.to_owned()).or_insert_with(|| Node {
            origin: node.origin.clone(),
            value: Value::Table(Table::new()),
        });
        // Something that is not a table stays, and is refused when it is read.
        if let Value::Table(table) = &mut parent.value {
            table.insert(key.to_owned(), node);
        }
    }

    /// The outermost table.
    pub fn root(&self) -> Section<'_> {
        Section {
            document: self,
            path: String::new(),
            origin: self.root.origin.clone(),
            table: match &self.root.value {
                Value::Table(table) => Some(table),
                _ => None,
            },
            asked: RefCell::default(),
        }
    }

    /// Every key that was asked for so far, in that order.
    pub fn settings(&self) -> Vec<Setting> {
        self.settings.borrow().clone()
    }

    fn of(origin: Origin, table: Table) -> Self {
        Self {
            root: Node {
                origin,
                value: Value::Table(table),
            },
            settings: RefCell::default(),
        }
    }
}

// === impl Section ===

impl<'a> Section<'a> {
    /// The value of `key`, or `default`.
    pub fn or<T: Show>(
        &self,
        key: &'static str,
        read: impl Fn(&Value) -> Result<T, String>,
        default: T,
    ) -> Result<T, ConfigError> {
        let (value, origin) = match self.take(key, &read)? {
            Some((value, origin)) => (value, Some(origin)),
            None => (default, None),
        };
        self.record(key, Some(value.show()), origin);
        Ok(value)
    }

    /// The value of `key`, if there is one.
    pub fn optional<T: Show>(
        &self,
        key: &'static str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let taken = self.take(key, &read)?;
        let (shown, origin) = match &taken {
            Some((value, origin)) => (Some(value.show()), Some(origin.clone())),
            None => (None, None),
        };
        self.record(key, shown, origin);
        Ok(taken.map(|(value, _)| value))
    }

    /// The value of `key`, which must be there.
    pub fn required<T: Show>(
        &self,
        key: &'static str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        self.optional(key, read)?
            .ok_or_else(|| self.wrong(key, "is missing", None))
    }

    /// Where the value of `key` came from, if there is one.
    pub fn origin_of(&self, key: &str) -> Option<&'a Origin> {
        self.table?.get(key).map(|it| &it.origin)
    }

    /// Where this table is.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The table `key`; without one, an empty table.
    pub fn section(&self, key: &'static str) -> Result<Section<'a>, ConfigError> {
        self.ask(key);
        match self.table.and_then(|it| it.get(key)) {
            None => Ok(self.child(self.path_of(key), self.origin.clone(), None)),
            Some(node) => self.table_at(self.path_of(key), node),
        }
    }

    /// The table `key`, if there is one.
    pub fn optional_section(&self, key: &'static str) -> Result<Option<Section<'a>>, ConfigError> {
        let section = self.section(key)?;
        Ok(section.table.is_some().then_some(section))
    }

    /// The tables in the array `key`.
    pub fn sections(&self, key: &'static str) -> Result<Vec<Section<'a>>, ConfigError> {
        self.ask(key);
        let Some(node) = self.table.and_then(|it| it.get(key)) else {
            return Ok(Vec::new());
        };
        let Value::Array(items) = &node.value else {
            return Err(self.wrong(key, format!("must be written `[[{key}]]`"), None));
        };
        let items = items.iter().enumerate();
        items
            .map(|(index, node)| self.table_at(format!("{}[{index}]", self.path_of(key)), node))
            .collect()
    }

    /// The tables inside the table `key`, whose names are free.
    pub fn named_sections(
        &self,
        key: &'static str,
    ) -> Result<Vec<(&'a str, Section<'a>)>, ConfigError> {
        let outer = self.section(key)?;
        let entries = outer.table.into_iter().flatten();
        entries
            .map(|(name, node)| Ok((name.as_str(), outer.table_at(outer.path_of(name), node)?)))
            .collect()
    }

    /// Refuses `key`, which a later version will know.
    pub fn not_yet(&self, key: &'static str) -> Result<(), ConfigError> {
        match self.table.and_then(|it| it.get(key)) {
            None => Ok(()),
            Some(_) => Err(self.wrong(key, "is not served by this version yet", None)),
        }
    }

    /// An error about `key` of this table, and why; the reason follows the
    /// key's name: `is empty`.
    pub fn wrong(&self, key: &str, why: impl fmt::Display, hint: Option<String>) -> ConfigError {
        ConfigError::Wrong {
            origin: self.origin_of(key).unwrap_or(&self.origin).clone(),
            message: format!("`{}` {why}", self.path_of(key)),
            hint,
        }
    }

    /// Refuses keys that nobody asked for.
    pub fn finish(self) -> Result<(), ConfigError> {
        let asked = self.asked.borrow();
        let unknown = self
            .table
            .into_iter()
            .flat_map(BTreeMap::keys)
            .find(|key| !asked.contains(&key.as_str()));
        match unknown {
            None => Ok(()),
            Some(key) => Err(ConfigError::Wrong {
                origin: self.origin_of(key).unwrap_or(&self.origin).clone(),
                message: format!("unknown key `{}`", self.path_of(key)),
                hint: Some(match nearest(key, asked.iter().copied()) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => format!("known here: {}", asked.join(", ")),
                }),
            }),
        }
    }

    fn take<T>(
        &self,
        key: &'static str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<Option<(T, Origin)>, ConfigError> {
        self.ask(key);
        let Some(node) = self.table.and_then(|it| it.get(key)) else {
            return Ok(None);
        };
        let value = read(&node.value).map_err(|why| self.wrong(key, why, None))?;
        Ok(Some((value, node.origin.clone())))
    }

    fn table_at(&self, path: String, node: &'a Node) -> Result<Section<'a>, ConfigError> {
        match &node.value {
            Value::Table(table) => Ok(self.child(path, node.origin.clone(), Some(table))),
            other => Err(ConfigError::Wrong {
                origin: node.origin.clone(),
                message: format!("`{path}` must be a table, not {}", other.kind()),
                hint: None,
            }),
        }
    }

    fn child(&self, path: String, origin: Origin, table: Option<&'a Table>) -> Section<'a> {
        Section {
            document: self.document,
            path,
            origin,
            table,
            asked: RefCell::default(),
        }
    }

    fn ask(&self, key: &'static str) {
        self.asked.borrow_mut().push(key);
    }

    fn record(&self, key: &str, value: Option<String>, origin: Option<Origin>) {
        self.document.settings.borrow_mut().push(Setting {
            key: self.path_of(key),
            value,
            origin,
        });
    }

    fn path_of(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }
}

// === impl Origin ===

impl Origin {
    /// What relative paths in a value from here are relative to: the directory
    /// of a file; the working directory for the rest.
    pub fn resolve(&self, path: PathBuf) -> PathBuf {
        match self {
            Self::File { file, .. } => match file.parent() {
                Some(parent) => parent.join(path),
                None => path,
            },
            Self::Variable(_) | Self::Flag(_) => path,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "command line, {flag}"),
        }
    }
}

// === impl ConfigError ===

impl ConfigError {
    /// What to do about it, if we know.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Wrong { hint, .. } => hint.as_deref(),
            Self::Unreadable { .. } | Self::Syntax { .. } => None,
        }
    }
}

/// The one of `known` that `word` was probably meant to be.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    known
        .into_iter()
        .map(|it| (strsim::normalized_damerau_levenshtein(word, it), it))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, it)| it)
}

/// A file while it is turned into a [`Document`].
struct Source<'a> {
    file: Arc<Path>,
    text: &'a str,
}

impl Source<'_> {
    fn at(&self, offset: usize) -> Origin {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        Origin::File {
            file: self.file.clone(),
            line: 1 + before.iter().filter(|it| **it == b'\n').count(),
        }
    }

    fn table(&self, table: &DeTable<'_>) -> Result<Table, ConfigError> {
        let entries = table.iter();
        entries
            .map(|(key, value)| {
                let origin = self.at(key.span().start);
                let value = self.value(value.get_ref(), &origin)?;
                Ok((key.get_ref().to_string(), Node { origin, value }))
            })
            .collect()
    }

    fn value(&self, value: &DeValue<'_>, origin: &Origin) -> Result<Value, ConfigError> {
        Ok(match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(it) => Value::Boolean(*it),
            DeValue::Integer(it) => match i64::from_str_radix(it.as_str(), it.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => {
                    return Err(ConfigError::Syntax {
                        origin: origin.clone(),
                        message: format!("the number {it} is too large"),
                    });
                }
            },
            DeValue::Float(it) => Value::Other(it.as_str().to_owned()),
            DeValue::Datetime(it) => Value::Other(it.to_string()),
            DeValue::Table(it) => Value::Table(self.table(it)?),
            DeValue::Array(items) => {
                let items = items.iter().map(|item| {
                    let origin = self.at(item.span().start);
                    let value = self.value(item.get_ref(), &origin)?;
                    Ok(Node { origin, value })
                });
                Value::Array(items.collect::<Result<_, ConfigError>>()?)
            }
        })
    }
}

#[cfg(test)]
mod tests;
