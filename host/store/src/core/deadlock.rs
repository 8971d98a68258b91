//! Waits that would never end.
//!
//! ```text
//!   owner A                         owner B
//!     | holds                         | holds
//!     v                               v
//!   lock x <---- waits for ---- B   lock y <---- waits for ---- A
//!                                     A waits for B, B waits for A: a cycle
//! ```
//!
//! An *owner* is whatever a request names as its owner, else its transaction or
//! its session, or else the request itself. (A transaction that was begun by
//! another names the same owner as that one, so who waits for its child waits
//! for it, and the other way round.) An owner waits for another if one of its
//! requests waits for a lock that the other holds in a mode that excludes it,
//! or that a request of the other is ahead for and excludes it. (One who waits
//! for a permit can go when *any* of the holders does, so it waits for them
//! only if they are all the same owner's.)
//!
//! # When it is looked for
//!
//! A cycle can only appear when a request begins to wait, and then goes through
//! that request. Whatever else happens adds no edge: who is served turns from
//! somebody ahead into a holder, and excludes the same requests as before; who
//! is granted something at once is waited for by nobody, because the queue was
//! empty or holds only readers like itself; every end takes edges away. So one
//! search is made for each new waiter, and it goes out from there. It is not
//! made at all if the waiter's owner has nothing else: the waiter is the last
//! in every queue, so nobody can wait for it. And it is the youngest of every
//! cycle that it closes: it is the one that is refused, and no other need be.
//!
//! # How
//!
//! ```text
//!   new waiter --> those it waits for --> their owners' other waits --> ...
//!                                          until its own owner is reached
//! ```
//!
//! Of those ahead in a queue, only the *entangled* are visited: their owners
//! have other requests, or they wait for several locks. All others wait for
//! nothing that whoever is behind them does not wait for as well, in this same
//! queue: a reader behind somebody who is not waits for all that he waits for
//! (see `edges.rs`).
//!
//! Nobody is looked at twice. Who is ahead of one waiter is ahead of whoever
//! waits behind it as well, and a holder is in the way of both; so a search
//! keeps a [`Mark`] in each queue, and the next waiter there goes on from it. A
//! search costs what there is to see, not that times the number of waiters.
//!
//! A call makes at most [`STEPS`] steps. A search that is not finished by then
//! goes on in [`Core::tick`], [`PAUSE`] later, while the graph changes under it.
//! No cycle is missed by that: what appears meanwhile goes through a request
//! that came meanwhile, and has a search of its own; what was there lasts until
//! somebody breaks it; and who has turned from a waiter into a holder has got a
//! token that is behind every mark, or takes the place of one of two by whom a
//! mark says that holders have several owners. But a path may be out of date, so it is
//! verified, edge by edge, before anybody is told; and if it does not hold the
//! search begins anew. By then the cycle may have younger members: the youngest
//! is told, and the search begins anew.

mod edges;

use super::groups::Group;
use super::locks::LockSlot;
use super::operations::End;
use super::request::{Arrival, Request};
use super::slab::At;
use super::table::Table;
use super::{Core, Effect};
use crate::store::{Cycle, Token};
use crate::time::Time;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

/// How many holders, waiters and requests one call looks at.
pub(crate) const STEPS: usize = 1_000;

/// How long a search that is not finished leaves the core to others.
pub(super) const PAUSE: Duration = Duration::from_millis(1);

/// The searches that are not finished.
#[derive(Debug)]
pub(super) struct Searches {
    /// [`STEPS`], but for tests.
    pub(super) steps: usize,
    /// The one that goes on, with all it has found out.
    current: Option<Search>,
    /// The others, which will begin anew: so they cost next to nothing.
    later: BTreeMap<Arrival, At<Request>>,
    /// When they go on, if there are any.
    due: Time,
}

/// A search for a way from a waiter back to its owner.
#[derive(Debug)]
struct Search {
    from: Node,
    owner: Owner,
    /// How each owner was reached first.
    reached: HashMap<Owner, Edge>,
    /// How far each queue was looked at. If another lock takes the place of one
    /// that was idle for a moment, all its requests are behind the mark.
    marks: HashMap<At<LockSlot>, Mark>,
    work: VecDeque<Work>,
}

/// A request, and what tells it from a later one in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    at: At<Request>,
    arrival: Arrival,
}

/// What tells an owner from all others there ever were: the serial of its
/// group, or the arrival of the request that is its own.
type Owner = Arrival;

/// Why one owner waits for another.
#[derive(Clone, Copy, Debug)]
struct Edge {
    from: Owner,
    waiter: Node,
    lock: At<LockSlot>,
    /// A request of the other, which holds the lock or is ahead.
    blocker: Node,
    to: Owner,
}

/// What is still to be looked at.
#[derive(Debug)]
enum Work {
    /// The requests of an owner, from this one on.
    Members {
        group: At<Group>,
        serial: Arrival,
        next: Node,
    },
    /// Whom a request waits for in one of its queues.
    Waiter { node: Node, place: usize },
}

/// How far a search has looked at a lock, whichever waiters it came from.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// The holders up to this token.
    holders: Token,
    /// The holders up to this token have one owner, if none in particular is
    /// waited for.
    alike: Token,
    /// But these two have not. As long as both are held, nobody in particular is
    /// waited for; once one is not, all are looked at again, because whoever was
    /// ahead and got its place may be of the other's owner.
    apart: Option<[Token; 2]>,
    /// The waiters up to this one.
    ahead: Arrival,
}

/// What a waiter finds when it looks on at a lock.
enum Sight {
    /// This request is in its way.
    Blocker(At<Request>),
    /// A holder that is in nobody's way by itself.
    Passed,
    /// There is nobody else.
    Nobody,
}

/// How far a search has come.
enum Progress {
    Nothing,
    Unfinished,
    Found(Vec<Edge>),
}

impl Core {
    /// Looks whether a request that begins to wait would wait forever.
    pub(super) fn search_from(&mut self, at: At<Request>, now: Time) -> Option<Cycle> {
        let request = &self.table.requests[at];
        let owner = self.table.owner(request)?;
        if self.table.groups.get(owner).count < 2 {
            return None;
        }
        let own = self.table.transaction(request);
        if let Some(cycle) = own.and_then(|it| self.table.waits_for_itself(at, it)) {
            return Some(cycle);
        }
        let mut search = Search::new(&self.table, at);
        match search.run(&self.table, self.searches.steps) {
            Progress::Found(path) => return Some(self.table.cycle(&path)),
            Progress::Nothing => {}
            Progress::Unfinished => {
                if self.searches.is_idle() {
                    self.searches.due = now + PAUSE;
                }
                if self.searches.current.is_none() {
                    self.searches.current = Some(search);
                } else {
                    let arrival = self.table.requests[at].arrival;
                    self.searches.later.insert(arrival, at);
                }
            }
        }
        None
    }

    /// Goes on with a search that is not finished, if one is due.
    pub(super) fn search_on(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.searches.due().is_none_or(|it| it > now) {
            return;
        }
        self.searches.due = now + PAUSE;
        let current = self.searches.current.take();
        let next = current.or_else(|| {
            let (_, at) = self.searches.later.pop_first()?;
            Some(Search::new(&self.table, at))
        });
        let Some(mut search) = next else {
            return;
        };
        let from = search.from.at;
        match search.run(&self.table, self.searches.steps) {
            Progress::Nothing => {}
            Progress::Unfinished => self.searches.current = Some(search),
            Progress::Found(path) if path.iter().all(|it| self.table.holds_true(it)) => {
                let cycle = self.table.cycle(&path);
                let waiters = path.iter().map(|it| it.waiter);
                let youngest = waiters.max_by_key(|it| it.arrival);
                let youngest = youngest.unwrap_or(search.from);
                if youngest != search.from {
                    self.searches.current = Some(Search::new(&self.table, from));
                }
                self.end_one(youngest.at, End::Deadlock(cycle), now, effects);
            }
            Progress::Found(_) => {
                self.searches.current = Some(Search::new(&self.table, from));
            }
        }
    }
}

impl Default for Searches {
    fn default() -> Self {
        Self {
            steps: STEPS,
            current: None,
            later: BTreeMap::new(),
            due: Time::default(),
        }
    }
}

impl Searches {
    /// When there is something to do, if there is.
    pub(super) fn due(&self) -> Option<Time> {
        (!self.is_idle()).then_some(self.due)
    }

    /// Gives up the search for a request that does not wait any more.
    pub(super) fn forget(&mut self, arrival: Arrival) {
        if self.is_idle() {
            return;
        }
        self.later.remove(&arrival);
        if self
            .current
            .as_ref()
            .is_some_and(|it| it.from.arrival == arrival)
        {
            self.current = None;
        }
    }

    /// A request is about to go: the search goes on behind it.
    pub(super) fn step_over(&mut self, table: &Table, at: At<Request>) {
        if let Some(search) = &mut self.current {
            search.step_over(table, at);
        }
    }

    /// The request that is visited next, if it is one of several.
    #[cfg(test)]
    pub(super) fn next_visit(&self) -> Option<At<Request>> {
        match self.current.as_ref()?.work.front()? {
            Work::Members { next, .. } => Some(next.at),
            Work::Waiter { .. } => None,
        }
    }

    /// Gives up all.
    #[cfg(test)]
    pub(super) fn stop(&mut self) {
        self.current = None;
        self.later.clear();
    }

    fn is_idle(&self) -> bool {
        self.current.is_none() && self.later.is_empty()
    }
}

impl Search {
    fn new(table: &Table, at: At<Request>) -> Self {
        let node = table.node(at);
        let work = Work::Waiter { node, place: 0 };
        Self {
            from: node,
            owner: table.owner_of(at),
            reached: HashMap::new(),
            marks: HashMap::new(),
            work: VecDeque::from([work]),
        }
    }

    fn run(&mut self, table: &Table, steps: usize) -> Progress {
        for _ in 0..steps {
            #[cfg(test)]
            table.searched.set(table.searched.get() + 1);
            let found = match self.work.pop_front() {
                None => return Progress::Nothing,
                Some(Work::Waiter { node, place }) => self.look(table, node, place),
                Some(Work::Members {
                    group,
                    serial,
                    next,
                }) => {
                    self.visit(table, group, serial, next);
                    None
                }
            };
            if let Some(last) = found {
                return Progress::Found(self.path(last));
            }
        }
        Progress::Unfinished
    }

    /// Goes past a request if it is the one to be visited next.
    fn step_over(&mut self, table: &Table, at: At<Request>) {
        let Some(Work::Members {
            group,
            serial,
            next,
        }) = self.work.front_mut()
        else {
            return;
        };
        if *next != table.node(at) {
            return;
        }
        let owner = table.groups.known(*group, *serial);
        let behind = owner.and_then(|it| table.requests[at].next_in(it.chain()));
        match behind {
            Some(behind) => *next = table.node(behind),
            None => drop(self.work.pop_front()),
        }
    }

    /// Visits one request of an owner. If it went before the search came to
    /// this owner, it goes on from the owner's first.
    fn visit(&mut self, table: &Table, group: At<Group>, serial: Arrival, next: Node) {
        let Some(owner) = table.groups.known(group, serial) else {
            return;
        };
        let first = || owner.first.map(|it| table.node(it));
        let next = table.known(next).map(|_| next).or_else(first);
        let Some((next, request)) = next.and_then(|it| Some((it, table.known(it)?))) else {
            return;
        };
        if !request.is_held() && table.owner(request) == Some(group) {
            self.work.push_back(Work::Waiter {
                node: next,
                place: 0,
            });
        }
        if let Some(next) = request.next_in(owner.chain()) {
            self.work.push_front(Work::Members {
                group,
                serial,
                next: table.node(next),
            });
        }
    }

    /// Looks at one more of those a request waits for. Answers the edge that
    /// leads back to the owner.
    fn look(&mut self, table: &Table, node: Node, place: usize) -> Option<Edge> {
        let request = table.known(node).filter(|it| !it.is_held())?;
        let Some(at) = request.locks.as_slice().get(place).copied() else {
            if self.is_own_view(table, node) {
                // It has passed its own by, which others have to see.
                self.marks.clear();
            }
            return None;
        };
        let lock = &table.locks.slots[at];
        let sight = table.look_on(request, lock, self.marks.entry(at).or_default());
        let is_last = matches!(sight, Sight::Nobody);
        let place = place + usize::from(is_last);
        self.work.push_front(Work::Waiter { node, place });
        match sight {
            Sight::Blocker(blocker) => self.reach(table, node, at, blocker),
            Sight::Passed | Sight::Nobody => None,
        }
    }

    /// Whether this is the waiter it began with, and a transaction's: that does
    /// not wait for itself (see `waits_for_itself`). It does wait for another
    /// transaction of its owner.
    fn is_own_view(&self, table: &Table, node: Node) -> bool {
        node == self.from && table.transaction(&table.requests[node.at]).is_some()
    }

    /// Goes from a waiter to the owner of a request in its way.
    fn reach(
        &mut self,
        table: &Table,
        waiter: Node,
        lock: At<LockSlot>,
        blocker: At<Request>,
    ) -> Option<Edge> {
        let edge = Edge {
            from: table.owner_of(waiter.at),
            waiter,
            lock,
            blocker: table.node(blocker),
            to: table.owner_of(blocker),
        };
        if edge.to == self.owner {
            let is_own = self.is_own_view(table, waiter) && table.is_of_one(waiter.at, blocker);
            return (!is_own).then_some(edge);
        }
        if edge.to == edge.from || self.reached.contains_key(&edge.to) {
            return None;
        }
        self.reached.insert(edge.to, edge);
        let other = &table.requests[blocker];
        match table.owner(other) {
            Some(group) => {
                let owner = table.groups.get(group);
                self.work.extend(owner.first.map(|first| Work::Members {
                    group,
                    serial: owner.serial,
                    next: table.node(first),
                }));
            }
            None => self.work.push_back(Work::Waiter {
                node: edge.blocker,
                place: 0,
            }),
        }
        None
    }

    /// The way that ends with `last`, from its beginning.
    fn path(&self, last: Edge) -> Vec<Edge> {
        let before = |it: &Edge| self.reached.get(&it.from).copied();
        let mut path: Vec<_> = std::iter::successors(Some(last), before).collect();
        path.reverse();
        path
    }
}
