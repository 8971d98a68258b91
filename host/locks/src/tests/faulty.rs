//! A store that can be told not to answer, and what clients hear then.

use super::caller::{Caller, Talk, Via, WAYS, granted, one, reason, release};
use super::grpc::{Raw, frame};
use super::node::{Node, Setup, clock, eventually, request};
use http::Method;
use lockport_proto::Reason;
use lockport_proto::lock as proto;
use lockport_proto::lock::session_request::Operation;
use lockport_store::secret::SpaceKey;
use lockport_store::statistics::Statistics;
use lockport_store::store::*;
use lockport_store::{
    Collection, CommitId, GrantId, Key, LockName, Memory, Permission, SessionId, Store, Time,
    TransactionId,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// What the store does with what it is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Answers,
    /// Says that it is not available.
    Fails,
    /// Says nothing until it is in another mood.
    Stalls,
}

/// A store in memory with moods.
struct Faulty {
    store: Memory,
    mood: watch::Sender<Mood>,
    /// How many acquires were begun.
    begun: AtomicUsize,
    /// How many sessions were.
    opening: AtomicUsize,
}

impl Faulty {
    /// Waits until the store answers, or fails.
    async fn ready(&self) -> Result<(), StoreError> {
        let mut mood = self.mood.subscribe();
        let mood = *mood.wait_for(|it| *it != Mood::Stalls).await.unwrap();
        match mood {
            Mood::Fails => Err(StoreError::Unavailable("a test says so".into())),
            Mood::Answers | Mood::Stalls => Ok(()),
        }
    }
}

/// Asks the store itself, unless its mood is bad.
macro_rules! ask {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        Box::pin(async move {
            $self.ready().await?;
            $self.store.$method($($argument),*).await
        })
    };
}

impl Store for Faulty {
    fn summary(&self) -> String {
        self.store.summary()
    }

    fn now(&self) -> Time {
        self.store.now()
    }

    fn key(&self) -> SpaceKey {
        self.store.key()
    }

    fn statistics(&self) -> Statistics {
        self.store.statistics()
    }

    fn acquire(&self, request: Acquire) -> Answer<'_, Result<Granted, AcquireError>> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        ask!(self.acquire(request))
    }

    fn cancel(
        &self,
        grant: GrantId,
        principal: Principal,
    ) -> Answer<'_, Result<Cancelled, ReleaseError>> {
        ask!(self.cancel(grant, principal))
    }

    fn renew(
        &self,
        grant: GrantId,
        principal: Principal,
        lease: Option<Duration>,
    ) -> Answer<'_, Result<Grant, RenewError>> {
        ask!(self.renew(grant, principal, lease))
    }

    fn release(
        &self,
        grant: GrantId,
        principal: Principal,
    ) -> Answer<'_, Result<Released, ReleaseError>> {
        ask!(self.release(grant, principal))
    }

    fn force_release(
        &self,
        name: LockName,
        by: Principal,
        permission: Permission,
        reason: String,
    ) -> Answer<'_, Result<Vec<Taken>, ForceError>> {
        ask!(self.force_release(name, by, permission, reason))
    }

    fn lock(&self, name: LockName) -> Answer<'_, Result<Lock, StoreError>> {
        ask!(self.lock(name))
    }

    fn locks(&self, query: LockQuery) -> Answer<'_, Result<LockPage, StoreError>> {
        ask!(self.locks(query))
    }

    fn watch(&self, query: WatchQuery) -> Answer<'_, Result<Watch, WatchError>> {
        self.store.watch(query)
    }

    fn open_session(&self, request: OpenSession) -> Answer<'_, Result<(), SessionError>> {
        self.opening.fetch_add(1, Ordering::Relaxed);
        ask!(self.open_session(request))
    }

    fn attach(
        &self,
        session: SessionId,
        principal: Principal,
    ) -> Answer<'_, Result<Attached, SessionError>> {
        ask!(self.attach(session, principal))
    }

    fn beat(&self, session: SessionId, attachment: Attachment) -> Result<(), SessionError> {
        self.store.beat(session, attachment)
    }

    fn detach(&self, session: SessionId, attachment: Attachment) {
        self.store.detach(session, attachment);
    }

    fn close_session(
        &self,
        session: SessionId,
        principal: Principal,
    ) -> Answer<'_, Result<(), SessionError>> {
        ask!(self.close_session(session, principal))
    }

    fn get(
        &self,
        collection: Collection,
        key: Key,
    ) -> Answer<'_, Result<Option<Versioned>, StoreError>> {
        self.store.get(collection, key)
    }

    fn list(&self, collection: Collection, query: Query) -> Answer<'_, Result<Page, StoreError>> {
        self.store.list(collection, query)
    }

    fn commit(&self, commit: Commit) -> Answer<'_, Result<Committed, CommitError>> {
        self.store.commit(commit)
    }

    fn validate(&self, reading: Reading) -> Answer<'_, Result<(), CommitError>> {
        self.store.validate(reading)
    }

    fn resolve(&self, id: CommitId) -> Answer<'_, Result<Resolved, StoreError>> {
        self.store.resolve(id)
    }

    fn end(&self, transaction: TransactionId) {
        self.store.end(transaction);
    }
}

async fn node(setup: Setup) -> (Arc<Faulty>, Node) {
    let clock = clock();
    let store = Arc::new(Faulty {
        store: Memory::with(setup.limits, clock.clone().into()),
        mood: watch::Sender::new(Mood::Answers),
        begun: AtomicUsize::new(0),
        opening: AtomicUsize::new(0),
    });
    let node = Node::over(store.clone(), clock, setup.options).await;
    (store, node)
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_unavailable_in_every_operation() {
    let unavailable = Reason::StoreUnavailable;
    for via in WAYS {
        let (store, node) = node(Setup::default()).await;
        let mut me = Caller::new(&node, via, None).await;
        let grant = granted(me.acquire(one("a")).await);
        store.mood.send_replace(Mood::Fails);
        assert_eq!(me.acquire(one("b")).await, Err(unavailable), "{via:?}");
        let renew = proto::RenewRequest {
            grant: grant.id.clone(),
            ..Default::default()
        };
        assert_eq!(me.renew(renew).await, Err(unavailable), "{via:?}");
        assert_eq!(me.release(release(&grant.id)).await, Err(unavailable));
        assert_eq!(me.get("a").await, Err(unavailable));
        assert_eq!(me.list(Default::default()).await, Err(unavailable));
        let cancel = proto::CancelRequest {
            request_id: "1".into(),
        };
        assert_eq!(me.cancel(cancel).await, Err(unavailable), "{via:?}");
        let force = proto::ForceReleaseRequest {
            name: "a".into(),
            reason: "a test".into(),
        };
        assert_eq!(me.force_release(force).await, Err(unavailable));

        // The session's stream goes on, and so does everything else.
        store.mood.send_replace(Mood::Answers);
        me.release(release(&grant.id)).await.unwrap();
    }
    let (store, node) = node(Setup::default()).await;
    store.mood.send_replace(Mood::Fails);
    let reply = node.get("/v1/locks/a").await;
    assert_eq!(reply.headers["retry-after"], "1");
    // What the store says is for the log.
    assert!(!reply.body.contains("a test says so"), "{}", reply.body);
    let reply = node
        .send(request(Method::POST, "/api/v1/locks/a", ""))
        .await;
    assert_eq!(reply.status, 500);
    assert_eq!(reply.json()["error"], "INTERNAL_ERROR");
}

#[tokio::test]
async fn a_stream_is_not_read_on_while_too_much_of_it_is_in_flight() {
    let mut setup = Setup::default();
    setup.options.limits.session_in_flight = 3;
    let (store, node) = node(setup).await;
    let mut talk = Talk::begin(&mut node.grpc().await, None).await.unwrap();
    talk.open(proto::OpenSession::default()).await.unwrap();
    store.mood.send_replace(Mood::Stalls);
    let ids: Vec<u64> = (0..10)
        .map(|it| talk.send(Operation::Acquire(one(&it.to_string()))))
        .collect();
    eventually("as many as may are begun", || {
        store.begun.load(Ordering::Relaxed) == 3
    })
    .await;
    // Whoever comes later has been heard by now, had the stream been read on.
    let mut other = Caller::new(&node, Via::Json, None).await;
    let forged = other.release(release("x")).await;
    assert_eq!(forged, Err(Reason::UnknownGrant));
    assert_eq!(store.begun.load(Ordering::Relaxed), 3);
    store.mood.send_replace(Mood::Answers);
    for id in ids {
        talk.answer(id).await.unwrap();
    }
}

#[tokio::test]
async fn sessions_beyond_those_that_may_be_opened_at_once_wait_for_their_turn() {
    let mut setup = Setup::default();
    setup.options.limits.openings = 2;
    let (store, node) = node(setup).await;
    store.mood.send_replace(Mood::Stalls);
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let mut client = node.grpc().await;
        opening.spawn(async move {
            let mut talk = Talk::begin(&mut client, None).await.unwrap();
            talk.open(proto::OpenSession::default()).await.unwrap();
        });
    }
    eventually("as many as may are begun", || {
        store.opening.load(Ordering::Relaxed) == 2
    })
    .await;
    // Nobody else is kept waiting.
    let mut other = Caller::new(&node, Via::Json, None).await;
    let forged = other.release(release("x")).await;
    assert_eq!(forged, Err(Reason::UnknownGrant));
    assert_eq!(store.opening.load(Ordering::Relaxed), 2);
    store.mood.send_replace(Mood::Answers);
    while let Some(opened) = opening.join_next().await {
        opened.unwrap();
    }
    assert_eq!(store.opening.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn a_deadline_that_passes_while_something_is_changed_leaves_the_outcome_open() {
    let (store, node) = node(Setup::default()).await;
    let mut me = Caller::new(&node, Via::Grpc, None).await;
    let grant = granted(me.acquire(one("a")).await).id;
    let mut text = vec![0x0a, grant.len() as u8];
    text.extend(grant.as_bytes());
    store.mood.send_replace(Mood::Stalls);
    let mut raw = Raw::to(&node).await;
    for (method, message, is_open) in [
        ("Acquire", &b"\x0a\x01b"[..], true),
        ("Cancel", b"\x0a\x01b", true),
        ("Renew", &text, true),
        ("Release", &text, true),
        ("ForceRelease", b"\x0a\x01a\x12\x01b", true),
        ("Get", b"\x0a\x01a", false),
        ("List", b"", false),
    ] {
        let path = format!("/lockport.lock.v1.LockService/{method}");
        let message = frame(0, message.len() as u32, message);
        let status = raw.call(&path, &[("grpc-timeout", "1m")], message).await;
        assert_eq!(reason(&status), Reason::DeadlineExceeded, "{method}");
        let says = status.message().contains("may have happened; ");
        assert_eq!(says, is_open, "{method}: {status:?}");
    }
}
