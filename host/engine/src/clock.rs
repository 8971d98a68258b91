//! The engine's clock: one thread that makes running guests yield.
//!
//! Guests are interrupted by epochs: compiled code looks at a counter now and
//! then, and once the counter has passed the store's deadline, the guest
//! yields to the other tasks of its thread. So a guest that spins delays
//! nobody for longer than a tick or two, and whoever drives it can look at the
//! clock and give up. The same thread reclaims instances that have long been
//! idle.

use crate::engine::Inner;
use std::sync::Weak;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often running guests yield.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// How many ticks an idle instance is kept at least: 10 s. It is kept at most
/// twice as long.
const SWEEP_TICKS: u32 = 1_000;

/// What keeps the clock running: it stops when this is dropped.
pub(crate) struct Clock {
    _stop: Sender<Never>,
}

/// Nothing is ever sent to the clock; it only notices that nobody could.
enum Never {}

/// The other end of a [`Clock`], for its thread.
pub(crate) struct Ticks(Receiver<Never>);

/// A clock, and what its thread needs.
pub(crate) fn new() -> (Clock, Ticks) {
    let (stop, ticks) = mpsc::channel();
    (Clock { _stop: stop }, Ticks(ticks))
}

impl Ticks {
    /// Starts the thread that ticks for `engine`.
    pub(crate) fn start(self, engine: Weak<Inner>) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name("lockport-epoch".to_owned())
            .spawn(move || self.run(&engine))
    }

    fn run(&self, engine: &Weak<Inner>) {
        let mut ticks = 0;
        while let Err(RecvTimeoutError::Timeout) = self.0.recv_timeout(TICK) {
            let Some(engine) = engine.upgrade() else {
                return;
            };
            engine.wasmtime.increment_epoch();
            ticks += 1;
            if ticks == SWEEP_TICKS {
                ticks = 0;
                engine.sweep();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, Options};
    use std::sync::Arc;

    #[test]
    fn the_clock_stops_when_it_is_dropped() {
        let options = Options {
            instances: 1,
            ..Options::default()
        };
        let engine = Engine::new(options).unwrap();
        let (clock, ticks) = new();
        let thread = ticks.start(Arc::downgrade(engine.inner())).unwrap();
        drop(clock);
        // Hangs if it goes on: the engine is still there.
        thread.join().unwrap();
        // And the engine's own clock does not keep it alive.
        let inner = Arc::downgrade(engine.inner());
        drop(engine);
        while inner.strong_count() > 0 {
            std::thread::yield_now();
        }
    }
}
