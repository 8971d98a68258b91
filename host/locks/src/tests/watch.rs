//! Watching: as a gRPC stream, on a session's stream, as server-sent events.

use super::caller::{Outcome, granted, of_grpc, one, reason, release, waiting, with};
use super::node::{ALICE, BOB, Node, Setup, eventually, request, soon, tokens};
use axum::body::Bytes;
use http::Method;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lockport_proto::Reason;
use lockport_proto::lock as proto;
use proto::event::Kind;
use proto::watch_response::Item;
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::Streaming;

async fn next(stream: &mut Streaming<proto::WatchResponse>) -> Outcome<Item> {
    match soon(stream.message()).await {
        Ok(response) => Ok(response.unwrap().item.unwrap()),
        Err(status) => Err(reason(&status)),
    }
}

async fn event(stream: &mut Streaming<proto::WatchResponse>) -> proto::Event {
    match next(stream).await.unwrap() {
        Item::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

async fn progress(stream: &mut Streaming<proto::WatchResponse>) -> u64 {
    match next(stream).await.unwrap() {
        Item::Progress(progress) => progress.revision,
        other => panic!("{other:?}"),
    }
}

fn below(prefix: &str) -> proto::WatchRequest {
    proto::WatchRequest {
        prefix: prefix.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_watcher_is_told_in_order_and_goes_on_where_it_was() {
    let node = Node::start().await;
    let mut grpc = node.grpc().await;
    let watch = grpc.watch(below("a/")).await.unwrap();
    let mut watch = watch.into_inner();
    let begin = progress(&mut watch).await;

    granted(of_grpc(grpc.acquire(one("b/1")).await));
    let grant = granted(of_grpc(grpc.acquire(one("a/1")).await));
    let mut second = node.grpc().await;
    let wait = tokio::spawn(async move { of_grpc(second.acquire(waiting("a/1")).await) });
    eventually("it waits", || node.store.statistics().waiting == 1).await;
    grpc.release(release(&grant.id)).await.unwrap();
    let handed = granted(soon(wait).await.unwrap());
    let force = proto::ForceReleaseRequest {
        name: "a/1".into(),
        reason: "a test".into(),
    };
    grpc.force_release(force).await.unwrap();

    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(event(&mut watch).await);
    }
    let kinds: Vec<_> = told.iter().map(|it| it.kind()).collect();
    let expected = [
        Kind::Granted,
        Kind::Queued,
        Kind::Released,
        Kind::Granted,
        Kind::Forced,
    ];
    assert_eq!(kinds, expected);
    assert!(told.is_sorted_by(|a, b| begin < a.revision && a.revision < b.revision));
    assert!(told.iter().all(|it| it.names == ["a/1"]));
    assert_eq!(told[0].fencing_token, grant.fencing_token);
    assert_eq!(told[1].fencing_token, 0);
    assert_eq!(told[3].fencing_token, handed.fencing_token);
    assert_eq!(told[0].principal, "anonymous");
    assert_eq!(told[0].event_time.unwrap().seconds, 1_735_689_601);
    drop(watch);

    let again = proto::WatchRequest {
        from_revision: told[2].revision,
        ..below("a/")
    };
    let mut again = grpc.watch(again).await.unwrap().into_inner();
    assert_eq!(progress(&mut again).await, told[2].revision);
    assert_eq!(event(&mut again).await, told[3]);
    assert_eq!(event(&mut again).await, told[4]);
}

#[tokio::test]
async fn a_watcher_that_was_away_for_too_long_is_told_of_a_gap() {
    let mut setup = Setup::default();
    setup.limits.events = 2;
    let node = Node::with(setup).await;
    let mut grpc = node.grpc().await;
    let mut watch = grpc.watch(below("")).await.unwrap().into_inner();
    let begin = progress(&mut watch).await;
    drop(watch);
    for name in ["a", "b", "c"] {
        granted(of_grpc(grpc.acquire(one(name)).await));
    }
    let again = proto::WatchRequest {
        from_revision: begin,
        ..below("")
    };
    let mut again = grpc.watch(again).await.unwrap().into_inner();
    progress(&mut again).await;
    let Item::Gap(gap) = next(&mut again).await.unwrap() else {
        panic!("no gap");
    };
    let behind = event(&mut again).await;
    assert!(begin < gap.revision && gap.revision < behind.revision);
    assert_eq!(behind.names, ["b"]);
}

#[tokio::test]
async fn a_watcher_sees_only_what_its_token_permits() {
    let mut setup = Setup::default();
    setup.options.access = tokens();
    let node = Node::with(setup).await;
    let mut grpc = node.grpc().await;
    let watch = grpc.watch(with(Some(BOB), below(""))).await.unwrap();
    let mut watch = watch.into_inner();
    progress(&mut watch).await;
    let both = proto::AcquireRequest {
        names: vec!["private/a".into(), "shared/a".into()],
        ..Default::default()
    };
    for request in [one("private/b"), both] {
        granted(of_grpc(grpc.acquire(with(Some(ALICE), request)).await));
    }
    assert_eq!(event(&mut watch).await.names, ["shared/a"]);
}

#[tokio::test]
async fn a_watcher_is_told_that_nothing_happened_and_how_many_there_may_be() {
    let mut setup = Setup::default();
    setup.options.limits.progress = Duration::from_millis(1);
    setup.limits.watchers = 1;
    let node = Node::with(setup).await;
    let mut grpc = node.grpc().await;
    let mut watch = grpc.watch(below("")).await.unwrap().into_inner();
    let begin = progress(&mut watch).await;
    assert_eq!(progress(&mut watch).await, begin);
    let refused = of_grpc(grpc.watch(below("")).await).err();
    assert_eq!(refused, Some(Reason::Quota));
    assert_eq!(node.api.statistics().watches, 1);
    drop(watch);
    eventually("it ends", || node.api.statistics().watches == 0).await;
}

/// Server-sent events, one by one.
struct Events {
    body: hyper::body::Incoming,
    buffer: String,
}

impl Events {
    async fn of(node: &Node, path: &str, last: Option<u64>) -> Self {
        let stream = TcpStream::connect(node.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request: http::Request<Full<Bytes>> = request(Method::GET, path, "");
        if let Some(last) = last {
            request.headers_mut().insert("last-event-id", last.into());
        }
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.into_body(),
            buffer: String::new(),
        }
    }

    /// Id, event and data of the next one.
    async fn next(&mut self) -> (String, String, serde_json::Value) {
        while !self.buffer.contains("\n\n") {
            let frame = soon(self.body.frame()).await.unwrap().unwrap();
            let data = frame.into_data().unwrap();
            self.buffer.push_str(str::from_utf8(&data).unwrap());
        }
        let (block, rest) = self.buffer.split_once("\n\n").unwrap();
        let field = |name: &str| {
            let line = block.lines().find_map(|it| it.strip_prefix(name));
            line.unwrap_or_default().to_owned()
        };
        let data = serde_json::from_str(&field("data: ")).unwrap();
        let event = (field("id: "), field("event: "), data);
        self.buffer = rest.to_owned();
        event
    }
}

#[tokio::test]
async fn events_are_sent_to_browsers_which_resume_by_the_last_id() {
    let node = Node::start().await;
    let mut grpc = node.grpc().await;
    let mut events = Events::of(&node, "/v1/locks:watch?prefix=a", None).await;
    let (begin, kind, data) = events.next().await;
    assert_eq!(kind, "progress");
    assert_eq!(data["progress"]["revision"], begin);
    granted(of_grpc(grpc.acquire(one("b\u{1f512}")).await));
    let grant = granted(of_grpc(grpc.acquire(one("a\u{1f512}")).await));
    let (id, kind, data) = events.next().await;
    assert_eq!(kind, "granted");
    assert_eq!(data["event"]["revision"], id);
    assert_eq!(data["event"]["names"][0], "a\u{1f512}");
    assert_eq!(
        data["event"]["fencingToken"],
        grant.fencing_token.to_string()
    );
    drop(events);

    let last = begin.parse().unwrap();
    let mut events = Events::of(&node, "/v1/locks:watch?prefix=a", Some(last)).await;
    assert_eq!(events.next().await.1, "progress");
    assert_eq!(events.next().await.0, id);
    node.api.end();
    let (_, kind, data) = events.next().await;
    assert_eq!(kind, "problem");
    assert_eq!(data["reason"], "DRAINING");
    assert!(soon(events.body.frame()).await.is_none());
}
