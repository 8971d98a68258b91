//! Every edge of the drawing in [`settling`](super).

use super::*;
use crate::contract::{create, guarded, guarding, name, of, put, waiting};
use crate::core::{Acquired, Limits};
use crate::id::CommitId;
use crate::pattern::Permission;
use crate::store::Acquire;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

struct World {
    core: Core,
    now: Time,
    effects: Vec<Effect>,
}

impl World {
    fn new() -> Self {
        Self {
            core: Core::volatile(Limits::default(), Time::from_micros(1_000_000)),
            now: Time::from_micros(1_000_000),
            effects: Vec::new(),
        }
    }

    fn acquire(&mut self, request: &Acquire) -> Acquired {
        self.core
            .acquire(request.clone(), self.now, &mut self.effects)
    }

    fn hold(&mut self, request: &Acquire) {
        let acquired = self.acquire(request);
        assert!(matches!(acquired, Acquired::Granted(_)), "{acquired:?}");
    }

    fn keep(&mut self, commit: &Commit) -> Result<(), CommitError> {
        let current = Current {
            reads: commit.reads.iter().map(|(_, _, seen)| *seen).collect(),
            ranges: vec![],
            writes: vec![0; commit.writes.len()],
        };
        self.core
            .check_and_keep(commit, &current, self.now, &mut self.effects)
    }

    fn force(&mut self, text: &str) -> bool {
        let all = Permission::all();
        let taken = self
            .core
            .force_release(&name(text), &all, self.now, &mut self.effects);
        taken.is_ok_and(|it| !it.is_empty())
    }

    fn end(&mut self, transaction: TransactionId) {
        self.core.end(transaction, self.now, &mut self.effects);
    }

    fn pass(&mut self, duration: Duration) {
        self.now = self.now + duration;
        self.core.tick(self.now, &mut self.effects);
    }

    fn is_held(&mut self, text: &str) -> bool {
        let lock = self.core.look(&name(text), self.now, &mut self.effects);
        lock.holding > 0
    }

    fn served(&mut self) -> Vec<GrantId> {
        let effects = std::mem::take(&mut self.effects).into_iter();
        let served = |it| match it {
            Effect::Granted(id, _) => Some(id),
            _ => None,
        };
        effects.filter_map(served).collect()
    }
}

fn commit(transaction: TransactionId) -> Commit {
    Commit {
        id: CommitId::mint(Time::default()),
        transaction,
        began: Time::default(),
        guards: vec![],
        reads: vec![],
        ranges: vec![],
        writes: vec![],
    }
}

/// A transaction that holds `order/1` for a second and writes it.
fn leased(world: &mut World) -> Commit {
    let transaction = TransactionId::mint();
    let request = Acquire {
        lease: Some(SECOND),
        ..of(transaction, &["order/1"])
    };
    world.hold(&request);
    let mut commit = commit(transaction);
    commit.guards.push(guarding(&request));
    commit.writes.push(put(&guarded(), "1", "new"));
    commit
}

#[test]
fn nothing_takes_a_lock_from_a_commit_that_settles() {
    let mut world = World::new();
    let commit = leased(&mut world);
    assert_eq!(world.keep(&commit), Ok(()));
    let next = waiting(60 * SECOND, of(TransactionId::mint(), &["order/1"]));
    assert_eq!(world.acquire(&next), Acquired::Waiting);

    world.pass(2 * SECOND);
    assert!(world.force("order/1"), "it is answered as usual");
    world.end(commit.transaction);
    assert!(world.is_held("order/1"));
    assert_eq!(world.served(), []);

    let (now, effects) = (world.now, &mut world.effects);
    world.core.settled(commit.transaction, now, effects);
    assert_eq!(world.served(), [next.id]);
}

#[test]
fn a_lease_is_not_renewed_by_a_commit_that_settles() {
    let mut world = World::new();
    let commit = leased(&mut world);
    assert_eq!(world.keep(&commit), Ok(()));
    let id = commit.guards[0].grant;
    let by = crate::store::Principal::node();
    let renewed = world
        .core
        .renew(id, &by, Some(9 * SECOND), world.now, &mut world.effects);
    assert_eq!(renewed, Err(crate::store::RenewError::Lost));
}

#[test]
fn what_ended_while_a_commit_settled_ends_if_it_is_not_written() {
    let ends: [fn(&mut World, TransactionId); 3] = [
        |world, _| world.pass(2 * SECOND),
        |world, _| assert!(world.force("order/1")),
        |world, transaction| world.end(transaction),
    ];
    for end in ends {
        let mut world = World::new();
        let commit = leased(&mut world);
        assert_eq!(world.keep(&commit), Ok(()));
        end(&mut world, commit.transaction);
        assert!(world.is_held("order/1"));
        let (now, effects) = (world.now, &mut world.effects);
        world.core.unsettled(commit.transaction, now, effects);
        assert!(!world.is_held("order/1"));
    }
}

#[test]
fn a_commit_that_is_not_written_leaves_its_transaction_as_it_was() {
    let mut world = World::new();
    let mut commit = leased(&mut world);
    commit.writes.push(create(&guarded(), "2", "new"));
    assert_eq!(world.keep(&commit), Ok(()));
    assert!(world.is_held("order/2"), "it is reserved");
    let (now, effects) = (world.now, &mut world.effects);
    world.core.unsettled(commit.transaction, now, effects);
    assert!(!world.is_held("order/2"));
    assert!(world.is_held("order/1"));
    world.pass(2 * SECOND);
    assert!(!world.is_held("order/1"), "its lease runs on");
}

#[test]
fn the_lock_of_a_key_that_is_being_created_is_nobody_elses() {
    let mut world = World::new();
    let mut first = commit(TransactionId::mint());
    first.writes.push(create(&guarded(), "1", "new"));
    assert_eq!(world.keep(&first), Ok(()));
    let next = waiting(60 * SECOND, of(TransactionId::mint(), &["order/1"]));
    assert_eq!(world.acquire(&next), Acquired::Waiting);

    // Another one under the same lock: it is to try again, not to blame.
    let mut second = commit(TransactionId::mint());
    second.writes.push(create(&guarded(), "1", "too"));
    assert!(matches!(
        world.keep(&second),
        Err(CommitError::Conflict { .. })
    ));

    let (now, effects) = (world.now, &mut world.effects);
    world.core.settled(first.transaction, now, effects);
    assert_eq!(world.served(), [next.id]);
}
