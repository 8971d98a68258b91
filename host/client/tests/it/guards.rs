//! Guards: renewed, released, and lost in time.

use crate::proxy::{Proxy, Way};
use crate::server::{Server, eventually, soon, until_awaited, until_free};
use lockport_client::{Client, Lost, Options};
use std::time::Duration;
use tokio::time::Instant;

const LEASE: Duration = Duration::from_secs(3);
const WAIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_guard_is_held_for_longer_than_its_lease() {
    let server = Server::start().await;
    outlives_its_lease(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_is_held_for_longer_than_its_lease_by_threads_too() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::in_directory(directory.path()).await;
    outlives_its_lease(&server).await;
}

async fn outlives_its_lease(server: &Server) {
    let client = server.client().await;
    let start = Instant::now();
    let guard = client.acquire(["a"]).lease(LEASE).await.unwrap();
    let waiting = client.acquire(["a"]).wait(WAIT).into_future();
    let waiting = tokio::spawn(waiting);
    eventually("it is renewed", || async {
        tokio::task::yield_now().await;
        guard.deadline() > start + LEASE * 2
    })
    .await;
    assert!(guard.is_held() && !waiting.is_finished());
    let token = guard.token();
    drop(guard);
    let next = soon(waiting).await.unwrap().unwrap();
    assert!(next.token() > token);
}

#[tokio::test]
async fn a_guard_that_is_dropped_outside_the_runtime_is_released() {
    let server = Server::start().await;
    let client = server.client().await;
    let guard = client.acquire(["a"]).await.unwrap();
    std::thread::spawn(move || drop(guard)).join().unwrap();
    until_free(&client, "a").await;
}

#[tokio::test]
async fn a_grant_that_was_waited_for_is_renewed_before_it_is_handed_out() {
    let server = Server::start().await;
    let client = server.client().await;
    let first = client.acquire(["a"]).await.unwrap();
    let waiting = client.acquire(["a"]).wait(WAIT).lease(LEASE);
    let waiting = tokio::spawn(waiting.into_future());
    until_awaited(&client, "a").await;
    assert_eq!(server.count("renew"), 0);
    drop(first);
    let guard = soon(waiting).await.unwrap().unwrap();
    assert_eq!(server.count("renew"), 1);
    assert!(guard.is_held());
    drop(guard);

    let at_once = client.acquire(["b"]).wait(WAIT).await.unwrap();
    assert_eq!(server.count("renew"), 1, "nobody waited");
    drop(at_once);
}

#[tokio::test]
async fn a_guard_in_a_silent_network_is_lost_before_another_is_granted() {
    let server = Server::start().await;
    let direct = server.client().await;
    let proxy = Proxy::to(server.address).await;
    let client = through(&proxy).await;
    let guard = client.acquire(["a"]).lease(LEASE).await.unwrap();
    let waiting = tokio::spawn(async move {
        let granted = direct.acquire(["a"]).wait(WAIT).await;
        (granted, Instant::now())
    });
    // No renewal arrives, so the server's lease is the one from the acquire.
    proxy.swallow_for_good(Way::ToServer);
    let lost = soon(guard.lost()).await;
    let lost_at = Instant::now();
    assert_eq!(lost, Lost::Unrenewed);
    assert!(!guard.is_held());
    assert!(lost_at >= guard.deadline(), "not before its time");
    let (granted, granted_at) = soon(waiting).await.unwrap();
    assert!(granted.unwrap().token() > guard.token());
    assert!(lost_at < granted_at, "{:?}", lost_at - granted_at);
}

#[tokio::test]
async fn a_guard_outlives_a_connection_that_has_gone_silent() {
    let server = Server::start().await;
    let proxy = Proxy::to(server.address).await;
    let client = through(&proxy).await;
    let guard = client.acquire(["a"]).lease(LEASE).await.unwrap();
    let start = Instant::now();
    proxy.swallow(Way::ToServer);
    eventually("it is renewed over another connection", || async {
        tokio::task::yield_now().await;
        guard.deadline() > start + LEASE
    })
    .await;
    assert!(proxy.swallowed() > 0);
    assert!(guard.is_held());
}

#[tokio::test]
async fn a_guard_outlives_a_restart_of_the_listener() {
    let mut server = Server::start().await;
    let client = server.client().await;
    let guard = client.acquire(["a"]).lease(LEASE).await.unwrap();
    let start = Instant::now();
    server.restart().await;
    eventually("it is renewed", || async {
        tokio::task::yield_now().await;
        guard.deadline() > start + LEASE
    })
    .await;
    assert_eq!(
        client.get("a").await.unwrap().last_fencing_token,
        guard.token()
    );
}

pub(crate) async fn through(proxy: &Proxy) -> Client {
    let options = Options::server(proxy.address.to_string());
    Client::connect(Options {
        request_timeout: Duration::from_millis(500),
        ..options
    })
    .await
    .unwrap()
}
