//! `cargo xtask serve`: from a fresh clone to a node that serves orders.

use crate::guests;
use crate::process::{self, cargo, root, target_dir};
use crate::steps::{Failure, Outcome, say};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// The components the shop consists of so far.
const SHOP: [&str; 2] = ["plugins/order", "plugins/invoice"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Arguments for `lockport serve`: `--http 127.0.0.1:8080`, `--store memory:`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    serve: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    guests::target()?;
    guests::plugins()?;
    let lockport = host(Profile::Dev)?;
    say("Serving; Ctrl-C ends it");
    let mut command = Command::new(lockport);
    command
        .current_dir(root())
        .arg("serve")
        .args(SHOP)
        .args(&arguments.serve);
    Err(become_it(command))
}

/// Which build of the host.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// For serving and tests: dependencies optimised, our code not.
    Dev,
    /// For benchmarks.
    Release,
}

/// Builds the host and says where its program is.
pub(crate) fn host(profile: Profile) -> Outcome<PathBuf> {
    say("Building the host (the first time takes minutes)");
    let mut build = cargo("");
    build.args(["build", "--locked"]);
    let folder = match profile {
        // A test is chosen too because that makes cargo choose the features of
        // dependencies as it does for all tests: with others, wasmtime would be
        // built once to serve and once more to test.
        Profile::Dev => {
            build.args(["--workspace", "--bin", "lockport", "--test", "it"]);
            "debug"
        }
        Profile::Release => {
            build.args(["--package", "lockport", "--release"]);
            "release"
        }
    };
    process::run(&mut build, "building the host").map_err(|failure: Failure| {
        failure
            .hint("a C compiler is needed for SQLite: on Debian, `apt-get install gcc libc6-dev`")
    })?;
    Ok(target_dir().join(folder).join("lockport"))
}

/// Replaces this process, so that signals reach the node itself. Returns only
/// if that failed.
fn become_it(mut command: Command) -> Failure {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Failure::new(format!("starting lockport: {error}"))
}
