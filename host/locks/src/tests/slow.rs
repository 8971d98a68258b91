//! Clients whose requests do not come, and those who have nothing to say for a
//! while because there is nothing to be said.

use super::caller::{Talk, one, reason};
use super::grpc::frame;
use super::node::{Node, Setup, soon};
use axum::body::{Body, Bytes};
use futures_util::stream::{self, StreamExt};
use http::Request;
use http_body_util::BodyExt;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lockport_proto::Reason;
use lockport_proto::lock as proto;
use lockport_proto::lock::session_request::Operation;
use std::convert::Infallible;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const SHORT: Duration = Duration::from_millis(50);

/// A node that is patient with bodies for so long.
async fn node(body: Duration) -> Node {
    let mut setup = Setup::default();
    setup.options.limits.body = body;
    Node::with(setup).await
}

/// How a call of gRPC ends whose body begins with this, and then does not go on.
async fn stuck(node: &Node, path: &str, begin: Vec<u8>) -> Status {
    let io = TokioIo::new(TcpStream::connect(node.address).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let begin = stream::iter([Ok::<_, Infallible>(Bytes::from(begin))]);
    let request = Request::post(format!("http://{}{path}", node.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::from_stream(begin.chain(stream::pending())));
    let response = soon(sender.send_request(request.unwrap())).await.unwrap();
    let in_head = Status::from_header_map(response.headers());
    match in_head {
        Some(status) => status,
        None => {
            let rest = soon(response.into_body().collect()).await.unwrap();
            Status::from_header_map(rest.trailers().unwrap()).unwrap()
        }
    }
}

/// A connection of HTTP/1.1 on which half of a request was sent.
async fn half_a_request(node: &Node) -> TcpStream {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = "POST /v1/locks:acquire HTTP/1.1\r\nhost: a\r\ncontent-length: 16\r\n";
    let half = format!("{head}connection: close\r\n\r\n{{\"names\"");
    stream.write_all(half.as_bytes()).await.unwrap();
    stream
}

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let node = node(SHORT).await;
    let answer = rest(half_a_request(&node).await).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"reason\":\"TOO_SLOW\""), "{answer}");
    for begin in [Vec::new(), vec![0], frame(0, 3, b"\x0a")] {
        for path in [
            "/lockport.lock.v1.LockService/Acquire",
            "/lockport.lock.v1.LockService/Watch",
            "/lockport.lock.v1.LockService/Session",
            "/lock_manager.LockManagerService/Lock",
            "/grpc.health.v1.Health/Check",
            "/grpc.health.v1.Health/Watch",
        ] {
            let status = stuck(&node, path, begin.clone()).await;
            assert_eq!(reason(&status), Reason::TooSlow, "{path}");
        }
    }
    assert_eq!(node.store.statistics().held, 0);
}

#[tokio::test]
async fn a_body_that_comes_in_two_pieces_is_waited_for() {
    let node = node(Duration::from_secs(600)).await;
    let mut stream = half_a_request(&node).await;
    // The first piece is there: others have been answered since.
    node.get("/v1/locks").await;
    stream.write_all(b": [\"a\"]}").await.unwrap();
    let answer = rest(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn streams_that_have_nothing_to_say_are_not_given_up() {
    // Long enough for what is sent at once, on a busy machine too.
    let node = node(10 * SHORT).await;
    let mut grpc = node.grpc().await;
    let mut talk = Talk::begin(&mut grpc, None).await.unwrap();
    talk.open(proto::OpenSession::default()).await.unwrap();
    let watch = proto::WatchRequest {
        prefix: "b".into(),
        ..Default::default()
    };
    let mut watch = grpc.watch(watch).await.unwrap().into_inner();
    soon(watch.message()).await.unwrap().unwrap();
    // What began later is given up meanwhile.
    for _ in 0..2 {
        let answer = rest(half_a_request(&node).await).await;
        assert!(answer.contains("TOO_SLOW"), "{answer}");
    }
    let id = talk.send(Operation::Acquire(one("b")));
    talk.answer(id).await.unwrap();
    soon(watch.message()).await.unwrap().unwrap();
}

#[tokio::test]
async fn so_many_streams_without_a_token_are_open_and_a_check_is_answered_beyond_them() {
    let mut setup = Setup::default();
    setup.options.limits.open_streams = 2;
    let node = Node::with(setup).await;
    let mut health = HealthClient::new(node.channel().await);
    let ask = HealthCheckRequest::default;
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(health.watch(ask()).await.unwrap());
    }
    let refused = health.watch(ask()).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::Quota);
    health.check(ask()).await.unwrap();
    open.pop();
    let room = async {
        while let Err(refused) = health.watch(ask()).await {
            assert_eq!(reason(&refused), Reason::Quota);
        }
    };
    soon(room).await;
}
