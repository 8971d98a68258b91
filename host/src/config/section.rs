//! Strict reading of one table.
//!
//! A [`Section`] remembers which keys it was asked for, and
//! [`Section::finish`] refuses whatever else is there, with the nearest key
//! that exists. So a key is declared in one place, the line that reads it, and
//! none can be forgotten. The same record says which keys there are and what
//! is in force ([`Setting`]).

use super::document::{ConfigError, Document, Entry, Origin, Setting, Table};
use super::value::{Show, Value};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

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

impl<'a> Section<'a> {
    /// The outermost table of `document`.
    pub(super) fn outermost(
        document: &'a Document,
        origin: Origin,
        table: Option<&'a Table>,
    ) -> Self {
        Self {
            document,
            path: String::new(),
            origin,
            table,
            asked: RefCell::default(),
        }
    }

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
            Some(entry) => self.table_at(self.path_of(key), entry),
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
        let Some(entry) = self.table.and_then(|it| it.get(key)) else {
            return Ok(Vec::new());
        };
        let Value::Array(items) = &entry.value else {
            return Err(self.wrong(key, format!("must be written `[[{key}]]`"), None));
        };
        let items = items.iter().enumerate();
        items
            .map(|(index, entry)| self.table_at(format!("{}[{index}]", self.path_of(key)), entry))
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
            .map(|(name, entry)| Ok((name.as_str(), outer.table_at(outer.path_of(name), entry)?)))
            .collect()
    }

    /// Every value of this table, whose keys are free, and where it came from.
    pub fn values<T: Show>(
        &self,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<Vec<(&'a str, T, &'a Origin)>, ConfigError> {
        let entries = self.table.into_iter().flatten();
        entries
            .map(|(key, entry)| {
                let value = read(&entry.value).map_err(|why| self.wrong(key, why, None))?;
                self.record(key, Some(value.show()), Some(entry.origin.clone()));
                Ok((key.as_str(), value, &entry.origin))
            })
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
        let Some(entry) = self.table.and_then(|it| it.get(key)) else {
            return Ok(None);
        };
        let value = read(&entry.value).map_err(|why| self.wrong(key, why, None))?;
        Ok(Some((value, entry.origin.clone())))
    }

    fn table_at(&self, path: String, entry: &'a Entry) -> Result<Section<'a>, ConfigError> {
        match &entry.value {
            Value::Table(table) => Ok(self.child(path, entry.origin.clone(), Some(table))),
            other => Err(ConfigError::Wrong {
                origin: entry.origin.clone(),
                message: match other {
                    // Where a table belongs it may be anything, a secret too.
                    Value::Text(_) | Value::Untyped(_) => {
                        format!("`{path}` must be a table, not text")
                    }
                    other => format!("`{path}` must be a table, not {}", other.kind()),
                },
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
        self.document.record(Setting {
            key: self.path_of(key),
            value,
            origin,
        });
    }

    fn path_of(&self, key: &str) -> String {
        let key = &*written(key);
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }
}

/// A key as it is written in TOML.
fn written(key: &str) -> Cow<'_, str> {
    let is_bare = |it: u8| it.is_ascii_alphanumeric() || it == b'-' || it == b'_';
    match key.bytes().all(is_bare) && !key.is_empty() {
        true => key.into(),
        false => key.to_owned().show().into(),
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

#[cfg(test)]
mod tests;
