//! The transaction of a request, or of a call that opts out, until it ends.

use super::commit::HeldBody;
use super::rescue::Refusal;
use crate::metrics::{TransactionMetrics, TransactionOutcome};
use http::response;
use lockport_store::Transaction;
use lockport_store::store::CommitError;
use std::sync::Arc;

/// Ends a transaction when it is dropped, which gives back what it holds, and
/// counts how it ended. A transaction that was committed is not touched.
pub struct Ending<'g> {
    /// The transaction.
    pub transaction: Arc<Transaction>,
    outcome: TransactionOutcome,
    metrics: &'g TransactionMetrics,
}

impl<'g> Ending<'g> {
    /// Of a transaction that has begun.
    pub fn of(transaction: Arc<Transaction>, metrics: &'g TransactionMetrics) -> Self {
        Self {
            transaction,
            outcome: TransactionOutcome::Discarded,
            metrics,
        }
    }

    /// Takes note of what was decided, to be counted.
    pub fn note(&mut self, decided: &Result<(response::Parts, HeldBody), Refusal>) {
        self.outcome = match decided {
            Ok((head, _)) if head.status.as_u16() < 400 || self.transaction.kept() => {
                TransactionOutcome::Committed
            }
            Err(Refusal::Commit(error)) => match error {
                CommitError::Conflict { .. } => TransactionOutcome::Conflict,
                CommitError::Unguarded { .. } => TransactionOutcome::Unguarded,
                CommitError::Fenced { .. } => TransactionOutcome::Fenced,
                CommitError::Aborted | CommitError::TooOld | CommitError::Store(_) => {
                    TransactionOutcome::Failed
                }
            },
            _ => TransactionOutcome::Discarded,
        };
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.transaction.abort();
        self.metrics.ended(self.outcome);
    }
}
