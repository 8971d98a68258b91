//! What is in the tables: every SQL statement, but those that create them.
//! Those about locks are in a file of their own.

mod locks;

pub(super) use locks::{nth_oldest_ended, sweep_ended, write_changes, written};

use crate::core::check::Current;
use crate::core::records::Outcome;
use crate::id::CommitId;
use crate::listing::{Bounds, Filling};
use crate::name::{Collection, InvalidName, Key};
use crate::secret::SpaceKey;
use crate::store::{
    Commit, Committed, LIST_LIMIT_MAX, Order, Page, Query, Reading, Token, Versioned, Write,
};
use crate::time::Time;
use bytes::Bytes;
use rusqlite::types::{Type, Value};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use std::collections::BTreeSet;

/// The numbers that go on from one run to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// No token up to this one is given again.
    pub(super) token: Token,
    /// The number of the last commit.
    pub(super) number: u64,
    /// The store's time when something was last written.
    pub(super) time: Time,
    /// Records minted up to then were swept for lack of room.
    pub(super) swept: Option<Time>,
    /// How many commits are recorded.
    pub(super) records: u64,
    /// How many ended ids are.
    pub(super) ended: u64,
}

const TOKEN: &str = "token";
const NUMBER: &str = "number";
const TIME: &str = "time";
const SWEPT: &str = "swept";

// --- Marks. ---

pub(super) fn marks(connection: &Connection) -> Result<Marks> {
    let mut marks = Marks::default();
    let mut statement = connection.prepare("SELECT name, value FROM meta")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let value = number(row, 1)?;
        match row.get_ref(0)?.as_str()? {
            TOKEN => marks.token = value,
            NUMBER => marks.number = value,
            TIME => marks.time = Time::from_micros(value),
            SWEPT => marks.swept = Some(Time::from_micros(value)),
            _ => {}
        }
    }
    let count = |sql| connection.query_row(sql, [], |row| number(row, 0));
    marks.records = count("SELECT count(*) FROM commits")?;
    marks.ended = count("SELECT count(*) FROM ended")?;
    Ok(marks)
}

/// The key of the space.
pub(super) fn key(connection: &Connection) -> Result<SpaceKey> {
    let key = connection.query_row("SELECT key FROM space", [], |row| row.get(0))?;
    Ok(SpaceKey::from_bytes(key))
}

/// Writes the marks, except for the token's, which only a reservation moves.
pub(super) fn set_marks(connection: &Connection, marks: &Marks) -> Result<()> {
    set_mark(connection, NUMBER, marks.number)?;
    set_mark(connection, TIME, marks.time.as_micros())?;
    if let Some(swept) = marks.swept {
        set_mark(connection, SWEPT, swept.as_micros())?;
    }
    Ok(())
}

fn set_token(connection: &Connection, token: Token) -> Result<()> {
    set_mark(connection, TOKEN, token)
}

fn set_mark(connection: &Connection, name: &str, value: u64) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (name, value) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
        )?
        .execute(params![name, value.cast_signed()])?;
    Ok(())
}

// --- State. ---

pub(super) fn get(
    connection: &Connection,
    collection: &str,
    key: &Key,
) -> Result<Option<Versioned>> {
    connection
        .prepare_cached("SELECT value, version FROM state WHERE collection = ?1 AND key = ?2")?
        .query_row(params![collection, key.as_str()], |row| versioned(row, 0))
        .optional()
}

/// A page and the collection's change number, of the same moment.
pub(super) fn list(connection: &Connection, collection: &str, query: &Query) -> Result<Page> {
    let snapshot = connection.unchecked_transaction()?;
    let change = change(&snapshot, collection)?;
    let mut page = Filling::new(query.limit, change);
    let bounds = Bounds::of(query);
    if bounds.is_empty() {
        return Ok(page.finish());
    }
    let mut statement = snapshot.prepare_cached(match query.order {
        Order::Ascending => {
            "SELECT value, version, key FROM state
             WHERE collection = ?1 AND key >= ?2 AND key < ?3 ORDER BY key LIMIT ?4"
        }
        Order::Descending => {
            "SELECT value, version, key FROM state
             WHERE collection = ?1 AND key >= ?2 AND key < ?3 ORDER BY key DESC LIMIT ?4"
        }
    })?;
    // To SQLite every blob is greater than every text: an end behind all keys.
    let to = bounds.to.map_or(Value::Blob(Vec::new()), Value::Text);
    // One more than asked for tells whether there is more.
    let limit = query.limit.clamp(1, LIST_LIMIT_MAX) as i64 + 1;
    let mut rows = statement.query(params![collection, bounds.from, to, limit])?;
    while let Some(row) = rows.next()? {
        let key = name(row, 2, Key::new)?;
        if !page.add(key, versioned(row, 0)?) {
            break;
        }
    }
    Ok(page.finish())
}

/// What the tables have now of what a commit names.
pub(super) fn current(connection: &Connection, commit: &Commit) -> Result<Current> {
    let writes = commit.writes.iter();
    Ok(Current {
        reads: versions(connection, &commit.reads)?,
        ranges: changes(connection, &commit.ranges)?,
        writes: writes
            .map(|it| version(connection, it.collection.name(), &it.key))
            .collect::<Result<_>>()?,
    })
}

/// The versions that keys have now, and the change numbers of collections, of the
/// same moment.
pub(super) fn snapshot(connection: &Connection, reading: &Reading) -> Result<(Vec<u64>, Vec<u64>)> {
    let snapshot = connection.unchecked_transaction()?;
    let versions = versions(&snapshot, &reading.reads)?;
    Ok((versions, changes(&snapshot, &reading.ranges)?))
}

fn versions(connection: &Connection, reads: &[(Collection, Key, u64)]) -> Result<Vec<u64>> {
    let reads = reads.iter();
    reads
        .map(|(collection, key, _)| version(connection, collection.name(), key))
        .collect()
}

fn changes(connection: &Connection, ranges: &[(Collection, u64)]) -> Result<Vec<u64>> {
    let ranges = ranges.iter();
    ranges
        .map(|(collection, _)| change(connection, collection.name()))
        .collect()
}

/// Applies the writes of the commit `number`.
pub(super) fn apply(connection: &Connection, writes: &[Write], number: u64) -> Result<()> {
    for write in writes {
        let (collection, key) = (write.collection.name(), write.key.as_str());
        match &write.value {
            Some(value) => connection
                .prepare_cached(
                    "INSERT INTO state (collection, key, value, version) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (collection, key)
                     DO UPDATE SET value = excluded.value, version = excluded.version",
                )?
                .execute(params![collection, key, &**value, number.cast_signed()])?,
            None => connection
                .prepare_cached("DELETE FROM state WHERE collection = ?1 AND key = ?2")?
                .execute(params![collection, key])?,
        };
    }
    let collections: BTreeSet<&str> = writes.iter().map(|it| it.collection.name()).collect();
    for collection in collections {
        connection
            .prepare_cached(
                "INSERT INTO collections (name, change) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET change = excluded.change",
            )?
            .execute(params![collection, number.cast_signed()])?;
    }
    Ok(())
}

fn version(connection: &Connection, collection: &str, key: &Key) -> Result<u64> {
    let version = connection
        .prepare_cached("SELECT version FROM state WHERE collection = ?1 AND key = ?2")?
        .query_row(params![collection, key.as_str()], |row| number(row, 0))
        .optional()?;
    Ok(version.unwrap_or(0))
}

fn change(connection: &Connection, collection: &str) -> Result<u64> {
    let change = connection
        .prepare_cached("SELECT change FROM collections WHERE name = ?1")?
        .query_row([collection], |row| number(row, 0))
        .optional()?;
    Ok(change.unwrap_or(0))
}

// --- Records of commits. ---

pub(super) fn outcome(connection: &Connection, id: CommitId) -> Result<Option<Outcome>> {
    connection
        .prepare_cached("SELECT number FROM commits WHERE minted = ?1 AND random = ?2")?
        .query_row(commit_key(id), |row| {
            Ok(match row.get::<_, Option<i64>>(0)? {
                Some(number) => Outcome::Committed(Committed {
                    number: number.cast_unsigned(),
                }),
                None => Outcome::Aborted,
            })
        })
        .optional()
}

pub(super) fn record(connection: &Connection, id: CommitId, outcome: Outcome) -> Result<()> {
    let number = match outcome {
        Outcome::Committed(it) => Some(it.number.cast_signed()),
        Outcome::Aborted => None,
    };
    let (minted, random) = commit_key(id);
    connection
        .prepare_cached("INSERT INTO commits (minted, random, number) VALUES (?1, ?2, ?3)")?
        .execute(params![minted, random, number])?;
    Ok(())
}

/// Removes records minted before `oldest`, at most so many; answers how many.
pub(super) fn sweep(connection: &Connection, oldest: Time, at_most: i64) -> Result<usize> {
    connection
        .prepare_cached(
            "DELETE FROM commits WHERE (minted, random) IN
             (SELECT minted, random FROM commits WHERE minted < ?1
              ORDER BY minted, random LIMIT ?2)",
        )?
        .execute(params![oldest.as_micros().cast_signed(), at_most])
}

/// The time at which the `nth` oldest record was minted, from 1.
pub(super) fn nth_oldest(connection: &Connection, nth: u64) -> Result<Option<Time>> {
    connection
        .prepare_cached("SELECT minted FROM commits ORDER BY minted, random LIMIT 1 OFFSET ?1")?
        .query_row([nth.saturating_sub(1).cast_signed()], |row| {
            number(row, 0).map(Time::from_micros)
        })
        .optional()
}

fn commit_key(id: CommitId) -> (i64, i64) {
    (id.minted.as_micros().cast_signed(), id.random.cast_signed())
}

// --- Columns. ---

fn number(row: &Row<'_>, column: usize) -> Result<u64> {
    row.get(column).map(i64::cast_unsigned)
}

fn versioned(row: &Row<'_>, column: usize) -> Result<Versioned> {
    Ok(Versioned {
        value: Bytes::copy_from_slice(row.get_ref(column)?.as_blob()?),
        version: number(row, column + 1)?,
    })
}

fn name<'a, T>(
    row: &'a Row<'_>,
    column: usize,
    parse: impl FnOnce(&'a str) -> std::result::Result<T, InvalidName>,
) -> Result<T> {
    parse(row.get_ref(column)?.as_str()?).map_err(|it| invalid(column, it))
}

/// Something is in the database that was never written there by us.
fn invalid(column: usize, error: InvalidName) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
