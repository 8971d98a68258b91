//! What a transaction says to the probe, and what it was answered.

use crate::history::{Add, Outcome, Read, Recorder, Transaction, Written};
use crate::http::{Answer, Client};
use serde_json::Value;

/// Problems after which nothing was applied, and nothing will be.
const NOTHING_APPLIED: [&str; 5] = [
    "STORE_UNAVAILABLE",
    "OVERLOADED",
    "QUOTA",
    "HANDLER_FAILED",
    "DEADLINE",
];

/// A transaction that is being put together, step by step.
#[derive(Debug)]
pub(crate) struct Script {
    transaction: Transaction,
    steps: Vec<String>,
}

impl Script {
    /// A transaction of this name.
    pub(crate) fn begin(workload: &str, marker: String) -> Self {
        let transaction = Transaction {
            workload: workload.to_owned(),
            marker,
            ..Transaction::default()
        };
        Self {
            transaction,
            steps: Vec::new(),
        }
    }

    /// Acquires the locks of items, in one grant.
    pub(crate) fn acquire(&mut self, items: &[&str], wait: u64) {
        let names: Vec<String> = items.iter().map(|it| format!("item/{it}")).collect();
        self.steps
            .push(format!("acquire {} wait={wait}", names.join(" ")));
        let locks = names.into_iter().map(|it| (it, None));
        self.transaction.locks.extend(locks);
    }

    /// Reads a key.
    pub(crate) fn get(&mut self, collection: &str, key: &str) {
        self.steps.push(format!("get {collection} {key}"));
        self.transaction.reads.push(Read {
            key: format!("{collection}/{key}"),
            version: 0,
            value: String::new(),
        });
    }

    /// Writes a value that nobody else writes there.
    pub(crate) fn put(&mut self, collection: &str, key: &str) {
        let value = self.transaction.marker.clone();
        self.set(collection, key, &value);
        self.transaction.writes.push(Written {
            key: format!("{collection}/{key}"),
            value,
        });
    }

    /// Writes a value without a history.
    pub(crate) fn set(&mut self, collection: &str, key: &str, value: &str) {
        self.steps.push(format!("put {collection} {key} {value}"));
    }

    /// Adds to a number.
    pub(crate) fn add(&mut self, collection: &str, key: &str, amount: u64) {
        self.steps.push(format!("add {collection} {key} {amount}"));
        self.transaction.adds.push(Add {
            key: format!("{collection}/{key}"),
            amount,
            sum: None,
        });
    }

    /// Lists a collection.
    pub(crate) fn list(&mut self, collection: &str, rest: &str) {
        self.steps.push(format!("list {collection} {rest}"));
    }

    /// Writes the marker, which says in the end that all of it was committed.
    pub(crate) fn mark(&mut self) {
        self.transaction.writes_marker = true;
        let marker = self.transaction.marker.clone();
        self.set("notes", &marker, "1");
    }

    /// Something that says nothing by itself.
    pub(crate) fn step(&mut self, step: &str) {
        self.steps.push(step.to_owned());
    }

    /// Sends it, and gives it with what came of it.
    pub(crate) async fn run(
        self,
        client: &mut Client,
        node: usize,
        clock: &Recorder,
    ) -> Transaction {
        let mut transaction = self.transaction;
        transaction.node = node;
        transaction.asked = clock.now();
        let answer = client.run(&self.steps).await;
        transaction.told = Some(clock.now());
        judge(&mut transaction, answer.as_ref());
        if transaction.outcome != Outcome::Ok {
            transaction.reads.clear();
        }
        transaction
    }
}

/// What an answer says about a transaction.
fn judge(transaction: &mut Transaction, answer: Option<&Answer>) {
    let Some(answer) = answer else {
        transaction.told = None;
        return;
    };
    if answer.status == 200 {
        transaction.outcome = Outcome::Ok;
        if fill(transaction, &answer.text).is_none() {
            transaction.answer = format!("not understood: {}", answer.text);
        }
        return;
    }
    let first = answer.text.lines().next().unwrap_or_default();
    transaction.answer = format!("{} {first}", answer.status);
    transaction.outcome = outcome(answer);
}

/// What a refusal means. A refused step and everything below 500 has rolled
/// back; of the others, some say so.
fn outcome(answer: &Answer) -> Outcome {
    if answer.status < 500 {
        return Outcome::Fail;
    }
    let problem: Option<Value> = serde_json::from_str(&answer.text).ok();
    let reason = problem.as_ref().and_then(|it| it["reason"].as_str());
    match reason {
        Some(reason) if NOTHING_APPLIED.contains(&reason) => Outcome::Fail,
        _ => Outcome::Unknown,
    }
}

/// Takes what was told from the lines of an answer, which are in the order of
/// the steps. None if they are not what was asked for.
fn fill(transaction: &mut Transaction, text: &str) -> Option<()> {
    let of = |name: &str| {
        let prefix = format!("{name}: ");
        let lines = text.lines().filter_map(move |it| {
            let line = it.strip_prefix(&prefix)?;
            Some(line.to_owned())
        });
        lines.collect::<Vec<String>>()
    };
    let tokens = of("acquire");
    let tokens = tokens.iter().flat_map(|line| line.split(' ').skip(1));
    for ((_, token), told) in transaction.locks.iter_mut().zip(tokens) {
        *token = Some(told.parse().ok()?);
    }
    let gets = of("get");
    for (at, read) in transaction.reads.iter_mut().enumerate() {
        let line = gets.get(at)?;
        if line == "none" {
            continue;
        }
        let (version, value) = line.strip_prefix("version ")?.split_once(' ')?;
        read.version = version.parse().ok()?;
        value.clone_into(&mut read.value);
    }
    let sums = of("add");
    for (at, add) in transaction.adds.iter_mut().enumerate() {
        add.sum = Some(sums.get(at)?.parse().ok()?);
    }
    transaction.listed = of("list").first().and_then(|it| entries(it));
    Some(())
}

/// `[key=value,...]`.
pub(super) fn entries(listing: &str) -> Option<Vec<(String, String)>> {
    let listing = listing.strip_suffix(" more").unwrap_or(listing);
    let listing = listing.strip_prefix('[')?.strip_suffix(']')?;
    let pairs = listing.split(',').filter(|it| !it.is_empty());
    let pair = |it: &str| {
        let (key, value) = it.split_once('=')?;
        Some((key.to_owned(), value.to_owned()))
    };
    pairs.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, text: &str) -> Answer {
        Answer {
            status,
            text: text.to_owned(),
        }
    }

    fn judged(answer: Option<&Answer>) -> Transaction {
        let mut script = Script::begin("test", "t-1".to_owned());
        script.acquire(&["a", "b"], 0);
        script.get("notes", "r0");
        script.get("notes", "r1");
        script.add("items", "a", 2);
        script.list("items", "10");
        judge(&mut script.transaction, answer);
        script.transaction
    }

    #[test]
    fn an_answer_is_read_step_by_step() {
        let text =
            "acquire: token 7 8\nget: none\nget: version 12 t-0\nadd: 5\nlist: [a=1,b=2] more";
        let it = judged(Some(&answer(200, text)));
        assert_eq!(it.outcome, Outcome::Ok);
        assert_eq!(it.answer, "");
        let tokens: Vec<_> = it.locks.iter().map(|(_, token)| *token).collect();
        assert_eq!(tokens, [Some(7), Some(8)]);
        assert_eq!((it.reads[0].version, it.reads[0].value.as_str()), (0, ""));
        assert_eq!(
            (it.reads[1].version, it.reads[1].value.as_str()),
            (12, "t-0")
        );
        assert_eq!(it.adds[0].sum, Some(5));
        assert_eq!(it.listed.unwrap().len(), 2);
    }

    #[test]
    fn an_answer_that_never_came_is_unknown_and_no_refusal() {
        assert_eq!(judged(None).outcome, Outcome::Unknown);
        let problem = |status, reason| answer(status, &format!("{{\"reason\":\"{reason}\"}}"));
        for (answer, outcome) in [
            (problem(503, "OUTCOME_UNKNOWN"), Outcome::Unknown),
            (problem(503, "STORE_UNAVAILABLE"), Outcome::Fail),
            (problem(409, "CONFLICT"), Outcome::Fail),
            (answer(422, "get: error unavailable"), Outcome::Fail),
            (answer(502, "bad gateway"), Outcome::Unknown),
        ] {
            assert_eq!(judged(Some(&answer)).outcome, outcome, "{answer:?}");
        }
    }
}
