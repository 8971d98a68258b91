//! Programs in Python that use the lock API as anybody would: with `grpcio` and
//! what the server says of itself.

use super::{Logs, root};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Where `cargo xtask test` says that it has put the packages.
const PACKAGES: &str = "LOCKPORT_TEST_PYTHONPATH";

/// A program that runs. Dropping it kills it.
pub(crate) struct Program {
    pub(crate) child: Child,
    /// What it writes to standard output.
    pub(crate) stdout: Logs,
    /// What it writes to standard error.
    pub(crate) stderr: Logs,
}

/// Starts `tests/python/<name>`.
#[track_caller]
pub(crate) fn python<A: AsRef<str>>(name: &str, args: impl IntoIterator<Item = A>) -> Program {
    let mut command = Command::new("python3");
    command
        .arg(root().join("tests/python").join(name))
        .args(args.into_iter().map(|arg| arg.as_ref().to_owned()))
        .env("PYTHONPATH", packages())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("`python3` is needed: install it");
    let stdout = Logs::of(child.stdout.take().expect("it is piped"));
    let stderr = Logs::of(child.stderr.take().expect("it is piped"));
    Program {
        child,
        stdout,
        stderr,
    }
}

/// Where the packages are: where we are told, or where they would be.
#[track_caller]
fn packages() -> PathBuf {
    let told = std::env::var_os(PACKAGES).map(PathBuf::from);
    let packages = told.unwrap_or_else(|| root().join("target/python"));
    assert!(
        packages.join("grpc").is_dir() && packages.join("grpc_reflection").is_dir(),
        "{} has no `grpc`; run `cargo xtask test`, which installs it, or \
         `python3 -m pip install --target target/python grpcio grpcio-reflection protobuf`",
        packages.display(),
    );
    packages
}

// === impl Program ===

impl Program {
    /// Waits for it to end, and fails unless it ended well.
    #[track_caller]
    pub(crate) fn expect_success(mut self) {
        let status = super::command::wait(&mut self.child, "the program ends");
        self.stdout.wait_for_end();
        self.stderr.wait_for_end();
        let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
        assert!(status.success(), "{status}\n{stdout}\n{stderr}");
    }

    /// `kill -9`; returns when it is gone.
    #[track_caller]
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
