//! The repository's own commands: `cargo xtask serve`, `test`, `soak`, `bench`.
//!
//! Each builds what it needs, in order, and says which step it is at. Cargo's
//! own progress is the sign of life within a step.

mod bench;
mod check;
mod external;
mod guests;
mod process;
mod serve;
mod soak;
mod steps;
mod test;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build everything and run a node that serves orders and invoices.
    ///
    /// Data is kept in `data/`. Further arguments go to `lockport serve`.
    Serve(serve::Arguments),

    /// Build everything and run every test.
    ///
    /// Further arguments go to the test runner: nextest if it is installed,
    /// else `cargo test`.
    Test(test::Arguments),

    /// Check format, lints and tests: what has to pass before a change lands.
    Check,

    /// Run load and faults on real nodes, and check every promise.
    ///
    /// Further arguments go to the soak.
    Soak(soak::Arguments),

    /// Measure, side by side with references; prints ratios.
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Check => check::run_all(),
        Command::Soak(arguments) => soak::run_soak(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            steps::say_failure(&failure);
            ExitCode::FAILURE
        }
    }
}
