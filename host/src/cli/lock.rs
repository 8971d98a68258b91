//! `lock`: a command that runs while locks are held, and not for longer.
//!
//! ```text
//!            a third of the lease is left,     a little before the
//!            or the grant was taken away            deadline
//!   Running ------------------------------> Told ----------------> Killed
//!      |                                     |                        |
//!      | ends: release, pass its code on     | ends: exit 76          |
//!      v                                     v                        v
//!    (done)                               (lost) <--------------------+
//! ```
//!
//! A renewal that is late, but comes, moves the deadline on; the command has
//! been told to end by then, and is given the more time for it.

mod child;
mod signals;

use super::arguments::LockArgs;
use super::exit::{Exit, Report};
use super::{Global, client};
use child::Child;
use lockport_client::{Client, Guard, Lost};
use lockport_store::store::LABEL_BYTES_MAX;
use rustix::process::Signal;
use signals::Signals;
use std::process::ExitCode;
use std::time::Duration;
use tokio::select;
use tokio::time::{Instant, sleep_until, timeout};

/// How long before the locks can be granted to others the command is killed,
/// so that it is gone by then.
const KILL_AHEAD: Duration = Duration::from_millis(10);

/// How long a command may take to end whose locks were taken away.
const TAKEN_PATIENCE: Duration = Duration::from_secs(1);

/// How long is tried to tidy up before this process ends.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);

/// How the command ended.
enum End {
    /// By itself, or by a signal that was passed on: with this code.
    Ended(u8),
    /// It had to, for its locks were lost.
    Lost,
}

/// Runs the command under its locks. The exit code is the command's.
pub(super) fn run(global: &Global, lock: &LockArgs) -> Result<ExitCode, Report> {
    let _flush = client::log(global);
    client::runtime()?.block_on(async {
        // From the start: a signal while it waits gives up the wait.
        let mut signals = Signals::listen().map_err(|error| Report::fault(&error))?;
        let client = client::connect(&lock.server).await?;
        let guard = match acquire(&client, lock, &mut signals).await? {
            Ok(guard) => guard,
            Err(signal) => return Ok(ExitCode::from(signals::exit_code(signal))),
        };
        let ended = match Child::spawn(&lock.command, &guard) {
            Ok(mut child) => supervise(&mut child, &guard, &mut signals).await,
            Err(report) => Err(report),
        };
        release(guard).await;
        match ended? {
            End::Ended(code) => Ok(ExitCode::from(code)),
            End::Lost => Err(Report {
                exit: Exit::Lost,
                error: "the locks could not be kept, so the command was ended".to_owned(),
                causes: vec![],
                hint: Some("see `lockport locks get`; a longer --lease bears longer faults".into()),
            }),
        }
    })
}

/// Acquires the locks; or says by which signal it was told to stop waiting.
async fn acquire(
    client: &Client,
    lock: &LockArgs,
    signals: &mut Signals,
) -> Result<Result<Guard, Signal>, Report> {
    let request_id = format!("{:032x}", rand::random::<u128>());
    let mut acquire = client::acquire(client, &lock.wanted).request_id(&request_id);
    if lock.wanted.holder.is_none() {
        acquire = acquire.holder(holder(lock));
    }
    let stopped = select! {
        guard = acquire.into_future() => return match guard {
            Ok(guard) => Ok(Ok(guard)),
            Err(error) => Err(refused(error, lock.conflict_exit_code)),
        },
        signal = signals.next_ending() => signal,
    };
    // What was granted meanwhile is given back before this process ends.
    if let Ok(Err(error)) = timeout(RELEASE_PATIENCE, client.cancel(&request_id)).await {
        tracing::warn!(%error, "the wait could not be given up: its locks may be held for a lease");
    }
    Ok(Err(stopped))
}

fn refused(error: lockport_client::Error, chosen: Option<u8>) -> Report {
    let contention = error.is_contention();
    let report = Report::from(error);
    match chosen {
        Some(code) if contention => Report {
            exit: Exit::Chosen(code),
            ..report
        },
        _ => report,
    }
}

/// Sees the command to its end.
async fn supervise(child: &mut Child, guard: &Guard, signals: &mut Signals) -> Result<End, Report> {
    // When the command is told to end, and by when it has to.
    let danger = || guard.deadline() - guard.lease() / 3;
    let last = || guard.deadline() - KILL_AHEAD;
    let mut told = false;
    let mut taken: Option<Instant> = None;
    let mut killed = false;
    loop {
        let kill_at = taken.map_or(last(), |at| at.min(last()));
        select! {
            biased;
            ended = child.wait() => {
                let code = ended.map_err(|error| Report::fault(&error))?;
                if !told {
                    return Ok(End::Ended(code));
                }
                child.kill_rest();
                return Ok(End::Lost);
            }
            signal = signals.next() => child.pass_on(signal),
            () = sleep_until(kill_at), if told && !killed => {
                // A renewal may have come meanwhile.
                if Instant::now() >= taken.map_or(last(), |at| at.min(last())) {
                    killed = true;
                    child.signal(Signal::KILL);
                }
            }
            lost = guard.lost(), if taken.is_none() => {
                let now = Instant::now();
                taken = Some(match lost {
                    Lost::Taken | Lost::Closed => now + TAKEN_PATIENCE,
                    Lost::Unrenewed => now,
                });
                tell(child, &mut told, &lost.to_string());
            }
            () = sleep_until(danger()), if !told => {
                if Instant::now() >= danger() {
                    tell(child, &mut told, "they could not be renewed");
                }
            }
        }
    }
}

/// Tells the command to end, once.
fn tell(child: &Child, told: &mut bool, why: &str) {
    if !*told {
        *told = true;
        tracing::warn!("the locks are lost: {why}; the command is told to end");
        child.signal(Signal::TERM);
    }
}

/// Releases the locks, if that can be done soon.
async fn release(guard: Guard) {
    match timeout(RELEASE_PATIENCE, guard.release()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "the locks could not be released: they are held for a lease");
        }
        Err(_) => tracing::warn!("the locks could not be released: they are held for a lease"),
    }
}

/// Who this is, in words for an operator. The command's arguments are left out:
/// there may be a secret among them.
fn holder(lock: &LockArgs) -> String {
    let command = lock.command.first().map(|it| it.to_string_lossy());
    let host = rustix::system::uname();
    let mut text = format!(
        "{} (process {} on {})",
        command.unwrap_or_default(),
        std::process::id(),
        host.nodename().to_string_lossy(),
    );
    text.truncate(text.floor_char_boundary(LABEL_BYTES_MAX));
    text
}
