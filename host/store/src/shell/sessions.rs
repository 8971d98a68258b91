//! Sessions, and the line to the connection each is attached to.
//!
//! A line tells which grants were taken away. What was taken while there was no
//! connection, or one that was broken already, is not kept for the next: that
//! is told which grants there are. A line is unbounded, and yet holds no more
//! than the grants the session had, since each is lost once.

use super::journal::Withheld;
use super::{Shell, Written};
use crate::core::hash::IdMap;
use crate::core::{AttachedSession, Core};
use crate::id::SessionId;
use crate::store::{Attached, Attachment, LostGrant, OpenSession, Principal, SessionError, Token};
use tokio::sync::mpsc;

/// The lines of those sessions that are attached.
#[derive(Default)]
pub(crate) struct Lines(IdMap<SessionId, Line>);

struct Line {
    sender: mpsc::UnboundedSender<LostGrant>,
    attachment: Attachment,
}

/// Detaches again what nobody was told is attached: whoever asked has gone, or
/// it could not be told.
struct Attaching<'a> {
    shell: &'a Shell,
    session: SessionId,
    attachment: Option<Attachment>,
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
                let attached = core.attach(session, &principal, now, effects)?;
                Ok((attached, core.tokens_of(session)))
            });
            let attached = attached.map(|(it, held)| state.lines.attach(session, it, held));
            state.settle(attached, outbox)
        });
        let mut attaching = Attaching {
            shell: self,
            session,
            attachment: written.0.as_ref().ok().map(|it| it.attachment),
        };
        let attached = written.settled().await?;
        attaching.attachment = None;
        attached
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
    pub(crate) fn lose(&mut self, session: SessionId, lost: LostGrant) {
        if let Some(line) = self.0.get(&session) {
            // A connection that is gone is about to be detached.
            drop(line.sender.send(lost));
        }
    }

    /// The session has ended, or is attached anew: nothing more is told.
    pub(crate) fn cut(&mut self, session: SessionId) {
        self.0.remove(&session);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn attach(
        &mut self,
        session: SessionId,
        attached: AttachedSession,
        held: Vec<Token>,
    ) -> Attached {
        let AttachedSession {
            attachment,
            party,
            ttl,
            grace,
        } = attached;
        let (sender, lost) = line();
        // Whoever has the end of an earlier line hears no more.
        self.0.insert(session, Line { sender, attachment });
        Attached {
            attachment,
            party,
            ttl,
            grace,
            held,
            lost,
        }
    }

    fn detach(&mut self, session: SessionId, attachment: Attachment) {
        let is_attached = |it: &Line| it.attachment == attachment;
        if self.0.get(&session).is_some_and(is_attached) {
            self.0.remove(&session);
        }
    }
}

impl Drop for Attaching<'_> {
    fn drop(&mut self) {
        if let Some(attachment) = self.attachment {
            self.shell.detach(self.session, attachment);
        }
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
