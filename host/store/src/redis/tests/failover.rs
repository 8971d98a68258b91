//! A failover to a server that knows an older state, while two nodes go on: it
//! has not heard of the last grants, releases, renewals and commits. Again and
//! again, with other choices each time.
//!
//! ```text
//!   nodes work --- saved --- nodes work --- replaced --- nodes work --- read
//!                    |                         ^
//!                    +---- what it knows ------+
//! ```
//!
//! A value is the list of the commits that made it, so whoever reads it can tell
//! which of them are there, and whether one was lost in between.

use super::*;
use crate::contract::{guarded, key};
use crate::store::{Store, Token};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use tokio::sync::watch;

/// How many failovers: as many as the line says, or so many.
const ROUNDS: (u64, u64) = (200, 20);

/// How many rounds there are at once: they mostly wait.
const AT_ONCE: u64 = 4;

/// For how long nodes may say what they had.
const RECLAIM: Duration = Duration::from_millis(1_500);

/// The lease of a caller's grants, unless they are kept over the failover.
const LEASE: Duration = Duration::from_secs(2);

/// For how many milliseconds it is waited for a lock, at most.
const WAIT_MILLIS_MAX: u64 = 200;

/// How much is done after the failover before those go who keep a lock over it,
/// and how long they wait for that at most.
const KEPT_STEPS: u64 = 10;
/// See [`KEPT_STEPS`].
const KEPT_MAX: Duration = Duration::from_secs(3);

/// How many callers and handlers there are at each node.
const WORKERS: u64 = 3;

/// How much is done before the server saves, from then on until it is replaced,
/// and afterwards.
const STEPS: [u64; 3] = [20, 40, 70];

/// The first of each is kept over the failover by whoever has it.
const COUNTERS: [&str; 2] = ["k", "l"];
/// See [`COUNTERS`].
const LOCKS: [&str; 2] = ["x", "y"];

/// Sees what those hear who work at the nodes.
#[derive(Default)]
struct Referee {
    seen: Mutex<Seen>,
    /// How much was done.
    steps: watch::Sender<u64>,
}

#[derive(Default)]
struct Seen {
    /// Who relies on a lock, and until when.
    relied_on: BTreeMap<String, (Token, Time)>,
    /// The highest token of a lock.
    tokens: BTreeMap<String, Token>,
    is_saved: bool,
    is_replaced: bool,
    is_over: bool,
    /// What was read, and what was committed, after the failover.
    reads: Vec<(&'static str, String)>,
    commits: Vec<(&'static str, String)>,
    /// The last number of a commit before the failover, and the first after it.
    last_number: u64,
    first_number: Option<u64>,
    faults: Vec<String>,
}

/// One who works at a node.
struct Worker {
    store: Arc<Redis>,
    referee: Arc<Referee>,
    clock: Clock,
    numbers: StdRng,
    number: u64,
    count: u64,
}

impl Referee {
    /// Somebody was granted a lock, and relies on it.
    fn enter(&self, lock: &str, token: Token, now: Time, until: Time) {
        let mut seen = self.seen();
        let before = seen.relied_on.insert(lock.to_owned(), (token, until));
        if let Some((other, until)) = before
            && now < until
        {
            let fault = format!("{lock} is held twice: with {other} and {token}");
            seen.faults.push(fault);
        }
        let highest = seen.tokens.insert(lock.to_owned(), token);
        if highest.is_some_and(|it| it >= token) {
            seen.faults
                .push(format!("{lock}: {token} after {highest:?}"));
        }
    }

    /// Somebody is about to give a lock back.
    fn leave(&self, lock: &str, token: Token) {
        let mut seen = self.seen();
        if seen.relied_on.get(lock).is_some_and(|it| it.0 == token) {
            seen.relied_on.remove(lock);
        }
    }

    fn is_replaced(&self) -> bool {
        self.seen().is_replaced
    }

    fn is_over(&self) -> bool {
        self.seen().is_over
    }

    fn has_read(&self, is_after: bool, counter: &'static str, list: &str) {
        if is_after {
            self.seen().reads.push((counter, list.to_owned()));
        }
    }

    fn has_committed(&self, is_after: bool, counter: &'static str, mark: String, number: u64) {
        let mut seen = self.seen();
        if is_after {
            seen.commits.push((counter, mark));
            let first = seen.first_number.unwrap_or(number);
            seen.first_number = Some(first.min(number));
        } else if !seen.is_replaced {
            seen.last_number = seen.last_number.max(number);
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// Whoever has a lock now has it when the server is replaced.
    fn is_kept(&self) -> bool {
        let seen = self.seen();
        seen.is_saved && !seen.is_replaced
    }

    /// Waits until the server was replaced and others have gone on.
    async fn keep(&self) {
        let mut count = self.steps.subscribe();
        let replaced = count.wait_for(|_| self.is_replaced());
        let at = *replaced.await.unwrap();
        drop(tokio::time::timeout(KEPT_MAX, self.until(at + KEPT_STEPS)).await);
    }

    fn fault(&self, fault: String) {
        self.seen().faults.push(fault);
    }

    async fn until(&self, steps: u64) {
        let mut count = self.steps.subscribe();
        count.wait_for(|it| *it >= steps).await.unwrap();
    }
}

impl Worker {
    async fn work(mut self) {
        while !self.referee.is_over() {
            self.count += 1;
            let is_done = match self.numbers.random_range(0..3) {
                0 => self.hold().await,
                _ => self.add().await,
            };
            if is_done.is_some() {
                self.referee.steps.send_modify(|it| *it += 1);
            }
            tokio::task::yield_now().await;
        }
    }

    fn patience(&mut self) -> Duration {
        Duration::from_millis(self.numbers.random_range(0..WAIT_MILLIS_MAX))
    }

    /// Holds a lock for a while; `None` if the store did not answer, or somebody
    /// else has it.
    async fn hold(&mut self) -> Option<()> {
        let lock = LOCKS[self.numbers.random_range(0..LOCKS.len())];
        let is_kept = lock == LOCKS[0] && self.referee.is_kept();
        let request = Acquire {
            lease: Some(if is_kept { LONG } else { LEASE }),
            ..waiting(self.patience(), of_caller(&[lock]))
        };
        let granted = self.store.acquire(request.clone()).await.ok()?;
        let token = granted.tokens[0].1;
        let now = self.clock.now();
        // It was granted a moment before it was heard of.
        let left = granted.remaining.unwrap_or_default();
        let until = now + left.saturating_sub(LEASE / 2);
        self.referee.enter(lock, token, now, until);
        if is_kept {
            self.referee.keep().await;
            self.has_still(lock, token).await;
        } else if self.numbers.random() {
            drop(self.store.renew(request.id, caller().principal, None).await);
        }
        self.referee.leave(lock, token);
        let released = self.store.release(request.id, caller().principal).await;
        released.ok().map(drop)
    }

    /// What was kept over the failover is its own, and nobody else's.
    async fn has_still(&self, lock: &str, token: Token) {
        let found = loop {
            match self.store.lock(name(lock)).await {
                Ok(found) => break found,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let holders: Vec<Token> = found.holders.iter().map(|it| it.token).collect();
        if holders != [token] {
            let fault = format!("{lock} was kept with {token}, but {holders:?} have it");
            self.referee.fault(fault);
        }
    }

    /// Adds to a counter under its lock; `None` if that was not acknowledged.
    async fn add(&mut self) -> Option<()> {
        let counter = COUNTERS[self.numbers.random_range(0..COUNTERS.len())];
        let transaction = TransactionId::mint();
        let added = self.add_in(transaction, counter).await;
        if added.is_none() {
            self.store.end(transaction);
        }
        added
    }

    async fn add_in(&mut self, transaction: TransactionId, counter: &'static str) -> Option<()> {
        let began = self.store.now();
        let is_before = !self.referee.is_replaced();
        let lock = format!("order/{counter}");
        let request = waiting(self.patience(), of(transaction, &[&lock]));
        let granted = self.store.acquire(request.clone()).await.ok()?;
        let token = granted.tokens[0].1;
        let now = self.clock.now();
        self.referee.enter(&lock, token, now, now + LONG);
        let is_after = self.referee.is_replaced();
        let read = self.store.get(guarded(), key(counter)).await;
        if counter == COUNTERS[0] && self.referee.is_kept() {
            self.referee.keep().await;
            self.has_still(&lock, token).await;
        }
        // From here on nothing relies on the lock but what the store checks.
        self.referee.leave(&lock, token);
        let (list, version) = text(read.ok()?);
        self.referee.has_read(is_after, counter, &list);
        let mark = format!("{}.{};", self.number, self.count);
        let commit = Commit {
            id: CommitId::mint(self.store.now()),
            transaction,
            began,
            guards: vec![guarding(&request)],
            reads: vec![(guarded(), key(counter), version)],
            ranges: vec![],
            writes: vec![put(&guarded(), counter, &(list + &mark))],
        };
        let is_after = self.referee.is_replaced();
        let number = self.store.commit(commit).await.ok()?.number;
        if is_before && is_after {
            let fault = format!("{mark} began before the failover and was applied after it");
            self.referee.fault(fault);
        }
        self.referee.has_committed(is_after, counter, mark, number);
        Some(())
    }
}

fn text(read: Option<crate::store::Versioned>) -> (String, u64) {
    read.map_or_else(Default::default, |it| {
        (String::from_utf8(it.value.to_vec()).unwrap(), it.version)
    })
}

/// The values of all counters, once the store answers.
async fn read_all(store: &Redis) -> BTreeMap<&'static str, String> {
    let mut values = BTreeMap::new();
    for counter in COUNTERS {
        let read = loop {
            match store.get(guarded(), key(counter)).await {
                Ok(read) => break read,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        values.insert(counter, text(read).0);
    }
    values
}

/// One failover.
async fn round(seed: u64) {
    let mut server = Server::start();
    let options = Options {
        lease: LONG,
        reclaim: RECLAIM,
        ..Options::default()
    };
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let node = Redis::open_with(&server.url(), options.clone())
            .await
            .unwrap();
        nodes.push(Arc::new(node));
    }
    let referee = Arc::new(Referee::default());
    let work = |number: u64| {
        let worker = Worker {
            store: nodes[number as usize % nodes.len()].clone(),
            referee: referee.clone(),
            clock: Clock::machine(),
            numbers: StdRng::seed_from_u64(seed ^ (number << 32)),
            number,
            count: 0,
        };
        tokio::spawn(worker.work())
    };
    let workers: Vec<_> = (0..2 * WORKERS).map(work).collect();
    referee.until(STEPS[0]).await;
    let known = read_all(&nodes[0]).await;
    server.save();
    referee.seen().is_saved = true;
    referee.until(STEPS[1]).await;
    server.replace();
    referee.seen().is_replaced = true;
    referee.steps.send_modify(|_| {});
    referee.until(STEPS[2]).await;
    referee.seen().is_over = true;
    for worker in workers {
        worker.await.unwrap();
    }
    let values = read_all(&nodes[0]).await;
    assert_eq!(values, read_all(&nodes[1]).await);
    check(&referee.seen(), &known, &values);
    let dropping = tokio::task::spawn_blocking(move || drop(nodes));
    dropping.await.unwrap();
}

/// Fails unless what was seen is what was promised.
fn check(
    seen: &Seen,
    known: &BTreeMap<&'static str, String>,
    values: &BTreeMap<&'static str, String>,
) {
    assert!(seen.faults.is_empty(), "{:#?}", seen.faults);
    for (counter, value) in values {
        let marks: Vec<&str> = value.split_terminator(';').collect();
        let distinct: HashSet<&str> = marks.iter().copied().collect();
        assert_eq!(distinct.len(), marks.len(), "each once: {value}");
        assert!(
            value.starts_with(&known[counter]),
            "what was saved is there"
        );
    }
    for (counter, list) in &seen.reads {
        let value = &values[counter];
        assert!(value.starts_with(list), "read {list}, then {value}");
    }
    for (counter, mark) in &seen.commits {
        let value = &values[counter];
        let is_there = value.split_inclusive(';').any(|it| it == mark);
        assert!(is_there, "{mark} is lost: {value}");
    }
    let first = seen.first_number.unwrap_or(u64::MAX);
    assert!(
        first > seen.last_number,
        "{first} after {}",
        seen.last_number
    );
}

#[test]
fn l23_a_failover_to_an_older_state_has_no_two_holders_and_loses_nothing_that_was_read_after_it() {
    let rounds = if in_full() { ROUNDS.0 } else { ROUNDS.1 };
    let first: u64 = rand::random();
    println!("L23: {rounds} failovers, seeds from {first}");
    std::thread::scope(|scope| {
        for thread in 0..AT_ONCE {
            scope.spawn(move || {
                for number in (thread..rounds).step_by(AT_ONCE as usize) {
                    block_on(round(first.wrapping_add(number)));
                }
            });
        }
    });
}
