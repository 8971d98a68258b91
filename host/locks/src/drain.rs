//! The end of a node, as those who wait see it.

use crate::failure::Failure;
use std::future::Future;
use tokio::sync::watch;

/// Whether the node is about to end.
pub(crate) struct Drain(watch::Sender<bool>);

impl Drain {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// The node is about to end, from now on.
    pub(crate) fn begin(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Refuses what is not to be begun any more.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.has_begun() {
            true => Err(Failure::draining()),
            false => Ok(()),
        }
    }

    /// Ends when the node is about to.
    pub(crate) fn begun(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut receiver = self.0.subscribe();
        // An error means that the API itself is gone.
        async move { drop(receiver.wait_for(|begun| *begun).await) }
    }

    /// Waits for `answer`, but not beyond the end of the node.
    pub(crate) async fn unless<F: Future>(&self, answer: F) -> Result<F::Output, Failure> {
        tokio::select! {
            biased;
            answer = answer => Ok(answer),
            () = self.begun() => Err(Failure::draining()),
        }
    }
}
