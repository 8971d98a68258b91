//! Answers that get lost: what is asked again has one effect (adversarial.md
//! L7, L8).

use crate::guards::through;
use crate::proxy::{Proxy, Way};
use crate::server::{Server, eventually, soon, until_awaited, until_free};
use lockport_client::Released;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn l7_an_acquire_whose_answer_got_lost_has_one_grant() {
    let server = Server::start().await;
    let direct = server.client().await;
    let proxy = Proxy::to(server.address).await;
    let client = through(&proxy).await;
    // The proxy knows of the connection from now on.
    client.get("a").await.unwrap();
    proxy.swallow(Way::ToClient);
    let guard = soon(client.acquire(["a"])).await.unwrap();
    assert!(proxy.swallowed() > 0, "an answer got lost");
    assert!(server.count("acquire") > 1, "it was asked again");
    let lock = direct.get("a").await.unwrap();
    assert_eq!((lock.holder_count, lock.waiter_count), (1, 0));
    assert_eq!(lock.last_fencing_token, guard.token());
    drop(guard);
    until_free(&direct, "a").await;
}

#[tokio::test]
async fn l8_a_release_whose_answer_got_lost_does_not_touch_the_next_holder() {
    let server = Server::start().await;
    let direct = server.client().await;
    let proxy = Proxy::to(server.address).await;
    let client = through(&proxy).await;
    let guard = client.acquire(["a"]).await.unwrap();
    let next = direct.acquire(["a"]).wait(WAIT).into_future();
    let next = tokio::spawn(next);
    until_awaited(&direct, "a").await;
    proxy.swallow_for_good(Way::ToClient);
    let releasing = tokio::spawn(guard.release());
    let next = soon(next).await.unwrap().unwrap();
    eventually("it is asked again", || async {
        server.count("release") > 1
    })
    .await;
    proxy.cut();
    assert_eq!(soon(releasing).await.unwrap().unwrap(), Released::Already);
    assert!(next.is_held());
    let lock = direct.get("a").await.unwrap();
    assert_eq!(lock.last_fencing_token, next.token());
}

#[tokio::test]
async fn a_wait_goes_on_over_another_connection() {
    let server = Server::start().await;
    let direct = server.client().await;
    let proxy = Proxy::to(server.address).await;
    let client = through(&proxy).await;
    let first = direct.acquire(["a"]).await.unwrap();
    let waiting = client.acquire(["a"]).wait(WAIT).into_future();
    let waiting = tokio::spawn(waiting);
    until_awaited(&direct, "a").await;
    proxy.cut();
    eventually("it asks again", || async { server.count("acquire") > 1 }).await;
    until_awaited(&direct, "a").await;
    drop(first);
    let guard = soon(waiting).await.unwrap().unwrap();
    assert!(guard.is_held());
    assert_eq!(direct.get("a").await.unwrap().waiter_count, 0);
}

#[tokio::test]
async fn without_an_answer_patience_ends_and_the_outcome_is_unknown() {
    let server = Server::start().await;
    let direct = server.client().await;
    let proxy = Proxy::to(server.address).await;
    let options = lockport_client::Options {
        request_timeout: Duration::from_millis(100),
        patience: Duration::from_millis(500),
        ..lockport_client::Options::server(proxy.address.to_string())
    };
    let client = lockport_client::Client::connect(options).await.unwrap();
    proxy.swallow_for_good(Way::ToClient);
    let error = soon(client.acquire(["a"])).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error:?}");
    assert!(error.to_string().contains("no answer within"), "{error}");
    // What was granted without anybody's knowing is given back.
    proxy.cut();
    until_free(&direct, "a").await;
}

#[tokio::test]
async fn a_server_that_is_slow_keeps_its_connection() {
    const LEASE: Duration = Duration::from_secs(3);
    let server = Server::start().await;
    let client = server.client().await;
    let guard = client.acquire(["a"]).lease(LEASE).await.unwrap();
    let acquired = guard.deadline();
    server.hold(Some("/Renew"));
    eventually("renewals are given up and sent again", || async {
        // Others are answered meanwhile.
        client.get("a").await.unwrap();
        server.held() > 1
    })
    .await;
    server.hold(None);
    eventually("it is renewed", || async {
        tokio::task::yield_now().await;
        guard.deadline() > acquired
    })
    .await;
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn silent_connections_are_given_up_no_faster_than_one_can_come_about() {
    let server = Server::start().await;
    let proxy = Proxy::to(server.address).await;
    let options = lockport_client::Options {
        connect_timeout: Duration::from_secs(60),
        request_timeout: Duration::from_millis(50),
        patience: Duration::from_secs(1),
        ..lockport_client::Options::server(proxy.address.to_string())
    };
    let client = lockport_client::Client::connect(options).await.unwrap();
    proxy.swallow_for_good(Way::ToClient);
    let error = soon(client.acquire(["a"])).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error:?}");
    assert!(server.count("acquire") > 3, "it was asked again and again");
    assert_eq!(server.connections(), 2, "one, and another in its place");
}

#[tokio::test]
async fn a_lock_is_not_taken_away_twice_when_the_answer_got_lost() {
    let server = Server::start().await;
    let direct = server.client().await;
    let proxy = Proxy::to(server.address).await;
    let client = through(&proxy).await;
    let _guard = direct.acquire(["a"]).await.unwrap();
    let next = tokio::spawn(direct.acquire(["a"]).wait(WAIT).into_future());
    until_awaited(&direct, "a").await;
    client.get("a").await.unwrap();
    proxy.swallow(Way::ToClient);
    let error = soon(client.force_release("a", "a test")).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error:?}");
    let next = soon(next).await.unwrap().unwrap();
    assert_eq!(server.count("force_release"), 1);
    assert!(next.is_held());
    assert_eq!(direct.get("a").await.unwrap().holder_count, 1);
}

#[tokio::test]
async fn a_request_that_was_named_is_left_to_whoever_named_it_when_its_answer_got_lost() {
    let server = Server::start().await;
    let direct = server.client().await;
    let proxy = Proxy::to(server.address).await;
    let options = lockport_client::Options {
        request_timeout: Duration::from_millis(50),
        patience: Duration::from_millis(200),
        ..lockport_client::Options::server(proxy.address.to_string())
    };
    let client = lockport_client::Client::connect(options).await.unwrap();
    proxy.swallow_for_good(Way::ToClient);
    let named = client.acquire(["a"]).request_id("r");
    let error = soon(named).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error:?}");
    eventually("it is granted", || async {
        direct.get("a").await.unwrap().holder_count == 1
    })
    .await;
    let error = soon(client.acquire(["b"])).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error:?}");
    // One that was not named is given back, and nothing that was before it.
    until_free(&direct, "b").await;
    assert_eq!(direct.get("a").await.unwrap().holder_count, 1);
    let again = direct.acquire(["a"]).request_id("r").unguarded().await;
    again.unwrap();
}
