//! `kill -9` of what keeps the locks, again and again and at any moment, while
//! callers take and give back theirs: whoever was told of a grant has it
//! afterwards, and no token is given out twice.

use crate::harness::{
    Ask, Builder, KEEPS_EVERYTHING, LockApi, Node, Random, RedisServer, Speaks, Storage, Told,
    acquire, eventually, is_long, millis, report,
};
use lockport_proto::lock::{AcquireRequest, Grant, ReleaseRequest, RenewRequest};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// How often a Redis is killed: at each time it takes a second until the node has
/// said what it had.
const KILLS_OF_REDIS: (usize, usize) = (100, 4);

/// How often a node is killed whose store is its own.
const KILLS_OF_NODE: (usize, usize) = (500, 20);

/// How many callers there are, and how many locks each of them takes.
const CALLERS: usize = 4;
/// See [`CALLERS`].
const LOCKS: usize = 8;

/// Before how many acknowledged calls it is killed, at most.
const CALLS_MAX: usize = 120;

/// Longer than any test, in milliseconds.
const LEASE: u64 = 3_600_000;

/// One who takes locks that nobody else wants.
struct Caller {
    number: usize,
    random: Random,
    /// What it has, as far as it was told.
    held: BTreeMap<String, Grant>,
    /// What it asked for and was not answered.
    unanswered: Option<Ask>,
    /// The tokens it was told of, of each lock in their order.
    tokens: BTreeMap<String, Vec<u64>>,
    asked: usize,
}

#[test]
fn l21_a_node_with_an_embedded_store_that_is_killed_loses_no_grant_and_repeats_no_token() {
    let builder = Node::builder().storage(Storage::Embedded);
    kill_again_and_again(KILLS_OF_NODE, builder.start(), |node, work| {
        work(&node, &|| node.signal(Signal::KILL));
        node.kill();
        builder.start()
    });
}

#[test]
fn l21_a_redis_that_is_killed_loses_no_grant_and_repeats_no_token() {
    let server = Arc::new(RedisServer::with(&KEEPS_EVERYTHING));
    kill_again_and_again(KILLS_OF_REDIS, of_redis(&server).start(), |node, work| {
        work(&node, &|| server.kill());
        server.start_again();
        node
    });
}

#[test]
fn l21_a_redis_that_is_killed_with_its_node_loses_no_grant_and_repeats_no_token() {
    let server = Arc::new(RedisServer::with(&KEEPS_EVERYTHING));
    let builder = of_redis(&server);
    kill_again_and_again(KILLS_OF_REDIS, builder.start(), |node, work| {
        work(&node, &|| {
            node.signal(Signal::KILL);
            server.kill();
        });
        node.kill();
        server.start_again();
        builder.start()
    });
}

fn of_redis(server: &Arc<RedisServer>) -> Builder {
    let builder = Node::builder().redis(server, "killed").may_log_errors();
    builder
        .set("store.timeout", "500ms")
        .set("store.reclaim", "1s")
}

/// What has callers at work at a node until something, which is run meanwhile, has
/// killed it or its store.
type Work<'a> = dyn FnMut(&Node, &dyn Fn()) + 'a;

/// Runs `round` again and again, which kills something under the work of callers
/// at a node, and gives the node that they find afterwards. So often in the long
/// form, and in the short one.
#[track_caller]
fn kill_again_and_again(
    (long, short): (usize, usize),
    mut node: Node,
    mut round: impl FnMut(Node, &mut Work<'_>) -> Node,
) {
    let random = Random::seeded();
    let mut moments = random.fork(CALLERS as u64);
    let kills = if is_long() { long } else { short };
    let mut callers: Vec<Caller> = (0..CALLERS).map(|at| Caller::new(at, &random)).collect();
    let (mut unanswered, mut held) = (0, 0);
    for _ in 0..kills {
        let enough = 1 + moments.below(CALLS_MAX);
        node = round(node, &mut |node, kill| {
            work(node, &mut callers, enough, kill);
        });
        let api = LockApi::of(&node);
        unanswered += callers.iter().filter(|it| it.unanswered.is_some()).count();
        eventually("locks are granted again", || {
            let grant = api.acquire(acquire(["back"])).ok()?.grant?;
            api.release(&grant.id).ok()
        });
        held += callers.iter().map(|it| it.held.len()).sum::<usize>();
        for caller in &mut callers {
            caller.find_all(&api);
        }
    }
    let tokens = callers.iter().flat_map(|it| it.tokens.values().flatten());
    let tokens: Vec<u64> = tokens.copied().collect();
    let distinct: BTreeSet<u64> = tokens.iter().copied().collect();
    assert_eq!(distinct.len(), tokens.len(), "a token was given out twice");
    report(format_args!(
        "{kills} kills: {} tokens, {held} times a grant was held over a kill, {unanswered} calls \
         were not answered",
        tokens.len(),
    ));
}

/// Has callers ask until something is killed, which happens after so many calls
/// were acknowledged.
#[track_caller]
fn work(node: &Node, callers: &mut [Caller], enough: usize, kill: &dyn Fn()) {
    let (done, is_killed) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for caller in callers {
            let (api, done, is_killed) = (LockApi::of(node), &done, &is_killed);
            scope.spawn(move || caller.work(&api, done, is_killed));
        }
        eventually("callers are answered", || {
            (done.load(Ordering::SeqCst) >= enough).then_some(())
        });
        is_killed.store(true, Ordering::SeqCst);
        kill();
    });
}

// === impl Caller ===

impl Caller {
    fn new(number: usize, random: &Random) -> Self {
        Self {
            number,
            random: random.fork(number as u64),
            held: BTreeMap::new(),
            unanswered: None,
            tokens: BTreeMap::new(),
            asked: 0,
        }
    }

    /// Asks until it is not answered.
    fn work(&mut self, api: &LockApi, done: &AtomicUsize, is_killed: &AtomicBool) {
        loop {
            let ask = self.next_ask();
            match api.ask_for_status(ask.clone()) {
                Ok(told) => self.note(&ask, told),
                Err(status) => {
                    let is_killed = is_killed.load(Ordering::SeqCst);
                    assert!(is_killed, "{ask:?}: {status:?}");
                    self.unanswered = Some(ask);
                    return;
                }
            }
            done.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Takes a lock that it has not, or gives one back or renews it.
    fn next_ask(&mut self) -> Ask {
        let name = format!("{}/{}", self.number, self.random.below(LOCKS));
        self.asked += 1;
        match self.held.get(&name) {
            None => Ask::Acquire(AcquireRequest {
                lease: millis(LEASE),
                request_id: format!("{}.{}", self.number, self.asked),
                ..acquire([name])
            }),
            Some(grant) if self.random.below(2) == 0 => Ask::Renew(RenewRequest {
                grant: grant.id.clone(),
                lease: None,
            }),
            Some(grant) => Ask::Release(ReleaseRequest {
                grant: grant.id.clone(),
            }),
        }
    }

    #[track_caller]
    fn note(&mut self, ask: &Ask, told: Told) {
        match (ask, told) {
            (Ask::Acquire(_), Told::Acquire(told)) => {
                let grant = told.grant.expect("there is a grant");
                let name = grant.names[0].clone();
                let tokens = self.tokens.entry(name.clone()).or_default();
                let before = tokens.last().copied().unwrap_or_default();
                assert!(
                    grant.fencing_token > before,
                    "`{name}`: token {} after {before}",
                    grant.fencing_token
                );
                tokens.push(grant.fencing_token);
                self.held.insert(name, grant);
            }
            (Ask::Renew(_), Told::Renew(_)) => {}
            (Ask::Release(asked), Told::Release(_)) => {
                self.held.retain(|_, grant| grant.id != asked.grant);
            }
            (ask, told) => panic!("{ask:?} was answered {told:?}"),
        }
    }

    /// Asks again for what was not answered, and fails unless it has all that it
    /// was told it has.
    #[track_caller]
    fn find_all(&mut self, api: &LockApi) {
        if let Some(ask) = self.unanswered.take() {
            match api.ask_for_status(ask.clone()) {
                Ok(told) => self.note(&ask, told),
                Err(status) => panic!("{ask:?}: {status:?}"),
            }
        }
        for (name, grant) in &self.held {
            let renewed = api.renew(&grant.id, None);
            let renewed = renewed.unwrap_or_else(|lost| panic!("`{name}`: {lost:?}"));
            assert_eq!(renewed.fencing_token, grant.fencing_token, "`{name}`");
            let lock = api.look(name);
            assert_eq!((lock.holder_count, lock.waiter_count), (1, 0), "{lock:?}");
        }
    }
}
