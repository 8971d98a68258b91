//! The command that runs under the locks.
//!
//! It leads a process group of its own, so that a signal reaches all that it
//! has started. Not if standard input is a terminal: then it has to stay in the
//! group that the terminal talks to, or it could not read from it, and only the
//! command itself is signalled.

use super::signals::code_of;
use crate::cli::exit::{Exit, Report};
use lockport_client::Guard;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use tokio::process::{self, Command};

/// The variables that tell the command of its locks.
const GRANT: &str = "LOCKPORT_GRANT";
/// See [`GRANT`].
const FENCING_TOKEN: &str = "LOCKPORT_FENCING_TOKEN";

/// A command that runs, or has ended.
pub(super) struct Child {
    process: process::Child,
    pid: Pid,
    /// Whether it leads a process group.
    leads: bool,
}

impl Child {
    /// Starts the command.
    pub(super) fn spawn(command: &[OsString], guard: &Guard) -> Result<Self, Report> {
        let (program, arguments) = command.split_first().ok_or_else(|| Report {
            exit: Exit::Usage,
            error: "there is no command to run".to_owned(),
            causes: vec![],
            hint: None,
        })?;
        let leads = !io::stdin().is_terminal();
        let mut starting = Command::new(program);
        starting
            .args(arguments)
            .env(GRANT, guard.id())
            .env(FENCING_TOKEN, guard.token().to_string());
        if leads {
            starting.process_group(0);
        }
        let process = starting.spawn().map_err(|error| Report {
            exit: match error.kind() {
                io::ErrorKind::NotFound => Exit::NotFound,
                _ => Exit::NotRunnable,
            },
            error: format!("the command `{}` cannot be run", program.to_string_lossy()),
            causes: vec![error.to_string()],
            hint: None,
        })?;
        let pid = process.id().and_then(|it| i32::try_from(it).ok());
        let pid = pid.and_then(Pid::from_raw);
        Ok(Self {
            process,
            pid: pid.expect("a process that was not waited for has a number"),
            leads,
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

    /// Sends it a signal, and all that it has started if it leads a group.
    pub(super) fn signal(&self, signal: Signal) {
        // It is gone if it was waited for; until then its number is its own.
        if self.process.id().is_none() {
            return;
        }
        let sent = match self.leads {
            true => kill_process_group(self.pid, signal),
            false => kill_process(self.pid, signal),
        };
        if let Err(error) = sent {
            tracing::debug!(%error, ?signal, "the command cannot be signalled");
        }
    }

    /// Kills what it has started and left behind. To be called as soon as it
    /// has ended: the number of its group is free when the last of it is gone.
    pub(super) fn kill_rest(&self) {
        if self.leads {
            // That nothing is left is as good.
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }
}
