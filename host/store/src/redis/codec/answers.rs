//! What the functions of the library answer.

use super::Held;
use super::fields::{Fields, Malformed, Result, parse};
use crate::core::{Acquired, AttachedSession};
use crate::id::{GrantId, SessionId};
use crate::name::LockName;
use crate::store::{
    AcquireError, Attachment, Cancelled, CommitError, Committed, ForceError, Grant, Holder, Lock,
    ReleaseError, Released, RenewError, Resolved, Revision, SessionError, Taken, Token,
};
use crate::time::Time;
use bytes::Bytes;
use std::time::Duration;

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
        let left = self.fields.rest().first();
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
            "granted" => self.fields.rest().last()?.as_bool(),
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

    /// To `close_session`: whether something of it is left, which the next call
    /// ends, or later ones by themselves.
    pub(crate) fn closed(mut self) -> Result<std::result::Result<bool, SessionError>> {
        Ok(match self.word.as_str() {
            "closing" => Ok(true),
            "closed" => Ok(false),
            _ => Err(self.session_error()?),
        })
    }

    /// To `open_session`, `beat` and `recover_session`.
    pub(crate) fn session(mut self) -> Result<std::result::Result<(), SessionError>> {
        Ok(match self.word.as_str() {
            "opened" | "beaten" | "attached" => Ok(()),
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
        if self.word == "committed" {
            let number = self.fields.number()?;
            return Ok(Ok(Committed { number }));
        }
        self.uncommitted().map(Err)
    }

    /// To `validate`.
    pub(crate) fn validated(self) -> Result<std::result::Result<(), CommitError>> {
        if self.word == "current" {
            return Ok(Ok(()));
        }
        self.uncommitted().map(Err)
    }

    fn uncommitted(mut self) -> Result<CommitError> {
        let it = &mut self.fields;
        Ok(match self.word.as_str() {
            "aborted" => CommitError::Aborted,
            "too-old" => CommitError::TooOld,
            "conflict" => CommitError::Conflict {
                collection: it.text()?,
                key: it.text()?,
            },
            "unguarded" => CommitError::Unguarded { name: it.name()? },
            "fenced" => CommitError::Fenced {
                name: it.name()?,
                current: it.number()?,
            },
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
