//! What other programs see of the lock API: the types and services generated
//! from `proto/`, their JSON form, the [table](reason) of errors, and how ids of
//! requests are made: what the server, the client and the command line share.
//!
//! The comments of the generated types are those of the `.proto` files.

pub mod codec;
mod duration;
mod id;
pub mod reason;
mod timestamp;

pub use duration::Duration;
pub use id::random_id;
pub use reason::Reason;
pub use timestamp::Timestamp;

/// `lockport.lock.v1`: the lock API.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    reason = "generated"
)]
pub mod lock {
    tonic::include_proto!("lockport.lock.v1");
    include!(concat!(env!("OUT_DIR"), "/lockport.lock.v1.serde.rs"));
}

/// `lock_manager`: the older contract.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod lock_manager {
    tonic::include_proto!("lock_manager");
}

/// Descriptors of every file, those they import included: for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));

/// The domain of every [`Reason`] in a `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "lockport";
