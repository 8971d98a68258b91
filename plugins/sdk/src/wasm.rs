//! The host, reached through the imports of the component.
//!
//! The rest of the SDK knows this module as `host`; `testing::host` has the
//! same functions for native tests.

mod http;
mod locks;
mod state;

use std::time::Duration;

use crate::bindings::lockport::host::request;

pub(crate) use http::{Incoming, call};
pub(crate) use locks::{Guard, acquire, inherited};
pub(crate) use state::{delete, get, keep, list, put};

#[doc(hidden)]
pub use http::serve;

pub(crate) fn route() -> String {
    request::route()
}

pub(crate) fn params() -> Vec<(String, String)> {
    request::params()
        .into_iter()
        .map(|param| (param.name, param.value))
        .collect()
}

pub(crate) fn request_id() -> String {
    request::id()
}

pub(crate) fn principal() -> Option<String> {
    request::principal()
}

pub(crate) fn deadline() -> Duration {
    Duration::from_nanos(request::deadline())
}

#[expect(clippy::print_stderr, reason = "standard error is the component's log")]
pub(crate) fn log(line: &str) {
    eprintln!("{line}");
}

/// As the host counts durations; what is longer than 584 years is that.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
