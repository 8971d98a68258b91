//! Where an instance puts the head of its response.
//!
//! One [`Head`] lives as long as its instance. The handler sets it from inside
//! its call, on the same task that drives the call, so whoever drives looks
//! here after each poll and needs no channel.

use http::Response;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// What a handler set: a response, or an error in its place.
pub(crate) type Set = Result<Response<HyperOutgoingBody>, ErrorCode>;

/// The place for one response at a time.
#[derive(Default)]
pub(crate) struct Head {
    set: AtomicBool,
    value: Mutex<Option<Set>>,
    changed: Notify,
}

impl Head {
    /// Forgets what an earlier request left.
    pub(crate) fn reset(&self) {
        self.set.store(false, Ordering::Release);
        *self.lock() = None;
    }

    /// Takes what the handler set. Ends every [`Head::is_set`].
    pub(crate) fn put(&self, value: Set) {
        *self.lock() = Some(value);
        self.set.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Hands out what was set, once.
    pub(crate) fn take(&self) -> Option<Set> {
        if !self.set.load(Ordering::Acquire) {
            return None;
        }
        self.lock().take()
    }

    /// Waits until the handler has set its response.
    pub(crate) async fn is_set(&self) {
        let changed = self.changed.notified();
        // Asked after the waiter is made, or a `put` in between were missed.
        if !self.set.load(Ordering::Acquire) {
            changed.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Set>> {
        // A panic elsewhere leaves the value whole: it is only ever replaced.
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn what_is_set_is_handed_out_once_and_ends_every_wait() {
        let head = Head::default();
        let waiting = head.is_set();
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(head.take().is_none());

        head.put(Err(ErrorCode::LoopDetected));
        assert!(waiting.now_or_never().is_some());
        assert!(head.is_set().now_or_never().is_some());
        assert!(matches!(head.take(), Some(Err(ErrorCode::LoopDetected))));
        assert!(head.take().is_none());

        head.reset();
        assert!(head.is_set().now_or_never().is_none());
    }
}
