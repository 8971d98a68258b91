//! Atomicity and durability: what was committed is there, whole, exactly once,
//! and nothing else is.
//!
//! Every transaction that writes also writes a key of its own, its marker. So in
//! the end it is known of each whether it was committed, also of those whose
//! answer never came. Then every counter and every account is what it was in the
//! beginning and what the committed transactions added to it: not one more, not
//! one less, and no half of a transfer.

use super::{Expect, Violation};
use crate::history::{History, Outcome, Transaction};
use std::collections::{BTreeMap, HashMap};

/// The prefix of accounts, whose sum never changes.
pub const ACCOUNTS: &str = "items/a";

/// What is wrong with what is there.
pub fn check(history: &History, expect: Expect) -> Vec<Violation> {
    let mut violations = markers(history, expect);
    violations.extend(totals(history));
    violations.extend(audits(history));
    violations.extend(repeated(history, expect));
    violations
}

/// Whether a transaction was committed, as its answer or else its marker says.
pub fn is_committed(history: &History, transaction: &Transaction) -> bool {
    match transaction.outcome {
        Outcome::Ok => true,
        Outcome::Fail => false,
        Outcome::Unknown => history.last.markers.contains(&transaction.marker),
    }
}

/// Answers that the markers contradict.
fn markers(history: &History, expect: Expect) -> Vec<Violation> {
    let find = |it: &Transaction| {
        if !it.writes_marker {
            return None;
        }
        let there = history.last.markers.contains(&it.marker);
        let (promise, what) = match (it.outcome, there) {
            (Outcome::Ok, false) if expect.keeps_commits => {
                ("durability", "was acknowledged and is not there")
            }
            (Outcome::Fail, true) => ("atomicity", "was refused and is there"),
            _ => return None,
        };
        Some(Violation::of(promise, format!("`{}` {what}", it.marker)).shown_by([it]))
    };
    history.transactions.iter().filter_map(find).collect()
}

/// Sums that are not those of what was committed.
fn totals(history: &History) -> Vec<Violation> {
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    let mut parts: HashMap<&str, usize> = HashMap::new();
    for transaction in &history.transactions {
        for add in &transaction.adds {
            let sum = expected.entry(&add.key).or_insert_with(|| {
                let first = history.first.values.get(&add.key);
                first.map_or(0, |(_, value)| value.parse().unwrap_or(0))
            });
            // The markers alone count: a server may have lost commits, but whole
            // ones.
            if history.last.markers.contains(&transaction.marker) {
                *sum = sum.wrapping_add(add.amount);
                *parts.entry(&add.key).or_default() += 1;
            }
        }
    }
    let wrong = expected.into_iter().filter_map(|(key, expected)| {
        let there = history.last.values.get(key);
        let there = there.map_or(0, |(_, value)| value.parse().unwrap_or(0));
        (there != expected).then(|| {
            let parts = parts.get(key).copied().unwrap_or(0);
            let off = there.wrapping_sub(expected).cast_signed();
            let what = format!(
                "`{key}` is {there}, and what {parts} commits added makes {expected}: off by {off}"
            );
            Violation::of("atomicity", what)
        })
    });
    wrong.collect()
}

/// Listings of the accounts that do not sum up.
fn audits(history: &History) -> Vec<Violation> {
    let accounts = || {
        let values = history.first.values.iter();
        values.filter(|(key, _)| key.starts_with(ACCOUNTS))
    };
    let total = accounts().fold(0_u64, |sum, (_, (_, value))| {
        sum.wrapping_add(value.parse().unwrap_or(0))
    });
    let find = |it: &Transaction| {
        if it.outcome != Outcome::Ok || it.workload != "audit" {
            return None;
        }
        let listed = it.listed.as_ref()?;
        let sum = listed.iter().fold(0_u64, |sum, (_, value)| {
            sum.wrapping_add(value.parse().unwrap_or(0))
        });
        let whole = sum == total && listed.len() == accounts().count();
        (!whole).then(|| {
            let what = format!("a listing of the accounts sums up to {sum}, not {total}");
            Violation::of("serializability", what).shown_by([it])
        })
    };
    history.transactions.iter().filter_map(find).collect()
}

/// Counters: everybody who adds one is told another sum, and later ones greater
/// sums.
fn repeated(history: &History, expect: Expect) -> Vec<Violation> {
    if !expect.keeps_commits {
        return Vec::new();
    }
    let mut told: BTreeMap<&str, Vec<(u64, &Transaction)>> = BTreeMap::new();
    for transaction in &history.transactions {
        if transaction.outcome != Outcome::Ok || transaction.workload != "counter" {
            continue;
        }
        for add in &transaction.adds {
            let sums = told.entry(&add.key).or_default();
            sums.extend(add.sum.map(|sum| (sum, transaction)));
        }
    }
    let mut violations = Vec::new();
    for (key, mut sums) in told {
        sums.sort_by_key(|(sum, _)| *sum);
        let twice = sums.windows(2).find(|pair| pair[0].0 == pair[1].0);
        violations.extend(twice.map(|pair| {
            let what = format!("two were told the sum {} of `{key}`", pair[0].0);
            Violation::of("lost update", what).shown_by([pair[0].1, pair[1].1])
        }));
        // From the greatest sum down: the earliest that one of them was told.
        let mut earliest: Option<&Transaction> = None;
        for (_, it) in sums.iter().rev() {
            if let Some(greater) = earliest.filter(|greater| greater.told < Some(it.asked)) {
                let what = format!("a later sum of `{key}` is smaller");
                violations
                    .push(Violation::of("strict serializability", what).shown_by([greater, *it]));
                break;
            }
            if earliest.is_none_or(|other| it.told < other.told) {
                earliest = Some(it);
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Add, Rest};

    const COUNTER: &str = "items/c0";

    fn add(marker: &str, outcome: Outcome, sum: Option<u64>) -> Transaction {
        Transaction {
            marker: marker.to_owned(),
            writes_marker: true,
            workload: "counter".to_owned(),
            outcome,
            told: Some(1),
            adds: vec![Add {
                key: COUNTER.to_owned(),
                amount: 1,
                sum,
            }],
            ..Transaction::default()
        }
    }

    fn history(transactions: Vec<Transaction>, markers: &[&str], sum: u64) -> History {
        let last = Rest {
            values: [(COUNTER.to_owned(), (9, sum.to_string()))].into(),
            markers: markers.iter().map(|it| (*it).to_owned()).collect(),
        };
        History {
            transactions,
            last,
            ..History::default()
        }
    }

    fn promises(history: &History) -> Vec<&'static str> {
        let violations = check(history, Expect::EVERYTHING);
        violations.iter().map(|it| it.promise).collect()
    }

    #[test]
    fn what_is_permitted_passes() {
        let all = vec![
            add("a", Outcome::Ok, Some(1)),
            add("b", Outcome::Fail, None),
            add("c", Outcome::Unknown, None),
            add("d", Outcome::Unknown, None),
        ];
        assert_eq!(promises(&history(all, &["a", "c"], 2)), Vec::<&str>::new());
    }

    #[test]
    fn what_is_lost_or_counted_twice_is_found() {
        let all = || vec![add("a", Outcome::Ok, Some(1))];
        assert_eq!(promises(&history(all(), &[], 0)), ["durability"]);
        assert_eq!(promises(&history(all(), &["a"], 0)), ["atomicity"]);
        assert_eq!(promises(&history(all(), &["a"], 2)), ["atomicity"]);
        let refused = vec![add("a", Outcome::Fail, None)];
        assert_eq!(promises(&history(refused, &["a"], 1)), ["atomicity"]);
        let unknown = vec![add("a", Outcome::Unknown, None)];
        assert_eq!(promises(&history(unknown, &[], 1)), ["atomicity"]);
    }

    #[test]
    fn two_who_are_told_the_same_sum_are_found() {
        let all = vec![
            add("a", Outcome::Ok, Some(1)),
            add("b", Outcome::Ok, Some(1)),
        ];
        assert!(promises(&history(all, &["a", "b"], 2)).contains(&"lost update"));
    }

    #[test]
    fn a_smaller_sum_later_is_found() {
        let mut all = vec![
            add("a", Outcome::Ok, Some(2)),
            add("b", Outcome::Ok, Some(1)),
        ];
        all[1].asked = 5;
        all[1].told = Some(6);
        let found = promises(&history(all, &["a", "b"], 2));
        assert_eq!(found, ["strict serializability"]);
    }

    #[test]
    fn a_listing_in_the_middle_of_a_transfer_is_found() {
        let mut history = history(Vec::new(), &[], 0);
        let account = |key: &str, value: &str| (key.to_owned(), (1, value.to_owned()));
        history.first.values = [account("items/a0", "5"), account("items/a1", "5")].into();
        let mut audit = |values: [&str; 2]| {
            let listed = ["a0", "a1"].map(str::to_owned).into_iter();
            history.transactions = vec![Transaction {
                workload: "audit".to_owned(),
                outcome: Outcome::Ok,
                listed: Some(listed.zip(values.map(str::to_owned)).collect()),
                ..Transaction::default()
            }];
            promises(&history)
        };
        assert_eq!(audit(["4", "6"]), Vec::<&str>::new());
        assert_eq!(audit(["4", "5"]), ["serializability"]);
    }
}
