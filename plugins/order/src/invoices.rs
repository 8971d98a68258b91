//! Calls to `invoice`, in the transaction of the order.

use lockport_guest::{call, describe, log};
use serde::{Deserialize, Serialize};
use shop::{Failure, Money};
use uuid::Uuid;

const INVOICE: &str = "invoice";

/// Creates an invoice; its id.
pub(crate) fn create(user_id: Uuid, total: Money) -> Result<Uuid, Failure> {
    #[derive(Serialize)]
    struct New {
        user_id: Uuid,
        total: Money,
    }

    #[derive(Deserialize)]
    struct Created {
        invoice_id: Uuid,
    }

    call::post(INVOICE, "/invoices", &New { user_id, total })
        .and_then(call::Answer::success)
        .and_then(|answer| answer.json::<Created>())
        .map(|created| created.invoice_id)
        .map_err(|error| failed("created", &error))
}

/// Sets what an invoice asks for. The caller holds its lock.
pub(crate) fn update(id: Uuid, total: Money) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Update {
        total: Money,
    }

    call::patch(INVOICE, &format!("/invoices/{id}"), &Update { total })
        .and_then(call::Answer::success)
        .map(drop)
        .map_err(|error| failed("updated", &error))
}

/// Deletes an invoice. The caller holds its lock.
pub(crate) fn delete(id: Uuid) -> Result<(), Failure> {
    call::delete(INVOICE, &format!("/invoices/{id}"))
        .and_then(call::Answer::success)
        .map(drop)
        .map_err(|error| failed("deleted", &error))
}

fn failed(done: &str, error: &call::Error) -> Failure {
    let message = format!("the invoice could not be {done}");
    log(&format!("{message}: {}", describe(error)));
    Failure::new(424, "invoice_failed", message)
}
