//! What the outside tests are written in: real `lockport` processes, a plain
//! HTTP/1.1 client that can also misbehave, and waiting with a condition.
//!
//! A test is a few lines about behaviour:
//!
//! ```ignore
//! let node = Node::builder().component("order").component("invoice").start();
//! let order = node.create_order();
//! node.patch(&order.path(), json!({"update_time": at_minute(1)})).expect(204);
//! node.assert_invoice_fits(&order);
//! ```
//!
//! Nothing here sleeps but [`eventually`], and nothing waits longer than
//! [`BOUND`]. Tests never build anything: a component that has not been built
//! ends the test with the command that builds it.

mod command;
mod footprint;
mod guests;
mod history;
mod http;
mod lock_api;
mod logs;
mod long;
mod node;
mod probe;
mod proxy;
mod python;
mod random;
mod redis;
mod server;
mod shop;

pub(crate) use command::{Finished, Lockport, Running, lockport};
pub(crate) use footprint::Footprint;
pub(crate) use guests::{built_wasm, component_dir, guest_dir, root};
pub(crate) use history::{Held, History, check_events};
pub(crate) use http::{Answer, BodyEnd, Client, Connection, H2, Request, request};
pub(crate) use lock_api::{
    Answered, Ask, IsRefused, JsonApi, LockApi, Refused, SessionStream, Speaks, Told, Watching,
    acquire, acquire_waiting, address_of, assert_served_in_order, brief_grant, duration, encoded,
    millis, runtime, shared, wait_for,
};
pub(crate) use logs::Logs;
pub(crate) use long::{is_long, report};
pub(crate) use node::{Builder, Node, Storage, secret_of};
pub(crate) use probe::{HeldLock, steps};
pub(crate) use proxy::{Proxy, Way};
pub(crate) use python::python;
pub(crate) use random::Random;
pub(crate) use redis::{KEEPS_EVERYTHING, RedisServer};
pub(crate) use server::{Server, TlsServer, request_of};
pub(crate) use shop::{
    Order, RESOURCE_LOCKED, assert_is_time, assert_shop_error, at_minute, cents, moment, new_order,
    shop_whose_invoice_refuses, uuid,
};

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The longest that any test waits for anything. Generous, because it only
/// costs time when something is broken.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// How often [`eventually`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `look` gives something, for at most [`BOUND`].
///
/// The only place in the tests where time passes without an event: use it for
/// what cannot be waited for in any other way.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + BOUND;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {BOUND:?} in vain: {what}");
        pause();
    }
}

/// Lets a little time pass. A channel that nobody sends to is the way to wait
/// that no lint has to be told about.
fn pause() {
    let (_sender, receiver) = channel::<()>();
    let waited = receiver.recv_timeout(LOOK_EVERY);
    debug_assert_eq!(waited, Err(RecvTimeoutError::Timeout));
}
