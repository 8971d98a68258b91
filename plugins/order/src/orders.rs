//! The collections of the component: orders, and an index of them by user.

use lockport_guest::state::{Entry, Query};
use lockport_guest::{Collection, locks};
use serde::Serialize;
use shop::{Failure, Timestamp};
use uuid::Uuid;

use crate::model::Order;

/// How many orders are on a page.
pub(crate) const PAGE: u32 = 50;

/// By id. Guarded: an order changes only under the lock `order/{id}`.
const ORDERS: Collection<Order> = Collection::new("orders");

/// `{user_id}/{milliseconds}-{id}`, so that a user's orders are listed in the
/// order in which they were created. It needs no lock: an entry is written
/// once, with its order.
const BY_USER: Collection<()> = Collection::new("orders_by_user");

/// A page of a listing, as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    orders: Vec<Order>,
    /// What to send as `page_token` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// The order with this id, as the client wrote it.
pub(crate) fn find(id: &str) -> Result<Order, Failure> {
    let id: Uuid = id.parse().map_err(|_| Failure::not_found("order"))?;
    get(id)?.ok_or_else(|| Failure::not_found("order"))
}

/// Locks an order and its invoice for this transaction, and reads the order
/// again: it may have changed before it was locked.
pub(crate) fn lock(order: &Order) -> Result<Order, Failure> {
    let Order { id, invoice_id, .. } = order;
    // The guard belongs to the transaction; dropping it here releases nothing.
    let _guard = locks::acquire([format!("order/{id}"), format!("invoice/{invoice_id}")])?;
    get(*id)?.ok_or_else(|| Failure::not_found("order"))
}

/// Stages a new order.
pub(crate) fn insert(order: &Order) -> Result<(), Failure> {
    ORDERS.insert(&order.id.to_string(), order)?;
    let place = place(order.created_at, order.id);
    Ok(BY_USER.put(&format!("{}/{place}", order.user_id), &())?)
}

/// Stages a changed order.
pub(crate) fn put(order: &Order) -> Result<(), Failure> {
    Ok(ORDERS.put(&order.id.to_string(), order)?)
}

/// A page of all orders by id, or of a user's orders by age, oldest first.
pub(crate) fn page(user_id: Option<Uuid>, token: Option<&str>) -> Result<Page, Failure> {
    match user_id {
        Some(user_id) => page_of_user(user_id, token),
        None => page_of_all(token),
    }
}

fn page_of_all(token: Option<&str>) -> Result<Page, Failure> {
    let after = match token {
        Some(token) => Some(token.parse::<Uuid>().map_err(|_| bad_token())?.to_string()),
        None => None,
    };
    let query = Query {
        prefix: "",
        after: after.as_deref(),
        descending: false,
        limit: PAGE,
    };
    let page = ORDERS.list(query)?;
    let last = page.entries.last().filter(|_| page.more);
    let next_page_token = last.map(|entry| entry.key.clone());
    let orders = page.entries.into_iter().map(|entry| entry.value).collect();
    Ok(Page {
        orders,
        next_page_token,
    })
}

fn page_of_user(user_id: Uuid, token: Option<&str>) -> Result<Page, Failure> {
    let prefix = format!("{user_id}/");
    let after = match token {
        Some(token) if id_of(token).is_some() => Some(format!("{prefix}{token}")),
        Some(_) => return Err(bad_token()),
        None => None,
    };
    let query = Query {
        prefix: &prefix,
        after: after.as_deref(),
        descending: false,
        limit: PAGE,
    };
    let page = BY_USER.list(query)?;
    let place_of = |entry: &Entry<()>| entry.key.strip_prefix(&prefix).map(str::to_owned);
    let last = page.entries.last().filter(|_| page.more);
    let next_page_token = last.and_then(place_of);
    let mut orders = Vec::with_capacity(page.entries.len());
    for id in page
        .entries
        .iter()
        .filter_map(|entry| id_of(&place_of(entry)?))
    {
        orders.extend(get(id)?);
    }
    Ok(Page {
        orders,
        next_page_token,
    })
}

fn get(id: Uuid) -> Result<Option<Order>, Failure> {
    Ok(ORDERS.get(&id.to_string())?)
}

/// Where an order is among its user's.
fn place(created_at: Timestamp, id: Uuid) -> String {
    format!("{:015}-{id}", created_at.milliseconds())
}

/// The order that is in such a place.
fn id_of(place: &str) -> Option<Uuid> {
    let (milliseconds, id) = place.split_once('-')?;
    let well_formed =
        milliseconds.len() == 15 && milliseconds.bytes().all(|byte| byte.is_ascii_digit());
    if well_formed { id.parse().ok() } else { None }
}

fn bad_token() -> Failure {
    Failure::invalid("`page_token` is not one that this listing has given")
}
