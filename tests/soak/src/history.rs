//! What clients asked and were told, on one monotonic clock of this process.
//!
//! A history is what the checks read, and what is written down when they find
//! something: JSON lines, one for each thing that was seen.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// Microseconds since the history began.
pub type Micros = u64;

/// What became of something that was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It was refused: nothing has happened, and nothing will.
    Fail,
    /// No answer came, or one that says that nobody knows.
    #[default]
    Unknown,
}

/// A lock that somebody asked the lock API for, and for how long he could be
/// sure that he had it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Which node was asked.
    pub node: usize,
    /// Its name among all requests: the holder's text in the store.
    pub request: String,
    /// How it was asked for.
    pub via: String,
    /// The locks.
    pub names: Vec<String>,
    /// Whether others may hold them too.
    pub shared: bool,
    /// When it was asked for, the first time if there were several.
    pub asked: Micros,
    /// When the client was told that it has it, if it was.
    pub told: Option<Micros>,
    /// What came of it.
    pub outcome: Outcome,
    /// The fencing token.
    pub token: Option<u64>,
    /// Until when the client could be sure of it: it gave it back then, or heard
    /// that it was lost, or its own deadline passed. Not after `told` if it
    /// never could.
    pub until: Micros,
    /// When the server said that it was lost, if that was before the client's
    /// own deadline and nobody had given it back.
    pub lost_early: Option<Micros>,
    /// Whether it was asked more than once: it may have lost its place.
    pub again: bool,
}

/// A value that a transaction read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// `collection/key`.
    pub key: String,
    /// The number of the commit that wrote it; 0 if there was none.
    pub version: u64,
    /// What was there; empty if nothing was.
    pub value: String,
}

/// A value that a transaction wrote. No other transaction writes the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// `collection/key`.
    pub key: String,
    /// What it wrote.
    pub value: String,
}

/// A number that a transaction added to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Add {
    /// `collection/key`.
    pub key: String,
    /// What it added; sums wrap around.
    pub amount: u64,
    /// The sum it was told, if it was.
    pub sum: Option<u64>,
}

/// A request to a component: one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Which node was asked.
    pub node: usize,
    /// Its name among all transactions. If it writes, it also writes a key of
    /// this name, so that in the end it can be seen whether it was committed.
    pub marker: String,
    /// Whether it writes, and so has a marker.
    pub writes_marker: bool,
    /// What it is part of.
    pub workload: String,
    /// When it was asked for.
    pub asked: Micros,
    /// When the answer came, if one did.
    pub told: Option<Micros>,
    /// What came of it.
    pub outcome: Outcome,
    /// What was answered, if it was not what was asked for.
    pub answer: String,
    /// The locks it acquired, and the fencing tokens of each if it was told.
    pub locks: Vec<(String, Option<u64>)>,
    /// What it read, if it was told.
    pub reads: Vec<Read>,
    /// What it asked to write.
    pub writes: Vec<Written>,
    /// What it asked to add.
    pub adds: Vec<Add>,
    /// What it listed, keys without their collection, if it was told.
    pub listed: Option<Vec<(String, String)>>,
}

/// What an observer was told about a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// The lock.
    pub name: String,
    /// When it was asked.
    pub asked: Micros,
    /// When the answer came.
    pub told: Micros,
    /// Whether it was held exclusively.
    pub exclusive: bool,
    /// Who held it.
    pub holders: Vec<String>,
    /// Who waited, in the order in which they are served.
    pub waiters: Vec<String>,
}

/// A fault, and when it was there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Which one, in words.
    pub fault: String,
    /// When it began.
    pub from: Micros,
    /// When it was mended.
    pub to: Micros,
}

/// What was there when everything had come to rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// `collection/key` to version and value.
    pub values: BTreeMap<String, (u64, String)>,
    /// The markers of the transactions that were committed.
    pub markers: BTreeSet<String>,
}

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Of the lock API.
    pub holds: Vec<Hold>,
    /// Of components.
    pub transactions: Vec<Transaction>,
    /// By observers.
    pub looks: Vec<Look>,
    /// What was done to the system.
    pub windows: Vec<Window>,
    /// The values before the first transaction.
    pub first: Rest,
    /// The values after the last.
    pub last: Rest,
    /// What ended the round before it could be checked.
    pub broken: Vec<String>,
}

/// One line of a history on disk.
#[derive(Serialize)]
#[serde(tag = "what", rename_all = "lowercase")]
enum Line<'a> {
    Hold(&'a Hold),
    Transaction(&'a Transaction),
    Look(&'a Look),
    Fault(&'a Window),
    First(&'a Rest),
    Last(&'a Rest),
}

/// Where everybody writes down what he saw. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    began: Instant,
    history: Arc<Mutex<History>>,
}

// === impl Hold ===

impl Hold {
    /// Whether both may be held at once.
    pub fn conflicts(&self, other: &Self) -> bool {
        let together = self.shared && other.shared;
        !together && self.names.iter().any(|name| other.names.contains(name))
    }
}

// === impl History ===

impl History {
    /// How many things were asked that came out so.
    pub fn count(&self, outcome: Outcome) -> usize {
        let holds = self.holds.iter().map(|it| it.outcome);
        let transactions = self.transactions.iter().map(|it| it.outcome);
        holds
            .chain(transactions)
            .filter(|it| *it == outcome)
            .count()
    }

    /// Whether a fault was there at some time between the two.
    pub fn is_calm(&self, from: Micros, to: Micros) -> bool {
        !self.windows.iter().any(|it| it.from <= to && from <= it.to)
    }

    /// Writes it down, as JSON lines.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        let lines = self.windows.iter().map(Line::Fault);
        let lines = lines.chain([Line::First(&self.first), Line::Last(&self.last)]);
        let lines = lines.chain(self.holds.iter().map(Line::Hold));
        let lines = lines.chain(self.transactions.iter().map(Line::Transaction));
        for line in lines.chain(self.looks.iter().map(Line::Look)) {
            serde_json::to_writer(&mut to, &line)?;
            to.write_all(b"\n")?;
        }
        to.flush()
    }
}

// === impl Recorder ===

impl Recorder {
    /// Begins a history now.
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            history: Arc::default(),
        }
    }

    /// The time now.
    pub fn now(&self) -> Micros {
        self.at(Instant::now())
    }

    /// That time on the history's clock.
    pub fn at(&self, time: Instant) -> Micros {
        let since = time.saturating_duration_since(self.began);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// Adds to it.
    pub fn history(&self) -> MutexGuard<'_, History> {
        // Whoever panicked while it added has left a vector as it was.
        self.history.lock().unwrap_or_else(|it| it.into_inner())
    }
}
