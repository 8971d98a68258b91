//! What tests and checks need from outside Rust: Python packages for a client
//! that is not ours, and `buf` for the protocol, installed below `target/`; and
//! `redis-server` for the store that nodes share, a package of the system.

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

/// Makes sure that `redis-server` is there.
pub(crate) fn redis_server() -> Outcome {
    if !answers(&mut Command::new("redis-server")) {
        say("Installing redis-server");
        let installed = run(
            Command::new("apt-get").args(["update", "-qq"]),
            "apt-get update",
        )
        .and_then(|()| {
            run(
                Command::new("apt-get").args(["install", "-y", "-qq", "redis-server"]),
                "apt-get install redis-server",
            )
        });
        installed.map_err(|failure| {
            failure
                .within("redis-server is missing and could not be installed")
                .hint(NO_REDIS)
        })?;
    }
    let version = output(
        Command::new("redis-server").arg("--version"),
        "redis-server",
    )
    .map_err(|failure| failure.hint(NO_REDIS))?;
    match major(&version) {
        Some(REDIS_MIN..) => Ok(()),
        _ => {
            Err(Failure::new(format!("redis-server is too old: {}", version.trim())).hint(NO_REDIS))
        }
    }
}

/// The major version in what `redis-server --version` says: `... v=7.0.15 ...`.
fn major(version: &str) -> Option<u32> {
    let number = version
        .split_whitespace()
        .find_map(|it| it.strip_prefix("v="))?;
    number.split('.').next()?.parse().ok()
}

/// The oldest major version of Redis that has function libraries.
const REDIS_MIN: u32 = 7;

const NO_REDIS: &str = "the store that nodes share is tested on real servers, Redis 7.0 or newer: \
                        on Debian, `apt-get install redis-server`";

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_server_is_understood() {
        let said = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64";
        assert_eq!(major(said), Some(7));
        assert_eq!(major("Redis server"), None);
    }
}
