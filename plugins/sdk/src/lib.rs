//! The guest SDK of Lockport: a handler that reads like ordinary Rust.
//!
//! A component is a function from [`Request`] to [`Response`], exported with
//! [`export!`]. What it changes is one transaction: it is applied whole when
//! the answer's status is below 400, or not at all.
//!
//! ```
//! use lockport_guest::{Collection, Error, Request, Response, locks};
//!
//! const SEATS: Collection<String> = Collection::new("seats");
//!
//! fn handle(request: &Request) -> Result<Response, Error> {
//!     let id = request.param("id")?;
//!     let guest: String = request.json()?;
//!     let _guard = locks::acquire([format!("seat/{id}")])?;
//!     SEATS.put(&id, &guest)?;
//!     Ok(Response::empty(204))
//! }
//!
//! lockport_guest::export!(handle);
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | [`Request`], [`Response`] | HTTP, with JSON in and out |
//! | [`locks`] | fenced locks; a guard lasts until the transaction ends |
//! | [`state`] | typed handles to the component's collections |
//! | [`call`] | calls to other components, in the same transaction |
//! | [`Error`] | what goes wrong, and its `application/problem+json` |
//! | `testing` | a host in memory, to test a handler with `cargo test` |

pub mod call;
mod error;
mod export;
mod json;
pub mod locks;
mod query;
mod request;
mod response;
pub mod state;

#[cfg(not(target_family = "wasm"))]
pub mod testing;

#[cfg(not(target_family = "wasm"))]
use testing::host;

#[cfg(target_family = "wasm")]
mod wasm;

#[cfg(target_family = "wasm")]
use wasm as host;

#[cfg(target_family = "wasm")]
#[doc(hidden)]
#[path = "bindings.rs"]
pub mod bindings;

pub use error::{Error, describe};
#[doc(hidden)]
pub use export::answer;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use wasm::serve;

pub use json::JsonError;
pub use request::{BODY_LIMIT, BodyError, Method, Request};
pub use response::{IntoResponse, Response};
pub use state::Collection;

/// Writes a line to the component's log.
pub fn log(line: &str) {
    host::log(line);
}
