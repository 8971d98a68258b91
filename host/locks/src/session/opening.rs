//! How a stream gets its session: a new one, or one that is open.

use super::Opened;
use crate::access::Caller;
use crate::convert;
use crate::failure::Failure;
use crate::service::{OnSession, Service};
use lockport_proto::Reason;
use lockport_proto::lock as proto;
use lockport_store::secret::{Purpose, Secret};
use lockport_store::store::{Attached, OpenSession, Party, SessionError, TTL_DEFAULT};
use std::sync::Arc;

/// Opens a session, or attaches one.
pub(super) async fn open(
    service: &Service,
    caller: &Caller,
    request: proto::OpenSession,
) -> Result<Opened, Failure> {
    service.drain.check_brief()?;
    // Nobody closes the semaphore.
    let _turn = service.openings.acquire().await;
    let label = convert::text(&request.holder, "holder", Reason::InvalidHolder)?;
    let label: Arc<str> = label.into();
    let (secret, attached) = match request.session.as_str() {
        "" => new(service, caller, &request, Arc::clone(&label)).await?,
        text => {
            if request.ttl.is_some() || request.grace.is_some() {
                let why = "is open, and its ttl and grace stay as they are";
                return Err(Failure::field(Reason::InvalidSession, "session", why));
            }
            if !request.request_id.is_empty() {
                let why = "is set, and so is the session to attach";
                return Err(Failure::field(Reason::InvalidRequestId, "requestId", why));
            }
            let secret = service.read_session(text)?;
            (secret, attach(service, caller, secret).await?)
        }
    };
    Ok(Opened {
        attachment: attached.attachment,
        lost: attached.lost,
        on: OnSession {
            id: secret.session(),
            // Who comes back need not say again who it is.
            label: match label.is_empty() {
                true => attached.party.label,
                false => label,
            },
        },
        message: proto::SessionOpened {
            session: service.store.key().text(secret, Purpose::Session),
            ttl: Some(attached.ttl.into()),
            grace: Some(attached.grace.into()),
            fencing_tokens: attached.held,
        },
    })
}

async fn attach(
    service: &Service,
    caller: &Caller,
    secret: Secret,
) -> Result<Attached, SessionError> {
    let principal = caller.principal().clone();
    service.store.attach(secret.session(), principal).await
}

/// Opens a new session and attaches it, or the one that was opened by the same
/// request before.
async fn new(
    service: &Service,
    caller: &Caller,
    request: &proto::OpenSession,
    label: Arc<str>,
) -> Result<(Secret, Attached), Failure> {
    // One that is open is attached: its client is not done yet.
    service.drain.check_lasting()?;
    let ttl = convert::duration(request.ttl, "ttl", Reason::InvalidSession)?;
    let grace = convert::duration(request.grace, "grace", Reason::InvalidSession)?;
    let ttl = ttl.unwrap_or(TTL_DEFAULT);
    let is_repeatable = !request.request_id.is_empty();
    let secret = match is_repeatable {
        true => service.of_request(caller, &request.request_id)?,
        false => Secret::mint(),
    };
    let request = OpenSession {
        id: secret.session(),
        ttl,
        grace: grace.unwrap_or(ttl),
        party: Party {
            principal: caller.principal().clone(),
            owner: None,
            label,
        },
    };
    let opened = service.store.open_session(request).await;
    let attached = attach(service, caller, secret);
    match opened {
        Ok(()) => Ok((secret, attached.await?)),
        // Its id may be in use: then this is a retry.
        Err(SessionError::Invalid(invalid)) if is_repeatable => match attached.await {
            Ok(attached) => Ok((secret, attached)),
            Err(_) => Err(invalid.into()),
        },
        Err(error) => Err(error.into()),
    }
}
