//! `[locks]`: how many locks, waiters and sessions there may be.

use super::TIMEOUT;
use crate::config::document::ConfigError;
use crate::config::section::Section;
use crate::config::value;
use lockport_store::core::Limits;
use std::ops::RangeInclusive;
use std::time::Duration;

/// `[locks]`
#[derive(Clone, Copy, Debug)]
pub struct LocksConfig {
    /// Requests at once on one connection of the lock API. Each wait is one,
    /// unless it is made on a session.
    pub streams: u32,
    /// How long the body of a request to the lock API may take to come, and the
    /// first message on a session's stream.
    pub body_timeout: Duration,
    /// What the store takes.
    pub store: Limits,
}

/// The range of every limit here. Its upper end is what a machine still has
/// memory for.
const COUNT: RangeInclusive<u32> = 1..=100_000_000;

/// Requests at once on one connection. More than the default of `limits`,
/// because a wait lasts: a client whose streams all wait could not even give
/// back what it holds.
const STREAMS: u32 = 10_000;

impl LocksConfig {
    pub(super) fn read(section: Section<'_>) -> Result<Self, ConfigError> {
        let default = Limits::default();
        let body = lockport_locks::Limits::default().body;
        let count = |key, default: usize| {
            let default = u32::try_from(default).unwrap_or(u32::MAX);
            section
                .or(key, value::integer(COUNT), default)
                .map(|it| it as usize)
        };
        let locks = Self {
            streams: section.or("streams", value::integer(COUNT), STREAMS)?,
            body_timeout: section.or("body_timeout", value::duration(TIMEOUT), body)?,
            store: Limits {
                holders_per_lock: count("holders_per_lock", default.holders_per_lock)?,
                waiters_per_lock: count("waiters_per_lock", default.waiters_per_lock)?,
                locks_per_principal: count("locks_per_principal", default.locks_per_principal)?,
                waiters_per_principal: count(
                    "waiters_per_principal",
                    default.waiters_per_principal,
                )?,
                sessions_per_principal: count(
                    "sessions_per_principal",
                    default.sessions_per_principal,
                )?,
                grants_per_session: count("grants_per_session", default.grants_per_session)?,
                cancels_per_principal: count(
                    "cancels_per_principal",
                    default.cancels_per_principal,
                )?,
                watchers: count("watchers", default.watchers)?,
                events: count("events", default.events)?,
                ended: count("ended", default.ended)?,
                ..default
            },
        };
        section.finish()?;
        Ok(locks)
    }
}
