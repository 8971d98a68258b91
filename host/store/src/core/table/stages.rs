//! How a request comes to hold locks, comes to wait for them, and lets them go;
//! and whom that may let through.

use super::{Table, Woken};
use crate::core::locks::LockSlot;
use crate::core::request::{Arrival, LockList, NEVER, Request, Stage, View, Views};
use crate::core::slab::At;
use crate::name::LockName;
use crate::store::{Granted, Mode, Token};
use crate::time::Time;

impl Table {
    /// Whether a waiting request can be served: it is its turn in each of its
    /// queues, and those who hold those locks leave room for it.
    pub(in crate::core) fn is_servable(&self, at: At<Request>) -> bool {
        #[cfg(test)]
        self.examined.set(self.examined.get() + 1);
        let Some(request) = self.requests.get(at) else {
            return false;
        };
        !request.is_held() && self.awaited(request).is_none()
    }

    /// The first lock that a waiting request cannot have yet.
    pub(in crate::core) fn awaited(&self, request: &Request) -> Option<&LockSlot> {
        let transaction = self.transaction(request);
        let can_go = |lock: &LockSlot| {
            lock.is_turn_of(request.mode, request.arrival)
                && (lock.admits(request.mode)
                    || self.view(lock, transaction, request.mode).is_some())
        };
        let mut locks = request.locks.as_slice().iter();
        locks.find_map(|it| Some(&self.locks.slots[*it]).filter(|it| !can_go(it)))
    }

    /// Whether the transaction of a waiting request holds all that it waits for
    /// by now.
    pub(in crate::core) fn has_all(&self, at: At<Request>) -> bool {
        let request = &self.requests[at];
        let transaction = self.transaction(request);
        let mut locks = request.locks.as_slice().iter();
        transaction.is_some()
            && locks.all(|it| {
                let lock = &self.locks.slots[*it];
                self.view(lock, transaction, request.mode).is_some()
            })
    }

    /// Serves a waiting request that is servable: it now holds, under `token`,
    /// what it was queued for. What its transaction has come to hold meanwhile
    /// stays with the grant that has it.
    pub(in crate::core) fn serve(
        &mut self,
        at: At<Request>,
        token: Token,
        now: Time,
        woken: &mut Woken,
    ) -> Granted {
        self.suspend(at);
        self.account(at, false);
        let request = &self.requests[at];
        let (mode, arrival) = (request.mode, request.arrival);
        let transaction = self.transaction(request);
        let queued = request.locks.as_slice().to_vec();
        let own = |lock: &At<_>| self.view(&self.locks.slots[*lock], transaction, mode);
        let own: Vec<_> = queued.iter().map(own).collect();
        let tokens = self.tokens_with(at, |place| own[place].unwrap_or(token));

        // Held before it is dequeued: at no moment is the lock idle.
        let is_new = |it: &usize| own[*it].is_none();
        let new: Vec<_> = (0..queued.len())
            .filter(is_new)
            .map(|it| queued[it])
            .collect();
        for lock in &new {
            self.locks.slots[*lock].hold(mode, token, at);
        }
        for lock in &queued {
            self.dequeue(*lock, mode, arrival, woken);
        }
        let acquired = new.iter().map(|it| self.locks.slots[*it].name.clone());
        let acquired: Vec<_> = acquired.collect();

        let request = &mut self.requests[at];
        if new.len() < queued.len() {
            request.views = Some(Box::new(views_besides(&tokens, &acquired)));
            request.locks = LockList::from(new);
        }
        request.stage = Stage::Held {
            token,
            since: now,
            until: request.lease.map_or(NEVER, |it| now + it),
        };
        let granted = Granted {
            tokens,
            since: now,
            remaining: request.lease.filter(|_| !acquired.is_empty()),
            acquired,
            waited: now.since(request.asked),
        };
        self.account(at, true);
        self.resume(at);
        granted
    }

    /// Enters a request into the indices that depend on its stage.
    pub(super) fn enter_stage(&mut self, at: At<Request>) {
        let entangled = self.is_entangled(at);
        let request = &self.requests[at];
        for lock in request.locks.as_slice() {
            let lock = &mut self.locks.slots[*lock];
            match request.stage {
                Stage::Held { token, .. } => lock.hold(request.mode, token, at),
                Stage::Waiting { .. } => {
                    lock.enqueue(request.mode, request.arrival, at);
                    if entangled {
                        lock.entangle(request.arrival, at, true);
                    }
                }
            }
        }
        self.account(at, true);
        self.resume(at);
    }

    /// Strikes a request from the indices that depend on its stage.
    pub(super) fn leave_stage(&mut self, at: At<Request>, woken: &mut Woken) {
        self.suspend(at);
        self.account(at, false);
        let request = &mut self.requests[at];
        let (mode, arrival, stage) = (request.mode, request.arrival, request.stage);
        let locks = std::mem::replace(&mut request.locks, LockList::Many(Box::default()));
        for lock in locks.as_slice() {
            match stage {
                Stage::Held { token, .. } => self.let_go(*lock, token, woken),
                Stage::Waiting { .. } => self.dequeue(*lock, mode, arrival, woken),
            }
        }
        self.requests[at].locks = locks;
    }

    /// Ends a hold of a lock.
    fn let_go(&mut self, at: At<LockSlot>, token: Token, woken: &mut Woken) {
        let lock = &mut self.locks.slots[at];
        lock.holders.remove(token);
        if self.locks.retire(at) {
            return;
        }
        let lock = &self.locks.slots[at];
        let Some(queue) = lock.queue() else {
            return;
        };
        // As long as readers hold it, a reader less lets nobody in.
        let is_free = lock.holders.is_empty();
        if is_free && lock.mode != Mode::Shared {
            woken.extend(queue.leading_readers(0));
        }
        if is_free || lock.mode != Mode::Shared {
            woken.extend(queue.first_blocking());
        }
    }

    /// Takes one who waited out of a queue.
    fn dequeue(&mut self, at: At<LockSlot>, mode: Mode, arrival: Arrival, woken: &mut Woken) {
        let lock = &mut self.locks.slots[at];
        let first_other = lock.queue().and_then(|it| it.first_other());
        lock.dequeue(mode, arrival);
        if self.locks.retire(at) {
            return;
        }
        let lock = &self.locks.slots[at];
        let Some(queue) = lock.queue() else {
            return;
        };
        woken.extend(queue.first_blocking().filter(|it| it.0 > arrival));
        if first_other.is_none_or(|it| it.0 != arrival) {
            return;
        }
        // Nobody excludes these readers any more, but perhaps the holders do;
        // then only their own transaction's get what they ask for.
        let readers = queue.leading_readers(arrival);
        if lock.admits(Mode::Shared) {
            woken.extend(readers);
        } else if let Some(life) = lock.holders.only().and_then(|it| self.requests[it].life) {
            woken.extend(readers.filter(|it| self.requests[it.1].life == Some(life)));
        }
    }

    /// Counts what a request has for or against its principal.
    fn account(&mut self, at: At<Request>, more: bool) {
        let request = &self.requests[at];
        if self.transaction(request).is_some() {
            return;
        }
        let locks = request.locks.as_slice().len();
        let waiting = usize::from(!request.is_held());
        let account = self.principals.get_mut(request.principal);
        if more {
            account.locks += locks;
            account.waiting += waiting;
        } else {
            account.locks -= locks;
            account.waiting -= waiting;
        }
    }
}

/// What a request got without acquiring it.
fn views_besides(tokens: &[(LockName, Token)], acquired: &[LockName]) -> Views {
    let tokens = tokens.iter().enumerate();
    let views = tokens.filter(|(_, (name, _))| !acquired.contains(name));
    let view = |(place, (name, token)): (usize, &(LockName, Token))| View {
        place,
        name: name.clone(),
        token: *token,
    };
    Views(views.map(view).collect())
}
