//! A lock API that listens, and what talks to it.

use crate::{Access, Compat, Limits, LockApi, Options, Token};
use axum::body::{Body, Bytes};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use lockport_proto::lock::lock_service_client::LockServiceClient;
use lockport_store::clock::ManualClock;
use lockport_store::embedded::{self, Durability};
use lockport_store::{Embedded, LockPattern, Memory, Store, Time};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tonic::transport::{Channel, Endpoint};

/// How long a test waits for what has to happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The secret of the principal `alice`, an operator.
pub(super) const ALICE: &str = "alice-secret-0123456789";

/// The secret of the principal `bob`, who may lock `shared/**` only.
pub(super) const BOB: &str = "bob-secret-0123456789ab";

/// The secret of the principal `carol`, an operator who may lock `*/open` only.
pub(super) const CAROL: &str = "carol-secret-0123456789";

/// A lock API that listens.
pub(super) struct Node {
    pub(super) api: LockApi,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: ManualClock,
    pub(super) address: SocketAddr,
    server: JoinHandle<()>,
}

/// How a node is started.
pub(super) struct Setup {
    pub(super) options: Options,
    pub(super) limits: lockport_store::core::Limits,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            options: Options {
                access: Access::open(),
                compat: Some(Compat::default()),
                limits: Limits::default(),
            },
            limits: lockport_store::core::Limits::default(),
        }
    }
}

/// Asks for the tokens of [`ALICE`], [`BOB`] and [`CAROL`].
pub(super) fn tokens() -> Access {
    let token = |principal: &str, secret: &str, operator, pattern| Token {
        principal: principal.to_owned(),
        secret: secret.to_owned(),
        operator,
        locks: vec![LockPattern::parse(pattern).unwrap()],
    };
    let alice = token("alice", ALICE, true, "**");
    let bob = token("bob", BOB, false, "shared/**");
    let carol = token("carol", CAROL, true, "*/open");
    Access::tokens(vec![alice, bob, carol]).unwrap()
}

pub(super) fn clock() -> ManualClock {
    ManualClock::new(Time::from_micros(1_000_000))
}

impl Node {
    /// In memory, open to everybody, at a time that stands still.
    pub(super) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    /// In memory, at a time that stands still.
    pub(super) async fn with(setup: Setup) -> Self {
        let clock = clock();
        let store = Memory::with(setup.limits, clock.clone().into());
        Self::over(Arc::new(store), clock, setup.options).await
    }

    /// In a directory, at a time that stands still.
    pub(super) async fn in_directory(directory: &Path, setup: Setup) -> Self {
        let clock = clock();
        let options = embedded::Options {
            durability: Durability::Relaxed,
            limits: setup.limits,
            clock: clock.clone().into(),
        };
        let store = Embedded::open_with(directory, options).unwrap();
        Self::over(Arc::new(store), clock, setup.options).await
    }

    /// Over a store of the test's own.
    pub(super) async fn over(store: Arc<dyn Store>, clock: ManualClock, options: Options) -> Self {
        let api = LockApi::new(Arc::clone(&store), options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, api.router()));
        Self {
            api,
            store,
            clock,
            address,
            server,
        }
    }

    /// Ends it, with all its connections, and lets go of the store.
    pub(super) async fn stop(self) {
        self.server.abort();
        drop(self.server.await);
    }

    pub(super) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(super) async fn grpc(&self) -> LockServiceClient<Channel> {
        LockServiceClient::new(self.channel().await)
    }

    /// Sends a request over HTTP/1.1, on a connection of its own.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        soon(send(self.address, request)).await
    }

    /// Asks for a path.
    pub(super) async fn get(&self, path: &str) -> Reply {
        self.send(request(Method::GET, path, "")).await
    }

    /// Sends JSON.
    pub(super) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Reply {
        let mut request = request(Method::POST, path, body);
        let json = "application/json".parse().unwrap();
        request.headers_mut().insert("content-type", json);
        self.send(request).await
    }
}

/// Sends a request over HTTP/1.1, on a connection of its own.
pub(super) async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Reply {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Reply {
        status: head.status,
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

pub(super) fn request(method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let builder = Request::builder().method(method).uri(path);
    let builder = builder.header("host", "localhost");
    builder.body(Full::new(body.into())).unwrap()
}

/// An answer over HTTP.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The reason in a problem document whose status is the answer's.
    pub(super) fn reason(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["type"], "about:blank");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        assert_eq!(
            problem["request_id"],
            self.headers["x-request-id"].to_str().unwrap()
        );
        problem["reason"].as_str().unwrap().to_owned()
    }
}

async fn serve(listener: TcpListener, router: axum::Router) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let router = router.clone();
        connections.spawn(async move {
            let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
                let mut router = router.clone();
                async move {
                    let request = request.map(Body::new);
                    tower_service::Service::call(&mut router, request).await
                }
            });
            let service = TowerToHyperService::new(service);
            let builder = auto::Builder::new(TokioExecutor::new());
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            drop(connection.await);
        });
    }
}

/// Lets others go on until the condition holds.
pub(super) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        panic!("it never happened: {what}");
    }
}

/// Waits, but not forever.
pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it takes too long")
}
