//! `wasi:keyvalue@0.2.0-draft`: a cursor is a number, and so is what is added.

use super::{Bucket, Error, Opened, Reached, parse};
use crate::instance::State;
use lockport_store::Key;
use lockport_store::store::LIST_LIMIT_MAX;
use wasmtime::Result as Trapping;
use wasmtime::component::{HasSelf, Linker, Resource};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package lockport:engine-keyvalue;

            world imports {
                import wasi:keyvalue/store@0.2.0-draft;
                import wasi:keyvalue/atomics@0.2.0-draft;
                import wasi:keyvalue/batch@0.2.0-draft;
            }
        ",
        world: "lockport:engine-keyvalue/imports",
        imports: { default: async | trappable },
        with: { "wasi:keyvalue/store@0.2.0-draft.bucket": super::super::Bucket },
        trappable_error_type: { "wasi:keyvalue/store@0.2.0-draft.error" => super::Error },
        require_store_data_send: true,
    });
}

use bindings::wasi::keyvalue0_2_0_draft::{atomics, batch, store};

/// The page behind the end of a list.
const NOTHING: store::KeyResponse = store::KeyResponse {
    keys: Vec::new(),
    cursor: None,
};

/// Links the interfaces.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Trapping<()> {
    store::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    atomics::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    batch::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

impl store::Host for State {
    async fn open(&mut self, identifier: String) -> Result<Resource<Bucket>, Error> {
        self.open_bucket(&identifier)
    }

    fn convert_error(&mut self, error: Error) -> Trapping<store::Error> {
        match error {
            Error::AccessDenied => Ok(store::Error::AccessDenied),
            Error::Other(text) => Ok(store::Error::Other(text)),
            Error::Trap(trap) => Err(trap),
        }
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

    /// The cursor is how many keys were listed, so it means the same to every
    /// instance and in every request. Where it is within the collection is
    /// remembered for the request that goes on with it.
    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> Result<store::KeyResponse, Error> {
        let listed = cursor.unwrap_or(0);
        let reached = self.table.get(&bucket)?.reached.clone();
        let opened = self.opened(&bucket)?;
        let after = match listed {
            0 => None,
            _ => match nth_key(&opened, listed, reached).await? {
                Some(last) => Some(last),
                None => return Ok(NOTHING),
            },
        };
        let (keys, more) = opened.keys(after, LIST_LIMIT_MAX).await?;
        let listed = listed + keys.len() as u64;
        let reached = keys.last().map(|last| Reached {
            keys: listed,
            last: last.clone(),
        });
        self.table.get_mut(&bucket)?.reached = reached;
        Ok(store::KeyResponse {
            keys: keys.iter().map(|key| key.as_str().to_owned()).collect(),
            cursor: more.then_some(listed),
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
        delta: u64,
    ) -> Result<u64, Error> {
        self.opened(&bucket)?.add(parse(&key)?, delta).await
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

/// The last of so many keys; `None` if there are not so many.
async fn nth_key(
    opened: &Opened<'_>,
    count: u64,
    reached: Option<Reached>,
) -> Result<Option<Key>, Error> {
    match reached {
        Some(reached) if reached.keys == count => Ok(Some(reached.last)),
        _ => opened.nth_key(count).await,
    }
}
