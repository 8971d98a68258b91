//! The operations of a store that somebody else does: its shell.

/// The methods of [`Store`](crate::store::Store) about locks, each done by the
/// method of the same name of what stands behind the arrow.
macro_rules! lock_operations {
    ($this:ident => $other:expr) => {
        fn now(&$this) -> $crate::time::Time {
            $other.now()
        }

        fn statistics(&$this) -> $crate::statistics::Statistics {
            $other.statistics()
        }

        fn acquire(
            &$this,
            request: $crate::store::Acquire,
        ) -> $crate::store::Answer<
            '_,
            Result<$crate::store::Granted, $crate::store::AcquireError>,
        > {
            Box::pin($other.acquire(request))
        }

        fn cancel(
            &$this,
            grant: $crate::id::GrantId,
            principal: $crate::store::Principal,
        ) -> $crate::store::Answer<
            '_,
            Result<$crate::store::Cancelled, $crate::store::ReleaseError>,
        > {
            Box::pin($other.cancel(grant, principal))
        }

        fn renew(
            &$this,
            grant: $crate::id::GrantId,
            principal: $crate::store::Principal,
            lease: Option<std::time::Duration>,
        ) -> $crate::store::Answer<'_, Result<$crate::store::Grant, $crate::store::RenewError>> {
            Box::pin($other.renew(grant, principal, lease))
        }

        fn release(
            &$this,
            grant: $crate::id::GrantId,
            principal: $crate::store::Principal,
        ) -> $crate::store::Answer<
            '_,
            Result<$crate::store::Released, $crate::store::ReleaseError>,
        > {
            Box::pin($other.release(grant, principal))
        }

        fn force_release(
            &$this,
            name: $crate::name::LockName,
            by: $crate::store::Principal,
            permission: $crate::pattern::Permission,
            reason: String,
        ) -> $crate::store::Answer<
            '_,
            Result<Vec<$crate::store::Taken>, $crate::store::ForceError>,
        > {
            Box::pin($other.force_release(name, by, permission, reason))
        }

        fn lock(
            &$this,
            name: $crate::name::LockName,
        ) -> $crate::store::Answer<'_, Result<$crate::store::Lock, $crate::store::StoreError>> {
            Box::pin($other.lock(name))
        }

        fn locks(
            &$this,
            query: $crate::store::LockQuery,
        ) -> $crate::store::Answer<'_, Result<$crate::store::LockPage, $crate::store::StoreError>> {
            Box::pin($other.locks(query))
        }

        fn watch(
            &$this,
            query: $crate::store::WatchQuery,
        ) -> $crate::store::Answer<'_, Result<$crate::store::Watch, $crate::store::WatchError>> {
            Box::pin($other.watch(query))
        }

        fn open_session(
            &$this,
            request: $crate::store::OpenSession,
        ) -> $crate::store::Answer<'_, Result<(), $crate::store::SessionError>> {
            Box::pin($other.open_session(request))
        }

        fn attach(
            &$this,
            session: $crate::id::SessionId,
            principal: $crate::store::Principal,
        ) -> $crate::store::Answer<
            '_,
            Result<$crate::store::Attached, $crate::store::SessionError>,
        > {
            Box::pin($other.attach(session, principal))
        }

        fn beat(
            &$this,
            session: $crate::id::SessionId,
            attachment: $crate::store::Attachment,
        ) -> Result<(), $crate::store::SessionError> {
            $other.beat(session, attachment)
        }

        fn detach(&$this, session: $crate::id::SessionId, attachment: $crate::store::Attachment) {
            $other.detach(session, attachment);
        }

        fn close_session(
            &$this,
            session: $crate::id::SessionId,
            principal: $crate::store::Principal,
        ) -> $crate::store::Answer<'_, Result<(), $crate::store::SessionError>> {
            Box::pin($other.close_session(session, principal))
        }

        fn end(&$this, transaction: $crate::id::TransactionId) {
            $other.end(transaction);
        }
    };
}

pub(crate) use lock_operations;
