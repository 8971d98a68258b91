//! Ids of repeatable requests that have ended: remembered for [`MEMORY`], or
//! for as long as there is room, so that a request that comes again, or comes
//! late, is refused and not granted a second time.

use super::hash::IdMap;
use super::{Core, Effect};
use crate::id::GrantId;
use crate::store::{AcquireError, Cancelled, MEMORY};
use crate::time::Time;
use std::collections::VecDeque;

/// The ids that have ended.
#[derive(Debug)]
pub(super) struct EndedIds {
    ids: IdMap<GrantId, Ended>,
    /// In the order in which they ended.
    order: VecDeque<(Time, GrantId)>,
    room: usize,
}

/// How and when an id ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    at: Time,
    /// Whether it had been granted.
    how: Cancelled,
}

impl EndedIds {
    /// None yet, and room for so many.
    pub(super) fn new(room: usize) -> Self {
        Self {
            ids: IdMap::default(),
            order: VecDeque::new(),
            room,
        }
    }

    /// How an id ended, unless that was too long ago.
    pub(super) fn get(&self, id: GrantId, now: Time) -> Option<Ended> {
        let ended = self.ids.get(&id)?;
        (ended.at + MEMORY >= now).then_some(*ended)
    }

    /// Remembers an id, and sweeps what need not be known any more.
    pub(super) fn insert(&mut self, id: GrantId, how: Cancelled, at: Time, now: Time) {
        self.ids.insert(id, Ended { at, how });
        self.order.push_back((at, id));
        // Two at most for each that is added: bounded work, and it keeps up.
        for _ in 0..2 {
            let Some((at, id)) = self.order.front().copied() else {
                return;
            };
            if at + MEMORY >= now && self.order.len() <= self.room {
                return;
            }
            self.order.pop_front();
            // It may have ended again since it was forgotten.
            if self.ids.get(&id).is_some_and(|it| it.at == at) {
                self.ids.remove(&id);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}

impl Ended {
    /// What a request of this id is answered.
    pub(super) fn to_acquire(self) -> AcquireError {
        match self.how {
            Cancelled::Granted => AcquireError::Lost,
            Cancelled::Cancelled => AcquireError::Cancelled,
        }
    }

    /// What who cancels it is answered.
    pub(super) fn to_cancel(self) -> Cancelled {
        self.how
    }
}

impl Core {
    /// Remembers that an id has ended.
    pub(super) fn remember(
        &mut self,
        id: GrantId,
        how: Cancelled,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        self.ended.insert(id, how, now, now);
        effects.push(Effect::Remember(id));
    }
}
