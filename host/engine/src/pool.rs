//! The warm instances of one component.

use crate::instance::Instance;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Instances that wait for a request. The one used last is used next, so that
/// those that are not needed stay at the bottom until they are swept out.
pub(crate) struct Pool<T = Box<Instance>> {
    idle: Mutex<Idle<T>>,
}

struct Idle<T> {
    instances: Vec<T>,
    /// The fewest that were idle at any time since the last sweep: so many, at
    /// the bottom, have not been used since.
    unused: usize,
}

impl<T> Pool<T> {
    /// An idle instance, if there is one.
    pub(crate) fn take(&self) -> Option<T> {
        let mut idle = self.lock();
        let instance = idle.instances.pop();
        idle.unused = idle.unused.min(idle.instances.len());
        instance
    }

    /// Keeps an instance for the next request.
    pub(crate) fn put(&self, instance: T) {
        self.lock().instances.push(instance);
    }

    /// Drops the instances that were not used since the last sweep.
    pub(crate) fn sweep(&self) {
        let mut idle = self.lock();
        let unused = idle.unused;
        let old: Vec<_> = idle.instances.drain(..unused).collect();
        idle.unused = idle.instances.len();
        drop(idle);
        // Outside the lock: to drop an instance takes system calls.
        drop(old);
    }

    /// Drops the instance that was idle longest, for the sake of another
    /// component. `false` if none is idle.
    pub(crate) fn give_up_one(&self) -> bool {
        let mut idle = self.lock();
        if idle.instances.is_empty() {
            return false;
        }
        let instance = idle.instances.remove(0);
        idle.unused = idle.unused.saturating_sub(1);
        drop(idle);
        drop(instance);
        true
    }

    /// How many are idle.
    pub(crate) fn idle(&self) -> usize {
        self.lock().instances.len()
    }

    fn lock(&self) -> MutexGuard<'_, Idle<T>> {
        // The list is whole at every point where something could panic.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            idle: Mutex::new(Idle {
                instances: Vec::new(),
                unused: 0,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(instances: &[u32]) -> Pool<u32> {
        let pool = Pool::default();
        for instance in instances {
            pool.put(*instance);
        }
        pool
    }

    fn rest(pool: &Pool<u32>) -> Vec<u32> {
        std::iter::from_fn(|| pool.take()).collect()
    }

    #[test]
    fn the_instance_used_last_is_used_next() {
        assert_eq!(rest(&pool(&[1, 2, 3])), [3, 2, 1]);
    }

    #[test]
    fn an_instance_that_was_idle_from_one_sweep_to_the_next_is_dropped() {
        let pool = pool(&[1, 2, 3]);
        pool.sweep();
        let busy = pool.take().unwrap();
        pool.put(busy);
        pool.sweep();
        assert_eq!(rest(&pool), [3]);
    }

    #[test]
    fn an_instance_that_just_became_idle_survives_a_sweep() {
        let pool = pool(&[1]);
        pool.sweep();
        assert_eq!(rest(&pool), [1]);
    }

    #[test]
    fn the_one_idle_longest_is_given_up_first() {
        let pool = pool(&[1, 2]);
        assert!(pool.give_up_one());
        assert_eq!(rest(&pool), [2]);
        assert!(!pool.give_up_one());
    }
}
