//! How long the body of a request may take to come.
//!
//! What is read by the gRPC library is timed here: its whole body, from when it
//! is first missed. Most bodies come with their heads, and no timer is set.

use crate::failure::Failure;
use crate::service::Service;
use crate::statistics::{Method, Transport};
use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::{Sleep, sleep};
use tonic::Status;

/// A body that fails if it does not come in time.
pub(crate) struct Timed {
    body: Body,
    service: Arc<Service>,
    /// Set when the body is first missed.
    end: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    pub(crate) fn new(body: Body, service: Arc<Service>) -> Self {
        Self {
            body,
            service,
            end: None,
        }
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|it| it.map_err(Into::into)));
        }
        let patience = this.service.limits.body;
        let end = this.end.get_or_insert_with(|| Box::pin(sleep(patience)));
        end.as_mut().poll(cx).map(|()| {
            let failure = Failure::too_slow(patience);
            let status = Status::from(&failure);
            let asked = this.service.counters.ask(Method::Other, Transport::Grpc);
            drop(asked.answered::<()>(Err(failure)));
            Some(Err(status.into()))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
