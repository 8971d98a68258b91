//! The one connection of a client.
//!
//! It comes back by itself when it breaks. One that is half-open does not
//! break, it is just silent: whoever gets no answer in time gives it up, and
//! everybody's next request goes over another.

use crate::calls::Call;
use crate::error::Error;
use crate::options::Options;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

/// How often an idle peer is asked whether it is there, and for how long an
/// answer is waited for.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// See [`PING_INTERVAL`].
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a server, and what is needed to make another.
#[derive(Debug)]
pub(crate) struct Connection {
    server: String,
    endpoint: Endpoint,
    authorization: Option<MetadataValue<Ascii>>,
    runtime: Handle,
    line: Mutex<Line>,
}

/// A connection as it is now.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Which one it is of those that were made.
    generation: u64,
    /// Where requests go in.
    pub(crate) channel: Channel,
}

impl Connection {
    /// Connects, or says why it cannot.
    pub(crate) async fn open(options: &Options) -> Result<Self, Error> {
        let server = options.server.clone();
        let endpoint = Endpoint::from(options.uri()?)
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_PATIENCE);
        let authorization = options.token.as_deref().map(bearer).transpose()?;
        let channel = match timeout(options.connect_timeout, endpoint.connect()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(Error::unreachable(&server, &error)),
            Err(_) => return Err(Error::no_answer(&server, options.connect_timeout)),
        };
        Ok(Self {
            server,
            endpoint,
            authorization,
            runtime: Handle::current(),
            line: Mutex::new(Line {
                generation: 0,
                channel,
            }),
        })
    }

    /// The server as it was named.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Where everything in the background runs.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// The connection as it is now.
    pub(crate) fn line(&self) -> Line {
        self.lock().clone()
    }

    /// A request with what authenticates it.
    pub(crate) fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        if let Some(value) = &self.authorization {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        request
    }

    /// Asks once. An answer that does not come `within` is given up, and the
    /// connection with it.
    pub(crate) async fn ask<Q: Call>(
        &self,
        message: Q,
        within: Duration,
    ) -> Result<Q::Answer, Error> {
        let line = self.line();
        let call = Q::send(self.request(message), line.channel.clone());
        match timeout(within, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(Error::from_status(&self.server, status)),
            Err(_) => {
                self.give_up(&line);
                Err(Error::no_answer(&self.server, within))
            }
        }
    }

    /// Makes another connection in place of `line`, unless that was done. What
    /// is under way on the old one may still end well.
    pub(crate) fn give_up(&self, line: &Line) {
        let mut now = self.lock();
        if now.generation != line.generation {
            return;
        }
        tracing::debug!(server = self.server, "no answer: making another connection");
        let _runtime = self.runtime.enter();
        *now = Line {
            generation: line.generation + 1,
            channel: self.endpoint.connect_lazy(),
        };
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // What it guards is replaced whole.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bearer(token: &str) -> Result<MetadataValue<Ascii>, Error> {
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(|_| {
        Error::local("the token has characters that no header can carry".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}
