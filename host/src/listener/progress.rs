//! How long a client may take.
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
//! Once a connection is known to speak HTTP/2, bytes between its requests are
//! not a head: they may be pings. What a client does not read may then lie
//! behind a window that it keeps shut, where no write is blocked. So answers
//! say when they wait for their reader ([`Tracked`]).

use super::preface::Begun;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

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

/// Lives as long as anything of a connection does, its requests included:
/// whoever has the other end hears when the last has gone.
pub(super) type Alive = mpsc::Sender<Infallible>;

/// What a connection did last. Times are milliseconds since it began, plus 1;
/// 0 means that it is not so.
pub(super) struct Progress {
    began: Instant,
    /// Whether bytes between requests may be something else than a head.
    streams: AtomicBool,
    /// Requests whose answers are not finished.
    busy: AtomicU32,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    blocked_since: AtomicU64,
    /// Answers that wait for their reader, and when one last did not.
    unread: AtomicU32,
    moved_at: AtomicU64,
    _alive: Alive,
}

/// What a client is too slow with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slow {
    /// It asks for nothing.
    Idle,
    /// It does not finish a request's head.
    Head,
    /// It does not read its answer.
    Answer,
}

/// A stream that notes its progress.
pub(super) struct Noted<S> {
    begun: Begun,
    stream: S,
    progress: Arc<Progress>,
}

/// A response's body that notes when it is finished and, on HTTP/2, whether it
/// waits for its reader.
pub(super) struct Tracked<B> {
    body: B,
    /// Whether it counts as unread; `None` if that is not counted.
    unread: Option<bool>,
    busy: Busy,
}

/// As long as this lives, a request is not finished.
pub(super) struct Busy(Arc<Progress>);

/// How long a connection without a request waits for one that may be on its
/// way when the node is told to stop. A round trip round the earth.
const DRAIN_GRACE: Duration = Duration::from_millis(250);

// === impl Progress ===

impl Progress {
    /// A connection that has just begun.
    pub(super) fn new(alive: Alive) -> Self {
        Self {
            began: Instant::now(),
            streams: AtomicBool::new(false),
            busy: AtomicU32::new(0),
            idle_since: AtomicU64::new(1),
            head_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            unread: AtomicU32::new(0),
            moved_at: AtomicU64::new(1),
            _alive: alive,
        }
    }

    /// A connection that nobody waits for.
    #[cfg(test)]
    pub(super) fn unwatched() -> Self {
        Self::new(mpsc::channel(1).0)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// It speaks HTTP/2, whose requests are streams.
    pub(super) fn has_streams(&self) {
        self.streams.store(true, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        self.idle_since.store(self.now(), Ordering::Relaxed);
    }

    /// Bytes have come. Between requests, the first are the next one's head.
    pub(super) fn has_read(&self) {
        let between = self.busy.load(Ordering::Relaxed) == 0;
        if between
            && self.head_since.load(Ordering::Relaxed) == 0
            && !self.streams.load(Ordering::Relaxed)
        {
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

    fn has_moved(&self) {
        self.moved_at.store(self.now(), Ordering::Relaxed);
    }

    /// Waits until no request is likely to be on its way any more: at once if
    /// one is handled, for whatever follows it is told to go elsewhere.
    pub(super) async fn settle(&self) {
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
    pub(super) fn is_too_slow(&self, patience: &Patience) -> Option<Slow> {
        let now = self.now();
        let over = |since: &AtomicU64, limit: Duration| match since.load(Ordering::Relaxed) {
            0 => false,
            since => u128::from(now.saturating_sub(since)) > limit.as_millis(),
        };
        let unread = self.unread.load(Ordering::Relaxed) > 0;
        if over(&self.blocked_since, patience.write)
            || unread && over(&self.moved_at, patience.write)
        {
            return Some(Slow::Answer);
        }
        if self.busy.load(Ordering::Relaxed) > 0 {
            return None;
        }
        if over(&self.head_since, patience.header) {
            return Some(Slow::Head);
        }
        let idle = self.head_since.load(Ordering::Relaxed) == 0;
        (idle && over(&self.idle_since, patience.idle)).then_some(Slow::Idle)
    }
}

impl Busy {
    pub(super) fn new(progress: &Arc<Progress>) -> Self {
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

impl<S> Noted<S> {
    /// `stream`, of which `begun` was read already.
    pub(super) fn new(begun: Begun, stream: S, progress: Arc<Progress>) -> Self {
        Self {
            begun,
            stream,
            progress,
        }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.progress.is_blocked(),
            Poll::Ready(_) => self.progress.has_written(),
        }
        written
    }
}

impl<S: Read + Unpin> Read for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rest = this.begun.rest();
        if !rest.is_empty() && buffer.remaining() > 0 {
            let count = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..count]);
            this.begun.advance(count);
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if read.is_ready() {
            this.progress.has_read();
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

// === impl Tracked ===

impl<B> Tracked<B> {
    /// A body of which only the end is noted.
    pub(super) fn to_its_end(body: B, busy: Busy) -> Self {
        Self {
            body,
            unread: None,
            busy,
        }
    }

    /// A body that waits for its reader whenever nobody asks it for more
    /// although it has some: so from the start, until it is first asked.
    pub(super) fn by_its_reader(body: B, busy: Busy) -> Self {
        let mut tracked = Self {
            body,
            unread: Some(false),
            busy,
        };
        tracked.is_unread(true);
        tracked
    }

    fn is_unread(&mut self, unread: bool) {
        let Some(before) = self.unread else {
            return;
        };
        self.unread = Some(unread);
        let progress = &self.busy.0;
        progress.has_moved();
        match (before, unread) {
            (false, true) => progress.unread.fetch_add(1, Ordering::Relaxed),
            (true, false) => progress.unread.fetch_sub(1, Ordering::Relaxed),
            (true, true) | (false, false) => 0,
        };
    }
}

impl<B> Drop for Tracked<B> {
    fn drop(&mut self) {
        self.is_unread(false);
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if self.unread.is_some() {
            let more = matches!(frame, Poll::Ready(Some(Ok(_))));
            self.is_unread(more);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl Slow ===

impl Slow {
    /// In words, for the log.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Idle => "it is idle",
            Self::Head => "it does not finish a request's head",
            Self::Answer => "it does not read its answer",
        }
    }
}

#[cfg(test)]
mod tests;
