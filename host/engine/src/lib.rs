//! Runs components: everything that names wasmtime is in this crate.
//!
//! An [`Engine`] compiles; a [`Component`] is compiled code, linked, with what
//! its manifest grants it and a pool of warm instances; [`Component::answer`]
//! hands one request to one instance and gives back the response's head as
//! soon as the handler has set it. The instance may still be writing its body
//! then; that is the [`AnswerBody`]'s matter, and a handler that fails behind
//! its head makes the body end in an error, never in a clean end.
//!
//! ```text
//!   Engine::load                          Component::answer
//!   wasm -> load -> cache -> linker       request -> admission -> pool -> instance
//!                                                                          |  imports:
//!                                         Answer <- head <----- call ------+  locks, state,
//!                                           body <- pipe <--------'           request, calls
//! ```
//!
//! What this crate does not do: routes, statuses, commits. It seals the
//! request's [`Scope`](lockport_store::transaction::Scope) at the moment the
//! response is set, so that whoever commits does so knowing that nothing more
//! can be staged.
//!
//! Read in this order: [`Engine`] (how wasmtime is set up), [`Component`] (what
//! happens to a request), then the private modules `instance` (what one
//! instance keeps), `call` (deadlines, panics and traps) and `imports` (what a
//! component sees, one file per WIT interface).

#![deny(missing_docs)]

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

mod admission;
mod answer;
mod cache;
mod call;
mod calls;
mod clock;
mod component;
mod configuration;
mod engine;
mod failure;
mod head;
mod imports;
mod instance;
mod limits;
mod linker;
mod load;
mod output;
mod pool;
mod printer;
mod spec;
mod statistics;
#[cfg(test)]
mod tests;

pub use admission::Admission;
pub use answer::{Answer, AnswerBody, BodyError};
pub use calls::{CallRefused, Calls, Fault};
pub use component::{Component, Context};
pub use configuration::Configuration;
pub use engine::{Engine, Options};
pub use failure::Failure;
pub use load::LoadError;
pub use lockport_store::LockPattern;
pub use spec::{Limits, Reuse, Spec};
pub use statistics::{ComponentStatistics, Statistics};

/// What may go wrong under a body, for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body on its way to a handler, or a response's on its way back
/// from a call.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
