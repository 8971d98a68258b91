//! The names of the locks in order, while somebody lists them.
//!
//! Keeping them in order costs every lock that comes and goes, and mostly nobody
//! lists. So the first listing puts them in order, in steps between which others
//! go on; while that lasts, and from then on, whatever comes and goes is kept in
//! order too. When nobody has listed for a while it is let go, in steps as well.

use super::Core;
use super::locks::LockSlot;
use super::slab::Slab;
use crate::name::LockName;
use std::collections::BTreeSet;
use std::ops::Bound;

/// The names in order, if somebody wants them so.
#[derive(Debug, Default)]
pub(super) struct Order {
    kept: Option<Kept>,
    /// Names that are kept no longer, and still take memory.
    fading: BTreeSet<LockName>,
}

#[derive(Debug, Default)]
struct Kept {
    names: BTreeSet<LockName>,
    /// The place to go on at: locks from there on are among them only if they
    /// came meanwhile.
    next: usize,
    /// Whether there is no such lock.
    is_complete: bool,
}

impl Core {
    /// Puts the names of the locks that are held or waited for in order, from
    /// where this was left on, in so many steps. Whether all are; they stay so
    /// until [`Core::forget_order`]. A step is a place, or a page of them that
    /// are all free: the cost is that of the locks there are and not, place by
    /// place, of the most there ever were.
    pub fn put_in_order(&mut self, steps: usize) -> bool {
        let locks = &mut self.table.locks;
        locks.order.go_on(&locks.slots, steps)
    }

    /// The names that begin with `prefix` and are behind `after`, in order: of
    /// all locks, once [`Core::put_in_order`] has said so.
    pub fn names<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a LockName>,
    ) -> impl Iterator<Item = &'a LockName> {
        let kept = self.table.locks.order.kept.iter();
        kept.flat_map(move |it| within(&it.names, prefix, after))
    }

    /// Lets go of the order of the names, in so many steps. Whether it is gone.
    pub fn forget_order(&mut self, steps: usize) -> bool {
        self.table.locks.order.forget(steps)
    }
}

impl Order {
    /// A lock is not idle any more.
    pub(super) fn add(&mut self, name: &LockName) {
        if let Some(kept) = &mut self.kept {
            kept.names.insert(name.clone());
        }
    }

    /// A lock is idle.
    pub(super) fn remove(&mut self, name: &LockName) {
        if let Some(kept) = &mut self.kept {
            kept.names.remove(name);
        }
    }

    fn go_on(&mut self, slots: &Slab<LockSlot>, steps: usize) -> bool {
        let kept = self.kept.get_or_insert_default();
        for _ in 0..steps {
            if kept.is_complete {
                break;
            }
            let place = slots.skip_free(kept.next);
            if place == kept.next {
                // It may have come meanwhile, and be there already.
                kept.names
                    .extend(slots.at_place(place).map(|it| it.name.clone()));
                kept.next += 1;
            } else {
                kept.next = place;
            }
            kept.is_complete = kept.next >= slots.places();
        }
        kept.is_complete
    }

    fn forget(&mut self, steps: usize) -> bool {
        if self.fading.is_empty() {
            self.fading = self.kept.take().unwrap_or_default().names;
        }
        for _ in 0..steps {
            if self.fading.pop_first().is_none() {
                break;
            }
        }
        self.fading.is_empty() && self.kept.is_none()
    }
}

fn within<'a>(
    names: &'a BTreeSet<LockName>,
    prefix: &'a str,
    after: Option<&'a LockName>,
) -> impl Iterator<Item = &'a LockName> {
    let from = match after {
        Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
        _ => Bound::Included(prefix),
    };
    let names = names.range::<str, _>((from, Bound::Unbounded));
    names.take_while(move |it| it.as_str().starts_with(prefix))
}
