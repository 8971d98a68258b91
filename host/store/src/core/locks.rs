//! The locks that are not idle: who holds each, who waits, and who may go.

use super::order::Order;
use super::request::{Arrival, Request};
use super::slab::{At, Slab};
use crate::name::LockName;
use crate::store::{Mode, Token};
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

/// Every lock that is held or waited for.
#[derive(Debug, Default)]
pub(super) struct Locks {
    pub(super) slots: Slab<LockSlot>,
    names: HashMap<LockName, At<LockSlot>>,
    pub(super) order: Order,
}

/// One lock that is not idle.
#[derive(Debug)]
pub(super) struct LockSlot {
    pub(super) name: LockName,
    /// How it is held; of no meaning while nobody holds it.
    pub(super) mode: Mode,
    pub(super) holders: Holders,
    queue: Option<Box<Queue>>,
}

/// Who holds a lock, by token: the longest first.
#[derive(Debug, Default)]
pub(super) enum Holders {
    #[default]
    Nobody,
    One(Token, At<Request>),
    Many(BTreeMap<Token, At<Request>>),
}

/// Who waits for a lock, by arrival.
type Line = BTreeMap<Arrival, At<Request>>;

/// Who waits for a lock: one line for each mode, which together are one queue.
/// So whether anybody who excludes readers is ahead of one is a comparison.
#[derive(Debug, Default)]
pub(super) struct Queue {
    readers: Line,
    writers: Line,
    permits: Line,
    /// Those of all lines whose owners have other requests, or that wait for
    /// several locks: only they lead from one queue to another.
    entangled: Line,
}

impl Locks {
    pub(super) fn find(&self, name: &LockName) -> Option<At<LockSlot>> {
        self.names.get(name).copied()
    }

    pub(super) fn get(&self, name: &LockName) -> Option<&LockSlot> {
        self.find(name).map(|at| &self.slots[at])
    }

    /// As [`Locks::get`], by the name's text.
    pub(super) fn get_by_text(&self, name: &str) -> Option<&LockSlot> {
        self.names.get(name).map(|at| &self.slots[*at])
    }

    pub(super) fn find_or_add(&mut self, name: LockName) -> At<LockSlot> {
        let (slots, order) = (&mut self.slots, &mut self.order);
        *self.names.entry(name).or_insert_with_key(|name| {
            order.add(name);
            slots.insert(LockSlot::new(name.clone()))
        })
    }

    /// Forgets a lock if it is idle. Whether it was.
    pub(super) fn retire(&mut self, at: At<LockSlot>) -> bool {
        let slot = &self.slots[at];
        let is_idle = slot.holders.is_empty() && slot.queue.is_none();
        if is_idle && let Some(slot) = self.slots.remove(at) {
            self.names.remove(&slot.name);
            self.order.remove(&slot.name);
        }
        is_idle
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.slots.len() == 0 && self.names.is_empty()
    }
}

impl LockSlot {
    fn new(name: LockName) -> Self {
        Self {
            name,
            mode: Mode::default(),
            holders: Holders::Nobody,
            queue: None,
        }
    }

    pub(super) fn queue(&self) -> Option<&Queue> {
        self.queue.as_deref()
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue().map_or(0, Queue::len)
    }

    /// How many hold it together, or will as soon as it is theirs: readers all
    /// get it at once.
    pub(super) fn readers(&self) -> usize {
        let waiting = self.queue().map_or(0, |it| it.readers.len());
        match self.mode {
            Mode::Shared => self.holders.len() + waiting,
            Mode::Exclusive | Mode::Permits(_) => waiting,
        }
    }

    /// The number of permits with which it is held or waited for.
    pub(super) fn permits(&self, requests: &Slab<Request>) -> Option<NonZeroU32> {
        let of = |mode| match mode {
            Mode::Permits(number) => Some(number),
            Mode::Exclusive | Mode::Shared => None,
        };
        let held = || (!self.holders.is_empty()).then_some(self.mode);
        let waiting = || {
            let first = self.queue()?.permits.first_key_value()?;
            Some(requests[*first.1].mode)
        };
        held().and_then(of).or_else(|| waiting().and_then(of))
    }

    /// Whether those who hold it leave room for one more in this mode.
    pub(super) fn admits(&self, mode: Mode) -> bool {
        match (self.mode, mode) {
            _ if self.holders.is_empty() => true,
            (Mode::Shared, Mode::Shared) => true,
            (Mode::Permits(held), Mode::Permits(asked)) => {
                held == asked && self.holders.len() < held.get() as usize
            }
            _ => false,
        }
    }

    /// Whether somebody who comes now would have to let nobody pass first.
    pub(super) fn is_open_to_new(&self, mode: Mode) -> bool {
        match self.queue() {
            None => true,
            Some(queue) => mode == Mode::Shared && queue.first_other().is_none(),
        }
    }

    /// Whether it is the turn of one who waits. Readers go as soon as nobody
    /// ahead excludes them; all others one by one.
    pub(super) fn is_turn_of(&self, mode: Mode, arrival: Arrival) -> bool {
        let Some(queue) = self.queue() else {
            return false;
        };
        match mode {
            Mode::Shared => queue.first_other().is_none_or(|it| it.0 > arrival),
            Mode::Exclusive | Mode::Permits(_) => {
                queue.first_blocking().is_some_and(|it| it.0 == arrival)
            }
        }
    }

    pub(super) fn hold(&mut self, mode: Mode, token: Token, request: At<Request>) {
        debug_assert!(self.admits(mode), "too many holders of {}", self.name);
        self.mode = mode;
        self.holders.insert(token, request);
    }

    pub(super) fn enqueue(&mut self, mode: Mode, arrival: Arrival, request: At<Request>) {
        let queue = self.queue.get_or_insert_default();
        queue.line(mode).insert(arrival, request);
    }

    pub(super) fn dequeue(&mut self, mode: Mode, arrival: Arrival) {
        if let Some(queue) = &mut self.queue {
            queue.line(mode).remove(&arrival);
            queue.entangled.remove(&arrival);
            if queue.len() == 0 {
                self.queue = None;
            }
        }
    }

    /// Says whether one who waits leads from this queue to another.
    pub(super) fn entangle(&mut self, arrival: Arrival, request: At<Request>, does: bool) {
        if let Some(queue) = &mut self.queue {
            if does {
                queue.entangled.insert(arrival, request);
            } else {
                queue.entangled.remove(&arrival);
            }
        }
    }
}

impl Holders {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::One(..) => 1,
            Self::Many(holders) => holders.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The only holder.
    pub(super) fn only(&self) -> Option<At<Request>> {
        match self {
            Self::One(_, request) => Some(*request),
            Self::Nobody | Self::Many(_) => None,
        }
    }

    /// Whether a grant with this token is one of them.
    pub(super) fn has(&self, token: Token) -> bool {
        let from = self.behind(token.saturating_sub(1)).next();
        from.is_some_and(|it| it.0 == token)
    }

    /// Those whose tokens are greater than `after`, the longest first.
    pub(super) fn behind(&self, after: Token) -> impl Iterator<Item = (Token, At<Request>)> {
        let one = match self {
            Self::One(token, request) => Some((*token, *request)),
            Self::Nobody | Self::Many(_) => None,
        };
        let many = match self {
            Self::Many(holders) => Some(holders.range(after.saturating_add(1)..)),
            Self::Nobody | Self::One(..) => None,
        };
        let many = many.into_iter().flatten().map(|it| (*it.0, *it.1));
        one.filter(|it| it.0 > after).into_iter().chain(many)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = At<Request>> {
        self.behind(0).map(|it| it.1)
    }

    fn insert(&mut self, token: Token, request: At<Request>) {
        match self {
            Self::Nobody => *self = Self::One(token, request),
            Self::One(first, holder) => {
                *self = Self::Many(BTreeMap::from([(*first, *holder), (token, request)]));
            }
            Self::Many(holders) => drop(holders.insert(token, request)),
        }
    }

    pub(super) fn remove(&mut self, token: Token) {
        match self {
            Self::Nobody => {}
            Self::One(first, _) => {
                if *first == token {
                    *self = Self::Nobody;
                }
            }
            Self::Many(holders) => {
                holders.remove(&token);
                if holders.is_empty() {
                    *self = Self::Nobody;
                }
            }
        }
    }
}

impl Queue {
    fn line(&mut self, mode: Mode) -> &mut Line {
        match mode {
            Mode::Exclusive => &mut self.writers,
            Mode::Shared => &mut self.readers,
            Mode::Permits(_) => &mut self.permits,
        }
    }

    fn len(&self) -> usize {
        self.readers.len() + self.writers.len() + self.permits.len()
    }

    /// The first that is not a reader.
    pub(super) fn first_other(&self) -> Option<(Arrival, At<Request>)> {
        earlier(first(&self.writers), first(&self.permits))
    }

    /// The first of all, if it is not a reader.
    pub(super) fn first_blocking(&self) -> Option<(Arrival, At<Request>)> {
        let other = self.first_other()?;
        let is_first = first(&self.readers).is_none_or(|it| it.0 > other.0);
        is_first.then_some(other)
    }

    /// The first of all.
    pub(super) fn first(&self) -> Option<(Arrival, At<Request>)> {
        earlier(self.first_other(), first(&self.readers))
    }

    /// The readers that arrived after `after` and whom nobody ahead excludes.
    pub(super) fn leading_readers(
        &self,
        after: Arrival,
    ) -> impl Iterator<Item = (Arrival, At<Request>)> {
        let end = self.first_other().map_or(Arrival::MAX, |it| it.0);
        let range = (after < end).then(|| self.readers.range(after..end));
        range.into_iter().flatten().map(|it| (*it.0, *it.1))
    }

    /// The last ahead of `arrival` that is not a reader.
    pub(super) fn other_before(&self, arrival: Arrival) -> Option<(Arrival, At<Request>)> {
        later(
            before(&self.writers, arrival),
            before(&self.permits, arrival),
        )
    }

    /// The last ahead of `arrival`.
    pub(super) fn before(&self, arrival: Arrival) -> Option<(Arrival, At<Request>)> {
        later(self.other_before(arrival), before(&self.readers, arrival))
    }

    /// Whether anybody ahead of `arrival` asks for something else than permits.
    pub(super) fn has_no_permits_before(&self, arrival: Arrival) -> bool {
        let earlier = earlier(first(&self.writers), first(&self.readers));
        earlier.is_some_and(|it| it.0 < arrival)
    }

    /// The first of the entangled behind `after` and ahead of `bound`.
    pub(super) fn entangled_between(
        &self,
        after: Arrival,
        bound: Arrival,
    ) -> Option<(Arrival, At<Request>)> {
        let range = (after + 1 < bound).then(|| self.entangled.range(after + 1..bound));
        let (arrival, request) = range?.next()?;
        Some((*arrival, *request))
    }

    /// All who wait, the first first.
    pub(super) fn iter(&self) -> impl Iterator<Item = At<Request>> {
        let lines = [&self.readers, &self.writers, &self.permits];
        let mut lines = lines.map(|it| it.iter().peekable());
        std::iter::from_fn(move || {
            let next = lines.iter_mut().filter_map(|it| Some((*it.peek()?.0, it)));
            let (_, line) = next.min_by_key(|it| it.0)?;
            line.next().map(|it| *it.1)
        })
    }
}

fn first(line: &Line) -> Option<(Arrival, At<Request>)> {
    line.first_key_value().map(|it| (*it.0, *it.1))
}

fn before(line: &Line, arrival: Arrival) -> Option<(Arrival, At<Request>)> {
    line.range(..arrival).next_back().map(|it| (*it.0, *it.1))
}

type Waiter = Option<(Arrival, At<Request>)>;

fn earlier(one: Waiter, other: Waiter) -> Waiter {
    one.into_iter().chain(other).min()
}

fn later(one: Waiter, other: Waiter) -> Waiter {
    one.into_iter().chain(other).max()
}
