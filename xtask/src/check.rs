//! `cargo xtask check`: what has to pass before a change lands.

use crate::process::{cargo, root, run, target_dir};
use crate::steps::{Outcome, say};
use crate::{external, guests, test};
use std::process::Command;

/// The workspaces, each with the flags that choose its target.
const WORKSPACES: [(&str, &[&str]); 3] = [
    ("", &["--all-targets"]),
    ("plugins", &["--target", "wasm32-wasip2"]),
    ("tests/guests", &["--target", "wasm32-wasip2"]),
];

/// What benchmarks need besides, each a workspace of its own. They are linted in
/// the host's target directory: in their own, every dependency would be built
/// once more.
const BENCHES: [&str; 2] = ["tests/bench/locks", "tests/bench/reference"];

pub(crate) fn run_all() -> Outcome {
    guests::target()?;
    let folders = WORKSPACES.iter().map(|(folder, _)| *folder);
    for folder in folders.chain(BENCHES) {
        say(&format!("Checking the format of {}", name(folder)));
        run(
            cargo(folder).args(["fmt", "--all", "--check"]),
            "the format check",
        )
        .map_err(|failure| failure.hint("`cargo fmt --all` in that folder mends it"))?;
    }
    for folder in BENCHES {
        // They share packages with the host, whose dependencies change.
        run(
            cargo(folder).args(["update", "--workspace", "--locked", "--quiet"]),
            &format!("the check of {folder}/Cargo.lock"),
        )
        .map_err(|failure| failure.hint("`cargo update --workspace` in that folder mends it"))?;
    }
    protocol()?;
    test::run(&test::Arguments::default())?;
    for (folder, flags) in WORKSPACES {
        lint(folder, cargo(folder).arg("clippy").args(flags))?;
    }
    for folder in BENCHES {
        let mut clippy = cargo(folder);
        clippy.args(["clippy", "--all-targets", "--target-dir"]);
        lint(folder, clippy.arg(target_dir()))?;
    }
    Ok(())
}

fn lint(folder: &str, clippy: &mut Command) -> Outcome {
    say(&format!("Linting {}", name(folder)));
    run(
        clippy
            .args(["--locked", "--workspace"])
            .args(["--", "--deny", "warnings"]),
        "clippy",
    )
}

/// Whether what other programs see is as it should be.
fn protocol() -> Outcome {
    let buf = external::buf()?;
    say("Linting the protocol");
    run(
        Command::new(buf)
            .arg("lint")
            .current_dir(root().join("proto")),
        "buf lint",
    )
}

fn name(folder: &str) -> &str {
    if folder.is_empty() {
        "the host"
    } else {
        folder
    }
}
