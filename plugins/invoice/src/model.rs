//! Invoices and what may happen to them. No input or output.

use serde::{Deserialize, Serialize};
use shop::{Money, Timestamp};
use uuid::Uuid;

/// An invoice, as it is stored and as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Invoice {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) total: Money,
    pub(crate) status: Status,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deleted_at: Option<Timestamp>,
}

/// Where an invoice is in its life: created, updated any number of times,
/// deleted for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Created,
    Updated,
    Deleted,
}

/// What a caller sends to create an invoice.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NewInvoice {
    pub(crate) user_id: Uuid,
    pub(crate) total: Money,
}

/// What a caller sends to change an invoice.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Update {
    pub(crate) total: Money,
}

// === impl Invoice ===

impl Invoice {
    /// Whether it is deleted, which is for ever.
    pub(crate) fn is_deleted(&self) -> bool {
        self.status == Status::Deleted
    }

    /// Sets what it asks for. Not for a deleted one.
    pub(crate) fn update(&mut self, update: &Update, now: Timestamp) {
        self.total = update.total;
        self.status = Status::Updated;
        self.updated_at = now;
    }

    /// Marks it as deleted.
    pub(crate) fn delete(&mut self, now: Timestamp) {
        self.status = Status::Deleted;
        self.updated_at = now;
        self.deleted_at = Some(now);
    }
}

// === impl NewInvoice ===

impl NewInvoice {
    /// The invoice itself.
    pub(crate) fn invoice(self, id: Uuid, now: Timestamp) -> Invoice {
        Invoice {
            id,
            user_id: self.user_id,
            total: self.total,
            status: Status::Created,
            created_at: now,
            updated_at: now,
            deleted_at: None,
        }
    }
}
