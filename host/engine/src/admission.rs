//! How many requests a component serves at once, and how many may wait.

use crate::failure::Failure;
use crate::spec::Limits;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Whether a request may wait for an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Wait in the component's queue, first come first served, until the
    /// request's deadline.
    Queue,
    /// Take an idle instance or a fresh one, even beyond the component's own
    /// limit, or be refused if the node has none left: a joined call never
    /// waits for an instance that is itself waiting for its caller.
    AtOnce,
}

/// The door of one component.
pub(crate) struct Door {
    /// One permit per request that may be at work.
    work: Arc<Semaphore>,
    /// One permit per request that may wait.
    queue: Semaphore,
}

impl Door {
    pub(crate) fn new(limits: &Limits) -> Self {
        let permits = |count: usize| count.min(Semaphore::MAX_PERMITS);
        Self {
            work: Arc::new(Semaphore::new(permits(limits.instances))),
            queue: Semaphore::new(permits(limits.queue)),
        }
    }

    /// Lets a request in, for as long as it keeps the permit. There is none
    /// for a request that goes in beyond the limit. Dropping the future gives
    /// up its place.
    pub(crate) async fn enter(
        &self,
        admission: Admission,
        deadline: Instant,
    ) -> Result<Option<OwnedSemaphorePermit>, Failure> {
        if let Ok(permit) = self.work.clone().try_acquire_owned() {
            return Ok(Some(permit));
        }
        if admission == Admission::AtOnce {
            return Ok(None);
        }
        let Ok(_place) = self.queue.try_acquire() else {
            return Err(Failure::Overloaded);
        };
        let permit = self.work.clone().acquire_owned();
        match tokio::time::timeout_at(deadline.into(), permit).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            // The semaphore is never closed.
            Ok(Err(_)) => Err(Failure::Overloaded),
            Err(_) => Err(Failure::Deadline),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::time::Duration;

    fn door(instances: usize, queue: usize) -> Door {
        Door::new(&Limits {
            instances,
            queue,
            ..Limits::default()
        })
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[tokio::test]
    async fn a_full_component_queues_so_many_and_refuses_the_next() {
        let door = door(1, 1);
        let first = door.enter(Admission::Queue, far()).await.unwrap();
        let second = door.enter(Admission::Queue, far());
        tokio::pin!(second);
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(
            door.enter(Admission::Queue, far()).await.unwrap_err(),
            Failure::Overloaded
        );
        drop(first);
        assert!(second.await.is_ok());
    }

    #[tokio::test]
    async fn who_wants_an_instance_at_once_never_waits_and_takes_nobodys_place() {
        let door = door(1, 8);
        let first = door.enter(Admission::AtOnce, far()).await.unwrap();
        assert!(first.is_some());
        let beyond = door.enter(Admission::AtOnce, far()).await.unwrap();
        assert!(beyond.is_none());
        drop(beyond);
        let third = door.enter(Admission::Queue, far());
        tokio::pin!(third);
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        assert!(third.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn the_wait_ends_with_the_deadline_and_leaves_its_place() {
        let door = door(1, 1);
        let _first = door.enter(Admission::Queue, far()).await.unwrap();
        for _ in 0..2 {
            let soon = Instant::now() + Duration::from_millis(1);
            assert_eq!(
                door.enter(Admission::Queue, soon).await.unwrap_err(),
                Failure::Deadline
            );
        }
    }
}
