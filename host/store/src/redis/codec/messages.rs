//! What nodes are told without asking, and those who watch.

use super::super::asking::AskerNumber;
use super::super::space::Epoch;
use super::fields::{Fields, Malformed, Result, parse};
use crate::id::{GrantId, SessionId};
use crate::store::{AcquireError, Attachment, EventKind, Granted, LockEvent, LostGrant};

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
