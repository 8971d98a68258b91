//! `tied`: a command that the kernel kills when the process that started it has
//! ended, however that was. `lock` starts its command so; nobody else would.
//!
//! When `lock` is killed nobody renews its locks any more, and the command must
//! not outlive them. Only Linux does this, and only for a process that asks for
//! it itself: so `lockport` is started once more, asks, and becomes the command.
//! (To ask between fork and exec would be `unsafe`.)

use super::child::not_run;
use crate::cli::Global;
use crate::cli::arguments::TiedArgs;
use crate::cli::exit::{Exit, Report};
use clap::ValueEnum;
use rustix::process::{Pid, getpid, getppid};
use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// This program, even if its file was replaced since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Becomes the command.
pub(in crate::cli) fn run(tied: &TiedArgs) -> Result<Infallible, Report> {
    end_with_parent().map_err(|error| Report::fault(&error))?;
    // It may have ended before that.
    if getppid() != Pid::from_raw(tied.parent) {
        return Err(Report {
            exit: Exit::Lost,
            error: "the process that holds the locks has ended".to_owned(),
            causes: vec![],
            hint: None,
        });
    }
    let Some((program, arguments)) = tied.command.split_first() else {
        return Err(Report::no_command());
    };
    let error = Command::new(program).args(arguments).exec();
    Err(not_run(program, &error))
}

/// What to start instead of the command, so that it is tied to this process. As
/// it is where that cannot be done.
pub(super) fn tied(global: &Global, command: &[OsString]) -> Vec<OsString> {
    if !cfg!(target_os = "linux") || !std::path::Path::new(THIS_PROGRAM).exists() {
        return command.to_vec();
    }
    let parent = getpid().as_raw_pid().to_string();
    let format = word(&global.format);
    let color = word(&global.color);
    let before = [THIS_PROGRAM, "tied", "--format", &format, "--color", &color];
    let before = before.into_iter().chain(["--parent", &parent, "--"]);
    let before = before.map(OsString::from);
    before.chain(command.iter().cloned()).collect()
}

#[cfg(target_os = "linux")]
fn end_with_parent() -> io::Result<()> {
    // The parent is the thread that started this: the main one of `lock`, which
    // lasts as long as that does.
    Ok(rustix::process::set_parent_process_death_signal(Some(
        rustix::process::Signal::KILL,
    ))?)
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// How a flag's value is written.
fn word(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or(String::new(), |it| it.get_name().to_owned())
}
