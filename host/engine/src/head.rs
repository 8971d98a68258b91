//! Where an instance puts the head of its response.
//!
//! One [`Head`] lives as long as its instance. The handler sets it from inside
//! its call, on the same task that drives the call, so whoever drives looks
//! here after each poll and needs no channel. Requests are numbered, so that
//! what is left of one cannot answer the next.

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
    current: Mutex<Current>,
    changed: Notify,
}

/// The request of the moment, and what was set for it.
#[derive(Default)]
struct Current {
    number: Number,
    value: Option<Set>,
}

/// Tells the requests of an instance apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Number(u64);

impl Head {
    /// Begins the next request and forgets what an earlier one left.
    pub(crate) fn begin(&self) -> Number {
        let mut current = self.lock();
        self.set.store(false, Ordering::Release);
        current.number.0 += 1;
        current.value = None;
        current.number
    }

    /// Takes what the handler of request `number` set, if that is still the
    /// request of the moment. Ends every [`Head::is_set`].
    pub(crate) fn put(&self, number: Number, value: Set) {
        let mut current = self.lock();
        if current.number != number {
            return;
        }
        current.value = Some(value);
        self.set.store(true, Ordering::Release);
        drop(current);
        self.changed.notify_waiters();
    }

    /// Hands out what was set, once.
    pub(crate) fn take(&self) -> Option<Set> {
        if !self.set.load(Ordering::Acquire) {
            return None;
        }
        self.lock().value.take()
    }

    /// Waits until the handler has set its response.
    pub(crate) async fn is_set(&self) {
        let changed = self.changed.notified();
        // Asked after the waiter is made, or a `put` in between were missed.
        if !self.set.load(Ordering::Acquire) {
            changed.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        // A panic elsewhere leaves it whole: its parts are only ever replaced.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn what_is_set_is_handed_out_once_and_ends_every_wait() {
        let head = Head::default();
        let number = head.begin();
        let waiting = head.is_set();
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(head.take().is_none());

        head.put(number, Err(ErrorCode::LoopDetected));
        assert!(waiting.now_or_never().is_some());
        assert!(head.is_set().now_or_never().is_some());
        assert!(matches!(head.take(), Some(Err(ErrorCode::LoopDetected))));
        assert!(head.take().is_none());

        head.begin();
        assert!(head.is_set().now_or_never().is_none());
    }

    #[test]
    fn what_is_set_for_an_earlier_request_is_not_handed_out_in_the_next() {
        let head = Head::default();
        let earlier = head.begin();
        let number = head.begin();
        head.put(earlier, Err(ErrorCode::LoopDetected));
        assert!(head.is_set().now_or_never().is_none());
        assert!(head.take().is_none());
        head.put(number, Err(ErrorCode::ConfigurationError));
        assert!(matches!(
            head.take(),
            Some(Err(ErrorCode::ConfigurationError))
        ));
    }
}
