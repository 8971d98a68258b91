//! What is asked of locks besides acquiring them.

use super::asking::is_about;
use super::journal::Journal;
use super::{Shell, Written};
use crate::core::{Core, Effect};
use crate::id::{GrantId, TransactionId};
use crate::name::LockName;
use crate::pattern::Permission;
use crate::statistics::Statistics;
use crate::store::{
    Cancelled, ForceError, Grant, Lock, Principal, ReleaseError, Released, RenewError, StoreError,
    Taken,
};
use crate::time::Time;
use std::time::Duration;

impl Shell {
    pub(crate) async fn cancel(
        &self,
        grant: GrantId,
        principal: Principal,
    ) -> Result<Cancelled, ReleaseError> {
        let written = self.enter(|state, now, outbox| {
            state.check_room()?;
            let cancelled = state.step(now, outbox, |core, now, effects| {
                core.cancel(grant, &principal, now, effects)
            });
            Ok::<_, ReleaseError>(state.settle(cancelled, outbox))
        })?;
        written.settled().await?
    }

    pub(crate) async fn renew(
        &self,
        grant: GrantId,
        principal: Principal,
        lease: Option<Duration>,
    ) -> Result<Grant, RenewError> {
        let step = |core: &mut Core, now, effects: &mut _| {
            core.renew(grant, &principal, lease, now, effects)
        };
        self.of_grant(grant, &principal, step).settled().await?
    }

    pub(crate) async fn release(
        &self,
        grant: GrantId,
        principal: Principal,
    ) -> Result<Released, ReleaseError> {
        let step =
            |core: &mut Core, now, effects: &mut _| core.release(grant, &principal, now, effects);
        self.of_grant(grant, &principal, step).settled().await?
    }

    pub(crate) async fn force_release(
        &self,
        name: LockName,
        by: Principal,
        permission: Permission,
        reason: String,
    ) -> Result<Vec<Taken>, ForceError> {
        let written =
            self.outside(|core, now, effects| core.force_release(&name, &permission, now, effects));
        if let Ok(taken) = &written.0 {
            log_taken(taken, &name, &by, &reason);
        }
        written.settled().await?
    }

    pub(crate) async fn lock(&self, name: LockName) -> Result<Lock, StoreError> {
        let look = |core: &mut Core, now, effects: &mut _| core.look(&name, now, effects);
        self.looking(look).settled().await
    }

    pub(crate) fn end(&self, transaction: TransactionId) {
        self.step(|core, now, effects| core.end(transaction, now, effects));
    }

    pub(crate) fn settled(&self, transaction: TransactionId) {
        self.step(|core, now, effects| core.settled(transaction, now, effects));
    }

    pub(crate) fn unsettled(&self, transaction: TransactionId) {
        self.step(|core, now, effects| core.unsettled(transaction, now, effects));
    }

    pub(crate) fn statistics(&self) -> Statistics {
        Statistics {
            watchers: self.ring.watchers() as u64,
            ..self.state().core.statistics()
        }
    }

    /// Does one step for a caller outside, whose answer waits until all that
    /// has happened is on the disk.
    pub(super) fn outside<R>(
        &self,
        step: impl FnOnce(&mut Core, Time, &mut Vec<Effect>) -> R,
    ) -> Written<R> {
        self.enter(|state, now, outbox| {
            let answer = state.step(now, outbox, step);
            state.settle(answer, outbox)
        })
    }

    /// Does one step for a caller outside who only looks: as [`Shell::outside`],
    /// but while the disk fails it answers what there is, so that people can
    /// see what is going on.
    pub(super) fn looking<R>(
        &self,
        step: impl FnOnce(&mut Core, Time, &mut Vec<Effect>) -> R,
    ) -> Written<R> {
        self.enter(|state, now, outbox| {
            let answer = state.step(now, outbox, step);
            if state.journal.as_ref().is_some_and(Journal::is_failing) {
                return Written(answer, None);
            }
            state.settle(answer, outbox)
        })
    }

    /// Does one step with a grant. The node itself asks for its transactions,
    /// whose grants nobody writes down: it waits only if this one is.
    fn of_grant<R>(
        &self,
        grant: GrantId,
        principal: &Principal,
        step: impl FnOnce(&mut Core, Time, &mut Vec<Effect>) -> R,
    ) -> Written<R> {
        if *principal != Principal::node() {
            return self.outside(step);
        }
        self.enter(|state, now, outbox| {
            let mut is_written = false;
            let answer = state.step(now, outbox, |core, now, effects| {
                let answer = step(core, now, effects);
                is_written = effects.iter().any(|it| is_about(it, grant));
                answer
            });
            if is_written {
                state.settle(answer, outbox)
            } else {
                Written(answer, None)
            }
        })
    }
}

/// Says in the log what an operator has taken away.
pub(crate) fn log_taken(taken: &[Taken], lock: &LockName, by: &Principal, reason: &str) {
    for Taken { token, party, .. } in taken {
        let (holder, label) = (&party.principal, &party.label);
        tracing::warn!(%lock, token, %holder, %label, %by, reason, "lock taken away");
    }
}
