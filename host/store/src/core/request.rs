//! One request for locks, from the moment it waits or holds until it ends.

use super::groups::Group;
use super::locks::LockSlot;
use super::principals::Account;
use super::slab::At;
use crate::id::GrantId;
use crate::name::LockName;
use crate::store::{Mode, Token};
use crate::time::Time;
use std::sync::Arc;
use std::time::Duration;

/// The order in which requests arrived: the place in every queue.
pub(super) type Arrival = u64;

/// A request that waits or is held.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: GrantId,
    pub(super) repeatable: bool,
    pub(super) arrival: Arrival,
    /// When it was asked for.
    pub(super) asked: Time,
    pub(super) mode: Mode,
    /// The locks it holds or is queued for, in the order it named them.
    pub(super) locks: LockList,
    /// What else it named, and its transaction had already: mostly nothing.
    pub(super) views: Option<Box<Views>>,
    /// The longest lease it was given.
    pub(super) lease: Option<Duration>,
    pub(super) stage: Stage,
    pub(super) principal: At<Account>,
    pub(super) label: Arc<str>,
    /// The transaction or the session it hangs on.
    pub(super) life: Option<At<Group>>,
    /// The owner it names.
    pub(super) named: Option<At<Group>>,
    pub(super) in_life: Links,
    pub(super) in_named: Links,
}

/// Where in its life a request is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// It waits until then.
    Waiting { until: Time },
    /// It holds its locks.
    Held {
        token: Token,
        since: Time,
        /// [`NEVER`]: until its transaction or session ends.
        until: Time,
    },
}

/// The deadline of what has none.
pub(super) const NEVER: Time = Time::from_micros(u64::MAX);

/// Locks of a request; by far the most have one.
#[derive(Debug)]
pub(super) enum LockList {
    One(At<LockSlot>),
    Many(Box<[At<LockSlot>]>),
}

/// What a request named and its transaction had already, in the order it named
/// it.
#[derive(Clone, Debug)]
pub(super) struct Views(pub(super) Vec<View>);

/// A name whose lock the request's transaction holds by another grant.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// The how-manieth name of the request it is.
    pub(super) place: usize,
    pub(super) name: LockName,
    pub(super) token: Token,
}

/// The neighbours of a request in a chain of requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Links {
    pub(super) before: Option<At<Request>>,
    pub(super) behind: Option<At<Request>>,
}

impl Request {
    pub(super) fn is_held(&self) -> bool {
        matches!(self.stage, Stage::Held { .. })
    }

    /// The token it holds its locks by; 0 while it waits.
    pub(super) fn token(&self) -> Token {
        match self.stage {
            Stage::Held { token, .. } => token,
            Stage::Waiting { .. } => 0,
        }
    }

    /// How long its lease lasts from `now`, if it has one.
    pub(super) fn remaining(&self, now: Time) -> Option<Duration> {
        match self.stage {
            Stage::Held { until, .. } if until != NEVER => Some(until.since(now)),
            Stage::Held { .. } | Stage::Waiting { .. } => None,
        }
    }
}

impl LockList {
    pub(super) fn as_slice(&self) -> &[At<LockSlot>] {
        match self {
            Self::One(lock) => std::slice::from_ref(lock),
            Self::Many(locks) => locks,
        }
    }

    pub(super) fn contains(&self, lock: At<LockSlot>) -> bool {
        self.as_slice().contains(&lock)
    }
}

impl From<Vec<At<LockSlot>>> for LockList {
    fn from(locks: Vec<At<LockSlot>>) -> Self {
        match locks.as_slice() {
            [lock] => Self::One(*lock),
            _ => Self::Many(locks.into()),
        }
    }
}
