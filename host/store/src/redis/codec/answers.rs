//! What the functions of the library answer, and what they send to nodes.

use super::super::asking::AskerNumber;
use super::super::space::Epoch;
use super::{Held, to_mode};
use crate::core::{Acquired, AttachedSession};
use crate::id::{GrantId, SessionId, TransactionId};
use crate::name::{InvalidName, LockName};
use crate::store::{
    AcquireError, Attachment, Cancelled, CommitError, Committed, Cycle, EventKind, Field,
    ForceError, Grant, Granted, Holder, Invalid, Link, Lock, LockEvent, LockHolder, LockWaiter,
    LostGrant, Party, Principal, ReleaseError, Released, RenewError, Resolved, Revision,
    SessionError, Taken, Token,
};
use crate::time::Time;
use bytes::Bytes;
use rmpv::Value;
use std::time::Duration;

/// An answer that no library of ours gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer is not understood: {0}")]
pub(crate) struct Malformed(String);

type Result<T> = std::result::Result<T, Malformed>;

/// What the answer to a call begins with, whatever was to be done.
#[derive(Clone, Debug)]
pub(crate) struct Heading {
    /// How far the space has come.
    pub(crate) reached: Reached,
    /// Grants that are held, requests that wait, sessions that are open.
    pub(crate) held: u64,
    pub(crate) waiting: u64,
    pub(crate) sessions: u64,
    /// What is to be counted: codes (see `tell.lua`), each with a value.
    pub(crate) tally: Vec<(u64, u64)>,
    /// What the node that calls is told, packed.
    pub(crate) told: Vec<Vec<u8>>,
}

/// What an operation answers.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// How far the space has come with the call.
    pub(crate) reached: Reached,
    word: String,
    fields: Fields,
}

/// The time of the store, and the last numbers it has given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) now: Time,
    pub(crate) token: Token,
    pub(crate) revision: Revision,
    pub(crate) commit: u64,
}

/// What a node is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    /// In which epoch it was sent.
    pub(crate) epoch: Epoch,
    /// The number of the message.
    pub(crate) number: u64,
    pub(crate) what: News,
}

/// See [`Message`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum News {
    /// A wait ended well, for those up to this asker. It is to be claimed, unless
    /// nothing was acquired.
    Granted(GrantId, AskerNumber, Granted),
    /// A wait ended otherwise, for those up to this asker.
    Refused(GrantId, AskerNumber, AcquireError),
    /// A grant has ended, by force or by another node.
    Ended(GrantId),
    /// A grant of a session was taken away.
    Lost(SessionId, LostGrant),
    /// The session has ended, or is attached elsewhere.
    Unattached(SessionId, Attachment),
}

/// What became of a grant that is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// It is held, so long unless renewed.
    Held(Option<Duration>),
    /// It was taken back, or has ended.
    Lost,
}

/// A session that was attached, and the grants it holds.
pub(crate) type AttachedHere = (AttachedSession, Vec<(GrantId, Held)>);

/// What a node's beat is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beaten {
    /// It lives on.
    Lives {
        /// The number of the last message it was sent.
        sent: u64,
        /// Whether the store has more to end than one call should.
        is_behind: bool,
    },
    /// Its lease had run out.
    Gone,
}

/// A page of keys and values as the store has them.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) more: bool,
    pub(crate) change: u64,
    /// A key and its value, the version in front.
    pub(crate) entries: Vec<(Vec<u8>, Bytes)>,
}

/// The parts of an answer that are still to be read.
#[derive(Clone, Debug)]
struct Fields(std::vec::IntoIter<Value>);

// === impl Heading ===

impl Heading {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let mut fields = Fields::one_by_one(bytes)?;
        let reached = Reached {
            now: fields.time()?,
            token: fields.number()?,
            revision: fields.number()?,
            commit: fields.number()?,
        };
        let (held, waiting, sessions) = (fields.number()?, fields.number()?, fields.number()?);
        let mut flat = fields.list()?;
        let mut tally = Vec::new();
        while !flat.is_empty() {
            tally.push((flat.number()?, flat.number()?));
        }
        let mut messages = fields.list()?;
        let mut told = Vec::new();
        while !messages.is_empty() {
            told.push(messages.bytes()?);
        }
        Ok(Self {
            reached,
            held,
            waiting,
            sessions,
            tally,
            told,
        })
    }
}

// === impl Reply ===

impl Reply {
    /// Reads the answer of an operation of a call that came so far.
    pub(crate) fn read(bytes: &[u8], reached: Reached) -> Result<Self> {
        let mut fields = Fields::of(parse(bytes)?)?;
        Ok(Self {
            reached,
            word: fields.text()?,
            fields,
        })
    }

    /// For how long nothing will be done for lack of what the space was, if that
    /// is why nothing was.
    pub(crate) fn recovering(&self) -> Option<Duration> {
        let left = self.fields.0.as_slice().first();
        let left = left.filter(|_| self.word == "recovering")?;
        left.as_u64().map(Duration::from_micros)
    }

    /// Whether nothing was done because the node's lease had run out.
    pub(crate) fn is_gone(&self) -> bool {
        self.word == "gone"
    }

    /// Whether it promises what must not be lost with the server: then, whether
    /// that is promised for the first time.
    pub(crate) fn promises(&self) -> Option<bool> {
        match self.word.as_str() {
            // With nothing behind it, it is the answer to a cancel.
            "granted" => self.fields.0.as_slice().last()?.as_bool(),
            "claimed" | "committed" | "aborted" => Some(true),
            _ => None,
        }
    }

    /// To `acquire`; and whether what was granted was not granted before.
    pub(crate) fn acquired(mut self) -> Result<(Acquired, bool)> {
        let it = &mut self.fields;
        let refused = match self.word.as_str() {
            "granted" => {
                let (since, remaining, waited) = (it.time()?, it.remaining()?, it.duration()?);
                let granted = it.granted(since, remaining, waited)?;
                return Ok((Acquired::Granted(granted), it.truth()?));
            }
            "waiting" => return Ok((Acquired::Waiting, false)),
            "held" => AcquireError::Held(it.name()?),
            "lost" => AcquireError::Lost,
            "no-session" => AcquireError::NoSession,
            "not-holder" => AcquireError::NotHolder,
            "invalid" => AcquireError::Invalid(it.invalid()?),
            "quota" => AcquireError::Quota(it.text()?),
            "deadlock" => AcquireError::Deadlock(it.cycle()?),
            "cancelled" => AcquireError::Cancelled,
            _ => return Err(self.unknown()),
        };
        Ok((Acquired::Refused(refused), false))
    }

    pub(crate) fn claimed(mut self) -> Result<Claimed> {
        match self.word.as_str() {
            "claimed" => Ok(Claimed::Held(self.fields.remaining()?)),
            "lost" => Ok(Claimed::Lost),
            _ => Err(self.unknown()),
        }
    }

    pub(crate) fn cancelled(mut self) -> Result<std::result::Result<Cancelled, ReleaseError>> {
        Ok(match self.word.as_str() {
            "granted" => Ok(Cancelled::Granted),
            "cancelled" => Ok(Cancelled::Cancelled),
            "not-holder" => Err(ReleaseError::NotHolder),
            "quota" => Err(ReleaseError::Quota(self.fields.text()?)),
            _ => return Err(self.unknown()),
        })
    }

    /// To `renew`: the grant; and as it is held.
    pub(crate) fn renewed(mut self) -> Result<std::result::Result<(Grant, Held), RenewError>> {
        let it = &mut self.fields;
        Ok(match self.word.as_str() {
            "renewed" => {
                let grant = Grant {
                    names: it.names()?,
                    mode: it.mode()?,
                    token: it.number()?,
                    since: it.time()?,
                    remaining: it.remaining()?,
                    party: it.party()?,
                };
                let held = Held {
                    names: grant.names.clone(),
                    mode: grant.mode,
                    token: grant.token,
                    since: grant.since,
                    lease: it.remaining()?,
                    party: grant.party.clone(),
                    holder: it.life()?,
                    repeatable: it.truth()?,
                };
                Ok((grant, held))
            }
            "lost" => Err(RenewError::Lost),
            "not-holder" => Err(RenewError::NotHolder),
            _ => return Err(self.unknown()),
        })
    }

    pub(crate) fn released(self) -> Result<std::result::Result<Released, ReleaseError>> {
        Ok(match self.word.as_str() {
            "released" => Ok(Released::Released),
            "already" => Ok(Released::Already),
            "not-holder" => Err(ReleaseError::NotHolder),
            _ => return Err(self.unknown()),
        })
    }

    pub(crate) fn taken(mut self) -> Result<std::result::Result<Vec<Taken>, ForceError>> {
        match self.word.as_str() {
            "not-permitted" => return Ok(Err(ForceError::NotPermitted)),
            "taken" => {}
            _ => return Err(self.unknown()),
        }
        let taken = self.fields.list()?.each(|it| {
            Ok(Taken {
                names: it.names()?,
                token: it.number()?,
                party: it.party()?,
            })
        });
        taken.map(Ok)
    }

    /// To `open_session`, `beat`, `close_session` and `recover_session`.
    pub(crate) fn session(mut self) -> Result<std::result::Result<(), SessionError>> {
        Ok(match self.word.as_str() {
            "opened" | "beaten" | "closed" | "attached" => Ok(()),
            _ => Err(self.session_error()?),
        })
    }

    /// To `attach`: the session, and the grants it holds.
    pub(crate) fn attached(
        mut self,
        id: SessionId,
    ) -> Result<std::result::Result<AttachedHere, SessionError>> {
        if self.word != "attached" {
            return Ok(Err(self.session_error()?));
        }
        let it = &mut self.fields;
        let attachment = Attachment(it.number()?);
        let (ttl, grace) = (it.duration()?, it.duration()?);
        let party = it.party()?;
        let held = it.list()?.each(|it| {
            let id_of_grant = it.grant()?;
            let held = Held {
                names: it.names()?,
                mode: it.mode()?,
                token: it.number()?,
                since: it.time()?,
                lease: None,
                party: it.party()?,
                holder: Holder::Session(id),
                repeatable: it.truth()?,
            };
            Ok((id_of_grant, held))
        })?;
        let attached = AttachedSession {
            attachment,
            party,
            ttl,
            grace,
        };
        Ok(Ok((attached, held)))
    }

    pub(crate) fn committed(mut self) -> Result<std::result::Result<Committed, CommitError>> {
        let it = &mut self.fields;
        Ok(match self.word.as_str() {
            "committed" => Ok(Committed {
                number: it.number()?,
            }),
            "aborted" => Err(CommitError::Aborted),
            "too-old" => Err(CommitError::TooOld),
            "conflict" => Err(CommitError::Conflict {
                collection: it.text()?,
                key: it.text()?,
            }),
            "unguarded" => Err(CommitError::Unguarded { name: it.name()? }),
            "fenced" => Err(CommitError::Fenced {
                name: it.name()?,
                current: it.number()?,
            }),
            _ => return Err(self.unknown()),
        })
    }

    pub(crate) fn resolved(mut self) -> Result<Resolved> {
        match self.word.as_str() {
            "committed" => Ok(Resolved::Committed(Committed {
                number: self.fields.number()?,
            })),
            "aborted" => Ok(Resolved::Aborted),
            "forgotten" => Ok(Resolved::Forgotten),
            _ => Err(self.unknown()),
        }
    }

    /// To `list`.
    pub(crate) fn listed(mut self) -> Result<Listed> {
        if self.word != "page" {
            return Err(self.unknown());
        }
        let (more, change) = (self.fields.truth()?, self.fields.number()?);
        let mut flat = self.fields.list()?;
        let mut entries = Vec::new();
        while !flat.is_empty() {
            entries.push((flat.bytes()?, flat.bytes()?.into()));
        }
        Ok(Listed {
            more,
            change,
            entries,
        })
    }

    /// To `look`: the locks of these names, in their order.
    pub(crate) fn locks<'a>(
        mut self,
        names: impl IntoIterator<Item = &'a LockName>,
    ) -> Result<Vec<Lock>> {
        if self.word != "locks" {
            return Err(self.unknown());
        }
        let now = self.reached.now;
        let mut locks = self.fields.list()?;
        let names = names.into_iter();
        names
            .map(|name| locks.list()?.lock(name.clone(), now))
            .collect()
    }

    /// To `recover_grants`: which of them are as the node said.
    pub(crate) fn kept(mut self) -> Result<Vec<bool>> {
        if self.word != "kept" {
            return Err(self.unknown());
        }
        let mut fields = self.fields.list()?;
        let mut kept = Vec::new();
        while !fields.is_empty() {
            kept.push(fields.truth()?);
        }
        Ok(kept)
    }

    /// To `leave`: whether something of the node is left, which the next calls
    /// end.
    pub(crate) fn left(mut self) -> Result<bool> {
        match self.word.as_str() {
            "left" => self.fields.truth(),
            _ => Err(self.unknown()),
        }
    }

    /// To `join`.
    pub(crate) fn joined(self) -> Result<()> {
        match self.word.as_str() {
            "joined" => Ok(()),
            _ => Err(self.unknown()),
        }
    }

    /// To `rejoin`: the number of the last message it was sent.
    pub(crate) fn rejoined(mut self) -> Result<u64> {
        match self.word.as_str() {
            "rejoined" => self.fields.number(),
            _ => Err(self.unknown()),
        }
    }

    /// To `node_beat`.
    pub(crate) fn node_beaten(mut self) -> Result<Beaten> {
        match self.word.as_str() {
            "beaten" => Ok(Beaten::Lives {
                sent: self.fields.number()?,
                is_behind: self.fields.truth()?,
            }),
            "gone" => Ok(Beaten::Gone),
            _ => Err(self.unknown()),
        }
    }

    /// To `watch`: the number of the latest event.
    pub(crate) fn watching(mut self) -> Result<u64> {
        match self.word.as_str() {
            "watching" => self.fields.number(),
            _ => Err(self.unknown()),
        }
    }

    fn session_error(&mut self) -> Result<SessionError> {
        Ok(match self.word.as_str() {
            "lost" => SessionError::Lost,
            "elsewhere" => SessionError::Elsewhere,
            "not-holder" => SessionError::NotHolder,
            "invalid" => SessionError::Invalid(self.fields.invalid()?),
            "quota" => SessionError::Quota(self.fields.text()?),
            _ => return Err(self.unknown()),
        })
    }

    fn unknown(&self) -> Malformed {
        Malformed(format!("`{}`", self.word))
    }
}

// === impl Message ===

impl Message {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let mut it = Fields::of(parse(bytes)?)?;
        let (epoch, number) = (it.epoch()?, it.number()?);
        let word = it.text()?;
        let what = match word.as_str() {
            "granted" => {
                let (asker, id) = (it.number()?, it.grant()?);
                let (since, remaining, waited) = (it.time()?, it.remaining()?, it.duration()?);
                News::Granted(id, asker, it.granted(since, remaining, waited)?)
            }
            "timed-out" | "cancelled" | "deadlock" => {
                let (asker, id) = (it.number()?, it.grant()?);
                let error = match word.as_str() {
                    "timed-out" => AcquireError::TimedOut,
                    "cancelled" => AcquireError::Cancelled,
                    _ => AcquireError::Deadlock(it.cycle()?),
                };
                News::Refused(id, asker, error)
            }
            "ended" => News::Ended(it.grant()?),
            "lost" => {
                let session = it.session()?;
                let (token, names) = (it.number()?, it.names()?);
                News::Lost(session, LostGrant { token, names })
            }
            "unattached" => News::Unattached(it.session()?, Attachment(it.number()?)),
            _ => return Err(Malformed(format!("`{word}`"))),
        };
        Ok(Self {
            epoch,
            number,
            what,
        })
    }
}

/// An event, as watchers are told of it.
pub(crate) fn event(bytes: &[u8]) -> Result<LockEvent> {
    let mut it = Fields::of(parse(bytes)?)?;
    let (revision, time) = (it.number()?, it.time()?);
    let word = it.text()?;
    let kind = match word.as_str() {
        "queued" => EventKind::Queued,
        "granted" => EventKind::Granted,
        "released" => EventKind::Released,
        "expired" => EventKind::Expired,
        "forced" => EventKind::Forced,
        "left" => EventKind::Left,
        _ => return Err(Malformed(format!("`{word}`"))),
    };
    Ok(LockEvent {
        revision,
        time,
        kind,
        names: it.names()?,
        mode: it.mode()?,
        token: it.number()?,
        party: it.party()?,
    })
}

// === impl Fields ===

impl Fields {
    /// Of values that stand one after the other.
    fn one_by_one(bytes: &[u8]) -> Result<Self> {
        let (mut rest, mut values) = (bytes, Vec::new());
        while !rest.is_empty() {
            let value = rmpv::decode::read_value(&mut rest);
            values.push(value.map_err(|it| Malformed(it.to_string()))?);
        }
        Ok(Self(values.into_iter()))
    }

    fn of(value: Value) -> Result<Self> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            // Lua has one thing for an empty list and an empty map.
            Value::Map(entries) if entries.is_empty() => Ok(Self(Vec::new().into_iter())),
            other => Err(Malformed(format!("{other} is no list"))),
        }
    }

    fn is_empty(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    fn next(&mut self) -> Result<Value> {
        self.0
            .next()
            .ok_or_else(|| Malformed("it is too short".to_owned()))
    }

    fn list(&mut self) -> Result<Self> {
        Self::of(self.next()?)
    }

    /// Every element, each of which is a list.
    fn each<T>(mut self, mut read: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut all = Vec::new();
        while !self.is_empty() {
            all.push(read(&mut self.list()?)?);
        }
        Ok(all)
    }

    fn number(&mut self) -> Result<u64> {
        let value = self.next()?;
        // Lua knows no other numbers than floating ones.
        let whole = value.as_u64().or_else(|| {
            let float = value.as_f64().filter(|it| *it >= 0.0 && it.fract() == 0.0);
            float.map(|it| it as u64)
        });
        whole.ok_or_else(|| Malformed(format!("{value} is no number")))
    }

    fn time(&mut self) -> Result<Time> {
        self.number().map(Time::from_micros)
    }

    fn duration(&mut self) -> Result<Duration> {
        self.number().map(Duration::from_micros)
    }

    /// A duration, or -1 for none.
    fn remaining(&mut self) -> Result<Option<Duration>> {
        let is_none = self.0.as_slice().first().and_then(Value::as_i64) == Some(-1);
        if is_none {
            self.next().map(|_| None)
        } else {
            self.duration().map(Some)
        }
    }

    fn truth(&mut self) -> Result<bool> {
        let value = self.next()?;
        value
            .as_bool()
            .ok_or_else(|| Malformed(format!("{value} is neither true nor false")))
    }

    fn bytes(&mut self) -> Result<Vec<u8>> {
        match self.next()? {
            Value::String(text) => Ok(text.into_bytes()),
            Value::Binary(bytes) => Ok(bytes),
            other => Err(Malformed(format!("{other} is no text"))),
        }
    }

    fn text(&mut self) -> Result<String> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes).map_err(|it| Malformed(it.to_string()))
    }

    /// A text, or false.
    fn text_or_false(&mut self) -> Result<Option<String>> {
        if self.0.as_slice().first() == Some(&Value::Boolean(false)) {
            return self.next().map(|_| None);
        }
        self.text().map(Some)
    }

    fn name(&mut self) -> Result<LockName> {
        let text = self.text()?;
        LockName::new(text).map_err(|it: InvalidName| Malformed(it.to_string()))
    }

    fn names(&mut self) -> Result<Vec<LockName>> {
        let mut names = self.list()?;
        let mut all = Vec::new();
        while !names.is_empty() {
            all.push(names.name()?);
        }
        Ok(all)
    }

    fn identity(&mut self) -> Result<u128> {
        let bytes = self.bytes()?;
        let bytes = <[u8; 16]>::try_from(bytes.as_slice());
        let bytes = bytes.map_err(|_| Malformed("an identity has 16 bytes".to_owned()))?;
        Ok(u128::from_be_bytes(bytes))
    }

    fn epoch(&mut self) -> Result<Epoch> {
        self.identity().map(u128::to_be_bytes)
    }

    fn grant(&mut self) -> Result<GrantId> {
        self.identity().map(GrantId::from_u128)
    }

    fn session(&mut self) -> Result<SessionId> {
        self.identity().map(SessionId::from_u128)
    }

    fn mode(&mut self) -> Result<crate::store::Mode> {
        let value = self.next()?;
        let mode = value.as_i64().and_then(to_mode);
        mode.ok_or_else(|| Malformed(format!("{value} is no mode")))
    }

    fn party(&mut self) -> Result<Party> {
        Ok(Party {
            principal: Principal::new(&self.text()?),
            owner: self.text_or_false()?.map(Into::into),
            label: self.text()?.into(),
        })
    }

    fn granted(
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

    fn cycle(&mut self) -> Result<Cycle> {
        let links = self.list()?.each(|it| {
            Ok(Link {
                waiter: it.text()?.into(),
                name: it.name()?,
            })
        });
        links.map(Cycle)
    }

    fn invalid(&mut self) -> Result<Invalid> {
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

    fn life(&mut self) -> Result<Holder> {
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

    fn lock(&mut self, name: LockName, now: Time) -> Result<Lock> {
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

    fn holder(&mut self, now: Time) -> Result<LockHolder> {
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

    fn waiter(&mut self, now: Time) -> Result<LockWaiter> {
        Ok(LockWaiter {
            party: self.party()?,
            mode: self.mode()?,
            waited: now.since(self.time()?),
            remaining: self.time()?.since(now),
        })
    }

    fn count(&mut self) -> Result<usize> {
        let number = self.number()?;
        usize::try_from(number).map_err(|it| Malformed(it.to_string()))
    }
}

fn parse(bytes: &[u8]) -> Result<Value> {
    let mut rest = bytes;
    rmpv::decode::read_value(&mut rest).map_err(|it| Malformed(it.to_string()))
}
