//! The program: one node of Lockport.
//!
//! A node reads its configuration, opens its store, loads its components,
//! binds its sockets, and only then serves. What can be refused is refused
//! before that, with a hint and an exit code of its own.
//!
//! ```text
//!   main --> cli --> node                               who builds
//!                     |
//!                     +--> listener                     who accepts
//!                     |      |       |        |
//!                     |      v       v        v
//!                     |  gateway   locks    admin       who answers
//!                     |      |       |        |
//!                     |      +-------|--------|--> outbound  who asks others
//!                     |      v       |        |
//!                     |   engine     |        |         who runs components
//!                     |      |       |        |
//!                     v      v       v        v
//!                              store                    who holds what
//!
//!   config: read by cli and node only.
//!   descriptors, metrics, shutdown, telemetry: leaves.
//! ```
//!
//! What is deliberately absent: nothing here names wasmtime or SQLite; only
//! `cli/output.rs` prints; only `cli/exit.rs` knows exit codes; only
//! `gateway/rescue.rs` and `admin/refusal.rs` pick a status; only `metrics.rs`
//! names metrics; only `config/environment.rs` reads the environment.

pub mod cli;

pub mod config;

pub mod bundle;

pub mod node;

pub mod listener;

pub mod gateway;

pub mod outbound;

pub mod admin;

pub mod descriptors;

pub mod metrics;

pub mod shutdown;

pub mod telemetry;
