//! A crowd that does nothing: very many sessions whose streams are idle cost
//! little, keep nobody else waiting, and all come back after a restart.

use crate::harness::{
    Footprint, IsRefused, LockApi, Node, Speaks, Storage, acquire, address_of, millis, runtime,
};
use lockport_proto::lock::lock_service_client::LockServiceClient;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::session_response::Result as Outcome;
use lockport_proto::lock::{Beat, OpenSession, SessionRequest, SessionResponse};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// How many sessions there are, unless `CROWD=<number>` says otherwise.
const SESSIONS: usize = 10_000;

/// How many of them share a connection.
const PER_CONNECTION: usize = 1_000;

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

#[test]
fn l29_a_crowd_of_idle_sessions_is_cheap_and_comes_back_after_a_restart() {
    let asked = std::env::var("CROWD").ok().and_then(|it| it.parse().ok());
    let sessions: usize = asked.unwrap_or(SESSIONS);
    let builder = Node::builder().storage(Storage::Embedded);
    let node = builder.start();
    let before = Footprint::of(&node);
    let mut crowd = open_all(address_of(&node), vec![String::new(); sessions]);
    crowd = each(crowd, |at, idle| Box::pin(idle.lock(at)));
    let grown = Footprint::of(&node)
        .resident
        .saturating_sub(before.resident);
    let each_has = grown / sessions as u64;
    assert!(each_has < BYTES_PER_SESSION, "{each_has} bytes each");

    // Others are served as if there were nobody.
    let api = LockApi::of(&node);
    for round in 0..100 {
        let grant = api.grant(acquire([format!("other/{round}")]));
        api.release(&grant.id).expect("it is held");
    }
    crowd = each(crowd, |_, idle| Box::pin(idle.beat()));
    node.kill();

    let node = builder.start();
    let secrets = crowd.into_iter().map(|idle| idle.secret).collect();
    let crowd = open_all(address_of(&node), secrets);
    let crowd = each(crowd, |_, idle| Box::pin(idle.beat()));
    assert_eq!(crowd.len(), sessions, "somebody lost its session");
    let api = LockApi::of(&node);
    assert_eq!(api.list("crowd/", 1_000).len(), sessions, "or its lock");
    let held = api.acquire(acquire(["crowd/0"]));
    assert_eq!(held.expect_refused().reason, "HELD");
}

/// Opens a session each, or attaches the one of this secret.
#[track_caller]
fn open_all(address: SocketAddr, secrets: Vec<String>) -> Vec<Idle> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("it is an address");
    let open = async {
        let channels = 0..secrets.len().div_ceil(PER_CONNECTION);
        let channels: Vec<Channel> = channels.map(|_| endpoint.connect_lazy()).collect();
        let mut opening = JoinSet::new();
        for (at, secret) in secrets.into_iter().enumerate() {
            let channel = channels[at % channels.len()].clone();
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
