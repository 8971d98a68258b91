//! Who waits for whom, in one queue.

use super::{Edge, Mark, Node, Owner, STEPS, Sight};
use crate::core::groups::Group;
use crate::core::locks::LockSlot;
use crate::core::request::{Arrival, Request};
use crate::core::slab::At;
use crate::core::table::{Table, covers};
use crate::store::{Cycle, Link, Mode};

/// Which of a lock's holders a waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Nobody,
    All,
    /// For all if they have the same owner, else for none in particular.
    OneOwner,
}

impl Table {
    pub(super) fn node(&self, at: At<Request>) -> Node {
        let arrival = self.requests[at].arrival;
        Node { at, arrival }
    }

    /// A request, unless it has ended.
    pub(super) fn known(&self, node: Node) -> Option<&Request> {
        self.requests
            .get(node.at)
            .filter(|it| it.arrival == node.arrival)
    }

    /// Whether two requests are of one transaction.
    pub(super) fn is_of_one(&self, one: At<Request>, other: At<Request>) -> bool {
        let [one, other] = [one, other].map(|it| self.transaction(&self.requests[it]));
        one.is_some() && one == other
    }

    pub(in crate::core) fn owner_of(&self, at: At<Request>) -> Owner {
        let request = &self.requests[at];
        let group = self.owner(request);
        group.map_or(request.arrival, |it| self.groups.get(it).serial)
    }

    /// Which holders of a lock a request in its queue waits for: those who
    /// exclude it, and those who exclude somebody ahead that excludes it.
    fn waits_for_holders(&self, request: &Request, lock: &LockSlot) -> Waits {
        let Some(queue) = lock.queue().filter(|_| !lock.holders.is_empty()) else {
            return Waits::Nobody;
        };
        let arrival = request.arrival;
        match (lock.mode, request.mode) {
            (Mode::Shared, Mode::Shared) if queue.other_before(arrival).is_none() => Waits::Nobody,
            (Mode::Permits(_), Mode::Permits(_)) if !queue.has_no_permits_before(arrival) => {
                if lock.admits(request.mode) {
                    Waits::Nobody
                } else {
                    Waits::OneOwner
                }
            }
            _ => Waits::All,
        }
    }

    /// Everybody who arrived in the queue before this, a request waits for:
    /// itself if it is no reader, else behind the last ahead that is none.
    pub(super) fn bound(&self, request: &Request, lock: &LockSlot) -> Arrival {
        match request.mode {
            Mode::Exclusive | Mode::Permits(_) => request.arrival,
            Mode::Shared => {
                let other = lock.queue().and_then(|it| it.other_before(request.arrival));
                other.map_or(0, |it| it.0 + 1)
            }
        }
    }

    /// Goes on from a mark to the next who may be in the way of a request.
    pub(super) fn look_on(&self, request: &Request, lock: &LockSlot, mark: &mut Mark) -> Sight {
        let holder = match self.waits_for_holders(request, lock) {
            Waits::Nobody => Sight::Nobody,
            Waits::All => next_holder(lock, mark),
            Waits::OneOwner => self.next_alike(lock, mark),
        };
        if !matches!(holder, Sight::Nobody) {
            return holder;
        }
        let bound = self.bound(request, lock);
        let ahead = lock.queue();
        let ahead = ahead.and_then(|it| it.entangled_between(mark.ahead, bound));
        ahead.map_or(Sight::Nobody, |(arrival, other)| {
            mark.ahead = arrival;
            Sight::Blocker(other)
        })
    }

    /// The first holder, once it is seen that all have its owner.
    fn next_alike(&self, lock: &LockSlot, mark: &mut Mark) -> Sight {
        if let Some(apart) = mark.apart {
            if apart.iter().all(|it| lock.holders.has(*it)) {
                return Sight::Nobody;
            }
            (mark.apart, mark.alike) = (None, 0);
        }
        let Some((oldest, first)) = lock.holders.behind(0).next() else {
            return Sight::Nobody;
        };
        if let Some((token, holder)) = lock.holders.behind(mark.alike).next() {
            mark.alike = token;
            if self.owner_of(holder) != self.owner_of(first) {
                mark.apart = Some([oldest, token]);
            }
            return Sight::Passed;
        }
        if mark.holders >= mark.alike {
            return Sight::Nobody;
        }
        mark.holders = mark.alike;
        Sight::Blocker(first)
    }

    /// Whether an edge that was found some time ago is still there.
    pub(super) fn holds_true(&self, edge: &Edge) -> bool {
        let (Some(request), Some(blocker)) = (self.known(edge.waiter), self.known(edge.blocker))
        else {
            return false;
        };
        let both = [request, blocker]
            .iter()
            .all(|it| it.locks.contains(edge.lock));
        if request.is_held() || !both {
            return false;
        }
        let lock = &self.locks.slots[edge.lock];
        if !blocker.is_held() {
            return blocker.arrival < self.bound(request, lock);
        }
        match self.waits_for_holders(request, lock) {
            Waits::Nobody => false,
            Waits::All => true,
            Waits::OneOwner => lock.holders.iter().all(|it| self.owner_of(it) == edge.to),
        }
    }

    /// Whether a transaction's request waits for another wait of the same
    /// transaction. It would get a view of what that gets, if not for somebody
    /// else between the two, or because it asks for more.
    pub(super) fn waits_for_itself(
        &self,
        at: At<Request>,
        transaction: At<Group>,
    ) -> Option<Cycle> {
        let request = &self.requests[at];
        for lock in request.locks.as_slice() {
            let others = self.members(transaction).take(STEPS);
            let waits = |it: &&Request| {
                !it.is_held() && it.arrival < request.arrival && it.locks.contains(*lock)
            };
            let mut others = others.filter(waits).peekable();
            let Some(first) = others.peek().map(|it| it.arrival) else {
                continue;
            };
            let mine = self.link(request, *lock);
            if !others.all(|it| covers(it.mode, request.mode)) {
                return Some(Cycle(vec![mine]));
            }
            if let Some(between) = self.stranger_ahead(request, *lock, transaction)
                && between.arrival > first
            {
                return Some(Cycle(vec![mine, self.link(between, *lock)]));
            }
        }
        None
    }

    /// The nearest ahead of a request in a queue that excludes it and is not of
    /// its transaction.
    fn stranger_ahead(
        &self,
        request: &Request,
        lock: At<LockSlot>,
        transaction: At<Group>,
    ) -> Option<&Request> {
        let queue = self.locks.slots[lock].queue()?;
        let before = |arrival| match request.mode {
            Mode::Shared => queue.other_before(arrival),
            Mode::Exclusive | Mode::Permits(_) => queue.before(arrival),
        };
        let ahead = std::iter::successors(before(request.arrival), |it| before(it.0));
        let mut ahead = ahead.take(STEPS).map(|it| &self.requests[it.1]);
        ahead.find(|it| it.life != Some(transaction))
    }

    /// The cycle for those it is told to.
    pub(super) fn cycle(&self, path: &[Edge]) -> Cycle {
        let link = |edge: &Edge| self.link(&self.requests[edge.waiter.at], edge.lock);
        Cycle(path.iter().map(link).collect())
    }

    fn link(&self, request: &Request, lock: At<LockSlot>) -> Link {
        Link {
            waiter: request.label.clone(),
            name: self.locks.slots[lock].name.clone(),
        }
    }
}

fn next_holder(lock: &LockSlot, mark: &mut Mark) -> Sight {
    let next = lock.holders.behind(mark.holders).next();
    next.map_or(Sight::Nobody, |(token, holder)| {
        mark.holders = token;
        Sight::Blocker(holder)
    })
}
