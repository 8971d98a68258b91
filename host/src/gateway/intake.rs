//! A request's body on its way to its handler.
//!
//! ```text
//!   client --> Pump --> bounded buffer --> Reader --> handler
//! ```
//!
//! HTTP/1 shows that a client has gone away only to someone who has read all
//! of its request. So the gateway reads ahead of the handler, up to
//! [`BUFFER_BYTES`], and while the handler works the connection is watched. The
//! [`Pump`] is no task: whoever drives the request polls it on the side
//! ([`Pump::alongside`]), so it ends with the request.
//!
//! A handler that is run again reads the body from its beginning. So what was
//! read is kept, as long as that and what is buffered stay within
//! [`AGAIN_BYTES`]; a handler whose body is larger is not run again.
//!
//! The limit on a body is kept here too, by what was announced before anything
//! is read, and by what comes.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::{Empty, Full};
use lockport_engine::BoxError;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// How far the gateway reads ahead of a handler, in bytes.
pub const BUFFER_BYTES: usize = 1 << 20;

/// The largest body that can be read again, in bytes.
pub const AGAIN_BYTES: usize = BUFFER_BYTES;

/// Chunks shorter than this are copied together, in bytes. A chunk of its own
/// costs its place in the queue and keeps what it was read into, however
/// little of that it is.
const SHORT_BYTES: usize = 1 << 10;

/// How much of short chunks is copied into one, in bytes.
const JOINED_BYTES: usize = 16 << 10;

/// Why a body did not arrive whole.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IntakeError {
    /// It is larger than allowed.
    #[error("the request's body is larger than {limit} bytes")]
    TooLarge {
        /// How much is allowed, in bytes.
        limit: u64,
    },
    /// The client broke off, or what it sent is not a body.
    #[error("the request's body broke off: {0}")]
    Broken(String),
}

/// Moves a body from its client into a buffer that a [`Reader`] reads.
pub struct Pump<B> {
    source: Pin<Box<B>>,
    shared: Arc<Shared>,
    limit: u64,
    taken: u64,
}

/// The handler's side of a body.
struct Reader {
    shared: Arc<Shared>,
    /// One that is not the latest reads nothing any more.
    number: u32,
}

#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    chunks: VecDeque<Bytes>,
    /// Short chunks that came after `chunks`, in one piece.
    tail: Vec<u8>,
    buffered: usize,
    /// How it ended, once it has.
    end: Option<Result<(), IntakeError>>,
    /// How many readers there have been.
    readers: u32,
    /// The latest reader has gone.
    unread: bool,
    /// What was read, for the next reader; `None` if there can be none.
    kept: Option<Kept>,
    reader: Option<Waker>,
    pump: Option<Waker>,
}

#[derive(Default)]
struct Kept {
    chunks: Vec<Bytes>,
    bytes: usize,
}

/// Whether a body may be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// It is read once.
    Once,
    /// It may be, if it is not too large: what was read of it is kept.
    Again,
}

impl Reads {
    /// Again if `needed`, else once.
    pub fn again_if(needed: bool) -> Self {
        match needed {
            true => Self::Again,
            false => Self::Once,
        }
    }
}

/// A body for a handler and, unless it is there already, what brings it.
pub struct Intake<B> {
    source: Source,
    /// What must be driven while the request lasts.
    pub pump: Option<Pump<B>>,
}

/// Where a handler's body comes from.
enum Source {
    Nothing,
    /// It came in one piece.
    Whole(Bytes),
    Shared(Arc<Shared>),
}

impl<B> Intake<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    /// Begins to take a body in. One that is known to be too large is refused
    /// unread; one that has arrived already needs no pump.
    pub async fn begin(source: B, limit: u64, reads: Reads) -> Result<Self, IntakeError> {
        if source.is_end_stream() {
            return Ok(Self::arrived(Source::Nothing));
        }
        if source.size_hint().lower() > limit {
            return Err(IntakeError::TooLarge { limit });
        }
        let mut pump = Pump {
            source: Box::pin(source),
            shared: Arc::new(Shared::new(reads)),
            limit,
            taken: 0,
        };
        let ended = std::future::poll_fn(|cx| match pump.poll(cx) {
            Poll::Ready(end) => Poll::Ready(Some(end)),
            Poll::Pending => Poll::Ready(None),
        });
        match ended.await {
            Some(Err(error)) => Err(error),
            Some(Ok(())) => Ok(Self::arrived(Source::of(&pump.shared))),
            None => Ok(Self {
                source: Source::Shared(pump.shared.clone()),
                pump: Some(pump),
            }),
        }
    }

    fn arrived(source: Source) -> Self {
        Self { source, pump: None }
    }

    /// The body from its beginning, for a handler. Whoever was given it before
    /// reads nothing any more. `None` if it cannot be read again.
    pub fn body(&self) -> Option<lockport_engine::Body> {
        Some(match &self.source {
            Source::Nothing => boxed(Empty::new()),
            Source::Whole(bytes) => boxed(Full::new(bytes.clone())),
            Source::Shared(shared) => {
                let number = shared.lock().begin()?;
                let shared = shared.clone();
                boxed(Reader { shared, number })
            }
        })
    }

    /// Whether [`Intake::body`] would give it once more.
    pub fn is_there_again(&self) -> bool {
        match &self.source {
            Source::Nothing | Source::Whole(_) => true,
            Source::Shared(shared) => shared.lock().kept.is_some(),
        }
    }
}

impl Source {
    /// A body that has arrived.
    fn of(shared: &Arc<Shared>) -> Self {
        let mut state = shared.lock();
        match (state.take_first(), state.is_empty()) {
            (None, _) => Self::Nothing,
            (Some(only), true) => Self::Whole(only),
            (Some(first), false) => {
                state.chunks.push_front(first);
                Self::Shared(shared.clone())
            }
        }
    }
}

impl<B> Pump<B>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    /// Drives `work` with the pump on the side. If the body does not arrive
    /// whole, `work` is dropped unfinished and the reason returned.
    pub async fn alongside<T>(
        pump: &mut Option<Self>,
        work: impl Future<Output = T>,
    ) -> Result<T, IntakeError> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| {
            if let Some(it) = pump
                && let Poll::Ready(end) = it.poll(cx)
            {
                *pump = None;
                end?;
            }
            work.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    /// Moves what has come, as far as there is room. Ready when the body has
    /// ended.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), IntakeError>> {
        loop {
            if self.shared.is_full(cx) {
                return Poll::Pending;
            }
            let end = match self.source.as_mut().poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    // Trailers of a request mean nothing to anyone here.
                    Err(_) => continue,
                    Ok(data) => {
                        self.taken = self.taken.saturating_add(data.len() as u64);
                        if self.taken <= self.limit {
                            self.shared.push(data);
                            continue;
                        }
                        Err(IntakeError::TooLarge { limit: self.limit })
                    }
                },
                Poll::Ready(Some(Err(error))) => Err(IntakeError::Broken(error.to_string())),
                Poll::Ready(None) => Ok(()),
            };
            self.shared.end(end.clone());
            return Poll::Ready(end);
        }
    }
}

impl<B> Drop for Pump<B> {
    fn drop(&mut self) {
        // A reader that is left behind must not wait for ever.
        let gone = IntakeError::Broken("the request is over".to_owned());
        self.shared.end(Err(gone));
    }
}

impl Shared {
    fn new(reads: Reads) -> Self {
        let kept = match reads {
            Reads::Once => None,
            Reads::Again => Some(Kept::default()),
        };
        Self(Mutex::new(State {
            kept,
            ..State::default()
        }))
    }

    fn is_full(&self, cx: &Context<'_>) -> bool {
        let mut state = self.lock();
        // What nobody reads is taken in all the same: only so is it seen whether
        // the client is still there.
        let full = state.buffered >= BUFFER_BYTES && !state.unread;
        if full {
            state.pump = Some(cx.waker().clone());
        }
        full
    }

    fn push(&self, data: Bytes) {
        let mut state = self.lock();
        if data.is_empty() || state.unread && state.kept.is_none() {
            return;
        }
        state.append(data);
        state.forget_what_is_too_much();
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }

    /// The first end is the one that counts.
    fn end(&self, end: Result<(), IntakeError>) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Begins to be read, from the beginning: the number of who reads now. `None`
    /// if that is not there any more.
    fn begin(&mut self) -> Option<u32> {
        if self.readers > 0 {
            let kept = self.kept.replace(Kept::default())?;
            self.buffered += kept.bytes;
            for chunk in kept.chunks.into_iter().rev() {
                self.chunks.push_front(chunk);
            }
        }
        self.readers += 1;
        self.unread = false;
        Some(self.readers)
    }

    /// What is read next, and kept if it may be read again.
    fn read(&mut self) -> Option<Bytes> {
        let data = self.take_first()?;
        self.buffered -= data.len();
        if let Some(kept) = &mut self.kept {
            kept.bytes += data.len();
            kept.chunks.push(data.clone());
        }
        self.forget_what_is_too_much();
        Some(data)
    }

    /// Lets go of what nobody will read: what was read of a body that is too large
    /// to be read again, and all that comes if its reader has gone.
    fn forget_what_is_too_much(&mut self) {
        let kept = self.kept.as_ref().map_or(0, |it| it.bytes);
        if kept + self.buffered > AGAIN_BYTES {
            self.kept = None;
        }
        if self.unread && self.kept.is_none() {
            self.chunks = VecDeque::new();
            self.tail = Vec::new();
            self.buffered = 0;
        }
    }

    fn append(&mut self, data: Bytes) {
        self.buffered += data.len();
        if data.len() < SHORT_BYTES {
            self.tail.extend_from_slice(&data);
            if self.tail.len() >= JOINED_BYTES {
                self.close_tail();
            }
        } else {
            self.close_tail();
            self.chunks.push_back(data);
        }
    }

    /// Makes a chunk of what was copied together.
    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let joined = std::mem::take(&mut self.tail);
            self.chunks.push_back(joined.into());
        }
    }

    fn take_first(&mut self) -> Option<Bytes> {
        if self.chunks.is_empty() {
            self.close_tail();
        }
        self.chunks.pop_front()
    }

    fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.tail.is_empty()
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = IntakeError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IntakeError>>> {
        let mut state = self.shared.lock();
        if state.readers != self.number {
            let gone = IntakeError::Broken("the request is run again".to_owned());
            return Poll::Ready(Some(Err(gone)));
        }
        if let Some(data) = state.read() {
            let pump = state.pump.take();
            drop(state);
            wake(pump);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match &state.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error.clone()))),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.shared.lock();
        state.is_empty() && matches!(state.end, Some(Ok(())))
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.shared.lock();
        let mut hint = SizeHint::new();
        hint.set_lower(state.buffered as u64);
        if matches!(state.end, Some(Ok(()))) {
            hint.set_upper(state.buffered as u64);
        }
        hint
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.readers != self.number {
            return;
        }
        state.unread = true;
        state.forget_what_is_too_much();
        let pump = state.pump.take();
        drop(state);
        wake(pump);
    }
}

fn boxed(
    body: impl Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
) -> lockport_engine::Body {
    body.map_err(Into::into).boxed_unsync()
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests;
