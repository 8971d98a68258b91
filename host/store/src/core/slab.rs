//! Things of one kind, found by a small number that stays theirs until they
//! are taken out.
//!
//! Pages keep growth even: nothing is ever copied to make room, so no single
//! operation pays for all that came before it.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

/// How many things a page holds.
const PAGE: usize = 1024;

/// Where in its [`Slab`] a thing is. Used by others once the thing is gone.
pub(super) struct At<T>(NonZeroU32, PhantomData<fn() -> T>);

/// A pool of things.
#[derive(Debug)]
pub(super) struct Slab<T> {
    pages: Vec<Vec<Option<T>>>,
    /// How many things each page holds.
    taken: Vec<usize>,
    free: Vec<At<T>>,
}

impl<T> Slab<T> {
    /// Takes in a thing.
    pub(super) fn insert(&mut self, thing: T) -> At<T> {
        if let Some(at) = self.free.pop() {
            let (page, place) = at.split();
            self.pages[page][place] = Some(thing);
            self.taken[page] += 1;
            return at;
        }
        if self.pages.last().is_none_or(|it| it.len() == PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
            self.taken.push(0);
        }
        let page = self.pages.len() - 1;
        self.pages[page].push(Some(thing));
        self.taken[page] += 1;
        At::join(page, self.pages[page].len() - 1)
    }

    /// Takes a thing out.
    pub(super) fn remove(&mut self, at: At<T>) -> Option<T> {
        let (page, place) = at.split();
        let thing = self.pages.get_mut(page)?.get_mut(place)?.take();
        if thing.is_some() {
            self.taken[page] -= 1;
            self.free.push(at);
        }
        thing
    }

    /// The thing that is there, if there is one.
    pub(super) fn get(&self, at: At<T>) -> Option<&T> {
        let (page, place) = at.split();
        self.pages.get(page)?.get(place)?.as_ref()
    }

    /// How many places there are, taken or free. A place keeps its number, from
    /// zero on, for as long as what is there stays.
    pub(super) fn places(&self) -> usize {
        let full = self.pages.len().saturating_sub(1) * PAGE;
        full + self.pages.last().map_or(0, Vec::len)
    }

    /// The first place from `place` on that may be taken: a page that holds
    /// nothing is gone by in one step.
    pub(super) fn skip_free(&self, place: usize) -> usize {
        let page = place / PAGE;
        match self.taken.get(page) {
            Some(0) => (page + 1) * PAGE,
            _ => place,
        }
    }

    /// The thing at a place.
    pub(super) fn at_place(&self, place: usize) -> Option<&T> {
        self.pages.get(place / PAGE)?.get(place % PAGE)?.as_ref()
    }

    /// How many things there are.
    pub(super) fn len(&self) -> usize {
        self.places() - self.free.len()
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            taken: Vec::new(),
            free: Vec::new(),
        }
    }
}

/// What is asked for is there: whoever keeps an [`At`] lets go of it when the
/// thing is taken out.
impl<T> Index<At<T>> for Slab<T> {
    type Output = T;

    fn index(&self, at: At<T>) -> &T {
        self.get(at).expect("it has not been taken out")
    }
}

impl<T> IndexMut<At<T>> for Slab<T> {
    fn index_mut(&mut self, at: At<T>) -> &mut T {
        let (page, place) = at.split();
        self.pages[page][place]
            .as_mut()
            .expect("it has not been taken out")
    }
}

// === impl At ===

impl<T> At<T> {
    fn join(page: usize, place: usize) -> Self {
        let number = u32::try_from(page * PAGE + place + 1);
        let number = number.expect("memory runs out long before four thousand million");
        Self(
            NonZeroU32::new(number).expect("one has been added"),
            PhantomData,
        )
    }

    fn split(self) -> (usize, usize) {
        let number = self.0.get() as usize - 1;
        (number / PAGE, number % PAGE)
    }
}

impl<T> Clone for At<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for At<T> {}

impl<T> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for At<T> {}

impl<T> PartialOrd for At<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for At<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl<T> Hash for At<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<T> fmt::Debug for At<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_holds_nothing_is_gone_by_in_one_step() {
        let mut slab = Slab::default();
        let all: Vec<_> = (0..10 * PAGE).map(|it| slab.insert(it)).collect();
        let stays = all[7 * PAGE + 3];
        for at in all {
            if at != stays {
                slab.remove(at);
            }
        }
        let (mut place, mut steps) = (0, 0);
        let mut seen: Vec<usize> = Vec::new();
        while place < slab.places() {
            steps += 1;
            let next = slab.skip_free(place);
            if next == place {
                seen.extend(slab.at_place(place));
                place += 1;
            } else {
                place = next;
            }
        }
        assert_eq!(seen, [7 * PAGE + 3]);
        assert_eq!(steps, 9 + PAGE);
        // It is filled again.
        for it in 0..10 * PAGE {
            slab.insert(it);
        }
        assert_eq!(slab.skip_free(0), 0);
    }
}
