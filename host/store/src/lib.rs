//! Locks that own their data.
//!
//! A *store* keeps three things and changes them in one atomic step: locks
//! (who may write), state (keyed, versioned values) and the record of what was
//! committed. A *transaction* stages reads and writes against a store and
//! commits them together, and the commit is refused if anything it read has
//! changed or if a guarded write is not covered by a lock it holds *now*.
//!
//! Read in this order: [`name`] (what may be called how), [`core`] (the state
//! machine: pure, no I/O, no clock), [`store`] (the contract every store
//! keeps), [`memory`] and [`embedded`] (the two stores there are), and
//! [`transaction`] (what a request does with them).

pub mod name;

pub mod clock;
pub mod id;
pub mod time;

pub mod core;
pub mod store;

#[cfg(test)]
mod contract;
pub mod embedded;
mod listing;
pub mod memory;
mod shell;

pub mod transaction;

pub use clock::Clock;
pub use embedded::Embedded;
pub use id::{CommitId, GrantId, TransactionId};
pub use memory::Memory;
pub use name::{Collection, InvalidName, Key, LockName};
pub use store::Store;
pub use time::Time;
pub use transaction::Transaction;
