//! Identities: of transactions, sessions, grants, nodes and commits.
//!
//! The random ones are packed. A number of 128 bits wants to lie at a multiple of
//! 16 bytes, and half of that would be lost wherever one is kept beside anything
//! smaller: in the records of all who hold and wait.

use crate::time::Time;
use std::fmt;

/// Identifies one transaction, for as long as it lasts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed(8))]
pub struct TransactionId(u128);

/// Identifies one session, for as long as it lasts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed(8))]
pub struct SessionId(u128);

/// Identifies one grant, and the wait for it: who asks mints it, so an answer
/// that never arrived can still be cancelled or released.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed(8))]
pub struct GrantId(u128);

/// Identifies one node, from the moment it comes to a store until it leaves, or
/// is taken for dead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u128);

/// Identifies one attempt to commit. It carries the store time at which it was
/// minted, so that a store can refuse one it may have forgotten.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId {
    /// When it was minted, in store time.
    pub minted: Time,
    /// What tells it from others minted at the same time.
    pub random: u64,
}

impl TransactionId {
    /// A new, random identity (128 bits).
    pub fn mint() -> Self {
        Self(rand::random())
    }

    /// The identity as a number, for storage.
    pub fn to_u128(self) -> u128 {
        self.0
    }

    /// The identity that was stored as `number`.
    pub fn from_u128(number: u128) -> Self {
        Self(number)
    }
}

impl SessionId {
    /// A new, random identity (128 bits).
    pub fn mint() -> Self {
        Self(rand::random())
    }

    /// The identity as a number, for storage.
    pub fn to_u128(self) -> u128 {
        self.0
    }

    /// The identity that was stored as `number`.
    pub fn from_u128(number: u128) -> Self {
        Self(number)
    }
}

impl GrantId {
    /// A new, random identity (128 bits).
    pub fn mint() -> Self {
        Self(rand::random())
    }

    /// The identity of the one grant that a commit itself may need.
    pub fn of_commit(id: CommitId) -> Self {
        Self(u128::from(id.minted.as_micros()) << 64 | u128::from(id.random))
    }

    /// The identity as a number, for storage.
    pub fn to_u128(self) -> u128 {
        self.0
    }

    /// The identity that was stored as `number`.
    pub fn from_u128(number: u128) -> Self {
        Self(number)
    }
}

impl NodeId {
    /// A new, random identity (128 bits).
    pub fn mint() -> Self {
        Self(rand::random())
    }

    /// The identity as a number, for storage.
    pub fn to_u128(self) -> u128 {
        self.0
    }
}

impl CommitId {
    /// A new identity, minted at `now`.
    pub fn mint(now: Time) -> Self {
        Self {
            minted: now,
            random: rand::random(),
        }
    }
}

// === impl fmt ===

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tx-{:032x}", { self.0 })
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session-{:032x}", { self.0 })
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grant-{:032x}", { self.0 })
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node-{:032x}", self.0)
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "commit-{}-{:016x}", self.minted.as_micros(), self.random)
    }
}
