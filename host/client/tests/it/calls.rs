//! The operations, each as its method, and how they fail.

use crate::server::{ALICE, Server, eventually, soon, until_awaited, until_free};
use lockport_client::api::Mode;
use lockport_client::{Cancelled, Client, Options, Reason, Released};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_lock_is_acquired_looked_at_and_released() {
    let server = Server::start().await;
    let client = server.client().await;
    let guard = client.acquire(["a", "b"]).holder("me").await.unwrap();
    assert_eq!(guard.names(), ["a", "b"]);
    assert!(guard.is_held() && guard.token() > 0 && !guard.id().is_empty());

    let lock = client.get("a").await.unwrap();
    assert_eq!(lock.mode(), Mode::Exclusive);
    assert_eq!(lock.holders[0].holder, "me");
    assert_eq!(lock.last_fencing_token, guard.token());
    let page = client.list("", "").await.unwrap();
    let names: Vec<_> = page.locks.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);

    let id = guard.id().to_owned();
    assert_eq!(guard.release().await.unwrap(), Released::Released);
    assert_eq!(client.release(&id).await.unwrap(), Released::Already);
    until_free(&client, "a").await;
}

#[tokio::test]
async fn what_is_not_obtained_says_why() {
    let server = Server::start().await;
    let client = server.client().await;
    let guard = client.acquire(["a"]).await.unwrap();

    let held = client.acquire(["a"]).await.unwrap_err();
    assert!(held.is_held() && held.is_contention(), "{held:?}");
    let short = Duration::from_millis(50);
    let timed_out = soon(client.acquire(["a"]).wait(short)).await.unwrap_err();
    assert!(timed_out.is_timed_out() && timed_out.is_contention());
    let invalid = client.acquire([""]).await.unwrap_err();
    assert_eq!(invalid.reason, Some(Reason::InvalidName));
    let unknown = client.renew("nonsense", None).await.unwrap_err();
    assert_eq!(unknown.reason, Some(Reason::UnknownGrant));
    assert!(unknown.is_lost());
    for error in [held, timed_out, invalid, unknown] {
        assert!(!error.outcome_unknown() && !error.message.is_empty());
    }
    assert!(guard.is_held());
}

#[tokio::test]
async fn of_two_that_wait_for_each_other_one_hears_of_the_deadlock() {
    let server = Server::start().await;
    let client = server.client().await;
    let _a = client.acquire(["a"]).owner("first").await.unwrap();
    let _b = client.acquire(["b"]).owner("second").await.unwrap();
    let first = client.acquire(["b"]).owner("first").wait(WAIT);
    let first = tokio::spawn(first.into_future());
    until_awaited(&client, "b").await;
    let second = soon(client.acquire(["a"]).owner("second").wait(WAIT)).await;
    assert!(second.unwrap_err().is_deadlock());
    assert!(!first.is_finished());
    first.abort();
}

#[tokio::test]
async fn locks_are_shared_and_have_permits() {
    let server = Server::start().await;
    let client = server.client().await;
    let _readers = [
        client.acquire(["a"]).shared().await.unwrap(),
        client.acquire(["a"]).shared().await.unwrap(),
    ];
    assert!(client.acquire(["a"]).await.unwrap_err().is_held());
    let _permits = [
        client.acquire(["b"]).permits(2).await.unwrap(),
        client.acquire(["b"]).permits(2).await.unwrap(),
    ];
    let third = client.acquire(["b"]).permits(2).await;
    assert!(third.unwrap_err().is_held());
}

#[tokio::test]
async fn a_request_is_cancelled_by_its_id() {
    let server = Server::start().await;
    let client = server.client().await;
    let _guard = client.acquire(["a"]).await.unwrap();
    let waiting = client.acquire(["a"]).wait(WAIT).request_id("r");
    let waiting = tokio::spawn(waiting.into_future());
    until_awaited(&client, "a").await;
    assert_eq!(client.cancel("r").await.unwrap(), Cancelled::Cancelled);
    let error = soon(waiting).await.unwrap().unwrap_err();
    assert_eq!(error.reason, Some(Reason::Cancelled));

    let granted = client.acquire(["b"]).request_id("s").unguarded().await;
    granted.unwrap();
    assert_eq!(client.cancel("s").await.unwrap(), Cancelled::Granted);
    until_free(&client, "b").await;
}

#[tokio::test]
async fn the_same_request_id_gets_the_same_grant_a_hundred_times() {
    let server = Server::start().await;
    let client = server.client().await;
    let ask = || client.acquire(["a"]).request_id("r").unguarded();
    let first = ask().await.unwrap().grant.unwrap();
    for _ in 0..100 {
        let again = ask().await.unwrap().grant.unwrap();
        assert_eq!(again.id, first.id);
        assert_eq!(again.fencing_token, first.fencing_token);
    }
    assert_eq!(client.get("a").await.unwrap().holder_count, 1);
}

#[tokio::test]
async fn a_future_that_is_dropped_gives_up_its_wait() {
    let server = Server::start().await;
    let client = server.client().await;
    let guard = client.acquire(["a"]).await.unwrap();
    let waiting = client.acquire(["a"]).wait(WAIT);
    let waiting = tokio::spawn(waiting.into_future());
    until_awaited(&client, "a").await;
    waiting.abort();
    eventually("nobody waits", || async {
        client.get("a").await.unwrap().waiter_count == 0
    })
    .await;
    eventually("the request is cancelled", || async {
        server.count("cancel") == 1
    })
    .await;
    assert!(guard.is_held());
}

#[tokio::test]
async fn a_lock_is_taken_away_and_its_holder_told() {
    let server = Server::start().await;
    let client = server.client().await;
    let lease = Duration::from_secs(3);
    let guard = client.acquire(["a", "b"]).lease(lease).await.unwrap();
    let taken = client.force_release("a", "a test").await.unwrap();
    assert_eq!(taken[0].fencing_token, guard.token());
    assert_eq!(taken[0].names, ["a", "b"]);
    assert_eq!(soon(guard.lost()).await, lockport_client::Lost::Taken);
    assert!(!guard.is_held());
    assert_eq!(client.force_release("a", "again").await.unwrap(), []);
}

#[tokio::test]
async fn a_list_has_pages_as_long_as_they_may_be() {
    let server = Server::start().await;
    let client = server.client().await;
    for at in 0..21 {
        let names = (0..50).map(|it| format!("p/{at}/{it}"));
        client.acquire(names).unguarded().await.unwrap();
    }
    let first = client.list("p/", "").await.unwrap();
    assert_eq!(first.locks.len(), 1_000);
    let second = client.list("p/", &first.next_page_token).await.unwrap();
    assert_eq!(second.locks.len(), 50);
    assert_eq!(second.next_page_token, "");
}

#[tokio::test]
async fn a_token_opens_what_it_permits() {
    let server = Server::with_token().await;
    let with = |token: Option<&str>| {
        Client::connect(Options {
            token: token.map(str::to_owned),
            ..server.options()
        })
    };
    for wrong in [None, Some("wrong")] {
        let error = with(wrong)
            .await
            .unwrap()
            .get("shared/a")
            .await
            .unwrap_err();
        assert_eq!(error.reason, Some(Reason::Unauthenticated));
        assert!(!error.outcome_unknown());
    }
    let alice = with(Some(ALICE)).await.unwrap();
    let guard = alice.acquire(["shared/a"]).await.unwrap();
    let denied = alice.acquire(["other"]).await.unwrap_err();
    assert_eq!(denied.reason, Some(Reason::AccessDenied));
    guard.release().await.unwrap();
    assert!(with(Some("no\nheader")).await.is_err());
}

#[tokio::test]
async fn nobody_there_is_said_at_once_with_its_cause() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let connecting = Client::connect(Options::server(address.to_string()));
    let error = soon(connecting).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error:?}");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    let cause = std::error::Error::source(&error).unwrap();
    assert!(cause.to_string().contains("refused"), "{cause}");
    assert!(cause.source().is_none(), "it is said once");
}
