//! When to stop: a signal that tasks wait on.
//!
//! ```text
//!   Running --first signal--> Draining --second signal, or too slow--> Aborting
//! ```
//!
//! Draining means: take nothing new, finish what is under way. Aborting means:
//! drop everything; what is dropped gives back what it holds.

use tokio::sync::watch;

/// What the node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Running,
    /// It finishes what is under way.
    Draining,
    /// It drops what is under way.
    Aborting,
}

/// Moves the node on to its next phase. Dropping it aborts.
#[derive(Debug)]
pub struct Trigger(watch::Sender<Phase>);

/// Waits for a phase. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

/// A trigger, and what waits for it.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Moves on to `phase`. Phases never go back.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
    }
}

impl Shutdown {
    /// Waits until `phase` or a later one has come.
    pub async fn reached(&mut self, phase: Phase) {
        // An error says that the trigger is gone, which is the last phase.
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }

    /// What the node is doing now.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }
}

/// Turns SIGTERM and SIGINT into phases: the first drains, the second aborts.
/// Returns an error if the signals cannot be listened for; else runs on as a
/// task of its own until the trigger's last use.
pub fn on_signals(trigger: Trigger) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for phase in [Phase::Draining, Phase::Aborting] {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, ?phase, "told to stop");
            trigger.advance(phase);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn phases_come_in_order_and_never_go_back() {
        let (trigger, mut shutdown) = channel();
        assert!(shutdown.reached(Phase::Draining).now_or_never().is_none());
        trigger.advance(Phase::Aborting);
        trigger.advance(Phase::Draining);
        assert_eq!(shutdown.phase(), Phase::Aborting);
        shutdown.reached(Phase::Draining).await;
    }

    #[tokio::test]
    async fn a_trigger_that_is_gone_ends_every_wait() {
        let (trigger, mut shutdown) = channel();
        drop(trigger);
        shutdown.reached(Phase::Aborting).await;
    }
}
