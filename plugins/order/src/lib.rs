//! order: the orders of the shop, each with its invoice.
//!
//! An order and its invoice change together: the handler locks both, calls
//! `invoice`, changes the order, and the host commits the two as one. See the
//! component's README for its contract.

mod invoices;
mod model;
mod orders;

use lockport_guest::{Method, Request, Response};
use model::{NewOrder, Update};
use serde::Serialize;
use shop::{Failure, Timestamp};
use uuid::Uuid;

lockport_guest::export!(handle);

fn handle(request: &Request) -> Result<Response, Failure> {
    match (request.method(), request.route().as_str()) {
        (Method::Post, "/orders") => create(request),
        (Method::Get, "/orders") => list(request),
        (Method::Get, "/orders/{id}") => show(request),
        (Method::Patch, "/orders/{id}") => update(request),
        (Method::Delete, "/orders/{id}") => delete(request),
        (Method::Get, "/ping") => ping(),
        _ => Err(Failure::not_found("route")),
    }
}

fn create(request: &Request) -> Result<Response, Failure> {
    #[derive(Serialize)]
    struct Created {
        id: Uuid,
    }

    let new: NewOrder = request.object()?;
    let invoice_id = invoices::create(new.user_id, new.total()?)?;
    let order = new.order(Uuid::new_v4(), invoice_id, Timestamp::now());
    orders::insert(&order)?;
    let location = format!("/orders/{}", order.id);
    Ok(Response::json(201, &Created { id: order.id })?.header("location", location))
}

fn list(request: &Request) -> Result<Response, Failure> {
    let user_id = match request.query("user_id") {
        Some(text) => Some(user_id(&text)?),
        None => None,
    };
    let page = orders::page(user_id, request.query("page_token").as_deref())?;
    Ok(Response::json(200, &page)?)
}

fn show(request: &Request) -> Result<Response, Failure> {
    Ok(Response::json(200, &orders::find(&request.param("id")?)?)?)
}

fn update(request: &Request) -> Result<Response, Failure> {
    let update: Update = request.object()?;
    let found = orders::find(&request.param("id")?)?;
    let mut order = orders::lock(&found)?;
    order.update(&update)?;
    if update.changes_total() {
        invoices::update(order.invoice_id, order.total()?)?;
    }
    orders::put(&order)?;
    Ok(Response::empty(204))
}

fn delete(request: &Request) -> Result<Response, Failure> {
    let found = orders::find(&request.param("id")?)?;
    // Deleted is for ever: there is nothing to lock or to change.
    if found.is_deleted() {
        return Ok(Response::empty(204));
    }
    let mut order = orders::lock(&found)?;
    if !order.is_deleted() {
        invoices::delete(order.invoice_id)?;
        order.delete(Timestamp::now());
        orders::put(&order)?;
    }
    Ok(Response::empty(204))
}

fn ping() -> Result<Response, Failure> {
    #[derive(Serialize)]
    struct Pong {
        message: &'static str,
    }

    Ok(Response::json(200, &Pong { message: "pong" })?)
}

fn user_id(text: &str) -> Result<Uuid, Failure> {
    text.parse()
        .map_err(|reason| Failure::invalid(format!("`user_id` is no UUID: {reason}")))
}

#[cfg(test)]
mod tests;
