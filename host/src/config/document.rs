//! A configuration as a tree of values that know where they came from.
//!
//! Errors name the file and line, or the variable or flag, and the key's full
//! path. A derived reader could do neither for values that were overridden.
//! [`Section`] reads a document strictly.

use super::section::Section;
use super::value::Value;
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
pub struct Entry {
    /// Where it came from.
    pub origin: Origin,
    /// The value.
    pub value: Value,
}

/// A table of values.
pub type Table = BTreeMap<String, Entry>;

/// A configuration that was read but not yet interpreted.
#[derive(Debug)]
pub struct Document {
    root: Entry,
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
    pub fn set(&mut self, section: &str, key: &str, entry: Entry) {
        self.set_within(&[section], key, entry);
    }

    /// Puts a value into the table that is at the end of `path`, over what is
    /// there.
    pub fn set_within(&mut self, path: &[&str], key: &str, entry: Entry) {
        let mut parent = &mut self.root;
        for name in path {
            let Value::Table(table) = &mut parent.value else {
                // It stays, and is refused when it is read.
                return;
            };
            parent = table.entry((*name).to_owned()).or_insert_with(|| Entry {
                origin: entry.origin.clone(),
                value: Value::Table(Table::new()),
            });
        }
        if let Value::Table(table) = &mut parent.value {
            table.insert(key.to_owned(), entry);
        }
    }

    /// The outermost table.
    pub fn root(&self) -> Section<'_> {
        let table = match &self.root.value {
            Value::Table(table) => Some(table),
            _ => None,
        };
        Section::outermost(self, self.root.origin.clone(), table)
    }

    /// Every key that was asked for so far, in that order.
    pub fn settings(&self) -> Vec<Setting> {
        self.settings.borrow().clone()
    }

    /// Takes note of a key that was asked for.
    pub(super) fn record(&self, setting: Setting) {
        self.settings.borrow_mut().push(setting);
    }

    fn of(origin: Origin, table: Table) -> Self {
        Self {
            root: Entry {
                origin,
                value: Value::Table(table),
            },
            settings: RefCell::default(),
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
                Ok((key.get_ref().to_string(), Entry { origin, value }))
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
                    Ok(Entry { origin, value })
                });
                Value::Array(items.collect::<Result<_, ConfigError>>()?)
            }
        })
    }
}
