//! gRPC that no library would send: each is answered with the right status, and
//! the connection serves the next call.

use crate::harness::{
    JsonApi, LockApi, Node, Speaks, acquire, acquire_waiting, address_of, runtime, wait_for,
};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use lockport_proto::lock::{AcquireRequest, GetRequest, OpenSession};
use lockport_proto::lock::{SessionRequest, session_request::Operation};
use prost::Message;
use tokio::net::TcpStream;
use tonic::Code;

/// A connection that takes what it is given.
struct RawGrpc {
    send: SendRequest<Bytes>,
}

/// What a call came to.
#[derive(Debug)]
struct Ended {
    status: u16,
    headers: HeaderMap,
    trailers: Option<HeaderMap>,
}

/// A call: a path, headers, and what is sent.
struct Call<'a> {
    path: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: Bytes,
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");
const ACQUIRE: &str = "/lockport.lock.v1.LockService/Acquire";
const SESSION: &str = "/lockport.lock.v1.LockService/Session";

#[test]
fn h6_bad_frames_are_refused_with_the_right_status_and_the_connection_lives() {
    let node = Node::builder().start();
    let mut raw = RawGrpc::connect(&node);
    for (what, body, code) in bad_frames() {
        let ended = raw.call(&Call {
            path: ACQUIRE,
            headers: &[GRPC],
            body,
        });
        assert_eq!(ended.code(), code, "{what}: {ended:?}");
        raw.serves_the_next_call(what);
    }
    // Compressed in a way that is named, and not spoken here.
    let headers = [GRPC, ("grpc-encoding", "gzip")];
    let ended = raw.call(&Call {
        path: ACQUIRE,
        headers: &headers,
        body: frame(1, &acquire(["raw"]).encode_to_vec()),
    });
    assert_eq!(ended.code(), Code::Unimplemented, "{ended:?}");
    raw.serves_the_next_call("gzip");
    assert_eq!(LockApi::of(&node).look("raw").holder_count, 0);
}

/// What is wrong, and how gRPC has it answered.
fn bad_frames() -> Vec<(&'static str, Bytes, Code)> {
    let good = message(&acquire(["raw"]));
    let payload = acquire(["raw"]).encode_to_vec();
    let all_but_one = good.slice(..good.len() - 1);
    vec![
        ("nothing at all", Bytes::new(), Code::Internal),
        ("half a prefix", good.slice(..3), Code::Internal),
        ("half a message", all_but_one, Code::Internal),
        (
            "garbage",
            frame(0, b"\xff\xff\xff\xff"),
            Code::InvalidArgument,
        ),
        (
            "a name that is no UTF-8",
            frame(0, b"\x0a\x02\xc3\x28"),
            Code::InvalidArgument,
        ),
        ("a compressed flag", frame(1, &payload), Code::Internal),
        ("no such flag", frame(7, &payload), Code::Internal),
        (
            "a length of 4 GiB",
            Bytes::from_static(b"\0\xff\xff\xff\xff"),
            Code::ResourceExhausted,
        ),
        ("an oversized message", oversized(), Code::ResourceExhausted),
    ]
}

#[test]
fn h6_what_is_not_served_is_unimplemented_or_unsupported_and_the_connection_lives() {
    let node = Node::builder().start();
    let mut raw = RawGrpc::connect(&node);
    for path in [
        "/lockport.lock.v1.LockService/Nothing",
        "/lockport.lock.v1.LockService/acquire",
        "/lockport.lock.v2.LockService/Acquire",
        "/nothing.Service/Call",
        "/lockport.lock.v1.LockService/",
        "/",
    ] {
        let body = message(&acquire(["raw"]));
        let ended = raw.call(&Call {
            path,
            headers: &[GRPC],
            body,
        });
        assert_eq!(
            ended.status, 200,
            "{path}: gRPC has its own status: {ended:?}"
        );
        assert_eq!(ended.code(), Code::Unimplemented, "{path}: {ended:?}");
        raw.serves_the_next_call(path);
    }
    for content_type in [
        "text/plain",
        "application/grpc-web",
        "application/x-protobuf",
    ] {
        let headers = [("content-type", content_type)];
        let body = message(&acquire(["raw"]));
        let ended = raw.call(&Call {
            path: ACQUIRE,
            headers: &headers,
            body,
        });
        let is_refused = matches!(ended.status, 404 | 415)
            || ended.grpc_status().is_some_and(|code| code != Code::Ok);
        assert!(is_refused, "{content_type}: {ended:?}");
        raw.serves_the_next_call(content_type);
    }
    // Every client may say more precisely what it sends.
    let headers = [
        ("content-type", "application/grpc+proto"),
        ("te", "trailers"),
    ];
    let body = message(&GetRequest {
        name: "a".to_owned(),
    });
    let path = "/lockport.lock.v1.LockService/Get";
    let ended = raw.call(&Call {
        path,
        headers: &headers,
        body,
    });
    assert_eq!(ended.code(), Code::Ok, "{ended:?}");
}

#[test]
fn h6_a_call_without_time_is_over_at_once_and_the_connection_lives() {
    let node = Node::builder().start();
    let mut raw = RawGrpc::connect(&node);
    let path = "/lockport.lock.v1.LockService/Get";
    for (timeout, code) in [
        ("0n", Code::DeadlineExceeded),
        ("0S", Code::DeadlineExceeded),
        ("99999999H", Code::Ok),
        // Texts that are none.
        ("soon", Code::InvalidArgument),
        ("-1S", Code::InvalidArgument),
    ] {
        let headers = [GRPC, ("grpc-timeout", timeout)];
        let body = message(&GetRequest {
            name: "a".to_owned(),
        });
        let ended = raw.call(&Call {
            path,
            headers: &headers,
            body,
        });
        assert_eq!(ended.code(), code, "{timeout}: {ended:?}");
        raw.serves_the_next_call(timeout);
    }
    let headers = [GRPC, ("grpc-timeout", "0n")];
    let body = message(&acquire(["a"]));
    let ended = raw.call(&Call {
        path: ACQUIRE,
        headers: &headers,
        body,
    });
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended:?}");
    assert_eq!(LockApi::of(&node).look("a").holder_count, 0);
}

#[test]
fn h6_a_wait_that_outlasts_the_call_s_deadline_is_given_up() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    let held = api.grant(acquire(["a"]));
    let mut raw = RawGrpc::connect(&node);
    let headers = [GRPC, ("grpc-timeout", "50m")];
    let body = message(&acquire_waiting(["a"]));
    let ended = raw.call(&Call {
        path: ACQUIRE,
        headers: &headers,
        body,
    });
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended:?}");
    api.wait_until_waiting("a", 0);
    api.release(&held.id).expect("it is held");
    assert_eq!(api.look("a").holder_count, 0);
}

#[test]
fn h6_a_session_s_stream_that_goes_wrong_ends_alone() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    let (other, _) = api
        .session(OpenSession::default())
        .expect("a session is opened");
    other.grant(acquire(["others"]));
    let mut raw = RawGrpc::connect(&node);
    let request = |id, operation| SessionRequest { id, operation };
    let lock = || Some(Operation::Acquire(acquire(["a"])));
    let open = || Some(Operation::Open(OpenSession::default()));
    let opened = message(&request(1, open()));
    // A stream that does not begin with an open is none.
    for (what, first) in [
        ("no open", request(1, lock())),
        ("nothing", request(1, None)),
        ("id 0", request(0, open())),
    ] {
        let ended = raw.call(&Call {
            path: SESSION,
            headers: &[GRPC],
            body: message(&first),
        });
        assert_eq!(ended.code(), Code::InvalidArgument, "{what}: {ended:?}");
        raw.serves_the_next_call(what);
    }
    // What is wrong later is answered, if there is an id to answer to.
    for (what, wrong, code) in [
        ("open twice", request(2, open()), Code::Ok),
        ("nothing", request(3, None), Code::Ok),
        ("id 0", request(0, lock()), Code::InvalidArgument),
    ] {
        let ended = raw.call(&Call {
            path: SESSION,
            headers: &[GRPC],
            body: [opened.clone(), message(&wrong)].concat().into(),
        });
        assert_eq!(ended.code(), code, "{what}: {ended:?}");
        raw.serves_the_next_call(what);
    }
    let garbage = [opened, frame(0, b"\xff\xff\xff")].concat();
    let ended = raw.call(&Call {
        path: SESSION,
        headers: &[GRPC],
        body: garbage.into(),
    });
    assert_eq!(ended.code(), Code::InvalidArgument, "{ended:?}");
    raw.serves_the_next_call("garbage on a session's stream");
    other.beat().expect("another session goes on");
    assert_eq!(JsonApi::of(&node).look("others").holder_count, 1);
}

/// A message as gRPC frames it.
fn message(message: &impl Message) -> Bytes {
    frame(0, &message.encode_to_vec())
}

fn frame(flag: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(flag);
    frame.put_u32(u32::try_from(payload.len()).expect("it is short"));
    frame.put_slice(payload);
    frame.freeze()
}

/// A message of a megabyte.
fn oversized() -> Bytes {
    message(&AcquireRequest {
        holder: "x".repeat(1 << 20),
        ..acquire(["raw"])
    })
}

// === impl RawGrpc ===

impl RawGrpc {
    #[track_caller]
    fn connect(node: &Node) -> Self {
        let address = address_of(node);
        let (send, connection) = wait_for("a connection", async {
            let stream = TcpStream::connect(address).await.expect("the node listens");
            h2::client::handshake(stream)
                .await
                .expect("it speaks HTTP/2")
        });
        // Its end is noticed by the calls.
        runtime().spawn(async { drop(connection.await) });
        Self { send }
    }

    /// Sends all of it, and waits for the end.
    #[track_caller]
    fn call(&mut self, call: &Call<'_>) -> Ended {
        let mut request = Request::post(format!("http://node{}", call.path));
        for (name, value) in call.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("it is a request");
        let body = call.body.clone();
        wait_for("the end of a call", async {
            let send = self.send.clone().ready().await;
            let mut send = send.expect("the connection lives");
            let (response, mut stream) = send.send_request(request, false).expect("it lives");
            // A call that is refused may be over before all of it was sent.
            let _ = stream.send_data(body, true);
            self.send = send;
            let response = response.await.expect("the node answers");
            let (head, mut body) = response.into_parts();
            while let Some(data) = body.data().await {
                let Ok(data) = data else { break };
                let _ = body.flow_control().release_capacity(data.len());
            }
            Ended {
                status: head.status.as_u16(),
                headers: head.headers,
                trailers: body.trailers().await.ok().flatten(),
            }
        })
    }

    /// Fails unless a call on the same connection is answered, and nothing was
    /// acquired before.
    #[track_caller]
    fn serves_the_next_call(&mut self, after: &str) {
        let body = message(&GetRequest {
            name: "next".to_owned(),
        });
        let path = "/lockport.lock.v1.LockService/Get";
        let ended = self.call(&Call {
            path,
            headers: &[GRPC],
            body,
        });
        assert_eq!(ended.code(), Code::Ok, "after {after}: {ended:?}");
    }
}

impl Ended {
    /// The gRPC status, wherever it stands.
    fn grpc_status(&self) -> Option<Code> {
        let trailers = self.trailers.as_ref();
        let status = trailers.and_then(|it| it.get("grpc-status"));
        let status = status.or_else(|| self.headers.get("grpc-status"))?;
        Some(Code::from_bytes(status.as_bytes()))
    }

    #[track_caller]
    fn code(&self) -> Code {
        self.grpc_status()
            .unwrap_or_else(|| panic!("there is no gRPC status: {self:?}"))
    }
}
