//! Locks that own their data.
//!
//! A *store* keeps three things and changes them in one atomic step: locks
//! (who may write), state (keyed, versioned values) and the record of what was
//! committed. A *transaction* stages reads and writes against a store and
//! commits them together, and the commit is refused if anything it read has
//! changed or if a guarded write is not covered by a lock it holds *now*.
//!
//! Locks are not for transactions alone. A caller outside acquires them under a
//! lease, or within a *session*, on whose life all of its grants hang; it may ask
//! again under the same request id and is answered the same; and whoever wants to
//! know *watches* what happens to them. What such a caller proves itself with is
//! a [`secret`]: the store keeps only what cannot be turned back into it.
//!
//! Read in this order: [`name`] (what may be called how), [`mod@core`] (the
//! state machine: pure, no I/O, no clock), [`store`] (the contract every store
//! keeps), [`memory`] and [`embedded`] (two stores, both driven by `shell.rs`),
//! [`mod@redis`] (the store that several nodes share), and [`transaction`] (what
//! a request does with them). [`statistics`] are counted on the way. The
//! contract's tests, in `contract.rs`, run against every store.
//!
//! ```
//! use lockport_store::{Collection, Key, LockName, Memory, Transaction};
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let orders = Collection::new("shop", "orders", Some("order/{key}"))?;
//! let store = Arc::new(Memory::new());
//! let transaction = Transaction::begin(store, Default::default(), "a request".into());
//! let scope = transaction.scope();
//!
//! let order = LockName::new("order/42")?;
//! let _guard = scope.acquire(vec![order], Duration::from_secs(1), None).await?;
//! scope.put(&orders, Key::new("42")?, "paid".into()).await?;
//! transaction.commit().await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod id;
pub mod name;
pub mod pattern;
pub mod secret;
pub mod statistics;
pub mod time;

pub mod clock;
pub mod core;
pub mod store;

#[cfg(test)]
mod contract;
pub mod embedded;
mod listing;
pub mod memory;
pub mod redis;
mod shell;

pub mod transaction;

pub use self::redis::Redis;
pub use clock::Clock;
pub use embedded::Embedded;
pub use id::{CommitId, GrantId, SessionId, TransactionId};
pub use memory::Memory;
pub use name::{Collection, InvalidName, Key, LockName};
pub use pattern::{LockPattern, Permission};
pub use store::Store;
pub use time::Time;
pub use transaction::Transaction;
