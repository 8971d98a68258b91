//! The command that runs under the locks.
//!
//! It leads a process group of its own, so that a signal reaches all that it
//! has started. Not if standard input is a terminal: then it has to stay in the
//! group that the terminal talks to, or it could not read from it, and what it
//! has started is looked up instead.

use super::descendants::{self, Process};
use super::signals::code_of;
use super::tied;
use crate::cli::Global;
use crate::cli::exit::{Exit, Report};
use lockport_client::Guard;
use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use tokio::process::{self, Command};
use tokio::time::sleep;

/// The variables that tell the command of its locks.
const GRANT: &str = "LOCKPORT_GRANT";
/// See [`GRANT`].
const FENCING_TOKEN: &str = "LOCKPORT_FENCING_TOKEN";

/// How long after processes were killed is looked whether they are gone.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A command that runs, or has ended.
pub(super) struct Child {
    process: process::Child,
    pid: Pid,
    /// Whether it leads a process group.
    leads: bool,
    /// What this process had started before: whatever it was until it became
    /// `lockport`.
    others: Vec<Pid>,
}

/// Why a command is not run.
pub(super) fn not_run(program: &OsStr, error: &io::Error) -> Report {
    Report {
        exit: match error.kind() {
            io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::NotRunnable,
        },
        error: format!("the command `{}` cannot be run", program.to_string_lossy()),
        causes: vec![error.to_string()],
        hint: None,
    }
}

impl Child {
    /// Starts the command.
    pub(super) fn spawn(
        global: &Global,
        command: &[OsString],
        guard: &Guard,
    ) -> Result<Self, Report> {
        let leads = !io::stdin().is_terminal();
        let others = descendants::started_by(&descendants::running(), getpid(), &[]);
        let command = tied::tied(global, command);
        let (program, arguments) = command.split_first().ok_or_else(Report::no_command)?;
        let mut starting = Command::new(program);
        starting
            .args(arguments)
            .env(GRANT, guard.id())
            .env(FENCING_TOKEN, guard.token().to_string());
        if leads {
            starting.process_group(0);
        }
        let process = starting.spawn().map_err(|error| not_run(program, &error))?;
        let pid = process.id().and_then(|it| i32::try_from(it).ok());
        let pid = pid.and_then(Pid::from_raw);
        Ok(Self {
            process,
            pid: pid.expect("a process that was not waited for has a number"),
            leads,
            others: others.iter().map(|it| it.pid).collect(),
        })
    }

    /// Waits for its end, and gives its exit code. May be dropped.
    pub(super) async fn wait(&mut self) -> io::Result<u8> {
        let status = self.process.wait().await?;
        let code = status.code().and_then(|it| u8::try_from(it).ok());
        Ok(code.unwrap_or_else(|| code_of(status.signal().unwrap_or_default())))
    }

    /// Passes on a signal that this process got. One that the terminal sends
    /// to its whole group the command has got already.
    pub(super) fn pass_on(&self, signal: Signal) {
        let of_terminal = matches!(signal, Signal::INT | Signal::QUIT);
        if self.leads || !of_terminal {
            self.signal(signal);
        }
    }

    /// Tells it to end, and all that it has started.
    pub(super) fn tell(&self) {
        adopt();
        self.signal(Signal::TERM);
    }

    /// Kills it, and all that it has started.
    pub(super) fn kill(&self) {
        adopt();
        self.signal(Signal::KILL);
        for it in self.rest() {
            send(it.pid, Signal::KILL);
        }
    }

    /// Kills what it has started and left behind, until that is gone. To be
    /// called as soon as it has ended: the number of its group is free when the
    /// last of it is gone.
    pub(super) async fn kill_rest(&self) {
        adopt();
        if self.leads {
            // That nothing is left is as good.
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
        loop {
            let rest = self.rest();
            if rest.is_empty() {
                return;
            }
            for it in rest {
                send(it.pid, Signal::KILL);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Sends a signal to it, and to all that it has started.
    fn signal(&self, signal: Signal) {
        // It is gone if it was waited for; until then its number is its own.
        if self.process.id().is_none() {
            return;
        }
        if self.leads {
            if let Err(error) = kill_process_group(self.pid, signal) {
                tracing::debug!(%error, ?signal, "the command cannot be signalled");
            }
            return;
        }
        // Looked up first: what loses its parent is not found any more.
        let started = descendants::started_by(&descendants::running(), self.pid, &[]);
        send(self.pid, signal);
        for it in started {
            send(it.pid, signal);
        }
    }

    /// It and what it has started, as far as that runs.
    fn rest(&self) -> Vec<Process> {
        let all = descendants::running();
        let mut rest = descendants::started_by(&all, getpid(), &self.others);
        if self.leads {
            rest.extend(descendants::in_group(&all, self.pid));
        }
        rest
    }
}

/// From now on a process that loses its parent becomes this one's child, if the
/// command has started it: so that it is found.
fn adopt() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(getpid())) {
        tracing::debug!(%error, "what the command has started may get away");
    }
}

/// Sends a signal to a process that was there a moment ago.
fn send(pid: Pid, signal: Signal) {
    if let Err(error) = kill_process(pid, signal) {
        tracing::debug!(%error, ?signal, "a process cannot be signalled");
    }
}
