//! The lock API as its clients see it: over sockets, in every way it can be
//! asked, on both stores.

mod caller;
mod node;

mod busy;
mod compat;
mod faulty;
mod grpc;
mod json;
mod outcomes;
mod requests;
mod session;
mod slow;
mod watch;
