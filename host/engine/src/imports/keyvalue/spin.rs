//! `wasi:keyvalue/batch@0.2.0-draft2` as Spin has it.
//!
//! Under the same name its `get-many` gives every key back, also one that is
//! absent: `list<tuple<string, option<list<u8>>>>`. A component that was built
//! for Spin fits only this form, so it is linked where the other does not fit.
//! The type has no bindings of its own; what is defined here is checked against
//! the component's type like everything else.

use super::draft2::batch::Host as _;
use super::draft2::store;
use super::{Bucket, Error};
use crate::instance::State;
use wasmtime::Result as Trapping;
use wasmtime::component::{Linker, Resource};

/// What a function answers: it is told, or traps.
type Told<T> = Trapping<(Result<T, store::Error>,)>;

/// Puts this form of the interface in the place of the other.
pub(super) fn replace_batch(linker: &mut Linker<State>) -> Trapping<()> {
    linker.allow_shadowing(true);
    let mut batch = linker.instance("wasi:keyvalue/batch@0.2.0-draft2")?;
    batch.func_wrap_async(
        "get-many",
        |mut store, (bucket, keys): (Resource<Bucket>, Vec<String>)| {
            Box::new(async move { told(store.data_mut().get_each(bucket, keys).await) })
        },
    )?;
    batch.func_wrap_async(
        "set-many",
        |mut store, (bucket, values): (Resource<Bucket>, Vec<(String, Vec<u8>)>)| {
            Box::new(async move { told(store.data_mut().set_many(bucket, values).await) })
        },
    )?;
    batch.func_wrap_async(
        "delete-many",
        |mut store, (bucket, keys): (Resource<Bucket>, Vec<String>)| {
            Box::new(async move { told(store.data_mut().delete_many(bucket, keys).await) })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl State {
    async fn get_each(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, Error> {
        self.opened(&bucket)?.get_many(keys).await
    }
}

fn told<T>(outcome: Result<T, Error>) -> Told<T> {
    match outcome {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(super::draft2::told(error)?),)),
    }
}
