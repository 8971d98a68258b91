//! One connection: HTTP/1.1, and how long a slow client may take.
//!
//! The HTTP library can time a request's head, but it sets a timer for every
//! request. Here a connection notes when it last made progress, and one slow
//! tick per connection compares that with its [`Patience`]:
//!
//! ```text
//!   idle --first byte--> head --complete--> busy --answer finished--> idle
//!   idle_timeout         header_timeout     (the request's deadline)
//!
//!   any time: a write that is blocked       write_timeout
//! ```
//!
//! When the node is told to stop, a client may have sent a request that is
//! still on its way. So an idle connection is not closed at once: for
//! [`DRAIN_GRACE`] it serves what comes, and says that it is the last.

use super::Gateway;
use super::listener::{self, Options};
use crate::shutdown::{Phase, Shutdown};
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

/// How long a client may take.
#[derive(Clone, Debug)]
pub struct Patience {
    /// For the head of a request, from its first byte.
    pub header: Duration,
    /// Between requests, and before the first.
    pub idle: Duration,
    /// To read some of what it is sent.
    pub write: Duration,
}

/// Serves connections, all in the same way.
pub(super) struct Connection {
    gateway: Arc<Gateway>,
    http: http1::Builder,
    patience: Patience,
    /// How often progress is compared with patience.
    tick: Duration,
}

/// What a connection did last. Times are milliseconds since it began, plus 1;
/// 0 means that it is not so.
struct Progress {
    began: Instant,
    /// Requests whose answers are not finished.
    busy: AtomicU32,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    blocked_since: AtomicU64,
}

/// A stream that notes its progress.
struct Noted<S> {
    stream: S,
    progress: Arc<Progress>,
}

/// A response's body that notes when it is finished.
struct Tracked<B> {
    body: B,
    _busy: Busy,
}

/// As long as this lives, a request is not finished.
struct Busy(Arc<Progress>);

/// What the HTTP library counts header fields by unless it is told otherwise;
/// telling it otherwise costs an allocation per request.
const HEADERS_DEFAULT: usize = 100;

/// The buffers of a connection, in bytes, unless its heads may be larger.
const BUFFER_BYTES: usize = 64 << 10;

/// How long a connection without a request waits for one that may be on its
/// way when the node is told to stop. A round trip round the earth.
const DRAIN_GRACE: Duration = Duration::from_millis(250);

/// Bounds of [`Connection::tick`].
const TICK_MIN: Duration = Duration::from_millis(5);
const TICK_MAX: Duration = Duration::from_secs(5);

impl Connection {
    pub(super) fn new(gateway: Arc<Gateway>, options: &Options) -> Self {
        let mut http = http1::Builder::new();
        http.header_read_timeout(None)
            .max_header_size(options.header_bytes)
            .max_buf_size(options.header_bytes.max(BUFFER_BYTES));
        if options.headers != HEADERS_DEFAULT {
            http.max_headers(options.headers);
        }
        let patience = options.patience.clone();
        let shortest = patience.header.min(patience.idle).min(patience.write);
        Self {
            gateway,
            http,
            tick: (shortest / 4).clamp(TICK_MIN, TICK_MAX),
            patience,
        }
    }

    /// Serves one connection to its end. While draining, it ends with the
    /// answer to the request that is under way.
    pub(super) async fn serve(self: Arc<Self>, stream: TcpStream, mut shutdown: Shutdown) {
        listener::prepare(&stream);
        let phase = shutdown.clone();
        let progress = Arc::new(Progress::new());
        let io = Noted {
            stream: TokioIo::new(stream),
            progress: progress.clone(),
        };
        let service = service_fn(|request| answer(&self.gateway, &progress, &phase, request));
        let mut serving = pin!(self.http.serve_connection(io, service));
        let mut ticks = tokio::time::interval(self.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drain = pin!(async {
            shutdown.reached(Phase::Draining).await;
            progress.settle().await;
        });
        let mut draining = false;
        loop {
            tokio::select! {
                biased;
                ended = serving.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(error = super::outcome::chain(&error), "a connection broke off");
                    }
                    return;
                }
                () = drain.as_mut(), if !draining => {
                    draining = true;
                    serving.as_mut().graceful_shutdown();
                }
                _ = ticks.tick() => if let Some(why) = progress.is_too_slow(&self.patience) {
                    tracing::debug!(why, "a connection is cut");
                    return;
                },
            }
        }
    }
}

async fn answer(
    gateway: &Arc<Gateway>,
    progress: &Arc<Progress>,
    phase: &Shutdown,
    request: Request<Incoming>,
) -> Result<
    Response<impl Body<Data = Bytes, Error: Into<lockport_engine::BoxError>> + use<>>,
    Infallible,
> {
    let busy = Busy::new(progress);
    let mut response = gateway.handle(request).await;
    if phase.phase() >= Phase::Draining {
        let last = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, last);
    }
    Ok(response.map(|body| Tracked { body, _busy: busy }))
}

// === impl Progress ===

impl Progress {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            busy: AtomicU32::new(0),
            idle_since: AtomicU64::new(1),
            head_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// Bytes have come. Between requests, the first are the next one's head.
    fn has_read(&self) {
        let between = self.busy.load(Ordering::Relaxed) == 0;
        if between && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    fn is_blocked(&self) {
        if self.blocked_since.load(Ordering::Relaxed) == 0 {
            self.blocked_since.store(self.now(), Ordering::Relaxed);
        }
    }

    fn has_written(&self) {
        if self.blocked_since.load(Ordering::Relaxed) != 0 {
            self.blocked_since.store(0, Ordering::Relaxed);
        }
    }

    /// Waits until no request is likely to be on its way any more: at once if
    /// one is handled, for whatever follows it is told to go elsewhere.
    async fn settle(&self) {
        let is_busy = || self.busy.load(Ordering::Relaxed) > 0;
        let has_begun = || self.head_since.load(Ordering::Relaxed) != 0;
        while !is_busy() {
            tokio::time::sleep(DRAIN_GRACE).await;
            if !has_begun() {
                return;
            }
        }
    }

    /// What the client is too slow with, if it is.
    fn is_too_slow(&self, patience: &Patience) -> Option<&'static str> {
        let now = self.now();
        let over = |since: &AtomicU64, limit: Duration| match since.load(Ordering::Relaxed) {
            0 => false,
            since => u128::from(now.saturating_sub(since)) > limit.as_millis(),
        };
        if over(&self.blocked_since, patience.write) {
            return Some("it does not read its answer");
        }
        if self.busy.load(Ordering::Relaxed) > 0 {
            return None;
        }
        if over(&self.head_since, patience.header) {
            return Some("it does not finish a request's head");
        }
        let idle = self.head_since.load(Ordering::Relaxed) == 0;
        (idle && over(&self.idle_since, patience.idle)).then_some("it is idle")
    }
}

impl Busy {
    fn new(progress: &Arc<Progress>) -> Self {
        progress.busy.fetch_add(1, Ordering::Relaxed);
        progress.head_since.store(0, Ordering::Relaxed);
        Self(progress.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Noted ===

impl<S: Read + Unpin> Read for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            self.progress.has_read();
        }
        read
    }
}

impl<S: Write + Unpin> Write for Noted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S> Noted<S> {
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.progress.is_blocked(),
            Poll::Ready(_) => self.progress.has_written(),
        }
        written
    }
}

// === impl Tracked ===

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
