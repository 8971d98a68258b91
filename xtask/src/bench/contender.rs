//! What is measured: a server, and the load it gets.

use super::generator;
use super::sample::Sample;
use super::server::{Program, Server};
use super::wrk;
use crate::steps::{Failure, Outcome};

/// A server and the load it gets.
pub(super) struct Contender {
    /// What it is, and what its rate counts.
    pub(super) name: String,
    /// None for what runs in the load's own process.
    pub(super) server: Option<Program>,
    pub(super) load: Load,
}

/// What is put on a server.
pub(super) enum Load {
    /// Requests over HTTP/1.1.
    Http(wrk::Load, wrk::Shape),
    /// Locks, and what is measured beside them.
    Locks(generator::Load),
}

impl Contender {
    /// Starts the server, puts the load on it, ends it.
    pub(super) fn measure(&self) -> Outcome<Sample> {
        let server = self.server.as_ref().map(Server::start).transpose()?;
        let sample = match (&self.load, &server) {
            (Load::Http(load, shape), Some(server)) => load.put_on(server, *shape),
            (Load::Http(..), None) => Err(Failure::new("there is no server to ask")),
            (Load::Locks(load), server) => load.run(server.as_ref()),
        };
        sample.map_err(|failure| failure.within(&self.name))
    }
}
