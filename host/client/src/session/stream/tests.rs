//! A session that two streams are attached to in turn: only the owner of its
//! secret can do that, so it is tested from within.

use super::*;
use crate::options::Options;
use crate::session::Session;
use lockport_locks::{Access, Limits, LockApi};
use lockport_store::Memory;
use std::future::IntoFuture;

const PATIENCE: Duration = Duration::from_secs(60);

/// A client of a lock API of its own.
async fn client() -> Client {
    let options = lockport_locks::Options {
        access: Access::open(),
        compat: None,
        limits: Limits::default(),
    };
    let api = LockApi::new(Arc::new(Memory::new()), options);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(tokio::spawn(
        axum::serve(listener, api.router()).into_future(),
    ));
    let options = Options::server(address.to_string());
    Client::connect(options).await.unwrap()
}

#[tokio::test]
async fn a_session_that_is_taken_over_comes_back_once_and_then_says_by_whom() {
    let client = client().await;
    let opened = open(&client, SessionOptions::default()).await.unwrap();
    let taking = OpenSession {
        session: opened.secret.clone(),
        ..OpenSession::default()
    };
    let session = Session::begin(client.clone(), opened);
    let guard = session.acquire(["a"]).await.unwrap();

    let other = attach(&client, taking.clone(), PATIENCE).await;
    let (_, mut other) = other.unwrap();
    let ended = timeout(PATIENCE, other.incoming.message());
    let ended = ended.await.unwrap();
    let ended = Error::from_status("", ended.unwrap_err());
    assert_eq!(ended.reason, Some(Reason::Elsewhere), "it was taken back");
    session.acquire(["b"]).unguarded().await.unwrap();
    assert!(guard.is_held());

    let other = attach(&client, taking, PATIENCE).await;
    let _held_on_to = other.unwrap();
    let lost = timeout(PATIENCE, guard.lost()).await;
    assert_eq!(lost.unwrap(), Lost::Elsewhere);
    let refused = session.acquire(["c"]).await.unwrap_err();
    assert!(refused.is_lost(), "{refused:?}");
    assert!(refused.message.contains("another client"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_stays_away_for_a_third_of_its_life_at_most() {
    for (left, longest) in [(3, 1), (30, 10), (3_600, 20)].map(|it| {
        let seconds = |it| Duration::from_secs(it);
        (seconds(it.0), seconds(it.1))
    }) {
        let (keeping, _life) = life::begin(Instant::now() + left);
        let pauses: Vec<_> = (0..1_000).map(|_| return_within(&keeping)).collect();
        assert!(pauses.iter().all(|it| *it <= longest), "{pauses:?}");
        assert!(pauses.iter().any(|it| *it > longest / 2), "{pauses:?}");
        assert!(pauses.iter().any(|it| *it < longest / 2), "{pauses:?}");
    }
}
