//! What is asked of locks and sessions: each one call of the library.

use super::Means;
use super::beats::Ears;
use super::codec::{Arguments, Malformed, Reply};
use super::heard::Heard;
use super::link::{CallError, Link};
use super::listing::{self, Lists};
use crate::core;
use crate::id::{GrantId, SessionId, TransactionId};
use crate::name::LockName;
use crate::pattern::Permission;
use crate::shell::{Watch, log_taken};
use crate::statistics::Statistics;
use crate::store::{
    Acquire, AcquireError, Attached, Attachment, Cancelled, ForceError, Grant, Granted, Lock,
    LockPage, LockQuery, OpenSession, Principal, ReleaseError, Released, RenewError, SessionError,
    StoreError, Taken, WatchError, WatchQuery,
};
use crate::time::Time;
use std::sync::Arc;
use std::time::Duration;

/// The locks and the sessions of a space, as a node has to do with them.
pub(super) struct Locks {
    pub(super) means: Means,
    /// On which events are published.
    pub(super) beats: Link,
    pub(super) heard: Arc<Heard>,
    pub(super) ears: Arc<Ears>,
    pub(super) lists: Lists,
}

impl Locks {
    pub(super) fn now(&self) -> Time {
        self.heard.now()
    }

    pub(super) fn statistics(&self) -> Statistics {
        Statistics {
            watchers: self.ears.events.watchers(),
            ..self.heard.statistics()
        }
    }

    pub(super) async fn acquire(&self, request: Acquire) -> Result<Granted, AcquireError> {
        self.ears.asking.acquire(request).await
    }

    pub(super) async fn cancel(
        &self,
        grant: GrantId,
        principal: Principal,
    ) -> Result<Cancelled, ReleaseError> {
        let cancelled = self.call(Arguments::cancel(grant, &principal), Reply::cancelled);
        let cancelled = cancelled.await??;
        self.means.holdings.ended(grant);
        Ok(cancelled)
    }

    pub(super) async fn renew(
        &self,
        grant: GrantId,
        principal: Principal,
        lease: Option<Duration>,
    ) -> Result<Grant, RenewError> {
        lease.map_or(Ok(()), core::validate_lease)?;
        let after = self.means.holdings.recoveries();
        let renewed = self.call(Arguments::renew(grant, &principal, lease), Reply::renewed);
        let (renewed, held) = match renewed.await? {
            Ok(renewed) => renewed,
            Err(error) => {
                if error == RenewError::Lost {
                    self.means.holdings.ended(grant);
                }
                return Err(error);
            }
        };
        let now = self.means.node.clock().now();
        let holdings = &self.means.holdings;
        match holdings.has(grant, held, renewed.remaining, now, after) {
            true => Ok(renewed),
            false => Err(StoreError::Recovering.into()),
        }
    }

    pub(super) async fn release(
        &self,
        grant: GrantId,
        principal: Principal,
    ) -> Result<Released, ReleaseError> {
        let released = self.call(Arguments::release(grant, &principal), Reply::released);
        let released = released.await??;
        self.means.holdings.ended(grant);
        Ok(released)
    }

    pub(super) async fn force_release(
        &self,
        name: LockName,
        by: Principal,
        permission: Permission,
        reason: String,
    ) -> Result<Vec<Taken>, ForceError> {
        let taken = self.call(Arguments::force_release(&name, &permission), Reply::taken);
        let taken = taken.await??;
        log_taken(&taken, &name, &by, &reason);
        Ok(taken)
    }

    pub(super) async fn lock(&self, name: LockName) -> Result<Lock, StoreError> {
        listing::look(&self.means.link, &self.means.node, name).await
    }

    pub(super) async fn locks(&self, query: LockQuery) -> Result<LockPage, StoreError> {
        self.lists
            .page(&self.means.link, &self.means.node, query)
            .await
    }

    pub(super) async fn watch(&self, query: WatchQuery) -> Result<Watch, WatchError> {
        let events = &self.ears.events;
        events
            .watch(&self.beats, &self.means.node, self.now(), query)
            .await
    }

    pub(super) async fn open_session(&self, request: OpenSession) -> Result<(), SessionError> {
        self.ears.sessions.open(request).await
    }

    pub(super) async fn attach(
        &self,
        session: SessionId,
        principal: Principal,
    ) -> Result<Attached, SessionError> {
        self.ears.sessions.attach(session, principal).await
    }

    pub(super) fn beat(
        &self,
        session: SessionId,
        attachment: Attachment,
    ) -> Result<(), SessionError> {
        self.ears.sessions.beat(session, attachment)
    }

    pub(super) fn detach(&self, session: SessionId, attachment: Attachment) {
        self.ears.sessions.detach(session, attachment);
    }

    pub(super) async fn close_session(
        &self,
        session: SessionId,
        principal: Principal,
    ) -> Result<(), SessionError> {
        self.ears.sessions.close(session, principal).await
    }

    pub(super) fn end(&self, transaction: TransactionId) {
        self.means.holdings.transaction_ended(transaction);
        if self.ears.asking.transactions.ends(transaction) {
            let node = self.means.node.id();
            self.means
                .errands
                .run(node, Arguments::end(node, transaction));
        }
    }

    async fn call<T>(
        &self,
        arguments: Arguments,
        read: impl FnOnce(Reply) -> Result<T, Malformed>,
    ) -> Result<T, StoreError> {
        let reply = self
            .means
            .link
            .call(self.means.node.id(), arguments)
            .await?;
        Ok(read(reply).map_err(CallError::from)?)
    }
}
