//! A connection to a server, made again when it breaks.
//!
//! ```text
//!                   the server is fit; what the node had was said
//!                   again, if the space is not what it was
//!    Connecting -------------------------------------------------> Ready
//!      ^                                                             |
//!      |  an answer did not come, the server was closed,             |
//!      |  the space is not what it was                               |
//!      +-------------------------------------------------------------+
//! ```
//!
//! Operations go out in the order they are asked for, all on one connection,
//! several with one call if they come at the same time (`bundles.rs`). Nothing is
//! sent twice: an answer that did not come leaves it unknown whether the call was
//! done. There are three exceptions, when nothing was done: a function that the
//! server does not have, then the library is loaded first; a space that is not
//! what it was, then it is recovered first; and a server that has no memory to
//! spare for all that goes out together, then each goes out by itself.

use super::bundles::{Asked, Bundles};
use super::codec::{Arguments, Heading, Malformed, Reply};
use super::fitness::{About, Refusal};
use super::heard::Heard;
use super::permissions;
use super::replicas::{Replicas, unless_replicated};
use super::space::{Caller, Epoch, Space};
use super::whereabouts::Whereabouts;
use crate::id::NodeId;
use crate::secret::SpaceKey;
use crate::store::StoreError;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, PushInfo, PushKind, RedisError, Value, cmd};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::timeout;

/// How many calls may be under way on one connection; whoever makes one more
/// waits for its turn.
const CALLS_MAX: usize = 4096;

/// How long a call waits for a connection while there is none.
const CONNECTION_WAIT: Duration = Duration::from_secs(2);

/// How long it takes at most to connect.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// The pause before a server is tried again that was not there, at first and at
/// most. Each is up to twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The shortest pause before a call is made again while the space is recovered.
const RECOVERY_PAUSE_MIN: Duration = Duration::from_millis(20);

/// How often a call is made again because the space was not what it was.
const RECOVERIES_MAX: usize = 3;

/// A connection. All copies are the same one.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

struct Inner {
    /// Where calls are made, so that they do not depend on their caller's.
    runtime: Handle,
    whereabouts: Arc<Whereabouts>,
    space: Arc<Space>,
    heard: Arc<Heard>,
    /// How long an answer may take.
    patience: Duration,
    /// How many replicas have to have what is promised.
    sync: u32,
    pushed: Pushed,
    told: Told,
    /// Says what the node had, if that is done on this one.
    recover: Option<Recover>,
    state: watch::Sender<State>,
    room: Arc<Semaphore>,
}

/// Takes what the server sends without being asked. Must not block.
pub(super) type Pushed = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// Takes what a node is told by the answer to a call. Must not block.
pub(super) type Told = Arc<dyn Fn(NodeId, &[Vec<u8>]) + Send + Sync>;

/// Says what the node had, when the space is not what it was.
pub(super) type Recover = Arc<dyn Fn(Link, Connected) -> Recovering + Send + Sync>;

/// See [`Recover`].
pub(super) type Recovering = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>>;

/// What a link needs of its owner.
pub(super) struct Wiring {
    pub(super) whereabouts: Arc<Whereabouts>,
    pub(super) space: Arc<Space>,
    pub(super) heard: Arc<Heard>,
    /// How long an answer may take.
    pub(super) patience: Duration,
    /// How many replicas have to have what is promised.
    pub(super) sync: u32,
    pub(super) pushed: Pushed,
    pub(super) told: Told,
    pub(super) recover: Option<Recover>,
}

/// How a link stands.
#[derive(Clone)]
enum State {
    /// There is no connection, and one is being made.
    Connecting,
    /// Calls go out.
    Ready(Connected),
}

/// A connection to a server that has been looked at.
#[derive(Clone)]
pub(super) struct Connected {
    connection: MultiplexedConnection,
    /// Tells it from those before.
    pub(super) number: u64,
    /// Those who wait for replicas.
    replicas: Arc<Replicas>,
    /// What is to go out.
    bundles: Arc<Bundles>,
}

/// What a call needs before it may be made.
pub(super) type Room = OwnedSemaphorePermit;

/// Why a call was not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum CallError {
    /// Nothing was sent.
    #[error("there is no connection to the server")]
    NotSent,
    /// It may have been done.
    #[error("the server's answer did not come: {0}")]
    Unanswered(String),
    /// It was not done, or not all of it.
    #[error("the server refused: {0}")]
    Refused(String),
    /// It was not done: the space is not what it was, or the connection was given
    /// up before its turn came.
    #[error("the space is not what it was")]
    Recovering,
    /// It was done, but might be lost with the server.
    #[error("too few replicas have it")]
    Unconfirmed {
        /// Whether it had not been promised to anybody before.
        is_new: bool,
    },
    /// It was done, but nobody knows how it went.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The store was closed.
    #[error("it was closed")]
    Closed,
}

impl Link {
    /// A link that is connected for the first time.
    pub(super) async fn open(runtime: &Handle, wiring: Wiring) -> Result<Self, Refusal> {
        let (state, _) = watch::channel(State::Connecting);
        let Wiring {
            whereabouts,
            space,
            heard,
            patience,
            sync,
            pushed,
            told,
            recover,
        } = wiring;
        let link = Self(Arc::new(Inner {
            runtime: runtime.clone(),
            whereabouts,
            space,
            heard,
            patience,
            sync,
            pushed,
            told,
            recover,
            state,
            room: Arc::new(Semaphore::new(CALLS_MAX)),
        }));
        let first = link.clone();
        let first = link.spawn(async move { first.connect(1).await });
        let state = first.await.unwrap_or(Err(Refusal::Malformed))?;
        link.0.state.send_replace(state);
        drop(link.spawn(link.clone().keep_connected()));
        if link.0.recover.is_some() {
            drop(link.spawn(link.clone().keep_recovered()));
        }
        Ok(link)
    }

    pub(super) fn space(&self) -> &Arc<Space> {
        &self.0.space
    }

    /// Waits for its turn to make a call.
    pub(super) async fn room(&self) -> Room {
        let room = self.0.room.clone().acquire_owned().await;
        room.expect("nobody closes it")
    }

    /// Has something done where calls are made. Dropping what this answers does
    /// not end it.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (reply, receiver) = oneshot::channel();
        self.0.runtime.spawn(async move {
            // Whoever does not wait for it has no need of it.
            drop(reply.send(task.await));
        });
        receiver
    }

    /// Has a call made in its turn. It is made even if this is dropped.
    async fn in_turn<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, CallError>> + Send + 'static,
    ) -> Result<T, CallError> {
        let room = self.room().await;
        let called = self.spawn(async move {
            let answer = call.await;
            drop(room);
            answer
        });
        called.await.unwrap_or(Err(CallError::Closed))
    }

    /// Calls a function of the library. It is done even if this is dropped.
    pub(super) async fn call(
        &self,
        node: NodeId,
        arguments: Arguments,
    ) -> Result<Reply, CallError> {
        let link = self.clone();
        self.in_turn(async move { link.call_here(node, &arguments).await })
            .await
    }

    /// As [`Link::call`], but nothing is done if the space is not what it was.
    pub(super) async fn call_as_is(
        &self,
        node: NodeId,
        arguments: Arguments,
    ) -> Result<Reply, CallError> {
        let link = self.clone();
        self.in_turn(async move { link.call_once(node, &arguments).await })
            .await
    }

    /// Waits, wherever it is waited for.
    pub(super) async fn pause(&self, time: Duration) {
        drop(self.spawn(tokio::time::sleep(time)).await);
    }

    /// Calls a function for whoever has room and is where calls are made.
    pub(super) async fn call_here(
        &self,
        node: NodeId,
        arguments: &Arguments,
    ) -> Result<Reply, CallError> {
        for _ in 1..RECOVERIES_MAX {
            match self.call_once(node, arguments).await {
                Err(CallError::Recovering) => {}
                answer => return answer,
            }
        }
        self.call_once(node, arguments).await
    }

    /// As [`Link::call_here`], but nothing is done if the space is not what it
    /// was.
    pub(super) async fn call_once(
        &self,
        node: NodeId,
        arguments: &Arguments,
    ) -> Result<Reply, CallError> {
        let connected = self.connected().await?;
        let (reply, answer) = oneshot::channel();
        let asked = Asked {
            node,
            arguments: arguments.clone(),
            reply,
        };
        if connected.bundles.push(asked) {
            self.0.runtime.spawn(self.clone().send_bundles(connected));
        }
        answer.await.unwrap_or(Err(CallError::Closed))
    }

    /// Sends one bundle after the other, as long as there are any.
    async fn send_bundles(self, connected: Connected) {
        while let Some(bundle) = connected.bundles.next() {
            let operations: Vec<&Arguments> = bundle.iter().map(|it| &it.arguments).collect();
            let node = bundle[0].node;
            let answers = self.call_all(&connected, node, &operations).await;
            for (asked, answer) in bundle.into_iter().zip(answers) {
                // Whoever has gone has no need of it.
                drop(asked.reply.send(answer));
            }
        }
    }

    /// Has an operation done on this connection.
    pub(super) async fn call_on(
        &self,
        connected: &Connected,
        node: NodeId,
        arguments: &Arguments,
    ) -> Result<Reply, CallError> {
        let mut answers = self.call_all(connected, node, &[arguments]).await;
        answers.pop().unwrap_or(Err(CallError::Closed))
    }

    /// Has operations done by one call on this connection: an answer for each.
    async fn call_all(
        &self,
        connected: &Connected,
        node: NodeId,
        operations: &[&Arguments],
    ) -> Vec<Result<Reply, CallError>> {
        let epoch = self.0.space.epoch();
        let answer = self.ask_for_all(connected, epoch, node, operations).await;
        if operations.len() == 1 || !answer.as_ref().is_err_and(is_out_of_memory) {
            let count = operations.len();
            let answer = self.taken(connected, epoch, answer);
            return self.take_all(connected, node, count, answer).await;
        }
        // Nothing was done. Those that need no memory are.
        let mut answers = Vec::with_capacity(operations.len());
        for one in operations.chunks(1) {
            let answer = self.ask_for_all(connected, epoch, node, one).await;
            let answer = self.taken(connected, epoch, answer);
            answers.extend(self.take_all(connected, node, 1, answer).await);
        }
        answers
    }

    async fn ask_for_all(
        &self,
        connected: &Connected,
        epoch: Epoch,
        node: NodeId,
        operations: &[&Arguments],
    ) -> Result<Value, RedisError> {
        let connection = connected.number;
        let by = Caller { node, connection };
        let command = self.0.space.call(epoch, by, operations);
        let answer = connected.ask(&command).await;
        if !answer.as_ref().is_err_and(is_missing) {
            return answer;
        }
        load(connected, &self.0.space).await?;
        connected.ask(&command).await
    }

    /// An answer that was given in an epoch: nothing, if it has come to an end
    /// meanwhile. A server whose place another has taken may still answer.
    fn taken(
        &self,
        connected: &Connected,
        epoch: Epoch,
        answer: Result<Value, RedisError>,
    ) -> Result<Value, CallError> {
        let answer = self.take(connected, answer)?;
        match self.0.space.epoch() == epoch {
            true => Ok(answer),
            false => Err(CallError::Unanswered(
                "the server that was asked was replaced".to_owned(),
            )),
        }
    }

    /// What a call answers to so many operations.
    async fn take_all(
        &self,
        connected: &Connected,
        node: NodeId,
        count: usize,
        answer: Result<Value, CallError>,
    ) -> Vec<Result<Reply, CallError>> {
        let taken = answer.and_then(|answer| {
            let parts = parts_of(answer, count)?;
            let heading = Heading::read(&parts[0])?;
            self.0.heard.hear(&heading);
            (self.0.told)(node, &heading.told);
            Ok((parts, heading.reached))
        });
        match taken {
            Ok((parts, reached)) => {
                let answers = parts[1..].iter();
                let answers = answers.map(|it| Ok(Reply::read(it, reached)?)).collect();
                self.keep(connected, answers).await
            }
            Err(error) => vec![Err(error); count],
        }
    }

    /// Sees that what was promised is not lost with the server, if it has to be:
    /// all that was done by one call.
    async fn keep(
        &self,
        connected: &Connected,
        mut answers: Vec<Result<Reply, CallError>>,
    ) -> Vec<Result<Reply, CallError>> {
        let Inner { sync, patience, .. } = *self.0;
        let promised = |it: &Result<Reply, CallError>| unless_replicated(it.as_ref().ok()?);
        if sync == 0 || !answers.iter().any(|it| promised(it).is_some()) {
            return answers;
        }
        let have_it = connected.replicas.have_it(connected, sync, patience).await;
        let have_it = self.take(connected, have_it);
        for answer in &mut answers {
            if let Some(otherwise) = promised(answer) {
                match &have_it {
                    Ok(true) => {}
                    Ok(false) => *answer = Err(otherwise),
                    Err(error) => *answer = Err(error.clone()),
                }
            }
        }
        answers
    }

    /// Reads something of the space with a command of the server's own.
    pub(super) async fn read(&self, command: Cmd) -> Result<Value, CallError> {
        let link = self.clone();
        self.in_turn(async move { link.read_here(&command).await })
            .await
    }

    async fn read_here(&self, command: &Cmd) -> Result<Value, CallError> {
        for _ in 0..RECOVERIES_MAX {
            let connected = self.connected().await?;
            // Read behind it: no space has the epoch of an earlier one.
            let about = self.0.space.read_reached();
            let answers = connected.ask_both(command.clone(), about).await;
            let (value, about) = self.take(&connected, answers)?;
            let reached = match about {
                Value::BulkString(about) => self.0.space.reached(&about),
                _ => None,
            };
            if let Some(reached) = reached {
                self.0.heard.reached_at_least(reached);
                return Ok(value);
            }
            self.breaks(connected.number);
        }
        Err(CallError::Recovering)
    }

    /// The connection there is, or soon will be.
    pub(super) async fn connected(&self) -> Result<Connected, CallError> {
        if let State::Ready(connected) = &*self.0.state.borrow() {
            return Ok(connected.clone());
        }
        let mut state = self.0.state.subscribe();
        let is_settled = |it: &State| !matches!(it, State::Connecting);
        let settled = timeout(CONNECTION_WAIT, state.wait_for(is_settled)).await;
        match settled.map(|it| it.map(|it| it.clone())) {
            Ok(Ok(State::Ready(connected))) => Ok(connected),
            _ => Err(CallError::NotSent),
        }
    }

    /// What an answer tells of the connection it came on.
    pub(super) fn take<T>(
        &self,
        connected: &Connected,
        answer: Result<T, RedisError>,
    ) -> Result<T, CallError> {
        let error = match answer {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        // Nothing was done, and this is not where to ask again.
        if error.code() == Some("RECOVERING") || is_elsewhere(&error) {
            self.breaks(connected.number);
            return Err(CallError::Recovering);
        }
        let text = error.to_string();
        // A server that has become a replica is looked at again.
        if error.code().is_none() || error.code() == Some("READONLY") {
            self.breaks(connected.number);
        }
        if error.code().is_some() {
            tracing::warn!(error = text, "the server refused a call");
            return Err(CallError::Refused(text));
        }
        Err(CallError::Unanswered(text))
    }

    /// Gives up a connection.
    fn breaks(&self, number: u64) {
        self.0.state.send_if_modified(|state| match state {
            State::Ready(it) if it.number == number => {
                it.bundles.close();
                *state = State::Connecting;
                true
            }
            _ => false,
        });
    }

    async fn keep_connected(self) {
        let mut states = self.0.state.subscribe();
        let mut number = 1;
        let mut pause = PAUSE_MIN;
        while states
            .wait_for(|it| matches!(it, State::Connecting))
            .await
            .is_ok()
        {
            number += 1;
            match self.connect(number).await {
                Ok(state) => {
                    pause = PAUSE_MIN;
                    self.0.state.send_replace(state);
                    if self.0.recover.is_some() && !self.0.space.is_said() {
                        // The other link has found one more epoch meanwhile.
                        self.breaks(number);
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "the server cannot be used");
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            // Neither all nodes at once, nor one again and again.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        }
    }

    /// Connects anew whenever another link has found the space to be another.
    async fn keep_recovered(self) {
        loop {
            self.0.space.until_said(false).await;
            let state = self.0.state.borrow().clone();
            if let State::Ready(connected) = state {
                self.breaks(connected.number);
            }
            self.0.space.until_said(true).await;
        }
    }

    /// Connects, and looks at what is there before anything else is sent.
    async fn connect(&self, number: u64) -> Result<State, Refusal> {
        let Inner {
            whereabouts,
            space,
            patience,
            sync,
            ..
        } = &*self.0;
        let (link, pushed) = (Arc::downgrade(&self.0), self.0.pushed.clone());
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(Some(*patience))
            .set_pipeline_buffer_size(CALLS_MAX)
            .set_push_sender(move |push: PushInfo| {
                match (&push.kind, link.upgrade()) {
                    (PushKind::Disconnection, Some(link)) => Link(link).breaks(number),
                    _ => pushed(push),
                }
                Ok::<_, std::convert::Infallible>(())
            });
        let connected = Connected {
            connection: whereabouts.connect(number, &config).await?,
            number,
            replicas: Arc::default(),
            bundles: Arc::default(),
        };
        if space.opened().is_none() {
            permissions::check(&connected, space, *sync > 0).await?;
        }
        let about: String = cmd("INFO")
            .query_async(&mut connected.connection.clone())
            .await?;
        let about = About::read(&about);
        about.check(whereabouts.is_cluster())?;
        if space.opened().is_none() {
            about.warn();
        }
        let (epoch, key) = self.open_space(&connected, &about).await?;
        space.adopt(epoch, key, self.0.heard.now());
        match &self.0.recover {
            Some(recover) => {
                // Nothing is said of a node that is not known yet.
                if !space.is_said() {
                    recover(self.clone(), connected.clone()).await?;
                    space.has_said(epoch);
                }
                // The other link has found one more epoch: if this one waited until
                // what it has to say is said, it would wait for itself.
                if !space.is_said() {
                    return Err(CallError::Recovering.into());
                }
            }
            None => space.until_said(true).await,
        }
        Ok(State::Ready(connected))
    }

    async fn open_space(
        &self,
        connected: &Connected,
        about: &About,
    ) -> Result<(Epoch, SpaceKey), Refusal> {
        let command = self.0.space.open(&about.run, &self.0.heard.reached());
        let mut answer = connected.ask(&command).await;
        if answer.as_ref().is_err_and(is_missing) {
            load(connected, &self.0.space).await?;
            answer = connected.ask(&command).await;
        }
        let found: Vec<Vec<u8>> = redis::from_redis_value(answer?).map_err(RedisError::from)?;
        read_opened(&found).ok_or(Refusal::Malformed)
    }
}

impl Connected {
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, RedisError> {
        let mut connection = self.connection.clone();
        let answer = connection.send_packed_command(command).await?;
        answer.extract_error()
    }

    async fn ask_both(&self, one: Cmd, other: Cmd) -> Result<(Value, Value), RedisError> {
        let mut answers = self.ask_all([one, other]).await?.into_iter();
        let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
        Ok((next()?, next()?))
    }

    /// Asks all of it at once. The answers, in the same order.
    pub(super) async fn ask_all(
        &self,
        commands: impl IntoIterator<Item = Cmd>,
    ) -> Result<Vec<Result<Value, RedisError>>, RedisError> {
        let mut all = redis::pipe();
        for command in commands {
            all.add_command(command);
        }
        let mut connection = self.connection.clone();
        let answers = connection.send_packed_commands(&all, 0, all.len()).await?;
        Ok(answers.into_iter().map(Value::extract_error).collect())
    }

    /// Subscribes to a channel: what is published there from now on is pushed.
    pub(super) async fn subscribe(&self, channel: &[u8]) -> Result<(), RedisError> {
        self.connection.clone().subscribe(channel).await
    }

    pub(super) async fn unsubscribe(&self, channel: &[u8]) -> Result<(), RedisError> {
        self.connection.clone().unsubscribe(channel).await
    }
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Recovering => Self::Recovering,
            error => Self::Unavailable(error.to_string()),
        }
    }
}

/// How long to wait before a call is made again that was not done because the
/// space is recovered; `None` if that is not why.
pub(super) fn recovery_pause(reply: &Result<Reply, CallError>) -> Option<Duration> {
    let left = match reply {
        Ok(reply) => reply.recovering()?,
        Err(CallError::Recovering) => Duration::ZERO,
        Err(_) => return None,
    };
    Some(left.max(RECOVERY_PAUSE_MIN))
}

/// Loads the library, unless somebody else has meanwhile. One that is there is
/// never replaced: others may be using it.
async fn load(connected: &Connected, space: &Space) -> Result<(), RedisError> {
    let mut command = cmd("FUNCTION");
    command.arg("LOAD").arg(space.library.text());
    match connected.ask(&command).await {
        Err(error) if error.to_string().contains("already exists") => Ok(()),
        answer => answer.map(drop),
    }
}

/// Whether the server does not have the function that was called: so nothing was
/// done.
fn is_missing(error: &RedisError) -> bool {
    error.to_string().contains("Function not found")
}

/// Whether the server says that it has not, or not all of, the slot of the space,
/// or that its cluster is not whole: so nothing was done.
fn is_elsewhere(error: &RedisError) -> bool {
    matches!(
        error.code(),
        Some("MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN")
    )
}

/// Whether the server has no memory for a call: so nothing was done.
fn is_out_of_memory(error: &RedisError) -> bool {
    error.code() == Some("OOM")
}

/// What a call answers: how things stand, and what each of so many operations
/// does.
fn parts_of(answer: Value, operations: usize) -> Result<Vec<Vec<u8>>, CallError> {
    let parts: Result<Vec<Vec<u8>>, _> = redis::from_redis_value(answer);
    match parts {
        Ok(parts) if parts.len() == 1 + operations => Ok(parts),
        Ok(parts) => Err(CallError::Refused(format!("{} answers", parts.len()))),
        Err(error) => Err(CallError::Refused(error.to_string())),
    }
}

fn read_opened(found: &[Vec<u8>]) -> Option<(Epoch, SpaceKey)> {
    let [epoch, key] = found else {
        return None;
    };
    let key = SpaceKey::from_bytes(key.as_slice().try_into().ok()?);
    Some((Epoch::try_from(epoch.as_slice()).ok()?, key))
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
