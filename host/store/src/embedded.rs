//! The store in a directory: durable, and with nothing beside it.
//!
//! ```text
//!   locks of a transaction ------------------> shell: core under a mutex, in the
//!   (acquire, release, end)                     caller's thread; no disk
//!                                                 |        ^
//!   locks of a caller -------> shell -- journal --+        | check, release
//!                                                 v        |
//!   commit, resolve --------> queue --------> writer thread: one SQLite
//!                                             transaction, one fsync per batch
//!   get, list --------------> queue --------> reader threads: WAL snapshots
//! ```
//!
//! The grants of transactions live in memory only: a restart ends their
//! transactions anyway. What has to outlive it is written by one thread, which
//! takes whatever is there, writes it in one SQLite transaction, and answers
//! only after that is on the disk: commits, the records of their ids, sessions,
//! grants of sessions and callers, request ids that have ended, and the mark no
//! token may pass ([`core`](crate::core)). Of what callers prove themselves with
//! only the hashes are written, and the key of the space
//! ([`secret`](crate::secret)), in a directory that is its owner's alone.
//!
//! After a restart every session is detached and has its grace, and every grant
//! of a caller its full lease once more.
//!
//! No caller's stack and no executor's thread ever runs SQLite.

mod directory;
mod readers;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

use crate::clock::Clock;
use crate::core::check::{check_changes, check_versions};
use crate::core::{CallerGrant, Core, Effect, Limits};
use crate::id::CommitId;
use crate::name::{Collection, Key, LockName};
use crate::secret::SpaceKey;
use crate::shell::{Changes, Shell, Timer, lock_operations};
use crate::store::{
    Answer, Commit, CommitError, Committed, Page, Party, Query, Reading, Resolved, Store,
    StoreError, Versioned,
};
use crate::time::Time;
use directory::Directory;
use readers::Readers;
use rows::Marks;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use writer::Writer;

/// The database's file within the directory. SQLite gives the files beside it
/// the mode it has.
const DATABASE: &str = "lockport.db";

/// What survives what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Whatever was answered survives the machine's sudden end.
    #[default]
    Sync,
    /// Whatever was answered survives the process's end; the machine's may take
    /// the last moments along. Nothing is ever half there.
    Relaxed,
}

/// How a store in a directory is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Default [`Durability::Sync`].
    pub durability: Durability,
    /// How much it takes.
    pub limits: Limits,
    /// Its time; goes on from where the store left off.
    pub clock: Clock,
}

/// A store in a directory, which is its own for as long as this lives.
///
/// Dropping it waits for the batch under way, and closes the database; the
/// directory can be opened again then.
// The fields are dropped in this order: first what produces work.
pub struct Embedded {
    _timer: Timer,
    readers: Readers,
    writer: Writer,
    shell: Arc<Shell>,
    key: SpaceKey,
    directory: Directory,
}

/// Why a directory cannot be opened as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be created, or not be written to.
    #[error("the directory `{path}` cannot be used")]
    Directory {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it open, or this one has already.
    #[error("the directory `{path}` is in use by another process")]
    InUse {
        /// Which one.
        path: PathBuf,
    },
    /// A later version of this program has written it.
    #[error("the database has schema {found}; this program knows up to {known}")]
    Newer {
        /// The schema of the database.
        found: u32,
        /// The schema this program writes.
        known: u32,
    },
    /// A version of this program that was never released has written it.
    #[error("the database has schema {found}, of a development version; begin a new directory")]
    Unreleased {
        /// The schema of the database.
        found: u32,
    },
    /// The database is not one of ours.
    #[error("`{path}` is a database of something else")]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// The file system cannot do what the database needs.
    #[error("the file system of `{path}` does not support a write-ahead log")]
    NoLog {
        /// Which directory.
        path: PathBuf,
    },
    /// SQLite cannot open or read it.
    #[error("the database cannot be opened")]
    Database(#[from] rusqlite::Error),
    /// The operating system gives no threads.
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
}

impl Embedded {
    /// Opens the store in `directory`, which is created (mode 0700) if it is
    /// not there. Its files are their owner's alone (mode 0600), whatever the
    /// directory is. Blocks; call it off the request path.
    pub fn open(directory: &Path, durability: Durability) -> Result<Self, OpenError> {
        let options = Options {
            durability,
            ..Options::default()
        };
        Self::open_with(directory, options)
    }

    /// As [`Embedded::open`], with limits and a clock of its own.
    pub fn open_with(directory: &Path, options: Options) -> Result<Self, OpenError> {
        let Options {
            durability,
            limits,
            mut clock,
        } = options;
        // Before SQLite sees anything of it.
        let directory = Directory::lock(directory)?;
        let database = directory.create(DATABASE)?;
        let connection = schema::open_writer(&database, durability)?;
        let mut marks = rows::marks(&connection)?;
        let key = rows::key(&connection)?;
        clock.reach(marks.time);

        let core = restore(&connection, limits, &mut marks, clock.now())?;
        let token_limit = core.token_limit();
        tracing::debug!(token_limit, "the store is restored");

        let (writer, nudge) = writer::queue();
        let shell = Shell::durable(core, clock, limits, nudge);
        let writer = writer.start(connection, shell.clone(), marks, limits)?;
        let readers = Readers::start(&database)?;
        let timer = Timer::start(&shell).map_err(OpenError::Thread)?;
        Ok(Self {
            _timer: timer,
            readers,
            writer,
            shell,
            key,
            directory,
        })
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            limits: Limits::default(),
            clock: Clock::machine(),
        }
    }
}

/// The core as it was written down, with its first tokens reserved.
fn restore(
    connection: &rusqlite::Connection,
    limits: Limits,
    marks: &mut Marks,
    now: Time,
) -> Result<Core, OpenError> {
    let transaction = connection.unchecked_transaction()?;
    marks.time = now;
    writer::sweep_ended(&transaction, marks, usize::MAX, limits.ended)?;
    let written = rows::written(&transaction)?;
    let mut effects = Vec::new();
    let mut core = Core::restore(limits, written, now, &mut effects);
    let mut changes = Changes::default();
    for effect in effects {
        if let Effect::StruckOut(grant) = &effect {
            warn_of(grant);
        }
        changes.add(effect, now);
    }
    let reservation = core.first_reservation(now);
    changes.token = changes.token.max(Some(reservation));
    rows::write_changes(&transaction, &changes)?;
    marks.ended += changes.ended.len() as u64;
    transaction.commit()?;
    core.reserved(reservation);
    Ok(core)
}

/// Says that a grant that was written down is not held any more.
fn warn_of(grant: &CallerGrant) {
    let names: Vec<_> = grant.names.iter().map(LockName::as_str).collect();
    let (names, token) = (names.join(", "), grant.token);
    let Party {
        principal, label, ..
    } = &grant.party;
    tracing::warn!(names, token, %principal, %label, "a grant cannot be held any more");
}

impl Store for Embedded {
    fn summary(&self) -> String {
        format!("embedded at {}", self.directory.path().display())
    }

    fn key(&self) -> SpaceKey {
        self.key.clone()
    }

    lock_operations!(self => self.shell);

    fn get(
        &self,
        collection: Collection,
        key: Key,
    ) -> Answer<'_, Result<Option<Versioned>, StoreError>> {
        Box::pin(
            self.readers
                .read(move |it| rows::get(it, collection.name(), &key)),
        )
    }

    fn list(&self, collection: Collection, query: Query) -> Answer<'_, Result<Page, StoreError>> {
        Box::pin(
            self.readers
                .read(move |it| rows::list(it, collection.name(), &query)),
        )
    }

    fn commit(&self, commit: Commit) -> Answer<'_, Result<Committed, CommitError>> {
        Box::pin(self.writer.commit(commit))
    }

    fn validate(&self, reading: Reading) -> Answer<'_, Result<(), CommitError>> {
        Box::pin(async move {
            let read = reading.clone();
            let (versions, changes) = self
                .readers
                .read(move |connection| rows::snapshot(connection, &read))
                .await?;
            check_versions(&reading.reads, &versions)?;
            check_changes(&reading.ranges, &changes)
        })
    }

    fn resolve(&self, id: CommitId) -> Answer<'_, Result<Resolved, StoreError>> {
        Box::pin(self.writer.resolve(id))
    }
}
