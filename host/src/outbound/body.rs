//! The body of an answer from outside, on its way to the guest that reads it.
//!
//! It is read as fast as the guest asks and no faster: what is not asked for
//! stays with the server. Read to its end, it gives its connection to the next
//! request; dropped before, it closes it.

use super::connection::{Connection, fault_of};
use super::grant::Destination;
use super::pool::Pool;
use crate::metrics::OutboundMetrics;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use lockport_engine::Fault;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The body of an answer.
pub(super) struct AnswerBody {
    incoming: Incoming,
    limit: u64,
    /// How much of the limit is left, in bytes.
    left: u64,
    /// While there is something to come.
    lease: Option<Lease>,
    metrics: OutboundMetrics,
}

/// A connection that is used, and where it waits afterwards.
pub(super) struct Lease {
    pub(super) connection: Connection,
    pub(super) pool: Arc<Pool>,
    pub(super) to: Destination,
}

impl AnswerBody {
    /// The body of an answer, which may have so many bytes.
    pub(super) fn new(
        incoming: Incoming,
        limit: u64,
        lease: Lease,
        metrics: OutboundMetrics,
    ) -> Self {
        let mut body = Self {
            lease: Some(lease),
            left: limit,
            limit,
            metrics,
            incoming,
        };
        // Nobody need read what is empty.
        if body.incoming.is_end_stream() {
            body.give_back();
        }
        body
    }

    fn give_back(&mut self) {
        if let Some(Lease {
            connection,
            pool,
            to,
        }) = self.lease.take()
        {
            pool.keep(to, connection);
        }
    }

    fn take_in(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Fault> {
        if let Some(data) = frame.data_ref() {
            let rest = self.left.checked_sub(data.len() as u64);
            self.left = rest.ok_or(Fault::BodyTooLarge { limit: self.limit })?;
        }
        Ok(frame)
    }

    /// Breaks off: the connection is of no use any more.
    fn break_off(&mut self, fault: Fault) -> Fault {
        // Only the first time.
        if self.lease.take().is_some() {
            self.metrics.cut();
        }
        fault
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.incoming).poll_frame(task));
        Poll::Ready(match frame {
            None => {
                this.give_back();
                None
            }
            Some(Ok(frame)) => {
                let taken = this.take_in(frame);
                Some(taken.map_err(|it| this.break_off(it)))
            }
            Some(Err(error)) => {
                // Its head was not too large, or there would be no body.
                let fault = fault_of(&error, u32::MAX);
                Some(Err(this.break_off(fault)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
