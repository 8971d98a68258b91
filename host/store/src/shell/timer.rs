//! What lets time pass when nobody else does.

use super::Shell;
use crate::time::Time;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

/// A thread that sleeps until the next deadline. A thread and not a task,
/// because a runtime that is busy with guests must not delay a hand-over, and a
/// store should work without one. Dropping it ends it.
pub(crate) struct Timer {
    shell: Arc<Shell>,
    thread: Option<JoinHandle<()>>,
}

impl Timer {
    /// Starts the timer of `shell`; a clock that is moved by hand is one
    /// already.
    pub(crate) fn start(shell: &Arc<Shell>) -> std::io::Result<Self> {
        let thread = match shell.clock.as_manual() {
            Some(clock) => {
                let shell = Arc::downgrade(shell);
                clock.listen(move || Weak::upgrade(&shell).iter().for_each(|it| it.tick()));
                None
            }
            None => {
                let shell = shell.clone();
                let builder = std::thread::Builder::new().name("lockport-timer".to_owned());
                Some(builder.spawn(move || run_timer(&shell))?)
            }
        };
        Ok(Self {
            shell: shell.clone(),
            thread,
        })
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.shell.state().closed = true;
        self.shell.deadline_moved.notify_one();
        self.shell.ring.close();
        if let Some(thread) = self.thread.take() {
            // A timer that panicked has said so itself.
            drop(thread.join());
        }
    }
}

fn run_timer(shell: &Shell) {
    let mut state = shell.state();
    while !state.closed {
        let now = shell.clock.now();
        // A search for deadlocks that is not finished is due at once.
        let next = state.next_deadline();
        if next.is_some_and(|it| it <= now) {
            drop(state);
            shell.tick();
            state = shell.state();
            continue;
        }
        let next = next.unwrap_or(Time::from_micros(u64::MAX));
        state.timer_sleeps_until = next;
        let woken = shell.deadline_moved.wait_timeout(state, next.since(now));
        state = woken.expect("nothing panics while it holds the lock").0;
        state.timer_sleeps_until = Time::default();
    }
}
