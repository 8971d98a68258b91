//! What keeps the node alive in the store, and hears what the store tells it: on
//! a thread and a connection of its own, so that a machine that is busy with
//! guests does not lose its locks.
//!
//! ```text
//!   every so often:
//!     the node's lease is renewed, what it was told is acknowledged
//!       <- how many messages it was sent: what is missing is fetched
//!     the store is told of the sessions that were heard
//!   meanwhile, on the same connection:
//!     messages to the node and events for who watches, as they are published
//! ```
//!
//! What the store publishes comes before the answer to any call that it was
//! asked later on this connection. What the node is told in a call of its own
//! comes with the answer to that, on either connection.

use super::asking::{Asking, HandedOver};
use super::codec::{Arguments, Beaten, Message, News};
use super::events::Events;
use super::heard::Heard;
use super::holdings::{Holdings, Recoveries};
use super::inbox::Inbox;
use super::link::{CallError, Connected, Link};
use super::node::Node;
use super::sessions::Sessions;
use super::space::Space;
use crate::id::NodeId;
use redis::{PushInfo, PushKind, Value, cmd};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Mutex as Turns;
use tokio::time::timeout;

/// The longest pause between two beats.
const INTERVAL_MAX: Duration = Duration::from_millis(500);

/// How many beats there are in a lease.
const BEATS_PER_LEASE: u32 = 3;

/// The pause while the store is behind: there are calls of others to be done.
const STEP: Duration = Duration::from_millis(20);

/// How many messages are fetched at once.
const CHUNK: usize = 1_000;

/// Takes what the store publishes for this node.
pub(super) struct Ears {
    pub(super) space: Arc<Space>,
    pub(super) node: Arc<Node>,
    pub(super) inbox: Inbox,
    pub(super) heard: Arc<Heard>,
    pub(super) holdings: Arc<Holdings>,
    pub(super) asking: Arc<Asking>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) events: Arc<Events>,
    /// Whoever tells what came.
    pub(super) telling: Mutex<()>,
}

/// The beats of a node.
pub(super) struct Beats {
    link: Link,
    ears: Arc<Ears>,
    /// One turn at a time.
    turn: Turns<()>,
    /// Whether the store has more to end than one beat should.
    is_behind: AtomicBool,
    attending: Mutex<Attending>,
}

/// Where the node has subscribed to what is published.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Attending {
    /// On which connection.
    connection: u64,
    /// As whom it has joined.
    node: Option<NodeId>,
}

impl Ears {
    /// Takes what was published. Does not block.
    pub(super) fn hear(&self, push: &PushInfo) {
        let (PushKind::Message, [Value::BulkString(channel), Value::BulkString(text)]) =
            (&push.kind, push.data.as_slice())
        else {
            return;
        };
        let node = self.inbox.node();
        if *channel == self.space.inbox(node) {
            self.receive(node, text, false);
        } else if *channel == self.space.events().into_bytes()
            && let Err(error) = self.events.publish(text)
        {
            tracing::error!(%error, "an event is not understood");
        }
    }

    /// Takes what came with the answer to a call that was made for a node, and
    /// whether what is granted so needs no claim. Does not block.
    pub(super) fn hear_at_once(&self, node: NodeId, told: &[Vec<u8>], is_claimed: bool) {
        for text in told {
            self.receive(node, text, is_claimed);
        }
    }

    /// `is_claimed` says that it came with the answer to a call: so the store does
    /// not wait for a claim.
    fn receive(&self, node: NodeId, text: &[u8], mut is_claimed: bool) {
        // One at a time: what is told later is told later here, too.
        let _turn = self.telling.lock().expect("nothing panics meanwhile");
        // Looked at first: a message is not taken in once a recovery has begun.
        let after = self.holdings.recoveries();
        match self.inbox.receive(node, text) {
            Ok(Some(told)) => {
                // Others that had to wait for it may have waited for long.
                for news in told {
                    self.tell(node, news, std::mem::take(&mut is_claimed), after);
                }
            }
            Ok(None) if is_claimed => {
                if let Ok(News::Granted(id, last, _)) = Message::read(text).map(|it| it.what) {
                    self.asking.leave(node, id, last);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "a message is not understood"),
        }
        if self.inbox.misses() {
            self.node.nudge.notify_one();
        }
    }

    /// Fetches the messages that did not come.
    pub(super) async fn fetch(
        &self,
        link: &Link,
        on: &Connected,
        node: NodeId,
    ) -> Result<(), CallError> {
        let mut from = 0;
        loop {
            let mut command = cmd("LRANGE");
            command.arg(self.space.inbox(node));
            command.arg(from).arg(from + CHUNK - 1);
            let answer = on.ask(&command).await;
            let answer = link.take(on, answer)?;
            let messages: Vec<Vec<u8>> =
                redis::from_redis_value(answer).map_err(|it| CallError::Refused(it.to_string()))?;
            for message in &messages {
                self.receive(node, message, false);
            }
            if messages.len() < CHUNK {
                return Ok(());
            }
            from += CHUNK;
        }
    }

    fn tell(&self, node: NodeId, news: News, is_claimed: bool, after: Recoveries) {
        match news {
            News::Granted(id, last, granted) => {
                let handed = HandedOver {
                    id,
                    last,
                    is_claimed,
                    after,
                };
                self.asking.granted(node, handed, granted);
            }
            News::Refused(id, last, error) => self.asking.tell(id, last, Err(error)),
            News::Ended(id) => self.holdings.ended(id),
            News::Lost(session, lost) => self.sessions.lost(session, lost),
            News::Unattached(session, attachment) => {
                self.sessions.unattached(node, session, attachment);
            }
        }
    }
}

impl Beats {
    pub(super) fn new(link: Link, ears: Arc<Ears>) -> Arc<Self> {
        Arc::new(Self {
            link,
            ears,
            turn: Turns::default(),
            is_behind: AtomicBool::new(false),
            attending: Mutex::default(),
        })
    }

    /// Beats for ever.
    pub(super) async fn run(self: Arc<Self>) {
        tokio::join!(self.keep_beating(), self.keep_time());
    }

    async fn keep_beating(self: &Arc<Self>) {
        loop {
            self.beat().await;
            let is_behind = self.is_behind.load(Ordering::Relaxed);
            let pause = if is_behind { STEP } else { self.interval() };
            let pause = tokio::time::sleep(pause);
            tokio::select! {
                () = pause => {}
                () = self.ears.node.nudge.notified() => {}
            }
        }
    }

    /// Sessions end in time here, whether or not the server answers.
    async fn keep_time(&self) {
        loop {
            let next = self.ears.sessions.end_what_is_over();
            let interval = self.interval();
            tokio::time::sleep(next.map_or(interval, |it| it.min(interval))).await;
        }
    }

    /// One beat. To be called where the link's calls are made.
    pub(super) async fn beat(self: &Arc<Self>) {
        let _turn = self.turn.lock().await;
        self.end_what_is_over();
        let beaten = self.while_alive(self.beat_node()).await;
        match beaten.unwrap_or(Err(CallError::NotSent)) {
            Ok(node) => {
                let beaten = self.ears.sessions.beat_all(&self.link, node);
                self.while_alive(beaten).await;
            }
            Err(error) => tracing::debug!(%error, "a beat was not answered"),
        }
        self.end_what_is_over();
    }

    /// The node goes: what hangs on its lease ends.
    pub(super) async fn leave(&self) {
        let node = self.ears.node.id();
        while self.attending().node == Some(node) {
            let left = self.link.call_here(node, &Arguments::leave()).await;
            // What is left ends with the lease, or with the next call.
            if !matches!(left.and_then(|it| Ok(it.left()?)), Ok(true)) {
                return;
            }
            // It takes no step before, and none at all while it is recovered.
            self.link.pause(STEP).await;
        }
    }

    /// Waits for something, but not beyond the node's life: that it is over must
    /// be told in time.
    async fn while_alive<T>(&self, task: impl Future<Output = T>) -> Option<T> {
        match self.ears.node.remaining() {
            Some(remaining) => timeout(remaining, task).await.ok(),
            None => Some(task.await),
        }
    }

    fn interval(&self) -> Duration {
        let lease = self.ears.node.lease();
        let shortest = self.ears.sessions.shortest();
        let shortest = shortest.map_or(lease, |it| it.min(lease));
        INTERVAL_MAX.min(shortest / BEATS_PER_LEASE)
    }

    /// Renews the node's lease, and sees that it has heard all it was told.
    async fn beat_node(&self) -> Result<NodeId, CallError> {
        let connected = self.link.connected().await?;
        let node = self.ears.node.id();
        self.attend(&connected, node).await?;
        let sent = self.ears.node.clock().now();
        let watched = self.ears.events.until(self.ears.heard.now());
        let (lease, acknowledged) = (self.ears.node.lease(), self.ears.inbox.acknowledged());
        let beat = Arguments::node_beat(lease, acknowledged, watched);
        match self.link.call_here(node, &beat).await?.node_beaten()? {
            Beaten::Gone => self.ears.node.is_gone(node),
            Beaten::Lives {
                sent: messages,
                is_behind,
            } => {
                self.ears.node.renewed(node, sent);
                self.is_behind.store(is_behind, Ordering::Relaxed);
                if messages > self.ears.inbox.acknowledged().1 {
                    self.ears.fetch(&self.link, &connected, node).await?;
                }
            }
        }
        Ok(node)
    }

    /// Subscribes and joins, unless that has been done.
    async fn attend(&self, connected: &Connected, node: NodeId) -> Result<(), CallError> {
        let before = *self.attending();
        let mut now = before;
        now.connection = connected.number;
        if before.connection != connected.number || before.node != Some(node) {
            let space = self.link.space();
            for channel in [space.inbox(node), space.events().into_bytes()] {
                let subscribed = connected.subscribe(&channel).await;
                self.link.take(connected, subscribed)?;
            }
        }
        if before.node != Some(node) {
            self.stop_listening(connected, before).await?;
            let sent = self.ears.node.clock().now();
            let join = Arguments::join(self.ears.node.lease());
            let joined = self.link.call_here(node, &join).await?.joined();
            if joined.is_err() {
                // It is known: it has joined before, and was not answered.
                self.come_anew();
            }
            joined?;
            self.ears.node.renewed(node, sent);
            now.node = Some(node);
        }
        *self.attending() = now;
        if before.connection != connected.number {
            self.catch_up(node).await?;
        }
        Ok(())
    }

    /// Whom it was before is told nothing any more.
    async fn stop_listening(
        &self,
        connected: &Connected,
        before: Attending,
    ) -> Result<(), CallError> {
        let Some(node) = before
            .node
            .filter(|_| before.connection == connected.number)
        else {
            return Ok(());
        };
        let channel = self.link.space().inbox(node);
        let left = connected.unsubscribe(&channel).await;
        self.link.take(connected, left)?;
        Ok(())
    }

    /// Fetches the events that were not published to this connection.
    async fn catch_up(&self, node: NodeId) -> Result<(), CallError> {
        if !self.ears.events.are_watched() {
            return Ok(());
        }
        let until = self.ears.events.until(self.ears.heard.now());
        let reply = self.link.call_here(node, &Arguments::watch(until)).await?;
        let last = reply.watching()?;
        let caught_up = self.ears.events.catch_up(&self.link, last).await;
        caught_up.map_err(|it| CallError::Refused(it.to_string()))
    }

    /// The node's lease is over: so is all that hung on it, and it comes anew.
    fn end_what_is_over(&self) {
        let has_joined = self.attending().node == Some(self.ears.node.id());
        if !has_joined || self.ears.node.is_alive() {
            return;
        }
        tracing::warn!("the node's lease has run out; what it held is lost");
        self.come_anew();
    }

    fn come_anew(&self) {
        self.ears.node.begin_anew();
        self.ears.inbox.begin_anew(self.ears.node.id());
        self.ears.holdings.node_is_over();
        self.ears.asking.is_over();
        self.ears.sessions.is_over();
        // It begins again at once.
        self.ears.node.nudge.notify_one();
    }

    fn attending(&self) -> MutexGuard<'_, Attending> {
        self.attending
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}
