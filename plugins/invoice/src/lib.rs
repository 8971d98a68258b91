//! invoice: the invoices of the shop.
//!
//! An invoice changes only under its lock, which its caller holds and lends by
//! calling. See the component's README for its contract.

mod model;

use lockport_guest::{Collection, Method, Request, Response, locks};
use model::{Invoice, NewInvoice, Update};
use serde::Serialize;
use shop::{Failure, Timestamp};
use uuid::Uuid;

/// By id. Guarded: an invoice changes only under the lock `invoice/{id}`.
const INVOICES: Collection<Invoice> = Collection::new("invoices");

lockport_guest::export!(handle);

fn handle(request: &Request) -> Result<Response, Failure> {
    match (request.method(), request.route().as_str()) {
        (Method::Post, "/invoices") => create(request),
        (Method::Get, "/invoices/{id}") => show(request),
        (Method::Patch, "/invoices/{id}") => update(request),
        (Method::Delete, "/invoices/{id}") => delete(request),
        _ => Err(Failure::not_found("route")),
    }
}

fn create(request: &Request) -> Result<Response, Failure> {
    #[derive(Serialize)]
    struct Created {
        invoice_id: Uuid,
    }

    let new: NewInvoice = request.object()?;
    let invoice = new.invoice(Uuid::new_v4(), Timestamp::now());
    INVOICES.insert(&invoice.id.to_string(), &invoice)?;
    let location = format!("/invoices/{}", invoice.id);
    Ok(Response::json(
        201,
        &Created {
            invoice_id: invoice.id,
        },
    )?
    .header("location", location))
}

fn show(request: &Request) -> Result<Response, Failure> {
    Ok(Response::json(200, &find(request)?)?)
}

fn update(request: &Request) -> Result<Response, Failure> {
    let update: Update = request.object()?;
    let mut invoice = find(request)?;
    if invoice.is_deleted() {
        return Err(Failure::new(
            422,
            "invoice_cancelled",
            "the invoice is deleted",
        ));
    }
    require_lock(&invoice)?;
    invoice.update(&update, Timestamp::now());
    INVOICES.put(&invoice.id.to_string(), &invoice)?;
    Ok(Response::empty(204))
}

fn delete(request: &Request) -> Result<Response, Failure> {
    let mut invoice = find(request)?;
    if invoice.is_deleted() {
        return Ok(Response::empty(204));
    }
    require_lock(&invoice)?;
    invoice.delete(Timestamp::now());
    INVOICES.put(&invoice.id.to_string(), &invoice)?;
    Ok(Response::empty(204))
}

fn find(request: &Request) -> Result<Invoice, Failure> {
    let id: Uuid = request
        .param("id")?
        .parse()
        .map_err(|_| Failure::not_found("invoice"))?;
    INVOICES
        .get(&id.to_string())?
        .ok_or_else(|| Failure::not_found("invoice"))
}

/// Says early, and in words, what the commit would refuse anyway.
fn require_lock(invoice: &Invoice) -> Result<(), Failure> {
    if locks::inherits(&format!("invoice/{}", invoice.id)) {
        return Ok(());
    }
    let message = "the caller does not hold the lock of the invoice";
    Err(Failure::new(409, "lock_required", message))
}

#[cfg(test)]
mod tests;
