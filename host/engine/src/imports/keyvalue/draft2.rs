//! `wasi:keyvalue@0.2.0-draft2`: a cursor is text, what is added may be
//! negative, and there is `cas`.

use super::{Bucket, Error, Opened, parse};
use crate::instance::State;
use lockport_store::store::{LIST_LIMIT_MAX, Versioned};
use lockport_store::{Collection, Key};
use sha2::{Digest, Sha256};
use wasmtime::Result as Trapping;
use wasmtime::component::{HasSelf, Linker, Resource};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package lockport:engine-keyvalue2;

            world imports {
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
                import wasi:keyvalue/batch@0.2.0-draft2;
            }
        ",
        world: "lockport:engine-keyvalue2/imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store@0.2.0-draft2.bucket": super::super::Bucket,
            "wasi:keyvalue/atomics@0.2.0-draft2.cas": super::Cas,
        },
        trappable_error_type: { "wasi:keyvalue/store@0.2.0-draft2.error" => super::Error },
        require_store_data_send: true,
    });
}

use bindings::wasi::keyvalue0_2_0_draft2::atomics;
pub(super) use bindings::wasi::keyvalue0_2_0_draft2::{batch, store};

/// A value that a guest means to replace if it is still there. It is of the
/// request it was made in, and dead afterwards.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Cas {
    collection: Collection,
    key: Key,
    /// What was there; `None` once the request is over.
    seen: Option<Seen>,
}

/// What tells one value of a key from another, without keeping it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Absent,
    /// Written by this commit.
    Committed(u64),
    /// Staged by this transaction; its hash.
    Staged([u8; 32]),
}

/// Links the interfaces.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Trapping<()> {
    store::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    atomics::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    batch::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

impl Cas {
    /// The request is over.
    pub(crate) fn end(&mut self) {
        self.seen = None;
    }
}

impl Seen {
    fn of(found: Option<&Versioned>) -> Self {
        match found {
            None => Self::Absent,
            Some(Versioned { value, version: 0 }) => Self::Staged(Sha256::digest(value).into()),
            Some(Versioned { version, .. }) => Self::Committed(*version),
        }
    }
}

impl store::Host for State {
    async fn open(&mut self, identifier: String) -> Result<Resource<Bucket>, Error> {
        self.open_bucket(&identifier)
    }

    fn convert_error(&mut self, error: Error) -> Trapping<store::Error> {
        told(error)
    }
}

impl store::HostBucket for State {
    async fn get(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Result<Option<Vec<u8>>, Error> {
        let found = self.opened(&bucket)?.get(&parse(&key)?).await?;
        Ok(found.map(|it| it.value.into()))
    }

    async fn set(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        self.opened(&bucket)?.set(parse(&key)?, value).await
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<(), Error> {
        self.opened(&bucket)?.delete(parse(&key)?).await
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<bool, Error> {
        let found = self.opened(&bucket)?.get(&parse(&key)?).await?;
        Ok(found.is_some())
    }

    /// The cursor is the last key of the page before.
    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> Result<store::KeyResponse, Error> {
        let after = cursor.as_deref().map(Key::new).transpose();
        let after = after.map_err(|_| Error::other("the cursor is none of a list"))?;
        let (keys, more) = self.opened(&bucket)?.keys(after, LIST_LIMIT_MAX).await?;
        let keys: Vec<_> = keys.iter().map(|key| key.as_str().to_owned()).collect();
        Ok(store::KeyResponse {
            cursor: keys.last().filter(|_| more).cloned(),
            keys,
        })
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> Trapping<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for State {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Result<i64, Error> {
        self.opened(&bucket)?.add(parse(&key)?, delta).await
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> Trapping<Result<(), atomics::CasError>> {
        let cas = self.table.delete(cas)?;
        match self.swapped(cas, value).await {
            Ok(None) => Ok(Ok(())),
            // The new one knows what is there now.
            Ok(Some(cas)) => Ok(Err(atomics::CasError::CasFailed(self.table.push(cas)?))),
            Err(error) => Ok(Err(atomics::CasError::StoreError(told(error)?))),
        }
    }
}

impl atomics::HostCas for State {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Resource<Cas>, Error> {
        let key = parse(&key)?;
        let opened = self.opened(&bucket)?;
        let seen = Seen::of(opened.get(&key).await?.as_ref());
        let cas = Cas {
            collection: opened.collection.clone(),
            key,
            seen: Some(seen),
        };
        Ok(self.table.push(cas)?)
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Result<Option<Vec<u8>>, Error> {
        let cas = self.table.get(&cas)?;
        let (opened, _) = self.opened_cas(cas)?;
        let found = opened.get(&cas.key).await?;
        Ok(found.map(|it| it.value.into()))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> Trapping<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl batch::Host for State {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
        let values = self.opened(&bucket)?.get_many(keys).await?;
        let values = values.into_iter();
        Ok(values.map(|(key, value)| Some((key, value?))).collect())
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        key_values: Vec<(String, Vec<u8>)>,
    ) -> Result<(), Error> {
        self.opened(&bucket)?.set_many(key_values).await
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<(), Error> {
        self.opened(&bucket)?.delete_many(keys).await
    }
}

impl State {
    /// The collection of a `cas` whose request is not over, and what it has
    /// seen there.
    fn opened_cas<'a>(&'a self, cas: &'a Cas) -> Result<(Opened<'a>, Seen), Error> {
        let seen = cas.seen.ok_or_else(Error::closed)?;
        Ok((self.opened_collection(&cas.collection)?, seen))
    }

    /// Stages `value` if what the `cas` has seen is still there; else a `cas`
    /// of what is there now. What another request has committed meanwhile is
    /// told from the version, and ends the transaction.
    async fn swapped(&mut self, cas: Cas, value: Vec<u8>) -> Result<Option<Cas>, Error> {
        let (opened, seen) = self.opened_cas(&cas)?;
        let now = Seen::of(opened.get(&cas.key).await?.as_ref());
        if now == seen {
            opened.set(cas.key.clone(), value).await?;
            return Ok(None);
        }
        Ok(Some(Cas {
            seen: Some(now),
            ..cas
        }))
    }
}

/// What a guest is told of an error; a trap is none.
pub(super) fn told(error: Error) -> Trapping<store::Error> {
    match error {
        Error::AccessDenied => Ok(store::Error::AccessDenied),
        Error::Other(text) => Ok(store::Error::Other(text)),
        Error::Trap(trap) => Err(trap),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn what_was_seen_is_another_if_the_version_or_what_is_staged_is_another() {
        let seen = |value: &'static str, version| {
            let value = Bytes::from(value);
            Seen::of(Some(&Versioned { value, version }))
        };
        assert_eq!(seen("a", 7), seen("a", 7));
        assert_ne!(seen("a", 7), seen("a", 8));
        assert_ne!(seen("a", 7), seen("a", 0));
        assert_eq!(seen("a", 0), seen("a", 0));
        assert_ne!(seen("a", 0), seen("b", 0));
        assert_ne!(seen("", 0), Seen::of(None));
        assert_eq!(Seen::of(None), Seen::Absent);
    }
}
