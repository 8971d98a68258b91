//! Watching: what happens is told once, over streams that break.

use crate::guards::through;
use crate::proxy::Proxy;
use crate::server::{Server, soon};
use lockport_client::api::event::Kind;
use lockport_client::{Client, Item, Watching};

async fn acquire_and_release(client: &Client, name: &str) {
    let guard = client.acquire([name]).await.unwrap();
    guard.release().await.unwrap();
}

/// The next event: its kind and first name.
async fn next(watching: &mut Watching) -> (Kind, String) {
    match soon(watching.next()).await.unwrap() {
        Item::Event(event) => (event.kind(), event.names[0].clone()),
        Item::Gap(at) => panic!("a gap at {at}"),
    }
}

#[tokio::test]
async fn what_happens_is_told_from_the_moment_on() {
    let server = Server::start().await;
    let client = server.client().await;
    acquire_and_release(&client, "p/before").await;
    let mut watching = client.watch("p/").await.unwrap();
    acquire_and_release(&client, "other").await;
    acquire_and_release(&client, "p/a").await;
    assert_eq!(next(&mut watching).await, (Kind::Granted, "p/a".to_owned()));
    assert_eq!(
        next(&mut watching).await,
        (Kind::Released, "p/a".to_owned())
    );
}

#[tokio::test]
async fn a_watch_is_resumed_where_it_broke_off() {
    let server = Server::start().await;
    let client = server.client().await;
    let proxy = Proxy::to(server.address).await;
    let mut watching = through(&proxy).await.watch("").await.unwrap();
    acquire_and_release(&client, "a").await;
    assert_eq!(next(&mut watching).await.0, Kind::Granted);
    proxy.cut();
    acquire_and_release(&client, "b").await;
    assert_eq!(next(&mut watching).await, (Kind::Released, "a".to_owned()));
    assert_eq!(next(&mut watching).await, (Kind::Granted, "b".to_owned()));
    assert_eq!(next(&mut watching).await, (Kind::Released, "b".to_owned()));
}

#[tokio::test]
async fn a_watch_begins_behind_a_revision() {
    let server = Server::start().await;
    let client = server.client().await;
    let mut watching = client.watch("").await.unwrap();
    acquire_and_release(&client, "a").await;
    next(&mut watching).await;
    let mut later = client.watch("").from(watching.revision()).await.unwrap();
    assert_eq!(next(&mut later).await, (Kind::Released, "a".to_owned()));
}

#[tokio::test]
async fn a_watch_from_before_what_is_remembered_has_a_gap() {
    let server = Server::start().await;
    let client = server.client().await;
    let mut watching = client.watch("").await.unwrap();
    acquire_and_release(&client, "a").await;
    next(&mut watching).await;
    let future = watching.revision() + 1_000_000;
    let mut wrong = client.watch("").from(future).await.unwrap();
    assert!(matches!(soon(wrong.next()).await, Ok(Item::Gap(_))));
}
