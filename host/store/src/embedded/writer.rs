//! The thread that writes: it takes whatever is queued, writes it in one SQLite
//! transaction, and answers when that is on the disk.
//!
//! # Why a commit is right
//!
//! The writer checks a commit's guards against the core and its versions inside
//! the SQLite transaction, so it sees what earlier commits of the same batch
//! wrote. The fsync comes later, and until then the core goes on. So from its
//! check on a commit keeps its locks ([settling](crate::core)): they are free
//! for others only when its values can be read, and whoever holds a lock never
//! sees somebody else's write appear under it.
//!
//! Checking lets time pass, and with it grants of callers end. So the journal is
//! taken after the batch's commits were checked: that such a grant has ended is
//! on the disk with what was committed under its lock, or neither is.
//!
//! A batch that cannot be written changes nothing, in the core neither, and
//! everybody in it is answered that the outcome is unknown: what SQLite could
//! not confirm may yet be found in its log. The journal is kept and tried again;
//! the timer of the shell wakes the thread for that.

use super::OpenError;
use super::rows::{self, Marks};
use crate::core::Limits;
use crate::core::records::{Horizon, Outcome};
use crate::id::{CommitId, TransactionId};
use crate::shell::{Changes, Nudge, Shell};
use crate::store::{Commit, CommitError, Committed, MEMORY, Resolved, StoreError};
use crate::time::Time;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// How many commands may be queued; who comes after waits for room.
const QUEUED_MAX: usize = 1024;

/// How many commands are written in one go.
const BATCH_MAX: usize = 512;

/// How many outdated records are swept in one go: more than a batch adds. Of
/// ended ids as many, or twice those that are added.
const SWEEP_MAX: i64 = 2 * BATCH_MAX as i64;

/// The writing thread. Dropping it lets it finish what is queued, and waits for
/// that.
pub(super) struct Writer {
    /// `None` only while it is dropped.
    sender: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

/// A queue whose writer is not started yet.
pub(super) struct Queued {
    sender: mpsc::Sender<Command>,
    receiver: mpsc::Receiver<Command>,
    is_nudged: Arc<AtomicBool>,
}

enum Command {
    Commit(Commit, oneshot::Sender<Result<Committed, CommitError>>),
    Resolve(CommitId, oneshot::Sender<Result<Resolved, StoreError>>),
    /// There is something in the journal.
    Nudge,
}

/// What the thread has.
struct Writing {
    connection: Connection,
    shell: Arc<Shell>,
    receiver: mpsc::Receiver<Command>,
    is_nudged: Arc<AtomicBool>,
    marks: Marks,
    limits: Limits,
}

/// What became of a command, once it is on the disk.
enum Decided {
    Commit(TransactionId, Result<Committed, CommitError>),
    Resolved(Resolved),
    Nudged,
}

/// A queue for a writer, and what wakes the writer to look at the journal.
pub(super) fn queue() -> (Queued, Nudge) {
    let (sender, receiver) = mpsc::channel(QUEUED_MAX);
    let is_nudged = Arc::new(AtomicBool::new(false));
    let queued = Queued {
        sender: sender.clone(),
        receiver,
        is_nudged: is_nudged.clone(),
    };
    // Weak: the writer ends when nobody can send any more.
    let sender = sender.downgrade();
    let nudge = move || {
        if !is_nudged.swap(true, Ordering::AcqRel)
            && let Some(sender) = sender.upgrade()
        {
            // If the queue is full there is a batch to come, and every batch
            // looks at the journal.
            drop(sender.try_send(Command::Nudge));
        }
    };
    (queued, Box::new(nudge))
}

impl Queued {
    /// Starts the thread.
    pub(super) fn start(
        self,
        connection: Connection,
        shell: Arc<Shell>,
        marks: Marks,
        limits: Limits,
    ) -> Result<Writer, OpenError> {
        let mut writing = Writing {
            connection,
            shell,
            receiver: self.receiver,
            is_nudged: self.is_nudged,
            marks,
            limits,
        };
        let builder = std::thread::Builder::new().name("lockport-write".to_owned());
        let thread = builder.spawn(move || writing.run());
        Ok(Writer {
            sender: Some(self.sender),
            thread: Some(thread.map_err(OpenError::Thread)?),
        })
    }
}

impl Writer {
    pub(super) async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Commit(commit, reply)).await?;
        answer.await.unwrap_or_else(|_| Err(gone().into()))
    }

    pub(super) async fn resolve(&self, id: CommitId) -> Result<Resolved, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Resolve(id, reply)).await?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn send(&self, command: Command) -> Result<(), StoreError> {
        let sender = self.sender.as_ref().ok_or_else(gone)?;
        sender.send(command).await.map_err(|_| gone())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has said so itself.
            drop(thread.join());
        }
    }
}

impl Writing {
    fn run(&mut self) {
        while let Some(first) = self.receiver.blocking_recv() {
            let mut commands = vec![first];
            while commands.len() < BATCH_MAX
                && let Ok(next) = self.receiver.try_recv()
            {
                commands.push(next);
            }
            self.batch(commands);
        }
        // What could not be written before may be now.
        self.batch(Vec::new());
    }

    fn batch(&mut self, commands: Vec<Command>) {
        // First of all, and so also if the batch fails: a nudge after this
        // line means another batch.
        self.is_nudged.store(false, Ordering::Release);
        let mut changes = Changes::default();
        match self.write(&commands, &mut changes) {
            Ok((decided, marks)) => {
                self.marks = marks;
                self.shell.journal_written(changes);
                for (command, decided) in commands.into_iter().zip(decided) {
                    self.answer(command, decided);
                }
            }
            Err(error) => {
                tracing::error!(%error, commands = commands.len(), "a batch could not be written");
                let error = StoreError::Unavailable(error.to_string());
                self.shell.journal_failed(changes, &error);
                for command in commands {
                    // Who is gone need not be told.
                    match command {
                        Command::Commit(commit, reply) => {
                            self.shell.unsettled(commit.transaction);
                            drop(reply.send(Err(error.clone().into())));
                        }
                        Command::Resolve(_, reply) => drop(reply.send(Err(error.clone()))),
                        Command::Nudge => {}
                    }
                }
            }
        }
    }

    /// Writes a batch, whole or not at all; answers what became of each command
    /// and the marks from then on. `changes` is what was taken of the journal.
    fn write(
        &self,
        commands: &[Command],
        changes: &mut Changes,
    ) -> rusqlite::Result<(Vec<Decided>, Marks)> {
        let behavior = TransactionBehavior::Immediate;
        let mut marks = self.marks;
        let mut decided = Vec::with_capacity(commands.len());
        let is_nudge = |it: &Command| matches!(it, Command::Nudge);
        if commands.iter().all(is_nudge) {
            *changes = self.shell.take_journal();
            if changes.is_empty() {
                return Ok((decided, marks));
            }
        }
        let batch = Transaction::new_unchecked(&self.connection, behavior)?;
        for command in commands {
            decided.push(match command {
                Command::Commit(commit, _) => {
                    let answer = self.commit(&batch, commit, &mut marks)?;
                    Decided::Commit(commit.transaction, answer)
                }
                Command::Resolve(id, _) => {
                    Decided::Resolved(self.resolve(&batch, *id, &mut marks)?)
                }
                Command::Nudge => Decided::Nudged,
            });
        }
        if !commands.iter().all(is_nudge) {
            *changes = self.shell.take_journal();
        }
        rows::write_changes(&batch, changes)?;
        let ended = changes.ended.len();
        marks.ended += ended as u64;
        if marks != self.marks || !changes.is_empty() {
            marks.time = self.shell.now();
            self.sweep(&batch, &mut marks)?;
            let at_most = (2 * ended).max(SWEEP_MAX as usize);
            sweep_ended(&batch, &mut marks, at_most, self.limits.ended)?;
            rows::set_marks(&batch, &marks)?;
        }
        batch.commit()?;
        Ok((decided, marks))
    }

    fn commit(
        &self,
        batch: &Connection,
        commit: &Commit,
        marks: &mut Marks,
    ) -> rusqlite::Result<Result<Committed, CommitError>> {
        let now = self.shell.now();
        if horizon(marks).is_beyond(commit.id, now) {
            return Ok(Err(CommitError::TooOld));
        }
        if let Some(outcome) = rows::outcome(batch, commit.id)? {
            return Ok(outcome.to_commit());
        }
        let current = rows::current(batch, commit)?;
        let check = self
            .shell
            .step(|core, now, effects| core.check_and_keep(commit, &current, now, effects));
        if let Err(refused) = check {
            return Ok(Err(refused));
        }
        marks.number += 1;
        let committed = Committed {
            number: marks.number,
        };
        rows::apply(batch, &commit.writes, committed.number)?;
        rows::record(batch, commit.id, Outcome::Committed(committed))?;
        marks.records += 1;
        Ok(Ok(committed))
    }

    fn resolve(
        &self,
        batch: &Connection,
        id: CommitId,
        marks: &mut Marks,
    ) -> rusqlite::Result<Resolved> {
        if horizon(marks).is_beyond(id, self.shell.now()) {
            return Ok(Resolved::Forgotten);
        }
        if let Some(outcome) = rows::outcome(batch, id)? {
            return Ok(outcome.to_resolve());
        }
        rows::record(batch, id, Outcome::Aborted)?;
        marks.records += 1;
        Ok(Resolved::Aborted)
    }

    /// Forgets commits that need not be known any more, a bounded number.
    fn sweep(&self, batch: &Connection, marks: &mut Marks) -> rusqlite::Result<()> {
        let swept = rows::sweep(batch, forgotten_before(marks.time), SWEEP_MAX)?;
        marks.records = marks.records.saturating_sub(swept as u64);
        let excess = marks.records.saturating_sub(self.limits.records as u64);
        if excess > 0
            && let Some(last) = rows::nth_oldest(batch, excess)?
        {
            // All of that moment: their ids are refused from now on.
            let behind = Time::from_micros(last.as_micros() + 1);
            let swept = rows::sweep(batch, behind, i64::MAX)?;
            marks.records = marks.records.saturating_sub(swept as u64);
            marks.swept = marks.swept.max(Some(last));
        }
        Ok(())
    }

    /// Tells what became of a command, and gives back what it held.
    fn answer(&self, command: Command, decided: Decided) {
        match (command, decided) {
            (Command::Commit(_, reply), Decided::Commit(transaction, answer)) => {
                if answer.is_ok() {
                    self.shell.settled(transaction);
                }
                drop(reply.send(answer));
            }
            (Command::Resolve(_, reply), Decided::Resolved(resolved)) => {
                drop(reply.send(Ok(resolved)));
            }
            // The lists are of one length and in one order: only nudges are left.
            _ => {}
        }
    }
}

/// Forgets ended ids that need not be known any more, at most so many, and
/// those there is no room for.
pub(super) fn sweep_ended(
    batch: &Connection,
    marks: &mut Marks,
    at_most: usize,
    room: usize,
) -> rusqlite::Result<()> {
    let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
    let swept = rows::sweep_ended(batch, forgotten_before(marks.time), at_most)?;
    marks.ended = marks.ended.saturating_sub(swept as u64);
    let excess = marks.ended.saturating_sub(room as u64);
    if excess > 0
        && let Some(last) = rows::nth_oldest_ended(batch, excess)?
    {
        let excess = i64::try_from(excess).unwrap_or(i64::MAX);
        let behind = Time::from_micros(last.as_micros() + 1);
        let swept = rows::sweep_ended(batch, behind, excess)?;
        marks.ended = marks.ended.saturating_sub(swept as u64);
    }
    Ok(())
}

/// What ended before this need not be remembered.
fn forgotten_before(now: Time) -> Time {
    Time::default() + now.since(Time::default() + MEMORY)
}

fn horizon(marks: &Marks) -> Horizon {
    Horizon { swept: marks.swept }
}

fn gone() -> StoreError {
    StoreError::Unavailable("it was closed".to_owned())
}
