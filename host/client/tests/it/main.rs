//! The client against a real lock API, in this process, over real sockets; and
//! over a network that misbehaves.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

mod proxy;
mod server;

mod broken;
mod calls;
mod guards;
mod sessions;
mod watching;
