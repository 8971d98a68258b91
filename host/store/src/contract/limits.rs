//! What is not allowed, and how much a store takes: every field and every limit.

use super::*;
use crate::store::{
    Field, Invalid, LABEL_BYTES_MAX, LEASE_MAX, LEASE_MIN, NAMES_PER_GRANT_MAX, OWNER_BYTES_MAX,
    RenewError, SessionError, TTL_MAX, TTL_MIN, WAIT_MAX, WatchQuery,
};
use std::num::NonZeroU32;

contract!(
    Narrow:
    what_is_not_allowed_of_a_request_is_refused_by_its_field,
    what_is_allowed_up_to_its_bounds_is_taken,
    what_is_not_allowed_of_a_mode_is_refused,
    what_is_not_allowed_of_a_renewal_is_refused,
    what_is_not_allowed_of_a_session_is_refused,
    a_lock_takes_so_many_waiters,
    a_lock_takes_so_many_holders,
    a_principal_holds_so_many_locks,
    a_principal_waits_so_many_times,
    a_principal_opens_so_many_sessions,
    so_many_may_watch,
);

const TICK: Duration = Duration::from_micros(1);

fn field(error: &AcquireError) -> Field {
    match error {
        AcquireError::Invalid(Invalid { field, .. }) => *field,
        error => panic!("{error:?}"),
    }
}

fn is_quota(error: &AcquireError) -> bool {
    matches!(error, AcquireError::Quota(text) if !text.is_empty())
}

fn labelled(bytes: usize) -> Acquire {
    let label = "x".repeat(bytes).into();
    let party = Party { label, ..caller() };
    let request = of_caller(&["a"]);
    Acquire { party, ..request }
}

fn names(count: usize) -> Acquire {
    let names = (0..count).map(|it| name(&it.to_string())).collect();
    Acquire {
        names,
        ..of_caller(&["a"])
    }
}

fn leased(lease: Duration) -> Acquire {
    Acquire {
        lease: Some(lease),
        ..of_caller(&["a"])
    }
}

async fn what_is_not_allowed_of_a_request_is_refused_by_its_field(world: Arc<World>) {
    let (session, _attached) = world.attached().await;
    let unleased = Acquire {
        lease: None,
        ..of_caller(&["a"])
    };
    let leased_session = Acquire {
        lease: Some(SECOND),
        ..of_session(session, &["a"])
    };
    let owner = |bytes| owned_by(&"x".repeat(bytes), of_caller(&["a"]));
    for (request, expected) in [
        (names(0), Field::Names),
        (names(NAMES_PER_GRANT_MAX + 1), Field::Names),
        (unleased, Field::Lease),
        (leased_session, Field::Lease),
        (leased(LEASE_MIN - TICK), Field::Lease),
        (leased(LEASE_MAX + TICK), Field::Lease),
        (leased(NO_WAIT), Field::Lease),
        (waiting(WAIT_MAX + TICK, of_caller(&["a"])), Field::Wait),
        (labelled(LABEL_BYTES_MAX + 1), Field::Label),
        (labelled(1024 * 1024), Field::Label),
        (owner(OWNER_BYTES_MAX + 1), Field::Owner),
    ] {
        assert_eq!(field(&world.refusal(&request).await), expected);
        assert_eq!(world.holder("a").await, None);
    }
}

async fn what_is_allowed_up_to_its_bounds_is_taken(world: Arc<World>) {
    let twice: Vec<_> = ["a"; NAMES_PER_GRANT_MAX].to_vec();
    for request in [
        names(NAMES_PER_GRANT_MAX),
        of_caller(&twice),
        leased(LEASE_MIN),
        leased(LEASE_MAX),
        waiting(WAIT_MAX, of_caller(&["a"])),
        labelled(LABEL_BYTES_MAX),
        owned_by(&"x".repeat(OWNER_BYTES_MAX), of_caller(&["a"])),
    ] {
        world.hold(&request).await;
        world.release(&request).await.unwrap();
    }
}

async fn what_is_not_allowed_of_a_mode_is_refused(world: Arc<World>) {
    let permits = |permits| Mode::Permits(NonZeroU32::new(permits).unwrap());
    let holder = in_mode(permits(2), of_caller(&["a"]));
    world.hold(&holder).await;
    let refusal = world.refusal(&in_mode(permits(3), of_caller(&["a"]))).await;
    assert_eq!(field(&refusal), Field::Permits);
    world.release(&holder).await.unwrap();
    world.hold(&in_mode(permits(3), of_caller(&["a"]))).await;

    // Nobody turns a reader into a writer.
    let own = TransactionId::mint();
    world.hold(&in_mode(Mode::Shared, of(own, &["b"]))).await;
    let refusal = world.refusal(&of(own, &["b"])).await;
    assert_eq!(field(&refusal), Field::Mode);
}

async fn what_is_not_allowed_of_a_renewal_is_refused(world: Arc<World>) {
    let request = of_caller(&["a"]);
    world.hold(&request).await;
    for lease in [LEASE_MIN - TICK, LEASE_MAX + TICK] {
        let principal = caller().principal;
        let renewal = world.store.renew(request.id, principal, Some(lease)).await;
        let Err(RenewError::Invalid(invalid)) = renewal else {
            panic!("{renewal:?}");
        };
        assert_eq!(invalid.field, Field::Lease);
    }
}

async fn what_is_not_allowed_of_a_session_is_refused(world: Arc<World>) {
    let good = session();
    for (ttl, grace) in [
        (TTL_MIN - TICK, GRACE),
        (TTL_MAX + TICK, GRACE),
        (TTL, TTL_MIN - TICK),
        (TTL, TTL_MAX + TICK),
    ] {
        let wrong = OpenSession {
            ttl,
            grace,
            ..good.clone()
        };
        let refused = world.store.open_session(wrong).await;
        let Err(SessionError::Invalid(invalid)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(invalid.field, Field::Session);
    }
    assert_eq!(world.store.statistics().sessions, 0);
}

async fn a_lock_takes_so_many_waiters(world: Arc<World>) {
    world.hold(&of(TransactionId::mint(), &["a"])).await;
    let request = || waiting(SECOND, of(TransactionId::mint(), &["b", "a"]));
    let mut queued = Vec::new();
    for _ in 0..LIMITS.waiters_per_lock {
        queued.push(world.queue(&request()).await);
    }
    let refusal = world.refusal(&request()).await;
    assert!(is_quota(&refusal), "{refusal:?}");
    queued.pop();
    queued.push(world.queue(&request()).await);
}

async fn a_lock_takes_so_many_holders(world: Arc<World>) {
    let request = || in_mode(Mode::Shared, of_caller(&["a"]));
    let first = request();
    world.hold(&first).await;
    for _ in 1..LIMITS.holders_per_lock {
        world.hold(&request()).await;
    }
    let refusal = world.refusal(&request()).await;
    assert!(is_quota(&refusal), "{refusal:?}");
    world.release(&first).await.unwrap();
    world.hold(&request()).await;
}

async fn a_principal_holds_so_many_locks(world: Arc<World>) {
    let (session, _attached) = world.attached().await;
    let mut last = None;
    for number in 0..LIMITS.locks_per_principal {
        let names = [number.to_string()];
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let request = if number % 8 == 0 {
            of_session(session, &names)
        } else {
            of_caller(&names)
        };
        world.hold(&request).await;
        last = Some(request);
    }
    for request in [of_caller(&["x"]), of_session(session, &["x"])] {
        let refusal = world.refusal(&request).await;
        assert!(is_quota(&refusal), "{refusal:?}");
    }
    // Somebody else's are not counted, nor are those of transactions.
    let party = Party {
        principal: Principal::new("somebody else"),
        ..caller()
    };
    let theirs = Acquire {
        party,
        ..of_caller(&["x"])
    };
    world.hold(&theirs).await;
    let own = Acquire {
        party: caller(),
        ..of(TransactionId::mint(), &["y"])
    };
    world.hold(&own).await;
    world.release(&last.unwrap()).await.unwrap();
    world.hold(&of_caller(&["z"])).await;
}

async fn a_principal_waits_so_many_times(world: Arc<World>) {
    world.hold(&of(TransactionId::mint(), &["a"])).await;
    world.hold(&of(TransactionId::mint(), &["b"])).await;
    let mut queued = Vec::new();
    for number in 0..LIMITS.waiters_per_principal {
        let names = if number % 2 == 0 { ["a"] } else { ["b"] };
        let request = waiting(SECOND, of_caller(&names));
        queued.push(world.queue(&request).await);
    }
    let request = || waiting(SECOND, of_caller(&["b"]));
    let refusal = world.refusal(&request()).await;
    assert!(is_quota(&refusal), "{refusal:?}");
    queued.pop();
    drop(world.queue(&request()).await);
}

async fn a_principal_opens_so_many_sessions(world: Arc<World>) {
    let first = session();
    world.store.open_session(first.clone()).await.unwrap();
    for _ in 1..LIMITS.sessions_per_principal {
        world.store.open_session(session()).await.unwrap();
    }
    let refused = world.store.open_session(session()).await;
    assert!(
        matches!(refused, Err(SessionError::Quota(_))),
        "{refused:?}"
    );
    let close = world.store.close_session(first.id, caller().principal);
    close.await.unwrap();
    world.store.open_session(session()).await.unwrap();
}

async fn so_many_may_watch(world: Arc<World>) {
    let watch = || world.store.watch(WatchQuery::default());
    let mut watches = Vec::new();
    for _ in 0..LIMITS.watchers {
        watches.push(watch().await.unwrap());
    }
    assert!(watch().await.is_err());
    assert_eq!(world.store.statistics().watchers, 2);
    watches.pop();
    assert_eq!(world.store.statistics().watchers, 1);
    watch().await.unwrap();
}
