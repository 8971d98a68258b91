//! The older contract of a lock manager, for clients that speak it.
//!
//! Its locks are ours: exclusive, held by whoever has the token, for the lease
//! that the node is configured with. The token is a random UUID; the grant's
//! identity is made from it, so nothing is remembered here, and a lock taken
//! before a restart can be given back after it.

pub(crate) mod grpc;
pub(crate) mod http;
mod token;

use crate::access::Caller;
use crate::failure::Failure;
use crate::service::Service;
use crate::statistics::{Method, Transport};
use ::http::StatusCode;
use lockport_proto::Reason;
use lockport_store::LockName;
use lockport_store::store::{Acquire, AcquireError, Holder, Mode, Party, ReleaseError, Released};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use token::Token;
use tonic::Code;

/// The two operations. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Compatible {
    service: Arc<Service>,
    lease: Duration,
}

/// Why one of them failed: all the contract knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The name is empty or not allowed.
    InvalidResourceId,
    /// The token is missing or no UUIDv4.
    InvalidToken,
    /// Somebody else holds the lock.
    TokenDoesNotFit,
    /// Somebody holds the lock already.
    LockAlreadyExists,
    /// Nobody holds the lock.
    LockNotFound,
    /// Anything else.
    InternalError,
}

impl Refusal {
    /// The error string.
    fn text(self) -> &'static str {
        match self {
            Self::InvalidResourceId => "INVALID_RESOURCE_ID",
            Self::InvalidToken => "INVALID_TOKEN",
            Self::TokenDoesNotFit => "TOKEN_DOES_NOT_FIT",
            Self::LockAlreadyExists => "LOCK_ALREADY_EXISTS",
            Self::LockNotFound => "LOCK_NOT_FOUND",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    fn code(self) -> Code {
        match self {
            Self::InvalidResourceId | Self::InvalidToken | Self::TokenDoesNotFit => {
                Code::InvalidArgument
            }
            Self::LockAlreadyExists => Code::AlreadyExists,
            Self::LockNotFound => Code::NotFound,
            Self::InternalError => Code::Internal,
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::InvalidResourceId | Self::InvalidToken | Self::TokenDoesNotFit => {
                StatusCode::BAD_REQUEST
            }
            Self::LockAlreadyExists => StatusCode::CONFLICT,
            Self::LockNotFound => StatusCode::NOT_FOUND,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What it is by our own table, to be counted as.
    fn reason(self) -> Reason {
        match self {
            Self::InvalidResourceId => Reason::InvalidName,
            Self::InvalidToken => Reason::InvalidGrant,
            Self::TokenDoesNotFit => Reason::NotHolder,
            Self::LockAlreadyExists => Reason::Held,
            Self::LockNotFound => Reason::UnknownGrant,
            Self::InternalError => Reason::Internal,
        }
    }
}

impl Compatible {
    pub(crate) fn new(service: &Arc<Service>, lease: Duration) -> Self {
        Self {
            service: Arc::clone(service),
            lease,
        }
    }

    /// Takes the lock of this name, without waiting.
    async fn lock(&self, caller: &Caller, id: &str) -> Result<Token, Refusal> {
        let token = self.counted(Method::Lock, self.take(caller, id).await)?;
        let counters = &self.service.counters;
        counters.compat_locked.fetch_add(1, Ordering::Relaxed);
        Ok(token)
    }

    /// Gives the lock of this name back.
    async fn unlock(&self, caller: &Caller, id: &str, token: &str) -> Result<(), Refusal> {
        self.counted(Method::Unlock, self.give_back(caller, id, token).await)?;
        let counters = &self.service.counters;
        counters.compat_unlocked.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn take(&self, caller: &Caller, id: &str) -> Result<Token, Refusal> {
        let name = name(caller, id)?;
        self.service.drain.check_brief().map_err(unexpected)?;
        let token = Token::mint();
        let acquire = Acquire {
            id: token.grant(),
            repeatable: false,
            names: vec![name],
            mode: Mode::Exclusive,
            holder: Holder::Caller,
            lease: Some(self.lease),
            wait: Duration::ZERO,
            party: Party {
                principal: caller.principal().clone(),
                owner: None,
                label: "lock_manager".into(),
            },
        };
        match self.service.store.acquire(acquire).await {
            Ok(_) => Ok(token),
            Err(AcquireError::Held(_)) => Err(Refusal::LockAlreadyExists),
            Err(other) => Err(unexpected(other)),
        }
    }

    async fn give_back(&self, caller: &Caller, id: &str, token: &str) -> Result<(), Refusal> {
        let name = name(caller, id)?;
        let grant = Token::parse(token).ok_or(Refusal::InvalidToken)?.grant();
        let store = &self.service.store;
        let lock = store.lock(name).await.map_err(unexpected)?;
        if lock.holding == 0 {
            return Err(Refusal::LockNotFound);
        }
        if !lock.holders.iter().any(|it| it.grant == grant) {
            return Err(Refusal::TokenDoesNotFit);
        }
        match store.release(grant, caller.principal().clone()).await {
            Ok(Released::Released) => Ok(()),
            // It has ended since.
            Ok(Released::Already) => Err(Refusal::LockNotFound),
            Err(ReleaseError::NotHolder) => Err(Refusal::TokenDoesNotFit),
            Err(other) => Err(unexpected(other)),
        }
    }

    fn counted<T>(&self, method: Method, answer: Result<T, Refusal>) -> Result<T, Refusal> {
        let asked = self.service.counters.ask(method, Transport::Compat);
        let counted = answer.as_ref().map(|_| ());
        drop(asked.answered(counted.map_err(|it| Failure::new(it.reason(), ""))));
        answer
    }
}

/// The lock's name, if it is one that the caller may use.
fn name(caller: &Caller, id: &str) -> Result<LockName, Refusal> {
    let name = LockName::new(id).map_err(|_| Refusal::InvalidResourceId)?;
    match caller.may_lock(&name) {
        true => Ok(name),
        false => Err(Refusal::InvalidResourceId),
    }
}

/// The contract has one word for whatever it does not know; the log has more.
fn unexpected(why: impl fmt::Display) -> Refusal {
    tracing::warn!(%why, "a request of the older lock contract failed");
    Refusal::InternalError
}
