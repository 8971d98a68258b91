//! Sessions: their streams, what hangs on them, and how they end.

use super::caller::{Talk, granted, of_grpc, one, reason, release, waiting, with};
use super::node::{ALICE, BOB, Node, Setup, eventually, soon, tokens};
use lockport_proto::Reason;
use lockport_proto::lock as proto;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::session_response::Result as Answer;
use std::time::Duration;

const TTL: Duration = Duration::from_secs(10);

fn new() -> proto::OpenSession {
    proto::OpenSession {
        ttl: Some(TTL.into()),
        holder: "a session".into(),
        ..Default::default()
    }
}

/// A request that waits, of an owner of its own: one that waits for itself would
/// never end.
fn waiting_as(name: &str, owner: usize) -> Operation {
    Operation::Acquire(proto::AcquireRequest {
        owner: owner.to_string(),
        ..waiting(name)
    })
}

fn again(opened: &proto::SessionOpened) -> proto::OpenSession {
    proto::OpenSession {
        session: opened.session.clone(),
        ..Default::default()
    }
}

async fn talk(node: &Node) -> Talk {
    Talk::begin(&mut node.grpc().await, None).await.unwrap()
}

async fn acquire(talk: &mut Talk, name: &str) -> proto::Grant {
    let id = talk.send(Operation::Acquire(one(name)));
    match talk.answer(id).await.unwrap() {
        Answer::Acquire(answer) => answer.grant.unwrap(),
        other => panic!("{other:?}"),
    }
}

/// How many hold a lock, as somebody else sees it.
async fn holding(node: &Node, name: &str) -> u32 {
    let request = proto::GetRequest { name: name.into() };
    let answer = of_grpc(node.grpc().await.get(request).await);
    answer.unwrap().lock.unwrap().holder_count
}

/// Why a stream ended.
async fn end(talk: &mut Talk) -> Reason {
    match talk.next().await {
        Err(status) => reason(&status),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_session_lives_as_long_as_beats_come_and_its_grants_with_it() {
    let node = Node::start().await;
    let mut talk = talk(&node).await;
    let opened = talk.open(new()).await.unwrap();
    assert_eq!(opened.ttl, Some(TTL.into()));
    assert_eq!(opened.grace, Some(TTL.into()));
    let grant = acquire(&mut talk, "a").await;
    assert_eq!(grant.holder, "a session");
    for _ in 0..5 {
        node.clock.advance(TTL - Duration::from_micros(1));
        let id = talk.send(Operation::Beat(proto::Beat {}));
        assert_eq!(talk.answer(id).await, Ok(Answer::Beat(proto::Beat {})));
    }
    let request = proto::GetRequest { name: "a".into() };
    let lock = node.grpc().await.get(request).await.unwrap().into_inner();
    let holder = &lock.lock.unwrap().holders[0];
    assert_eq!(holder.kind(), proto::HolderKind::Session);
    assert_eq!(holder.holder, "a session");

    node.clock.advance(TTL);
    assert_eq!(end(&mut talk).await, Reason::Lost);
    assert_eq!(holding(&node, "a").await, 0);
    let mut late = super::session::talk(&node).await;
    let refused = late.open(again(&opened)).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::Lost);
}

#[tokio::test]
async fn a_session_that_is_closed_frees_at_once_and_answers_its_waits() {
    let node = Node::start().await;
    let mut other = node.grpc().await;
    granted(of_grpc(other.acquire(one("held")).await));
    let mut talk = talk(&node).await;
    talk.open(new()).await.unwrap();
    acquire(&mut talk, "a").await;
    let wait = talk.send(Operation::Acquire(waiting("held")));
    let watch = talk.send(Operation::Watch(Default::default()));
    eventually("it waits", || node.store.statistics().waiting == 1).await;
    let close = talk.send(Operation::Close(proto::CloseSession {}));
    assert_eq!(talk.answer(wait).await, Err(Reason::Cancelled));
    let closed = Answer::Closed(proto::CloseSession {});
    assert_eq!(talk.answer(close).await, Ok(closed));
    talk.answer(watch).await.unwrap();
    while talk.next().await.unwrap().is_some() {}
    let statistics = node.store.statistics();
    assert_eq!((statistics.sessions, statistics.held), (0, 1));
    assert_eq!(node.api.statistics().sessions, 0);
}

#[tokio::test]
async fn a_stream_that_breaks_leaves_the_session_for_its_grace() {
    let node = Node::start().await;
    let grace = Duration::from_secs(4);
    let mut talk = talk(&node).await;
    let short = proto::OpenSession {
        grace: Some(grace.into()),
        ..new()
    };
    let opened = talk.open(short).await.unwrap();
    let grant = acquire(&mut talk, "a").await;
    // The client goes away without a word.
    drop(talk);
    eventually("the stream ends", || node.api.statistics().sessions == 0).await;
    node.clock.advance(grace - Duration::from_micros(1));

    let mut second = super::session::talk(&node).await;
    let attached = second.open(again(&opened)).await.unwrap();
    let held = proto::SessionOpened {
        fencing_tokens: vec![grant.fencing_token],
        ..opened
    };
    assert_eq!(attached, held, "it is told what it holds");
    node.clock.advance(Duration::from_secs(5));
    let id = second.send(Operation::Release(release(&grant.id)));
    second.answer(id).await.unwrap();
    let grant = acquire(&mut second, "a").await;
    assert_eq!(grant.holder, "a session", "it need not say again who it is");

    // And so does one whose client only ends its own side.
    let mut rest = second.half_close();
    assert!(soon(rest.message()).await.unwrap().is_none());
    assert_eq!(holding(&node, "a").await, 1);
    node.clock.advance(grace);
    assert_eq!(holding(&node, "a").await, 0);
    assert_eq!(node.store.statistics().sessions, 0);
}

#[tokio::test]
async fn a_session_is_attached_to_the_latest_stream_only() {
    let node = Node::start().await;
    let mut first = talk(&node).await;
    let opened = first.open(new()).await.unwrap();
    let mut second = talk(&node).await;
    second.open(again(&opened)).await.unwrap();
    assert_eq!(end(&mut first).await, Reason::Elsewhere);
    drop(first);
    // The end of the first stream does not detach the second.
    node.clock.advance(TTL - Duration::from_micros(1));
    let id = second.send(Operation::Beat(proto::Beat {}));
    second.answer(id).await.unwrap();
    acquire(&mut second, "a").await;
}

#[tokio::test]
async fn a_session_is_only_its_own_principals_and_unknown_ones_are_unknown() {
    let mut setup = Setup::default();
    setup.options.access = tokens();
    let node = Node::with(setup).await;
    let mut grpc = node.grpc().await;
    let mut alice = Talk::begin(&mut grpc, Some(ALICE)).await.unwrap();
    let opened = alice.open(new()).await.unwrap();
    let mut bob = Talk::begin(&mut grpc, Some(BOB)).await.unwrap();
    let refused = bob.open(again(&opened)).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::NotHolder);
    let on_it = proto::AcquireRequest {
        session: opened.session.clone(),
        ..one("shared/a")
    };
    let answer = of_grpc(grpc.acquire(with(Some(BOB), on_it.clone())).await);
    assert_eq!(answer, Err(Reason::NotHolder));
    granted(of_grpc(grpc.acquire(with(Some(ALICE), on_it)).await));

    for text in ["0".repeat(48), "x".into()] {
        let mut bob = Talk::begin(&mut grpc, Some(BOB)).await.unwrap();
        let session = proto::OpenSession {
            session: text,
            ..Default::default()
        };
        let refused = bob.open(session).await.unwrap_err();
        assert_eq!(reason(&refused), Reason::UnknownSession);
    }
    // The stream itself asks for a token.
    let refused = Talk::begin(&mut grpc, None).await.err().unwrap();
    assert_eq!(reason(&refused), Reason::Unauthenticated);
}

#[tokio::test]
async fn the_times_of_a_session_have_limits() {
    let node = Node::start().await;
    let of = |ttl: Duration, grace: Duration| proto::OpenSession {
        ttl: Some(ttl.into()),
        grace: Some(grace.into()),
        ..Default::default()
    };
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(3600));
    let tick = Duration::from_millis(1);
    for (ttl, grace) in [
        (least - tick, least),
        (most + tick, least),
        (least, least - tick),
        (least, most + tick),
    ] {
        let mut talk = talk(&node).await;
        let refused = talk.open(of(ttl, grace)).await.unwrap_err();
        assert_eq!(
            reason(&refused),
            Reason::InvalidSession,
            "{ttl:?} {grace:?}"
        );
    }
    let mut talk = talk(&node).await;
    let opened = talk.open(of(least, most)).await.unwrap();
    assert_eq!(opened.grace, Some(most.into()));
    let mut attach = super::session::talk(&node).await;
    let changed = proto::OpenSession {
        session: opened.session,
        ..of(least, most)
    };
    let refused = attach.open(changed).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::InvalidSession);
}

#[tokio::test]
async fn a_grant_that_was_taken_away_is_told_unasked() {
    let node = Node::start().await;
    let mut talk = talk(&node).await;
    talk.open(new()).await.unwrap();
    let grant = acquire(&mut talk, "a").await;
    let force = proto::ForceReleaseRequest {
        name: "a".into(),
        reason: "a test".into(),
    };
    node.grpc().await.force_release(force).await.unwrap();
    let lost = Answer::Lost(proto::LostGrant {
        fencing_token: grant.fencing_token,
        names: vec!["a".into()],
    });
    assert_eq!(talk.next().await.unwrap(), Some((0, lost)));
}

#[tokio::test]
async fn waits_do_not_hold_up_what_comes_after_them() {
    let node = Node::start().await;
    let mut other = node.grpc().await;
    let held = granted(of_grpc(other.acquire(one("held")).await));
    let mut talk = talk(&node).await;
    talk.open(new()).await.unwrap();
    let waits: Vec<u64> = (0..100)
        .map(|owner| talk.send(waiting_as("held", owner)))
        .collect();
    let free = talk.send(Operation::Acquire(one("free")));
    talk.answer(free).await.unwrap();
    assert_eq!(node.store.statistics().waiting, 100);
    other.release(release(&held.id)).await.unwrap();
    let mut last = held.fencing_token;
    for wait in waits {
        let Answer::Acquire(answer) = talk.answer(wait).await.unwrap() else {
            panic!("another answer");
        };
        let grant = answer.grant.unwrap();
        assert!(grant.fencing_token > last);
        last = grant.fencing_token;
        talk.send(Operation::Release(release(&grant.id)));
    }
}

#[tokio::test]
async fn a_stream_begins_with_open_and_its_ids_are_its_own() {
    let node = Node::start().await;
    let invalid = Reason::InvalidRequest;
    let mut first = talk(&node).await;
    first.send(Operation::Beat(proto::Beat {}));
    assert_eq!(end(&mut first).await, invalid);
    let mut first = talk(&node).await;
    first.send_as(0, Some(Operation::Open(new())));
    assert_eq!(end(&mut first).await, invalid);

    let mut twice = talk(&node).await;
    twice.open(new()).await.unwrap();
    let id = twice.send(Operation::Open(new()));
    assert_eq!(twice.answer(id).await, Err(invalid));
    twice.send_as(50, None);
    assert_eq!(twice.answer(50).await, Err(invalid));
    acquire(&mut twice, "a").await;
    twice.send_as(60, Some(waiting_as("a", 1)));
    twice.send_as(60, Some(Operation::Beat(proto::Beat {})));
    assert_eq!(end(&mut twice).await, invalid);
    // What waited is given up, and the session is left for its grace.
    let statistics = node.store.statistics();
    assert_eq!((statistics.waiting, statistics.sessions), (0, 1));
}

#[tokio::test]
async fn a_stream_takes_so_many_waits_and_hears_beats_beyond_them() {
    let mut setup = Setup::default();
    setup.options.limits.session_waits = 2;
    let node = Node::with(setup).await;
    let mut talk = talk(&node).await;
    talk.open(new()).await.unwrap();
    let grant = acquire(&mut talk, "a").await;
    let waits = [1, 2].map(|owner| talk.send(waiting_as("a", owner)));
    let beyond = talk.send(waiting_as("a", 3));
    assert_eq!(talk.answer(beyond).await, Err(Reason::Quota));
    let beyond = talk.send(Operation::Watch(Default::default()));
    assert_eq!(talk.answer(beyond).await, Err(Reason::Quota));
    let beat = talk.send(Operation::Beat(proto::Beat {}));
    talk.answer(beat).await.unwrap();
    talk.send(Operation::Release(release(&grant.id)));
    talk.answer(waits[0]).await.unwrap();
    let within = talk.send(waiting_as("a", 4));
    eventually("it waits", || node.store.statistics().waiting == 2).await;
    assert_ne!(within, waits[1]);
}

#[tokio::test]
async fn sessions_outlive_a_restart_of_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::in_directory(directory.path(), Setup::default()).await;
    let mut before = talk(&node).await;
    let opened = before.open(new()).await.unwrap();
    let grant = acquire(&mut before, "a").await;
    node.stop().await;
    drop(before);

    let node = Node::in_directory(directory.path(), Setup::default()).await;
    assert_eq!(holding(&node, "a").await, 1);
    let mut after = talk(&node).await;
    after.open(again(&opened)).await.unwrap();
    let id = after.send(Operation::Renew(proto::RenewRequest {
        grant: grant.id.clone(),
        ..Default::default()
    }));
    let Answer::Renew(renewed) = after.answer(id).await.unwrap() else {
        panic!("another answer");
    };
    assert_eq!(renewed.grant.unwrap().fencing_token, grant.fencing_token);
    node.stop().await;
}

#[tokio::test]
async fn many_requests_at_once_are_all_answered() {
    for directory in [None, Some(tempfile::tempdir().unwrap())] {
        let mut setup = Setup::default();
        // So few that the stream is not read on from time to time.
        setup.options.limits.session_in_flight = 3;
        let node = match &directory {
            None => Node::with(setup).await,
            Some(directory) => Node::in_directory(directory.path(), setup).await,
        };
        let mut talk = talk(&node).await;
        talk.open(new()).await.unwrap();
        let ids: Vec<u64> = (0..500)
            .map(|it| talk.send(Operation::Acquire(one(&it.to_string()))))
            .collect();
        for id in ids {
            talk.answer(id).await.unwrap();
        }
        assert_eq!(node.store.statistics().held, 500);
        node.stop().await;
    }
}

#[tokio::test]
async fn an_open_that_is_asked_again_finds_the_session_it_has_opened() {
    let node = Node::start().await;
    let once = proto::OpenSession {
        request_id: "at random".into(),
        ..new()
    };
    let mut first = talk(&node).await;
    // Its answer may have been lost.
    let opened = first.open(once.clone()).await.unwrap();
    let grant = acquire(&mut first, "a").await;
    let mut second = talk(&node).await;
    let again = second.open(once.clone()).await.unwrap();
    assert_eq!(again.session, opened.session);
    assert_eq!(again.fencing_tokens, [grant.fencing_token]);
    assert_eq!(end(&mut first).await, Reason::Elsewhere);
    assert_eq!(node.store.statistics().sessions, 1);

    // Another id is another session, and so is the same one after the end.
    let another = proto::OpenSession {
        request_id: "another".into(),
        ..once.clone()
    };
    let other = talk(&node).await.open(another).await.unwrap();
    assert_ne!(other.session, opened.session);
    let close = second.send(Operation::Close(proto::CloseSession {}));
    second.answer(close).await.unwrap();
    let anew = talk(&node).await.open(once.clone()).await.unwrap();
    assert!(anew.fencing_tokens.is_empty());

    // What is wrong with it is said as ever.
    let wrong = proto::OpenSession {
        request_id: "wrong".into(),
        ttl: Some(Duration::ZERO.into()),
        ..once.clone()
    };
    let refused = talk(&node).await.open(wrong).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::InvalidSession);
    for (session, request_id) in [
        (anew.session.clone(), "x".into()),
        (String::new(), "x".repeat(257)),
    ] {
        let wrong = proto::OpenSession {
            session,
            request_id,
            ..Default::default()
        };
        let refused = talk(&node).await.open(wrong).await.unwrap_err();
        assert_eq!(reason(&refused), Reason::InvalidRequestId);
    }
}
