//! Sessions: many grants on one life, over streams that break.

use crate::guards::through;
use crate::proxy::{Proxy, Way};
use crate::server::{Server, eventually, soon, until_awaited, until_free, until_waiting};
use lockport_client::{Client, Guard, Lost, Released, Session, SessionOptions};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

const TTL: Duration = Duration::from_secs(3);
const WAIT: Duration = Duration::from_secs(60);

async fn session(client: &Client) -> Session {
    let options = SessionOptions {
        ttl: Some(TTL),
        holder: Some("a test".to_owned()),
        ..SessionOptions::default()
    };
    client.session(options).await.unwrap()
}

/// A session behind a proxy, with a guard on `a`, and a client of its own for
/// looking on.
async fn behind_a_proxy(server: &Server) -> (Proxy, Client, Session, Guard) {
    let proxy = Proxy::to(server.address).await;
    let session = session(&through(&proxy).await).await;
    let guard = session.acquire(["a"]).await.unwrap();
    (proxy, server.client().await, session, guard)
}

#[tokio::test]
async fn grants_live_as_long_as_their_session_beats() {
    let server = Server::start().await;
    let client = server.client().await;
    let start = Instant::now();
    let session = session(&client).await;
    let guard = session.acquire(["a", "b"]).await.unwrap();
    assert_eq!(client.get("a").await.unwrap().holders[0].holder, "a test");
    eventually("it beats", || async {
        tokio::task::yield_now().await;
        guard.deadline() > start + TTL * 2
    })
    .await;
    assert!(guard.is_held());
    assert!(client.acquire(["b"]).await.unwrap_err().is_held());
    assert_eq!(guard.release().await.unwrap(), Released::Released);
    until_free(&client, "a").await;
}

#[tokio::test]
async fn a_session_that_is_closed_frees_everything_at_once() {
    let server = Server::start().await;
    let client = server.client().await;
    let session = session(&client).await;
    let guard = session.acquire(["a"]).await.unwrap();
    session.clone().close().await.unwrap();
    assert_eq!(client.get("a").await.unwrap().holder_count, 0);
    assert_eq!(soon(guard.lost()).await, Lost::Closed);
    assert_eq!(soon(session.lost()).await, Lost::Closed);
    assert!(!guard.is_held());
    let refused = session.acquire(["b"]).await.unwrap_err();
    assert!(refused.is_lost(), "{refused:?}");
    assert_eq!(guard.release().await.unwrap(), Released::Already);
}

#[tokio::test]
async fn a_session_ends_with_the_last_of_it_and_of_its_guards() {
    let server = Server::start().await;
    let client = server.client().await;
    let session = session(&client).await;
    let guard = session.acquire(["a"]).await.unwrap();
    let other = session.acquire(["b"]).await.unwrap();
    drop(session);
    drop(other);
    until_free(&client, "b").await;
    assert!(guard.is_held(), "it keeps the session");
    drop(guard);
    until_free(&client, "a").await;
}

#[tokio::test]
async fn the_loss_of_a_grant_reaches_its_guard_and_no_other() {
    let server = Server::start().await;
    let client = server.client().await;
    let session = session(&client).await;
    let guards = [
        session.acquire(["a"]).await.unwrap(),
        session.acquire(["b"]).await.unwrap(),
    ];
    client.force_release("b", "a test").await.unwrap();
    assert_eq!(soon(guards[1].lost()).await, Lost::Taken);
    assert!(!guards[1].is_held());
    assert!(guards[0].is_held());
}

#[tokio::test]
async fn both_guards_of_a_request_id_are_told_of_its_loss() {
    let server = Server::start().await;
    let client = server.client().await;
    let session = session(&client).await;
    let ask = || session.acquire(["a"]).request_id("r");
    let guards = [ask().await.unwrap(), ask().await.unwrap()];
    assert_eq!(guards[0].id(), guards[1].id());
    client.force_release("a", "a test").await.unwrap();
    for guard in &guards {
        assert_eq!(soon(guard.lost()).await, Lost::Taken);
    }

    let ask = || session.acquire(["b"]).request_id("s");
    let guards = [ask().await.unwrap(), ask().await.unwrap()];
    let [first, second] = guards;
    assert_eq!(first.release().await.unwrap(), Released::Released);
    assert_eq!(
        soon(second.lost()).await,
        Lost::Taken,
        "it was its grant too"
    );
}

#[tokio::test]
async fn a_session_is_attached_again_when_its_stream_breaks() {
    let server = Server::start().await;
    let (proxy, client, session, guard) = behind_a_proxy(&server).await;
    let held = client.acquire(["b"]).await.unwrap();
    let waiting = session.acquire(["b"]).wait(WAIT).into_future();
    let waiting = tokio::spawn(waiting);
    until_awaited(&client, "b").await;
    proxy.cut();
    let other = soon(session.acquire(["c"])).await.unwrap();
    assert!(guard.is_held() && other.is_held());
    until_awaited(&client, "b").await;
    drop(held);
    let waited_for = soon(waiting).await.unwrap().unwrap();
    assert!(waited_for.is_held());
    assert_eq!(client.get("b").await.unwrap().holder_count, 1);
    soon(session.close()).await.unwrap();
    until_free(&client, "a").await;
}

#[tokio::test]
async fn a_session_whose_answer_got_lost_is_opened_once() {
    let server = Server::start().await;
    let proxy = Proxy::to(server.address).await;
    let client = through(&proxy).await;
    client.get("a").await.unwrap();
    proxy.swallow(Way::ToClient);
    let session = session(&client).await;
    assert!(proxy.swallowed() > 0, "an answer got lost");
    assert!(server.count("open") > 1, "it was asked again");
    assert_eq!(server.sessions(), 1);
    soon(session.close()).await.unwrap();
}

#[tokio::test]
async fn a_session_leaves_a_connection_that_has_gone_silent() {
    let server = Server::start().await;
    let (proxy, client, session, guard) = behind_a_proxy(&server).await;
    let start = Instant::now();
    proxy.swallow(Way::ToClient);
    eventually("it beats over another", || async {
        tokio::task::yield_now().await;
        session.deadline() > start + TTL
    })
    .await;
    assert!(guard.is_held());
    let token = client.get("a").await.unwrap().last_fencing_token;
    assert_eq!(token, guard.token());
}

#[tokio::test]
async fn a_loss_that_nobody_listened_to_is_noticed() {
    let server = Server::start().await;
    let (proxy, client, session, guard) = behind_a_proxy(&server).await;
    let other = session.acquire(["b"]).await.unwrap();
    // The server tells it into a connection that swallows it.
    proxy.swallow(Way::ToClient);
    client.force_release("a", "a test").await.unwrap();
    assert_eq!(soon(guard.lost()).await, Lost::Taken);
    assert!(other.is_held());
    assert!(soon(session.acquire(["a"])).await.is_ok());
}

#[tokio::test]
async fn l4_a_session_in_a_silent_network_is_lost_before_another_is_granted() {
    let server = Server::start().await;
    let (proxy, client, session, guard) = behind_a_proxy(&server).await;
    let waiting = tokio::spawn(async move {
        let granted = client.acquire(["a"]).wait(WAIT).await;
        (granted, Instant::now())
    });
    proxy.swallow_for_good(Way::ToServer);
    let lost = soon(guard.lost()).await;
    let lost_at = Instant::now();
    assert_eq!(lost, Lost::Unrenewed);
    assert_eq!(soon(session.lost()).await, Lost::Unrenewed);
    let (granted, granted_at) = soon(waiting).await.unwrap();
    assert!(granted.unwrap().token() > guard.token());
    assert!(lost_at < granted_at);
    let refused = soon(session.acquire(["b"])).await.unwrap_err();
    assert!(refused.is_lost(), "{refused:?}");
}

#[tokio::test]
async fn a_session_that_was_forgotten_is_lost_at_once() {
    let server = Server::start().await;
    let proxy = Proxy::to(server.address).await;
    let client = through(&proxy).await;
    let session = session(&client).await;
    let guard = session.acquire(["a"]).await.unwrap();
    // Another server in the same place, which never heard of it.
    drop(server);
    let start = Instant::now();
    let other = Server::start().await;
    proxy.lead_to(other.address);
    assert_eq!(soon(guard.lost()).await, Lost::SessionEnded);
    assert!(Instant::now() < start + TTL, "before its deadline");
    assert_eq!(soon(session.lost()).await, Lost::SessionEnded);
}

#[tokio::test]
async fn a_wait_that_is_dropped_is_given_up() {
    let server = Server::start().await;
    let client = server.client().await;
    let session = session(&client).await;
    let _held = client.acquire(["a"]).await.unwrap();
    let waiting = session.acquire(["a"]).wait(WAIT).into_future();
    let waiting = tokio::spawn(waiting);
    until_awaited(&client, "a").await;
    waiting.abort();
    until_waiting(&client, "a", 0).await;
}

#[tokio::test]
async fn many_operations_are_under_way_at_once() {
    const COUNT: usize = 1_500;
    let server = Server::start().await;
    let client = server.client().await;
    let session = session(&client).await;
    let names: Vec<_> = (0..COUNT).map(|at| format!("w/{at}")).collect();
    let mut held = Vec::new();
    for names in names.chunks(50) {
        held.push(client.acquire(names).await.unwrap());
    }
    let mut waits = JoinSet::new();
    for name in &names {
        waits.spawn(session.acquire([name]).wait(WAIT).into_future());
    }
    until_awaited(&client, &names[COUNT - 1]).await;
    let other = soon(session.acquire(["other"])).await.unwrap();
    assert!(other.is_held(), "waits are in nobody's way");
    drop(held);
    let mut guards = Vec::new();
    while let Some(guard) = soon(waits.join_next()).await {
        guards.push(guard.unwrap().unwrap());
    }
    assert_eq!(guards.len(), COUNT);
    drop(guards);
    until_free(&client, &names[0]).await;
}
