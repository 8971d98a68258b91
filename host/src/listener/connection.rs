//! One connection: HTTP/1.1, or HTTP/2 by prior knowledge, on the same port.
//!
//! ```text
//!   accepted --first bytes--> recognised --+--> HTTP/1: one request after the other
//!                                          +--> HTTP/2: each request a task of its own
//! ```
//!
//! Both are driven in the same way: until they end, until their client is too
//! slow ([`progress`](super::progress)), or until the node is told to stop.
//! Then a client may have sent a request that is still on its way. On HTTP/2
//! the protocol takes care of that. On HTTP/1 an idle connection is not closed
//! at once: for a moment it serves what comes, and says that it is the last.

use super::preface::{self, Begun, Protocol};
use super::progress::{Alive, Busy, Noted, Patience, Progress, Slow, Tracked};
use super::service::Service;
use super::{Options, Ping};
use crate::shutdown::{Phase, Shutdown};
use crate::telemetry;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::net::sockopt;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

/// Serves connections, all in the same way.
pub(super) struct Connection<S> {
    service: S,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    ping: Ping,
    patience: Patience,
    /// How often progress is compared with patience.
    tick: Duration,
}

/// What the HTTP library makes of a connection: a future of its end.
trait Serving: Future<Output = hyper::Result<()>> {
    /// Whether a client that asks for nothing can be told that the connection
    /// ends, so that nothing it sends meanwhile is lost.
    const CAN_SAY_GOODBYE: bool;

    /// Ends it when the requests under way have been answered.
    fn finish(self: Pin<&mut Self>);
}

/// A connection's stream.
type Io = Noted<TokioIo<TcpStream>>;

/// What the HTTP library counts header fields by unless it is told otherwise;
/// telling it otherwise costs an allocation per request.
const HEADERS_DEFAULT: usize = 100;

/// The buffers of a connection of HTTP/1, in bytes, unless its heads may be
/// larger.
const BUFFER_BYTES: usize = 64 << 10;

/// How much a client of HTTP/2 may send of one request, and of all requests of
/// a connection, before any of it was taken, in bytes.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// How much of one answer is buffered for a client of HTTP/2, in bytes.
const SEND_BUFFER_BYTES: usize = 256 << 10;

/// How many requests a client of HTTP/2 may have begun and reset before they
/// were looked at; beyond it the connection is cut.
const RESETS_PENDING_MAX: usize = 20;

/// How many of a connection's requests may be reset for what is wrong about
/// them; beyond it the connection is cut.
const RESETS_FOR_ERRORS_MAX: usize = 100;

/// How often a peer that does not answer is asked again by the system, and the
/// shortest time between two times, which is its unit.
const PROBES: u32 = 4;
const PROBE_MIN: Duration = Duration::from_secs(1);

/// Bounds of [`Connection::tick`].
const TICK_MIN: Duration = Duration::from_millis(5);
const TICK_MAX: Duration = Duration::from_secs(5);

impl<S: Service> Connection<S> {
    pub(super) fn new(service: S, options: &Options) -> Self {
        let patience = options.patience.clone();
        let shortest = patience.header.min(patience.idle).min(patience.write);
        Self {
            service,
            http1: http1(options),
            http2: http2(options),
            ping: options.ping.clone(),
            tick: (shortest / 4).clamp(TICK_MIN, TICK_MAX),
            patience,
        }
    }

    /// Serves one connection to its end. While draining, it ends with the
    /// answers to the requests that are under way.
    pub(super) async fn serve(
        self: Arc<Self>,
        mut stream: TcpStream,
        shutdown: Shutdown,
        alive: Alive,
    ) {
        if let Err(error) = prepare(&stream, &self.ping) {
            tracing::debug!(%error, "a connection is served as it is");
        }
        let progress = Arc::new(Progress::new(alive));
        let Some((protocol, begun)) = self.recognise(&mut stream, &progress, &shutdown).await
        else {
            return;
        };
        let io = Noted::new(begun, TokioIo::new(stream), progress.clone());
        match protocol {
            Protocol::Http1 => self.serve_http1(io, &progress, shutdown).await,
            Protocol::Http2 => self.serve_http2(io, &progress, shutdown).await,
        }
    }

    /// What the client speaks; `None` if it says nothing in time.
    async fn recognise(
        &self,
        stream: &mut TcpStream,
        progress: &Progress,
        shutdown: &Shutdown,
    ) -> Option<(Protocol, Begun)> {
        let mut reading = pin!(preface::recognise(stream, progress));
        let mut ticks = self.ticks();
        let mut drain = pin!(settled(shutdown.clone(), progress));
        loop {
            tokio::select! {
                biased;
                read = reading.as_mut() => return read.unwrap_or_else(|error| {
                    tracing::debug!(%error, "a connection broke off");
                    None
                }),
                () = drain.as_mut() => return None,
                _ = ticks.tick() => if let Some(slow) = progress.is_too_slow(&self.patience) {
                    tracing::debug!(why = slow.text(), "a connection is cut");
                    return None;
                },
            }
        }
    }

    async fn serve_http1(&self, io: Io, progress: &Arc<Progress>, shutdown: Shutdown) {
        let phase = shutdown.clone();
        let service = service_fn(|request| self.answer_last(progress, &phase, request));
        let serving = pin!(self.http1.serve_connection(io, service));
        let drain = pin!(settled(shutdown, progress));
        self.drive(serving, drain, progress).await;
    }

    async fn serve_http2(
        self: &Arc<Self>,
        io: Io,
        progress: &Arc<Progress>,
        mut shutdown: Shutdown,
    ) {
        progress.has_streams();
        let service = service_fn(|request| {
            let (this, busy) = (self.clone(), Busy::new(progress));
            async move {
                let response = this.service.answer(request).await;
                Ok::<_, Infallible>(response.map(|body| Tracked::by_its_reader(body, busy)))
            }
        });
        let serving = pin!(self.http2.serve_connection(io, service));
        let drain = pin!(shutdown.reached(Phase::Draining));
        self.drive(serving, drain, progress).await;
    }

    /// Drives a connection to its end; `drain` says when to finish it.
    async fn drive(
        &self,
        mut serving: Pin<&mut impl Serving>,
        mut drain: Pin<&mut impl Future<Output = ()>>,
        progress: &Progress,
    ) {
        let mut ticks = self.ticks();
        let mut finishing: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                ended = serving.as_mut() => {
                    if let Err(error) = ended {
                        let error = telemetry::chain(&error);
                        tracing::debug!(error, "a connection broke off");
                    }
                    return;
                }
                () = drain.as_mut(), if finishing.is_none() => {
                    finishing = Some(Instant::now());
                    serving.as_mut().finish();
                }
                _ = ticks.tick() => match progress.is_too_slow(&self.patience) {
                    None => {}
                    Some(Slow::Idle) if self.may_still_go(&serving, &mut finishing) => {
                        serving.as_mut().finish();
                    }
                    Some(slow) => {
                        tracing::debug!(why = slow.text(), "a connection is cut");
                        return;
                    }
                },
            }
        }
    }

    /// Whether an idle connection need not be cut because its client can be
    /// told, or was told a moment ago.
    fn may_still_go<C: Serving>(
        &self,
        _serving: &Pin<&mut C>,
        finishing: &mut Option<Instant>,
    ) -> bool {
        let since = finishing.get_or_insert_with(Instant::now);
        C::CAN_SAY_GOODBYE && since.elapsed() < self.patience.header
    }

    /// Answers a request of HTTP/1, the last of its connection if the node is
    /// about to end.
    async fn answer_last(
        &self,
        progress: &Arc<Progress>,
        phase: &Shutdown,
        request: Request<Incoming>,
    ) -> Result<Response<Tracked<S::Body>>, Infallible> {
        let busy = Busy::new(progress);
        let mut response = self.service.answer(request).await;
        if phase.phase() >= Phase::Draining {
            let last = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, last);
        }
        Ok(response.map(|body| Tracked::to_its_end(body, busy)))
    }

    fn ticks(&self) -> tokio::time::Interval {
        let mut ticks = tokio::time::interval(self.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }
}

/// Small answers go out at once, and the system cuts the connection when its
/// peer has gone without a word.
pub(super) fn prepare(stream: &TcpStream, ping: &Ping) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Only on HTTP/2 do we ask a quiet peer ourselves.
    sockopt::set_tcp_keepidle(stream, ping.every.max(PROBE_MIN))?;
    sockopt::set_tcp_keepintvl(stream, (ping.timeout / PROBES).max(PROBE_MIN))?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    sockopt::set_socket_keepalive(stream, true)?;
    // What was sent is asked about far longer than that, unless it is said.
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, patience_millis(ping))?;
    Ok(())
}

/// How long nothing may be heard of a peer, in milliseconds.
#[cfg(target_os = "linux")]
fn patience_millis(ping: &Ping) -> u32 {
    u32::try_from((ping.every + ping.timeout).as_millis()).unwrap_or(u32::MAX)
}

/// Waits until the node drains and no request is likely to be on its way.
async fn settled(mut shutdown: Shutdown, progress: &Progress) {
    shutdown.reached(Phase::Draining).await;
    progress.settle().await;
}

fn http1(options: &Options) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.header_read_timeout(None)
        .max_header_size(options.header_bytes)
        .max_buf_size(options.header_bytes.max(BUFFER_BYTES));
    if options.headers != HEADERS_DEFAULT {
        http.max_headers(options.headers);
    }
    http
}

fn http2(options: &Options) -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(options.streams)
        .max_header_list_size(u32::try_from(options.header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(RESETS_FOR_ERRORS_MAX)
        .keep_alive_interval(options.ping.every)
        .keep_alive_timeout(options.ping.timeout);
    http
}

// === impl Serving ===

impl<H, B> Serving for http1::Connection<Io, H>
where
    H: hyper::service::HttpService<Incoming, ResBody = B>,
    H::Error: Into<super::service::BodyError>,
    B: http_body::Body<Error: Into<super::service::BodyError>> + 'static,
{
    /// HTTP/1 has no way to say so without a request to answer.
    const CAN_SAY_GOODBYE: bool = false;

    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<H, B> Serving for http2::Connection<Io, H, TokioExecutor>
where
    H: hyper::service::HttpService<Incoming, ResBody = B>,
    H::Future: Send + 'static,
    H::Error: Into<super::service::BodyError>,
    B: http_body::Body<Data: Send, Error: Into<super::service::BodyError>> + Send + 'static,
{
    const CAN_SAY_GOODBYE: bool = true;

    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
