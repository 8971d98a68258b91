//! A hasher for identities. Those that are entered in a map are 128 random bits,
//! minted by the host or made with a key that is the host's, so any 64 of them
//! are as good as a hash. An id that a client made up itself may be looked up,
//! but is not entered.

use std::hash::{BuildHasherDefault, Hasher};

/// A map from identities.
pub(crate) type IdMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Takes the low half of a 128-bit identity for its hash.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        // Not reached for identities; kept right for whatever else is hashed.
        for byte in bytes {
            self.0 = self.0.rotate_left(5) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, id: u128) {
        // The truncation is the point.
        self.0 = id as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
