//! Every grant of a lock that anybody was told of, whoever it was: callers of
//! the lock API, and components.

use crate::history::{History, Micros, Outcome};
use serde::Serialize;
use std::collections::BTreeMap;

/// A grant of one lock, as its holder saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim<'a> {
    /// The lock.
    pub name: &'a str,
    /// Whose it is: a request or a transaction.
    pub whose: &'a str,
    /// Its fencing token.
    pub token: u64,
    /// Whether others may hold it too.
    pub shared: bool,
    /// When it was asked for.
    pub asked: Micros,
    /// When its holder was told.
    pub told: Micros,
    /// Until when its holder could be sure of it; not after `told` if never.
    pub until: Micros,
}

/// Every claim, by lock.
pub fn by_lock(history: &History) -> BTreeMap<&str, Vec<Claim<'_>>> {
    let mut locks: BTreeMap<&str, Vec<Claim<'_>>> = BTreeMap::new();
    for hold in &history.holds {
        let (Some(token), Some(told)) = (hold.token, hold.told) else {
            continue;
        };
        for name in &hold.names {
            locks.entry(name).or_default().push(Claim {
                name,
                whose: &hold.request,
                token,
                shared: hold.shared,
                asked: hold.asked,
                told,
                until: hold.until,
            });
        }
    }
    for transaction in &history.transactions {
        let Some(told) = transaction.told else {
            continue;
        };
        // What a refused one held it held too, but it was run again perhaps, and
        // speaks of its last run only.
        if transaction.outcome != Outcome::Ok {
            continue;
        }
        for (name, token) in &transaction.locks {
            let Some(token) = *token else { continue };
            locks.entry(name).or_default().push(Claim {
                name,
                whose: &transaction.marker,
                token,
                shared: false,
                asked: transaction.asked,
                told,
                // It has given the lock back by the time it answers.
                until: told,
            });
        }
    }
    locks
}
