//! What a handler answers: a head, and a body that may still be growing.

use crate::call::Call;
use crate::failure::Failure;
use crate::statistics::Tally;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// A response whose head is known.
#[derive(Debug)]
pub struct Answer {
    /// Status and headers, as the handler set them.
    pub head: http::response::Parts,
    /// The body, which the handler may still be writing.
    pub body: AnswerBody,
}

/// The body of a response. It ends cleanly only if the handler wrote it to its
/// end and returned. Dropping it before that ends the handler and discards its
/// instance. Implements [`http_body::Body`] with [`BodyError`].
pub struct AnswerBody(Kind);

enum Kind {
    /// The handler has returned; this is what is left to read.
    Complete(Frames),
    /// The handler may still be at work.
    Running(Running),
    /// It was read to its end, or broke off.
    Ended,
}

/// What a handler wrote. Nearly always that is one chunk, for which nothing
/// need be allocated.
#[derive(Default)]
struct Frames {
    next: Option<Frame<Bytes>>,
    rest: VecDeque<Frame<Bytes>>,
}

struct Running {
    body: HyperOutgoingBody,
    /// The rest of the handler's call. Taken when it has ended.
    call: Option<JoinHandle<Result<(), Failure>>>,
    /// Whether the handler has returned well.
    returned: bool,
    /// What is still missing of the length that the handler announced.
    missing: Option<u64>,
    /// Counts how the component fails.
    tally: Arc<Tally>,
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The handler failed behind its head.
    #[error(transparent)]
    Handler(#[from] Failure),
    /// More than the collector allowed.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// How much was allowed, in bytes.
        limit: u64,
    },
}

impl Answer {
    /// The answer of a handler that has returned: all there will ever be of
    /// its body is in the pipe. Fails if the body is not finished.
    pub(crate) async fn complete(
        response: http::Response<HyperOutgoingBody>,
    ) -> Result<Self, Failure> {
        let (head, mut body) = response.into_parts();
        let mut frames = Frames::default();
        loop {
            match poll_fn(|task| Poll::Ready(poll_whole(&mut body, task))).await {
                Poll::Ready(Some(frame)) => frames.push(frame?),
                Poll::Ready(None) => break,
                Poll::Pending => return Err(unfinished()),
            }
        }
        let body = AnswerBody(Kind::Complete(frames));
        Ok(Self { head, body })
    }
}

impl AnswerBody {
    /// The body of a handler that goes on: on a task of its own, so that
    /// nobody who does not read can hold up its deadline.
    pub(crate) fn running(
        body: HyperOutgoingBody,
        headers: &http::HeaderMap,
        call: Call,
        tally: Arc<Tally>,
    ) -> Self {
        let counted = tally.clone();
        let end = async move { counted.note(call.end().await) };
        Self(Kind::Running(Running {
            body,
            call: Some(tokio::spawn(end)),
            tally,
            returned: false,
            missing: announced(headers),
        }))
    }

    /// Reads the body to its end, and the handler with it. Trailers are
    /// dropped.
    pub async fn collect(mut self, limit: u64) -> Result<Bytes, BodyError> {
        let mut first: Option<Bytes> = None;
        let mut all = BytesMut::new();
        let mut size = 0_u64;
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            size = size.saturating_add(data.len() as u64);
            if size > limit {
                return Err(BodyError::TooLarge { limit });
            }
            // Most bodies are one chunk, which need not be copied.
            match &first {
                None if all.is_empty() => first = Some(data),
                _ => {
                    if let Some(first) = first.take() {
                        all.extend_from_slice(&first);
                    }
                    all.extend_from_slice(&data);
                }
            }
        }
        Ok(first.unwrap_or_else(|| all.freeze()))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match &mut self.0 {
            Kind::Complete(frames) => frames.pop().map(Ok),
            Kind::Running(running) => ready!(running.poll_frame(task)),
            Kind::Ended => None,
        };
        if !matches!(frame, Some(Ok(_))) {
            self.0 = Kind::Ended;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Handler)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Complete(frames) => frames.next.is_none(),
            Kind::Running(_) => false,
            Kind::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Complete(frames) => {
                let data = frames.iter().filter_map(Frame::data_ref);
                SizeHint::with_exact(data.map(|data| data.len() as u64).sum())
            }
            Kind::Running(running) => running
                .missing
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            Kind::Ended => SizeHint::with_exact(0),
        }
    }
}

impl Frames {
    fn push(&mut self, frame: Frame<Bytes>) {
        if self.next.is_none() {
            self.next = Some(frame);
        } else {
            self.rest.push_back(frame);
        }
    }

    fn pop(&mut self) -> Option<Frame<Bytes>> {
        std::mem::replace(&mut self.next, self.rest.pop_front())
    }

    fn iter(&self) -> impl Iterator<Item = &Frame<Bytes>> {
        self.next.iter().chain(&self.rest)
    }
}

impl Running {
    /// The next frame; the end only once the handler has returned well, with
    /// its body finished.
    fn poll_frame(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = match poll_body(&mut self.body, task) {
            Poll::Ready(frame) => frame,
            Poll::Pending => match ready!(self.poll_outcome(task)) {
                Err(failure) => Some(Err(failure)),
                // It may have written between the two looks. What it has not
                // written by now, it never will.
                Ok(()) => match poll_whole(&mut self.body, task) {
                    Poll::Ready(frame) => frame,
                    Poll::Pending => Some(Err(unfinished())),
                },
            },
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                if let (Some(missing), Some(data)) = (&mut self.missing, frame.data_ref()) {
                    *missing = missing.saturating_sub(data.len() as u64);
                }
                Some(Ok(frame))
            }
            // If the handler failed, that is why its body broke off.
            Some(Err(broken)) => match self.poll_outcome(task) {
                Poll::Ready(Err(failure)) => Some(Err(failure)),
                _ => Some(self.tally.note(Err(broken))),
            },
            None => ready!(self.poll_outcome(task)).err().map(Err),
        })
    }

    /// How the handler ended, once it has.
    fn poll_outcome(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Some(call) = &mut self.call else {
            return Poll::Ready(if self.returned {
                Ok(())
            } else {
                Err(aborted())
            });
        };
        let outcome = ready!(Pin::new(call).poll(task)).unwrap_or_else(|_| Err(aborted()));
        self.call = None;
        self.returned = outcome.is_ok();
        Poll::Ready(outcome)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A server stops to read once it has all that was announced. The
        // handler is nearly done then, and its instance is still good.
        if self.missing == Some(0) {
            return;
        }
        if let Some(call) = &self.call {
            call.abort();
        }
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Complete(_) => "AnswerBody(complete)",
            Kind::Running(_) => "AnswerBody(running)",
            Kind::Ended => "AnswerBody(ended)",
        })
    }
}

/// The next frame of what a handler writes.
fn poll_body(
    body: &mut HyperOutgoingBody,
    task: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
    let frame = ready!(Pin::new(body).poll_frame(task));
    Poll::Ready(frame.map(|frame| {
        frame.map_err(|error| Failure::no_response(format!("its body broke off: {error}")))
    }))
}

/// Looks at a body whatever the task has done in this turn: the runtime makes
/// a busy task's channels look empty, and here empty means unfinished.
fn poll_whole(
    body: &mut HyperOutgoingBody,
    task: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
    let mut look = tokio::task::unconstrained(poll_fn(|task| poll_body(body, task)));
    Pin::new(&mut look).poll(task)
}

/// The length that the headers announce. wasi:http lets one value pass, and
/// holds the handler to it.
fn announced(headers: &http::HeaderMap) -> Option<u64> {
    let length = headers.get(http::header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

fn unfinished() -> Failure {
    Failure::no_response("it returned without finishing its body")
}

fn aborted() -> Failure {
    Failure::Host("the handler's task was aborted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};

    /// The runtime makes channels look empty to a task that has used up its
    /// turn; what a handler wrote must be seen all the same.
    #[tokio::test]
    async fn a_body_is_read_whole_even_at_the_end_of_a_task_s_turn() {
        let (mut host, body) = HostOutgoingBody::new(StreamContext::Response, None, 4, 100);
        let mut stream = host.take_output_stream().unwrap();
        for chunk in ["one ", "two"] {
            stream.write(Bytes::from(chunk)).unwrap();
        }
        drop(stream);
        host.finish(None).unwrap();

        let (sender, mut receiver) = tokio::sync::mpsc::channel(1_000);
        for _ in 0..1_000 {
            sender.try_send(()).unwrap();
        }
        let mut received = 0;
        while receiver.recv().now_or_never().is_some() {
            received += 1;
        }
        assert!(received < 1_000, "the turn has no end");

        let response = http::Response::new(body);
        let answer = Answer::complete(response).now_or_never().unwrap().unwrap();
        assert_eq!(answer.body.size_hint().exact(), Some(7));
        assert_eq!(answer.body.collect(7).await.unwrap(), "one two");
    }
}
