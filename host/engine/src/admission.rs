//! How many requests a component serves at once, and how many may wait.

use crate::failure::Failure;
use crate::spec::Limits;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Whether a request may wait for an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Wait in the component's queue, first come first served, until the
    /// request's deadline: for its turn, and for the node to have an instance
    /// left.
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
    work_max: usize,
    queue_max: usize,
}

/// A request that was let in.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// Kept as long as it is at work. There is none for a request that went in
    /// beyond the limit.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
    /// Its place in the queue, if it had to wait.
    pub(crate) place: Option<Place<'a>>,
}

/// A place in a component's queue. Dropping it gives it up.
pub(crate) type Place<'a> = SemaphorePermit<'a>;

impl Door {
    pub(crate) fn new(limits: &Limits) -> Self {
        let permits = |count: usize| count.min(Semaphore::MAX_PERMITS);
        let (work_max, queue_max) = (permits(limits.instances), permits(limits.queue));
        Self {
            work: Arc::new(Semaphore::new(work_max)),
            queue: Semaphore::new(queue_max),
            work_max,
            queue_max,
        }
    }

    /// How many requests are at work, not counting those beyond the limit.
    pub(crate) fn at_work(&self) -> usize {
        self.work_max.saturating_sub(self.work.available_permits())
    }

    /// How many requests wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue_max
            .saturating_sub(self.queue.available_permits())
    }

    /// Lets a request in. Dropping the future gives up its place.
    pub(crate) async fn enter(
        &self,
        admission: Admission,
        deadline: Instant,
    ) -> Result<Entry<'_>, Failure> {
        if let Ok(permit) = self.work.clone().try_acquire_owned() {
            return Ok(Entry {
                permit: Some(permit),
                place: None,
            });
        }
        if admission == Admission::AtOnce {
            return Ok(Entry {
                permit: None,
                place: None,
            });
        }
        let place = self.place()?;
        let permit = acquire(&self.work, deadline).await?;
        Ok(Entry {
            permit: Some(permit),
            place: Some(place),
        })
    }

    /// A place in the queue, if one is left.
    pub(crate) fn place(&self) -> Result<Place<'_>, Failure> {
        self.queue.try_acquire().map_err(|_| Failure::Overloaded)
    }
}

/// Waits for a permit until the deadline.
pub(crate) async fn acquire(
    permits: &Arc<Semaphore>,
    deadline: Instant,
) -> Result<OwnedSemaphorePermit, Failure> {
    let permit = permits.clone().acquire_owned();
    match tokio::time::timeout_at(deadline.into(), permit).await {
        Ok(Ok(permit)) => Ok(permit),
        // These semaphores are never closed.
        Ok(Err(_)) => Err(Failure::Overloaded),
        Err(_) => Err(Failure::Deadline),
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
        assert!(first.permit.is_some());
        let beyond = door.enter(Admission::AtOnce, far()).await.unwrap();
        assert!(beyond.permit.is_none());
        drop(beyond);
        let third = door.enter(Admission::Queue, far());
        tokio::pin!(third);
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        assert!(third.await.unwrap().permit.is_some());
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
