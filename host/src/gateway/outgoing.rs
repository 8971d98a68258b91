//! A response's body on its way to its client.
//!
//! A body that breaks off ends in an error, which cuts the connection: a
//! client must never take half an answer for a whole one. The same goes for a
//! body that is not as long as its head says.

use super::identity::RequestId;
use super::intake::Pump;
use super::outcome;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use lockport_engine::{AnswerBody, BodyError};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A response's body.
pub struct Outgoing<B> {
    content: Content,
    /// The rest of the request's body, which the handler may still be reading.
    pump: Option<Pump<B>>,
}

/// Why a response's body broke off. The connection is cut.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    /// The handler failed behind its head.
    #[error("the response's body broke off")]
    Body(#[from] BodyError),
    /// The body is not as long as the head says.
    #[error("the response's body is not as long as its head says")]
    Length,
}

enum Content {
    Whole(Option<Bytes>),
    Answer {
        body: AnswerBody,
        /// What must still come, if the head says how long the body is.
        left: Option<u64>,
        /// Whose answer it is, for the log.
        id: RequestId,
    },
}

impl<B> Outgoing<B> {
    /// A body that is all there.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            content: Content::Whole((!bytes.is_empty()).then_some(bytes)),
            pump: None,
        }
    }

    /// A body that a handler may still be writing, `length` bytes of it if the
    /// head says so, while it may still be reading its request.
    pub fn answer(
        body: AnswerBody,
        length: Option<u64>,
        pump: Option<Pump<B>>,
        id: RequestId,
    ) -> Self {
        Self {
            content: Content::Answer {
                body,
                left: length,
                id,
            },
            pump,
        }
    }
}

impl<B> Body for Outgoing<B>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        if let Some(pump) = &mut this.pump
            && pump.poll(cx).is_ready()
        {
            // The reader has heard how it ended.
            this.pump = None;
        }
        match &mut this.content {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|it| Ok(Frame::data(it)))),
            Content::Answer { body, left, id } => {
                let frame = std::task::ready!(poll_answer(Pin::new(body), left, cx));
                if let Some(Err(error)) = &frame {
                    outcome::cut(id, error);
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Answer { body, left, .. } => {
                body.is_end_stream() && matches!(left, None | Some(0))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |it| it.len() as u64))
            }
            Content::Answer { body, left, .. } => match left {
                Some(left) => SizeHint::with_exact(*left),
                None => body.size_hint(),
            },
        }
    }
}

fn poll_answer(
    mut body: Pin<&mut AnswerBody>,
    left: &mut Option<u64>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
    loop {
        let Some(frame) = std::task::ready!(body.as_mut().poll_frame(cx)) else {
            // Short of what was announced is not an end.
            return Poll::Ready(match left {
                Some(1..) => Some(Err(Cut::Length)),
                Some(0) | None => None,
            });
        };
        // Trailers have no place in HTTP/1 without an agreement about them.
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if let Some(left) = left {
            match left.checked_sub(data.len() as u64) {
                Some(rest) => *left = rest,
                None => return Poll::Ready(Some(Err(Cut::Length))),
            }
        }
        return Poll::Ready(Some(Ok(Frame::data(data))));
    }
}
