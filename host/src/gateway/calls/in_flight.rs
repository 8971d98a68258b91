//! How many calls a request has in flight, counted by what they make the host
//! keep: a call has its place until the body of its answer was handed over.

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use lockport_engine::{Body, BoxError, CallRefused};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The calls of a request. Clones count together.
#[derive(Clone)]
pub(super) struct InFlight {
    free: Arc<Semaphore>,
    max: usize,
}

/// The place of one call. Dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// A body with the place of its call, which it leaves when its end was read.
struct Placed<B> {
    body: B,
    place: Option<Place>,
}

impl InFlight {
    /// Room for `max` calls.
    pub(super) fn new(max: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(max)),
            max,
        }
    }

    /// A place for one call more. Nobody waits for one: those in front may be
    /// the caller's own, which it reads only after this call.
    pub(super) fn enter(&self) -> Result<Place, CallRefused> {
        let permit = self.free.clone().try_acquire_owned();
        permit.map(|it| Place { _permit: it }).map_err(|_| {
            CallRefused::Failed(format!(
                "a request has at most {} calls in flight, answers it has not read among them",
                self.max
            ))
        })
    }
}

impl Place {
    /// The body of the call's answer, which keeps the place.
    pub(super) fn keep_for(self, bytes: Bytes) -> Body {
        let body = Placed {
            body: Full::new(bytes),
            place: Some(self),
        };
        body.map_err(|never| match never {}).boxed_unsync()
    }

    /// The same for a body that is still to come.
    pub(super) fn keep_with<B>(self, body: B) -> Body
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let body = Placed {
            body,
            place: Some(self),
        };
        body.map_err(Into::into).boxed_unsync()
    }
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Placed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // Not with the last frame: a reader may keep that unread.
        if !matches!(frame, Some(Ok(_))) {
            self.place = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_call_keeps_its_place_until_its_answer_was_read_or_dropped() {
        let calls = InFlight::new(2);
        let (first, second) = (calls.enter().unwrap(), calls.clone().enter().unwrap());
        let refused = calls.enter().unwrap_err();
        assert!(matches!(&refused, CallRefused::Failed(text) if text.contains("at most 2 calls")));

        let mut read = first.keep_for(Bytes::from_static(b"abc"));
        let dropped = second.keep_for(Bytes::from_static(b"abc"));
        let frame = read.frame().now_or_never().unwrap().unwrap().unwrap();
        assert!(calls.enter().is_err(), "nothing was read to its end");
        assert!(read.frame().now_or_never().unwrap().is_none());
        let place = calls.enter().unwrap();
        assert!(calls.enter().is_err(), "only one has ended");
        drop(dropped);
        assert!(calls.enter().is_ok());
        drop((frame, place));
    }
}
