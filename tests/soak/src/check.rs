//! Whether the promises were kept in a history.

pub mod claims;
pub mod graph;
pub mod locks;
pub mod queues;
pub mod sums;
pub mod versions;

use crate::history::History;
use serde::Serialize;
use std::fmt;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one, as the design names it.
    pub promise: &'static str,
    /// What was seen.
    pub what: String,
    /// The shortest part of the history that shows it, as JSON lines.
    pub shown_by: Vec<String>,
}

/// What a fault may take away that the promises do not cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// Acknowledged commits stay. Not so when a server was replaced by one that
    /// had not heard of them yet.
    pub keeps_commits: bool,
    /// What was committed is there at all, or nothing of it is: a server that
    /// was emptied keeps neither half.
    pub keeps_state: bool,
    /// Locks are held until they are given back or run out.
    pub keeps_grants: bool,
}

impl Expect {
    /// All of it.
    pub const EVERYTHING: Self = Self {
        keeps_commits: true,
        keeps_state: true,
        keeps_grants: true,
    };
}

/// Everything that is wrong with a history.
pub fn check(history: &History, expect: Expect) -> Vec<Violation> {
    let mut violations = locks::check(history, expect);
    violations.extend(queues::check(history));
    if expect.keeps_state {
        violations.extend(sums::check(history, expect));
    }
    if expect.keeps_state && expect.keeps_commits {
        violations.extend(versions::check(history));
        violations.extend(graph::check(history));
    }
    let broken = history.broken.iter();
    violations.extend(broken.map(|what| Violation::of("progress", what.clone())));
    violations
}

impl Violation {
    pub(crate) fn of(promise: &'static str, what: impl Into<String>) -> Self {
        Self {
            promise,
            what: what.into(),
            shown_by: Vec::new(),
        }
    }

    pub(crate) fn shown_by<T: Serialize>(mut self, parts: impl IntoIterator<Item = T>) -> Self {
        let line = |part: T| serde_json::to_string(&part).unwrap_or_default();
        self.shown_by.extend(parts.into_iter().map(line));
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.what)
    }
}
