//! The shop in the tests' words: orders, invoices, and the shape of their
//! errors.

use super::component_dir;
use super::http::Answer;
use super::node::{Node, Storage};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// The message of a 423 from the shop.
pub(crate) const RESOURCE_LOCKED: &str =
    "the resource you try to modify is currently blocked. Try again in a few moments";

/// An order that was created.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order {
    /// Its id.
    pub(crate) id: String,
}

/// A well-formed UUID of version 4, another one each time.
pub(crate) fn uuid() -> String {
    static LAST: AtomicU64 = AtomicU64::new(1);
    let low = LAST.fetch_add(1, Ordering::Relaxed);
    let process = u64::from(std::process::id());
    format!("{process:08x}-0000-4000-8000-{low:012x}")
}

/// The body of a `POST /orders`.
pub(crate) fn new_order(quantity: i64, value: impl Into<Value>) -> Value {
    json!({
        "user_id": uuid(),
        "item_id": uuid(),
        "quantity": quantity,
        "value": value.into(),
    })
}

/// A time that lies after the creation of every order: RFC 3339, one minute
/// later for each number.
pub(crate) fn at_minute(minute: u64) -> String {
    let (hours, minute) = (minute / 60, minute % 60);
    let (days, hour) = (hours / 24, hours % 24);
    let (months, day) = (days / 28, days % 28 + 1);
    let (year, month) = (2040 + months / 12, months % 12 + 1);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z")
}

/// Fails unless `answer` is an error of the shop with this status, in the one
/// shape that its errors have; gives its code.
#[track_caller]
pub(crate) fn assert_shop_error(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "the answer was: {}", answer.text());
    let body = answer.json();
    let body = body.as_object().expect("an error is an object");
    let names: Vec<&str> = body.keys().map(String::as_str).collect();
    assert_eq!(names, ["error", "message"]);
    let message = body["message"].as_str().expect("`message` is text");
    assert!(!message.is_empty());
    let code = body["error"].as_str().expect("`error` is text");
    assert!(
        !code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
        "`{code}` is not a code",
    );
    code.to_owned()
}

/// A node whose `invoice` does not take `method`: what is refused there is a
/// failed call to `order`.
pub(crate) fn shop_whose_invoice_refuses(method: &str, storage: Storage) -> Node {
    let refuse = |manifest: &mut toml::Table| {
        for route in manifest["http"].as_array_mut().expect("it has routes") {
            let route = route.as_table_mut().expect("a route is a table");
            let methods = ["GET", "POST", "PATCH", "DELETE"];
            let kept = methods.into_iter().filter(|other| *other != method);
            route.insert("methods".to_owned(), kept.collect::<Vec<_>>().into());
        }
    };
    Node::builder()
        .component("order")
        .changed(&component_dir("invoice"), refuse)
        .storage(storage)
        .start()
}

/// Fails unless it is a time in UTC, in RFC 3339.
#[track_caller]
pub(crate) fn assert_is_time(value: &Value) {
    let text = value.as_str().expect("it is text");
    assert!(
        text.len() >= 20 && text.ends_with('Z') && &text[10..11] == "T",
        "{text}"
    );
}

// === impl Order ===

impl Order {
    /// Where it is: `/orders/<id>`.
    pub(crate) fn path(&self) -> String {
        format!("/orders/{}", self.id)
    }

    /// The name of its lock.
    pub(crate) fn lock(&self) -> String {
        format!("order/{}", self.id)
    }
}

// === impl Node ===

impl Node {
    /// Creates an order of 2 at 12.5.
    #[track_caller]
    pub(crate) fn create_order(&self) -> Order {
        self.create_order_of(2, 12.5)
    }

    /// Creates an order.
    #[track_caller]
    pub(crate) fn create_order_of(&self, quantity: i64, value: impl Into<Value>) -> Order {
        let answer = self.post("/orders", new_order(quantity, value)).expect(201);
        Order {
            id: answer.json()["id"]
                .as_str()
                .expect("`id` is text")
                .to_owned(),
        }
    }

    /// Creates an invoice and gives its path.
    #[track_caller]
    pub(crate) fn create_invoice(&self, total: impl Into<Value>) -> String {
        let body = json!({"user_id": uuid(), "total": total.into()});
        let answer = self.post("/invoices", body).expect(201).json();
        format!(
            "/invoices/{}",
            answer["invoice_id"].as_str().expect("it is text")
        )
    }

    /// The order as it is now.
    #[track_caller]
    pub(crate) fn order(&self, order: &Order) -> Value {
        self.get(&order.path()).expect(200).json()
    }

    /// The invoice of an order as it is now.
    #[track_caller]
    pub(crate) fn invoice_of(&self, order: &Value) -> Value {
        let id = order["invoice_id"].as_str().expect("`invoice_id` is text");
        self.get(&format!("/invoices/{id}")).expect(200).json()
    }

    /// Every order of a user, over all pages.
    #[track_caller]
    pub(crate) fn orders_of(&self, user: &Value) -> Vec<Value> {
        let user = user.as_str().expect("it is text");
        let mut orders = Vec::new();
        let mut target = format!("/orders?user_id={user}");
        loop {
            let page = self.get(&target).expect(200).json();
            orders.extend(
                page["orders"]
                    .as_array()
                    .expect("`orders` is a list")
                    .clone(),
            );
            let Some(token) = page["next_page_token"].as_str() else {
                return orders;
            };
            let next = format!("/orders?user_id={user}&page_token={token}");
            assert_ne!(next, target, "the pages do not end");
            target = next;
        }
    }

    /// Fails unless the order's invoice is quantity times value, and both are
    /// deleted or neither; gives the order.
    #[track_caller]
    pub(crate) fn assert_invoice_fits(&self, order: &Order) -> Value {
        let order = self.order(order);
        let invoice = self.invoice_of(&order);
        assert_eq!(
            cents(&invoice["total"]),
            order["quantity"].as_i64().expect("it is whole") * cents(&order["value"]),
            "order {order}\ninvoice {invoice}",
        );
        assert_eq!(
            order["status"] == "deleted",
            invoice["status"] == "deleted",
            "order {order}\ninvoice {invoice}",
        );
        order
    }
}

/// A time in UTC as something that can be compared: its fraction of a second,
/// which has as many digits as it needs, filled up.
#[track_caller]
pub(crate) fn moment(value: &Value) -> String {
    let text = value.as_str().expect("it is text").trim_end_matches('Z');
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{seconds}.{fraction:0<9}")
}

/// A JSON number in hundredths.
#[track_caller]
pub(crate) fn cents(value: &Value) -> i64 {
    let number = value.as_f64().expect("it is a number");
    let cents = (number * 100.0).round();
    assert!(
        (cents - number * 100.0).abs() < 1e-6,
        "{value} has more decimals"
    );
    cents as i64
}
