//! What a manifest says of a component, once it is checked.

use crate::configuration::Configuration;
use lockport_store::Collection;
use lockport_store::LockPattern;
use std::collections::HashMap;

/// What a manifest says of a component, checked.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// Its collections, by the name it uses for them.
    pub collections: HashMap<String, Collection>,
    /// The lock names it may acquire and sees of others' guards.
    pub locks: Vec<LockPattern>,
    /// What it may read of the node's configuration.
    pub configuration: Configuration,
    /// How often an instance is used.
    pub reuse: Reuse,
    /// Its limits.
    pub limits: Limits,
}

/// How often an instance is used before it is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reuse {
    /// One request each. The default: not every guest survives a second one.
    #[default]
    Never,
    /// So many requests, at least 2.
    Requests(u32),
}

/// What a component may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Linear memory of one instance, in bytes. Default 64 MiB. A handler that
    /// asks for more sees its `memory.grow` fail.
    pub memory: u64,
    /// Elements in the tables of one instance. Default 20 000, which is also
    /// the most a single table may have.
    pub table_elements: usize,
    /// Instances at work at once. Default 128.
    pub instances: usize,
    /// Requests that may wait for an instance. Default 1 024.
    pub queue: usize,
    /// Resource handles open at once in one instance. Default 4 096. A handler
    /// that opens more traps.
    pub handles: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            table_elements: 20_000,
            instances: 128,
            queue: 1_024,
            handles: 4_096,
        }
    }
}

impl Spec {
    /// Whether one of its patterns grants the lock `name`.
    pub(crate) fn grants_lock(&self, name: &lockport_store::LockName) -> bool {
        self.locks.iter().any(|pattern| pattern.matches(name))
    }
}

impl Reuse {
    /// How many requests one instance serves; at least 1.
    pub(crate) fn uses(self) -> u32 {
        match self {
            Self::Never => 1,
            Self::Requests(requests) => requests.max(1),
        }
    }
}
