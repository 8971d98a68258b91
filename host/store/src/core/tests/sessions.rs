//! Every edge of the drawing of sessions.

use super::*;

fn of(id: SessionId, names: &[&str]) -> Acquire {
    request(Holder::Session(id), names)
}

#[test]
fn a_session_that_nobody_attaches_to_lives_for_its_grace() {
    let mut world = World::new();
    let id = world.open();
    world.hold(&of(id, &["a"]));
    world.pass(GRACE - MICRO);
    assert!(world.is_held("a"));
    world.pass(MICRO);
    assert!(!world.is_held("a"));
    assert_eq!(world.attach(id), Err(SessionError::Lost));
    assert_eq!(world.refused(&of(id, &["a"])), AcquireError::NoSession);
    assert_eq!(world.told(), [], "nobody was attached");
}

#[test]
fn a_session_that_is_attached_lives_from_beat_to_beat() {
    let mut world = World::new();
    let id = world.open();
    let attachment = world.attach(id).unwrap();
    let grant = of(id, &["a"]);
    assert_eq!(world.granted(&grant).remaining, None);
    for _ in 0..3 {
        world.pass(TTL - MICRO);
        assert_eq!(world.beat(id, attachment), Ok(()));
        let remaining = world.renew(&grant, Some(SECOND));
        assert_eq!(remaining, Ok(Some(TTL)), "the session's");
    }
    world.pass(TTL);
    assert_eq!(world.beat(id, attachment), Err(SessionError::Lost));
    assert_eq!(world.told(), [Effect::Unattached(id)]);
    assert!(!world.is_held("a"));
    assert_eq!(world.core.statistics().expired, 1);
}

#[test]
fn a_broken_connection_leaves_the_session_its_grace() {
    let mut world = World::new();
    let id = world.open();
    let attachment = world.attach(id).unwrap();
    world.hold(&of(id, &["a"]));
    world.pass(SECOND);
    world.detach(id, attachment);
    assert_eq!(world.beat(id, attachment), Err(SessionError::Elsewhere));
    world.pass(GRACE - MICRO);
    assert!(world.is_held("a"));
    let again = world.attach(id).unwrap();
    assert!(again > attachment);
    world.pass(TTL - MICRO);
    assert!(world.is_held("a"));
    world.pass(MICRO);
    assert!(!world.is_held("a"));
}

#[test]
fn who_attaches_takes_the_session_from_an_earlier_connection() {
    let mut world = World::new();
    let id = world.open();
    let first = world.attach(id).unwrap();
    assert_eq!(world.told(), []);
    let second = world.attach(id).unwrap();
    assert_eq!(world.told(), [Effect::Unattached(id)]);
    assert_eq!(world.beat(id, first), Err(SessionError::Elsewhere));
    world.pass(SECOND);
    world.detach(id, first);
    assert_eq!(world.beat(id, second), Ok(()), "the first has no say");
}

#[test]
fn closing_a_session_releases_its_grants_and_ends_its_waits() {
    let mut world = World::new();
    let id = world.open();
    world.attach(id).unwrap();
    world.hold(&of(id, &["a"]));
    world.hold(&single(&["b"]));
    let waiting = of(id, &["b"]);
    world.wait(&waiting);
    let next = single(&["a"]);
    world.wait(&next);
    world.written();
    world.close(id);
    let effects = world.effects.clone();
    assert!(effects.contains(&Effect::ForgetSession(id)));
    let told = world.told();
    assert_eq!(
        told[..2],
        [Effect::Cancelled(waiting.id), Effect::Unattached(id)]
    );
    assert!(matches!(&told[2..], [Effect::Granted(it, _)] if *it == next.id));
    world.close(id);
    assert_eq!(world.effects, [], "it is idempotent");
    assert_eq!(world.core.statistics().released, 1);
}

// L12.
#[test]
fn a_waiter_whose_session_is_over_is_passed_over() {
    let mut world = World::new();
    let holder = single(&["a"]);
    world.hold(&holder);
    let (dead, alive) = (world.open(), world.open());
    let attachment = world.attach(alive).unwrap();
    let first = of(dead, &["a"]);
    let second = of(dead, &["a", "b"]);
    let next = of(alive, &["a"]);
    world.wait(&of_owner("one", first.clone()));
    world.wait(&of_owner("two", second.clone()));
    world.wait(&next);
    for _ in 0..5 {
        world.pass(GRACE / 5);
        world.beat(alive, attachment).unwrap();
    }
    let told = world.told();
    assert_eq!(
        told,
        [Effect::Cancelled(first.id), Effect::Cancelled(second.id)]
    );
    world.release(&holder);
    assert_eq!(world.served(), [next.id]);
}

#[test]
fn a_lease_that_ends_with_a_session_is_not_handed_to_it() {
    let mut world = World::new();
    let id = world.open();
    let holder = Acquire {
        lease: Some(GRACE),
        ..caller(&["a"])
    };
    world.hold(&holder);
    let waiter = of(id, &["a"]);
    world.wait(&waiter);
    world.pass(GRACE);
    world.tick();
    assert_eq!(world.told(), [Effect::Cancelled(waiter.id)]);
    assert_eq!(world.core.statistics().granted, 1);
}

#[test]
fn a_session_is_told_which_of_its_grants_was_taken_away() {
    let mut world = World::new();
    let id = world.open();
    let grant = of(id, &["a", "b"]);
    let token = world.hold(&grant);
    world.force("b");
    let names = vec![name("a"), name("b")];
    let lost = LostGrant { token, names };
    assert_eq!(world.told(), [Effect::Lost(id, lost)]);
    assert_eq!(world.renew(&grant, None), Err(RenewError::Lost));
}

#[test]
fn a_session_s_grants_are_its_principal_s_alone() {
    let mut world = World::new();
    let anna = session(&Principal::new("anna"));
    let id = anna.id;
    let (now, effects) = (world.now, &mut world.effects);
    world.core.open_session(anna, now, effects).unwrap();
    let ben = Principal::new("ben");
    let stolen = of_principal("ben", of(id, &["a"]));
    assert_eq!(world.refused(&stolen), AcquireError::NotHolder);
    let (now, effects) = (world.now, &mut world.effects);
    let attached = world.core.attach(id, &ben, now, effects);
    assert_eq!(attached, Err(SessionError::NotHolder));
    let closed = world.core.close_session(id, &ben, now, effects);
    assert_eq!(closed, Err(SessionError::NotHolder));
    assert_eq!(world.core.statistics().sessions, 1);
    world.hold(&of_principal("anna", of(id, &["a"])));
    world.hold(&of(id, &["b"]));
}

#[test]
fn a_session_is_opened_within_its_limits() {
    let mut world = World::new();
    let good = session(&Principal::node());
    let times = [TTL_MIN - MICRO, TTL_MAX + MICRO];
    for time in times {
        for wrong in [
            OpenSession {
                ttl: time,
                ..good.clone()
            },
            OpenSession {
                grace: time,
                ..good.clone()
            },
        ] {
            let (now, effects) = (world.now, &mut world.effects);
            let refusal = world.core.open_session(wrong, now, effects);
            let is_session = |it: &Invalid| it.field == Field::Session;
            assert!(matches!(&refusal, Err(SessionError::Invalid(it)) if is_session(it)));
        }
    }
    let (now, effects) = (world.now, &mut world.effects);
    assert_eq!(world.core.open_session(good.clone(), now, effects), Ok(()));
    let again = world.core.open_session(good, now, effects);
    assert!(
        matches!(again, Err(SessionError::Invalid(_))),
        "its id is in use"
    );
}
