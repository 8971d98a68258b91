//! The one connection of a client.
//!
//! It comes back by itself when it breaks. One that is half-open does not
//! break, it is just silent: whoever gets no answer in time gives it up, and
//! everybody's next request goes over another. That is the network's fault
//! only if nothing at all came since the request was sent; else the server is
//! slow, and another connection would not make it faster.

mod heard;

use crate::calls::Call;
use crate::error::Error;
use crate::options::Options;
use heard::Heard;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};
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
    /// How long one has to come about, and to be given up again.
    connect_timeout: Duration,
    line: Mutex<Line>,
}

/// A connection as it is now.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Which one it is of those that were made.
    generation: u64,
    /// When it was made in place of another that was given up.
    replaced_at: Option<Instant>,
    /// When something last came over it.
    heard: Arc<Heard>,
    /// Where requests go in.
    pub(crate) channel: Channel,
}

impl Connection {
    /// Connects, or says why it cannot.
    pub(crate) async fn open(options: &Options) -> Result<Self, Error> {
        let server = options.server.clone();
        let endpoint = Endpoint::from(options.uri()?)
            .connect_timeout(options.connect_timeout)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_PATIENCE);
        let authorization = options.token.as_deref().map(bearer).transpose()?;
        let heard = Arc::new(Heard::new());
        let connector = heard::connector(&heard, options.connect_timeout);
        let connecting = endpoint.connect_with_connector(connector);
        let channel = match timeout(options.connect_timeout, connecting).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(Error::unreachable(&server, &error)),
            Err(_) => return Err(Error::no_answer(&server, options.connect_timeout)),
        };
        Ok(Self {
            server,
            endpoint,
            authorization,
            runtime: Handle::current(),
            connect_timeout: options.connect_timeout,
            line: Mutex::new(Line {
                generation: 0,
                replaced_at: None,
                heard,
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
    /// connection with it if it is silent.
    pub(crate) async fn ask<Q: Call>(
        &self,
        message: Q,
        within: Duration,
    ) -> Result<Q::Answer, Error> {
        let line = self.line();
        let sent = Instant::now();
        let call = Q::send(self.request(message), line.channel.clone());
        match timeout(within, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(Error::from_status(&self.server, status)),
            Err(_) => {
                self.give_up(&line, sent);
                Err(Error::no_answer(&self.server, within))
            }
        }
    }

    /// Makes another connection in place of `line` if nothing came over it
    /// since `sent`, when a request went out that got no answer. What is under
    /// way on the old one may still end well. Connections are not given up
    /// faster than one can come about, whoever asks.
    pub(crate) fn give_up(&self, line: &Line, sent: Instant) {
        let mut now = self.lock();
        let replaced = |at: Instant| at.elapsed() < self.connect_timeout;
        if now.generation != line.generation
            || now.replaced_at.is_some_and(replaced)
            || now.heard.last() > sent
        {
            return;
        }
        tracing::debug!(server = self.server, "silence: making another connection");
        let _runtime = self.runtime.enter();
        let heard = Arc::new(Heard::new());
        let connector = heard::connector(&heard, self.connect_timeout);
        *now = Line {
            generation: line.generation + 1,
            replaced_at: Some(Instant::now()),
            heard,
            channel: self.endpoint.connect_with_connector_lazy(connector),
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
