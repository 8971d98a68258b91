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
//! been told to end by then, and is given the more time for it. If this process
//! stood still meanwhile, all it does when it goes on is to kill the command.
//! If it is itself killed, the kernel does that: see `tied.rs`.
//!
//! A command that is lost takes with it all that it has started, and only then
//! are the locks released. What has become a daemon before gets away: to find it
//! this process would have to adopt, and bury, every orphan from the start.

mod child;
mod descendants;
mod signals;
pub(super) mod tied;

use super::arguments::LockArgs;
use super::exit::{Exit, Report};
use super::{Global, client};
use child::Child;
use lockport_client::{Client, Guard, Lost, random_id};
use lockport_store::store::LABEL_BYTES_MAX;
use rustix::process::Signal;
use signals::Signals;
use std::process::ExitCode;
use std::time::Duration;
use tokio::select;
use tokio::time::{Instant, sleep, sleep_until, timeout};

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
    // Before signals are listened to, for nobody would while it is read.
    let options = client::options(&lock.server)?;
    client::runtime()?.block_on(async {
        // From the start: a signal while it waits gives up the wait.
        let mut signals = Signals::listen().map_err(|error| Report::fault(&error))?;
        tracing::debug!(server = lock.server.server, "connecting");
        let client = select! {
            client = Client::connect(options) => client?,
            signal = signals.next_ending() => return Ok(signals::exit_code(signal)),
        };
        let guard = match acquire(&client, lock, &mut signals).await? {
            Ok(guard) => guard,
            Err(signal) => return Ok(signals::exit_code(signal)),
        };
        let ended = match Child::spawn(global, &lock.command, &guard) {
            Ok(mut child) => supervise(&mut child, &guard, &mut signals).await,
            Err(report) => Err(report),
        };
        release(guard).await;
        match ended? {
            End::Ended(code) => Ok(ExitCode::from(code)),
            End::Lost => Err(Report {
                exit: Exit::Lost,
                error: "the locks were lost before the command had ended".to_owned(),
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
    let request_id = random_id();
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
    // What was granted meanwhile is given back before this process ends, unless
    // it is told a second time.
    let held = "the wait could not be given up: its locks may be held for a lease";
    select! {
        cancelled = timeout(RELEASE_PATIENCE, client.cancel(&request_id)) => match cancelled {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "{held}"),
            Err(_) => tracing::warn!("{held}"),
        },
        _ = signals.next_ending() => tracing::warn!("{held}"),
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

/// Sees the command to its end. If the locks are lost, everything that it has
/// started has ended too, as far as the kernel lets it.
async fn supervise(child: &mut Child, guard: &Guard, signals: &mut Signals) -> Result<End, Report> {
    let danger = || guard.deadline() - guard.lease() / 3;
    let mut told = false;
    let mut killed = false;
    // By when a command has to end whose locks were taken away.
    let mut end_by: Option<Instant> = None;
    loop {
        // A renewal may have moved it on.
        let last = guard.deadline() - KILL_AHEAD;
        let kill_at = end_by.map_or(last, |at| at.min(last));
        if !killed && Instant::now() >= kill_at {
            (told, killed) = (true, true);
            tracing::warn!("the locks are lost: the command is killed");
            child.kill();
        }
        select! {
            biased;
            ended = child.wait() => {
                let code = ended.map_err(|error| Report::fault(&error))?;
                // If this process stood still, the command may have gone on
                // for longer than its locks, though it has ended since.
                if !told && guard.is_held() {
                    return Ok(End::Ended(code));
                }
                kill_rest(child, guard).await;
                return Ok(End::Lost);
            }
            () = sleep_until(kill_at), if !killed => {}
            signal = signals.next() => child.pass_on(signal),
            lost = guard.lost(), if end_by.is_none() => {
                let now = Instant::now();
                end_by = Some(match lost {
                    Lost::Unrenewed => now,
                    Lost::Taken | Lost::SessionEnded | Lost::Closed | Lost::Elsewhere => {
                        tell(child, &mut told, &lost.to_string());
                        now + TAKEN_PATIENCE
                    }
                });
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
        child.tell();
    }
}

/// Kills what the command has left behind, and waits until it is gone; if the
/// kernel is in the way of that, until it makes no difference to others.
async fn kill_rest(child: &Child, guard: &Guard) {
    let lost = async {
        guard.lost().await;
        sleep(TAKEN_PATIENCE).await;
    };
    select! {
        () = child.kill_rest() => {}
        () = lost => tracing::warn!("something that the command has started does not end"),
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
