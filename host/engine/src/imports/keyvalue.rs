//! `wasi:keyvalue`: the component's own collections, for components that know
//! nothing of Lockport.
//!
//! A bucket is a collection of the manifest. What is written is staged in the
//! request's transaction and read back in it; the commit applies all of it or
//! nothing, and validates what was read. So the read and the write of an
//! `increment`, and those of a `cas`, are one step for everybody else, and a
//! guarded collection keeps its rule.
//!
//! The two drafts differ in the cursor of a list, in what is added to a number,
//! and in `cas`, which only the second has: [`draft`] and [`draft2`]; and of the
//! second, [`spin`] has a form of its own. What they have in common is here.
//! `watcher`, which components would export, is not served.

mod draft;
mod draft2;
mod spin;

#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub use draft2::Cas;

use crate::instance::State;
use bytes::Bytes;
use lockport_store::store::{LIST_BYTES_MAX, LIST_LIMIT_MAX, Order, Query, StoreError, Versioned};
use lockport_store::transaction::{Scope, StateError};
use lockport_store::{Collection, Key};
use wasmtime::component::{Linker, Resource, ResourceTableError};

/// A collection in the hands of a guest. It is the component's, not the
/// request's: one that the guest keeps serves its next request too.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Bucket {
    collection: Collection,
    /// How far the request has listed it with a cursor that is a number.
    reached: Option<Reached>,
}

/// So many keys lie before the end of a page, and this is the last of them.
#[derive(Clone)]
struct Reached {
    keys: u64,
    last: Key,
}

/// Why an operation was not done: what the guest is told, or a trap.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub enum Error {
    /// The manifest declares no such collection. Whether another component has
    /// one is not disclosed.
    AccessDenied,
    /// Anything else, in words for people.
    Other(String),
    /// The guest has done what no guest may, such as to use a handle it does
    /// not have.
    Trap(wasmtime::Error),
}

/// A bucket while a request uses it.
struct Opened<'a> {
    scope: &'a Scope,
    collection: &'a Collection,
}

/// Links both drafts.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    draft::add_to_linker(linker)?;
    draft2::add_to_linker(linker)
}

/// Has `batch` of the second draft in the form that Spin gave it.
pub(super) fn replace_batch(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    spin::replace_batch(linker)
}

impl Bucket {
    /// The request is over.
    pub(crate) fn end(&mut self) {
        self.reached = None;
    }
}

impl State {
    fn open_bucket(&mut self, name: &str) -> Result<Resource<Bucket>, Error> {
        let collection = self.spec.collections.get(name);
        let bucket = Bucket {
            collection: collection.ok_or(Error::AccessDenied)?.clone(),
            reached: None,
        };
        Ok(self.table.push(bucket)?)
    }

    fn opened(&self, bucket: &Resource<Bucket>) -> Result<Opened<'_>, Error> {
        self.opened_collection(&self.table.get(bucket)?.collection)
    }

    fn opened_collection<'a>(&'a self, collection: &'a Collection) -> Result<Opened<'a>, Error> {
        let context = self.context().ok_or_else(Error::closed)?;
        Ok(Opened {
            scope: &context.scope,
            collection,
        })
    }
}

impl Opened<'_> {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, Error> {
        Ok(self.scope.get(self.collection, key).await?)
    }

    async fn set(&self, key: Key, value: Vec<u8>) -> Result<(), Error> {
        let value = Bytes::from(value);
        Ok(self.scope.put(self.collection, key, value).await?)
    }

    async fn delete(&self, key: Key) -> Result<(), Error> {
        Ok(self.scope.delete(self.collection, key).await?)
    }

    /// Adds to a number, which is kept in decimal digits; an absent one is 0.
    async fn add<N>(&self, key: Key, delta: N) -> Result<N, Error>
    where
        N: Copy + Into<i128> + TryFrom<i128>,
    {
        let number = match self.get(&key).await? {
            Some(found) => number(&found.value)
                .ok_or_else(|| Error::other("the value is not a number in decimal digits"))?,
            None => 0,
        };
        let sum = number
            .checked_add(delta.into())
            .and_then(|sum| N::try_from(sum).ok())
            .ok_or_else(|| Error::other("the sum is out of range"))?;
        let digits = Into::<i128>::into(sum).to_string();
        self.set(key, digits.into_bytes()).await?;
        Ok(sum)
    }

    /// Up to `limit` keys behind `after`, and whether there are more.
    async fn keys(&self, after: Option<Key>, limit: usize) -> Result<(Vec<Key>, bool), Error> {
        let query = Query {
            prefix: String::new(),
            after: after.map(|key| key.as_str().to_owned()),
            order: Order::Ascending,
            limit,
        };
        let page = self.scope.list(self.collection, query).await?;
        let keys = page.entries.into_iter().map(|(key, _)| key);
        Ok((keys.collect(), page.more))
    }

    /// The last of the first `count` keys; `None` if there are not so many. As
    /// many pages are read as it takes, each of them an operation of the
    /// transaction, of which there is a limit.
    async fn nth_key(&self, count: u64) -> Result<Option<Key>, Error> {
        let mut left = count;
        let mut last = None;
        while left > 0 {
            let limit = usize::try_from(left).map_or(LIST_LIMIT_MAX, |it| it.min(LIST_LIMIT_MAX));
            let (mut keys, more) = self.keys(last, limit).await?;
            left -= keys.len() as u64;
            last = keys.pop();
            if !more && left > 0 {
                return Ok(None);
            }
        }
        Ok(last)
    }

    /// The value of each key, in their order.
    async fn get_many(&self, keys: Vec<String>) -> Result<Vec<(String, Option<Vec<u8>>)>, Error> {
        let mut values = Vec::new();
        let mut bytes = 0;
        for text in keys {
            let found = self.get(&parse(&text)?).await?;
            bytes += found.as_ref().map_or(0, |it| it.value.len());
            if bytes > LIST_BYTES_MAX {
                let text = format!("a batch reads at most {LIST_BYTES_MAX} bytes");
                return Err(Error::Other(text));
            }
            values.push((text, found.map(|it| it.value.into())));
        }
        Ok(values)
    }

    /// Stages all of them, or none if one of the keys is not allowed.
    async fn set_many(&self, values: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        let values = values
            .into_iter()
            .map(|(key, value)| Ok((parse(&key)?, value)));
        for (key, value) in values.collect::<Result<Vec<_>, Error>>()? {
            self.set(key, value).await?;
        }
        Ok(())
    }

    /// As [`Opened::set_many`].
    async fn delete_many(&self, keys: Vec<String>) -> Result<(), Error> {
        let keys = keys.iter().map(|key| parse(key));
        for key in keys.collect::<Result<Vec<_>, Error>>()? {
            self.delete(key).await?;
        }
        Ok(())
    }
}

impl Error {
    fn other(text: &str) -> Self {
        Self::Other(text.to_owned())
    }

    fn closed() -> Self {
        Self::other("the response has been set, or the request is over")
    }
}

fn parse(key: &str) -> Result<Key, Error> {
    Key::new(key).map_err(|error| Error::Other(format!("the key {error}")))
}

/// The number that a value is, if it is one.
fn number(value: &[u8]) -> Option<i128> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// In words that say nothing of how state is kept.
impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Invalid(text) | StateError::Quota(text) => Self::Other(text),
            StateError::Conflict => {
                Self::other("something the request has read has changed: it has to be run again")
            }
            StateError::Closed => Self::closed(),
            StateError::Store(StoreError::Unavailable(_)) => {
                Self::other("the store gives no answer")
            }
            StateError::Store(StoreError::Recovering) => Self::other("the store is recovering"),
        }
    }
}

impl From<ResourceTableError> for Error {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_decimal_digits_and_nothing_else() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"-7"), Some(-7));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX.into()));
        for value in [&b""[..], b" 1", b"1.5", b"0x1", b"one", b"\xff"] {
            assert_eq!(number(value), None, "{value:?}");
        }
    }

    #[test]
    fn what_a_guest_is_told_says_nothing_of_the_store() {
        let unavailable = StoreError::Unavailable("redis://10.0.0.7 is down".to_owned());
        let Error::Other(text) = Error::from(StateError::Store(unavailable)) else {
            panic!("it is told");
        };
        assert_eq!(text, "the store gives no answer");
    }
}
