//! Every edge of the drawings in [`core`](super), one by one.

use super::*;
use crate::store::{Holder, LABEL_BYTES_MAX, LEASE_MAX, LEASE_MIN, WAIT_MAX};

const SECOND: Duration = Duration::from_secs(1);
const NO_WAIT: Duration = Duration::ZERO;

/// A core, a time, and what came of it.
struct World {
    core: Core,
    now: Time,
    effects: Vec<Effect>,
}

impl World {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self {
            core: Core::volatile(limits),
            now: Time::from_micros(1_000_000),
            effects: Vec::new(),
        }
    }

    fn pass(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    fn acquire(&mut self, request: &Acquire) -> Acquired {
        self.core
            .acquire(request.clone(), self.now, &mut self.effects)
    }

    /// Acquires what is free; answers the token of the first name.
    fn hold(&mut self, request: &Acquire) -> Token {
        match self.acquire(request) {
            Acquired::Granted(granted) => granted.tokens[0].1,
            other => panic!("not granted: {other:?}"),
        }
    }

    fn wait(&mut self, request: &Acquire) {
        assert_eq!(self.acquire(request), Acquired::Waiting);
    }

    fn release(&mut self, request: &Acquire) -> Released {
        self.core.release(request.id, self.now, &mut self.effects)
    }

    fn renew(&mut self, request: &Acquire, lease: Duration) -> Result<Duration, RenewError> {
        self.core
            .renew(request.id, lease, self.now, &mut self.effects)
    }

    fn tick(&mut self) {
        self.core.tick(self.now, &mut self.effects);
    }

    fn look(&mut self, text: &str) -> Lock {
        self.core.look(&name(text), self.now, &mut self.effects)
    }

    /// Who was served since the last time this was asked.
    fn served(&mut self) -> Vec<GrantId> {
        let effects = std::mem::take(&mut self.effects).into_iter();
        let served = |it| match it {
            Effect::Granted(id, _) => Some(id),
            _ => None,
        };
        effects.filter_map(served).collect()
    }
}

fn name(text: &str) -> LockName {
    LockName::new(text).unwrap()
}

fn transaction() -> Holder {
    Holder::Transaction(TransactionId::mint())
}

fn request(holder: Holder, names: &[&str], wait: Duration) -> Acquire {
    Acquire {
        id: GrantId::mint(),
        names: names.iter().map(name_ref).collect(),
        holder,
        lease: (holder == Holder::Caller).then_some(10 * SECOND),
        wait,
        label: "test".to_owned(),
    }
}

fn name_ref(text: &&str) -> LockName {
    name(text)
}

fn refused(acquired: Acquired) -> AcquireError {
    match acquired {
        Acquired::Refused(error) => error,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_free_lock_is_held_with_a_token_and_a_released_one_is_free() {
    let mut world = World::new();
    let first = request(transaction(), &["a"], NO_WAIT);
    let token = world.hold(&first);
    assert_eq!(world.look("a").holder.unwrap().token, token);
    assert_eq!(world.release(&first), Released::Released);
    assert_eq!(world.release(&first), Released::Already);
    assert_eq!(world.look("a").holder, None);
    assert!(world.hold(&request(transaction(), &["a"], NO_WAIT)) > token);
}

#[test]
fn a_request_that_does_not_wait_is_refused_with_the_first_name_in_its_way() {
    let mut world = World::new();
    world.hold(&request(transaction(), &["b"], NO_WAIT));
    let refusal = world.acquire(&request(transaction(), &["a", "b", "c"], NO_WAIT));
    assert_eq!(refused(refusal), AcquireError::Held(name("b")));
    assert_eq!(world.look("a").holder, None, "all or none");
}

#[test]
fn a_wait_that_runs_out_is_told_once_and_leaves_the_queue() {
    let mut world = World::new();
    world.hold(&request(transaction(), &["a"], NO_WAIT));
    let waiter = request(transaction(), &["a"], SECOND);
    world.wait(&waiter);
    world.pass(SECOND - Duration::from_micros(1));
    world.tick();
    assert_eq!(world.effects, []);
    assert_eq!(
        world.core.next_deadline(),
        Some(world.now + Duration::from_micros(1))
    );
    world.pass(Duration::from_micros(1));
    world.tick();
    assert_eq!(world.effects, [Effect::TimedOut(waiter.id)]);
    assert_eq!(world.look("a").waiting, 0);
    assert_eq!(world.core.next_deadline(), None);
}

#[test]
fn a_release_hands_over_to_who_came_first_in_the_same_step() {
    let mut world = World::new();
    let holder = request(transaction(), &["a"], NO_WAIT);
    let token = world.hold(&holder);
    let waiters: Vec<_> = (0..3)
        .map(|_| request(transaction(), &["a"], SECOND))
        .collect();
    for waiter in &waiters {
        world.wait(waiter);
    }
    world.release(&holder);
    assert_eq!(world.look("a").waiting, 2);
    assert!(world.look("a").holder.unwrap().token > token);
    assert_eq!(world.served(), [waiters[0].id]);
    for pair in waiters.windows(2) {
        world.release(&pair[0]);
        assert_eq!(world.served(), [pair[1].id]);
    }
}

#[test]
fn a_reserved_lock_is_overtaken_by_nobody() {
    let mut world = World::new();
    let holder = request(transaction(), &["a"], NO_WAIT);
    world.hold(&holder);
    let both = request(transaction(), &["a", "b"], SECOND);
    world.wait(&both);
    let refusal = world.acquire(&request(transaction(), &["b"], NO_WAIT));
    assert_eq!(refused(refusal), AcquireError::Held(name("b")));
    let single = request(transaction(), &["b"], SECOND);
    world.wait(&single);
    world.release(&holder);
    assert_eq!(world.served(), [both.id]);
    world.release(&both);
    assert_eq!(world.served(), [single.id]);
}

#[test]
fn a_waiter_that_goes_lets_those_behind_it_through() {
    for leave in [
        World::release as fn(&mut World, &Acquire) -> Released,
        |world, _| {
            world.pass(SECOND);
            world.tick();
            Released::Released
        },
    ] {
        let mut world = World::new();
        world.hold(&request(transaction(), &["a"], NO_WAIT));
        let both = request(transaction(), &["a", "b"], SECOND);
        world.wait(&both);
        let behind = request(transaction(), &["b"], 2 * SECOND);
        world.wait(&behind);
        assert_eq!(leave(&mut world, &both), Released::Released);
        assert_eq!(world.served(), [behind.id]);
    }
}

#[test]
fn a_lease_ends_at_its_moment_and_not_before() {
    let mut world = World::new();
    let holder = request(Holder::Caller, &["a"], NO_WAIT);
    world.hold(&holder);
    world.pass(10 * SECOND - Duration::from_micros(1));
    assert_eq!(
        world.look("a").holder.unwrap().remaining,
        Some(Duration::from_micros(1))
    );
    world.pass(Duration::from_micros(1));
    assert_eq!(world.look("a").holder, None);
    assert_eq!(world.renew(&holder, SECOND), Err(RenewError::Lost));
    assert_eq!(world.release(&holder), Released::Already);
}

#[test]
fn a_lease_that_ends_as_a_wait_does_is_handed_over() {
    let mut world = World::new();
    world.hold(&request(Holder::Caller, &["a"], NO_WAIT));
    let waiter = request(transaction(), &["a"], 10 * SECOND);
    world.wait(&waiter);
    // A timer that comes late changes nothing: what ran out first ends first.
    world.pass(60 * SECOND);
    world.tick();
    assert_eq!(world.served(), [waiter.id]);
}

#[test]
fn the_lease_of_a_hand_over_begins_with_it() {
    let mut world = World::new();
    let holder = request(transaction(), &["a"], NO_WAIT);
    world.hold(&holder);
    let waiter = request(Holder::Caller, &["a"], 60 * SECOND);
    world.wait(&waiter);
    world.pass(30 * SECOND);
    world.release(&holder);
    assert_eq!(world.look("a").holder.unwrap().remaining, Some(10 * SECOND));
}

#[test]
fn a_renewal_prolongs_and_never_shortens() {
    let mut world = World::new();
    let holder = request(Holder::Caller, &["a"], NO_WAIT);
    world.hold(&holder);
    assert_eq!(world.renew(&holder, SECOND), Ok(10 * SECOND));
    assert_eq!(world.renew(&holder, 20 * SECOND), Ok(20 * SECOND));
    world.pass(15 * SECOND);
    assert!(world.look("a").holder.is_some());
    for wrong in [LEASE_MIN - Duration::from_micros(1), LEASE_MAX + SECOND] {
        let refusal = world.renew(&holder, wrong);
        assert!(matches!(refusal, Err(RenewError::Invalid(_))));
    }
    let unleased = request(transaction(), &["b"], NO_WAIT);
    world.hold(&unleased);
    assert_eq!(world.renew(&unleased, SECOND), Ok(Duration::MAX));
    world.pass(100 * SECOND);
    assert!(world.look("b").holder.is_some(), "it has no lease still");
}

#[test]
fn a_transaction_gets_views_of_what_it_holds_and_waits_for_the_rest() {
    let mut world = World::new();
    let own = transaction();
    let first = request(own, &["a", "b"], NO_WAIT);
    let token = world.hold(&first);

    // Everything is held: no grant.
    let view = request(own, &["b", "a", "b"], NO_WAIT);
    let expected = Granted {
        tokens: vec![(name("b"), token), (name("a"), token)],
        acquired: vec![],
    };
    assert_eq!(world.acquire(&view), Acquired::Granted(expected));
    assert_eq!(world.release(&view), Released::Already);

    // Part is: the rest is acquired, or waited for.
    let other = request(transaction(), &["c"], NO_WAIT);
    world.hold(&other);
    let rest = request(own, &["a", "c"], SECOND);
    world.wait(&rest);
    world.effects.clear();
    world.release(&other);
    match world.effects.as_slice() {
        [Effect::Granted(id, granted)] => {
            assert_eq!(*id, rest.id);
            assert_eq!(granted.acquired, [name("c")]);
            assert_eq!(granted.tokens[0], (name("a"), token));
            assert!(granted.tokens[1].1 > token);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_transaction_that_waits_twice_for_a_lock_gets_a_grant_and_a_view() {
    let mut world = World::new();
    let holder = request(transaction(), &["a"], NO_WAIT);
    world.hold(&holder);
    let own = transaction();
    let (one, two) = (request(own, &["a"], SECOND), request(own, &["a"], SECOND));
    world.wait(&one);
    world.wait(&two);
    world.release(&holder);
    let [Effect::Granted(_, first), Effect::Granted(_, second)] = world.effects.as_slice() else {
        panic!("{:?}", world.effects);
    };
    assert_eq!(first.acquired, [name("a")]);
    assert_eq!(second.acquired, []);
    assert_eq!(first.tokens, second.tokens);
}

#[test]
fn a_caller_that_asks_for_what_it_holds_is_refused() {
    let mut world = World::new();
    world.hold(&request(Holder::Caller, &["a"], NO_WAIT));
    let refusal = world.acquire(&request(Holder::Caller, &["a"], NO_WAIT));
    assert_eq!(refused(refusal), AcquireError::Held(name("a")));
}

#[test]
fn the_end_of_a_transaction_releases_its_grants_and_ends_its_waits() {
    let mut world = World::new();
    let own = TransactionId::mint();
    let holder = Holder::Transaction(own);
    world.hold(&request(holder, &["a"], NO_WAIT));
    world.hold(&request(holder, &["b"], NO_WAIT));
    world.hold(&request(transaction(), &["c"], NO_WAIT));
    let waiting = request(holder, &["c"], SECOND);
    world.wait(&waiting);
    let next = request(transaction(), &["a", "b"], SECOND);
    world.wait(&next);
    world.core.end(own, world.now, &mut world.effects);
    assert_eq!(world.effects[0], Effect::Cancelled(waiting.id));
    assert_eq!(world.served(), [next.id]);
    world.core.end(own, world.now, &mut world.effects);
    assert_eq!(world.effects, []);
}

#[test]
fn a_forced_release_takes_the_whole_grant_and_hands_it_over() {
    let mut world = World::new();
    let holder = request(transaction(), &["a", "b"], NO_WAIT);
    let token = world.hold(&holder);
    let waiter = request(transaction(), &["b"], SECOND);
    world.wait(&waiter);
    let taken = world
        .core
        .force_release(&name("a"), world.now, &mut world.effects);
    let expected = Taken {
        names: vec![name("a"), name("b")],
        token,
        label: "test".to_owned(),
    };
    assert_eq!(taken, Some(expected));
    assert_eq!(world.served(), [waiter.id]);
    assert_eq!(world.release(&holder), Released::Already);
    let again = world
        .core
        .force_release(&name("a"), world.now, &mut world.effects);
    assert_eq!(again, None);
}

#[test]
fn what_is_not_allowed_is_refused_and_changes_nothing() {
    let mut world = World::new();
    let good = request(transaction(), &["a"], NO_WAIT);
    let many: Vec<LockName> = (0..65).map(|it| name(&format!("n{it}"))).collect();
    for wrong in [
        Acquire {
            names: vec![],
            ..good.clone()
        },
        Acquire {
            names: many.clone(),
            ..good.clone()
        },
        Acquire {
            label: "x".repeat(LABEL_BYTES_MAX + 1),
            ..good.clone()
        },
        Acquire {
            wait: WAIT_MAX + SECOND,
            ..good.clone()
        },
        Acquire {
            lease: Some(LEASE_MIN / 2),
            ..good.clone()
        },
        Acquire {
            lease: Some(LEASE_MAX * 2),
            ..good.clone()
        },
        Acquire {
            lease: None,
            holder: Holder::Caller,
            ..good.clone()
        },
    ] {
        let refusal = refused(world.acquire(&wrong));
        assert!(matches!(refusal, AcquireError::Invalid(_)), "{wrong:?}");
    }
    world.hold(&Acquire {
        names: [&many[..64], &many[..64]].concat(),
        ..good.clone()
    });
    let refusal = refused(world.acquire(&good));
    assert!(
        matches!(refusal, AcquireError::Invalid(_)),
        "the id is in use"
    );
}

#[test]
fn a_lock_takes_so_many_waiters() {
    let mut world = World::with(Limits {
        waiters_per_lock: 2,
        ..Limits::default()
    });
    world.hold(&request(transaction(), &["a"], NO_WAIT));
    for _ in 0..2 {
        world.wait(&request(transaction(), &["a", "b"], SECOND));
    }
    for names in [&["a"][..], &["b"], &["c", "b"]] {
        let refusal = refused(world.acquire(&request(transaction(), names, SECOND)));
        assert!(matches!(refusal, AcquireError::Quota(_)));
    }
    assert_eq!(world.look("b").waiting, 2);
}

#[test]
fn a_caller_s_grant_is_kept_and_forgotten_and_a_transaction_s_is_not() {
    let mut world = World::new();
    let caller = request(Holder::Caller, &["a"], NO_WAIT);
    let token = world.hold(&caller);
    let mut kept = CallerGrant {
        id: caller.id,
        names: vec![name("a")],
        token,
        lease: 10 * SECOND,
        label: "test".to_owned(),
    };
    assert_eq!(world.effects, [Effect::Keep(kept.clone())]);

    // Only a lease that is longer than what is written down is written again.
    world.effects.clear();
    world.renew(&caller, 5 * SECOND).unwrap();
    assert_eq!(world.effects, []);
    world.renew(&caller, 20 * SECOND).unwrap();
    kept.lease = 20 * SECOND;
    assert_eq!(world.effects, [Effect::Keep(kept)]);

    world.effects.clear();
    world.release(&caller);
    let leased = Acquire {
        lease: Some(SECOND),
        ..request(transaction(), &["a"], NO_WAIT)
    };
    world.hold(&leased);
    world.pass(SECOND);
    world.tick();
    assert_eq!(world.effects, [Effect::Forget(caller.id)]);
}

#[test]
fn a_restored_grant_has_its_full_lease_and_the_higher_token_wins() {
    let grant = |token, names: &[&str]| CallerGrant {
        id: GrantId::mint(),
        names: names.iter().map(name_ref).collect(),
        token,
        lease: 7 * SECOND,
        label: "old".to_owned(),
    };
    let (low, high) = (grant(3, &["a", "b"]), grant(4, &["b", "c"]));
    let (limits, now) = (Limits::default(), Time::from_micros(5));
    let mut effects = Vec::new();
    let grants = vec![low.clone(), high.clone()];
    let mut core = Core::restore(limits, 10, grants, now, &mut effects);
    assert_eq!(effects, [Effect::Forget(low.id)]);
    let holder = core.look(&name("c"), now, &mut effects).holder.unwrap();
    assert_eq!((holder.token, holder.remaining), (4, Some(7 * SECOND)));
    assert_eq!(core.look(&name("a"), now, &mut effects).holder, None);

    // Tokens go on above the mark, and are asked for.
    assert_eq!(core.token_limit(), 10);
    let first = core.first_reservation(now);
    core.reserved(first);
    let request = request(transaction(), &["a"], NO_WAIT);
    let Acquired::Granted(granted) = core.acquire(request, now, &mut effects) else {
        panic!("not granted");
    };
    assert_eq!(granted.tokens[0].1, 11);
}

#[test]
fn a_hundred_thousand_waiters_come_go_and_are_served() {
    // Quadratic work would take minutes here.
    let mut world = World::new();
    let mut holder = request(transaction(), &["a"], NO_WAIT);
    world.hold(&holder);
    let waiters: Vec<_> = (0..100_000)
        .map(|_| request(transaction(), &["a"], SECOND))
        .collect();
    for waiter in &waiters {
        world.wait(waiter);
    }
    assert_eq!(world.look("a").waiters.len(), 100);
    let (gone, stay): (Vec<_>, Vec<_>) = waiters
        .into_iter()
        .enumerate()
        .partition(|it| it.0 % 2 == 0);
    for (_, waiter) in gone.iter().rev() {
        world.release(waiter);
    }
    world.effects.clear();
    for (_, waiter) in stay {
        world.release(&holder);
        assert_eq!(world.served(), [waiter.id]);
        holder = waiter;
    }
    assert_eq!(world.look("a").waiting, 0);
}
