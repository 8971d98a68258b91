//! Tests of a listener with a gateway that has no components: every request
//! is answered 404, so only the door is looked at. Here HTTP/1; HTTP/2 in
//! `http2.rs`.

mod http2;

use super::*;
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::shutdown::{self, Trigger};
use lockport_store::Memory;
use std::future::Future;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

/// How long anything here may take before the test is given up.
const BOUND: Duration = Duration::from_secs(30);
/// Longer than any test: what is this patient is never cut.
const EVER: Duration = Duration::from_secs(3600);
/// Short, for what a test waits for.
const SHORT: Duration = Duration::from_millis(50);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

struct Door {
    address: SocketAddr,
    trigger: Trigger,
    served: JoinHandle<()>,
}

fn options() -> Options {
    Options {
        connections: 100,
        headers: 100,
        header_bytes: 8 << 10,
        streams: 100,
        ping: Ping {
            every: EVER,
            timeout: EVER,
        },
        patience: Patience {
            header: EVER,
            idle: EVER,
            write: EVER,
        },
        drain: EVER,
        metrics: ListenerMetrics::unwatched(),
    }
}

async fn open(options: Options) -> Door {
    let store = Arc::new(Memory::new());
    let gateway = Gateway::new(store, EVER, Vec::new(), Arc::new(Metrics::new())).unwrap();
    open_to(Arc::new(gateway), options).await
}

async fn open_to(service: impl Service, options: Options) -> Door {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), options)
        .await
        .unwrap();
    let address = listener.address();
    let (trigger, shutdown) = shutdown::channel();
    let served = tokio::spawn(listener.serve(service, shutdown));
    Door {
        address,
        trigger,
        served,
    }
}

impl Door {
    async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.address)).await.unwrap()
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, work)
        .await
        .expect("it takes too long")
}

/// Sends a request and reads its answer to the end of its body.
async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(REQUEST).await.unwrap();
    answer(stream).await
}

/// Reads one problem document with its head.
async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"}") {
        let read = within(stream.read_buf(&mut bytes)).await.unwrap();
        assert!(read > 0, "it ended: {}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8(bytes).unwrap()
}

/// What comes until the connection ends.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    within(stream.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn what_nobody_serves_is_answered_with_a_problem_and_the_connection_lives_on() {
    let door = open(options()).await;
    let mut stream = door.connect().await;
    for _ in 0..2 {
        let answer = ask(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
        assert!(answer.contains("x-request-id: "), "{answer}");
        assert!(answer.contains("\"reason\":\"NO_ROUTE\""), "{answer}");
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let door = open(Options {
        connections: 1,
        ..options()
    })
    .await;
    let mut first = door.connect().await;
    ask(&mut first).await;
    let mut second = door.connect().await;
    second.write_all(REQUEST).await.unwrap();
    for _ in 0..10 {
        // The listener runs in between, and does not take the second.
        ask(&mut first).await;
    }
    let error = second.try_read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    drop(first);
    assert!(answer(&mut second).await.contains("NO_ROUTE"));
}

#[tokio::test]
async fn heads_beyond_the_limits_are_refused() {
    let door = open(options()).await;
    let fields = |count| "a: b\r\n".repeat(count);
    let large = format!("a: {}\r\n", "b".repeat(9 << 10));
    for (headers, refused) in [(fields(99), false), (fields(100), true), (large, true)] {
        let mut stream = door.connect().await;
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        if refused {
            let answer = rest(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        } else {
            answer(&mut stream).await;
        }
    }
}

#[tokio::test]
async fn a_head_that_takes_too_long_is_cut() {
    let mut options = options();
    options.patience.header = SHORT;
    let door = open(options).await;
    let mut stream = door.connect().await;
    stream.write_all(b"GET / HT").await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn a_connection_that_is_idle_for_too_long_is_cut() {
    let mut options = options();
    options.patience.idle = SHORT;
    let door = open(options).await;
    let mut silent = door.connect().await;
    assert_eq!(rest(&mut silent).await, "");
    let mut used = door.connect().await;
    ask(&mut used).await;
    assert_eq!(rest(&mut used).await, "");
}

#[tokio::test]
async fn draining_ends_idle_connections_and_takes_no_new_ones() {
    let door = open(options()).await;
    let mut stream = door.connect().await;
    ask(&mut stream).await;
    door.trigger.advance(Phase::Draining);
    assert_eq!(rest(&mut stream).await, "");
    within(door.served).await.unwrap();
    assert!(TcpStream::connect(door.address).await.is_err());
}

#[tokio::test]
async fn draining_waits_for_a_request_that_has_begun() {
    let door = open(options()).await;
    let mut stream = door.connect().await;
    let (begin, end) = REQUEST.split_at(8);
    ask(&mut stream).await;
    stream.write_all(begin).await.unwrap();
    // Seen by the listener, as what comes behind it is answered.
    let mut other = door.connect().await;
    ask(&mut other).await;
    door.trigger.advance(Phase::Draining);
    assert_eq!(rest(&mut other).await, "");
    stream.write_all(end).await.unwrap();
    let last = rest(&mut stream).await;
    assert!(last.contains("NO_ROUTE"), "{last}");
    within(door.served).await.unwrap();
}

/// A door with a connection on which a request has begun and does not end.
async fn stuck(options: Options) -> (Door, TcpStream) {
    let door = open(options).await;
    let mut stream = door.connect().await;
    ask(&mut stream).await;
    stream.write_all(b"GET / HT").await.unwrap();
    let mut other = door.connect().await;
    ask(&mut other).await;
    door.trigger.advance(Phase::Draining);
    assert_eq!(rest(&mut other).await, "");
    (door, stream)
}

#[tokio::test]
async fn draining_takes_no_longer_than_it_may() {
    let (door, mut stream) = stuck(Options {
        drain: SHORT,
        ..options()
    })
    .await;
    within(door.served).await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn a_second_signal_ends_what_is_under_way() {
    let (door, mut stream) = stuck(options()).await;
    assert!(!door.served.is_finished());
    door.trigger.advance(Phase::Aborting);
    within(door.served).await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn a_request_that_is_on_its_way_when_draining_begins_is_answered_as_the_last() {
    let door = open(options()).await;
    let mut stream = door.connect().await;
    ask(&mut stream).await;
    door.trigger.advance(Phase::Draining);
    let last = ask(&mut stream).await;
    assert!(last.contains("connection: close\r\n"), "{last}");
    assert_eq!(rest(&mut stream).await, "");
    within(door.served).await.unwrap();
}

#[tokio::test]
async fn who_has_connected_before_draining_begins_is_served() {
    // One thread, so the listener does not run before it is told to drain.
    let door = open(options()).await;
    let connecting = std::net::TcpStream::connect(door.address).unwrap();
    connecting.set_nonblocking(true).unwrap();
    door.trigger.advance(Phase::Draining);
    let mut stream = TcpStream::from_std(connecting).unwrap();
    assert!(ask(&mut stream).await.contains("NO_ROUTE"));
    within(door.served).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_cannot_accept_ends_at_once_when_it_is_told_to() {
    let listener = Listener {
        socket: failing().unwrap(),
        address: ([127, 0, 0, 1], 0).into(),
        options: options(),
    };
    let (trigger, shutdown) = shutdown::channel();
    let store = Arc::new(Memory::new());
    let gateway = Gateway::new(store, EVER, Vec::new(), Arc::new(Metrics::new())).unwrap();
    let served = tokio::spawn(listener.serve(Arc::new(gateway), shutdown));
    // Until it rests as long as it ever does. Time passes only while it does.
    tokio::time::sleep(BACKOFF_MAX * 10).await;
    let told = tokio::time::Instant::now();
    trigger.advance(Phase::Draining);
    served.await.unwrap();
    assert_eq!(told.elapsed(), Duration::ZERO);
}

/// A socket that never listens, so that every accept fails.
fn failing() -> io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0)))?;
    TcpListener::from_std(socket.into())
}

#[tokio::test]
async fn the_system_is_told_when_a_silent_peer_has_gone() {
    use rustix::net::sockopt;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (stream, _) = accepted.unwrap();
    connection::prepare(&stream, &Ping::default()).unwrap();
    assert!(stream.nodelay().unwrap());
    assert!(sockopt::socket_keepalive(&stream).unwrap());
    let seconds = Duration::from_secs;
    assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), seconds(20));
    // Asked four times, it has 20 s to answer.
    assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap(), seconds(5));
    assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), 4);
    #[cfg(target_os = "linux")]
    assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 40_000);
}
