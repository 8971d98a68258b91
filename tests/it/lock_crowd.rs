//! A crowd that does nothing: very many sessions whose streams are idle cost
//! little, keep nobody else waiting, and all come back after a restart.

use crate::harness::{
    Footprint, IsRefused, JsonApi, LockApi, Node, Speaks, Storage, acquire, address_of, is_long,
    millis, report, runtime,
};
use lockport_client::RETURN_MAX;
use lockport_proto::lock::lock_service_client::LockServiceClient;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::session_response::Result as Outcome;
use lockport_proto::lock::{Beat, OpenSession, SessionRequest, SessionResponse};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// How large the crowd is, and how thoroughly others are measured.
struct Size {
    sessions: usize,
    /// How often others are measured with the crowd, and without it.
    rounds: usize,
    /// How many pairs of acquire and release each time.
    pairs: usize,
    /// How long they take to come back: one that is idle does when our client
    /// would. As many in each second, in both forms.
    back_within: Duration,
}

const SHORT: Size = Size {
    sessions: 10_000,
    rounds: 2,
    pairs: 50,
    back_within: RETURN_MAX.checked_div(5).unwrap(),
};

const LONG: Size = Size {
    sessions: 50_000,
    rounds: 21,
    pairs: 500,
    back_within: RETURN_MAX,
};

/// How many times as long the slowest of a hundred pairs of others may take
/// beside a crowd that is idle. It should not be twice as long; but a round may
/// be unlucky on a machine that is busy otherwise.
const SLOWER_MAX: f64 = 4.0;

/// How many of them share a connection.
const PER_CONNECTION: usize = 1_000;

/// How many come at once. A node refuses what is new while 10 000 answers wait
/// for its disk; to come back after a restart nothing is written.
const AT_ONCE: usize = 5_000;

/// The most memory an idle stream may cost the node, with its session and one
/// lock: what HTTP/2 and its task need, and not a buffer each.
const BYTES_PER_SESSION: u64 = 24 << 10;

/// The longest that all of them together may take for one thing: a machine
/// that is busy otherwise takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// One of the crowd.
struct Idle {
    secret: String,
    requests: mpsc::Sender<SessionRequest>,
    responses: Streaming<SessionResponse>,
}

/// How long the slowest of a hundred pairs of others took: the median of the
/// rounds.
struct P99 {
    /// On a node that serves nobody else.
    alone: Duration,
    /// On the node with the crowd.
    beside: Duration,
}

#[test]
fn l29_a_crowd_of_idle_sessions_is_cheap_and_comes_back_after_a_restart() {
    let size = if is_long() { LONG } else { SHORT };
    let sessions = size.sessions;
    let alone = Node::builder().storage(Storage::Embedded).start();
    let builder = Node::builder().storage(Storage::Embedded);
    let node = builder.start();
    let before = Footprint::of(&node);
    let start = Instant::now();
    let mut crowd = Vec::new();
    while crowd.len() < sessions {
        let before = crowd.len();
        let some = vec![String::new(); AT_ONCE.min(sessions - before)];
        let some = open_all(address_of(&node), some, Duration::ZERO);
        crowd.extend(each(some, move |at, idle| Box::pin(idle.lock(before + at))));
    }
    let there = start.elapsed();
    let grown = Footprint::of(&node)
        .resident
        .saturating_sub(before.resident);
    let each_has = grown / sessions as u64;
    report(format_args!(
        "{sessions} sessions came in {there:?} and have {each_has} bytes each"
    ));
    assert!(each_has < BYTES_PER_SESSION, "{each_has} bytes each");

    // Others are served as if there were nobody.
    let idle = P99::of(&alone, &node, &size);
    report(format_args!("beside the idle crowd: {idle}"));
    crowd = each(crowd, |_, idle| Box::pin(idle.beat()));
    node.kill();

    let node = builder.start();
    let secrets = crowd.into_iter().map(|idle| idle.secret).collect();
    let (crowd, storm) = storm(&node, secrets, size.back_within);
    let storm = P99 {
        alone: idle.alone,
        beside: storm,
    };
    report(format_args!("beside the crowd that comes back: {storm}"));
    let back = P99::of(&alone, &node, &size);
    report(format_args!("beside the crowd that is back: {back}"));
    let crowd = each(crowd, |_, idle| Box::pin(idle.beat()));
    assert_eq!(crowd.len(), sessions, "somebody lost its session");
    let api = LockApi::of(&node);
    assert_eq!(api.list("crowd/", 1_000).len(), sessions, "or its lock");
    let held = api.acquire(acquire(["crowd/0"]));
    assert_eq!(held.expect_refused().reason, "HELD");
    // So few as the short form has say nothing.
    if is_long() {
        for p99 in [idle, storm, back] {
            assert!(p99.slower() < SLOWER_MAX, "{p99}");
        }
    }
}

/// Attaches them all, one after the other, and measures others meanwhile: new
/// connections, which share the machine with the crowd's side too. The slowest
/// of a hundred pairs of theirs.
#[track_caller]
fn storm(node: &Node, secrets: Vec<String>, within: Duration) -> (Vec<Idle>, Duration) {
    // Not by the runtime that the crowd keeps busy.
    let api = JsonApi::of(node);
    let mut times = Vec::new();
    let start = Instant::now();
    let crowd = thread::scope(|scope| {
        let coming = scope.spawn(|| open_all(address_of(node), secrets, within));
        while !coming.is_finished() {
            times.extend(pairs(&api, 1));
        }
        coming.join().expect("all are attached")
    });
    let (took, count) = (start.elapsed(), times.len());
    report(format_args!(
        "all came back in {took:?}, beside {count} pairs of others"
    ));
    (crowd, p99(times))
}

/// How long each of so many pairs of acquire and release takes, one after the
/// other.
#[track_caller]
fn pairs(api: &dyn Speaks, count: usize) -> Vec<Duration> {
    let pair = |at: usize| {
        let start = Instant::now();
        let grant = api.grant(acquire([format!("other/{at}")]));
        api.release(&grant.id).expect("it is held");
        start.elapsed()
    };
    (0..count).map(pair).collect()
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times
        .get(times.len() * 99 / 100)
        .copied()
        .unwrap_or_default()
}

/// Opens a session each, or attaches the one of this secret, one after the
/// other `within` this time.
#[track_caller]
fn open_all(address: SocketAddr, secrets: Vec<String>, within: Duration) -> Vec<Idle> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("it is an address");
    let open = async {
        let channels = 0..secrets.len().div_ceil(PER_CONNECTION);
        let channels: Vec<Channel> = channels.map(|_| endpoint.connect_lazy()).collect();
        let mut opening = JoinSet::new();
        let (start, every) = (tokio::time::Instant::now(), within / secrets.len() as u32);
        for (at, secret) in secrets.into_iter().enumerate() {
            let channel = channels[at % channels.len()].clone();
            tokio::time::sleep_until(start + every * at as u32).await;
            opening.spawn(Idle::open(channel, secret));
        }
        opening.join_all().await
    };
    patiently("all are opened", open)
}

/// Has each of them do something, all at once.
#[track_caller]
fn each<F>(crowd: Vec<Idle>, act: F) -> Vec<Idle>
where
    F: for<'a> Fn(usize, &'a mut Idle) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>>
        + Send
        + Sync
        + 'static,
{
    let act = Arc::new(act);
    let all = async {
        let mut acting = JoinSet::new();
        for (at, mut idle) in crowd.into_iter().enumerate() {
            let act = Arc::clone(&act);
            acting.spawn(async move {
                act(at, &mut idle).await;
                idle
            });
        }
        acting.join_all().await
    };
    patiently("all have done it", all)
}

#[track_caller]
fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    match runtime().block_on(async { tokio::time::timeout(PATIENCE, future).await }) {
        Ok(answer) => answer,
        Err(_) => panic!("waited {PATIENCE:?} in vain: {what}"),
    }
}

// === impl P99 ===

impl P99 {
    /// Measures one node and then the other, in turns: what else the machine
    /// does falls on both.
    #[track_caller]
    fn of(alone: &Node, beside: &Node, size: &Size) -> Self {
        let apis = [alone, beside].map(LockApi::of);
        let mut rounds = [Vec::new(), Vec::new()];
        for _ in 0..size.rounds {
            for (api, round) in apis.iter().zip(&mut rounds) {
                round.push(p99(pairs(api, size.pairs)));
            }
        }
        let [alone, beside] = rounds.map(|mut it| {
            it.sort_unstable();
            it[it.len() / 2]
        });
        Self { alone, beside }
    }

    /// How many times as long it takes beside the crowd.
    fn slower(&self) -> f64 {
        self.beside.as_secs_f64() / self.alone.as_secs_f64()
    }
}

impl fmt::Display for P99 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alone, beside } = self;
        let slower = self.slower();
        write!(f, "p99 {beside:?}, alone {alone:?}: {slower:.2} times")
    }
}

// === impl Idle ===

impl Idle {
    async fn open(channel: Channel, secret: String) -> Self {
        let (requests, mut receiver) = mpsc::channel(1);
        let open = OpenSession {
            // Long enough for a machine that is busy otherwise. One that is
            // open keeps its own.
            ttl: secret.is_empty().then(|| millis(600_000)).flatten(),
            session: secret,
            ..OpenSession::default()
        };
        let outgoing = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
        let first = SessionRequest {
            id: 1,
            operation: Some(Operation::Open(open)),
        };
        requests.try_send(first).expect("there is room for one");
        let stream = LockServiceClient::new(channel).session(outgoing).await;
        let mut idle = Self {
            secret: String::new(),
            requests,
            responses: stream.expect("a session is opened").into_inner(),
        };
        match idle.next().await {
            Outcome::Opened(opened) => idle.secret = opened.session,
            other => panic!("an open was answered {other:?}"),
        }
        idle
    }

    async fn lock(&mut self, at: usize) {
        let request = acquire([format!("crowd/{at}")]);
        match self.ask(Operation::Acquire(request)).await {
            Outcome::Acquire(_) => {}
            other => panic!("an acquire was answered {other:?}"),
        }
    }

    async fn beat(&mut self) {
        match self.ask(Operation::Beat(Beat {})).await {
            Outcome::Beat(_) => {}
            other => panic!("a beat was answered {other:?}"),
        }
    }

    async fn ask(&mut self, operation: Operation) -> Outcome {
        let request = SessionRequest {
            id: 2,
            operation: Some(operation),
        };
        let sent = self.requests.send(request).await;
        sent.expect("the stream goes on");
        self.next().await
    }

    async fn next(&mut self) -> Outcome {
        let response = self.responses.message().await.expect("the stream goes on");
        let response = response.expect("the stream does not end");
        response.result.expect("a response says something")
    }
}
