//! What may be asked for: fields, names, modes, pages.

use super::caller::{Caller, Via, WAYS, granted, one};
use super::node::{ALICE, CAROL, Node, Setup, tokens};
use super::outcomes::{secs, two};
use lockport_proto::lock as proto;
use lockport_proto::{Duration as ProtoDuration, Reason};
use std::time::Duration;

#[tokio::test]
async fn limits_are_quotas() {
    for via in WAYS {
        let mut setup = Setup::default();
        setup.limits.locks_per_principal = 1;
        let node = Node::with(setup).await;
        let mut me = Caller::new(&node, via, None).await;
        granted(me.acquire(one("a")).await);
        assert_eq!(me.acquire(one("b")).await, Err(Reason::Quota), "{via:?}");
    }
}

/// A request for `a` with one thing changed.
fn odd(change: fn(&mut proto::AcquireRequest)) -> proto::AcquireRequest {
    let mut request = one("a");
    change(&mut request);
    request
}

/// Requests for locks with something wrong, and what that is called.
fn not_allowed() -> Vec<(proto::AcquireRequest, Reason)> {
    const NEGATIVE: Option<ProtoDuration> = Some(ProtoDuration {
        seconds: -1,
        nanos: 0,
    });
    fn long() -> String {
        "x".repeat(257)
    }
    fn ms(count: u64) -> Option<ProtoDuration> {
        Some(Duration::from_millis(count).into())
    }
    vec![
        (odd(|it| it.names.clear()), Reason::InvalidName),
        (odd(|it| it.names[0] = String::new()), Reason::InvalidName),
        (odd(|it| it.names[0] = "x".repeat(513)), Reason::InvalidName),
        (odd(|it| it.names[0] = "a\0b".into()), Reason::InvalidName),
        (
            odd(|it| it.names = (0..65).map(|it| it.to_string()).collect()),
            Reason::InvalidName,
        ),
        (odd(|it| it.mode = 3), Reason::InvalidPermits),
        (odd(|it| it.permits = 1), Reason::InvalidPermits),
        (odd(|it| it.wait = NEGATIVE), Reason::InvalidWait),
        (odd(|it| it.wait = secs(3601)), Reason::InvalidWait),
        (odd(|it| it.holder = "a\nb".into()), Reason::InvalidHolder),
        (odd(|it| it.holder = long()), Reason::InvalidHolder),
        (odd(|it| it.session = "x".into()), Reason::UnknownSession),
        (odd(|it| it.request_id = long()), Reason::InvalidRequestId),
        (odd(|it| it.owner = long()), Reason::InvalidOwner),
        (odd(|it| it.lease = NEGATIVE), Reason::InvalidLease),
        (odd(|it| it.lease = secs(86_401)), Reason::InvalidLease),
        (odd(|it| it.lease = ms(99)), Reason::InvalidLease),
    ]
}

#[tokio::test]
async fn every_field_of_an_acquire_that_is_not_allowed_is_refused_by_name() {
    for via in WAYS {
        let (_node, mut me, _) = two(via).await;
        for (request, mut reason) in not_allowed() {
            if via == Via::Session && !request.session.is_empty() {
                reason = Reason::InvalidSession;
            }
            let answer = me.acquire(request.clone()).await;
            assert_eq!(answer, Err(reason), "{via:?} {request:?}");
        }
        // Nothing was changed by any of it.
        assert_eq!(me.get("a").await.unwrap().last_fencing_token, 0);
    }
}

#[tokio::test]
async fn what_else_is_not_allowed_is_refused_by_name() {
    let page = |change: fn(&mut proto::ListRequest)| {
        let mut request = proto::ListRequest::default();
        change(&mut request);
        request
    };
    for via in WAYS {
        let (_node, mut me, _) = two(via).await;
        for (request, reason) in [
            (page(|it| it.page_size = 1001), Reason::InvalidPage),
            (page(|it| it.page_token = "a\0".into()), Reason::InvalidPage),
            (page(|it| it.prefix = "x".repeat(513)), Reason::InvalidName),
        ] {
            assert_eq!(me.list(request).await, Err(reason), "{via:?}");
        }
        assert_eq!(me.get("").await, Err(Reason::InvalidName));
        let cancel = proto::CancelRequest::default();
        assert_eq!(me.cancel(cancel).await, Err(Reason::InvalidRequestId));
    }
}

#[tokio::test]
async fn readers_share_a_lock_and_permits_are_counted() {
    for via in WAYS {
        let (_node, mut me, mut other) = two(via).await;
        let mode = |name: &str, mode: proto::Mode, permits| proto::AcquireRequest {
            mode: mode.into(),
            permits,
            ..one(name)
        };
        let shared = || mode("a", proto::Mode::Shared, 0);
        granted(other.acquire(shared()).await);
        assert_eq!(
            granted(me.acquire(shared()).await).mode(),
            proto::Mode::Shared
        );
        assert_eq!(other.acquire(one("a")).await, Err(Reason::Held), "{via:?}");
        assert_eq!(me.get("a").await.unwrap().holder_count, 2);

        let permits = |permits| mode("b", proto::Mode::Permits, permits);
        granted(other.acquire(permits(2)).await);
        assert_eq!(me.acquire(permits(3)).await, Err(Reason::InvalidPermits));
        granted(me.acquire(permits(2)).await);
        assert_eq!(other.acquire(permits(2)).await, Err(Reason::Held));
        let lock = me.get("b").await.unwrap();
        assert_eq!((lock.mode(), lock.permits), (proto::Mode::Permits, 2));
    }
}

#[tokio::test]
async fn names_mean_only_themselves_and_pages_are_in_order() {
    let odd = [
        "../etc",
        "a b",
        "a%2Fb",
        "a+b",
        "a/",
        "a//b",
        "a/b",
        "a?b=c&d",
        "{a}",
        "\u{fc}\u{1f512}",
        "*",
        "**",
        "%",
        "#",
    ];
    for via in WAYS {
        let (_node, mut me, mut other) = two(via).await;
        for name in odd {
            granted(other.acquire(one(name)).await);
        }
        for name in odd {
            let lock = me.get(name).await.unwrap();
            assert_eq!(
                (lock.name.as_str(), lock.holder_count),
                (name, 1),
                "{via:?}"
            );
        }
        let mut expected = odd.to_vec();
        expected.sort_unstable();
        let mut listed = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = proto::ListRequest {
                page_size: 3,
                page_token,
                ..Default::default()
            };
            let page = me.list(request).await.unwrap();
            listed.extend(page.locks.into_iter().map(|it| it.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(listed, expected, "{via:?}");
        let request = proto::ListRequest {
            prefix: "a/".into(),
            ..Default::default()
        };
        assert_eq!(me.list(request).await.unwrap().locks.len(), 3);
    }
}

#[tokio::test]
async fn a_page_ends_before_its_message_is_too_large() {
    let node = Node::start().await;
    let mut me = Caller::new(&node, Via::Grpc, None).await;
    let names: Vec<String> = (0..40).map(|it| format!("{it:02}")).collect();
    for owner in 0..100 {
        let request = proto::AcquireRequest {
            names: names.clone(),
            mode: proto::Mode::Shared.into(),
            holder: "x".repeat(256),
            owner: format!("{owner:0256}"),
            ..Default::default()
        };
        granted(me.acquire(request).await);
    }
    let mut listed = Vec::new();
    let mut request = proto::ListRequest::default();
    loop {
        let page = me.list(request.clone()).await.unwrap();
        assert!(page.locks.len() < names.len());
        listed.extend(page.locks.into_iter().map(|it| it.name));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, names);
}

#[tokio::test]
async fn pages_are_of_what_may_be_seen_and_their_tokens_tell_of_nothing_else() {
    for via in WAYS {
        let mut setup = Setup::default();
        setup.options.access = tokens();
        let node = Node::with(setup).await;
        let mut alice = Caller::new(&node, Via::Grpc, Some(ALICE)).await;
        for name in ["a/open", "a/shut", "b", "b/open/c", "c/open", "d/shut"] {
            granted(alice.acquire(one(name)).await);
        }
        let mut carol = Caller::new(&node, via, Some(CAROL)).await;
        let page = |page_token: &str| proto::ListRequest {
            page_size: 1,
            page_token: page_token.into(),
            ..Default::default()
        };
        let first = carol.list(page("")).await.unwrap();
        assert_eq!(first.locks[0].name, "a/open", "{via:?}");
        assert_eq!(first.next_page_token, "a/open", "{via:?}");
        let last = carol.list(page("a/open")).await.unwrap();
        assert_eq!(last.locks[0].name, "c/open", "{via:?}");
        assert_eq!(last.next_page_token, "", "{via:?}");
    }
}
