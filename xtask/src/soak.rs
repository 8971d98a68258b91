//! `cargo xtask soak`: load and faults on real nodes, round after round, and a
//! check of everything that was seen. What it does is `tests/soak`; here it is
//! built and started.

use crate::process::{self, cargo, root, run, target_dir};
use crate::steps::{Failure, Outcome, say};
use crate::{external, guests};
use std::ffi::OsString;
use std::process::Command;

/// Where histories of failed rounds are written, below the target directory.
const OUT: &str = "soak";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Arguments for the soak: `--minutes 60 --store redis --nodes 2`. All of
    /// them are told by `cargo xtask soak -- --help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    soak: Vec<OsString>,
}

pub(crate) fn run_soak(arguments: &Arguments) -> Outcome {
    guests::target()?;
    guests::test_guests()?;
    external::redis_server()?;
    say("Building the host and the soak (the first time takes minutes)");
    // A test is chosen too, as `serve` does, and for the same reason.
    run(
        cargo("")
            .args(["build", "--locked", "--workspace", "--test", "it"])
            .args(["--bin", "lockport", "--bin", "lockport-soak"]),
        "building the soak",
    )?;
    let target = target_dir();
    say("Soaking");
    let mut command = Command::new(target.join("debug/lockport-soak"));
    command
        .arg("--lockport")
        .arg(target.join("debug/lockport"))
        .arg("--probe")
        .arg(root().join("tests/guests/probe"))
        .arg("--out")
        .arg(target.join(OUT))
        .args(&arguments.soak);
    process::run(&mut command, "the soak").map_err(|failure: Failure| {
        failure.hint("`--seed` with the seed of a round that failed runs it again")
    })
}
