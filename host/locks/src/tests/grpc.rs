//! gRPC that is not as it should be, deadlines, health and reflection.

use super::caller::{granted, of_grpc, one, reason, release, waiting};
use super::node::{Node, PATIENCE, Setup, eventually, soon};
use axum::body::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lockport_proto::Reason;
use lockport_proto::lock as proto;
use lockport_proto::lock::session_request::Operation;
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

const GET: &str = "/lockport.lock.v1.LockService/Get";

/// One connection on which anything can be sent.
pub(super) struct Raw {
    sender: http2::SendRequest<Full<Bytes>>,
    authority: String,
}

impl Raw {
    pub(super) async fn to(node: &Node) -> Self {
        let stream = TcpStream::connect(node.address).await.unwrap();
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self {
            sender,
            authority: node.address.to_string(),
        }
    }

    /// The status over HTTP, and the headers and the trailers together.
    async fn send(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (StatusCode, HeaderMap) {
        let uri = format!("http://{}{path}", self.authority);
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let response = soon(self.sender.send_request(request)).await.unwrap();
        let (head, body) = response.into_parts();
        let collected = soon(body.collect()).await.unwrap();
        let mut all = head.headers;
        all.extend(collected.trailers().cloned().unwrap_or_default());
        (head.status, all)
    }

    /// How a call of gRPC ends.
    pub(super) async fn call(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Status {
        let mut all = vec![("content-type", "application/grpc"), ("te", "trailers")];
        all.extend(headers);
        let (status, headers) = self.send(path, &all, body).await;
        assert_eq!(status, 200);
        assert_eq!(headers["content-type"], "application/grpc");
        Status::from_header_map(&headers).unwrap()
    }
}

/// A message in its frame.
pub(super) fn frame(flag: u8, length: u32, message: &[u8]) -> Vec<u8> {
    [&[flag], &length.to_be_bytes()[..], message].concat()
}

/// A request for the lock `a`.
fn valid() -> Vec<u8> {
    frame(0, 3, b"\x0a\x01a")
}

#[tokio::test]
async fn what_is_no_proper_call_gets_the_right_status_and_the_connection_lives() {
    let node = Node::start().await;
    let mut raw = Raw::to(&node).await;
    let status = raw.call(GET, &[], valid()).await;
    assert_eq!(status.code(), Code::Ok);

    let garbage = raw.call(GET, &[], frame(0, 3, b"\xff\xff\xff")).await;
    assert_eq!(reason(&garbage), Reason::InvalidRequest);
    let invalid_utf8 = raw.call(GET, &[], frame(0, 3, b"\x0a\x01\xff")).await;
    assert_eq!(reason(&invalid_utf8), Reason::InvalidRequest);
    let oversized = raw.call(GET, &[], frame(0, 256 * 1024 + 1, b"")).await;
    assert_eq!(reason(&oversized), Reason::TooLarge);
    let largest = frame(0, 256 * 1024, &[0; 256 * 1024]);
    let largest = raw.call(GET, &[], largest).await;
    assert_eq!(reason(&largest), Reason::InvalidRequest);

    // The protocol has codes of its own for these.
    for (headers, body, code) in [
        (&[][..], frame(1, 3, b"\x0a\x01a"), Code::Internal),
        (&[][..], frame(7, 3, b"\x0a\x01a"), Code::Internal),
        (&[][..], frame(0, 9, b"\x0a\x01a"), Code::Internal),
        (&[][..], Vec::new(), Code::Internal),
        (
            &[("grpc-encoding", "gzip")][..],
            valid(),
            Code::Unimplemented,
        ),
    ] {
        let status = raw.call(GET, headers, body).await;
        assert_eq!(status.code(), code, "{status:?}");
        assert!(!status.details().is_empty(), "{status:?}");
    }

    for path in [
        "/lockport.lock.v1.LockService/Nothing",
        "/lockport.lock.v1.LockService/",
        "/lockport.lock.v2.LockService/Get",
        "/x",
    ] {
        let status = raw.call(path, &[], valid()).await;
        assert_eq!(reason(&status), Reason::NotFound, "{path}");
    }
    for kind in [
        "application/json",
        "application/grpc-web",
        "application/grpc+json",
        "",
    ] {
        let (status, headers) = raw.send(GET, &[("content-type", kind)], valid()).await;
        assert_eq!(status, 415, "{kind}");
        assert_eq!(headers["content-type"], "application/problem+json");
    }
    let status = raw.call(GET, &[("grpc-timeout", "0n")], valid()).await;
    assert_eq!(reason(&status), Reason::DeadlineExceeded);
    let status = raw.call(GET, &[("grpc-timeout", "soon")], valid()).await;
    assert_eq!(reason(&status), Reason::InvalidRequest);

    let status = raw.call(GET, &[], valid()).await;
    assert_eq!(status.code(), Code::Ok);
}

#[tokio::test]
async fn the_limit_of_a_message_is_the_one_that_is_set() {
    let mut setup = Setup::default();
    setup.options.limits.message_bytes = 3;
    let node = Node::with(setup).await;
    let mut raw = Raw::to(&node).await;
    assert_eq!(raw.call(GET, &[], valid()).await.code(), Code::Ok);
    let status = raw.call(GET, &[], frame(0, 4, b"\x0a\x02aa")).await;
    assert_eq!(reason(&status), Reason::TooLarge);
    assert!(status.message().contains("3 bytes"), "{status:?}");
}

#[tokio::test]
async fn a_wait_is_given_up_with_its_deadline_and_with_its_client() {
    let node = Node::start().await;
    let mut grpc = node.grpc().await;
    granted(of_grpc(grpc.acquire(one("a")).await));
    let mut request = tonic::Request::new(waiting("a"));
    request.set_timeout(Duration::from_millis(20));
    let answer = soon(grpc.acquire(request)).await;
    // The client's own clock may be first.
    let code = answer.unwrap_err().code();
    assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled));
    eventually("the wait is over", || node.store.statistics().waiting == 0).await;

    let mut second = node.grpc().await;
    let wait = tokio::spawn(async move { second.acquire(waiting("a")).await });
    eventually("it waits", || node.store.statistics().waiting == 1).await;
    wait.abort();
    eventually("the wait is over", || node.store.statistics().waiting == 0).await;
    let body = r#"{"names": ["a"], "wait": "60s"}"#;
    let request = super::node::request(http::Method::POST, "/v1/locks:acquire", body);
    let wait = tokio::spawn(super::node::send(node.address, request));
    eventually("it waits", || node.store.statistics().waiting == 1).await;
    wait.abort();
    eventually("the wait is over", || node.store.statistics().waiting == 0).await;
    let requests = node.api.statistics().requests.into_iter();
    let abandoned = requests.filter(|it| it.outcome == "ABANDONED");
    let transports: Vec<_> = abandoned.map(|it| it.transport).collect();
    assert_eq!(transports, ["grpc", "json"]);
}

#[tokio::test]
async fn a_deadline_is_kept_by_the_server_too() {
    let node = Node::start().await;
    let mut grpc = node.grpc().await;
    granted(of_grpc(grpc.acquire(one("a")).await));
    let mut raw = Raw::to(&node).await;
    // names: a, wait: 60 s
    let body = frame(0, 7, b"\x0a\x01a\x22\x02\x08\x3c");
    let path = "/lockport.lock.v1.LockService/Acquire";
    let status = raw.call(path, &[("grpc-timeout", "1m")], body).await;
    assert_eq!(reason(&status), Reason::DeadlineExceeded);
    assert_eq!(node.store.statistics().waiting, 0);

    // A stream, too. Asked by hand, because a client would give up by itself.
    let path = "/lockport.lock.v1.LockService/Watch";
    let status = raw
        .call(path, &[("grpc-timeout", "1m")], frame(0, 0, b""))
        .await;
    assert_eq!(reason(&status), Reason::DeadlineExceeded);
}

#[tokio::test]
async fn draining_ends_waits_and_leaves_what_is_held_until_the_node_ends() {
    let node = Node::start().await;
    let mut grpc = node.grpc().await;
    let grant = granted(of_grpc(grpc.acquire(one("a")).await));
    let mut watch = grpc.watch(proto::WatchRequest::default()).await.unwrap();
    let mut second = node.grpc().await;
    let wait = tokio::spawn(async move { of_grpc(second.acquire(waiting("a")).await) });
    let mut talk = super::caller::Talk::begin(&mut grpc, None).await.unwrap();
    let opened = talk.open(proto::OpenSession::default()).await.unwrap();
    let on_stream = talk.send(Operation::Acquire(waiting("a")));
    eventually("they wait", || node.store.statistics().waiting == 2).await;

    node.api.drain();
    assert_eq!(soon(wait).await.unwrap(), Err(Reason::Draining));
    assert_eq!(talk.answer(on_stream).await, Err(Reason::Draining));
    let refused = of_grpc(grpc.acquire(waiting("b")).await);
    assert_eq!(refused, Err(Reason::Draining));
    let mut other = super::caller::Talk::begin(&mut grpc, None).await.unwrap();
    let refused = other.open(proto::OpenSession::default()).await;
    assert_eq!(reason(&refused.unwrap_err()), Reason::Draining);
    // Who is there goes on, and who was there comes back.
    for operation in [
        Operation::Beat(proto::Beat {}),
        Operation::Acquire(one("c")),
    ] {
        let id = talk.send(operation);
        talk.answer(id).await.unwrap();
    }
    let renewal = proto::RenewRequest {
        grant: grant.id.clone(),
        ..Default::default()
    };
    of_grpc(grpc.renew(renewal).await).unwrap();
    drop(talk);
    let again = proto::OpenSession {
        session: opened.session,
        ..Default::default()
    };
    let mut talk = super::caller::Talk::begin(&mut grpc, None).await.unwrap();
    talk.open(again.clone()).await.unwrap();

    node.api.end();
    assert_eq!(reason(&talk.next().await.unwrap_err()), Reason::Draining);
    let end = loop {
        match soon(watch.get_mut().message()).await {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&end), Reason::Draining);
    assert_eq!(of_grpc(grpc.acquire(one("b")).await), Err(Reason::Draining));
    let refused = of_grpc(grpc.watch(proto::WatchRequest::default()).await);
    assert_eq!(refused.err(), Some(Reason::Draining));
    let mut talk = super::caller::Talk::begin(&mut grpc, None).await.unwrap();
    let refused = talk.open(again).await;
    assert_eq!(reason(&refused.unwrap_err()), Reason::Draining);
    // What is held can still be given back.
    of_grpc(grpc.release(release(&grant.id)).await).unwrap();
}

#[tokio::test]
async fn health_and_reflection_need_no_token() {
    let mut setup = Setup::default();
    setup.options.access = super::node::tokens();
    let node = Node::with(setup).await;
    let mut health = HealthClient::new(node.channel().await);
    let ask = |service: &str| HealthCheckRequest {
        service: service.into(),
    };
    for name in [
        "",
        "lockport.lock.v1.LockService",
        "lock_manager.LockManagerService",
    ] {
        let answer = health.check(ask(name)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{name}");
    }
    let unknown = health.check(ask("nothing")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let mut watch = health.watch(ask("")).await.unwrap().into_inner();
    let first = soon(watch.message()).await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);

    let mut names = services(&node).await;
    names.sort_unstable();
    let expected = [
        "grpc.health.v1.Health",
        "lock_manager.LockManagerService",
        "lockport.lock.v1.LockService",
    ];
    assert_eq!(names, expected);

    node.api.drain();
    let last = soon(watch.message()).await.unwrap().unwrap();
    assert_eq!(last.status(), ServingStatus::NotServing);
    assert!(soon(watch.message()).await.unwrap().is_none());
    let answer = health.check(ask("")).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::NotServing);
}

/// The services that reflection tells of.
async fn services(node: &Node) -> Vec<String> {
    let mut client = ServerReflectionClient::new(node.channel().await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let requests = stream::iter([request]);
    let answers = client.server_reflection_info(requests).await.unwrap();
    let answer: ServerReflectionResponse =
        soon(answers.into_inner().message()).await.unwrap().unwrap();
    match answer.message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => {
            list.service.into_iter().map(|it| it.name).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_told_but_how_to_send_one() {
    let mut setup = Setup::default();
    setup.options.access = super::node::tokens();
    let node = Node::with(setup).await;
    let mut raw = Raw::to(&node).await;
    for path in [GET, "/lockport.lock.v1.LockService/Nothing", "/nowhere/At"] {
        let status = raw.call(path, &[], valid()).await;
        assert_eq!(reason(&status), Reason::Unauthenticated, "{path}");
        assert_eq!(status.metadata().get("www-authenticate").unwrap(), "Bearer");
    }
    for path in ["/v1/locks", "/v1/nothing", "/nowhere"] {
        let reply = node.get(path).await;
        assert_eq!(reply.reason(), "UNAUTHENTICATED", "{path}");
        assert_eq!(reply.headers["www-authenticate"], "Bearer");
    }
    let patience = tokio::time::timeout(PATIENCE, node.get("/v1/locks:watch"));
    assert_eq!(patience.await.unwrap().status, 401);
}

#[tokio::test]
async fn requests_are_counted_by_method_transport_and_outcome() {
    let node = Node::start().await;
    let mut grpc = node.grpc().await;
    granted(of_grpc(grpc.acquire(one("a")).await));
    of_grpc(grpc.acquire(one("a")).await).unwrap_err();
    node.get("/v1/locks/a").await;
    node.get("/nowhere").await;
    let requests = node.api.statistics().requests;
    let counted: Vec<_> = requests
        .iter()
        .map(|it| (it.method, it.transport, it.outcome, it.count))
        .collect();
    let expected = [
        ("acquire", "grpc", "OK", 1),
        ("acquire", "grpc", "HELD", 1),
        ("get", "json", "OK", 1),
        ("other", "json", "NOT_FOUND", 1),
    ];
    assert_eq!(counted, expected);
}
