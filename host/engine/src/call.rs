//! One call of a handler: driven up to its head, and then to its end.
//!
//! ```text
//!   new ----> poll_head ----> Head ----> (own task) ----> end
//!                   \                                      ^
//!                    `----------> Ended -------------------'
//! ```
//!
//! The call runs wherever it is polled: on the request's own task until the
//! head is set, which for most handlers is also their end, and on a task of
//! its own from then on. The deadline and the net for panics go with it.

use crate::component::{Component, Context};
use crate::failure::Failure;
use crate::head::Set;
use crate::instance::Instance;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

/// What a handler is called with.
pub(crate) struct Incoming {
    pub(crate) request: http::Request<crate::Body>,
    pub(crate) context: Context,
}

/// An instance at work, with what it has to give back afterwards. Dropping it
/// discards the instance.
pub(crate) struct Working {
    pub(crate) component: Arc<Component>,
    pub(crate) instance: Box<Instance>,
    /// Dropped after the instance is back in its pool, so that whoever waits
    /// for the permit finds it there.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

impl Working {
    /// Ends the request and gives the instance back, if it may be used again.
    pub(crate) fn give_back(self) {
        let Self {
            component,
            mut instance,
            permit,
        } = self;
        if instance.settle() {
            component.keep(instance);
        } else {
            drop(instance);
        }
        drop(permit);
    }
}

/// A call that is under way. Dropping it ends the handler and discards the
/// instance.
pub(crate) struct Call {
    limited: Limited<Working>,
    head: Arc<crate::head::Head>,
}

/// How far a call is, once its head is set or it has ended.
pub(crate) enum Progress {
    /// The handler set this and goes on.
    Head(Set),
    /// The handler returned; it may have set something.
    Ended(Working, Option<Set>),
}

impl Call {
    /// Prepares the call; nothing runs until it is polled.
    pub(crate) fn new(mut working: Working, incoming: Incoming) -> Self {
        let deadline = incoming.context.deadline;
        let head = working.instance.head().clone();
        let run = async move {
            working.instance.handle(incoming).await?;
            Ok(working)
        };
        Self {
            limited: Limited::new(deadline, run),
            head,
        }
    }

    /// Runs the handler until it has set its head, or has ended.
    pub(crate) fn poll_head(&mut self, task: &mut Task<'_>) -> Poll<Result<Progress, Failure>> {
        match self.limited.poll_unpin(task) {
            Poll::Ready(Ok(working)) => Poll::Ready(Ok(Progress::Ended(working, self.head.take()))),
            Poll::Ready(Err(failure)) => Poll::Ready(Err(failure)),
            Poll::Pending => match self.head.take() {
                Some(set) => Poll::Ready(self.once_more(set, task)),
                None => Poll::Pending,
            },
        }
    }

    /// Looks again once the head is set: a handler that only made room for
    /// others, at a tick of the engine's clock, may be done now, which spares
    /// it a task of its own.
    fn once_more(&mut self, set: Set, task: &mut Task<'_>) -> Result<Progress, Failure> {
        match self.limited.poll_unpin(task) {
            Poll::Ready(Ok(working)) => Ok(Progress::Ended(working, Some(set))),
            Poll::Ready(Err(failure)) => Err(failure),
            Poll::Pending => Ok(Progress::Head(set)),
        }
    }

    /// Runs the handler to its end.
    pub(crate) async fn end(self) -> Result<(), Failure> {
        self.limited.await.map(Working::give_back)
    }
}

/// A piece of work that ends with its deadline, and whose panics are failures.
pub(crate) struct Limited<T> {
    run: BoxFuture<'static, Result<Result<T, Failure>, Box<dyn std::any::Any + Send>>>,
    deadline: Instant,
    /// Made when the work has to wait for the first time: most never does, and
    /// timers are not free.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T> Limited<T> {
    pub(crate) fn new(
        deadline: Instant,
        run: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Self {
        Self {
            run: Box::pin(AssertUnwindSafe(run).catch_unwind()),
            deadline,
            timer: None,
        }
    }
}

impl<T> Future for Limited<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(outcome) = this.run.poll_unpin(task) {
            return Poll::Ready(outcome.unwrap_or_else(|payload| {
                let failure = Failure::of_panic(&*payload);
                tracing::error!(%failure, "a request panicked in the host");
                Err(failure)
            }));
        }
        // Asked for here too: a guest that spins yields at each tick, and must
        // not outlive its deadline because the timers are late.
        if Instant::now() < this.deadline {
            let timer = this
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(this.deadline.into())));
            ready!(timer.as_mut().poll(task));
        }
        Poll::Ready(Err(Failure::Deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn in_30_s() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_of_its_request() {
        let outcome = Limited::<()>::new(in_30_s(), async { panic!("boom") }).await;
        assert_eq!(outcome, Err(Failure::Host("it panicked: boom".to_owned())));
    }

    #[tokio::test]
    async fn work_that_waits_or_spins_ends_with_its_deadline() {
        let soon = || Instant::now() + Duration::from_millis(5);
        let waits = Limited::<()>::new(soon(), std::future::pending());
        assert_eq!(waits.await, Err(Failure::Deadline));
        let spins = Limited::<()>::new(soon(), async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(spins.await, Err(Failure::Deadline));
    }

    #[tokio::test]
    async fn work_that_is_done_when_asked_is_done_whatever_the_time() {
        let past = Instant::now();
        assert_eq!(Limited::new(past, async { Ok(7) }).await, Ok(7));
    }
}
