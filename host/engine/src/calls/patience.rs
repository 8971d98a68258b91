//! How long a guest waits for what it calls, by its own word. The request's
//! deadline ends everything anyway, so these can only be shorter.

use super::Fault;
use crate::{Body, BoxError};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;
use wasmtime_wasi_http::{Error, RequestOptions};

/// The shortest time a guest may give anything: some guests pass zero and mean
/// none, and timers that are always over spin.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// The timeouts of one outgoing request; none is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Patience {
    /// For a connection.
    pub(super) connect: Option<Duration>,
    /// For the answer's head, connection included.
    first_byte: Option<Duration>,
    /// For each part of the answer's body.
    between_bytes: Option<Duration>,
}

/// A body that breaks off if its reader waits for too long.
struct Impatient {
    body: Body,
    limit: Duration,
    /// Runs while somebody waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn of(options: Option<RequestOptions>) -> Self {
        let Some(options) = options else {
            return Self::default();
        };
        let at_least = |it: Option<Duration>| it.map(|it| it.max(TIMEOUT_MIN));
        Self {
            connect: at_least(options.connect_timeout),
            first_byte: at_least(options.first_byte_timeout),
            between_bytes: at_least(options.between_bytes_timeout),
        }
    }

    /// Waits for an answer's head.
    pub(super) async fn first_byte<T>(self, answer: impl Future<Output = T>) -> Result<T, Error> {
        match self.first_byte {
            None => Ok(answer.await),
            Some(limit) => tokio::time::timeout(limit, answer)
                .await
                .map_err(|_| Fault::ReadTimeout.into()),
        }
    }

    /// The answer's body, as long as the guest waits for it.
    pub(super) fn with(self, body: Body) -> Body {
        match self.between_bytes {
            None => body,
            Some(limit) => Impatient {
                body,
                limit,
                timer: None,
            }
            .boxed_unsync(),
        }
    }
}

impl http_body::Body for Impatient {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(task) {
            this.timer = None;
            return Poll::Ready(frame);
        }
        let limit = this.limit;
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        timer
            .as_mut()
            .poll(task)
            .map(|()| Some(Err(Fault::ReadTimeout.into())))
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
    use http_body_util::{Empty, StreamBody};

    fn patience(timeout: Duration) -> Patience {
        Patience::of(Some(RequestOptions {
            connect_timeout: Some(timeout),
            first_byte_timeout: Some(timeout),
            between_bytes_timeout: Some(timeout),
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn zero_is_the_shortest_time_and_ends_what_does_not_come() {
        let patience = patience(Duration::ZERO);
        assert_eq!(patience.connect, Some(TIMEOUT_MIN));
        let late = patience.first_byte(std::future::pending::<()>()).await;
        assert!(matches!(late, Err(Error::ConnectionReadTimeout)));

        let never = StreamBody::new(futures_util::stream::pending::<Result<_, BoxError>>());
        let mut body = patience.with(never.boxed_unsync());
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Fault::ReadTimeout));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_comes_whatever_the_timeouts() {
        for timeout in [Duration::from_secs(1), Duration::MAX] {
            let patience = patience(timeout);
            assert_eq!(patience.first_byte(async { 7 }).await.unwrap(), 7);
            let empty = Empty::new().map_err(|never| match never {});
            let mut body = patience.with(empty.boxed_unsync());
            assert!(body.frame().await.is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_part_of_a_body_has_the_whole_time() {
        let parts = futures_util::stream::unfold(0, |at| async move {
            tokio::time::sleep(Duration::from_millis(900)).await;
            (at < 3).then(|| (Ok::<_, BoxError>(Frame::data(Bytes::from("x"))), at + 1))
        });
        let body = StreamBody::new(Box::pin(parts)).boxed_unsync();
        let whole = patience(Duration::from_secs(1)).with(body).collect().await;
        assert_eq!(whole.unwrap().to_bytes(), "xxx");
    }
}
