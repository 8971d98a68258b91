//! The end of a node, as those who hold, wait and watch see it.
//!
//! ```text
//!   Serving --begin--> Draining --end--> Ending
//! ```
//!
//! While a node drains, its components still answer requests, and whoever holds
//! a lock may need it until it has heard its answer. So what is held goes on to
//! be held; only what could go on for longer than the node does is refused.

use crate::failure::Failure;
use std::future::Future;
use tokio::sync::watch;

/// How far the node is on its way to its end.
pub(crate) struct Drain(watch::Sender<Stage>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// No new session and no wait.
    Draining,
    /// No stream, and nothing new at all.
    Ending,
}

impl Drain {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Stage::Serving))
    }

    /// The node is about to end, from now on.
    pub(crate) fn begin(&self) {
        self.advance(Stage::Draining);
    }

    /// The node ends, from now on.
    pub(crate) fn end(&self) {
        self.advance(Stage::Ending);
    }

    fn advance(&self, stage: Stage) {
        self.0.send_if_modified(|now| {
            let later = stage > *now;
            *now = stage.max(*now);
            later
        });
    }

    pub(crate) fn has_begun(&self) -> bool {
        *self.0.borrow() >= Stage::Draining
    }

    /// Refuses what is to outlast the node.
    pub(crate) fn check_lasting(&self) -> Result<(), Failure> {
        self.check(Stage::Draining)
    }

    /// Refuses what is not even begun while the node ends.
    pub(crate) fn check_brief(&self) -> Result<(), Failure> {
        self.check(Stage::Ending)
    }

    fn check(&self, stage: Stage) -> Result<(), Failure> {
        match *self.0.borrow() >= stage {
            true => Err(Failure::draining()),
            false => Ok(()),
        }
    }

    /// Resolves when the node is about to end.
    pub(crate) fn begun(&self) -> impl Future<Output = ()> + Send + use<> {
        self.reached(Stage::Draining)
    }

    /// Resolves when the node ends.
    pub(crate) fn ending(&self) -> impl Future<Output = ()> + Send + use<> {
        self.reached(Stage::Ending)
    }

    fn reached(&self, stage: Stage) -> impl Future<Output = ()> + Send + use<> {
        let mut receiver = self.0.subscribe();
        // An error means that the API itself is gone.
        async move { drop(receiver.wait_for(|now| *now >= stage).await) }
    }

    /// Waits for `answer`, but not while the node drains.
    pub(crate) async fn unless_begun<F: Future>(&self, answer: F) -> Result<F::Output, Failure> {
        tokio::select! {
            biased;
            answer = answer => Ok(answer),
            () = self.begun() => Err(Failure::draining()),
        }
    }

    /// Waits for `answer`, but not while the node ends: that is looked for
    /// first, for there may always be an answer.
    pub(crate) async fn unless_ending<F: Future>(&self, answer: F) -> Result<F::Output, Failure> {
        tokio::select! {
            biased;
            () = self.ending() => Err(Failure::draining()),
            answer = answer => Ok(answer),
        }
    }
}
