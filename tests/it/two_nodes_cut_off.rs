//! A node that the store does not hear any more, or that does not hear the store,
//! while its clients go on and take everything for whole: whoever holds a lock
//! through it hears that it is lost before another node's client can have it.

use crate::harness::{
    Builder, LockApi, Node, Proxy, RedisServer, Speaks, Way, acquire_waiting, address_of, millis,
    report, steps, wait_for,
};
use lockport_client::{Client, Guard, Options, Session, SessionOptions};
use lockport_proto::lock::{AcquireRequest, Grant};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long what is to be lost lasts without being renewed: a hundredth of it is
/// all that whoever is to hear of it has at least.
const LEASE: Duration = Duration::from_secs(4);

/// Longer than any of these tests.
const LONG: Duration = Duration::from_secs(600);

/// What is lost on the way between a node and the store, which is the node of the
/// proxy.
const WAYS: [&[Way]; 3] = [
    &[Way::ToNode],
    &[Way::ToClient],
    &[Way::ToNode, Way::ToClient],
];

/// A node that can be cut off from the store, and one that cannot.
struct Cut<'a> {
    ways: &'static [Way],
    proxy: Proxy,
    node: Node,
    other: &'a Node,
    /// The lock that is to be lost.
    lock: String,
}

#[test]
fn l6_a_session_of_a_node_that_is_cut_off_is_lost_before_another_node_grants_its_lock() {
    in_every_way(LONG, |cut| {
        let client = cut.client();
        let options = SessionOptions {
            ttl: Some(LEASE),
            grace: Some(Duration::from_secs(1)),
            ..SessionOptions::default()
        };
        let (session, guard): (Session, Guard) = wait_for("a grant", async {
            let session = client.session(options).await.expect("it may");
            let guard = session.acquire([cut.lock.as_str()]).await;
            (session, guard.expect("it is free"))
        });
        cut.lose(guard.token(), || {
            wait_for("the guard is lost", guard.lost());
        });
        drop(session);
    });
}

#[test]
fn l6_a_guard_of_a_node_that_is_cut_off_is_lost_before_another_node_grants_its_lock() {
    in_every_way(LONG, |cut| {
        let lock = [cut.lock.as_str()];
        let acquire = cut.client().acquire(lock).lease(LEASE).into_future();
        let guard = wait_for("a grant", acquire).expect("it is free");
        cut.lose(guard.token(), || {
            wait_for("the guard is lost", guard.lost());
        });
    });
}

#[test]
fn l6_a_request_of_a_node_that_is_cut_off_is_ended_before_another_node_grants_its_lock() {
    in_every_way(LEASE, |cut| {
        let gate = cut.lock.replace("item/", "item/gate-");
        let api = LockApi::of(cut.other);
        api.grant(AcquireRequest {
            lease: millis(3_600_000),
            ..acquire_waiting([&gate])
        });
        let key = cut.lock.trim_start_matches("item/");
        let list = [
            format!("acquire {}", cut.lock),
            "log holds it".to_owned(),
            format!("try acquire {gate} wait=60000"),
            format!("put items {key} stale"),
        ];
        let mut request = cut.node.connect();
        let list = steps("probe", list);
        request.send(&list.to_bytes()).expect("the node reads");
        cut.node.logs().wait_for("holds it");
        let token = api.look(&cut.lock).last_fencing_token;
        // It waits for another lock, hears that this is over, and writes.
        cut.lose(token, || {
            let answer = request.answer_to("POST").expect("it is answered");
            answer.expect_problem(409, "FENCED");
        });
        assert_eq!(cut.other.value("items", key), None);
    });
}

/// Runs it with a node that is cut off in each way, all at the same time, and
/// each with a lock of its own. A node lives for `lease` without a beat.
#[track_caller]
fn in_every_way(lease: Duration, run: impl Fn(&Cut<'_>) + Sync) {
    let server = Arc::new(RedisServer::start());
    let space = Node::builder()
        .redis(&server, "shared")
        .set("store.lease", format!("{}ms", lease.as_millis()));
    let other = patient(&space).start();
    thread::scope(|scope| {
        for (at, ways) in WAYS.into_iter().enumerate() {
            let proxy = Proxy::to(server.address());
            let url = RedisServer::url_at(proxy.address(), "shared");
            let node = patient(&space.beside().set("store.url", url));
            let cut = Cut {
                ways,
                node: node.start(),
                proxy,
                other: &other,
                lock: format!("item/{at}"),
            };
            let run = &run;
            scope.spawn(move || run(&cut));
        }
    });
}

/// A node that runs the probe, which may take its time.
fn patient(builder: &Builder) -> Builder {
    builder.clone().patient_probe()
}

// === impl Cut ===

impl Cut<'_> {
    /// A client of the node.
    #[track_caller]
    fn client(&self) -> Client {
        let options = Options::server(address_of(&self.node).to_string());
        wait_for("a connection", Client::connect(options)).expect("the node listens")
    }

    /// Cuts the node off, while somebody waits for its lock at the other. Fails
    /// unless `hear` has returned by the time that somebody is told of the grant.
    #[track_caller]
    fn lose(&self, token: u64, hear: impl FnOnce()) {
        let api = LockApi::of(self.other);
        let (heard, granted): (Instant, (Grant, Instant)) = thread::scope(|scope| {
            let next = scope.spawn(|| {
                let grant = api.grant(acquire_waiting([&self.lock]));
                (grant, Instant::now())
            });
            api.wait_until_waiting(&self.lock, 1);
            for way in self.ways {
                self.proxy.swallow(*way);
            }
            hear();
            let heard = Instant::now();
            (heard, next.join().expect("it is granted"))
        });
        let (grant, told) = granted;
        assert!(grant.fencing_token > token);
        report(format_args!(
            "{:?} swallowed: granted {:?} after the holder heard of it",
            self.ways,
            told.saturating_duration_since(heard),
        ));
        let late = heard.saturating_duration_since(told);
        assert!(late.is_zero(), "{:?}: heard {late:?} too late", self.ways);
        api.release(&grant.id).expect("it is held");
    }
}
