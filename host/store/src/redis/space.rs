//! A space in a server: how its keys are called, and how its functions are.

use super::codec::{self, Arguments, Reached};
use super::library::Library;
use crate::clock::Clock;
use crate::core::Limits;
use crate::id::{NodeId, SessionId};
use crate::secret::SpaceKey;
use crate::time::Time;
use redis::{Cmd, cmd};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;

/// How much of what there is one of is read with values: see `step.lua`.
const REACHED: usize = size_of::<Epoch>() + 6 * size_of::<f64>();

/// What is never there. A server that gives away or gets the slot of the space has
/// not all of its keys: it refuses as a whole what names this one besides another.
const NOTHING: &str = "-";

/// A space, and the library that is used there.
pub(super) struct Space {
    /// What its keys begin with: they share a slot.
    tag: String,
    pub(super) library: Library,
    limits: Vec<u8>,
    /// How long a recovery lasts.
    reclaim: Duration,
    opened: Mutex<Option<Opened>>,
    /// The epoch in which what the node had was said.
    said: watch::Sender<Option<Epoch>>,
    /// The time that is handed in, if it does not go by the server's clock.
    time: Option<Clock>,
    /// Whether its slot may move from one server to another.
    is_in_cluster: bool,
}

/// What holds until the server is replaced.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) epoch: Epoch,
    pub(super) key: SpaceKey,
    /// When the node heard of it: what began before did so under another epoch.
    pub(super) since: Time,
}

/// Tells a space from one that was there before, of the same name.
pub(crate) type Epoch = [u8; 16];

/// Who calls a function.
#[derive(Clone, Copy)]
pub(super) struct Caller {
    pub(super) node: NodeId,
    /// The number of the connection.
    pub(super) connection: u64,
}

impl Space {
    pub(super) fn new(
        name: &str,
        library: Library,
        limits: &Limits,
        reclaim: Duration,
        time: Option<Clock>,
        is_in_cluster: bool,
    ) -> Self {
        Self {
            tag: format!("{{{}}}:", tag(name)),
            library,
            limits: codec::limits(limits),
            reclaim,
            opened: Mutex::default(),
            said: watch::Sender::new(None),
            time,
            is_in_cluster,
        }
    }

    /// The name of a key of the space.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.tag)
    }

    /// What matches the names of all keys and channels of the space.
    pub(super) fn all(&self) -> String {
        self.key("*")
    }

    /// The name of a key that is never there.
    pub(super) fn nothing(&self) -> String {
        self.key(NOTHING)
    }

    /// The name of the stream, and of the channel, of events.
    pub(super) fn events(&self) -> String {
        self.key("ev")
    }

    /// The name of the list, and of the channel, of what a node is told.
    pub(super) fn inbox(&self, node: NodeId) -> Vec<u8> {
        self.of_node("i:", node)
    }

    /// The name of a sorted set of a node's requests.
    pub(super) fn of_node(&self, kind: &str, node: NodeId) -> Vec<u8> {
        let mut name = self.key(kind).into_bytes();
        name.extend(node.to_u128().to_be_bytes());
        name
    }

    /// The name of the sorted set of a session's requests.
    pub(super) fn of_session(&self, session: SessionId) -> Vec<u8> {
        let mut name = self.key("g:s").into_bytes();
        name.extend(session.to_u128().to_be_bytes());
        name
    }

    /// What the space was found to be.
    pub(super) fn opened(&self) -> Option<Opened> {
        self.known().clone()
    }

    /// Goes by what the space was found to be from `now` on.
    pub(super) fn adopt(&self, epoch: Epoch, key: SpaceKey, now: Time) {
        let before = self.opened();
        let since = match &before {
            Some(known) if known.epoch == epoch => known.since,
            Some(_) => now,
            // Nothing has begun yet.
            None => Time::default(),
        };
        *self.known() = Some(Opened { epoch, key, since });
        match before {
            // Nor is there anything to be said.
            None => self.has_said(epoch),
            // Whoever has to say it looks.
            Some(_) => self.said.send_modify(|_| {}),
        }
    }

    /// Whether the node has said what it had, if it has to.
    pub(super) fn is_said(&self) -> bool {
        let epoch = self.opened().map(|it| it.epoch);
        *self.said.borrow() == epoch
    }

    /// It has, in this epoch.
    pub(super) fn has_said(&self, epoch: Epoch) {
        self.said.send_replace(Some(epoch));
    }

    /// Waits until it has, or until it has to.
    pub(super) async fn until_said(&self, is_said: bool) {
        let mut said = self.said.subscribe();
        while self.is_said() != is_said {
            if said.changed().await.is_err() {
                return;
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<Opened>> {
        self.opened
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    /// The command that takes the space as it is on this run of a server, or
    /// makes it. The node has heard of what it had `reached`.
    pub(super) fn open(&self, run: &str, reached: &Reached) -> Cmd {
        let new: Epoch = rand::random();
        let known = self.opened();
        let (before, key) = match &known {
            Some(known) => (&known.epoch[..], known.key.clone()),
            None => (&[][..], SpaceKey::mint()),
        };
        let mut command = self.function("open");
        command.arg(&new[..]).arg(&key.to_bytes()[..]).arg(run);
        command.arg(before).arg(codec::seen(reached, self.reclaim));
        self.stamp(command)
    }

    /// The command that reads the epoch, and how far the space has come.
    pub(super) fn read_reached(&self) -> Cmd {
        let mut command = cmd("GETRANGE");
        command.arg(self.key("m")).arg(0).arg(REACHED - 1);
        command
    }

    /// How far it has come, as it was read while the space was still the same.
    pub(super) fn reached(&self, read: &[u8]) -> Option<Reached> {
        let (epoch, numbers) = read.split_first_chunk::<{ size_of::<Epoch>() }>()?;
        if self.opened()?.epoch != *epoch {
            return None;
        }
        // Wall clock, time, token, arrival, revision, commit: see `step.lua`.
        let number = |at: usize| {
            let bytes = numbers.get(8 * at..)?.first_chunk()?;
            Some(f64::from_le_bytes(*bytes) as u64)
        };
        Some(Reached {
            now: Time::from_micros(number(1)?),
            token: number(2)?,
            revision: number(4)?,
            commit: number(5)?,
        })
    }

    /// The epoch in which it is called.
    pub(super) fn epoch(&self) -> Epoch {
        let epoch = self.known().as_ref().map(|it| it.epoch);
        epoch.unwrap_or_default()
    }

    /// The command that has operations done, one after the other, if the space is
    /// still in this epoch.
    pub(super) fn call(&self, epoch: Epoch, by: Caller, operations: &[&Arguments]) -> Cmd {
        let takes = operations.iter().any(|it| it.operation.takes());
        let mut command = self.function(if takes { "take" } else { "give" });
        command.arg(&epoch[..]);
        command.arg(&by.node.to_u128().to_be_bytes()[..]);
        command.arg(by.connection);
        command.arg(&self.limits[..]);
        command = self.stamp(command);
        for it in operations {
            command.arg(it.operation.name()).arg(&it.packed[..]);
        }
        command
    }

    fn function(&self, name: &str) -> Cmd {
        let mut command = cmd("FCALL");
        command.arg(format!("{}_{name}", self.library.name()));
        if self.is_in_cluster {
            command.arg(2).arg(self.key("m")).arg(self.nothing());
        } else {
            command.arg(1).arg(self.key("m"));
        }
        command
    }

    fn stamp(&self, mut command: Cmd) -> Cmd {
        match &self.time {
            Some(time) => command.arg(time.now().as_micros()),
            None => command.arg(""),
        };
        command
    }
}

/// What stands in braces in the names of a space's keys, by which its slot is
/// chosen.
pub(super) fn tag(space: &str) -> String {
    format!("lp:{space}")
}
