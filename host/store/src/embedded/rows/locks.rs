//! What is written down of locks: sessions, grants, and the ids that have ended.

use super::{invalid, number, set_token};
use crate::core::{CallerGrant, Ended, Life, Written};
use crate::id::{GrantId, SessionId};
use crate::name::LockName;
use crate::shell::Changes;
use crate::store::{Mode, OpenSession, Party, Principal};
use crate::time::Time;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// The column of [`Mode`], where it is not a number of permits.
const EXCLUSIVE: i64 = 0;
/// See [`EXCLUSIVE`].
const SHARED: i64 = -1;

/// The bytes of an identity.
type Id = [u8; 16];

/// Everything that was written down.
pub(in crate::embedded) fn written(connection: &Connection) -> Result<Written> {
    let high_water = "SELECT value FROM meta WHERE name = ?1";
    let high_water = connection
        .query_row(high_water, [super::TOKEN], |row| number(row, 0))
        .optional()?;
    Ok(Written {
        high_water: high_water.unwrap_or(0),
        sessions: sessions(connection)?,
        grants: grants(connection)?,
        ended: ended(connection)?,
    })
}

pub(in crate::embedded) fn write_changes(connection: &Connection, changes: &Changes) -> Result<()> {
    for (id, session) in &changes.sessions {
        match session {
            Some(session) => keep_session(connection, session)?,
            None => forget_session(connection, *id)?,
        }
    }
    for (id, grant) in &changes.grants {
        match grant {
            Some(grant) => keep(connection, grant)?,
            None => forget(connection, *id)?,
        }
    }
    for (id, (time, how)) in &changes.ended {
        remember(connection, *id, *time, *how)?;
    }
    changes
        .token
        .map_or(Ok(()), |token| set_token(connection, token))
}

// --- Sessions. ---

fn keep_session(connection: &Connection, session: &OpenSession) -> Result<()> {
    let Party {
        principal,
        owner,
        label,
    } = &session.party;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO sessions (id, ttl, grace, principal, owner, label)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            session.id.to_u128().to_be_bytes(),
            micros(session.ttl),
            micros(session.grace),
            principal.as_str(),
            owner.as_deref(),
            &**label,
        ])?;
    Ok(())
}

fn forget_session(connection: &Connection, id: SessionId) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM sessions WHERE id = ?1")?
        .execute([id.to_u128().to_be_bytes()])?;
    Ok(())
}

fn sessions(connection: &Connection) -> Result<Vec<OpenSession>> {
    let mut statement =
        connection.prepare("SELECT id, ttl, grace, principal, owner, label FROM sessions")?;
    let sessions = statement.query_map([], |row| {
        Ok(OpenSession {
            id: SessionId::from_u128(id(row.get(0)?)),
            ttl: duration(row, 1)?,
            grace: duration(row, 2)?,
            party: party(row, 3)?,
        })
    })?;
    sessions.collect()
}

// --- Grants. ---

fn keep(connection: &Connection, grant: &CallerGrant) -> Result<()> {
    let names: Vec<&str> = grant.names.iter().map(LockName::as_str).collect();
    let (session, lease) = match grant.life {
        Life::Session(session) => (Some(session.to_u128().to_be_bytes()), None),
        Life::Lease(lease) => (None, Some(micros(lease))),
    };
    let Party {
        principal,
        owner,
        label,
    } = &grant.party;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO grants
             (id, repeatable, names, mode, token, session, lease, principal, owner, label)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            grant.id.to_u128().to_be_bytes(),
            grant.repeatable,
            names.join("\n"),
            mode_to_column(grant.mode),
            grant.token.cast_signed(),
            session,
            lease,
            principal.as_str(),
            owner.as_deref(),
            &**label,
        ])?;
    Ok(())
}

fn forget(connection: &Connection, id: GrantId) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM grants WHERE id = ?1")?
        .execute([id.to_u128().to_be_bytes()])?;
    Ok(())
}

fn grants(connection: &Connection) -> Result<Vec<CallerGrant>> {
    let mut statement = connection.prepare(
        "SELECT id, repeatable, names, mode, token, session, lease, principal, owner, label
         FROM grants",
    )?;
    let grants = statement.query_map([], |row| {
        let names = row.get_ref(2)?.as_str()?.split('\n');
        let names = names.map(|it| LockName::known(it).map_err(|it| invalid(2, it)));
        Ok(CallerGrant {
            id: GrantId::from_u128(id(row.get(0)?)),
            repeatable: row.get(1)?,
            names: names.collect::<Result<_>>()?,
            mode: mode(row, 3)?,
            token: number(row, 4)?,
            life: match row.get(5)? {
                Some(session) => Life::Session(SessionId::from_u128(id(session))),
                None => Life::Lease(duration(row, 6)?),
            },
            party: party(row, 7)?,
        })
    })?;
    grants.collect()
}

fn mode_to_column(mode: Mode) -> i64 {
    match mode {
        Mode::Exclusive => EXCLUSIVE,
        Mode::Shared => SHARED,
        Mode::Permits(permits) => permits.get().into(),
    }
}

fn mode(row: &Row<'_>, column: usize) -> Result<Mode> {
    let number: i64 = row.get(column)?;
    let permits = u32::try_from(number).ok().and_then(NonZeroU32::new);
    match (number, permits) {
        (EXCLUSIVE, _) => Ok(Mode::Exclusive),
        (SHARED, _) => Ok(Mode::Shared),
        (_, Some(permits)) => Ok(Mode::Permits(permits)),
        // Never written there by us.
        (_, None) => Err(rusqlite::Error::IntegralValueOutOfRange(column, number)),
    }
}

// --- Ended ids. ---

fn remember(connection: &Connection, id: GrantId, time: Time, how: Ended) -> Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO ended (time, id, granted) VALUES (?1, ?2, ?3)")?
        .execute(params![
            time.as_micros().cast_signed(),
            id.to_u128().to_be_bytes(),
            how == Ended::WasGranted,
        ])?;
    Ok(())
}

/// The oldest first.
fn ended(connection: &Connection) -> Result<Vec<(Time, GrantId, Ended)>> {
    let mut statement =
        connection.prepare("SELECT time, id, granted FROM ended ORDER BY time, id")?;
    let ended = statement.query_map([], |row| {
        let time = Time::from_micros(number(row, 0)?);
        let how = match row.get(2)? {
            true => Ended::WasGranted,
            false => Ended::NeverGranted,
        };
        Ok((time, GrantId::from_u128(id(row.get(1)?)), how))
    })?;
    ended.collect()
}

/// Removes ids that ended before `oldest`, at most so many; answers how many.
pub(in crate::embedded) fn sweep_ended(
    connection: &Connection,
    oldest: Time,
    at_most: i64,
) -> Result<usize> {
    connection
        .prepare_cached(
            "DELETE FROM ended WHERE (time, id) IN
             (SELECT time, id FROM ended WHERE time < ?1 ORDER BY time, id LIMIT ?2)",
        )?
        .execute(params![oldest.as_micros().cast_signed(), at_most])
}

/// The time at which the `nth` of the ids to have ended did, from 1.
pub(in crate::embedded) fn nth_oldest_ended(
    connection: &Connection,
    nth: u64,
) -> Result<Option<Time>> {
    connection
        .prepare_cached("SELECT time FROM ended ORDER BY time, id LIMIT 1 OFFSET ?1")?
        .query_row([nth.saturating_sub(1).cast_signed()], |row| {
            number(row, 0).map(Time::from_micros)
        })
        .optional()
}

// --- Columns. ---

fn id(bytes: Id) -> u128 {
    u128::from_be_bytes(bytes)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn duration(row: &Row<'_>, column: usize) -> Result<Duration> {
    number(row, column).map(Duration::from_micros)
}

/// The party in this column and the two behind it.
fn party(row: &Row<'_>, column: usize) -> Result<Party> {
    let text = |at: usize| {
        row.get_ref(at)?
            .as_str()
            .map_err(|it| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(it)))
    };
    let owner: Option<String> = row.get(column + 1)?;
    Ok(Party {
        principal: Principal::new(text(column)?),
        owner: owner.map(Arc::from),
        label: text(column + 2)?.into(),
    })
}
