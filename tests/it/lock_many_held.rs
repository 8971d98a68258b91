//! Very many locks that are held for a long time: none is taken away from who
//! has it, and what keeps them does not grow with their number.

use crate::harness::{
    Builder, Connection, LockApi, Node, RedisServer, SessionStream, Speaks, Storage, Told,
    Watching, acquire, eventually, is_long, millis, report, steps,
};
use lockport_proto::lock::release_response::Outcome;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::{AcquireRequest, OpenSession, WatchRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

on_every_store! {
    l17_of_very_many_locks_that_are_held_none_runs_out,
}

/// How many sessions hold locks, all the same number, and each as a grant of its
/// own.
const SESSIONS: usize = 10;

/// How many requests hold locks, how many grants each, of how many names.
const REQUESTS: usize = 2;
/// See [`REQUESTS`].
const GRANTS: usize = 10;
/// See [`REQUESTS`].
const NAMES: usize = 50;

/// How many a session asks for before it looks at the answers.
const AT_ONCE: usize = 500;

/// How often a session is heard in its time to live.
const BEATS_PER_TTL: u32 = 4;

/// How often a node beats at most, whatever has which lease.
const NODE_BEATS: Duration = Duration::from_millis(500);

/// How much is held, and for how long.
struct Size {
    /// Locks of each session.
    per_session: usize,
    /// How long a session and a node live without a beat.
    lease: Duration,
    /// How many such times pass while all is held.
    leases: u32,
}

/// A hundred thousand locks, for ten minutes.
const LONG: Size = Size {
    per_session: 9_900,
    lease: Duration::from_secs(10),
    leases: 60,
};

const SHORT: Size = Size {
    per_session: 200,
    lease: Duration::from_secs(2),
    leases: 2,
};

fn l17_of_very_many_locks_that_are_held_none_runs_out(storage: Storage) {
    let server = (storage == Storage::Redis).then(|| Arc::new(RedisServer::start()));
    let size = if is_long() { LONG } else { SHORT };
    let node = patient(storage, server.as_ref(), &size).start();
    let api = LockApi::of(&node);
    let open = OpenSession {
        ttl: millis(size.lease.as_millis() as u64),
        ..OpenSession::default()
    };
    let sessions: Vec<SessionStream> = (0..SESSIONS)
        .map(|_| api.session(open.clone()).expect("it may").0)
        .collect();
    let beats = AtomicU64::new(0);
    thread::scope(|scope| {
        // Dropped at the end, however that comes about.
        let (_hold, until) = channel::<()>();
        scope.spawn(|| beat(&sessions, size.lease / BEATS_PER_TTL, &beats, until));
        let gate = api.grant(AcquireRequest {
            lease: millis(3_600_000),
            ..acquire(["item/gate"])
        });
        let requests: Vec<Connection> = (0..REQUESTS).map(|at| hold_by(&node, at)).collect();
        let began = Instant::now();
        let grants: Vec<Vec<String>> = sessions
            .iter()
            .enumerate()
            .map(|(at, session)| hold_all(session, at, &size))
            .collect();
        let held = SESSIONS * size.per_session + REQUESTS * GRANTS * NAMES;
        eventually("the requests have theirs", || {
            (api.list("item/", 1_000).len() == REQUESTS * GRANTS * NAMES + 1).then_some(())
        });
        report(format_args!(
            "{storage:?}: {held} locks were acquired in {:?}",
            began.elapsed()
        ));

        let mut watching = api.watch(WatchRequest::default()).expect("it may");
        let spent = Spent::since(server.as_deref(), &beats);
        for _ in 0..size.leases {
            let lease = Instant::now() + size.lease;
            eventually("a lease has passed", || {
                (Instant::now() >= lease).then_some(())
            });
        }
        if let Some(spent) = spent {
            spent.check(held);
        }
        assert_nothing_happened(&mut watching, &api);
        assert_eq!(api.list("", 1_000).len(), held + 1, "all are held");
        for (session, grants) in sessions.iter().zip(&grants) {
            assert!(session.lost().is_empty());
            for grant in [&grants[0], &grants[grants.len() - 1]] {
                assert_eq!(session.release(grant), Ok(Outcome::Released));
            }
        }
        // They may go on, and what they hold is good.
        assert_eq!(api.release(&gate.id), Ok(Outcome::Released));
        for mut request in requests {
            request
                .answer_to("POST")
                .expect("it is answered")
                .expect(200);
        }
    });
}

/// A node whose requests may take longer than the test.
fn patient(storage: Storage, server: Option<&Arc<RedisServer>>, size: &Size) -> Builder {
    let builder = Node::builder().patient_probe();
    match server {
        Some(server) => builder
            .redis(server, "many")
            .set("store.lease", format!("{}ms", size.lease.as_millis())),
        None => builder.storage(storage),
    }
}

/// Has all of them heard, again and again, until the channel is closed.
fn beat(sessions: &[SessionStream], every: Duration, count: &AtomicU64, until: Receiver<()>) {
    while until.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        for session in sessions {
            session.beat().expect("it is attached");
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Has a session acquire all that it is to hold; its grants.
#[track_caller]
fn hold_all(session: &SessionStream, number: usize, size: &Size) -> Vec<String> {
    let mut grants = Vec::new();
    while grants.len() < size.per_session {
        let some = grants.len()..size.per_session.min(grants.len() + AT_ONCE);
        let name = |at| format!("session/{number}/{at}");
        let asked: Vec<_> = some
            .map(|at| session.send(Operation::Acquire(acquire([name(at)]))))
            .collect();
        for asked in asked {
            match asked.answer() {
                Ok(Told::Acquire(told)) => grants.push(told.grant.expect("there is one").id),
                other => panic!("an acquire was answered {other:?}"),
            }
        }
    }
    grants
}

/// Sends a request that holds many locks, and writes under two of them as soon as
/// it can have the lock of the gate.
#[track_caller]
fn hold_by(node: &Node, number: usize) -> Connection {
    let grant = |grant: usize| {
        let names = (0..NAMES).map(|at| format!(" item/{number}-{grant}-{at}"));
        format!("acquire{}", names.collect::<String>())
    };
    let (first, last) = (
        format!("{number}-0-0"),
        format!("{number}-{}-0", GRANTS - 1),
    );
    let end = [
        "acquire item/gate wait=3000000".to_owned(),
        format!("put items {first} kept"),
        format!("put items {last} kept"),
    ];
    let mut connection = node.connect();
    let list = steps("probe", (0..GRANTS).map(grant).chain(end));
    connection.send(&list.to_bytes()).expect("the node reads");
    connection
}

/// Fails if anything has happened to any lock since the watch began.
#[track_caller]
fn assert_nothing_happened(watching: &mut Watching, api: &LockApi) {
    let grant = api.grant(acquire(["end"]));
    let first = watching.next_event();
    assert_eq!(first.names, ["end"], "{first:?}");
    api.release(&grant.id).expect("it is held");
}

/// What was asked of a server in Redis while everything was held and nobody asked
/// for anything.
struct Spent<'a> {
    server: &'a RedisServer,
    beats: &'a AtomicU64,
    before: (Calls, u64),
    began: Instant,
}

/// What a server says of the functions it has run.
struct Calls {
    count: u64,
    micros: u64,
}

impl<'a> Spent<'a> {
    fn since(server: Option<&'a RedisServer>, beats: &'a AtomicU64) -> Option<Self> {
        let server = server?;
        Some(Self {
            server,
            beats,
            before: (Calls::of(server), beats.load(Ordering::Relaxed)),
            began: Instant::now(),
        })
    }

    /// Says what it was, and fails if it was more than a beat of the node as often
    /// as it beats, and one of a session as often as it was heard.
    #[track_caller]
    fn check(self, held: usize) {
        let passed = self.began.elapsed();
        let (before, beats) = self.before;
        let calls = Calls::of(self.server);
        let (count, micros) = (calls.count - before.count, calls.micros - before.micros);
        let of_sessions = self.beats.load(Ordering::Relaxed) - beats;
        let of_node = passed.as_millis().div_ceil(NODE_BEATS.as_millis()) as u64;
        report(format_args!(
            "{held} locks held for {passed:?}: {count} calls of the server, of {micros} us in \
             all; {of_sessions} beats of sessions and at most {of_node} of the node"
        ));
        // Each of those that were heard before may have been told after.
        let most = of_sessions + of_node + SESSIONS as u64 + 2;
        assert!(count <= most, "{count} calls, and not {most}");
        assert!(count > of_node / 2, "somebody says that it lives");
    }
}

impl Calls {
    #[track_caller]
    fn of(server: &RedisServer) -> Self {
        let text = server.ask("INFO commandstats");
        let mut lines = text.lines();
        let line = lines.find_map(|it| it.strip_prefix("cmdstat_fcall:"));
        let line = line.expect("functions were called");
        let number = |field: &str| {
            let mut fields = line.split(',').filter_map(|it| it.split_once('='));
            let field = fields.find(|it| it.0 == field).expect("it is counted");
            field.1.parse().expect("it is a number")
        };
        Self {
            count: number("calls"),
            micros: number("usec"),
        }
    }
}
