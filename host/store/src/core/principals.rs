//! What each principal has, so that none takes everything.

use super::slab::{At, Slab};
use crate::store::Principal;
use std::collections::HashMap;

/// How many accounts without use are kept before they are looked for. They
/// spare whoever comes again and again being entered anew.
const IDLE_MAX: usize = 64;

/// Every principal that has something.
#[derive(Debug, Default)]
pub(super) struct Principals {
    accounts: Slab<Account>,
    names: HashMap<Principal, At<Account>>,
    /// The one that asked last: mostly it asks next, too.
    latest: Option<At<Account>>,
    idle: usize,
}

/// What one principal has.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) principal: Principal,
    /// How many requests and sessions refer to this.
    uses: usize,
    /// Locks it holds and waits for; those of transactions are not counted.
    pub(super) locks: usize,
    /// Requests of its that wait; those of transactions are not counted.
    pub(super) waiting: usize,
    /// Sessions it has open.
    pub(super) sessions: usize,
}

impl Principals {
    /// The account of a principal, for one more use.
    pub(super) fn enter(&mut self, principal: &Principal) -> At<Account> {
        let at = self.find_or_open(principal);
        let account = &mut self.accounts[at];
        if account.uses == 0 {
            self.idle -= 1;
        }
        account.uses += 1;
        self.latest = Some(at);
        at
    }

    /// Ends one use of an account.
    pub(super) fn leave(&mut self, at: At<Account>) {
        let account = &mut self.accounts[at];
        account.uses -= 1;
        if account.uses == 0 {
            self.idle += 1;
            if self.idle > IDLE_MAX.max(self.accounts.len() / 2) {
                self.sweep();
            }
        }
    }

    pub(super) fn get(&self, at: At<Account>) -> &Account {
        &self.accounts[at]
    }

    pub(super) fn get_mut(&mut self, at: At<Account>) -> &mut Account {
        &mut self.accounts[at]
    }

    pub(super) fn find(&self, principal: &Principal) -> Option<&Account> {
        self.find_at(principal).map(|at| &self.accounts[at])
    }

    fn find_at(&self, principal: &Principal) -> Option<At<Account>> {
        match self.latest {
            Some(at) if self.accounts[at].principal == *principal => Some(at),
            _ => self.names.get(principal).copied(),
        }
    }

    fn find_or_open(&mut self, principal: &Principal) -> At<Account> {
        if let Some(at) = self.find_at(principal) {
            return at;
        }
        let at = self.accounts.insert(Account {
            principal: principal.clone(),
            uses: 0,
            locks: 0,
            waiting: 0,
            sessions: 0,
        });
        self.names.insert(principal.clone(), at);
        self.idle += 1;
        at
    }

    /// Forgets every account that is not in use: as many as have come out of
    /// use since the last time, so each costs little.
    fn sweep(&mut self) {
        self.latest = None;
        self.idle = 0;
        let accounts = &mut self.accounts;
        self.names.retain(|_, at| {
            let used = accounts[*at].uses > 0;
            if !used {
                accounts.remove(*at);
            }
            used
        });
    }

    /// How many accounts there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether nobody has anything.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.idle == self.accounts.len()
            && self.names.values().all(|at| {
                let it = &self.accounts[*at];
                it.locks + it.waiting + it.sessions + it.uses == 0
            })
    }
}
