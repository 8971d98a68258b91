//! Ids of repeatable requests that have ended: remembered for [`MEMORY`], or
//! for as long as there is room, so that a request that comes again, or comes
//! late, is refused and not granted a second time.
//!
//! An id that is cancelled before it was ever seen costs whoever does that
//! nothing else. So each principal may have only so many of those remembered,
//! and cannot make the others' be forgotten. (After a restart it has none.)

use super::hash::IdMap;
use super::{Core, Effect, Ended};
use crate::id::GrantId;
use crate::store::{AcquireError, Cancelled, MEMORY, Principal, ReleaseError};
use crate::time::Time;
use std::collections::{HashMap, VecDeque};

/// The ids that have ended.
#[derive(Debug)]
pub(super) struct EndedIds {
    ids: IdMap<GrantId, (Time, Ended)>,
    /// In the order in which they ended.
    order: VecDeque<Entry>,
    /// When each principal cancelled what had not been seen, the oldest first:
    /// of those entries in `order` that say so, perhaps less some of the oldest.
    unseen: HashMap<Principal, VecDeque<Time>>,
    room: usize,
}

/// When an id ended.
#[derive(Debug)]
struct Entry {
    at: Time,
    id: GrantId,
    /// Who cancelled it before it was seen, if it ended so.
    /// Mostly nobody, so it has little room.
    canceller: Option<Box<Principal>>,
}

impl EndedIds {
    /// None yet, and room for so many.
    pub(super) fn new(room: usize) -> Self {
        Self {
            ids: IdMap::default(),
            order: VecDeque::new(),
            unseen: HashMap::new(),
            room,
        }
    }

    /// How an id ended, unless that was too long ago.
    pub(super) fn get(&self, id: GrantId, now: Time) -> Option<Ended> {
        let (at, how) = self.ids.get(&id)?;
        is_known(*at, now).then_some(*how)
    }

    /// Remembers an id, and sweeps what need not be known any more.
    pub(super) fn insert(&mut self, id: GrantId, how: Ended, at: Time, now: Time) {
        self.ids.insert(id, (at, how));
        let canceller = None;
        self.order.push_back(Entry { at, id, canceller });
        self.sweep(now);
    }

    /// Remembers an id that `canceller` cancelled before it was seen. `false`,
    /// and nothing changes, if `most` of its are remembered already.
    pub(super) fn insert_unseen(
        &mut self,
        id: GrantId,
        canceller: &Principal,
        most: usize,
        now: Time,
    ) -> bool {
        let times = self.unseen.entry(canceller.clone()).or_default();
        if times.len() >= most {
            let oldest = times.front().copied();
            if oldest.is_none_or(|it| is_known(it, now)) {
                return false;
            }
            times.pop_front();
        }
        times.push_back(now);
        self.ids.insert(id, (now, Ended::NeverGranted));
        self.order.push_back(Entry {
            at: now,
            id,
            canceller: Some(Box::new(canceller.clone())),
        });
        self.sweep(now);
        true
    }

    /// Forgets two at most for each that is added: bounded work, and it keeps
    /// up.
    fn sweep(&mut self, now: Time) {
        for _ in 0..2 {
            let has_room = self.order.len() <= self.room;
            let needless = |it: &mut Entry| !has_room || !is_known(it.at, now);
            let Some(entry) = self.order.pop_front_if(needless) else {
                return;
            };
            // It may have ended again since it was forgotten.
            if self.ids.get(&entry.id).is_some_and(|it| it.0 == entry.at) {
                self.ids.remove(&entry.id);
            }
            if let Some(canceller) = entry.canceller {
                self.uncount(&canceller, entry.at);
            }
        }
    }

    /// Forgets when a principal cancelled, if that is still known.
    fn uncount(&mut self, canceller: &Principal, at: Time) {
        let Some(times) = self.unseen.get_mut(canceller) else {
            return;
        };
        if times.front().is_some_and(|it| *it <= at) {
            times.pop_front();
        }
        if times.is_empty() {
            self.unseen.remove(canceller);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}

/// Whether what ended then is remembered still.
fn is_known(at: Time, now: Time) -> bool {
    at + MEMORY >= now
}

impl Ended {
    /// What a request of this id is answered.
    pub(super) fn to_acquire(self) -> AcquireError {
        match self {
            Self::WasGranted => AcquireError::Lost,
            Self::NeverGranted => AcquireError::Cancelled,
        }
    }

    /// What who cancels it is answered.
    pub(super) fn to_cancel(self) -> Cancelled {
        match self {
            Self::WasGranted => Cancelled::Granted,
            Self::NeverGranted => Cancelled::Cancelled,
        }
    }
}

impl Core {
    /// Remembers that an id has ended.
    pub(super) fn remember(
        &mut self,
        id: GrantId,
        how: Ended,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        self.ended.insert(id, how, now, now);
        self.write_end(id, how, effects);
    }

    /// Refuses an id before it comes.
    pub(super) fn cancel_unseen(
        &mut self,
        id: GrantId,
        principal: &Principal,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Cancelled, ReleaseError> {
        let most = self.limits.cancels_per_principal;
        if !self.ended.insert_unseen(id, principal, most, now) {
            self.tally.statistics.over_quota += 1;
            let text = format!("a principal cancels at most {most} requests that were not seen");
            return Err(ReleaseError::Quota(text));
        }
        let how = Ended::NeverGranted;
        self.write_end(id, how, effects);
        Ok(how.to_cancel())
    }

    fn write_end(&self, id: GrantId, how: Ended, effects: &mut Vec<Effect>) {
        if self.has_disk {
            effects.push(Effect::Remember(id, how));
        }
    }
}
