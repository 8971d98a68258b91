//! What lists of the library are made of, value by value.

use super::super::space::Epoch;
use super::to_mode;
use crate::id::{GrantId, SessionId, TransactionId};
use crate::name::{InvalidName, LockName};
use crate::store::{
    Cycle, Field, Granted, Holder, Invalid, Link, Lock, LockHolder, LockWaiter, Party, Principal,
};
use crate::time::Time;
use rmpv::Value;
use std::time::Duration;

/// An answer that no library of ours gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer is not understood: {0}")]
pub(crate) struct Malformed(pub(super) String);

pub(super) type Result<T> = std::result::Result<T, Malformed>;

/// The parts of an answer that are still to be read.
#[derive(Clone, Debug)]
pub(super) struct Fields(std::vec::IntoIter<Value>);

impl Fields {
    /// Of values that stand one after the other.
    pub(super) fn one_by_one(bytes: &[u8]) -> Result<Self> {
        let (mut rest, mut values) = (bytes, Vec::new());
        while !rest.is_empty() {
            let value = rmpv::decode::read_value(&mut rest);
            values.push(value.map_err(|it| Malformed(it.to_string()))?);
        }
        Ok(Self(values.into_iter()))
    }

    pub(super) fn of(value: Value) -> Result<Self> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            // Lua has one thing for an empty list and an empty map.
            Value::Map(entries) if entries.is_empty() => Ok(Self(Vec::new().into_iter())),
            other => Err(Malformed(format!("{other} is no list"))),
        }
    }

    /// Those that are still to be read.
    pub(super) fn rest(&self) -> &[Value] {
        self.0.as_slice()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    pub(super) fn next(&mut self) -> Result<Value> {
        self.0
            .next()
            .ok_or_else(|| Malformed("it is too short".to_owned()))
    }

    pub(super) fn list(&mut self) -> Result<Self> {
        Self::of(self.next()?)
    }

    /// Every element, each of which is a list.
    pub(super) fn each<T>(
        mut self,
        mut read: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        while !self.is_empty() {
            all.push(read(&mut self.list()?)?);
        }
        Ok(all)
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        let value = self.next()?;
        // Lua knows no other numbers than floating ones.
        let whole = value.as_u64().or_else(|| {
            let float = value.as_f64().filter(|it| *it >= 0.0 && it.fract() == 0.0);
            float.map(|it| it as u64)
        });
        whole.ok_or_else(|| Malformed(format!("{value} is no number")))
    }

    pub(super) fn time(&mut self) -> Result<Time> {
        self.number().map(Time::from_micros)
    }

    pub(super) fn duration(&mut self) -> Result<Duration> {
        self.number().map(Duration::from_micros)
    }

    /// A duration, or -1 for none.
    pub(super) fn remaining(&mut self) -> Result<Option<Duration>> {
        let is_none = self.0.as_slice().first().and_then(Value::as_i64) == Some(-1);
        if is_none {
            self.next().map(|_| None)
        } else {
            self.duration().map(Some)
        }
    }

    pub(super) fn truth(&mut self) -> Result<bool> {
        let value = self.next()?;
        value
            .as_bool()
            .ok_or_else(|| Malformed(format!("{value} is neither true nor false")))
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>> {
        match self.next()? {
            Value::String(text) => Ok(text.into_bytes()),
            Value::Binary(bytes) => Ok(bytes),
            other => Err(Malformed(format!("{other} is no text"))),
        }
    }

    pub(super) fn text(&mut self) -> Result<String> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes).map_err(|it| Malformed(it.to_string()))
    }

    /// A text, or false.
    pub(super) fn text_or_false(&mut self) -> Result<Option<String>> {
        if self.0.as_slice().first() == Some(&Value::Boolean(false)) {
            return self.next().map(|_| None);
        }
        self.text().map(Some)
    }

    pub(super) fn name(&mut self) -> Result<LockName> {
        let text = self.text()?;
        LockName::known(text).map_err(|it: InvalidName| Malformed(it.to_string()))
    }

    pub(super) fn names(&mut self) -> Result<Vec<LockName>> {
        let mut names = self.list()?;
        let mut all = Vec::new();
        while !names.is_empty() {
            all.push(names.name()?);
        }
        Ok(all)
    }

    pub(super) fn identity(&mut self) -> Result<u128> {
        let bytes = self.bytes()?;
        let bytes = <[u8; 16]>::try_from(bytes.as_slice());
        let bytes = bytes.map_err(|_| Malformed("an identity has 16 bytes".to_owned()))?;
        Ok(u128::from_be_bytes(bytes))
    }

    pub(super) fn epoch(&mut self) -> Result<Epoch> {
        self.identity().map(u128::to_be_bytes)
    }

    pub(super) fn grant(&mut self) -> Result<GrantId> {
        self.identity().map(GrantId::from_u128)
    }

    pub(super) fn session(&mut self) -> Result<SessionId> {
        self.identity().map(SessionId::from_u128)
    }

    pub(super) fn mode(&mut self) -> Result<crate::store::Mode> {
        let value = self.next()?;
        let mode = value.as_i64().and_then(to_mode);
        mode.ok_or_else(|| Malformed(format!("{value} is no mode")))
    }

    pub(super) fn party(&mut self) -> Result<Party> {
        Ok(Party {
            principal: Principal::new(&self.text()?),
            owner: self.text_or_false()?.map(Into::into),
            label: self.text()?.into(),
        })
    }

    pub(super) fn granted(
        &mut self,
        since: Time,
        remaining: Option<Duration>,
        waited: Duration,
    ) -> Result<Granted> {
        let mut flat = self.list()?;
        let (mut tokens, mut acquired) = (Vec::new(), Vec::new());
        while !flat.is_empty() {
            let (name, token) = (flat.name()?, flat.number()?);
            if flat.number()? == 1 {
                acquired.push(name.clone());
            }
            tokens.push((name, token));
        }
        Ok(Granted {
            tokens,
            acquired,
            since,
            remaining,
            waited,
        })
    }

    pub(super) fn cycle(&mut self) -> Result<Cycle> {
        let links = self.list()?.each(|it| {
            Ok(Link {
                waiter: it.text()?.into(),
                name: it.name()?,
            })
        });
        links.map(Cycle)
    }

    pub(super) fn invalid(&mut self) -> Result<Invalid> {
        let field = match self.text()?.as_str() {
            "mode" => Field::Mode,
            "permits" => Field::Permits,
            "request-id" => Field::RequestId,
            "session" => Field::Session,
            other => return Err(Malformed(format!("`{other}` is no field"))),
        };
        let why = self.text()?;
        Ok(Invalid { field, why })
    }

    pub(super) fn life(&mut self) -> Result<Holder> {
        let bytes = self.bytes()?;
        let identity = |it: &[u8]| <[u8; 16]>::try_from(it).ok().map(u128::from_be_bytes);
        let holder = match bytes.split_first() {
            None => Some(Holder::Caller),
            Some((b's', rest)) => {
                identity(rest).map(|it| Holder::Session(SessionId::from_u128(it)))
            }
            Some((b't', rest)) => rest
                .get(16..)
                .and_then(identity)
                .map(|it| Holder::Transaction(TransactionId::from_u128(it))),
            Some(_) => None,
        };
        holder.ok_or_else(|| Malformed("nothing can hang on this".to_owned()))
    }

    pub(super) fn lock(&mut self, name: LockName, now: Time) -> Result<Lock> {
        let is_idle = self.0.as_slice().first() == Some(&Value::Boolean(false));
        let mode = if is_idle {
            self.next().map(|_| None)
        } else {
            self.mode().map(Some)
        };
        let mode = mode?;
        let holders = self.list()?.each(|it| it.holder(now))?;
        let holding = self.count()?;
        let waiters = self.list()?.each(|it| it.waiter(now))?;
        let waiting = self.count()?;
        Ok(Lock {
            name,
            mode,
            holders,
            holding,
            waiters,
            waiting,
        })
    }

    pub(super) fn holder(&mut self, now: Time) -> Result<LockHolder> {
        let (grant, token) = (self.grant()?, self.number()?);
        let (party, holder) = (self.party()?, self.life()?);
        let since = self.time()?;
        Ok(LockHolder {
            grant,
            token,
            party,
            holder,
            since,
            remaining: self.remaining()?,
            held_for: now.since(since),
        })
    }

    pub(super) fn waiter(&mut self, now: Time) -> Result<LockWaiter> {
        Ok(LockWaiter {
            party: self.party()?,
            mode: self.mode()?,
            waited: now.since(self.time()?),
            remaining: self.time()?.since(now),
        })
    }

    pub(super) fn count(&mut self) -> Result<usize> {
        let number = self.number()?;
        usize::try_from(number).map_err(|it| Malformed(it.to_string()))
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Value> {
    let mut rest = bytes;
    rmpv::decode::read_value(&mut rest).map_err(|it| Malformed(it.to_string()))
}
