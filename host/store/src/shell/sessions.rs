//! Sessions, and the line to the connection each is attached to.
//!
//! A line tells which grants were taken away. While no connection is attached
//! it keeps what it would tell for the next one. It is unbounded, and yet holds
//! no more than the grants the session had: each is lost once, and a session
//! that nobody is attached to acquires next to nothing.

use super::journal::Withheld;
use super::{Shell, Written};
use crate::core::hash::IdMap;
use crate::core::{AttachedSession, Core};
use crate::id::SessionId;
use crate::store::{Attached, Attachment, LostGrant, OpenSession, Principal, SessionError};
use tokio::sync::mpsc;

/// The lines of those sessions that are attached, or that have something to
/// tell.
#[derive(Default)]
pub(super) struct Lines(IdMap<SessionId, Line>);

struct Line {
    sender: mpsc::UnboundedSender<LostGrant>,
    end: End,
}

/// Where what is told arrives.
enum End {
    /// At the connection.
    Attached(Attachment),
    /// Here, until there is one.
    Parked(mpsc::UnboundedReceiver<LostGrant>),
}

impl Shell {
    pub(crate) async fn open_session(&self, request: OpenSession) -> Result<(), SessionError> {
        let id = request.id;
        let written = self.enter(|state, now, outbox| {
            state.check_room()?;
            let step =
                |core: &mut Core, now, effects: &mut _| core.open_session(request, now, effects);
            let opened = state.step(now, outbox, step);
            let withheld = |done| match &opened {
                Ok(()) => Withheld::Session(id, done),
                Err(_) => Withheld::Done(done),
            };
            let Written(_, receiver) = state.settle_as((), withheld, outbox);
            Ok::<_, SessionError>(Written(opened, receiver))
        })?;
        written.settled().await?
    }

    pub(crate) async fn attach(
        &self,
        session: SessionId,
        principal: Principal,
    ) -> Result<Attached, SessionError> {
        let written = self.enter(|state, now, outbox| {
            let attached = state.step(now, outbox, |core, now, effects| {
                core.attach(session, &principal, now, effects)
            });
            let attached = attached.map(|it| state.lines.attach(session, it));
            state.settle(attached, outbox)
        });
        written.settled().await?
    }

    /// Waits for nothing: a beat is not written down.
    pub(crate) fn beat(
        &self,
        session: SessionId,
        attachment: Attachment,
    ) -> Result<(), SessionError> {
        self.step(|core, now, effects| core.beat(session, attachment, now, effects))
    }

    pub(crate) fn detach(&self, session: SessionId, attachment: Attachment) {
        self.enter(|state, now, outbox| {
            state.step(now, outbox, |core, now, effects| {
                core.detach(session, attachment, now, effects);
            });
            state.lines.detach(session, attachment);
        });
    }

    pub(crate) async fn close_session(
        &self,
        session: SessionId,
        principal: Principal,
    ) -> Result<(), SessionError> {
        let step = |core: &mut Core, now, effects: &mut _| {
            core.close_session(session, &principal, now, effects)
        };
        self.outside(step).settled().await?
    }
}

impl Lines {
    /// A grant of the session was taken away.
    pub(super) fn lose(&mut self, session: SessionId, lost: LostGrant) {
        let line = self.0.entry(session).or_insert_with(Line::parked);
        // A connection that is gone is about to be detached.
        drop(line.sender.send(lost));
    }

    /// The session has ended, or is attached anew: nothing more is told.
    pub(super) fn cut(&mut self, session: SessionId) {
        self.0.remove(&session);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn attach(&mut self, session: SessionId, attached: AttachedSession) -> Attached {
        let AttachedSession {
            attachment,
            ttl,
            grace,
        } = attached;
        let parked = self.0.remove(&session).unwrap_or_else(Line::parked);
        let (sender, lost) = match parked.end {
            End::Parked(receiver) => (parked.sender, receiver),
            // Cut by now; whoever has the other end hears no more.
            End::Attached(_) => line(),
        };
        let end = End::Attached(attachment);
        self.0.insert(session, Line { sender, end });
        Attached {
            attachment,
            ttl,
            grace,
            lost,
        }
    }

    fn detach(&mut self, session: SessionId, attachment: Attachment) {
        let is_attached =
            |it: &Line| matches!(it.end, End::Attached(current) if current == attachment);
        if self.0.get(&session).is_some_and(is_attached) {
            self.0.remove(&session);
        }
    }
}

impl Line {
    fn parked() -> Self {
        let (sender, receiver) = line();
        let end = End::Parked(receiver);
        Self { sender, end }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "it holds no more than the grants of one session, which are limited"
)]
fn line() -> (
    mpsc::UnboundedSender<LostGrant>,
    mpsc::UnboundedReceiver<LostGrant>,
) {
    mpsc::unbounded_channel()
}
