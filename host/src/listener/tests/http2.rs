//! Tests of HTTP/2, by a client that writes frames as it likes and keeps no
//! rule that it is not told to keep.

use super::*;
use axum::Router;
use axum::routing::get;
use tokio::sync::{Semaphore, watch};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Kinds of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

// Flags of frames.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET http://a/`, by the static table of HPACK and one literal.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b'a'];

/// Why a stream was not taken: it is one too many.
const REFUSED_STREAM: u32 = 7;
/// Why a connection is cut: too much of what is allowed.
const ENHANCE_YOUR_CALM: u32 = 11;

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

struct Client(TcpStream);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn get_on(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, GET)
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

impl Client {
    /// A connection that has said the preface, and these settings.
    async fn connect(door: &Door, settings: &[u8]) -> Self {
        let mut client = Self(door.connect().await);
        client.send(PREFACE).await;
        client.send(&frame(SETTINGS, 0, 0, settings)).await;
        client
    }

    async fn send(&mut self, bytes: &[u8]) {
        within(self.0.write_all(bytes)).await.unwrap();
    }

    /// The next frame; `None` at the end of the connection, however it ends.
    async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        within(self.0.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        within(self.0.read_exact(&mut payload)).await.ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// The next frame of this kind that is not an acknowledgement.
    async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            let acknowledges = matches!(kind, SETTINGS | PING) && frame.flags & ACK != 0;
            if frame.kind == kind && !acknowledges {
                return Some(frame);
            }
        }
    }

    /// Answers the pings that come until the connection ends, and gives the
    /// other frames.
    async fn obey(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            if frame.kind == PING && frame.flags & ACK == 0 {
                let pong = super::http2::frame(PING, ACK, 0, &frame.payload);
                // It may be gone meanwhile.
                let _ = self.0.write_all(&pong).await;
            } else {
                frames.push(frame);
            }
        }
        frames
    }

    /// The code with which the connection is ended, if it says one.
    async fn goodbye(&mut self) -> Option<u32> {
        let frame = self.next_of(GOAWAY).await?;
        Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()))
    }

    async fn expect_end(&mut self) {
        while self.next().await.is_some() {}
    }
}

/// Whether `frames` contain a whole answer on `stream`.
fn answered(frames: &[Frame], stream: u32) -> bool {
    let of = |it: &&Frame| it.stream == stream;
    let has_head = frames.iter().filter(of).any(|it| it.kind == HEADERS);
    let ended = |it: &Frame| matches!(it.kind, HEADERS | DATA) && it.flags & END_STREAM != 0;
    has_head && frames.iter().filter(of).any(ended)
}

/// Answers when it is told to, and says what became of its requests.
struct Slow {
    let_go: Arc<Semaphore>,
    at_work: watch::Receiver<i32>,
}

struct AtWork(watch::Sender<i32>);

impl AtWork {
    fn new(count: &watch::Sender<i32>) -> Self {
        count.send_modify(|it| *it += 1);
        Self(count.clone())
    }
}

impl Drop for AtWork {
    /// To end a request takes a moment, as it does when an instance goes.
    fn drop(&mut self) {
        let (_sender, never) = std::sync::mpsc::channel::<()>();
        let _ = never.recv_timeout(SHORT);
        self.0.send_modify(|it| *it -= 1);
    }
}

async fn open_slow(options: Options) -> (Door, Slow) {
    let let_go = Arc::new(Semaphore::new(0));
    let (count, at_work) = watch::channel(0);
    let slow = Slow {
        let_go: let_go.clone(),
        at_work,
    };
    let handler = move || {
        let (let_go, at_work) = (let_go.clone(), AtWork::new(&count));
        async move {
            drop(let_go.acquire().await);
            drop(at_work);
            "done"
        }
    };
    let router = Router::new().route("/", get(handler));
    (open_to(router, options).await, slow)
}

impl Slow {
    async fn wait_for(&mut self, count: i32) {
        within(self.at_work.wait_for(|it| *it == count))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn requests_of_http2_are_answered_on_the_port_of_http1() {
    let door = open(options()).await;
    let mut client = Client::connect(&door, &[]).await;
    for stream in [1, 3] {
        client.send(&get_on(stream)).await;
        let head = client.next_of(HEADERS).await.unwrap();
        assert_eq!(head.stream, stream);
        let body = client.next_of(DATA).await.unwrap();
        let body = String::from_utf8(body.payload).unwrap();
        assert!(body.contains("\"reason\":\"NO_ROUTE\""), "{body}");
    }
    let mut old = door.connect().await;
    assert!(ask(&mut old).await.contains("NO_ROUTE"));
}

#[tokio::test]
async fn half_a_preface_is_cut_like_half_a_head() {
    let mut options = options();
    options.patience.header = SHORT;
    let door = open(options).await;
    let mut stream = door.connect().await;
    stream.write_all(&PREFACE[..20]).await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn an_idle_client_is_told_that_the_connection_ends_and_then_cut() {
    let mut options = options();
    options.patience.idle = SHORT;
    options.patience.header = SHORT;
    let door = open(options).await;
    let mut client = Client::connect(&door, &[]).await;
    assert_eq!(client.goodbye().await, Some(0));
    // It does not answer, so it does not get the time to.
    client.expect_end().await;
    let mut client = Client::connect(&door, &[]).await;
    let frames = client.obey().await;
    assert!(frames.iter().any(|it| it.kind == GOAWAY), "{frames:?}");
}

#[tokio::test]
async fn requests_beyond_the_limit_of_a_connection_are_refused() {
    let (door, mut slow) = open_slow(Options {
        streams: 2,
        ..options()
    })
    .await;
    let mut client = Client::connect(&door, &[]).await;
    // The limit counts once it was acknowledged.
    client.next_of(SETTINGS).await.unwrap();
    client.send(&frame(SETTINGS, ACK, 0, &[])).await;
    for stream in [1, 3, 5] {
        client.send(&get_on(stream)).await;
    }
    let refused = client.next_of(RST_STREAM).await.unwrap();
    assert_eq!(refused.stream, 5);
    assert_eq!(refused.payload, REFUSED_STREAM.to_be_bytes());
    slow.wait_for(2).await;
    slow.let_go.add_permits(1);
    slow.wait_for(0).await;
    client.send(&get_on(7)).await;
    loop {
        let head = client.next_of(HEADERS).await.unwrap();
        if head.stream == 7 {
            break;
        }
    }
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let door = open(options()).await;
    let stream = door.connect().await;
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let large = "b".repeat(9 << 10);
    for (value, status) in [("b", 404), (large.as_str(), 431)] {
        let request = http::Request::get("http://a/").header("a", value);
        let (response, _) = sender
            .send_request(request.body(()).unwrap(), true)
            .unwrap();
        assert_eq!(within(response).await.unwrap().status().as_u16(), status);
    }
    connection.abort();
}

#[tokio::test]
async fn a_head_without_an_end_is_cut() {
    let door = open(options()).await;
    let mut client = Client::connect(&door, &[]).await;
    let mut flood = frame(HEADERS, END_STREAM, 1, GET);
    // A literal field that is never indexed, again and again.
    let field = [&[0x10, 1, b'x', 100][..], &[b'y'; 100]].concat();
    for _ in 0..10_000 {
        flood.extend(frame(CONTINUATION, 0, 1, &field));
    }
    // It may be cut while this is written.
    let _ = within(client.0.write_all(&flood)).await;
    client.expect_end().await;
}

#[tokio::test]
async fn a_flood_of_requests_that_are_reset_at_once_is_cut() {
    let door = open(options()).await;
    let mut client = Client::connect(&door, &[]).await;
    let flood: Vec<u8> = (0..1_000)
        .flat_map(|it| [get_on(2 * it + 1), reset(2 * it + 1)].concat())
        .collect();
    let _ = within(client.0.write_all(&flood)).await;
    assert_eq!(client.goodbye().await, Some(ENHANCE_YOUR_CALM));
    client.expect_end().await;
}

#[tokio::test]
async fn who_keeps_the_window_shut_does_not_read_its_answer() {
    let mut options = options();
    options.patience.write = SHORT;
    let door = open(options).await;
    // The initial window of streams is 0.
    let shut = [0, 4, 0, 0, 0, 0];
    let mut client = Client::connect(&door, &shut).await;
    client.send(&get_on(1)).await;
    assert!(client.next_of(HEADERS).await.is_some());
    assert!(client.next_of(DATA).await.is_none(), "it is cut");
}

#[tokio::test]
async fn a_peer_that_has_silently_gone_is_noticed() {
    let (door, mut slow) = open_slow(Options {
        ping: Ping {
            every: SHORT,
            timeout: SHORT,
        },
        ..options()
    })
    .await;
    let mut client = Client::connect(&door, &[]).await;
    client.send(&get_on(1)).await;
    slow.wait_for(1).await;
    assert!(client.next_of(PING).await.is_some());
    // It never answers.
    client.expect_end().await;
    slow.wait_for(0).await;
}

#[tokio::test]
async fn a_client_that_resets_its_request_ends_it() {
    let (door, mut slow) = open_slow(options()).await;
    let mut client = Client::connect(&door, &[]).await;
    client.send(&get_on(1)).await;
    slow.wait_for(1).await;
    client.send(&reset(1)).await;
    slow.wait_for(0).await;
}

#[tokio::test]
async fn draining_finishes_what_is_under_way_and_ends_the_connection() {
    let (door, mut slow) = open_slow(options()).await;
    let mut client = Client::connect(&door, &[]).await;
    client.send(&get_on(1)).await;
    slow.wait_for(1).await;
    door.trigger.advance(Phase::Draining);
    let told = client.next_of(GOAWAY).await.unwrap();
    assert_eq!(told.payload[4..8], [0; 4], "there is nothing wrong");
    slow.let_go.add_permits(1);
    let frames = client.obey().await;
    assert!(answered(&frames, 1), "{frames:?}");
    within(door.served).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_draining() {
    let door = open(options()).await;
    let mut client = Client::connect(&door, &[]).await;
    client.send(&get_on(1)).await;
    client.next_of(DATA).await.unwrap();
    door.trigger.advance(Phase::Draining);
    client.obey().await;
    within(door.served).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_listener_has_ended_none_of_its_requests_is_at_work() {
    let (door, mut slow) = open_slow(options()).await;
    let mut client = Client::connect(&door, &[]).await;
    for stream in [1, 3, 5] {
        client.send(&get_on(stream)).await;
    }
    slow.wait_for(3).await;
    door.trigger.advance(Phase::Aborting);
    within(door.served).await.unwrap();
    assert_eq!(*slow.at_work.borrow(), 0);
    client.expect_end().await;
}
