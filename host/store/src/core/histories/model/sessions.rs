//! Sessions of the model.

use super::*;
use crate::store::{TTL_MAX, TTL_MIN};

impl Model {
    pub(super) fn open(
        &mut self,
        what: &OpenSession,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<(), SessionError> {
        assert!((TTL_MIN..=TTL_MAX).contains(&what.ttl));
        let of = |it: &&Session| it.what.party.principal == what.party.principal;
        if self.sessions.iter().filter(of).count() >= self.limits.sessions_per_principal {
            return Err(SessionError::Quota(String::new()));
        }
        self.arrivals += 1;
        self.sessions.push(Session {
            what: what.clone(),
            arrival: self.arrivals,
            until: now + what.grace,
            attachment: 0,
            attached: false,
        });
        effects.push(Effect::KeepSession(what.clone()));
        Ok(())
    }

    pub(super) fn session(
        &mut self,
        id: SessionId,
        by: &Principal,
    ) -> Result<&mut Session, SessionError> {
        let session = self.sessions.iter_mut().find(|it| it.what.id == id);
        let session = session.ok_or(SessionError::Lost)?;
        if may(&session.what.party.principal, by) {
            Ok(session)
        } else {
            Err(SessionError::NotHolder)
        }
    }

    pub(super) fn attach(
        &mut self,
        id: SessionId,
        by: &Principal,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<AttachedSession, SessionError> {
        let session = self.session(id, by)?;
        if session.attached {
            effects.push(Effect::Unattached(id));
        }
        session.attached = true;
        session.attachment += 1;
        session.until = now + session.what.ttl;
        Ok(AttachedSession {
            attachment: Attachment(session.attachment),
            party: session.what.party.clone(),
            ttl: session.what.ttl,
            grace: session.what.grace,
        })
    }

    pub(super) fn beat(
        &mut self,
        id: SessionId,
        of: Attachment,
        now: Time,
    ) -> Result<(), SessionError> {
        let session = self.session(id, &Principal::node())?;
        if !session.attached || session.attachment != of.0 {
            return Err(SessionError::Elsewhere);
        }
        session.until = now + session.what.ttl;
        Ok(())
    }

    pub(super) fn end_session(
        &mut self,
        id: SessionId,
        end: End,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        self.end_all(Holder::Session(id), end, now, effects);
        let at = self.sessions.iter().position(|it| it.what.id == id);
        if self.sessions.remove(at.unwrap()).attached {
            effects.push(Effect::Unattached(id));
        }
        effects.push(Effect::ForgetSession(id));
    }
}
