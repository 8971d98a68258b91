//! Transactions over the store in memory; what they ask of any store is in
//! [`contract`](crate::contract).

mod again;
mod commit;
mod guards;
mod overlay;
mod scopes;

use super::*;
use crate::contract::{NO_WAIT, SECOND, Setting, World, block_on, key, name, poll_once};
use crate::name::{Collection, Key};
use crate::store::{Order, Page, Query};
use bytes::Bytes;

/// A transaction on a store in memory, and that store.
struct Stage {
    world: World,
    transaction: Arc<Transaction>,
    scope: Scope,
}

impl Stage {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let world = World::memory(Setting::Narrow);
        let transaction = Transaction::begin(world.store.clone(), limits, "test".to_owned());
        Self {
            scope: transaction.scope(),
            transaction,
            world,
        }
    }

    /// Another transaction on the same store.
    fn another(&self) -> Arc<Transaction> {
        another(&self.world)
    }
}

fn another(world: &World) -> Arc<Transaction> {
    Transaction::begin(world.store.clone(), Limits::default(), "another".to_owned())
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn put(scope: &Scope, collection: &Collection, at: &str, text: &str) {
    scope.put(collection, key(at), value(text)).await.unwrap();
}

async fn get(scope: &Scope, collection: &Collection, at: &str) -> Option<String> {
    let found = scope.get(collection, &key(at)).await.unwrap();
    found.map(|it| String::from_utf8(it.value.to_vec()).unwrap())
}

async fn hold(scope: &Scope, names: &[&str]) -> Guard {
    let names = names.iter().map(|it| name(it)).collect();
    scope.acquire(names, NO_WAIT, None).await.unwrap()
}
