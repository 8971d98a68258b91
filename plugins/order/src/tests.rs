//! The contract of the component, row by row, against the host in memory and
//! an `invoice` that notes what it is asked.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use lockport_guest::testing::{Called, Host};
use lockport_guest::{Method, Response};
use serde_json::{Value, json};
use shop::Timestamp;
use uuid::Uuid;

use super::handle;
use crate::orders::PAGE;

const USER: &str = "5a0cd2bb-46d1-4a3b-9d2a-35ab1bb1a2c4";
const ITEM: &str = "0d5bf1f5-6a52-4a8e-8f0c-6d1b1f1c7a10";
const LATER: &str = "2999-01-01T00:00:00Z";

/// The shop: a host with `order`'s collections, and a stand-in for `invoice`.
struct Shop {
    host: Host,
    calls: Rc<RefCell<Vec<Called>>>,
    /// What `invoice` answers to changes.
    status: Rc<Cell<u16>>,
}

impl Shop {
    fn new() -> Self {
        let calls = Rc::new(RefCell::new(Vec::new()));
        let status = Rc::new(Cell::new(204));
        let (seen, answer) = (Rc::clone(&calls), Rc::clone(&status));
        let host = Host::new()
            .guarded("orders", "order/{key}")
            .collection("orders_by_user")
            .component("invoice", move |called| {
                seen.borrow_mut().push(called.clone());
                match (answer.get(), &called.method) {
                    (204, Method::Post) => {
                        Response::json(201, &json!({"invoice_id": Uuid::new_v4()})).unwrap()
                    }
                    (status, _) => Response::empty(status),
                }
            });
        Self {
            host,
            calls,
            status,
        }
    }

    fn create(&self, body: &Value) -> (u16, Value) {
        let sending = self
            .host
            .request(Method::Post, "/orders", "/orders")
            .json(body);
        read(&sending.send(handle))
    }

    fn created(&self) -> String {
        let (status, body) = self.create(&new_order());
        assert_eq!(status, 201, "{body}");
        body["id"].as_str().unwrap().to_owned()
    }

    fn get(&self, id: &str) -> (u16, Value) {
        let path = format!("/orders/{id}");
        read(
            &self
                .host
                .request(Method::Get, "/orders/{id}", &path)
                .send(handle),
        )
    }

    fn order(&self, id: &str) -> Value {
        let (status, body) = self.get(id);
        assert_eq!(status, 200, "{body}");
        body
    }

    fn patch(&self, id: &str, body: &Value) -> (u16, Value) {
        let path = format!("/orders/{id}");
        read(
            &self
                .host
                .request(Method::Patch, "/orders/{id}", &path)
                .json(body)
                .send(handle),
        )
    }

    fn delete(&self, id: &str) -> (u16, Value) {
        let path = format!("/orders/{id}");
        read(
            &self
                .host
                .request(Method::Delete, "/orders/{id}", &path)
                .send(handle),
        )
    }

    fn list(&self, query: &str) -> (u16, Value) {
        let path = format!("/orders{query}");
        read(
            &self
                .host
                .request(Method::Get, "/orders", &path)
                .send(handle),
        )
    }

    fn last_call(&self) -> Called {
        self.calls.borrow().last().unwrap().clone()
    }
}

fn new_order() -> Value {
    json!({"user_id": USER, "item_id": ITEM, "quantity": 3, "value": 12.5})
}

fn read(response: &Response) -> (u16, Value) {
    let body = response.body();
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(body).unwrap()
    };
    (response.status(), body)
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

// === create ===

#[test]
fn creating_an_order_creates_its_invoice_first() {
    let shop = Shop::new();
    let id = shop.created();
    let call = shop.last_call();
    assert_eq!(
        (call.method.clone(), call.path.as_str()),
        (Method::Post, "/invoices")
    );
    assert_eq!(
        call.json::<Value>(),
        json!({"user_id": USER, "total": 37.5})
    );

    let order = shop.order(&id);
    assert_eq!(order["id"], id);
    assert_eq!(order["user_id"], USER);
    assert_eq!(order["item_id"], ITEM);
    assert_eq!(order["quantity"], 3);
    assert_eq!(order["value"], 12.5);
    assert_eq!(order["status"], "created");
    assert_eq!(order["created_at"], order["updated_at"]);
    assert!(order["invoice_id"].is_string());
    assert!(order.get("deleted_at").is_none());
}

#[test]
fn an_order_that_is_not_valid_is_refused_and_the_field_is_named() {
    let shop = Shop::new();
    let rows = [
        ("user_id", json!("7")),
        ("user_id", json!(7)),
        ("user_id", Value::Null),
        ("item_id", json!("")),
        ("quantity", json!(0)),
        ("quantity", json!(-1)),
        ("quantity", json!(1.5)),
        ("quantity", json!("3")),
        ("quantity", json!(4_294_967_296_u64)),
        ("value", json!(-0.01)),
        ("value", json!(0.001)),
        ("value", json!("12")),
        ("value", json!(1e300)),
        ("value", Value::Null),
    ];
    for (field, value) in rows {
        let (status, body) = shop.create(&with(new_order(), field, value.clone()));
        assert_eq!(
            (status, &body["error"]),
            (422, &json!("invalid_request")),
            "{field} {value}"
        );
        let message = body["message"].as_str().unwrap();
        assert!(message.contains(field), "{field} {value}: {message}");
    }
    for field in ["user_id", "item_id", "quantity", "value"] {
        let mut body = new_order();
        body.as_object_mut().unwrap().remove(field);
        let (status, body) = shop.create(&body);
        assert_eq!(status, 422, "without {field}");
        assert!(body["message"].as_str().unwrap().contains(field), "{body}");
    }
    assert!(shop.calls.borrow().is_empty());
    assert!(shop.host.keys("orders").is_empty());
}

#[test]
fn a_body_that_is_no_json_is_refused() {
    let shop = Shop::new();
    for body in ["", "{", "null", "[]", "7", "{\"user_id\":NaN}", "\u{0}"] {
        let sending = shop
            .host
            .request(Method::Post, "/orders", "/orders")
            .body(body);
        let (status, body) = read(&sending.send(handle));
        assert_eq!((status, &body["error"]), (422, &json!("invalid_request")));
    }
}

#[test]
fn a_total_beyond_what_money_can_be_is_refused() {
    let shop = Shop::new();
    let body = with(new_order(), "value", json!(9_999_999_999_999.99));
    let (status, body) = shop.create(&body);
    assert_eq!((status, &body["error"]), (422, &json!("invalid_request")));
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .contains("`quantity` times `value`"),
        "{body}"
    );
}

#[test]
fn without_an_invoice_there_is_no_order() {
    let shop = Shop::new();
    for status in [500, 422, 409, 503] {
        shop.status.set(status);
        let (status, body) = shop.create(&new_order());
        assert_eq!((status, &body["error"]), (424, &json!("invoice_failed")));
    }
    // An answer that makes no sense is a failure too.
    shop.status.set(200);
    assert_eq!(shop.create(&new_order()).0, 424);
    assert!(shop.host.keys("orders").is_empty());
    assert!(shop.host.keys("orders_by_user").is_empty());
}

// === show and list ===

#[test]
fn an_order_that_does_not_exist_is_not_found() {
    let shop = Shop::new();
    let patch = json!({"update_time": LATER});
    for id in [ITEM, "7", "not-a-uuid"] {
        for (status, body) in [shop.get(id), shop.patch(id, &patch), shop.delete(id)] {
            assert_eq!((status, &body["error"]), (404, &json!("not_found")), "{id}");
        }
    }
}

#[test]
fn an_order_is_found_by_its_id_in_capitals_too() {
    let shop = Shop::new();
    let id = shop.created();
    assert_eq!(shop.order(&id.to_uppercase())["id"], id);
}

#[test]
fn a_users_orders_are_listed_page_by_page() {
    let shop = Shop::new();
    let other = with(new_order(), "user_id", json!(ITEM));
    assert_eq!(shop.create(&other).0, 201);
    let mut created: Vec<String> = (0..PAGE + 3).map(|_| shop.created()).collect();

    let (status, first) = shop.list(&format!("?user_id={USER}"));
    assert_eq!(status, 200);
    assert_eq!(first["orders"].as_array().unwrap().len(), PAGE as usize);
    let token = first["next_page_token"].as_str().unwrap();
    let (_, rest) = shop.list(&format!("?user_id={USER}&page_token={token}"));
    assert_eq!(rest["orders"].as_array().unwrap().len(), 3);
    assert!(rest.get("next_page_token").is_none());

    let both = first["orders"]
        .as_array()
        .unwrap()
        .iter()
        .chain(rest["orders"].as_array().unwrap());
    let mut listed: Vec<&Value> = both.collect();
    // As times: the shortest text of a time, which leaves out zeros at its
    // end, does not sort as the time does.
    assert!(listed.is_sorted_by_key(|order| {
        let created_at = order["created_at"].as_str().unwrap();
        created_at.parse::<Timestamp>().unwrap()
    }));
    listed.sort_by_key(|order| order["id"].as_str().unwrap());
    created.sort();
    assert_eq!(
        listed.iter().map(|order| &order["id"]).collect::<Vec<_>>(),
        Vec::from_iter(&created)
    );
}

#[test]
fn all_orders_are_listed_page_by_page() {
    let shop = Shop::new();
    let mut created: Vec<String> = (0..PAGE + 3).map(|_| shop.created()).collect();
    created.sort();
    let (_, first) = shop.list("");
    let token = first["next_page_token"].as_str().unwrap();
    let (_, rest) = shop.list(&format!("?page_token={token}"));
    assert!(rest.get("next_page_token").is_none());
    let both = first["orders"]
        .as_array()
        .unwrap()
        .iter()
        .chain(rest["orders"].as_array().unwrap());
    let listed: Vec<&str> = both.map(|order| order["id"].as_str().unwrap()).collect();
    assert_eq!(listed, created);
}

#[test]
fn a_listing_of_nobody_is_empty() {
    let shop = Shop::new();
    assert_eq!(
        shop.list(&format!("?user_id={ITEM}")),
        (200, json!({"orders": []}))
    );
}

#[test]
fn a_user_or_a_page_that_is_none_is_refused() {
    let shop = Shop::new();
    let queries = [
        ("?user_id=7".to_owned(), "user_id"),
        ("?user_id=".to_owned(), "user_id"),
        ("?page_token=7".to_owned(), "page_token"),
        ("?page_token=".to_owned(), "page_token"),
        (format!("?user_id={USER}&page_token={ITEM}"), "page_token"),
        (format!("?user_id={USER}&page_token=7-{ITEM}"), "page_token"),
        (
            format!("?user_id={USER}&page_token=000000000000000-7"),
            "page_token",
        ),
    ];
    for (query, field) in queries {
        let (status, body) = shop.list(&query);
        assert_eq!(
            (status, &body["error"]),
            (422, &json!("invalid_request")),
            "{query}"
        );
        assert!(
            body["message"].as_str().unwrap().contains(field),
            "{query}: {body}"
        );
    }
}

// === update ===

#[test]
fn an_update_changes_the_order_and_its_invoice_under_both_locks() {
    let shop = Shop::new();
    let id = shop.created();
    let before = shop.order(&id);
    let update = json!({"update_time": "2999-01-01T02:00:00+02:00", "quantity": 4, "value": 0.25});
    assert_eq!(shop.patch(&id, &update), (204, Value::Null));

    let invoice_id = before["invoice_id"].as_str().unwrap();
    let call = shop.last_call();
    assert_eq!(call.method, Method::Patch);
    assert_eq!(call.path, format!("/invoices/{invoice_id}"));
    assert_eq!(call.json::<Value>(), json!({"total": 1}));
    assert_eq!(
        call.locks,
        [format!("invoice/{invoice_id}"), format!("order/{id}")]
    );

    let after = shop.order(&id);
    let mut expected = before;
    expected["quantity"] = json!(4);
    expected["value"] = json!(0.25);
    expected["status"] = json!("updated");
    expected["updated_at"] = json!(LATER);
    assert_eq!(after, expected);
}

#[test]
fn an_update_of_one_field_leaves_the_other() {
    let shop = Shop::new();
    let id = shop.created();
    assert_eq!(
        shop.patch(&id, &json!({"update_time": LATER, "quantity": 2}))
            .0,
        204
    );
    assert_eq!(shop.last_call().json::<Value>(), json!({"total": 25}));
    assert_eq!(
        shop.patch(
            &id,
            &json!({"update_time": LATER, "value": 7, "quantity": null})
        )
        .0,
        204
    );
    assert_eq!(shop.last_call().json::<Value>(), json!({"total": 14}));
    let order = shop.order(&id);
    assert_eq!(
        (&order["quantity"], &order["value"]),
        (&json!(2), &json!(7))
    );
}

#[test]
fn an_update_of_nothing_moves_the_time_and_leaves_the_invoice() {
    let shop = Shop::new();
    let id = shop.created();
    let calls = shop.calls.borrow().len();
    assert_eq!(shop.patch(&id, &json!({"update_time": LATER})).0, 204);
    assert_eq!(shop.order(&id)["updated_at"], LATER);
    assert_eq!(shop.calls.borrow().len(), calls);
}

#[test]
fn an_update_that_is_not_valid_is_refused_and_the_field_is_named() {
    let shop = Shop::new();
    let id = shop.created();
    let before = shop.order(&id);
    let rows = [
        (json!({"quantity": 1}), "update_time"),
        (json!({"update_time": null}), "update_time"),
        (json!({"update_time": "yesterday"}), "update_time"),
        (json!({"update_time": "2025-01-01T00:00:00"}), "update_time"),
        (json!({"update_time": 7}), "update_time"),
        (json!({"update_time": LATER, "quantity": 0}), "quantity"),
        (json!({"update_time": LATER, "quantity": "1"}), "quantity"),
        (json!({"update_time": LATER, "value": -1}), "value"),
        (json!({"update_time": LATER, "value": 0.001}), "value"),
        (
            json!({"update_time": LATER, "value": 9_999_999_999_999.99}),
            "value",
        ),
        (json!([LATER, 1, 2]), "object"),
    ];
    for (update, field) in rows {
        let (status, body) = shop.patch(&id, &update);
        assert_eq!(
            (status, &body["error"]),
            (422, &json!("invalid_request")),
            "{update}"
        );
        assert!(
            body["message"].as_str().unwrap().contains(field),
            "{update}: {body}"
        );
    }
    assert_eq!(shop.order(&id), before);
}

#[test]
fn while_somebody_holds_one_of_the_locks_the_order_does_not_change() {
    let shop = Shop::new();
    let id = shop.created();
    let before = shop.order(&id);
    let invoice = format!("invoice/{}", before["invoice_id"].as_str().unwrap());
    for lock in [format!("order/{id}"), invoice] {
        shop.host.hold(&lock);
        let blocked = json!({
            "error": "resource_locked",
            "message": "the resource you try to modify is currently blocked. \
                        Try again in a few moments",
        });
        assert_eq!(
            shop.patch(&id, &json!({"update_time": LATER})),
            (423, blocked.clone())
        );
        assert_eq!(shop.delete(&id), (423, blocked));
        shop.host.give_back(&lock);
    }
    assert_eq!(shop.order(&id), before);
}

#[test]
fn an_update_older_than_the_last_is_outdated_and_one_as_old_is_not() {
    let shop = Shop::new();
    let id = shop.created();
    let time = |time: &str| json!({"update_time": time});
    let (status, body) = shop.patch(&id, &time("2001-01-01T00:00:00Z"));
    assert_eq!((status, &body["error"]), (409, &json!("event_outdated")));
    assert_eq!(shop.patch(&id, &time("2999-01-01T00:00:00.5Z")).0, 204);
    assert_eq!(shop.patch(&id, &time(LATER)).0, 409);
    assert_eq!(shop.patch(&id, &time("2999-01-01T01:00:00.5+01:00")).0, 204);
}

#[test]
fn an_order_whose_invoice_cannot_follow_stays_as_it_is() {
    let shop = Shop::new();
    let id = shop.created();
    let before = shop.order(&id);
    for status in [409, 404, 500] {
        shop.status.set(status);
        let (status, body) = shop.patch(&id, &json!({"update_time": LATER, "quantity": 9}));
        assert_eq!((status, &body["error"]), (424, &json!("invoice_failed")));
        let (status, body) = shop.delete(&id);
        assert_eq!((status, &body["error"]), (424, &json!("invoice_failed")));
    }
    assert_eq!(shop.order(&id), before);
}

// === delete ===

#[test]
fn deleting_marks_the_order_and_deletes_its_invoice_once() {
    let shop = Shop::new();
    let id = shop.created();
    let old = with(shop.order(&id), "updated_at", json!("2001-01-01T00:00:00Z"));
    shop.host.store("orders", &id, &old);
    assert_eq!(shop.delete(&id), (204, Value::Null));
    let call = shop.last_call();
    assert_eq!(call.method, Method::Delete);
    assert_eq!(call.locks.len(), 2);
    let order = shop.order(&id);
    assert_eq!(order["status"], "deleted");
    assert_eq!(order["deleted_at"], order["updated_at"]);

    // There is nothing to change, so no lock is asked for.
    shop.host.hold(&format!("order/{id}"));
    let calls = shop.calls.borrow().len();
    assert_eq!(shop.delete(&id), (204, Value::Null));
    assert_eq!(shop.calls.borrow().len(), calls);
    assert_eq!(shop.order(&id), order);
}

#[test]
fn deleting_does_not_turn_back_the_time_of_the_last_update() {
    let shop = Shop::new();
    let id = shop.created();
    assert_eq!(shop.patch(&id, &json!({"update_time": LATER})).0, 204);
    assert_eq!(shop.delete(&id).0, 204);
    assert_eq!(shop.order(&id)["updated_at"], LATER);
}

#[test]
fn a_deleted_order_cannot_be_updated() {
    let shop = Shop::new();
    let id = shop.created();
    assert_eq!(shop.delete(&id).0, 204);
    // That it is deleted goes before that the update is old.
    for time in [LATER, "2001-01-01T00:00:00Z"] {
        let (status, body) = shop.patch(&id, &json!({"update_time": time, "quantity": 1}));
        assert_eq!((status, &body["error"]), (422, &json!("order_cancelled")));
    }
}

// === ping ===

#[test]
fn a_ping_is_answered() {
    let shop = Shop::new();
    let response = shop
        .host
        .request(Method::Get, "/ping", "/ping")
        .send(handle);
    assert_eq!(read(&response), (200, json!({"message": "pong"})));
}
