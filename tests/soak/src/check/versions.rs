//! S3 fencing, and what versions say: of registers, which transactions read and
//! write.
//!
//! Each value is written once, so whoever reads one read it from a known
//! transaction. A version is the number of the commit that wrote it. So the
//! versions that anybody read put the writes of a key in order; and a write
//! whose transaction had read the key stands right behind what that read.
//!
//! What can be found: a value nobody wrote, or one whose transaction was
//! refused; two writes on top of the same one (a lost update); a commit of which
//! one half has another number than the other; and a guarded write with a
//! smaller fencing token than an earlier one had (S3: it slipped).

use super::Violation;
use super::sums::is_committed;
use crate::history::{History, Outcome, Read, Transaction};
use std::collections::{BTreeMap, HashMap};

/// The index of a transaction in its history.
pub type Index = usize;

/// The value of a key that was never written.
const NOTHING: &str = "";

/// What the versions of a history say.
#[derive(Debug, Default)]
pub struct Versions<'a> {
    /// Who wrote a value of a key.
    pub writers: HashMap<(&'a str, &'a str), Index>,
    /// Who wrote a key right behind a value that it had read there.
    pub next: HashMap<(&'a str, &'a str), Index>,
    /// The versions of each key that were read, with their values.
    pub seen: BTreeMap<&'a str, BTreeMap<u64, &'a str>>,
    /// The commit numbers of transactions, as far as anybody read them.
    pub commits: HashMap<Index, u64>,
    /// What does not fit.
    violations: Vec<Violation>,
}

/// What is wrong with the versions of a history.
pub fn check(history: &History) -> Vec<Violation> {
    let versions = Versions::of(history);
    let mut violations = versions.slipped(history);
    violations.extend(versions.backwards(history));
    violations.splice(0..0, versions.violations);
    violations
}

impl<'a> Versions<'a> {
    /// Reads them out of a history.
    pub fn of(history: &'a History) -> Self {
        let mut versions = Self::default();
        for (index, transaction) in history.transactions.iter().enumerate() {
            for written in &transaction.writes {
                let value = (written.key.as_str(), written.value.as_str());
                versions.writers.insert(value, index);
            }
        }
        for (index, transaction) in history.transactions.iter().enumerate() {
            if transaction.outcome == Outcome::Ok {
                for read in &transaction.reads {
                    versions.see(history, read);
                }
                versions.follow(history, index, transaction);
            }
        }
        for (key, (version, value)) in &history.last.values {
            if versions.writers.keys().any(|(it, _)| it == key) {
                versions.note(history, key, *version, value);
            }
        }
        versions
    }

    fn see(&mut self, history: &'a History, read: &'a Read) {
        self.note(history, &read.key, read.version, &read.value);
    }

    /// Somebody read that a key has this value in this version.
    fn note(&mut self, history: &'a History, key: &'a str, version: u64, value: &'a str) {
        let other = self.seen.entry(key).or_default().insert(version, value);
        if let Some(other) = other.filter(|other| *other != value) {
            let what = format!("`{key}` has two values of version {version}: {other}, {value}");
            self.violations.push(Violation::of("atomicity", what));
        }
        if value == NOTHING {
            return;
        }
        let Some(writer) = self.writers.get(&(key, value)).copied() else {
            let what = format!("nobody wrote `{value}`, which is in `{key}`");
            self.violations.push(Violation::of("atomicity", what));
            return;
        };
        let transaction = &history.transactions[writer];
        if !is_committed(history, transaction) {
            let what = format!("`{value}` was read, whose transaction was not committed");
            let shown = Violation::of("atomicity", what).shown_by([transaction]);
            self.violations.push(shown);
        }
        let commit = *self.commits.entry(writer).or_insert(version);
        if commit != version {
            let what = format!("a transaction has the commit numbers {commit} and {version}");
            let shown = Violation::of("atomicity", what).shown_by([transaction]);
            self.violations.push(shown);
        }
    }

    /// It wrote right behind what it had read.
    fn follow(&mut self, history: &'a History, index: Index, transaction: &'a Transaction) {
        for read in &transaction.reads {
            if !transaction.writes.iter().any(|it| it.key == read.key) {
                continue;
            }
            let value = (read.key.as_str(), read.value.as_str());
            if let Some(other) = self.next.insert(value, index) {
                let what = format!("two wrote `{}` on top of `{}`", read.key, read.value);
                let both = [&history.transactions[other], transaction];
                let shown = Violation::of("lost update", what).shown_by(both);
                self.violations.push(shown);
            }
        }
    }

    /// Those who wrote the versions of a key that were read, in their order.
    fn order(&self, key: &str) -> impl Iterator<Item = Index> {
        let seen = self.seen.get(key).into_iter().flatten();
        seen.filter_map(move |(_, value)| self.writers.get(&(key, *value)).copied())
    }

    /// Guarded writes in whose order the fencing tokens fall.
    fn slipped(&self, history: &'a History) -> Vec<Violation> {
        let mut violations = Vec::new();
        for key in self.seen.keys() {
            let Some(name) = key.strip_prefix("items/") else {
                continue;
            };
            let lock = format!("item/{name}");
            let mut last: Option<(u64, &Transaction)> = None;
            for index in self.order(key) {
                let transaction = &history.transactions[index];
                let Some(token) = token(transaction, &lock) else {
                    continue;
                };
                if let Some((_, earlier)) = last.filter(|(other, _)| *other >= token) {
                    let what =
                        format!("a write of `{key}` under the token {token} came after a later");
                    let both = [earlier, transaction];
                    violations.push(Violation::of("S3 fencing", what).shown_by(both));
                }
                last = Some((token, transaction));
            }
        }
        // Two that follow each other, though nobody read either of them.
        for ((key, value), index) in &self.next {
            let (Some(name), Some(before)) = (
                key.strip_prefix("items/"),
                self.writers.get(&(*key, *value)),
            ) else {
                continue;
            };
            let lock = format!("item/{name}");
            let (before, after) = (
                &history.transactions[*before],
                &history.transactions[*index],
            );
            if let (Some(earlier), Some(later)) = (token(before, &lock), token(after, &lock))
                && earlier >= later
            {
                let what = format!("`{key}` was written under {later} on top of {earlier}");
                violations.push(Violation::of("S3 fencing", what).shown_by([before, after]));
            }
        }
        violations
    }

    /// Commits that have a smaller number than something they read.
    fn backwards(&self, history: &'a History) -> Vec<Violation> {
        let find = |(index, commit): (&Index, &u64)| {
            let transaction = &history.transactions[*index];
            let later = transaction.reads.iter().find(|it| it.version >= *commit)?;
            let what = format!("the commit {commit} read the version {}", later.version);
            Some(Violation::of("serializability", what).shown_by([transaction]))
        };
        self.commits.iter().filter_map(find).collect()
    }
}

/// Under which fencing token of this lock it wrote.
fn token(transaction: &Transaction, lock: &str) -> Option<u64> {
    let (_, token) = transaction.locks.iter().find(|(name, _)| name == lock)?;
    *token
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::history::{Rest, Written};

    /// A transaction in short: `name: read@version=value write<value`, with
    /// `lock#token` for a guard; `?` before the name if nobody heard of it.
    pub(crate) fn transaction(text: &str) -> Transaction {
        let (name, rest) = text.split_once(':').unwrap();
        let (outcome, name) = match name.strip_prefix('?') {
            Some(name) => (Outcome::Unknown, name),
            None => (Outcome::Ok, name),
        };
        let mut it = Transaction {
            marker: name.to_owned(),
            writes_marker: true,
            outcome,
            told: Some(0),
            ..Transaction::default()
        };
        for word in rest.split_whitespace() {
            if let Some((key, read)) = word.split_once('@') {
                let (version, value) = read.split_once('=').unwrap();
                it.reads.push(Read {
                    key: key.to_owned(),
                    version: version.parse().unwrap(),
                    value: value.to_owned(),
                });
            } else if let Some((key, value)) = word.split_once('<') {
                it.writes.push(Written {
                    key: key.to_owned(),
                    value: value.to_owned(),
                });
            } else if let Some((name, token)) = word.split_once('#') {
                it.locks.push((name.to_owned(), token.parse().ok()));
            }
        }
        it
    }

    /// Transactions one after the other, by the clock too.
    pub(crate) fn history(texts: &[&str]) -> History {
        let mut history = History::default();
        for (at, text) in texts.iter().enumerate() {
            let mut it = transaction(text);
            it.asked = at as u64 * 10;
            it.told = Some(it.asked + 5);
            history.last.markers.insert(it.marker.clone());
            history.transactions.push(it);
        }
        history
    }

    fn promises(texts: &[&str]) -> Vec<&'static str> {
        let mut found: Vec<_> = check(&history(texts)).iter().map(|it| it.promise).collect();
        found.dedup();
        found
    }

    #[test]
    fn what_is_permitted_passes() {
        for texts in [
            &["a: x@0= x<1", "b: x@4=1 x<2 y<2", "c: y@6=2 x@6=2"][..],
            &[
                "a: items/k@0= item/k#3 items/k<1",
                "b: items/k@2=1 item/k#7 items/k<2",
            ],
            &["a: x@0= x<1", "?b: x<2", "c: x@9=2"],
        ] {
            assert_eq!(promises(texts), Vec::<&str>::new(), "{texts:?}");
        }
    }

    #[test]
    fn what_breaks_a_promise_is_found() {
        for (texts, promise) in [
            (&["a: x@0= x<1", "b: x@0= x<2"][..], "lost update"),
            (&["a: x@3=5"], "atomicity"),
            (&["a: x@0= x<1 y<1", "b: x@4=1 y@5=1"], "atomicity"),
            (&["a: x<1", "b: x<2", "c: x@4=1", "d: x@4=2"], "atomicity"),
            (&["a: x<1", "b: x@8=1 x<2", "c: x@7=2"], "serializability"),
            (
                &[
                    "a: items/k@0= item/k#7 items/k<1",
                    "b: items/k@2=1 item/k#3 items/k<2",
                ],
                "S3 fencing",
            ),
            (
                &[
                    "a: item/k#7 items/k<1",
                    "b: item/k#3 items/k<2",
                    "c: items/k@2=1",
                    "d: items/k@3=2",
                ],
                "S3 fencing",
            ),
        ] {
            assert!(promises(texts).contains(&promise), "{texts:?}");
        }
    }

    #[test]
    fn a_value_of_what_was_refused_is_found() {
        let mut history = history(&["a: x<1", "b: x@3=1"]);
        history.transactions[0].outcome = Outcome::Fail;
        let found = check(&history);
        assert_eq!(found[0].promise, "atomicity");
    }

    #[test]
    fn what_is_there_in_the_end_counts_as_read() {
        let mut history = history(&["a: x<1"]);
        history.last = Rest {
            values: [("x".to_owned(), (3, "2".to_owned()))].into(),
            ..history.last
        };
        assert_eq!(check(&history)[0].promise, "atomicity");
    }
}
