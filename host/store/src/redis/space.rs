//! A space in a server: how its keys are called, and how its functions are.

use super::codec::{self, Arguments};
use super::library::Library;
use crate::clock::Clock;
use crate::core::Limits;
use crate::id::NodeId;
use crate::secret::SpaceKey;
use redis::{Cmd, cmd};
use std::sync::OnceLock;

/// A space, and the library that is used there.
pub(super) struct Space {
    /// What its keys begin with: they share a slot.
    tag: String,
    pub(super) library: Library,
    limits: Vec<u8>,
    opened: OnceLock<Opened>,
    /// The time that is handed in, if it does not go by the server's clock.
    time: Option<Clock>,
}

/// What holds for as long as the space does.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) epoch: Epoch,
    pub(super) key: SpaceKey,
    /// The run of the server that it was made on.
    pub(super) run: String,
}

/// Tells a space from one that was there before, of the same name.
pub(super) type Epoch = [u8; 16];

impl Space {
    pub(super) fn new(name: &str, library: Library, limits: &Limits, time: Option<Clock>) -> Self {
        Self {
            tag: format!("{{lp:{name}}}:"),
            library,
            limits: codec::limits(limits),
            opened: OnceLock::new(),
            time,
        }
    }

    /// The name of a key of the space.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.tag)
    }

    /// The name of the list, and of the channel, of what a node is told.
    pub(super) fn inbox(&self, node: NodeId) -> Vec<u8> {
        let mut name = self.key("i:").into_bytes();
        name.extend(node.to_u128().to_be_bytes());
        name
    }

    /// What the space was found to be when it was opened first.
    pub(super) fn opened(&self) -> Option<&Opened> {
        self.opened.get()
    }

    /// Remembers what the space was found to be, unless that is known. Answers
    /// whether it is still the same.
    pub(super) fn is_still(&self, found: &Opened) -> bool {
        let known = self.opened.get_or_init(|| found.clone());
        known.epoch == found.epoch
    }

    /// The command that opens the space, or makes it on this run of a server.
    pub(super) fn open(&self, run: &str) -> Cmd {
        let (epoch, key): (Epoch, _) = (rand::random(), SpaceKey::mint());
        let mut command = self.function("open");
        command.arg(&epoch[..]).arg(&key.to_bytes()[..]).arg(run);
        // In the place of the limits, which it does not need.
        command.arg("");
        self.stamp(command)
    }

    /// The command that reads the epoch.
    pub(super) fn read_epoch(&self) -> Cmd {
        let mut command = cmd("GETRANGE");
        command
            .arg(self.key("m"))
            .arg(0)
            .arg(size_of::<Epoch>() - 1);
        command
    }

    /// Whether this is what is read while the space is still the same.
    pub(super) fn is_epoch(&self, read: &[u8]) -> bool {
        self.opened().is_some_and(|it| it.epoch == *read)
    }

    /// The command that calls a function for a node.
    pub(super) fn call(&self, node: NodeId, arguments: &Arguments) -> Cmd {
        let epoch = self.opened().map(|it| it.epoch).unwrap_or_default();
        let mut command = self.function(arguments.function.name());
        command
            .arg(&epoch[..])
            .arg(&node.to_u128().to_be_bytes()[..]);
        command.arg(arguments.packed()).arg(&self.limits[..]);
        self.stamp(command)
    }

    fn function(&self, name: &str) -> Cmd {
        let mut command = cmd("FCALL");
        command.arg(format!("{}_{name}", self.library.name()));
        command.arg(1).arg(self.key("m"));
        command
    }

    fn stamp(&self, mut command: Cmd) -> Cmd {
        if let Some(time) = &self.time {
            command.arg(time.now().as_micros());
        }
        command
    }
}
