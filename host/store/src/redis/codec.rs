//! What goes to the [library](super::library) and what comes from it, as
//! MessagePack.
//!
//! Times and durations are whole microseconds. Absent is `false`, as Lua has no
//! lists with holes. Texts may be any bytes.

mod answers;
mod arguments;
mod fields;
mod messages;

pub(crate) use answers::{Beaten, Claimed, Heading, Reached, Reply};
pub(crate) use arguments::Arguments;
pub(crate) use fields::Malformed;
pub(crate) use messages::{Message, News, event};

use crate::core::{Limits, STEPS};
use crate::name::LockName;
use crate::store::{Holder, Mode, Party, Token};
use crate::time::Time;
use rmp::encode::{ValueWriteError, write_array_len, write_bool, write_sint, write_str_len};
use std::num::NonZeroU32;
use std::time::Duration;

/// How the library counts modes: permits by their number.
const EXCLUSIVE: i64 = 0;
const SHARED: i64 = -1;

/// What is sent. The library's reader knows no type for bytes, so they go as
/// text.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Bytes(Vec<u8>),
    Number(i64),
    Truth(bool),
    List(Vec<Value>),
}

/// A grant, as a node says that it has it when the server was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// What it holds itself.
    pub(crate) names: Vec<LockName>,
    pub(crate) mode: Mode,
    pub(crate) token: Token,
    pub(crate) since: Time,
    /// The longest it was given.
    pub(crate) lease: Option<Duration>,
    pub(crate) party: Party,
    pub(crate) holder: Holder,
    pub(crate) repeatable: bool,
}

/// What the function that opens a space is told: how far it has come, and for how
/// long it is recovered if it is not what it was.
pub(crate) fn seen(reached: &Reached, reclaim: Duration) -> Vec<u8> {
    packed([
        reached.now.as_micros().into(),
        reached.token.into(),
        reached.revision.into(),
        reached.commit.into(),
        Value::from(u64::try_from(reclaim.as_micros()).unwrap_or(u64::MAX)),
    ])
}

/// The limits that the library keeps, as each call brings them.
pub(crate) fn limits(limits: &Limits) -> Vec<u8> {
    limits_and_steps(limits, STEPS)
}

/// As [`limits`], with how many steps a search for deadlocks makes at once.
pub(crate) fn limits_and_steps(limits: &Limits, steps: usize) -> Vec<u8> {
    let values = [
        limits.holders_per_lock,
        limits.waiters_per_lock,
        limits.locks_per_principal,
        limits.waiters_per_principal,
        limits.sessions_per_principal,
        limits.grants_per_session,
        limits.cancels_per_principal,
        limits.ended,
        limits.records,
        steps,
    ];
    packed(values.map(Value::from))
}

fn of_mode(mode: Mode) -> Value {
    Value::Number(match mode {
        Mode::Exclusive => EXCLUSIVE,
        Mode::Shared => SHARED,
        Mode::Permits(number) => number.get().into(),
    })
}

fn to_mode(number: i64) -> Option<Mode> {
    match number {
        EXCLUSIVE => Some(Mode::Exclusive),
        SHARED => Some(Mode::Shared),
        number => {
            let number = u32::try_from(number).ok().and_then(NonZeroU32::new)?;
            Some(Mode::Permits(number))
        }
    }
}

/// What is sent: one value after the other.
fn packed(values: impl IntoIterator<Item = Value>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        let written = value.write(&mut bytes);
        written.expect("memory takes all that is written to it");
    }
    bytes
}

impl Value {
    fn write(&self, to: &mut Vec<u8>) -> Result<(), ValueWriteError> {
        match self {
            Self::Bytes(bytes) => {
                write_str_len(to, length(bytes.len()))?;
                to.extend(bytes);
            }
            Self::Number(number) => drop(write_sint(to, *number)?),
            Self::Truth(truth) => {
                write_bool(to, *truth).map_err(ValueWriteError::InvalidDataWrite)?
            }
            Self::List(values) => {
                write_array_len(to, length(values.len()))?;
                for value in values {
                    value.write(to)?;
                }
            }
        }
        Ok(())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

/// What is longer than a length can say is longer than all that is sent.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
