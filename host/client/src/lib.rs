//! A client of the lock API whose guards renew themselves.
//!
//! ```no_run
//! use lockport_client::{Client, Options};
//! use std::error::Error;
//! use std::time::Duration;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn Error>> {
//!     let client = Client::connect(Options::server("127.0.0.1:50051")).await?;
//!     let guard = client
//!         .acquire(["order/42"])
//!         .wait(Duration::from_secs(10))
//!         .await?;
//!     tokio::select! {
//!         done = work(guard.token()) => done?,
//!         lost = guard.lost() => return Err(lost.into()), // stop: somebody else may be next
//!     }
//!     guard.release().await?;
//!     Ok(())
//! }
//!
//! /// What needs the lock. Whatever it writes to refuses a smaller token than it
//! /// has seen.
//! async fn work(fencing_token: u64) -> Result<(), Box<dyn Error>> {
//!     println!("the order is ours, by the token {fencing_token}");
//!     Ok(())
//! }
//! ```
//!
//! # What a guard promises
//!
//! A [`Guard`] renews its grant at a third of the lease until it is released or
//! dropped. If no renewal is acknowledged in time, or the server says that the
//! grant was taken away, [`Guard::lost`] resolves. The deadline counts from when
//! the last acknowledged renewal was *sent*, less a margin for clocks that run
//! apart, so it passes before the server can grant the locks to anybody else.
//! That is all a lease can promise: a process that stands still for longer than
//! its lease, or whose machine sleeps, does not notice in time. Give the [fencing token](Guard::token) to
//! whatever you write to, and let it refuse a smaller one than it has seen.
//!
//! # Calls or a session
//!
//! [`Client::acquire`] is for a few locks: each guard renews itself.
//! [`Client::session`] is for many: its grants hang on the session, which sends
//! one beat for all of them, and every operation travels on one stream.
//!
//! ```no_run
//! # use lockport_client::{Client, SessionOptions};
//! # async fn example(client: Client) -> Result<(), lockport_client::Error> {
//! let session = client.session(SessionOptions::default()).await?;
//! let orders = session.acquire(["order/1", "order/2"]).shared().await?;
//! let invoice = session.acquire(["invoice/7"]).await?;
//! // ...
//! invoice.release().await?;
//! session.close().await?; // `orders` is released with it
//! # drop(orders);
//! # Ok(())
//! # }
//! ```
//!
//! # When a call fails
//!
//! An operation whose answer got lost is asked again, for as long as
//! [`Options::patience`] says. That is safe: an acquire carries a request id,
//! and is answered with the same grant; the others do nothing twice. (Only
//! [`Client::force_release`] could, so it is asked once.) An [`Error`] whose
//! [`outcome_unknown`](Error::outcome_unknown) is true means that even then no
//! answer came.
//!
//! A request that is not answered in time does not cost the connection, which
//! all clones of a client share, unless nothing at all came over it since: a
//! slow server is told from a silent network.
//!
//! Dropping the future of an acquire gives up its wait on the server too, or
//! gives back what it was granted. All that happens in the background runs in
//! the runtime that the client was connected in.

mod acquire;
mod backoff;
mod calls;
mod client;
mod connection;
mod error;
mod guard;
mod keeper;
mod life;
mod options;
mod session;
mod via;
mod watch;

pub use acquire::Acquire;
pub use calls::from_wire;
pub use client::{Cancelled, Client, Released};
pub use error::Error;
pub use guard::Guard;
pub use life::Lost;
pub use lockport_proto::{Duration as WireDuration, Reason, Timestamp, lock as api, random_id};
pub use options::{Options, SessionOptions};
pub use session::{RETURN_MAX, Session};
pub use watch::{Item, Watch, Watching};
