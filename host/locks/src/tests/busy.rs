//! A session's stream on which there is always something to tell: whatever else
//! happens is not lost in it.
//!
//! The stream is polled here, not by a connection, and before each of its
//! answers something has happened that it watches. So it is never at rest.

use super::caller::{one, release};
use super::node::{Setup, clock, soon};
use crate::access::Caller;
use crate::failure::Failure;
use crate::service::Service;
use crate::session::SessionStream;
use axum::body::{Body, Bytes};
use futures_util::stream::{self, StreamExt};
use lockport_proto::Reason;
use lockport_proto::codec::SmallCodec;
use lockport_proto::lock as proto;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::session_response::Result as Answer;
use lockport_store::Memory;
use prost::Message;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::codec::Codec;
use tonic::{Status, Streaming};

/// How many answers may come before what has happened is told.
const SOON: usize = 100;

/// How many requests a test asks at once, at most.
const ASKED: usize = 10;

/// A stream that watches a lock that is acquired and released all the time.
struct Busy {
    service: Arc<Service>,
    caller: Caller,
    requests: mpsc::Sender<io::Result<Bytes>>,
    stream: SessionStream,
}

impl Busy {
    /// A stream with a session that holds `a`.
    async fn begin(deadline: Option<Instant>) -> Self {
        let setup = Setup::default();
        let store = Arc::new(Memory::with(setup.limits, clock().into()));
        let service = Arc::new(Service::new(store, setup.options.limits));
        let caller = setup.options.access.principal_of(None).unwrap();
        let (requests, receiver) = mpsc::channel(ASKED);
        let stream = SessionStream::new(
            Arc::clone(&service),
            caller.clone(),
            streaming(receiver),
            deadline,
        );
        let mut busy = Self {
            service,
            caller,
            requests,
            stream,
        };
        let watch = proto::WatchRequest {
            prefix: "busy".into(),
            ..Default::default()
        };
        busy.send(1, Operation::Open(proto::OpenSession::default()));
        busy.send(2, Operation::Acquire(one("a")));
        busy.send(3, Operation::Watch(watch));
        let is_watching = |it: &Next| matches!(it, Ok((3, Answer::Watch(_))));
        assert!(busy.until(is_watching).await.is_ok());
        busy
    }

    fn send(&self, id: u64, operation: Operation) {
        let operation = Some(operation);
        let message = proto::SessionRequest { id, operation }.encode_to_vec();
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        self.requests.try_send(Ok(frame.into())).unwrap();
    }

    /// Makes one more thing happen that is watched.
    async fn make_something_happen(&self) {
        let acquired = self.service.acquire(&self.caller, one("busy"), None).await;
        let grant = acquired.unwrap().grant.unwrap();
        let released = self.service.release(&self.caller, release(&grant.id)).await;
        released.unwrap();
    }

    /// The next answer, before which something happens.
    async fn next(&mut self) -> Next {
        self.make_something_happen().await;
        let response = soon(self.stream.next()).await.unwrap()?;
        Ok((response.id, response.result.unwrap()))
    }

    /// The answers up to one that is told soon.
    async fn until(&mut self, is_it: impl Fn(&Next) -> bool) -> Next {
        for _ in 0..SOON {
            let next = self.next().await;
            if next.is_err() || is_it(&next) {
                return next;
            }
        }
        panic!("it is not told");
    }

    /// Why the stream ends.
    async fn end(&mut self) -> Option<Reason> {
        let end = self.until(|_| false).await.unwrap_err();
        Failure::reason_of(&end)
    }
}

type Next = Result<(u64, Answer), Status>;

/// Requests as they come from a connection.
fn streaming(mut frames: mpsc::Receiver<io::Result<Bytes>>) -> Streaming<proto::SessionRequest> {
    let frames = stream::poll_fn(move |cx| frames.poll_recv(cx));
    let mut codec = SmallCodec::<proto::SessionResponse, proto::SessionRequest>::default();
    Streaming::new_request(codec.decoder(), Body::from_stream(frames), None, None)
}

#[tokio::test]
async fn a_busy_stream_tells_of_a_grant_that_was_lost() {
    let mut busy = Busy::begin(None).await;
    let force = proto::ForceReleaseRequest {
        name: "a".into(),
        reason: "a test".into(),
    };
    let taken = busy.service.force_release(&busy.caller, force).await;
    taken.unwrap();
    let lost = busy.until(|it| matches!(it, Ok((0, _)))).await.unwrap();
    assert!(matches!(lost.1, Answer::Lost(_)), "{lost:?}");
}

#[tokio::test]
async fn a_busy_stream_answers_what_is_asked() {
    let mut busy = Busy::begin(None).await;
    busy.send(4, Operation::Beat(proto::Beat {}));
    busy.send(5, Operation::Acquire(one("b")));
    for id in [4, 5] {
        let answer = busy
            .until(|it| matches!(it, Ok((it, _)) if *it == id))
            .await;
        let answer = answer.unwrap().1;
        assert!(
            matches!(answer, Answer::Beat(_) | Answer::Acquire(_)),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_busy_stream_ends_with_the_node_and_not_when_it_begins_to_drain() {
    let mut busy = Busy::begin(None).await;
    busy.service.drain.begin();
    busy.send(4, Operation::Beat(proto::Beat {}));
    busy.until(|it| matches!(it, Ok((4, _)))).await.unwrap();
    // Nothing that lasts is begun any more. What the test itself does until the
    // end is brief, and so goes on.
    let wait = proto::AcquireRequest {
        wait: Some(Duration::from_secs(60).into()),
        ..one("c")
    };
    busy.send(5, Operation::Acquire(wait));
    let refused = busy.until(|it| matches!(it, Ok((5, _)))).await.unwrap();
    let Answer::Failure(refused) = refused.1 else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.reason, Reason::Draining.name());
    busy.service.drain.end();
    let end = soon(busy.stream.next()).await.unwrap().unwrap_err();
    assert_eq!(Failure::reason_of(&end), Some(Reason::Draining));
}

#[tokio::test]
async fn a_busy_stream_ends_when_its_session_is_closed() {
    let mut busy = Busy::begin(None).await;
    busy.send(4, Operation::Close(proto::CloseSession {}));
    busy.until(|it| matches!(it, Ok((4, _)))).await.unwrap();
    // The watch would go on for as long as it is told something.
    busy.make_something_happen().await;
    assert!(soon(busy.stream.next()).await.is_none());
}

// Its time passes only when the test says so, as there is always something to do.
#[tokio::test(start_paused = true)]
async fn a_busy_stream_ends_with_its_deadline() {
    let patience = Duration::from_secs(1);
    let mut busy = Busy::begin(Some(Instant::now() + patience)).await;
    busy.next().await.unwrap();
    tokio::time::advance(patience).await;
    let end = busy.next().await.unwrap_err();
    assert_eq!(Failure::reason_of(&end), Some(Reason::DeadlineExceeded));
}

#[tokio::test]
async fn a_stream_whose_client_has_gone_is_abandoned_and_no_invalid_request() {
    let mut busy = Busy::begin(None).await;
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    busy.requests.try_send(Err(reset)).unwrap();
    assert_eq!(busy.end().await, None);
    let requests = busy.service.counters.snapshot().requests.into_iter();
    let ended: Vec<_> = requests.filter(|it| it.method == "session").collect();
    let outcomes: Vec<_> = ended.iter().map(|it| (it.outcome, it.count)).collect();
    assert_eq!(outcomes, [("ABANDONED", 1)]);
}
