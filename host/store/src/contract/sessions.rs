//! Sessions: grants that live and end together.

use super::*;
use crate::store::{LostGrant, OpenSession, RenewError, SessionError};

contract!(
    Narrow:
    a_session_lives_from_beat_to_beat,
    a_session_that_is_not_attached_lives_for_its_grace,
    a_broken_connection_gives_a_session_its_grace,
    a_session_that_is_attached_again_goes_on,
    an_earlier_connection_is_told_that_it_is_attached_elsewhere,
    a_closed_session_gives_its_locks_to_those_who_wait,
    a_session_that_ends_ends_its_waits,
    a_session_that_has_ended_is_gone,
    a_waiter_whose_session_has_ended_is_skipped,
    a_grant_of_a_session_has_no_lease_of_its_own,
    a_grant_that_is_taken_away_is_told_to_its_session,
    whoever_attaches_a_session_is_told_which_grants_it_holds,
    whoever_attaches_a_session_is_told_whose_it_is,
    a_session_s_grants_are_asked_again_and_given_back_like_others,
);

async fn reattach(world: &World, session: SessionId) -> Result<Attached, SessionError> {
    world.store.attach(session, caller().principal).await
}

async fn a_session_lives_from_beat_to_beat(world: Arc<World>) {
    let (session, attached) = world.attached().await;
    assert_eq!((attached.ttl, attached.grace), (TTL, GRACE));
    let request = of_session(session, &["a"]);
    world.hold(&request).await;
    for _ in 0..3 {
        world.clock.advance(TTL - world.margin);
        let beat = world.store.beat(session, attached.attachment);
        assert_eq!(beat, Ok(()));
    }
    world.clock.advance(TTL - TICK);
    assert!(world.holder("a").await.is_some());
    world.clock.advance(TICK);
    assert_eq!(world.holder("a").await, None);
    let beat = world.store.beat(session, attached.attachment);
    assert_eq!(beat, Err(SessionError::Lost));
}

async fn a_session_that_is_not_attached_lives_for_its_grace(world: Arc<World>) {
    for late in [false, true] {
        let session = session();
        let id = session.id;
        world.store.open_session(session).await.unwrap();
        world.clock.advance(GRACE - TICK);
        if late {
            world.clock.advance(TICK);
        }
        let attached = reattach(&world, id).await;
        assert_eq!(attached.is_err(), late);
    }
}

async fn a_broken_connection_gives_a_session_its_grace(world: Arc<World>) {
    // Adversarial L4: freed within the grace, never before.
    let (session, attached) = world.attached().await;
    world.hold(&of_session(session, &["a"])).await;
    let mut next = world.queue(&waiting(60 * SECOND, of_caller(&["a"]))).await;
    world.store.detach(session, attached.attachment);
    world.clock.advance(GRACE - TICK);
    assert!(poll_once(&mut next).await.is_none());
    world.clock.advance(TICK);
    assert!(next.await.is_ok());
}

async fn a_session_that_is_attached_again_goes_on(world: Arc<World>) {
    let (session, attached) = world.attached().await;
    let request = of_session(session, &["a"]);
    let token = world.hold(&request).await.tokens[0].1;
    world.store.detach(session, attached.attachment);
    world.clock.advance(GRACE - TICK);
    let again = reattach(&world, session).await.unwrap();
    assert!(again.attachment > attached.attachment);
    world.clock.advance(TTL - world.margin);
    assert_eq!(world.store.beat(session, again.attachment), Ok(()));
    assert_eq!(world.holder("a").await, Some(token));
}

async fn an_earlier_connection_is_told_that_it_is_attached_elsewhere(world: Arc<World>) {
    let (session, mut first) = world.attached().await;
    let mut second = reattach(&world, session).await.unwrap();
    assert_eq!(first.lost.recv().await, None, "its line is closed");
    let beat = world.store.beat(session, first.attachment);
    assert_eq!(beat, Err(SessionError::Elsewhere));
    // What it says when it goes harms nobody.
    world.store.detach(session, first.attachment);
    world.clock.advance(TTL - world.margin);
    assert_eq!(world.store.beat(session, second.attachment), Ok(()));
    assert!(second.lost.try_recv().is_err());
    assert!(!second.lost.is_closed());
}

async fn a_closed_session_gives_its_locks_to_those_who_wait(world: Arc<World>) {
    let (session, mut attached) = world.attached().await;
    for names in [&["a"], &["b"]] {
        world.hold(&of_session(session, names)).await;
    }
    let next = world.queue(&waiting(SECOND, of_caller(&["a", "b"]))).await;
    let close = || world.store.close_session(session, caller().principal);
    assert_eq!(close().await, Ok(()));
    assert!(next.await.is_ok());
    assert_eq!(attached.lost.recv().await, None);
    assert_eq!(close().await, Ok(()), "once more changes nothing");
}

async fn a_session_that_ends_ends_its_waits(world: Arc<World>) {
    world.hold(&of(TransactionId::mint(), &["a"])).await;
    for expires in [false, true] {
        let (session, _attached) = world.attached().await;
        let request = of_session(session, &["a"]);
        let queued = world.queue(&waiting(60 * SECOND, request)).await;
        if expires {
            world.clock.advance(TTL);
        } else {
            let close = world.store.close_session(session, caller().principal);
            close.await.unwrap();
        }
        assert_eq!(queued.await, Err(AcquireError::Cancelled));
    }
}

async fn a_session_that_has_ended_is_gone(world: Arc<World>) {
    let (session, mut attached) = world.attached().await;
    let request = of_session(session, &["a"]);
    world.hold(&request).await;
    world.clock.advance(TTL);
    assert_eq!(attached.lost.recv().await, None);
    let refusal = world.refusal(&of_session(session, &["a"])).await;
    assert_eq!(refusal, AcquireError::NoSession);
    let again = reattach(&world, session).await;
    assert_eq!(again.err(), Some(SessionError::Lost));
    assert_eq!(world.release(&request).await, Ok(Released::Already));
    assert_eq!(world.store.statistics().sessions, 0);
}

async fn a_waiter_whose_session_has_ended_is_skipped(world: Arc<World>) {
    // Adversarial L12: it is the first in the queue.
    let holder = Acquire {
        lease: Some(TTL),
        ..of_caller(&["a"])
    };
    world.clock.advance(TICK);
    let (session, _attached) = world.attached().await;
    world.hold(&holder).await;
    let dead = of_session(session, &["a"]);
    let dead = world.queue(&waiting(60 * SECOND, dead)).await;
    let next = world.queue(&waiting(60 * SECOND, of_caller(&["a"]))).await;
    let watch = crate::store::WatchQuery::default();
    let mut watch = world.store.watch(watch).await.unwrap();
    // The lease and the session are over in the same moment.
    world.clock.advance(TTL);
    assert_eq!(dead.await, Err(AcquireError::Cancelled));
    let token = next.await.unwrap().tokens[0].1;
    assert_eq!(world.holder("a").await, Some(token));
    loop {
        let told = watch.next().await;
        let Some(crate::store::Watched::Event(event)) = told else {
            panic!("{told:?}");
        };
        if event.kind == crate::store::EventKind::Granted {
            assert_eq!(event.token, token, "nobody else was granted it");
            break;
        }
    }
}

async fn a_grant_of_a_session_has_no_lease_of_its_own(world: Arc<World>) {
    let (session, _attached) = world.attached().await;
    let request = of_session(session, &["a"]);
    let granted = world.hold(&request).await;
    assert_eq!(granted.remaining, None);
    world.clock.advance(SECOND);
    let principal = caller().principal;
    let renewal = world
        .store
        .renew(request.id, principal, None)
        .await
        .unwrap();
    assert_eq!(
        renewal.remaining,
        Some(TTL - SECOND),
        "as long as the session"
    );
    world.clock.advance(TTL - SECOND);
    assert_eq!(
        world.holder("a").await,
        None,
        "nor is the session renewed by it"
    );
    let principal = caller().principal;
    let renewal = world.store.renew(request.id, principal, None).await;
    assert_eq!(renewal, Err(RenewError::Lost));
}

async fn force(world: &World, text: &str) {
    let forced = world.store.force_release(
        name(text),
        Principal::node(),
        Permission::all(),
        "a test".to_owned(),
    );
    assert_eq!(forced.await.unwrap().len(), 1);
}

async fn a_grant_that_is_taken_away_is_told_to_its_session(world: Arc<World>) {
    let (session, mut attached) = world.attached().await;
    let granted = world.hold(&of_session(session, &["a", "b"])).await;
    world.hold(&of_session(session, &["c"])).await;
    force(&world, "b").await;
    let lost = LostGrant {
        token: granted.tokens[0].1,
        names: granted.acquired,
    };
    assert_eq!(attached.lost.recv().await, Some(lost));
    assert!(attached.lost.try_recv().is_err(), "once, and of this alone");
    assert!(world.holder("c").await.is_some());
}

async fn whoever_attaches_a_session_is_told_which_grants_it_holds(world: Arc<World>) {
    for half_open in [false, true] {
        let (session, attached) = world.attached().await;
        assert_eq!(attached.held, []);
        world.hold(&of_session(session, &["a"])).await;
        let held = world.hold(&of_session(session, &["b", "c"])).await;
        if !half_open {
            world.store.detach(session, attached.attachment);
        }
        // Told into a connection that nobody listens at, or to nobody.
        force(&world, "a").await;
        let mut again = reattach(&world, session).await.unwrap();
        assert_eq!(again.held, [held.tokens[0].1]);
        assert!(again.lost.try_recv().is_err(), "that is all");
        let closed = world.store.close_session(session, caller().principal);
        closed.await.unwrap();
    }
}

async fn whoever_attaches_a_session_is_told_whose_it_is(world: Arc<World>) {
    for owner in [None, Some("one")] {
        let opened = OpenSession {
            party: Party {
                owner: owner.map(Arc::from),
                label: "what it was opened as".into(),
                ..caller()
            },
            ..session()
        };
        world.store.open_session(opened.clone()).await.unwrap();
        for by in [caller().principal, Principal::node()] {
            let attached = world.store.attach(opened.id, by).await.unwrap();
            assert_eq!(attached.party, opened.party);
            world.store.detach(opened.id, attached.attachment);
        }
    }
}

async fn a_session_s_grants_are_asked_again_and_given_back_like_others(world: Arc<World>) {
    let (session, _attached) = world.attached().await;
    let request = repeatable(of_session(session, &["a"]));
    let first = world.hold(&request).await;
    assert_eq!(world.hold(&request).await.tokens, first.tokens);
    assert_eq!(world.release(&request).await, Ok(Released::Released));
    assert_eq!(world.refusal(&request).await, AcquireError::Lost);
}
