//! How a stream gets its session: a new one, or one that is open.

use super::Opened;
use crate::access::Caller;
use crate::convert;
use crate::failure::Failure;
use crate::service::{OnSession, Service};
use lockport_proto::Reason;
use lockport_proto::lock as proto;
use lockport_store::secret::{Purpose, Secret};
use lockport_store::store::{OpenSession, Party, TTL_DEFAULT};
use std::sync::Arc;

/// Opens a session, or attaches one.
pub(super) async fn open(
    service: &Service,
    caller: &Caller,
    request: proto::OpenSession,
) -> Result<Opened, Failure> {
    service.drain.check()?;
    let label = convert::text(&request.holder, "holder", Reason::InvalidHolder)?;
    let label: Arc<str> = label.into();
    let (secret, text) = match request.session.as_str() {
        "" => {
            let secret = new(service, caller, &request, Arc::clone(&label)).await?;
            (secret, service.store.key().text(secret, Purpose::Session))
        }
        text => {
            if request.ttl.is_some() || request.grace.is_some() {
                let why = "is open, and its ttl and grace stay as they are";
                return Err(Failure::field(Reason::InvalidSession, "session", why));
            }
            (service.read_session(text)?, request.session)
        }
    };
    let principal = caller.principal().clone();
    let attached = service.store.attach(secret.session(), principal).await?;
    Ok(Opened {
        attachment: attached.attachment,
        lost: attached.lost,
        on: OnSession {
            id: secret.session(),
            label,
        },
        message: proto::SessionOpened {
            session: text,
            ttl: Some(attached.ttl.into()),
            grace: Some(attached.grace.into()),
            fencing_tokens: attached.held,
        },
    })
}

/// Opens a new session.
async fn new(
    service: &Service,
    caller: &Caller,
    request: &proto::OpenSession,
    label: Arc<str>,
) -> Result<Secret, Failure> {
    let ttl = convert::duration(request.ttl, "ttl", Reason::InvalidSession)?;
    let grace = convert::duration(request.grace, "grace", Reason::InvalidSession)?;
    let ttl = ttl.unwrap_or(TTL_DEFAULT);
    let secret = Secret::mint();
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
    service.store.open_session(request).await?;
    Ok(secret)
}
