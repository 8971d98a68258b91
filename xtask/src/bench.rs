//! `cargo xtask bench`: requests per second, side by side in one run.
//!
//! Only ratios taken in one run count. Every round runs each contender once,
//! in an order that is turned by one place each round; the table shows medians
//! over the rounds and the spread. The load has one core, the server the other.

mod contender;
mod load;
mod table;
mod tools;

use crate::guests;
use crate::process::{cargo, run as run_program};
use crate::serve::{Profile, host};
use crate::steps::{Outcome, say};
use contender::Contender;
use load::Sample;
use std::time::Duration;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each contender is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// How long one measurement takes, in seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// Connections held open by the load.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,

    /// Only contenders whose name contains this; the reference always runs.
    #[arg(long)]
    only: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let contenders = prepare(arguments)?;
    let load = load::Load {
        connections: arguments.connections,
        duration: Duration::from_secs(arguments.seconds),
    };
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); contenders.len()];
    for round in 0..arguments.rounds {
        say(&format!("Round {} of {}", round + 1, arguments.rounds));
        for turn in 0..contenders.len() {
            let at = (turn + round as usize) % contenders.len();
            let sample = contenders[at].measure(&load)?;
            say(&format!(
                "  {:<42} {:>9.0} requests/s",
                contenders[at].name, sample.rate
            ));
            samples[at].push(sample);
        }
    }
    table::print(&contenders, &samples);
    Ok(())
}

/// Builds and installs what the contenders need.
fn prepare(arguments: &Arguments) -> Outcome<Vec<Contender>> {
    guests::target()?;
    guests::plugins()?;
    guests::test_guests()?;
    let tools = tools::install()?;
    say("Building the reference");
    run_program(
        cargo("tests/bench/reference").args(["build", "--release", "--locked"]),
        "building the reference",
    )?;
    let lockport = host(Profile::Release)?;
    let mut contenders = contender::all(&lockport, &tools.wasmtime);
    if let Some(only) = &arguments.only {
        contenders.retain(|it| it.is_reference() || it.name.contains(only.as_str()));
    }
    Ok(contenders)
}
