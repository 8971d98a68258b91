//! Every outcome of every operation, in every way it can be asked.

use super::caller::{Caller, Via, WAYS, granted, one, release, waiting};
use super::node::{ALICE, BOB, CAROL, Node, Setup, eventually, soon, tokens};
use lockport_proto::lock as proto;
use lockport_proto::{Duration as ProtoDuration, Reason};
use std::time::Duration;

/// Two clients of one node: one that asks in the way to be tried, and another
/// that stands in its way.
pub(super) async fn two(via: Via) -> (Node, Caller, Caller) {
    let node = Node::start().await;
    let one = Caller::new(&node, via, None).await;
    let other = Caller::new(&node, Via::Grpc, None).await;
    (node, one, other)
}

pub(super) fn secs(seconds: u64) -> Option<ProtoDuration> {
    Some(Duration::from_secs(seconds).into())
}

#[tokio::test]
async fn a_grant_is_acquired_renewed_and_released_and_its_end_is_remembered() {
    for via in WAYS {
        let (node, mut one, _) = two(via).await;
        let asked = proto::AcquireRequest {
            names: vec!["b".into(), "a".into(), "b".into()],
            holder: "a test".into(),
            ..Default::default()
        };
        let grant = granted(one.acquire(asked).await);
        assert_eq!(grant.names, ["b", "a"], "{via:?}");
        assert_eq!(grant.mode(), proto::Mode::Exclusive);
        assert_eq!(grant.holder, "a test");
        assert_eq!(grant.acquire_time.unwrap().seconds, 1_735_689_601);
        assert!(grant.fencing_token > 0);
        if via != Via::Session {
            assert_eq!(grant.remaining, secs(30));
        }

        node.clock.advance(Duration::from_secs(10));
        let again = proto::RenewRequest {
            grant: grant.id.clone(),
            ..Default::default()
        };
        let renewed = one.renew(again.clone()).await.unwrap().grant.unwrap();
        assert_eq!(renewed.id, grant.id);
        assert_eq!(renewed.fencing_token, grant.fencing_token);
        let left = if via == Via::Session {
            secs(20)
        } else {
            secs(30)
        };
        assert_eq!(renewed.remaining, left, "{via:?}");

        use proto::release_response::Outcome;
        let released = one.release(release(&grant.id)).await.unwrap();
        assert_eq!(released.outcome(), Outcome::Released);
        let released = one.release(release(&grant.id)).await.unwrap();
        assert_eq!(released.outcome(), Outcome::Already);
        assert_eq!(one.renew(again).await, Err(Reason::Lost));
    }
}

#[tokio::test]
async fn a_lock_that_is_held_is_refused_and_waited_for() {
    for via in WAYS {
        let (node, mut me, mut other) = two(via).await;
        let grant = granted(other.acquire(one("a")).await);
        assert_eq!(me.acquire(one("a")).await, Err(Reason::Held), "{via:?}");

        let wait = tokio::spawn(async move { (me.acquire(waiting("a")).await, me) });
        eventually("it waits", || node.store.statistics().waiting == 1).await;
        node.clock.advance(Duration::from_secs(7));
        other.release(release(&grant.id)).await.unwrap();
        let (answer, mut me) = soon(wait).await.unwrap();
        let answer = answer.unwrap();
        assert_eq!(answer.waited, secs(7), "{via:?}");
        assert!(answer.grant.unwrap().fencing_token > grant.fencing_token);

        assert_eq!(other.acquire(one("a")).await, Err(Reason::Held));
        let wait = tokio::spawn(async move { other.acquire(waiting("a")).await });
        eventually("it waits", || node.store.statistics().waiting == 1).await;
        // A session would end if its client were silent for as long.
        if via != Via::Session {
            let asked = proto::AcquireRequest {
                wait: secs(5),
                ..one("a")
            };
            let second = tokio::spawn(async move { me.acquire(asked).await });
            eventually("both wait", || node.store.statistics().waiting == 2).await;
            node.clock.advance(Duration::from_secs(5));
            let answer = soon(second).await.unwrap();
            assert_eq!(answer, Err(Reason::TimedOut), "{via:?}");
        }
        wait.abort();
    }
}

#[tokio::test]
async fn a_wait_that_runs_out_is_timed_out() {
    for via in WAYS {
        let (node, mut me, mut other) = two(via).await;
        granted(other.acquire(one("a")).await);
        let asked = proto::AcquireRequest {
            wait: secs(5),
            ..one("a")
        };
        let wait = tokio::spawn(async move { me.acquire(asked).await });
        eventually("it waits", || node.store.statistics().waiting == 1).await;
        node.clock.advance(Duration::from_secs(5));
        let answer = soon(wait).await.unwrap();
        assert_eq!(answer, Err(Reason::TimedOut), "{via:?}");
    }
}

#[tokio::test]
async fn a_circle_of_waits_is_a_deadlock_and_says_who_waits() {
    for via in WAYS {
        let (node, mut me, mut other) = two(via).await;
        let owned = |name: &str, owner: &str| proto::AcquireRequest {
            owner: owner.into(),
            ..waiting(name)
        };
        granted(me.acquire(owned("a", "me")).await);
        granted(other.acquire(owned("b", "you")).await);
        let wait = tokio::spawn(async move { other.acquire(owned("a", "you")).await });
        eventually("it waits", || node.store.statistics().waiting == 1).await;
        let answer = me.acquire(owned("b", "me")).await;
        assert_eq!(answer, Err(Reason::Deadlock), "{via:?}");
        wait.abort();
    }
}

#[tokio::test]
async fn a_request_id_makes_a_retry_safe_and_can_be_cancelled() {
    use proto::cancel_response::Outcome;
    for via in WAYS {
        let (_node, mut me, mut other) = two(via).await;
        let asked = |id: &str| proto::AcquireRequest {
            request_id: id.into(),
            ..one("a")
        };
        let cancel = |id: &str| proto::CancelRequest {
            request_id: id.into(),
        };
        let first = granted(me.acquire(asked("1")).await);
        let again = granted(me.acquire(asked("1")).await);
        assert_eq!(first.id, again.id, "{via:?}");
        assert_eq!(first.fencing_token, again.fencing_token);

        let another = proto::AcquireRequest {
            names: vec!["b".into()],
            ..asked("1")
        };
        assert_eq!(me.acquire(another).await, Err(Reason::InvalidRequestId));

        let outcome = me.cancel(cancel("1")).await.unwrap().outcome();
        assert_eq!(outcome, Outcome::Granted);
        assert_eq!(me.acquire(asked("1")).await, Err(Reason::Lost), "{via:?}");
        granted(other.acquire(one("a")).await);

        let outcome = me.cancel(cancel("2")).await.unwrap().outcome();
        assert_eq!(outcome, Outcome::Cancelled);
        assert_eq!(me.acquire(asked("2")).await, Err(Reason::Cancelled));
    }
}

#[tokio::test]
async fn a_grant_that_ran_out_is_lost_and_one_that_never_was_is_unknown() {
    for via in WAYS {
        let (node, mut me, mut other) = two(via).await;
        let asked = proto::AcquireRequest {
            lease: secs(1),
            ..one("a")
        };
        let grant = granted(other.acquire(asked).await);
        node.clock.advance(Duration::from_secs(1));
        let renew = |grant: &str| proto::RenewRequest {
            grant: grant.into(),
            ..Default::default()
        };
        assert_eq!(
            me.renew(renew(&grant.id)).await,
            Err(Reason::Lost),
            "{via:?}"
        );
        let made_up = "0".repeat(grant.id.len());
        for unknown in [&made_up, "x", &grant.id[1..], &grant.id.to_uppercase()] {
            let renewed = me.renew(renew(unknown)).await;
            assert_eq!(renewed, Err(Reason::UnknownGrant), "{via:?} {unknown}");
            let released = me.release(release(unknown)).await;
            assert_eq!(released, Err(Reason::UnknownGrant), "{via:?} {unknown}");
        }
        assert_eq!(me.renew(renew("")).await, Err(Reason::InvalidGrant));
        assert_eq!(me.release(release("")).await, Err(Reason::InvalidGrant));
    }
}

#[tokio::test]
async fn strangers_neither_renew_nor_release_nor_force_nor_see() {
    for via in WAYS {
        let mut setup = Setup::default();
        setup.options.access = tokens();
        let node = Node::with(setup).await;
        let mut alice = Caller::new(&node, Via::Grpc, Some(ALICE)).await;
        let mut bob = Caller::new(&node, via, Some(BOB)).await;
        let grant = granted(alice.acquire(one("shared/a")).await);
        granted(alice.acquire(one("private/a")).await);

        let renewed = bob.renew(proto::RenewRequest {
            grant: grant.id.clone(),
            ..Default::default()
        });
        assert_eq!(renewed.await, Err(Reason::NotHolder), "{via:?}");
        let released = bob.release(release(&grant.id)).await;
        assert_eq!(released, Err(Reason::NotHolder), "{via:?}");
        let denied = Err(Reason::AccessDenied);
        let forced = bob.force_release(proto::ForceReleaseRequest {
            name: "shared/a".into(),
            reason: "because".into(),
        });
        assert_eq!(forced.await, Err(Reason::AccessDenied), "{via:?}");
        assert_eq!(
            bob.acquire(one("private/b")).await,
            Err(Reason::AccessDenied)
        );
        assert_eq!(bob.get("private/a").await, Err(Reason::AccessDenied));
        let both = proto::AcquireRequest {
            names: vec!["shared/b".into(), "private/b".into()],
            ..Default::default()
        };
        assert_eq!(bob.acquire(both).await, denied);

        let seen = bob.list(proto::ListRequest::default()).await.unwrap().locks;
        let seen: Vec<_> = seen.into_iter().map(|it| it.name).collect();
        assert_eq!(seen, ["shared/a"], "{via:?}");
        assert_eq!(bob.get("shared/a").await.unwrap().holder_count, 1);
    }
}

#[tokio::test]
async fn an_operator_takes_nothing_away_that_reaches_beyond_its_patterns() {
    for via in WAYS {
        let mut setup = Setup::default();
        setup.options.access = tokens();
        let node = Node::with(setup).await;
        let mut alice = Caller::new(&node, Via::Grpc, Some(ALICE)).await;
        let mut carol = Caller::new(&node, via, Some(CAROL)).await;
        let both = proto::AcquireRequest {
            names: vec!["a/open".into(), "a/shut".into()],
            ..Default::default()
        };
        let grant = granted(alice.acquire(both).await);
        granted(alice.acquire(one("b/open")).await);
        let force = |name: &str| proto::ForceReleaseRequest {
            name: name.into(),
            reason: "it hangs".into(),
        };
        let refused = carol.force_release(force("a/open")).await;
        assert_eq!(refused, Err(Reason::AccessDenied), "{via:?}");
        assert_eq!(alice.get("a/open").await.unwrap().holder_count, 1);
        let taken = carol.force_release(force("b/open")).await.unwrap().taken;
        assert_eq!(taken[0].names, ["b/open"]);
        // Who may touch all of them may take them.
        let taken = alice.force_release(force("a/open")).await.unwrap().taken;
        assert_eq!(taken[0].fencing_token, grant.fencing_token);
    }
}

#[tokio::test]
async fn an_operator_takes_a_lock_away() {
    for via in WAYS {
        let (_node, mut me, mut other) = two(via).await;
        let asked = proto::AcquireRequest {
            names: vec!["a".into(), "b".into()],
            holder: "another".into(),
            ..Default::default()
        };
        let grant = granted(other.acquire(asked).await);
        let force = |name: &str, reason: &str| proto::ForceReleaseRequest {
            name: name.into(),
            reason: reason.into(),
        };
        let taken = me
            .force_release(force("b", "it hangs"))
            .await
            .unwrap()
            .taken;
        assert_eq!(taken.len(), 1, "{via:?}");
        assert_eq!(taken[0].names, ["a", "b"]);
        assert_eq!(taken[0].fencing_token, grant.fencing_token);
        assert_eq!(taken[0].holder, "another");
        assert_eq!(taken[0].principal, "anonymous");
        let taken = me
            .force_release(force("b", "it hangs"))
            .await
            .unwrap()
            .taken;
        assert_eq!(taken, []);
        let refused = me.force_release(force("b", "")).await;
        assert_eq!(refused, Err(Reason::InvalidReason));
        let refused = me.force_release(force("b", &"x".repeat(257))).await;
        assert_eq!(refused, Err(Reason::InvalidReason));
        assert_eq!(me.get("a").await.unwrap().holder_count, 0);
    }
}
