//! What is said about rounds, and what is written down of those that failed.

use crate::history::Outcome;
use crate::round::{Plan, Round};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// Violations that are shown of one round; the rest is counted.
const SHOWN: usize = 5;

/// What is about to be done.
pub fn plan(plan: &Plan) -> String {
    let shape = plan.shape;
    let mut text = format!(
        "seed {}: {:?}, {} node(s), {} s of load",
        plan.seed,
        shape.storage,
        shape.nodes,
        shape.load.as_secs()
    );
    for event in plan.events() {
        let _ = write!(text, "\n  {event}");
    }
    text
}

/// What came of it.
pub fn verdict(plan: &Plan, round: &Round) -> String {
    let history = &round.history;
    let count = |outcome| history.count(outcome);
    let mut kinds: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    let mut add = |kind: &str, outcome: Outcome| {
        kinds.entry(kind.to_owned()).or_default()[outcome as usize] += 1;
    };
    history.holds.iter().for_each(|it| add(&it.via, it.outcome));
    let transactions = history.transactions.iter();
    transactions.for_each(|it| add(&it.workload, it.outcome));
    let verdict = match round.violations.len() {
        0 => "every promise was kept".to_owned(),
        count => format!("{count} VIOLATIONS"),
    };
    let mut text = format!(
        "seed {}: {} faults; ok {}, failed {}, unknown {}; {} looks; {verdict}",
        plan.seed,
        history.windows.len(),
        count(Outcome::Ok),
        count(Outcome::Fail),
        count(Outcome::Unknown),
        history.looks.len(),
    );
    for (kind, [ok, failed, unknown]) in kinds {
        let _ = write!(
            text,
            "\n  {kind}: ok {ok}, failed {failed}, unknown {unknown}"
        );
    }
    for violation in round.violations.iter().take(SHOWN) {
        let _ = write!(text, "\n  {violation}");
        for part in &violation.shown_by {
            let _ = write!(text, "\n    {part}");
        }
    }
    text
}

/// Writes the history and the logs of a round into files of `dir` that have its
/// seed in their names; where the history is.
pub fn write(dir: &Path, plan: &Plan, round: &Round) -> io::Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    let path = dir.join(format!("history-{}.jsonl", plan.seed));
    round.history.write(BufWriter::new(File::create(&path)?))?;
    for (name, log) in &round.logs {
        std::fs::write(dir.join(format!("{name}-{}.log", plan.seed)), log)?;
    }
    Ok(path)
}
