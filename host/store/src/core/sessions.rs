//! Sessions: see the drawing in [`store`](crate::store).

use super::acquire::validate_party;
use super::groups::{Group, Kind, Session};
use super::operations::End;
use super::request::Request;
use super::slab::At;
use super::table::Woken;
use super::{AttachedSession, Core, Effect};
use crate::id::SessionId;
use crate::store::{
    Attachment, Field, Invalid, OpenSession, Party, Principal, SessionError, TTL_MAX, TTL_MIN,
    Token,
};
use crate::time::Time;
use std::time::Duration;

impl Core {
    /// Opens a session. It is detached, and lives for its grace.
    pub fn open_session(
        &mut self,
        request: OpenSession,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<(), SessionError> {
        self.pass(now, effects);
        validate(&request)?;
        if self.table.groups.session(request.id).is_some() {
            let why = "the session's id is in use";
            return Err(Invalid::new(Field::Session, why).into());
        }
        let principal = &request.party.principal;
        let account = self.table.principals.find(principal);
        let most = self.limits.sessions_per_principal;
        if account.is_some_and(|it| it.sessions >= most) {
            self.tally.statistics.over_quota += 1;
            let text = format!("a principal has at most {most} sessions");
            return Err(SessionError::Quota(text));
        }
        self.enter_session(&request, now);
        effects.push(Effect::KeepSession(request));
        Ok(())
    }

    /// Takes in a session that nobody is attached to.
    pub(super) fn enter_session(&mut self, request: &OpenSession, now: Time) {
        let table = &mut self.table;
        let principal = table.principals.enter(&request.party.principal);
        table.principals.get_mut(principal).sessions += 1;
        let until = now + request.grace;
        let session = Session {
            id: request.id,
            ttl: request.ttl,
            grace: request.grace,
            principal,
            owner: request.party.owner.clone(),
            label: request.party.label.clone(),
            until,
            attachment: 0,
            attached: false,
        };
        let serial = table.next_arrival();
        let at = table.groups.open_session(session, serial);
        table.keep_session(at, Some(until));
    }

    /// Attaches a session to a connection. An earlier one loses it.
    pub fn attach(
        &mut self,
        id: SessionId,
        principal: &Principal,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<AttachedSession, SessionError> {
        self.pass(now, effects);
        let at = self.find_session(id, principal)?;
        let session = self.table.groups.session_mut(at);
        let session = session.ok_or(SessionError::Lost)?;
        if std::mem::replace(&mut session.attached, true) {
            effects.push(Effect::Unattached(id));
        }
        session.attachment += 1;
        let attached = AttachedSession {
            attachment: Attachment(session.attachment),
            party: Party {
                principal: (self.table.principals.get(session.principal))
                    .principal
                    .clone(),
                owner: session.owner.clone(),
                label: session.label.clone(),
            },
            ttl: session.ttl,
            grace: session.grace,
        };
        self.table.keep_session(at, Some(now + attached.ttl));
        Ok(attached)
    }

    /// The tokens of the grants a session holds, in the order they were asked
    /// for.
    pub(crate) fn tokens_of(&self, id: SessionId) -> Vec<Token> {
        let group = self.table.groups.session(id).into_iter();
        let members = group.flat_map(|it| self.table.members_at(it));
        let requests = members.map(|it| &self.table.requests[it]);
        let held = requests.filter(|it| it.is_held());
        held.map(Request::token).collect()
    }

    /// Keeps a session alive for its time to live.
    pub fn beat(
        &mut self,
        id: SessionId,
        attachment: Attachment,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<(), SessionError> {
        self.pass(now, effects);
        let at = self.table.groups.session(id).ok_or(SessionError::Lost)?;
        let session = self.table.groups.session_mut(at);
        let session = session.ok_or(SessionError::Lost)?;
        if !session.is_attached(attachment) {
            return Err(SessionError::Elsewhere);
        }
        let until = now + session.ttl;
        self.table.keep_session(at, Some(until));
        Ok(())
    }

    /// A connection broke: its session lives for its grace.
    pub fn detach(
        &mut self,
        id: SessionId,
        attachment: Attachment,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        self.pass(now, effects);
        let Some(at) = self.table.groups.session(id) else {
            return;
        };
        if let Some(session) = self.table.groups.session_mut(at)
            && session.is_attached(attachment)
        {
            session.attached = false;
            let until = now + session.grace;
            self.table.keep_session(at, Some(until));
        }
    }

    /// Ends a session: its grants are released and its waits end. One that has
    /// ended is as good as closed.
    pub fn close_session(
        &mut self,
        id: SessionId,
        principal: &Principal,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<(), SessionError> {
        self.pass(now, effects);
        match self.find_session(id, principal) {
            Ok(at) => self.end_session(at, || End::Closed, now, effects),
            Err(SessionError::Lost) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Ends a session and all its requests, before anybody is served.
    pub(super) fn end_session(
        &mut self,
        at: At<Group>,
        end: fn() -> End,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let mut woken = Woken::new();
        self.end_group(at, end, now, &mut woken, effects);
        self.table.keep_session(at, None);
        if let Some(session) = self.table.groups.session_mut(at) {
            let (id, principal) = (session.id, session.principal);
            if session.attached {
                effects.push(Effect::Unattached(id));
            }
            effects.push(Effect::ForgetSession(id));
            self.table.principals.get_mut(principal).sessions -= 1;
            self.table.principals.leave(principal);
        }
        self.table.groups.close_session(at);
        self.hand_over(woken, now, effects);
    }

    /// Whether a principal may do what the client of a session may.
    pub(super) fn is_session_of(&self, at: At<Group>, principal: &Principal) -> bool {
        let Kind::Session(session) = &self.table.groups.get(at).kind else {
            return false;
        };
        let of = &self.table.principals.get(session.principal).principal;
        of == principal || *principal == Principal::node()
    }

    /// How long the session of a request lasts, if it hangs on one.
    pub(super) fn session_remaining(&self, request: &Request, now: Time) -> Option<Duration> {
        match &self.table.groups.get(request.life?).kind {
            Kind::Session(session) => Some(session.until.since(now)),
            Kind::Transaction(_) | Kind::Named(..) => None,
        }
    }

    fn find_session(
        &self,
        id: SessionId,
        principal: &Principal,
    ) -> Result<At<Group>, SessionError> {
        let at = self.table.groups.session(id).ok_or(SessionError::Lost)?;
        if self.is_session_of(at, principal) {
            Ok(at)
        } else {
            Err(SessionError::NotHolder)
        }
    }
}

impl Session {
    fn is_attached(&self, attachment: Attachment) -> bool {
        self.attached && self.attachment == attachment.0
    }
}

/// Whether a session may be opened so.
pub(crate) fn validate(request: &OpenSession) -> Result<(), Invalid> {
    validate_party(&request.party)?;
    for (what, time) in [("time to live", request.ttl), ("grace", request.grace)] {
        if !(TTL_MIN..=TTL_MAX).contains(&time) {
            let (min, max) = (TTL_MIN.as_secs(), TTL_MAX.as_secs());
            let why = format!("a session's {what} is {min} s to {max} s");
            return Err(Invalid::new(Field::Session, why));
        }
    }
    Ok(())
}
