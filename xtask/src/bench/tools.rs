//! The programs the benchmark needs, installed where they are missing.

use crate::process::{cargo, output, root, run};
use crate::steps::{Failure, Outcome, say};
use std::path::PathBuf;
use std::process::Command;

/// The release of wasmtime that stands beside us: the one we are built with.
const WASMTIME: &str = "48.0.8";

/// What binds a program to a core.
pub(super) fn taskset() -> Outcome {
    debian("taskset", "util-linux")
}

/// The load on HTTP servers.
pub(super) fn wrk() -> Outcome {
    debian("wrk", "wrk")
}

/// What stands beside the lock API.
pub(super) fn etcd() -> Outcome {
    debian("etcd", "etcd-server")
}

fn debian(program: &str, package: &str) -> Outcome {
    let there = output(Command::new("which").arg(program), "which").is_ok();
    if there {
        return Ok(());
    }
    say(&format!("Installing {package}"));
    run(
        Command::new("apt-get").args(["install", "--yes", package]),
        "apt-get install",
    )
    .map_err(|failure: Failure| {
        failure.hint(format!(
            "install `{program}` and try again; on Debian, as root, \
             `apt-get update && apt-get install {package}`"
        ))
    })
}

/// wasmtime's own command.
pub(super) fn wasmtime() -> Outcome<PathBuf> {
    let folder = root().join("target/bench");
    let program = folder.join("bin/wasmtime");
    let installed = output(Command::new(&program).arg("--version"), "wasmtime");
    if installed.is_ok_and(|version| version.contains(WASMTIME)) {
        return Ok(program);
    }
    say("Installing wasmtime's own command (takes minutes)");
    run(
        cargo("")
            .args([
                "install",
                "wasmtime-cli",
                "--locked",
                "--version",
                WASMTIME,
                "--root",
            ])
            .arg(&folder),
        "cargo install wasmtime-cli",
    )?;
    Ok(program)
}
