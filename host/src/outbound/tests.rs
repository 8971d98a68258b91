//! A door, and servers on this machine that behave as tests like.

mod addresses;
mod broken;
mod secure;

use super::*;
use crate::metrics::Metrics;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::{Empty, Full};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Far more time than any of these tests needs.
const LONG: Duration = Duration::from_secs(30);

/// A door, and what it was asked of.
struct Bench {
    door: Door,
    metrics: OutboundMetrics,
    /// Whether the transaction was left.
    left: AtomicBool,
}

/// A server. Its connections are given to `serve`, one task each.
struct Server {
    address: SocketAddr,
    /// How many connections it has taken.
    accepted: Arc<AtomicUsize>,
}

/// Names that lead where a test says.
struct Names(Vec<(&'static str, Vec<IpAddr>)>);

impl Resolve for Names {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let found = self.0.iter().find(|(it, _)| *it == name);
        let found = found.map(|(_, it)| it.clone());
        Box::pin(async { found.ok_or_else(|| io::ErrorKind::NotFound.into()) })
    }
}

impl Bench {
    fn new(grants: &[&str]) -> Self {
        Self::with(grants, |_| {}, World::of(Vec::new()))
    }

    fn with(grants: &[&str], change: impl FnOnce(&mut Limits), world: World) -> Self {
        let grants = grants
            .iter()
            .map(|it| match it.strip_prefix("private ") {
                Some(grant) => OutboundGrant::parse(grant, true).unwrap(),
                None => OutboundGrant::parse(it, false).unwrap(),
            })
            .collect();
        let mut limits = Limits::default();
        change(&mut limits);
        let metrics = Metrics::new().outbound("guest", limits.connections);
        Self {
            door: Door::new(grants, limits, world, metrics.clone()),
            metrics,
            left: AtomicBool::new(false),
        }
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, CallRefused> {
        self.send_until(request, LONG).await
    }

    async fn send_until(
        &self,
        request: Request<Body>,
        deadline: Duration,
    ) -> Result<Response<Body>, CallRefused> {
        let deadline = std::time::Instant::now() + deadline;
        let leave = || self.left.store(true, Ordering::SeqCst);
        self.door.send(request, None, deadline, leave).await
    }

    /// The status and the body of the answer to a `GET`.
    async fn get(&self, url: &str) -> Result<(u16, String), String> {
        let response = self.send(get(url)).await.map_err(|it| it.to_string())?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await;
        let body = body.map_err(|it| it.to_string())?.to_bytes();
        Ok((status, String::from_utf8(body.to_vec()).unwrap()))
    }

    async fn fault(&self, url: &str) -> Fault {
        match self.send(get(url)).await {
            Err(CallRefused::Fault(fault)) => fault,
            other => panic!("{url}: {:?}", other.map(|it| it.status())),
        }
    }

    /// Waits until no connection is open.
    async fn closed(&self) {
        let closed = async {
            while self.metrics.open() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, closed).await.expect("it closes");
    }
}

impl World {
    /// Where names lead where a test says, and nobody is trusted.
    fn of(names: Vec<(&'static str, Vec<IpAddr>)>) -> Self {
        Self {
            resolver: Arc::new(Names(names)),
            trust: None,
        }
    }
}

impl Server {
    async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream));
            }
        });
        Self { address, accepted }
    }

    /// One that answers every request with these bytes.
    async fn saying(answer: impl Into<String>) -> Self {
        let answer: Arc<str> = answer.into().into();
        Self::start(move |stream| answer_all(stream, answer.clone())).await
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Reads a request's head; nothing, if the connection ends.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

async fn answer_all(mut stream: TcpStream, answer: Arc<str>) {
    while head(&mut stream).await.is_some() {
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn get(url: &str) -> Request<Body> {
    let empty = Empty::new().map_err(|never| match never {});
    Request::get(url).body(empty.boxed_unsync()).unwrap()
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_request_reaches_its_server_as_it_should_be_sent() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    let server = Server::start(move |mut stream| {
        let seen = seen.clone();
        async move {
            let head = head(&mut stream).await.unwrap();
            seen.lock().unwrap().push(head);
            stream.write_all(HELLO.as_bytes()).await.unwrap();
        }
    })
    .await;
    let bench = Bench::new(&[&server.url()]);
    let url = format!("{}//a/../b?c=http://d", server.url());
    assert_eq!(bench.get(&url).await, Ok((200, "hello".to_owned())));
    let expected = format!(
        "GET //a/../b?c=http://d HTTP/1.1\r\nhost: {}\r\n\r\n",
        server.address
    );
    assert_eq!(*heads.lock().unwrap(), [expected]);
    assert!(bench.left.load(Ordering::SeqCst));
    assert_eq!(bench.metrics.count(OutboundOutcome::Answered), 1);
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let server = Server::saying(HELLO).await;
    let bench = Bench::new(&[&server.url()]);
    for _ in 0..10 {
        assert_eq!(bench.get(&server.url()).await.unwrap().0, 200);
    }
    assert_eq!(server.accepted(), 1);
    // But one at a time, and not if an answer was not read to its end.
    let first = bench.send(get(&server.url())).await.unwrap();
    let second = bench.send(get(&server.url())).await.unwrap();
    assert_eq!(server.accepted(), 2);
    drop((first, second));
    bench.closed().await;
    assert_eq!(bench.get(&server.url()).await.unwrap().0, 200);
    assert_eq!(server.accepted(), 3);
}

#[tokio::test]
async fn a_connection_that_its_server_closed_is_replaced_unnoticed() {
    let served = Arc::new(Notify::new());
    let closing = served.clone();
    let server = Server::start(move |mut stream| {
        let closing = closing.clone();
        async move {
            head(&mut stream).await;
            stream.write_all(HELLO.as_bytes()).await.unwrap();
            closing.notified().await;
        }
    })
    .await;
    let bench = Bench::new(&[&server.url()]);
    for _ in 0..5 {
        assert_eq!(bench.get(&server.url()).await.unwrap().0, 200);
        served.notify_one();
        bench.closed().await;
    }
    assert_eq!(server.accepted(), 5);
}

#[tokio::test]
async fn a_component_has_so_many_connections_and_no_more() {
    let [one, other] = [Server::saying(HELLO).await, Server::saying(HELLO).await];
    let grants = [&*one.url(), &*other.url()];
    let bench = Bench::with(&grants, |it| it.connections = 2, World::of(Vec::new()));
    let held = bench.send(get(&one.url())).await.unwrap();
    let more = bench.send(get(&one.url())).await.unwrap();
    assert_eq!(bench.fault(&other.url()).await, Fault::Connections);
    assert_eq!(bench.metrics.open(), 2);
    assert_eq!(bench.metrics.count(OutboundOutcome::Limit), 1);
    // One that only waits makes room.
    more.into_body().collect().await.unwrap();
    assert_eq!(bench.get(&other.url()).await.unwrap().0, 200);
    drop(held);
}

#[tokio::test]
async fn a_redirect_is_the_guest_s_to_follow() {
    let secret = Server::saying(HELLO).await;
    let server = Server::saying(format!(
        "HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        secret.url()
    ))
    .await;
    let bench = Bench::new(&[&server.url()]);
    assert_eq!(bench.get(&server.url()).await.unwrap().0, 302);
    assert_eq!(secret.accepted(), 0);
    let refused = bench.send(get(&secret.url())).await.unwrap_err();
    assert_eq!(refused, CallRefused::Denied);
}

#[tokio::test]
async fn a_request_that_is_given_up_closes_its_connection() {
    let gone = Arc::new(Notify::new());
    let told = gone.clone();
    let server = Server::start(move |mut stream| {
        let told = told.clone();
        async move {
            head(&mut stream).await;
            // Until the other side goes.
            assert!(stream.read_u8().await.is_err());
            told.notify_one();
        }
    })
    .await;
    let bench = Bench::new(&[&server.url()]);
    {
        let sent = bench.send(get(&server.url()));
        let mut sent = std::pin::pin!(sent);
        while server.accepted() == 0 {
            assert!(sent.as_mut().now_or_never().is_none());
            tokio::task::yield_now().await;
        }
    }
    tokio::time::timeout(LONG, gone.notified())
        .await
        .expect("the server is told");
    bench.closed().await;
    assert_eq!(bench.metrics.count(OutboundOutcome::Abandoned), 1);
}

#[tokio::test]
async fn a_body_goes_out_while_it_is_written() {
    let server = Server::start(|mut stream| async move {
        let sent = head(&mut stream).await.unwrap();
        assert!(sent.contains("content-length: 4\r\n"), "{sent}");
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(HELLO.as_bytes()).await.unwrap();
    })
    .await;
    let bench = Bench::new(&[&server.url()]);
    let body = Full::new(Bytes::from("ping")).map_err(|never| match never {});
    let request = Request::post(server.url())
        .body(body.boxed_unsync())
        .unwrap();
    assert_eq!(bench.send(request).await.unwrap().status(), 200);
}
