//! Which transactions have to be ended in the store: those that asked for locks
//! there, and whose commit has not done it.

use crate::core::hash::IdMap;
use crate::id::TransactionId;
use std::sync::{Mutex, MutexGuard};

/// The transactions of this node that may have something in the store.
#[derive(Default)]
pub(super) struct Transactions(Mutex<IdMap<TransactionId, Open>>);

#[derive(Clone, Copy, Default)]
struct Open {
    /// How often it has asked.
    asked: u64,
    /// Whether it is unknown what became of something it asked.
    is_uncertain: bool,
}

/// How a transaction stood when its commit was sent.
pub(super) struct Committing(u64);

impl Transactions {
    /// A transaction is about to ask for locks.
    pub(super) fn asks(&self, transaction: TransactionId) {
        self.open().entry(transaction).or_default().asked += 1;
    }

    /// What a transaction asked was not answered. Whether it is still there; if not,
    /// its end was told before that, and has to be told again.
    pub(super) fn is_uncertain(&self, transaction: TransactionId) -> bool {
        let mut open = self.open();
        let it = open.get_mut(&transaction);
        it.is_some_and(|it| {
            it.is_uncertain = true;
            true
        })
    }

    /// A transaction is about to be committed.
    pub(super) fn commits(&self, transaction: TransactionId) -> Committing {
        let open = self.open();
        Committing(open.get(&transaction).map_or(0, |it| it.asked))
    }

    /// It was, and with that all has ended that it had asked for before.
    pub(super) fn committed(&self, transaction: TransactionId, before: &Committing) {
        let mut open = self.open();
        let has_ended = |it: &Open| it.asked == before.0 && !it.is_uncertain;
        if open.get(&transaction).is_some_and(has_ended) {
            open.remove(&transaction);
        }
    }

    /// A transaction ends. Whether the store has to be told.
    pub(super) fn ends(&self, transaction: TransactionId) -> bool {
        self.open().remove(&transaction).is_some()
    }

    fn open(&self) -> MutexGuard<'_, IdMap<TransactionId, Open>> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_told_of_the_end_of_those_that_may_have_something_there() {
        let transactions = Transactions::default();
        let id = TransactionId::mint();
        assert!(!transactions.ends(id), "it has asked for nothing");
        transactions.asks(id);
        assert!(transactions.ends(id));
        assert!(!transactions.ends(id), "once");

        transactions.asks(id);
        let committing = transactions.commits(id);
        transactions.committed(id, &committing);
        assert!(!transactions.ends(id), "its commit has ended it");

        transactions.asks(id);
        let committing = transactions.commits(id);
        transactions.asks(id);
        transactions.committed(id, &committing);
        assert!(transactions.ends(id), "it has asked again meanwhile");

        transactions.asks(id);
        assert!(transactions.is_uncertain(id));
        let committing = transactions.commits(id);
        transactions.committed(id, &committing);
        assert!(transactions.ends(id), "something may come after the commit");
        assert!(!transactions.is_uncertain(id), "it has ended");
        assert!(!transactions.ends(id), "and is not there again");
    }
}
