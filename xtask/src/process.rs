//! Running other programs.

use crate::steps::{Failure, Outcome};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where cargo puts what it builds of the root's workspace.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// The cargo that runs us, in `folder` of the repository.
///
/// A target directory set in the environment is for the host: components are
/// looked for in their own workspace's, so the variable is taken away there.
pub(crate) fn cargo(folder: &str) -> Command {
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command.current_dir(root().join(folder));
    if !folder.is_empty() {
        command.env_remove("CARGO_TARGET_DIR");
    }
    command
}

/// Runs a program to its end; anything but success is a failure.
pub(crate) fn run(command: &mut Command, what: &str) -> Outcome {
    let status = command
        .status()
        .map_err(|error| Failure::new(format!("{what}: {error}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("{what} failed ({status})")))
    }
}

/// What a program prints on its standard output.
pub(crate) fn output(command: &mut Command, what: &str) -> Outcome<String> {
    let output = command
        .output()
        .map_err(|error| Failure::new(format!("{what}: {error}")))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Failure::new(format!(
            "{what} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )))
    }
}

/// Whether a program is there and answers `--version`.
pub(crate) fn answers(command: &mut Command) -> bool {
    command
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}
