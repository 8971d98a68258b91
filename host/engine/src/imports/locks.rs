//! `lockport:host/locks`: acquiring locks, and guards.

use super::{to_nanos, wit};
use crate::component::Context;
use crate::instance::State;
use lockport_store::LockName;
use lockport_store::store::{AcquireError, NAMES_PER_GRANT_MAX, StoreError};
use lockport_store::transaction::{Guard, LockError};
use std::time::Duration;
use wasmtime::Result;
use wasmtime::component::Resource;
use wit::locks::{Error, Host, HostGuard, Options};

/// A guard in the hands of a guest. It outlives its request if the guest keeps
/// it, but it is dead then: of what it was, only the names are left.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct GuardHandle {
    guard: Option<Guard>,
    names: Vec<LockName>,
}

impl GuardHandle {
    fn new(guard: Guard) -> Self {
        Self {
            names: guard.names().cloned().collect(),
            guard: Some(guard),
        }
    }

    /// The request is over.
    pub(crate) fn end(&mut self) {
        self.guard = None;
    }
}

impl Host for State {
    async fn acquire(
        &mut self,
        names: Vec<String>,
        options: Options,
    ) -> Result<Result<Resource<GuardHandle>, Error>> {
        let names = match parse(&names) {
            Ok(names) => names,
            Err(error) => return Ok(Err(error)),
        };
        let lease = options.lease.map(Duration::from_nanos);
        let wait = Duration::from_nanos(options.wait);
        if !names.iter().all(|name| self.spec.grants_lock(name)) {
            return Ok(Err(Error::AccessDenied));
        }
        let Some(context) = self.context() else {
            return Ok(Err(Error::Closed));
        };
        let wait = wait.min(context.remaining());
        match context.scope.acquire(names, wait, lease).await {
            Ok(guard) => Ok(Ok(self.table.push(GuardHandle::new(guard))?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn inherited(&mut self) -> Result<Vec<Resource<GuardHandle>>> {
        let Some(context) = self.context() else {
            return Ok(Vec::new());
        };
        let guards = context.scope.inherited(&|name| self.spec.grants_lock(name));
        let handles = guards
            .into_iter()
            .map(|guard| Ok(self.table.push(GuardHandle::new(guard))?));
        handles.collect()
    }
}

impl HostGuard for State {
    async fn names(&mut self, this: Resource<GuardHandle>) -> Result<Vec<String>> {
        let names = self.table.get(&this)?.names.iter();
        Ok(names.map(|name| name.as_str().to_owned()).collect())
    }

    async fn token(&mut self, this: Resource<GuardHandle>, name: String) -> Result<u64> {
        let guard = self.table.get(&this)?.guard.as_ref();
        Ok(guard.and_then(|guard| guard.token(&name)).unwrap_or(0))
    }

    async fn remaining(&mut self, this: Resource<GuardHandle>) -> Result<u64> {
        let Some((context, guard)) = self.alive(&this)? else {
            return Ok(0);
        };
        Ok(match context.scope.remaining(guard).await {
            Ok(Some(remaining)) => to_nanos(remaining),
            Ok(None) => to_nanos(context.remaining()),
            Err(_) => 0,
        })
    }

    async fn renew(
        &mut self,
        this: Resource<GuardHandle>,
        lease: u64,
    ) -> Result<Result<(), Error>> {
        let lease = Duration::from_nanos(lease);
        let Some((context, guard)) = self.alive(&this)? else {
            return Ok(Err(Error::Closed));
        };
        let renewed = context.scope.renew(guard, lease).await;
        Ok(renewed.map_err(Error::from))
    }

    async fn release(&mut self, this: Resource<GuardHandle>) -> Result<Result<(), Error>> {
        let guard = self.table.delete(this)?.guard;
        let (Some(context), Some(guard)) = (self.context(), guard) else {
            return Ok(Err(Error::Closed));
        };
        let released = context.scope.release(guard).await;
        Ok(released.map_err(Error::from))
    }

    async fn drop(&mut self, this: Resource<GuardHandle>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl State {
    /// The request and a guard of it; `None` if the guard's request is over.
    fn alive(&self, this: &Resource<GuardHandle>) -> Result<Option<(&Context, &Guard)>> {
        let guard = self.table.get(this)?.guard.as_ref();
        Ok(self.context().zip(guard))
    }
}

/// The names, if they are names and not too many.
fn parse(names: &[String]) -> Result<Vec<LockName>, Error> {
    if names.is_empty() || names.len() > NAMES_PER_GRANT_MAX {
        return Err(Error::InvalidArgument(format!(
            "there are {} names; 1 to {NAMES_PER_GRANT_MAX} are allowed",
            names.len()
        )));
    }
    let parsed = names.iter().enumerate().map(|(at, name)| {
        LockName::new(name)
            .map_err(|error| Error::InvalidArgument(format!("name {} {error}", at + 1)))
    });
    parsed.collect()
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Acquire(error) => error.into(),
            LockError::Lost => Self::Lost,
            LockError::Invalid(text) => Self::InvalidArgument(text),
            LockError::InUse(_) => Self::InUse,
            LockError::Closed => Self::Closed,
            LockError::Store(error) => error.into(),
        }
    }
}

impl From<AcquireError> for Error {
    fn from(error: AcquireError) -> Self {
        match error {
            AcquireError::Held(_) => Self::Held,
            AcquireError::TimedOut => Self::TimedOut,
            AcquireError::Deadlock(_) => Self::Deadlock,
            // Only the end of the transaction takes a wait away; and it hangs
            // on no session, is asked once, and is the node's.
            AcquireError::Cancelled
            | AcquireError::Lost
            | AcquireError::NoSession
            | AcquireError::NotHolder => Self::Closed,
            AcquireError::Invalid(error) => Self::InvalidArgument(error.why),
            AcquireError::Quota(text) => Self::Quota(text),
            AcquireError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(text) => Self::Unavailable(text),
            StoreError::Recovering => Self::Recovering,
        }
    }
}
