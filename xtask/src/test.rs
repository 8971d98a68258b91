//! `cargo xtask test`: every test, from a fresh clone.

use crate::process::{self, answers, cargo};
use crate::steps::{Outcome, say};
use crate::{external, guests};
use std::ffi::OsString;
use std::process::Command;

#[derive(Default, clap::Args)]
pub(crate) struct Arguments {
    /// Give every test the size that its line asks for, which takes some of
    /// them minutes. Comes before the runner's arguments.
    #[arg(long)]
    long: bool,

    /// Arguments for the test runner, such as the name of a test.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    runner: Vec<OsString>,
}

/// What runs the host's tests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Runner {
    Nextest,
    Cargo,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    guests::target()?;
    guests::plugins()?;
    guests::test_guests()?;
    let python = external::python_packages()?;
    external::redis_server()?;
    let all = arguments.runner.is_empty();
    if all {
        say("Testing the components' own logic");
        process::run(
            cargo("plugins").args(["test", "--locked", "--workspace"]),
            "the components' tests",
        )?;
    }
    say("Testing the host (the first build takes minutes)");
    let runner = Runner::found();
    let mut tests = runner.command();
    if arguments.long {
        tests.env("LOCKPORT_TEST_LONG", "1");
        if runner == Runner::Nextest {
            // It does not end them before they are through.
            tests.args(["--profile", "long"]);
        }
    }
    process::run(
        tests
            .args(&arguments.runner)
            .env("LOCKPORT_TEST_PYTHONPATH", python),
        "the tests",
    )?;
    if all && runner == Runner::Nextest {
        say("Testing the host's documentation");
        process::run(
            cargo("").args(["test", "--doc", "--locked", "--workspace"]),
            "the tests of the documentation",
        )?;
    }
    Ok(())
}

// === impl Runner ===

impl Runner {
    /// Nextest where it is installed, else cargo's own.
    fn found() -> Self {
        if answers(cargo("").arg("nextest")) {
            return Self::Nextest;
        }
        say("cargo-nextest is not installed; using `cargo test`");
        Self::Cargo
    }

    /// Runs every test; nextest leaves out those of the documentation.
    fn command(self) -> Command {
        let mut command = cargo("");
        match self {
            Self::Nextest => command.args(["nextest", "run"]),
            Self::Cargo => command.arg("test"),
        };
        command.args(["--locked", "--workspace"]);
        command
    }
}
