//! The database: its connections, its tables, and which version of them.

use super::{Durability, OpenError};
use crate::secret::SpaceKey;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// The schema this program writes. A database with a greater one is refused; to
/// change the tables, raise it and bring older databases up to it in [`prepare`].
const SCHEMA: u32 = 2;

/// The oldest schema that can be brought up to this one. What came before it was
/// never released, and is refused.
const SCHEMA_OLDEST: u32 = 2;

/// Marks the file as ours ("LkPt").
const APPLICATION: u32 = 0x4c6b_5074;

/// How long a connection waits for a program that was pointed at the file from
/// outside, `sqlite3` for one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of the log is kept after a checkpoint.
const LOG_BYTES_KEPT: u32 = 16 * 1024 * 1024;

/// How many prepared statements a connection keeps: more than there are.
const STATEMENTS: usize = 32;

/// Numbers are commits'; absent is no row. Texts compare byte by byte. A
/// grant's names are one text, each on a line: a name has no control
/// characters. Its mode is the number of its permits; 0 is exclusive, -1 shared.
/// Durations and times are in microseconds. A commit without a number was given
/// up. Of ids that have ended, `granted` is 0 if nothing had been granted.
/// `space` has one row.
const TABLES: &str = "
CREATE TABLE state (
    collection TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      BLOB NOT NULL,
    version    INTEGER NOT NULL,
    PRIMARY KEY (collection, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE collections (
    name   TEXT NOT NULL PRIMARY KEY,
    change INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE commits (
    minted INTEGER NOT NULL,
    random INTEGER NOT NULL,
    number INTEGER,
    PRIMARY KEY (minted, random)
) STRICT, WITHOUT ROWID;
CREATE TABLE sessions (
    id        BLOB NOT NULL PRIMARY KEY,
    ttl       INTEGER NOT NULL,
    grace     INTEGER NOT NULL,
    principal TEXT NOT NULL,
    owner     TEXT,
    label     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE grants (
    id         BLOB NOT NULL PRIMARY KEY,
    repeatable INTEGER NOT NULL,
    names      TEXT NOT NULL,
    mode       INTEGER NOT NULL,
    token      INTEGER NOT NULL,
    session    BLOB,
    lease      INTEGER,
    principal  TEXT NOT NULL,
    owner      TEXT,
    label      TEXT NOT NULL,
    CHECK ((session IS NULL) <> (lease IS NULL))
) STRICT, WITHOUT ROWID;
CREATE TABLE ended (
    time    INTEGER NOT NULL,
    id      BLOB NOT NULL,
    granted INTEGER NOT NULL,
    PRIMARY KEY (time, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE space (
    key BLOB NOT NULL
) STRICT;
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Opens the database to write to it, and creates it if it is not there.
pub(super) fn open_writer(path: &Path, durability: Durability) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = open(path, flags)?;
    // Before anything is written to a file that may be somebody else's.
    let version = version(&connection, path)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::NoLog {
            path: path.to_owned(),
        });
    }
    let synchronous = match durability {
        Durability::Sync => "FULL",
        Durability::Relaxed => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    prepare(&connection, version)?;
    Ok(connection)
}

/// Opens the database, which a writer has prepared, to read from it.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    open(path, flags)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, OpenError> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// The schema the database has; 0 if it is empty.
fn version(connection: &Connection, path: &Path) -> Result<u32, OpenError> {
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, u32>(0));
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    if tables > 0 && number("PRAGMA application_id")? != APPLICATION {
        return Err(OpenError::Foreign {
            path: path.to_owned(),
        });
    }
    let found = number("PRAGMA user_version")?;
    if found > SCHEMA {
        return Err(OpenError::Newer {
            found,
            known: SCHEMA,
        });
    }
    if (1..SCHEMA_OLDEST).contains(&found) {
        return Err(OpenError::Unreleased { found });
    }
    Ok(found)
}

/// Creates the tables, and mints the key of the space, in one step with the
/// marks that say so.
fn prepare(connection: &Connection, version: u32) -> Result<(), OpenError> {
    if version == SCHEMA {
        return Ok(());
    }
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(TABLES)?;
    let key = SpaceKey::mint().to_bytes();
    transaction.execute("INSERT INTO space (key) VALUES (?1)", [key])?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.commit()?;
    Ok(())
}
