//! `cargo xtask soak`: round after round, until the time is over or a promise
//! was broken.
#![expect(clippy::print_stdout, reason = "it is a program that reports")]

use anyhow::{Context, Result};
use clap::Parser;
use lockport_soak::report;
use lockport_soak::round::{LoadSize, Places, Plan};
use lockport_soak::schedule::{Fault, Shape, Storage};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Load and faults on real nodes, and a check of everything that was seen.
#[derive(Parser)]
#[command(name = "cargo xtask soak")]
struct Arguments {
    /// For how many minutes to run rounds. A round that has begun is finished.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,

    /// The store.
    #[arg(long, value_enum, default_value_t = Storage::Embedded)]
    store: Storage,

    /// How many nodes there are; only Redis has more than one.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    nodes: u32,

    /// The seed of the first round; the next ones count on. Without it, another
    /// one each time.
    #[arg(long)]
    seed: Option<u64>,

    /// What may be done to the system. Without it, everything but what loses
    /// the space: flush-all and failover.
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Option<Vec<Fault>>,

    /// Seconds of load in a round.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(3..=600))]
    round: u64,

    /// Go on after a round in which a promise was broken.
    #[arg(long)]
    keep_going: bool,

    /// Write down the histories of all rounds, not only of failed ones.
    #[arg(long)]
    histories: bool,

    /// Where histories are written.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// The program under test.
    #[arg(long, value_name = "FILE")]
    lockport: PathBuf,

    /// The folder of the component that runs steps.
    #[arg(long, value_name = "DIR")]
    probe: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs rounds; whether every promise was kept.
async fn run(arguments: &Arguments) -> Result<bool> {
    let end = Instant::now() + Duration::from_secs_f64(arguments.minutes.max(0.0) * 60.0);
    let mut seed = arguments.seed.unwrap_or_else(rand::random);
    let (mut rounds, mut failed) = (0, Vec::new());
    loop {
        let plan = plan(arguments, seed)?;
        println!("{}", report::plan(&plan));
        let round = plan.run().await.context("the system does not start")?;
        println!("{}", report::verdict(&plan, &round));
        rounds += 1;
        if arguments.histories || !round.violations.is_empty() {
            let path = report::write(&arguments.out, &plan, &round)?;
            println!("  the history is in {}", path.display());
        }
        if !round.violations.is_empty() {
            failed.push(seed);
            if !arguments.keep_going {
                break;
            }
        }
        if Instant::now() >= end {
            break;
        }
        seed = seed.wrapping_add(1);
    }
    println!(
        "{rounds} rounds, {} of them failed {failed:?}",
        failed.len()
    );
    Ok(failed.is_empty())
}

fn plan(arguments: &Arguments, seed: u64) -> Result<Plan> {
    std::fs::create_dir_all(&arguments.out)?;
    // A node reads them relative to where its configuration is.
    let place = |path: &Path| {
        let place = path.canonicalize();
        place.with_context(|| format!("there is no `{}`", path.display()))
    };
    Ok(Plan {
        seed,
        shape: Shape {
            storage: arguments.store,
            nodes: arguments.nodes as usize,
            load: Duration::from_secs(arguments.round),
        },
        faults: arguments.faults.clone().unwrap_or_else(Fault::defaults),
        size: LoadSize::DEFAULT,
        places: Places {
            lockport: place(&arguments.lockport)?,
            probe: place(&arguments.probe)?,
            cache: place(&arguments.out)?.join("compiled"),
        },
    })
}
