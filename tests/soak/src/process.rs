//! Processes that we start, stop, kill and start again: nodes and Redis servers.
//! Nobody else's are ever touched.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a process may take to come up.
const START: Duration = Duration::from_secs(20);

/// A process of ours. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts it. What it writes to standard error is added to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {:?}", command.as_std().get_program()))?;
        Ok(Self { child })
    }

    /// The first line of its output; the rest of it is read and forgotten.
    pub(crate) async fn first_line(&mut self) -> Result<String> {
        let stdout = self.child.stdout.take().context("its output was read")?;
        let mut lines = BufReader::new(stdout).lines();
        let Ok(line) = timeout(START, lines.next_line()).await else {
            bail!("it said nothing in {START:?}");
        };
        let line = line?.context("it ended before it said anything")?;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(line)
    }

    /// Reads its output and forgets it.
    pub(crate) fn forget_output(&mut self) {
        if let Some(stdout) = self.child.stdout.take() {
            let mut lines = BufReader::new(stdout).lines();
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        }
    }

    /// SIGSTOP.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// `kill -9`; returns when it is gone.
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// How it ended, if it did by itself.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(status.to_string())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // It has no number any more if it was waited for.
        let number = self.child.id().context("it has ended")?;
        let pid = Pid::from_raw(i32::try_from(number)?).context("it has no number")?;
        Ok(kill_process(pid, signal)?)
    }
}
