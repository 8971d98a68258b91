//! `cargo xtask check`: what has to pass before a change lands.

use crate::process::{cargo, run};
use crate::steps::{Outcome, say};
use crate::{guests, test};

/// The workspaces, each with the flags that choose its target.
const WORKSPACES: [(&str, &[&str]); 3] = [
    ("", &["--all-targets"]),
    ("plugins", &["--target", "wasm32-wasip2"]),
    ("tests/guests", &["--target", "wasm32-wasip2"]),
];

pub(crate) fn run_all() -> Outcome {
    guests::target()?;
    for (folder, _) in WORKSPACES {
        say(&format!("Checking the format of {}", name(folder)));
        run(
            cargo(folder).args(["fmt", "--all", "--check"]),
            "the format check",
        )
        .map_err(|failure| failure.hint("`cargo fmt --all` in that folder mends it"))?;
    }
    test::run(&test::Arguments::default())?;
    for (folder, flags) in WORKSPACES {
        say(&format!("Linting {}", name(folder)));
        run(
            cargo(folder)
                .args(["clippy", "--locked", "--workspace"])
                .args(flags)
                .args(["--", "--deny", "warnings"]),
            "clippy",
        )?;
    }
    Ok(())
}

fn name(folder: &str) -> &str {
    if folder.is_empty() {
        "the host"
    } else {
        folder
    }
}
