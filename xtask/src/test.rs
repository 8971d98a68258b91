//! `cargo xtask test`: every test, from a fresh clone.

use crate::process::{self, answers, cargo};
use crate::steps::{Outcome, say};
use crate::{external, guests};
use std::ffi::OsString;
use std::process::Command;

#[derive(Default, clap::Args)]
pub(crate) struct Arguments {
    /// Arguments for the test runner, such as the name of a test.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    runner: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    guests::target()?;
    guests::plugins()?;
    guests::test_guests()?;
    let python = external::python_packages()?;
    external::redis_server()?;
    if arguments.runner.is_empty() {
        say("Testing the components' own logic");
        process::run(
            cargo("plugins").args(["test", "--locked", "--workspace"]),
            "the components' tests",
        )?;
    }
    say("Testing the host (the first build takes minutes)");
    process::run(
        runner()
            .args(&arguments.runner)
            .env("LOCKPORT_TEST_PYTHONPATH", python),
        "the tests",
    )
}

/// Nextest where it is installed, else cargo's own runner.
fn runner() -> Command {
    let mut nextest = cargo("");
    nextest.arg("nextest");
    let mut command = cargo("");
    if answers(&mut nextest) {
        command.args(["nextest", "run"]);
    } else {
        say("cargo-nextest is not installed; using `cargo test`");
        command.arg("test");
    }
    command.args(["--locked", "--workspace"]);
    command
}
