//! Orders and what may happen to them. No input or output.
//!
//! ```text
//!            update*             delete
//! created ------------> updated --------> deleted
//!    \______________________________________^
//! ```

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use shop::{Failure, Money, Timestamp};
use uuid::Uuid;

/// An order, as it is stored and as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) item_id: Uuid,
    pub(crate) invoice_id: Uuid,
    pub(crate) quantity: NonZeroU32,
    pub(crate) value: Money,
    pub(crate) status: Status,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deleted_at: Option<Timestamp>,
}

/// Where an order is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Created,
    Updated,
    Deleted,
}

/// What a client sends to create an order.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NewOrder {
    pub(crate) user_id: Uuid,
    pub(crate) item_id: Uuid,
    pub(crate) quantity: NonZeroU32,
    pub(crate) value: Money,
}

/// What a client sends to change an order. What is absent stays as it is.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Update {
    pub(crate) update_time: Timestamp,
    pub(crate) quantity: Option<NonZeroU32>,
    pub(crate) value: Option<Money>,
}

/// Why an order cannot become what a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The order is deleted.
    #[error("the order is deleted")]
    Cancelled,

    /// The order has seen a later update.
    #[error("`update_time` is before the order's last update")]
    Outdated,

    /// Quantity times value is more than money can be.
    #[error("`quantity` times `value` must be at most {}", Money::MAX)]
    TotalTooLarge,
}

// === impl Order ===

impl Order {
    /// What the order costs.
    pub(crate) fn total(&self) -> Result<Money, Refusal> {
        self.value
            .times(self.quantity)
            .ok_or(Refusal::TotalTooLarge)
    }

    /// Whether it is deleted, which is for ever.
    pub(crate) fn is_deleted(&self) -> bool {
        self.status == Status::Deleted
    }

    /// Applies an update.
    pub(crate) fn update(&mut self, update: &Update) -> Result<(), Refusal> {
        if self.is_deleted() {
            return Err(Refusal::Cancelled);
        }
        if update.update_time < self.updated_at {
            return Err(Refusal::Outdated);
        }
        self.quantity = update.quantity.unwrap_or(self.quantity);
        self.value = update.value.unwrap_or(self.value);
        self.status = Status::Updated;
        self.updated_at = update.update_time;
        Ok(())
    }

    /// Marks it as deleted.
    pub(crate) fn delete(&mut self, now: Timestamp) {
        self.status = Status::Deleted;
        self.deleted_at = Some(now);
        // A client may have dated its update ahead of our clock.
        self.updated_at = self.updated_at.max(now);
    }
}

// === impl NewOrder ===

impl NewOrder {
    /// What the order will cost.
    pub(crate) fn total(&self) -> Result<Money, Refusal> {
        self.value
            .times(self.quantity)
            .ok_or(Refusal::TotalTooLarge)
    }

    /// The order itself.
    pub(crate) fn order(self, id: Uuid, invoice_id: Uuid, now: Timestamp) -> Order {
        Order {
            id,
            user_id: self.user_id,
            item_id: self.item_id,
            invoice_id,
            quantity: self.quantity,
            value: self.value,
            status: Status::Created,
            created_at: now,
            updated_at: now,
            deleted_at: None,
        }
    }
}

// === impl Update ===

impl Update {
    /// Whether the invoice has to follow.
    pub(crate) fn changes_total(&self) -> bool {
        self.quantity.is_some() || self.value.is_some()
    }
}

// === impl Refusal ===

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::Cancelled => Self::new(422, "order_cancelled", message),
            Refusal::Outdated => Self::new(409, "event_outdated", message),
            Refusal::TotalTooLarge => Self::invalid(message),
        }
    }
}
