//! What a transaction has staged, in frames: one per open scope, the innermost
//! last. A scope writes to its own frame and reads through all below it; rolling
//! it back drops the frame, keeping it merges the frame into the one below.
//!
//! Frames rather than a log of undone values, because a key that is written a
//! thousand times then counts, and takes memory, once.

use crate::listing::{Bounds, Filling};
use crate::name::{Collection, Key, LockName};
use crate::store::{Order, Page, Versioned};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

/// Identifies the scope a frame belongs to.
pub(super) type ScopeNumber = u64;

/// The staged writes of a transaction.
pub(super) struct Overlay {
    /// The root's frame, then those of nested scopes.
    frames: Vec<Frame>,
    bytes: usize,
}

struct Frame {
    scope: ScopeNumber,
    writes: BTreeMap<Collection, BTreeMap<Key, Staged>>,
    bytes: usize,
}

/// A staged write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Staged {
    /// `None` removes the key.
    pub(super) value: Option<Bytes>,
    /// The lock that has to be held for it.
    pub(super) guard: Option<LockName>,
}

impl Overlay {
    pub(super) fn new(root: ScopeNumber) -> Self {
        Self {
            frames: vec![Frame::new(root)],
            bytes: 0,
        }
    }

    /// Whether a scope has a frame: it was neither kept nor rolled back.
    pub(super) fn has(&self, scope: ScopeNumber) -> bool {
        self.frames.iter().any(|it| it.scope == scope)
    }

    /// Whether the innermost scope is a nested one.
    pub(super) fn is_nested(&self) -> bool {
        self.frames.len() > 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.iter().all(|it| it.writes.is_empty())
    }

    /// Opens the frame of a scope nested in the innermost one.
    pub(super) fn open(&mut self, scope: ScopeNumber) {
        self.frames.push(Frame::new(scope));
    }

    /// Merges the frame of a nested scope into its caller's. Frames above it,
    /// which nobody has decided on, are rolled back.
    pub(super) fn keep(&mut self, scope: ScopeNumber) {
        let Some(at) = self.position_of_nested(scope) else {
            return;
        };
        self.truncate(at + 1);
        let Some(frame) = self.frames.pop() else {
            return;
        };
        self.bytes -= frame.bytes;
        for (collection, writes) in frame.writes {
            for (key, staged) in writes {
                self.put(collection.clone(), key, staged);
            }
        }
    }

    /// Drops the frame of a nested scope, and those above it.
    pub(super) fn roll_back(&mut self, scope: ScopeNumber) {
        if let Some(at) = self.position_of_nested(scope) {
            self.truncate(at);
        }
    }

    /// Stages a write in the innermost frame.
    pub(super) fn put(&mut self, collection: Collection, key: Key, staged: Staged) {
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        let added = size(&key, &staged);
        let writes = frame.writes.entry(collection).or_default();
        // The key itself is counted once, whatever it is written with.
        let removed = writes.get(&key).map_or(0, |it| size(&key, it));
        writes.insert(key, staged);
        frame.bytes = frame.bytes + added - removed;
        self.bytes = self.bytes + added - removed;
    }

    /// How many bytes would be staged after such a [`Overlay::put`].
    pub(super) fn bytes_after(&self, collection: &Collection, key: &Key, staged: &Staged) -> usize {
        let top = self
            .frames
            .last()
            .and_then(|it| it.writes.get(collection)?.get(key));
        self.bytes + size(key, staged) - top.map_or(0, |it| size(key, it))
    }

    /// What is staged for a key.
    pub(super) fn get(&self, collection: &Collection, key: &Key) -> Option<&Staged> {
        let mut frames = self.frames.iter().rev();
        frames.find_map(|it| it.writes.get(collection)?.get(key))
    }

    /// Whether anything is staged that needs one of these locks.
    pub(super) fn needs_any(&self, names: &[LockName]) -> bool {
        let writes = self.frames.iter().flat_map(|it| it.writes.values());
        let guards = writes
            .flat_map(BTreeMap::values)
            .filter_map(|it| it.guard.as_ref());
        guards.into_iter().any(|it| names.contains(it))
    }

    /// What is staged within `bounds`, in the order asked for, to be merged
    /// with what the store lists.
    pub(super) fn within(&self, collection: &Collection, bounds: &Bounds, order: Order) -> Merge {
        let mut staged = BTreeMap::new();
        if !bounds.is_empty() {
            let from = Bound::Included(bounds.from.as_str());
            let to = bounds
                .to
                .as_deref()
                .map_or(Bound::Unbounded, Bound::Excluded);
            for writes in self
                .frames
                .iter()
                .filter_map(|it| it.writes.get(collection))
            {
                let range = writes.range::<str, _>((from, to));
                staged.extend(range.map(|(key, it)| (key.clone(), it.value.clone())));
            }
        }
        let staged = staged.into_iter();
        Merge {
            order,
            staged: match order {
                Order::Ascending => staged.collect(),
                Order::Descending => staged.rev().collect(),
            },
        }
    }

    /// Takes what the root has staged. Frames above it, which nobody has
    /// decided on, are rolled back.
    pub(super) fn take(&mut self) -> Vec<(Collection, Key, Staged)> {
        self.truncate(1);
        self.bytes = 0;
        let writes = self
            .frames
            .first_mut()
            .map(|it| std::mem::take(&mut it.writes));
        let of = |(collection, writes): (Collection, BTreeMap<Key, Staged>)| {
            let writes = writes.into_iter();
            writes.map(move |(key, staged)| (collection.clone(), key, staged))
        };
        writes
            .unwrap_or_default()
            .into_iter()
            .flat_map(of)
            .collect()
    }

    fn position_of_nested(&self, scope: ScopeNumber) -> Option<usize> {
        let at = self.frames.iter().position(|it| it.scope == scope)?;
        (at > 0).then_some(at)
    }

    fn truncate(&mut self, frames: usize) {
        let dropped = self.frames.drain(frames.min(self.frames.len())..);
        self.bytes -= dropped.map(|it| it.bytes).sum::<usize>();
    }
}

impl Frame {
    fn new(scope: ScopeNumber) -> Self {
        Self {
            scope,
            writes: BTreeMap::new(),
            bytes: 0,
        }
    }
}

fn size(key: &Key, staged: &Staged) -> usize {
    key.as_str().len() + staged.value.as_ref().map_or(0, Bytes::len)
}

/// Merges the pages of a store with what is staged.
pub(super) struct Merge {
    order: Order,
    /// What is not merged yet, in order; `None` removes the key.
    staged: VecDeque<(Key, Option<Bytes>)>,
}

/// Whether a merged page needs more of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// It is complete.
    Complete,
    /// It may have room for, or has to know of, what the store has behind its
    /// last page.
    Wants,
}

impl Merge {
    /// Merges one page of the store into `filling`, with everything staged up to
    /// the page's last entry or, if there is nothing behind that, to the end.
    pub(super) fn add(&mut self, page: Page, filling: &mut Filling) -> Merged {
        let has_more = page.more;
        for (key, value) in page.entries {
            while let Some((staged, value)) = self.next_before(&key) {
                if !add_staged(filling, staged, value) {
                    return Merged::Complete;
                }
            }
            let is_added = match self.next_at(&key) {
                Some(staged) => add_staged(filling, key, staged),
                None => filling.add(key, value),
            };
            if !is_added {
                return Merged::Complete;
            }
        }
        if has_more {
            // What the store has next is a removed key at worst as often as
            // there are removals left.
            let removals = self.staged.iter().any(|(_, value)| value.is_none());
            if !removals && filling.is_full() {
                filling.has_more();
                return Merged::Complete;
            }
            return Merged::Wants;
        }
        while let Some((key, value)) = self.staged.pop_front() {
            if !add_staged(filling, key, value) {
                break;
            }
        }
        Merged::Complete
    }

    fn next_before(&mut self, key: &Key) -> Option<(Key, Option<Bytes>)> {
        let (staged, _) = self.staged.front()?;
        let is_before = match self.order {
            Order::Ascending => staged < key,
            Order::Descending => staged > key,
        };
        is_before.then(|| self.staged.pop_front()).flatten()
    }

    fn next_at(&mut self, key: &Key) -> Option<Option<Bytes>> {
        let (staged, _) = self.staged.front()?;
        let found = (staged == key).then(|| self.staged.pop_front()).flatten()?;
        Some(found.1)
    }
}

/// Adds a staged value, if it is one. `false` if the page is full.
fn add_staged(filling: &mut Filling, key: Key, value: Option<Bytes>) -> bool {
    let version = 0;
    value.is_none_or(|value| filling.add(key, Versioned { value, version }))
}
