//! What is printed at the end: medians and spread of each contender, then the
//! ratios, which are what counts; and all of it as JSON where that is asked for.
#![expect(clippy::print_stdout, reason = "the table is what was asked for")]

use super::sample::{Busy, Sample, Spread};
use super::suite::{Measured, Ratio, Suite};
use crate::steps::{Failure, Outcome};
use serde_json::json;
use std::path::Path;

pub(super) fn print(suite: &Suite, measured: &[Measured]) {
    let reference = suite.reference.and_then(|name| {
        let found = measured.iter().find(|it| it.name == name)?;
        Some((name, rate(found)?.median))
    });
    let of = reference.map_or_else(String::new, |(name, _)| format!(" of {name} |"));
    let counted = suite.counted;
    println!(
        "\n| what | {counted} (median) | min to max |{of} p50 | p99 | refused | busy: server, load |"
    );
    let rule = if of.is_empty() { "" } else { " ---: |" };
    println!("| --- | ---: | ---: |{rule} ---: | ---: | ---: | ---: |");
    for contender in measured {
        let Some(rate) = rate(contender) else {
            continue;
        };
        let share = reference.map_or_else(String::new, |(_, reference)| {
            format!(" {:.1} % |", 100.0 * rate.median / reference)
        });
        println!(
            "| {} | {:.0} | {:.0} to {:.0} |{share} {} ms | {} ms | {} | {} |",
            contender.name,
            rate.median,
            rate.min,
            rate.max,
            median(contender, |it| Some(it.p50.as_secs_f64() * 1e3), 3),
            median(contender, |it| Some(it.p99.as_secs_f64() * 1e3), 3),
            contender.rounds.iter().map(|it| it.refused).sum::<u64>(),
            busy(contender),
        );
    }
    print_ratios(&suite.ratios, measured);
}

fn print_ratios(ratios: &[Ratio], measured: &[Measured]) {
    let found: Vec<(&Ratio, Spread)> = ratios
        .iter()
        .filter_map(|ratio| Some((ratio, ratio.spread(measured)?)))
        .collect();
    if found.is_empty() {
        return;
    }
    println!("\n| ratio | median of the rounds' | min to max | aim |");
    println!("| --- | ---: | ---: | --- |");
    for (ratio, spread) in found {
        let aim = ratio.aim.map_or_else(String::new, |aim| {
            let reached = aim.is_reached(spread.median);
            format!("{aim}{}", if reached { "" } else { ": not reached" })
        });
        println!(
            "| {} | {:.2} | {:.2} to {:.2} | {aim} |",
            ratio.name(),
            spread.median,
            spread.min,
            spread.max,
        );
    }
}

/// Every round of every suite, for programs.
pub(super) fn write(path: &Path, suites: &[(Suite, Vec<Measured>)]) -> Outcome {
    let suites: Vec<_> = suites
        .iter()
        .map(|(suite, measured)| {
            let ratios = suite
                .ratios
                .iter()
                .map(|ratio| json!({ "ratio": ratio.name(), "spread": ratio.spread(measured) }));
            json!({
                "suite": suite.name,
                "counted": suite.counted,
                "contenders": measured,
                "ratios": ratios.collect::<Vec<_>>(),
            })
        })
        .collect();
    std::fs::write(path, format!("{:#}\n", json!(suites)))
        .map_err(|error| Failure::new(format!("writing {}: {error}", path.display())))
}

fn rate(contender: &Measured) -> Option<Spread> {
    Spread::of(contender.rounds.iter().map(|it| it.rate))
}

fn busy(contender: &Measured) -> String {
    let share =
        |of: fn(Busy) -> Option<f64>| median(contender, |it| Some(100.0 * of(it.busy?)?), 0);
    match (share(|it| it.server), share(|it| Some(it.load))) {
        (_, load) if load.is_empty() => String::new(),
        (server, load) if server.is_empty() => format!("{load} %"),
        (server, load) => format!("{server} %, {load} %"),
    }
}

/// The median of a figure over the rounds, as text; empty if it is not known.
fn median(contender: &Measured, figure: impl Fn(&Sample) -> Option<f64>, digits: usize) -> String {
    let spread = Spread::of(contender.rounds.iter().filter_map(figure));
    spread.map_or_else(String::new, |it| format!("{:.digits$}", it.median))
}
