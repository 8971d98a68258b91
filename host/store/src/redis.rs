//! The store in Redis or Valkey: one space, shared by any number of nodes.
//!
//! ```text
//!    callers                                            a server >= 7.0
//!   ---------                                     +--------------------------+
//!   acquire ---> asking --+                       |  library of functions:   |
//!   sessions -------------+--> link (a thread) ---|  each call is one atomic |
//!   commit, get, list ----+      all calls        |  step of the same state  |
//!                                                 |  machine as `core.rs`    |
//!   told <--- asking,    <-- ears <-- beats ------|                          |
//!             sessions,        (a thread of its   |  what a node is told,    |
//!             events            own, a connection |  what happens to locks   |
//!                               of its own)       +--------------------------+
//! ```
//!
//! A node joins with a lease that its beats renew. On that lease hang the grants
//! of its transactions, the waits of its callers and the attachments of their
//! sessions. What the server says of itself is looked at on every connection;
//! if what it has is not what it had, every call is answered that the store is
//! unavailable.
//!
//! Read in this order: `link.rs`, `bundles.rs`, `asking.rs`, `beats.rs`, and `library/step.lua`
//! for the other side.

mod asking;
mod beats;
mod bundles;
pub(crate) mod codec;
mod errands;
mod events;
mod fitness;
pub(crate) mod heard;
mod holdings;
mod inbox;
pub(crate) mod library;
mod link;
mod listing;
mod locks;
mod node;
mod permissions;
mod recovery;
mod replicas;
#[cfg(test)]
pub(crate) mod server;
mod sessions;
mod space;
mod state;
#[cfg(test)]
mod tests;
mod thread;
mod tls;
mod transactions;
mod url;
mod whereabouts;

pub use fitness::Unfit;
pub use tls::{Identity, Tls, TlsError};
pub use url::{InvalidUrl, SPACE_BYTES_MAX, SPACE_DEFAULT, Url};
pub use whereabouts::{Lost, Silence};

use crate::clock::Clock;
use crate::core::Limits;
use crate::id::CommitId;
use crate::name::{Collection, Key};
use crate::secret::SpaceKey;
use crate::shell::{Ring, lock_operations};
use crate::store::{
    Answer, Commit, CommitError, Committed, Page, Query, Reading, Resolved, Store, StoreError,
    Versioned,
};
use asking::Asking;
use beats::{Beats, Ears};
use errands::Errands;
use events::Events;
use fitness::Refusal;
use heard::Heard;
use holdings::Holdings;
use inbox::Inbox;
use library::Library;
use link::{Link, Pushed, Recover, Told, Wiring};
use listing::Lists;
use locks::Locks;
use node::Node;
use redis::PushInfo;
use sessions::Sessions;
use space::Space;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, Weak, mpsc};
use std::time::Duration;
use thread::Thread;
use whereabouts::Whereabouts;

/// How long a node lives without a beat, by default.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(5);

/// How long an answer may take on the connection for calls, by default.
pub const PATIENCE_DEFAULT: Duration = Duration::from_secs(5);

/// For how long a space is recovered, by default, when its server was replaced or
/// has forgotten it.
pub const RECLAIM_DEFAULT: Duration = Duration::from_secs(10);

/// How long it takes at most to close.
const CLOSING_MAX: Duration = Duration::from_secs(1);

/// How many answers there should be time to wait for within a lease.
const ANSWERS_PER_LEASE: u32 = 3;

/// A space in a server. Dropping it takes leave of the server, if that answers
/// in time, and ends its threads; what hung on the node's lease ends with that.
pub struct Redis {
    url: Url,
    locks: Locks,
    events: Arc<Events>,
    beats: Arc<Beats>,
    /// Its own thread for beats, unless the time is handed in.
    _beating: Thread,
    /// Whether it goes without taking leave.
    is_dead: bool,
    /// The thread for calls.
    #[cfg_attr(not(test), expect(dead_code, reason = "it only has to be kept"))]
    calling: Thread,
}

/// How to use a space.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long the node lives without a beat. Default [`LEASE_DEFAULT`].
    pub lease: Duration,
    /// How long an answer may take. Default [`PATIENCE_DEFAULT`].
    pub patience: Duration,
    /// For how long the nodes may say what they had when the server was replaced;
    /// meanwhile nothing new is granted and nothing committed. Default
    /// [`RECLAIM_DEFAULT`].
    pub reclaim: Duration,
    /// How much the store takes. Every node of a space should say the same.
    pub limits: Limits,
    /// The files for TLS, if the URL says that the server is reached over it.
    pub tls: Tls,
    /// How many replicas have to have a grant or a commit before it is answered.
    /// Default 0: it may be lost with the server if that does not write it down.
    pub sync: u32,
}

/// Why a space could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is wrong.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// It is not known where the server is.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// There is no secure connection to the server.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server cannot be reached, or does not answer as it should.
    #[error("the server cannot be used")]
    Server(#[source] redis::RedisError),
    /// The server would not keep what it is given.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// What the server has under the space's name is not understood.
    #[error("what is in the server is no space of this version")]
    Malformed,
    /// The operating system gives no thread.
    #[error("there is no thread for the connection")]
    Thread(#[from] io::Error),
}

/// What those need who ask the server for callers.
#[derive(Clone)]
struct Means {
    link: Link,
    node: Arc<Node>,
    errands: Arc<Errands>,
    holdings: Arc<Holdings>,
}

/// The connections to a space, and what is heard on them.
struct Lines {
    calls: Link,
    beats: Link,
    space: Arc<Space>,
    heard: Arc<Heard>,
}

/// What a space is opened with.
struct Opening {
    url: Url,
    options: Options,
    library: Library,
    /// The clock of this side.
    clock: Clock,
    /// The time to hand in, if the server's does not count.
    by_hand: Option<Clock>,
}

impl Redis {
    /// Opens the space that a URL names, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// If the URL is wrong, or the server cannot be reached or is not fit.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        Self::open_with(url, Options::default()).await
    }

    /// As [`Redis::open`], with options.
    ///
    /// # Errors
    ///
    /// As [`Redis::open`].
    pub async fn open_with(url: &str, options: Options) -> Result<Self, OpenError> {
        Self::open_at(url.parse()?, options).await
    }

    /// As [`Redis::open_with`], of a URL that was read before.
    ///
    /// # Errors
    ///
    /// As [`Redis::open`].
    pub async fn open_at(url: Url, options: Options) -> Result<Self, OpenError> {
        let opening = Opening {
            url,
            options,
            library: Library::Server,
            clock: Clock::machine(),
            by_hand: None,
        };
        opening.open().await
    }

    /// Takes leave of the store, and waits for that.
    fn leave_within(&self, limit: Duration) {
        let (beats, (done, wait)) = (self.beats.clone(), mpsc::channel());
        drop(self.locks.beats.spawn(async move {
            // Whoever watches is told the rest, if the server answers.
            beats.beat().await;
            beats.leave().await;
            done.send(())
        }));
        let _is_done = wait.recv_timeout(limit);
    }

    /// Goes without taking leave, as a process that is killed.
    #[cfg(test)]
    pub(crate) fn die(mut self) {
        self.is_dead = true;
    }

    /// A space whose time is in the hands of a test.
    #[cfg(test)]
    pub(crate) async fn by_hand(
        url: &str,
        limits: Limits,
        clock: &crate::clock::ManualClock,
    ) -> Result<Self, OpenError> {
        // What has passed in the store: it follows the test's clock.
        let passed = crate::clock::ManualClock::new(clock.now());
        let opening = Opening {
            url: url.parse()?,
            options: Options {
                limits,
                // Beats come with the time: there is none between two moments.
                lease: Duration::from_secs(1 << 32),
                ..Options::default()
            },
            library: Library::ByHand,
            clock: passed.clone().into(),
            by_hand: Some(passed.clone().into()),
        };
        let store = opening.open().await?;
        store.follow(clock, passed);
        Ok(store)
    }

    /// Has the store's time follow a clock that is moved by hand.
    #[cfg(test)]
    fn follow(&self, clock: &crate::clock::ManualClock, passed: crate::clock::ManualClock) {
        let beats = Arc::downgrade(&self.beats);
        let (now, handle) = (clock.clone(), self.calling.handle().clone());
        clock.listen(move || {
            let Some(beats) = Weak::upgrade(&beats) else {
                return;
            };
            let (now, passed) = (now.now(), passed.clone());
            let (done, wait) = mpsc::channel();
            handle.spawn(async move {
                // The store is told whom it had to hear of before.
                beats.beat().await;
                passed.advance(now.since(passed.now()));
                beats.beat().await;
                // What has run out ends in several calls, if it is much.
                beats.beat().await;
                let _is_awaited = done.send(());
            });
            // A store that is closed lets no time pass.
            let _is_done = wait.recv();
        });
    }
}

impl Opening {
    async fn open(self) -> Result<Redis, OpenError> {
        let (calling, beating) = (
            Thread::start("lockport-redis")?,
            Thread::start("lockport-beats")?,
        );
        let late = Arc::new(OnceLock::<Weak<Ears>>::new());
        let lines = self.connect(&calling, &beating, &late).await?;
        lines.space.opened().ok_or(OpenError::Malformed)?;
        let node = Arc::new(Node::new(self.clock.clone(), self.options.lease));
        let means = Means {
            errands: Errands::new(lines.calls.clone(), node.clone()),
            link: lines.calls,
            node,
            holdings: Arc::default(),
        };
        let ears = Arc::new(Ears {
            space: lines.space,
            node: means.node.clone(),
            inbox: Inbox::new(means.node.id()),
            heard: lines.heard.clone(),
            holdings: means.holdings.clone(),
            asking: Asking::new(means.clone()),
            sessions: Sessions::new(means.clone()),
            events: Arc::new(Events::new(Ring::new(self.options.limits))),
            telling: Mutex::default(),
        });
        drop(late.set(Arc::downgrade(&ears)));
        let beats = Beats::new(lines.beats.clone(), ears.clone());
        let first = beats.clone();
        drop(lines.beats.spawn(async move { first.beat().await }).await);
        if self.by_hand.is_none() {
            drop(lines.beats.spawn(beats.clone().run()));
        }
        Ok(Redis {
            events: ears.events.clone(),
            locks: Locks {
                means,
                beats: lines.beats,
                heard: lines.heard,
                ears,
                lists: Lists::new(),
            },
            beats,
            _beating: beating,
            is_dead: false,
            calling,
            url: self.url,
        })
    }

    /// Connects both threads. What is published, and asked when the server was
    /// replaced, goes to whoever is there by then.
    async fn connect(
        &self,
        calling: &Thread,
        beating: &Thread,
        late: &Arc<OnceLock<Weak<Ears>>>,
    ) -> Result<Lines, OpenError> {
        let Options {
            lease,
            patience,
            reclaim,
            limits,
            sync,
            ..
        } = self.options;
        let whereabouts = Whereabouts::new(&self.url, self.options.tls.clone());
        let (whereabouts, by_hand) = (Arc::new(whereabouts), self.by_hand.clone());
        let (name, in_cluster) = (&self.url.space, whereabouts.is_cluster());
        let space = Space::new(name, self.library, &limits, reclaim, by_hand, in_cluster);
        let (space, heard) = (Arc::new(space), Arc::new(Heard::new(self.clock.clone())));
        let connect = |thread: &Thread, patience, pushed, recover| {
            let wiring = Wiring {
                whereabouts: whereabouts.clone(),
                space: space.clone(),
                heard: heard.clone(),
                patience,
                sync,
                pushed,
                told: told_to(late.clone(), sync == 0),
                recover,
            };
            let runtime = thread.handle().clone();
            async move { Link::open(&runtime, wiring).await }
        };
        let (pushed, recover) = (pushed_to(late.clone()), Some(recover_by(late.clone())));
        // Handed-in times have to arrive in order: on one connection.
        let (calls, beats) = if self.by_hand.is_some() {
            let link = connect(calling, patience, pushed, recover).await?;
            (link.clone(), link)
        } else {
            let ignored: Pushed = Arc::new(|_| {});
            let link = connect(calling, patience, ignored, recover).await?;
            let short = patience.min(lease / ANSWERS_PER_LEASE);
            (link, connect(beating, short, pushed, None).await?)
        };
        Ok(Lines {
            calls,
            beats,
            space,
            heard,
        })
    }
}

impl Store for Redis {
    fn summary(&self) -> String {
        self.url.to_string()
    }

    fn key(&self) -> SpaceKey {
        let opened = self.locks.means.link.space().opened();
        // It is open.
        opened.map_or_else(SpaceKey::mint, |it| it.key)
    }

    lock_operations!(self => self.locks);

    fn get(
        &self,
        collection: Collection,
        key: Key,
    ) -> Answer<'_, Result<Option<Versioned>, StoreError>> {
        Box::pin(async move { state::get(&self.locks.means.link, &collection, &key).await })
    }

    fn list(&self, collection: Collection, query: Query) -> Answer<'_, Result<Page, StoreError>> {
        let Means { link, node, .. } = &self.locks.means;
        Box::pin(async move { state::list(link, node, &collection, &query).await })
    }

    fn commit(&self, commit: Commit) -> Answer<'_, Result<Committed, CommitError>> {
        let transactions = &self.locks.ears.asking.transactions;
        Box::pin(async move { state::commit(&self.locks.means, transactions, &commit).await })
    }

    fn validate(&self, reading: Reading) -> Answer<'_, Result<(), CommitError>> {
        Box::pin(async move { state::validate(&self.locks.means, &reading).await })
    }

    fn resolve(&self, id: CommitId) -> Answer<'_, Result<Resolved, StoreError>> {
        let Means { link, node, .. } = &self.locks.means;
        Box::pin(async move { state::resolve(link, node, id).await })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if !self.is_dead {
            self.leave_within(CLOSING_MAX);
        }
        self.events.close();
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lease: LEASE_DEFAULT,
            patience: PATIENCE_DEFAULT,
            reclaim: RECLAIM_DEFAULT,
            limits: Limits::default(),
            tls: Tls::default(),
            sync: 0,
        }
    }
}

impl From<Refusal> for OpenError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unfit(unfit) => Self::Unfit(unfit),
            Refusal::Lost(lost) => Self::Lost(lost),
            Refusal::Tls(error) => Self::Tls(error),
            Refusal::Server(error) => Self::Server(error),
            // Nothing is said when a space is opened first.
            Refusal::Malformed | Refusal::Unsaid(_) => Self::Malformed,
        }
    }
}

/// What is published goes to whoever is there by then.
fn pushed_to(ears: Arc<OnceLock<Weak<Ears>>>) -> Pushed {
    Arc::new(move |push: PushInfo| {
        if let Some(ears) = ears.get().and_then(Weak::upgrade) {
            ears.hear(&push);
        }
    })
}

/// What a node is told by an answer goes to whoever is there by then. What is
/// granted so is claimed, unless replicas have to have that claim.
fn told_to(ears: Arc<OnceLock<Weak<Ears>>>, is_claimed: bool) -> Told {
    Arc::new(move |node, told| {
        if let Some(ears) = ears.get().and_then(Weak::upgrade) {
            ears.hear_at_once(node, told, is_claimed);
        }
    })
}

/// What this node has is said by who knows it by then.
fn recover_by(ears: Arc<OnceLock<Weak<Ears>>>) -> Recover {
    Arc::new(move |link, on| {
        let ears = ears.get().and_then(Weak::upgrade);
        Box::pin(async move {
            match ears {
                Some(ears) => ears.recover(&link, &on).await,
                // It has nothing yet.
                None => Ok(()),
            }
        })
    })
}
