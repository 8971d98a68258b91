//! Typed handles to the component's collections.
//!
//! Values are JSON. Reads see what the transaction has staged; writes are
//! staged and applied by the commit, together or not at all.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host;

/// A collection that the manifest declares, with values of type `T`.
#[derive(Clone, Copy, Debug)]
pub struct Collection<T> {
    name: &'static str,
    values: PhantomData<fn() -> T>,
}

/// A value and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// Its key.
    pub key: String,

    /// The value.
    pub value: T,

    /// The number of the commit that wrote it; 0 for one that this
    /// transaction has staged.
    pub version: u64,
}

/// What to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// Only keys that begin with this.
    pub prefix: &'a str,

    /// Only keys behind this one, in the order asked for.
    pub after: Option<&'a str>,

    /// From the last key to the first.
    pub descending: bool,

    /// How many entries at most; 1 to 1000.
    pub limit: u32,
}

/// A page of a listing, ordered by key, byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<Entry<T>>,

    /// Whether there is more behind the last entry.
    pub more: bool,
}

/// Why an operation on state failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The manifest declares no such collection for this component.
    #[error("the component has no such collection")]
    AccessDenied,

    /// A key, a value or a query is not allowed.
    #[error("{0}")]
    InvalidArgument(String),

    /// [`Collection::insert`] found a value.
    #[error("there is a value already")]
    Exists,

    /// Something the transaction has read has changed since. Whatever the
    /// handler answers now is not sent.
    #[error("what was read has changed since")]
    Conflict,

    /// A limit of the transaction is reached.
    #[error("a limit is reached: {0}")]
    Quota(String),

    /// The store is recovering.
    #[error("the store is recovering")]
    Recovering,

    /// The store gave no answer.
    #[error("the store gave no answer: {0}")]
    Unavailable(String),

    /// The response has been set, or the request is over.
    #[error("the request is over")]
    Closed,

    /// The value has no JSON form.
    #[error("the value has no JSON form")]
    Encode(#[source] serde_json::Error),

    /// What is stored is not a `T`.
    #[error("the value of `{key}` in `{collection}` cannot be decoded")]
    Corrupt {
        /// The collection.
        collection: &'static str,
        /// The key.
        key: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
}

/// Commits what is staged although the handler answers an error. Ignored in a
/// call that joined its caller's transaction.
pub fn keep() {
    host::keep();
}

// === impl Collection ===

impl<T> Collection<T> {
    /// The collection that the manifest calls `name`.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            values: PhantomData,
        }
    }

    /// Stages the removal of a key; of an absent one too.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        host::delete(self.name, key)
    }
}

impl<T: Serialize> Collection<T> {
    /// Stages a value. In a guarded collection the key's lock must be held
    /// when the transaction commits.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`] if the value has no JSON form; see [`Error`].
    pub fn put(&self, key: &str, value: &T) -> Result<(), Error> {
        host::put(
            self.name,
            key,
            serde_json::to_vec(value).map_err(Error::Encode)?,
        )
    }

    /// Stages a value for a key that has none. The commit makes sure that
    /// nobody else has given it one since, so a new key of a guarded
    /// collection needs no lock, only one that is free.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if there is a value; otherwise as [`Self::put`].
    pub fn insert(&self, key: &str, value: &T) -> Result<(), Error> {
        match host::get(self.name, key)? {
            None => self.put(key, value),
            Some(_) => Err(Error::Exists),
        }
    }
}

impl<T: DeserializeOwned> Collection<T> {
    /// The value of a key.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if what is stored is not a `T`; see [`Error`].
    pub fn get(&self, key: &str) -> Result<Option<T>, Error> {
        Ok(self.entry(key)?.map(|entry| entry.value))
    }

    /// The value of a key and its version.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn entry(&self, key: &str) -> Result<Option<Entry<T>>, Error> {
        host::get(self.name, key)?
            .map(|entry| self.decode(entry))
            .transpose()
    }

    /// A page of the collection.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn list(&self, query: Query<'_>) -> Result<Page<T>, Error> {
        let page = host::list(self.name, query)?;
        let entries = page.entries.into_iter().map(|entry| self.decode(entry));
        Ok(Page {
            entries: entries.collect::<Result<_, _>>()?,
            more: page.more,
        })
    }

    fn decode(&self, entry: Entry<Vec<u8>>) -> Result<Entry<T>, Error> {
        let Entry {
            key,
            value,
            version,
        } = entry;
        match serde_json::from_slice(&value) {
            Ok(value) => Ok(Entry {
                key,
                value,
                version,
            }),
            Err(source) => Err(Error::Corrupt {
                collection: self.name,
                key,
                source,
            }),
        }
    }
}
