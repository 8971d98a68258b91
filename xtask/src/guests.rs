//! Builds the components: those we ship and those that tests need.

use crate::process::{cargo, output, run};
use crate::steps::{Failure, Outcome, say};
use std::path::Path;
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";

/// Makes sure that the compiler can build components.
pub(crate) fn target() -> Outcome {
    let sysroot = output(
        Command::new("rustc")
            .args(["--print", "sysroot"])
            .current_dir(crate::process::root()),
        "rustc --print sysroot",
    )
    .map_err(|failure| failure.hint("install Rust with rustup, https://rustup.rs"))?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET);
    if library.join("lib").is_dir() {
        return Ok(());
    }
    say(&format!("Adding the target {TARGET}"));
    run(
        Command::new("rustup")
            .args(["target", "add", TARGET])
            .current_dir(crate::process::root()),
        &format!("rustup target add {TARGET}"),
    )
    .map_err(|failure| {
        failure.hint(format!(
            "components are built for {TARGET}; with rustup and a network, \
             `rustup target add {TARGET}` installs it"
        ))
    })
}

/// Builds the components we ship.
pub(crate) fn plugins() -> Outcome {
    build("plugins", "Building the components of plugins/")
}

/// Builds the components that only tests use.
pub(crate) fn test_guests() -> Outcome {
    build("tests/guests", "Building the test guests of tests/guests/")
}

fn build(folder: &str, step: &str) -> Outcome {
    say(step);
    run(
        cargo(folder).args(["build", "--release", "--locked", "--target", TARGET]),
        &format!("building {folder}"),
    )
    .map_err(|failure: Failure| failure.hint("the compiler's message is above"))
}
