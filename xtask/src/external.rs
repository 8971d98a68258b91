//! What tests and checks need from outside Rust: Python packages for a client
//! that is not ours, and `buf` for the protocol. Installed below `target/`.

use crate::process::{answers, output, root, run};
use crate::steps::{Failure, Outcome, say};
use std::path::PathBuf;
use std::process::Command;

/// The Python packages that tests use.
const PYTHON: [&str; 3] = [
    "grpcio==1.85.1",
    "grpcio-reflection==1.85.1",
    "protobuf==7.36.2",
];

/// The npm package of `buf`, which brings the program along.
const BUF: &str = "@bufbuild/buf@1.75.0";

/// Where Python finds [`PYTHON`].
pub(crate) fn python_packages() -> Outcome<PathBuf> {
    let folder = root().join("target/python");
    // Packages are built for one Python.
    let version = output(Command::new("python3").arg("--version"), "python3")
        .map_err(|failure| failure.hint(NO_PYTHON))?;
    let wanted = format!("{} {}\n", version.trim(), PYTHON.join(" "));
    let stamp = folder.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(folder);
    }
    say("Installing Python packages for the tests");
    if !answers(Command::new("python3").args(["-m", "pip"])) {
        return Err(Failure::new("python3 has no pip").hint(NO_PYTHON));
    }
    remove(&folder)?;
    run(
        Command::new("python3")
            .args(["-m", "pip", "install", "--quiet"])
            .args(["--disable-pip-version-check", "--only-binary", ":all:"])
            .arg("--target")
            .arg(&folder)
            .args(PYTHON),
        "pip install",
    )
    .map_err(|failure| {
        failure.hint("a network, or an index that pip is told of, is needed for the first time")
    })?;
    std::fs::write(&stamp, wanted)
        .map_err(|error| Failure::new(format!("writing {}: {error}", stamp.display())))?;
    Ok(folder)
}

const NO_PYTHON: &str = "a client in Python is tested against the lock API: on Debian, \
                         `apt-get install python3 python3-pip`";

/// Where `buf` is.
pub(crate) fn buf() -> Outcome<PathBuf> {
    let folder = root().join("target/buf");
    let program = folder.join("node_modules/.bin/buf");
    let version = BUF.rsplit('@').next().unwrap_or_default();
    let installed = output(Command::new(&program).arg("--version"), "buf");
    if installed.is_ok_and(|there| there.trim() == version) {
        return Ok(program);
    }
    say("Installing buf");
    if !answers(&mut Command::new("npm")) {
        return Err(Failure::new("npm is missing").hint(
            "it installs `buf`, which checks the protocol: on Debian, \
             `apt-get install nodejs npm`",
        ));
    }
    std::fs::create_dir_all(&folder)
        .map_err(|error| Failure::new(format!("creating {}: {error}", folder.display())))?;
    run(
        Command::new("npm")
            .args(["install", "--silent", "--no-save", "--no-audit"])
            .args(["--no-fund", "--prefix"])
            .arg(&folder)
            .arg(BUF),
        "npm install",
    )
    .map_err(|failure| {
        failure.hint("a network, or a registry that npm is told of, is needed for the first time")
    })?;
    Ok(program)
}

/// Removes what an earlier version has left.
fn remove(folder: &std::path::Path) -> Outcome {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::new(format!(
            "removing {}: {error}",
            folder.display()
        ))),
        _ => Ok(()),
    }
}
