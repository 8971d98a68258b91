//! The operations of the lock API, once, whichever way they are asked for.
//!
//! A message in, a message or a [`Failure`] out. An operation whose future is
//! dropped is given up: the store leaves nothing behind of it.

use crate::access::Caller;
use crate::convert;
use crate::drain::Drain;
use crate::failure::Failure;
use crate::limits::Limits;
use crate::list;
use crate::statistics::Counters;
use lockport_proto::Reason;
use lockport_proto::lock as proto;
use lockport_store::secret::{Purpose, Secret};
use lockport_store::store::{
    Acquire, AcquireError, Cancelled, Grant, Granted, Holder, LEASE_DEFAULT, Mode, Party, Released,
};
use lockport_store::{SessionId, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The operations over one store.
pub(crate) struct Service {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) limits: Limits,
    pub(crate) counters: Counters,
    pub(crate) drain: Drain,
    /// The turns of those who open or attach sessions.
    pub(crate) openings: Semaphore,
}

/// The session whose stream an operation comes on.
pub(crate) struct OnSession {
    pub(crate) id: SessionId,
    /// The holder of grants whose requests name none.
    pub(crate) label: Arc<str>,
}

impl Service {
    pub(crate) fn new(store: Arc<dyn Store>, limits: Limits) -> Self {
        Self {
            store,
            limits,
            counters: Counters::new(),
            drain: Drain::new(),
            openings: Semaphore::new(limits.openings),
        }
    }

    /// `LockService.Acquire`.
    pub(crate) async fn acquire(
        &self,
        caller: &Caller,
        request: proto::AcquireRequest,
        on: Option<&OnSession>,
    ) -> Result<proto::AcquireResponse, Failure> {
        self.drain.check_brief()?;
        let (secret, acquire) = self.read_acquire(caller, &request, on)?;
        let (mode, label) = (acquire.mode, Arc::clone(&acquire.party.label));
        let waits = !acquire.wait.is_zero();
        if waits {
            self.drain.check_lasting()?;
        }
        let answer = self.store.acquire(acquire);
        let granted = match waits {
            true => self.drain.unless_begun(answer).await?,
            false => answer.await,
        };
        match granted {
            Ok(granted) => Ok(self.acquired(secret, mode, &label, granted)),
            Err(AcquireError::Deadlock(cycle))
                if !cycle.0.iter().all(|link| caller.may_lock(&link.name)) =>
            {
                // Who waits for locks that the caller may not see is not told.
                let why = "waiting would never have ended";
                Err(Failure::new(Reason::Deadlock, why))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// `LockService.Cancel`.
    pub(crate) async fn cancel(
        &self,
        caller: &Caller,
        request: proto::CancelRequest,
    ) -> Result<proto::CancelResponse, Failure> {
        use proto::cancel_response::Outcome;
        let id = request.request_id.as_str();
        if id.is_empty() {
            let why = "is empty";
            return Err(Failure::field(Reason::InvalidRequestId, "requestId", why));
        }
        let secret = self.of_request(caller, id)?;
        let principal = caller.principal().clone();
        let outcome = match self.store.cancel(secret.grant(), principal).await? {
            Cancelled::Cancelled => Outcome::Cancelled,
            Cancelled::Granted => Outcome::Granted,
        };
        Ok(proto::CancelResponse {
            outcome: outcome.into(),
        })
    }

    /// `LockService.Renew`.
    pub(crate) async fn renew(
        &self,
        caller: &Caller,
        request: proto::RenewRequest,
    ) -> Result<proto::RenewResponse, Failure> {
        let lease = convert::duration(request.lease, "lease", Reason::InvalidLease)?;
        let secret = self.read_grant(&request.grant)?;
        let principal = caller.principal().clone();
        let grant = self.store.renew(secret.grant(), principal, lease).await?;
        Ok(proto::RenewResponse {
            grant: Some(of_grant(request.grant, grant)),
        })
    }

    /// `LockService.Release`.
    pub(crate) async fn release(
        &self,
        caller: &Caller,
        request: proto::ReleaseRequest,
    ) -> Result<proto::ReleaseResponse, Failure> {
        use proto::release_response::Outcome;
        let secret = self.read_grant(&request.grant)?;
        let principal = caller.principal().clone();
        let outcome = match self.store.release(secret.grant(), principal).await? {
            Released::Released => Outcome::Released,
            Released::Already => Outcome::Already,
        };
        Ok(proto::ReleaseResponse {
            outcome: outcome.into(),
        })
    }

    /// `LockService.Get`.
    pub(crate) async fn get(
        &self,
        caller: &Caller,
        request: proto::GetRequest,
    ) -> Result<proto::GetResponse, Failure> {
        let name = convert::name(caller, &request.name)?;
        let lock = self.store.lock(name).await?;
        Ok(proto::GetResponse {
            lock: Some(convert::of_lock(lock)),
        })
    }

    /// `LockService.List`.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        request: proto::ListRequest,
    ) -> Result<proto::ListResponse, Failure> {
        list::list(&*self.store, caller, request).await
    }

    /// `LockService.ForceRelease`.
    pub(crate) async fn force_release(
        &self,
        caller: &Caller,
        request: proto::ForceReleaseRequest,
    ) -> Result<proto::ForceReleaseResponse, Failure> {
        if !caller.is_operator() {
            let why = "only operators take locks away from others";
            return Err(Failure::new(Reason::AccessDenied, why));
        }
        let name = convert::name(caller, &request.name)?;
        let reason = convert::required(&request.reason, "reason", Reason::InvalidReason)?;
        let (principal, permission) = (caller.principal().clone(), caller.locks().clone());
        // The store writes to the log who took what from whom, and why.
        let answer = self
            .store
            .force_release(name, principal, permission, reason.to_owned());
        let taken = answer.await?.into_iter().map(convert::of_taken).collect();
        Ok(proto::ForceReleaseResponse { taken })
    }

    // === secrets ===

    /// The secret of what the caller asks for under this request id.
    pub(crate) fn of_request(&self, caller: &Caller, id: &str) -> Result<Secret, Failure> {
        if id.len() > convert::TEXT_BYTES_MAX {
            let why = format!(
                "has {} bytes; at most {} are allowed",
                id.len(),
                convert::TEXT_BYTES_MAX
            );
            return Err(Failure::field(Reason::InvalidRequestId, "requestId", why));
        }
        Ok(self.store.key().of_request(caller.principal(), id))
    }

    fn read_grant(&self, text: &str) -> Result<Secret, Failure> {
        if text.is_empty() {
            return Err(Failure::field(Reason::InvalidGrant, "grant", "is empty"));
        }
        let secret = self.store.key().read(text, Purpose::Grant);
        secret.ok_or_else(|| Failure::new(Reason::UnknownGrant, "there never was such a grant"))
    }

    /// The session in a text that this space gave out.
    pub(crate) fn read_session(&self, text: &str) -> Result<Secret, Failure> {
        let secret = self.store.key().read(text, Purpose::Session);
        secret.ok_or_else(|| Failure::new(Reason::UnknownSession, "there never was such a session"))
    }

    // === acquire ===

    fn read_acquire(
        &self,
        caller: &Caller,
        request: &proto::AcquireRequest,
        on: Option<&OnSession>,
    ) -> Result<(Secret, Acquire), Failure> {
        let names = convert::names(caller, &request.names)?;
        let mode = convert::mode(request.mode, request.permits)?;
        let lease = convert::duration(request.lease, "lease", Reason::InvalidLease)?;
        let wait = convert::duration(request.wait, "wait", Reason::InvalidWait)?;
        let label = convert::text(&request.holder, "holder", Reason::InvalidHolder)?;
        let owner = convert::text(&request.owner, "owner", Reason::InvalidOwner)?;
        let holder = self.read_holder(&request.session, on)?;
        let lease = match (holder, lease) {
            (Holder::Session(_), Some(_)) => {
                let why = "is set, and the grant is to last as long as its session";
                return Err(Failure::field(Reason::InvalidLease, "lease", why));
            }
            (Holder::Session(_), None) => None,
            (_, lease) => Some(lease.unwrap_or(LEASE_DEFAULT)),
        };
        let repeatable = !request.request_id.is_empty();
        let secret = match repeatable {
            true => self.of_request(caller, &request.request_id)?,
            false => Secret::mint(),
        };
        let acquire = Acquire {
            id: secret.grant(),
            repeatable,
            names,
            mode,
            holder,
            lease,
            wait: wait.unwrap_or(Duration::ZERO),
            party: Party {
                principal: caller.principal().clone(),
                owner: (!owner.is_empty()).then(|| owner.into()),
                label: match on {
                    Some(session) if label.is_empty() => Arc::clone(&session.label),
                    _ => label.into(),
                },
            },
        };
        Ok((secret, acquire))
    }

    fn read_holder(&self, session: &str, on: Option<&OnSession>) -> Result<Holder, Failure> {
        match (session, on) {
            ("", None) => Ok(Holder::Caller),
            ("", Some(session)) => Ok(Holder::Session(session.id)),
            (_, Some(_)) => {
                let why = "is set, and the request comes on a session's stream";
                Err(Failure::field(Reason::InvalidSession, "session", why))
            }
            (text, None) => Ok(Holder::Session(self.read_session(text)?.session())),
        }
    }

    fn acquired(
        &self,
        secret: Secret,
        mode: Mode,
        label: &str,
        granted: Granted,
    ) -> proto::AcquireResponse {
        let grant = proto::Grant {
            id: self.store.key().text(secret, Purpose::Grant),
            names: convert::texts(granted.tokens.iter().map(|(name, _)| name)),
            mode: convert::of_mode(mode).0,
            // All names of a caller's grant have the same.
            fencing_token: granted.tokens.first().map_or(0, |(_, token)| *token),
            remaining: granted.remaining.map(Into::into),
            holder: label.to_owned(),
            acquire_time: Some(convert::timestamp(granted.since)),
        };
        proto::AcquireResponse {
            grant: Some(grant),
            waited: Some(granted.waited.into()),
        }
    }
}

fn of_grant(id: String, grant: Grant) -> proto::Grant {
    proto::Grant {
        id,
        names: convert::texts(&grant.names),
        mode: convert::of_mode(grant.mode).0,
        fencing_token: grant.token,
        remaining: grant.remaining.map(Into::into),
        holder: (*grant.party.label).to_owned(),
        acquire_time: Some(convert::timestamp(grant.since)),
    }
}
