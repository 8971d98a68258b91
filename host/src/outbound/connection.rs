//! One connection to a server outside: how it comes about, what it is asked,
//! and when it ends.
//!
//! ```text
//!   addresses --> held against the grant --> TCP --> once more --> TLS --> HTTP
//!   of the name                                  the peer's           h2 or 1.1
//! ```
//!
//! A connection serves one request at a time, also where the protocol could
//! have more: so no answer waits behind one that its guest does not read, and a
//! request that is given up takes nobody with it. It has an end that is always
//! set, the request's deadline while it is used and the end of its idle time
//! otherwise, so none outlives what it is for.

use super::grant::{Destination, Host, Permission, Scheme};
use super::resolve::{self, Resolve};
use crate::metrics::OpenConnection;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use lockport_engine::{Body, CallRefused, Fault};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

/// How many addresses of a name are tried.
const ADDRESSES_MAX: usize = 8;

/// How much of an answer's body the host takes before the guest asks for it, in
/// bytes. It bounds how fast a body comes from far away: so much in each round
/// trip.
const WINDOW: u32 = 256 << 10;

/// The most header fields of an answer.
const FIELDS_MAX: usize = 128;

/// The least that the HTTP library takes for a buffer, in bytes.
const BUFFER_MIN: usize = 8 << 10;

/// How a connection is to be made.
pub(super) struct Way<'a> {
    pub(super) to: &'a Destination,
    pub(super) permission: Permission,
    pub(super) resolver: &'a dyn Resolve,
    pub(super) trust: Option<&'a Arc<ClientConfig>>,
    /// The largest head of an answer, in bytes.
    pub(super) head_max: u32,
    /// When it has to stand.
    pub(super) until: Instant,
}

/// What is held as long as the connection is open.
pub(super) struct Held {
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) open: OpenConnection,
}

/// A connection. Dropping it closes it.
pub(super) struct Connection {
    sender: Sender,
    /// When it is closed. Gone with it, which closes it at once.
    ends: watch::Sender<Instant>,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// A request that was not answered.
pub(super) struct Unanswered {
    pub(super) fault: Fault,
    /// The request, if nothing of it was sent.
    pub(super) unsent: Option<Box<Request<Body>>>,
}

impl Connection {
    /// Connects. What is not admitted is refused as if it were not granted.
    pub(super) async fn open(way: &Way<'_>, held: Held) -> Result<Self, CallRefused> {
        let tcp = way.tcp().await?;
        let (sender, ends) = match way.to.scheme {
            Scheme::Http => way.http1(tcp, held).await?,
            Scheme::Https => {
                let tls = way.tls(tcp).await?;
                match tls.get_ref().1.alpn_protocol() {
                    Some(b"h2") => way.http2(tls, held).await?,
                    _ => way.http1(tls, held).await?,
                }
            }
        };
        Ok(Self { sender, ends })
    }

    /// Closes it at `end` if nothing else is said until then.
    pub(super) fn ends_at(&self, end: Instant) {
        self.ends.send_replace(end);
    }

    /// Whether it is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.ends.is_closed()
            || match &self.sender {
                Sender::Http1(sender) => sender.is_closed(),
                Sender::Http2(sender) => sender.is_closed(),
            }
    }

    /// Waits until it can take a request.
    pub(super) async fn ready(&mut self) -> bool {
        let ready = match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await,
            Sender::Http2(sender) => sender.ready().await,
        };
        ready.is_ok()
    }

    /// Sends a request, whose target is in absolute form, and waits for the
    /// head of its answer.
    pub(super) async fn send(
        &mut self,
        mut request: Request<Body>,
        head_max: u32,
    ) -> Result<Response<Incoming>, Unanswered> {
        let sent = match &mut self.sender {
            Sender::Http1(sender) => {
                let absolute = std::mem::take(request.uri_mut());
                *request.uri_mut() = absolute
                    .path_and_query()
                    .cloned()
                    .map_or_else(http::Uri::default, http::Uri::from);
                let sent = sender.try_send_request(request).await;
                // Another connection may be one that wants it back.
                sent.map_err(|mut error| {
                    let unsent = error.take_message().map(|mut it| {
                        *it.uri_mut() = absolute;
                        it
                    });
                    (unsent, error.into_error())
                })
            }
            Sender::Http2(sender) => {
                // It is in the target there.
                let host = request.headers_mut().remove(http::header::HOST);
                let sent = sender.try_send_request(request).await;
                sent.map_err(|mut error| {
                    let unsent = error.take_message().map(|mut it| {
                        if let Some(host) = host {
                            it.headers_mut().insert(http::header::HOST, host);
                        }
                        it
                    });
                    (unsent, error.into_error())
                })
            }
        };
        sent.map_err(|(unsent, error)| Unanswered {
            fault: fault_of(&error, head_max),
            unsent: unsent.map(Box::new),
        })
    }
}

// === impl Way ===

impl Way<'_> {
    /// A connection to one of the addresses, as far as they are admitted.
    async fn tcp(&self) -> Result<TcpStream, CallRefused> {
        let found = resolve::addresses(self.resolver, &self.to.host);
        let found = tokio::time::timeout_at(self.until, found).await;
        let found = found.map_err(|_| Fault::NameTimeout)?;
        let found = found.map_err(|_| Fault::Name)?;
        if found.is_empty() {
            return Err(Fault::Name.into());
        }
        let admitted: Vec<_> = found
            .iter()
            .copied()
            .filter(|it| self.permission.admits(*it))
            .take(ADDRESSES_MAX)
            .collect();
        let mut failed = None;
        for (at, address) in admitted.iter().enumerate() {
            match self.tcp_to(*address, admitted.len() - at).await {
                Ok(tcp) => return Ok(tcp),
                Err(fault) => failed = Some(fault),
            }
        }
        match failed {
            Some(refused) => Err(refused),
            None => {
                let host = &self.to.host;
                tracing::warn!(%host, "a name leads to addresses that are not granted");
                Err(CallRefused::Denied)
            }
        }
    }

    /// A connection to one address, which may take its share of the time.
    async fn tcp_to(&self, address: IpAddr, left: usize) -> Result<TcpStream, CallRefused> {
        let left = u32::try_from(left).unwrap_or(u32::MAX).max(1);
        let share = self.until.saturating_duration_since(Instant::now()) / left;
        let connecting = TcpStream::connect(SocketAddr::new(address, self.to.port));
        let tcp = match tokio::time::timeout(share, connecting).await {
            Ok(Ok(tcp)) => tcp,
            Ok(Err(error)) => return Err(unconnected(&error).into()),
            Err(_) => return Err(Fault::ConnectTimeout.into()),
        };
        // What counts is who is at the other end.
        let peer = tcp.peer_addr().map_err(|_| Fault::Terminated)?;
        if !self.permission.admits(peer.ip()) {
            return Err(CallRefused::Denied);
        }
        // A request is written whole, so there is nothing to gather.
        let _ = tcp.set_nodelay(true);
        Ok(tcp)
    }

    async fn tls(
        &self,
        tcp: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Fault> {
        // There is one wherever something is granted that needs it.
        let trust = self.trust.ok_or(Fault::Tls)?;
        let name = match &self.to.host {
            Host::Address(address) => ServerName::IpAddress((*address).into()),
            Host::Name(name) => {
                ServerName::try_from(name.to_string()).map_err(|_| Fault::Certificate)?
            }
        };
        let shaking = TlsConnector::from(trust.clone()).connect(name, tcp);
        match tokio::time::timeout_at(self.until, shaking).await {
            Ok(Ok(tls)) => Ok(tls),
            Ok(Err(error)) => Err(unsecured(&error)),
            Err(_) => Err(Fault::ConnectTimeout),
        }
    }

    async fn http1(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        held: Held,
    ) -> Result<(Sender, watch::Sender<Instant>), Fault> {
        let head_max = self.head_max as usize;
        let shaken = http1::Builder::new()
            .max_headers(FIELDS_MAX)
            .max_header_size(head_max)
            // The library reads the whole head into it.
            .max_buf_size(BUFFER_MIN.max(head_max).max(WINDOW as usize))
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = shaken.map_err(|_| Fault::Terminated)?;
        let ends = drive(connection, self.until, held);
        Ok((Sender::Http1(sender), ends))
    }

    async fn http2(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        held: Held,
    ) -> Result<(Sender, watch::Sender<Instant>), Fault> {
        let shaking = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(self.head_max)
            .handshake(TokioIo::new(stream));
        let shaken = tokio::time::timeout_at(self.until, shaking).await;
        let shaken = shaken.map_err(|_| Fault::ConnectTimeout)?;
        let (sender, connection) = shaken.map_err(|_| Fault::Terminated)?;
        let ends = drive(connection, self.until, held);
        Ok((Sender::Http2(sender), ends))
    }
}

/// Drives a connection on a task of its own until it is closed, its time is
/// over, or nobody has it any more.
fn drive(
    connection: impl Future<Output = hyper::Result<()>> + Send + 'static,
    end: Instant,
    held: Held,
) -> watch::Sender<Instant> {
    let (ends, mut changes) = watch::channel(end);
    tokio::spawn(async move {
        // Given back when the socket is closed, and not before.
        let Held { permit, open } = held;
        {
            let mut connection = pin!(connection);
            loop {
                let end = *changes.borrow_and_update();
                tokio::select! {
                    _ = &mut connection => break,
                    () = tokio::time::sleep_until(end) => break,
                    changed = changes.changed() => if changed.is_err() {
                        break;
                    },
                }
            }
        }
        drop(open);
        drop(permit);
    });
    ends
}

// === faults ===

/// Why there is no TCP connection.
fn unconnected(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Fault::Refused,
        io::ErrorKind::TimedOut => Fault::ConnectTimeout,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Fault::Terminated,
        _ => Fault::Unreachable,
    }
}

/// Why there is no TLS.
fn unsecured(error: &io::Error) -> Fault {
    let tls = error.get_ref().and_then(|it| it.downcast_ref());
    match tls {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Fault::Certificate
        }
        Some(_) => Fault::Tls,
        // It closed the connection without a word.
        None => Fault::Terminated,
    }
}

/// Why a connection did not answer, or broke off.
pub(super) fn fault_of(error: &hyper::Error, head_max: u32) -> Fault {
    if error.is_parse_too_large() {
        Fault::HeadTooLarge { limit: head_max }
    } else if error.is_parse() {
        Fault::Protocol
    } else if error.is_incomplete_message() {
        Fault::Incomplete
    } else {
        // What is wrong with a body is under its error.
        let source = error.source().and_then(|it| it.downcast_ref());
        match source.map(io::Error::kind) {
            Some(io::ErrorKind::UnexpectedEof) => Fault::Incomplete,
            Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Fault::Protocol,
            _ => Fault::Terminated,
        }
    }
}

/// The time until which a connection may be made.
pub(super) fn until(limit: Duration, deadline: Instant) -> Instant {
    let now = Instant::now();
    now.checked_add(limit)
        .map_or(deadline, |it| it.min(deadline))
}
