//! Runs `lockport` to its end and looks at what it left: for the commands, and
//! for a `serve` that has to refuse.

use super::{Logs, eventually};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A run of `lockport` that has ended.
pub(crate) struct Finished {
    /// Its exit code; a signal has none.
    pub(crate) code: Option<i32>,
    /// What it wrote to standard output.
    pub(crate) stdout: String,
    /// What it wrote to standard error.
    pub(crate) stderr: String,
}

/// A run of `lockport` that goes on. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    /// What it writes to standard output.
    pub(crate) stdout: Logs,
    /// What it writes to standard error.
    pub(crate) stderr: Logs,
}

/// A command about to run `lockport`.
pub(crate) struct Lockport {
    command: Command,
}

/// `lockport` with these arguments, in an environment that says nothing to it.
pub(crate) fn lockport<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Lockport {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockport"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LOCKPORT_") {
            command.env_remove(name);
        }
    }
    command
        .env_remove("RUST_BACKTRACE")
        .env_remove("RUST_LOG")
        .args(args);
    Lockport { command }
}

impl Lockport {
    /// Runs it in `dir`.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Runs it with this variable set.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it so that a file that may not grow is an error to it, and not a
    /// signal that ends it.
    pub(crate) fn told_of_file_limits(self) -> Self {
        self.ignoring("XFSZ")
    }

    /// Runs it so that this signal is ignored.
    pub(crate) fn ignoring(mut self, signal: &str) -> Self {
        let script = format!("trap '' {signal}; exec \"$0\" \"$@\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]);
        self.inside(shell);
        self
    }

    /// Runs it with a terminal for standard input, which nobody types at.
    pub(crate) fn at_a_terminal(mut self) -> Self {
        // The other end stays open for as long as it runs.
        const OPEN: &str = "import os, pty, sys\n\
            ours, its = pty.openpty()\n\
            os.set_inheritable(ours, True)\n\
            os.dup2(its, 0)\n\
            os.execv(sys.argv[1], sys.argv[1:])";
        let mut python = Command::new("python3");
        python.args(["-c", OPEN]);
        self.inside(python);
        self
    }

    /// Starts it with its output captured by the caller.
    #[track_caller]
    pub(crate) fn spawn(mut self) -> Child {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`lockport` starts")
    }

    /// Starts it and collects its output.
    #[track_caller]
    pub(crate) fn start(self) -> Running {
        let mut child = self.spawn();
        let stdout = Logs::of(child.stdout.take().expect("it is piped"));
        let stderr = Logs::of(child.stderr.take().expect("it is piped"));
        Running {
            child,
            stdout,
            stderr,
        }
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(self) -> Finished {
        self.start().finish()
    }

    /// Lets another program become it, which is told of it by arguments.
    fn inside(&mut self, mut other: Command) {
        other
            .arg(self.command.get_program())
            .args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => other.env(name, value),
                None => other.env_remove(name),
            };
        }
        if let Some(dir) = self.command.get_current_dir() {
            other.current_dir(dir);
        }
        self.command = other;
    }
}

impl Running {
    /// Sends it a signal.
    #[track_caller]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process number is small");
        let pid = rustix::process::Pid::from_raw(pid).expect("it is not zero");
        rustix::process::kill_process(pid, signal)
            .expect("it is our child and has not been waited for");
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Finished {
        let status = wait(&mut self.child, "`lockport` ends");
        self.stdout.wait_for_end();
        self.stderr.wait_for_end();
        Finished {
            code: status.code(),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Finished {
    /// Fails unless it ended with `code`; shows what it said.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "exit code\nstdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr,
        );
        self
    }

    /// Fails unless standard error contains every one of `parts`.
    #[track_caller]
    pub(crate) fn expect_stderr(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "standard error does not say `{part}`:\n{}",
                self.stderr,
            );
        }
        self
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON ({error}):\n{}", self.stdout))
    }
}

/// Waits for `child` to end.
#[track_caller]
pub(crate) fn wait(child: &mut Child, what: &str) -> std::process::ExitStatus {
    eventually(what, || child.try_wait().expect("it is our child"))
}
