//! The contract of `order`, row by row, on every store.
//!
//! The rows are those of a public service that clients speak already: paths,
//! field names, types and statuses are exact.

use crate::harness::{
    Node, Order, Storage, assert_is_time, assert_shop_error, at_minute, new_order,
    shop_whose_invoice_refuses, uuid,
};
use serde_json::{Value, json};

on_every_store! {
    ping_answers_pong,
    create_answers_201_with_the_order_s_id,
    a_created_order_has_every_field_and_its_invoice,
    numbers_come_back_as_they_were_given,
    create_refuses_what_is_not_an_order_with_422,
    create_answers_424_and_leaves_nothing_when_the_invoice_cannot_be_created,
    an_unknown_order_is_404_whatever_is_asked_of_it,
    list_gives_the_orders_of_one_user_only,
    list_gives_every_order_once_over_its_pages,
}

fn shop(storage: Storage) -> Node {
    Node::builder().shop().storage(storage).start()
}

fn ping_answers_pong(storage: Storage) {
    let answer = shop(storage).get("/ping").expect(200);
    assert_eq!(answer.json(), json!({"message": "pong"}));
}

fn create_answers_201_with_the_order_s_id(storage: Storage) {
    let node = shop(storage);
    let answer = node.post("/orders", new_order(1, 10)).expect(201);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    let names: Vec<&String> = body.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["id"]);
    assert_is_uuid_v4(&body["id"]);
    let other = node.post("/orders", new_order(1, 10)).expect(201).json();
    assert_ne!(body["id"], other["id"]);
}

fn a_created_order_has_every_field_and_its_invoice(storage: Storage) {
    let node = shop(storage);
    let asked = new_order(3, 12.5);
    let id = node.post("/orders", asked.clone()).expect(201).json()["id"].clone();
    let order = Order {
        id: id.as_str().expect("it is text").to_owned(),
    };

    let body = node.assert_invoice_fits(&order);
    let mut names: Vec<&String> = body.as_object().expect("an object").keys().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "created_at",
            "id",
            "invoice_id",
            "item_id",
            "quantity",
            "status",
            "updated_at",
            "user_id",
            "value"
        ],
    );
    assert_eq!(body["id"], id);
    for name in ["user_id", "item_id", "quantity", "value"] {
        assert_eq!(body[name], asked[name], "{name}");
    }
    assert_eq!(body["status"], "created");
    assert_eq!(body["created_at"], body["updated_at"]);
    assert_is_time(&body["created_at"]);
    assert_is_uuid_v4(&body["invoice_id"]);

    let invoice = node.invoice_of(&body);
    assert_eq!(invoice["total"], json!(37.5));
    assert_eq!(invoice["user_id"], asked["user_id"]);
}

fn numbers_come_back_as_they_were_given(storage: Storage) {
    let node = shop(storage);
    for (quantity, value, total) in [
        (1, json!(0), json!(0)),
        (3, json!(3), json!(9)),
        (2, json!(12.5), json!(25)),
        (1, json!(0.01), json!(0.01)),
        (7, json!(19.99), json!(139.93)),
        (3, json!(0.1), json!(0.3)),
        (1_000_000, json!(1_000_000), json!(1_000_000_000_000_u64)),
    ] {
        let order = node.create_order_of(quantity, value.clone());
        let body = node.order(&order);
        assert_eq!(body["value"].as_f64(), value.as_f64(), "value {value}");
        assert_eq!(body["quantity"], json!(quantity));
        let invoice = node.invoice_of(&body);
        assert_eq!(
            invoice["total"].as_f64(),
            total.as_f64(),
            "{quantity} x {value}"
        );
    }
}

fn create_refuses_what_is_not_an_order_with_422(storage: Storage) {
    let node = shop(storage);
    let good = new_order(1, 10);
    node.post("/orders", good.clone()).expect(201);

    for name in ["user_id", "item_id", "quantity", "value"] {
        let mut body = good.clone();
        body.as_object_mut().expect("an object").remove(name);
        assert_shop_error(&node.post("/orders", body), 422);
        assert_shop_error(&node.post("/orders", with(&good, name, Value::Null)), 422);
    }
    for (name, value) in [
        ("user_id", json!("not-a-uuid")),
        ("user_id", json!("")),
        ("user_id", json!(7)),
        ("item_id", json!("1234")),
        ("quantity", json!(0)),
        ("quantity", json!(-1)),
        ("quantity", json!(1.5)),
        ("quantity", json!("1")),
        ("quantity", json!(u64::MAX)),
        ("value", json!(-0.01)),
        ("value", json!("10")),
        ("value", json!(1e300)),
        ("value", json!([10])),
    ] {
        let answer = node.post("/orders", with(&good, name, value.clone()));
        assert_eq!(answer.status, 422, "{name} = {value}: {}", answer.text());
        assert_shop_error(&answer, 422);
    }
    for text in ["", "{", "null", "[]", "\"order\"", "{} {}", "{'a': 1}"] {
        let answer = node.call("POST", "/orders").text(text).send();
        assert_eq!(answer.status, 422, "{text:?}: {}", answer.text());
        assert_shop_error(&answer, 422);
    }
    // The total has to fit as well, not only its factors.
    let huge = with(
        &with(&good, "quantity", json!(i64::MAX)),
        "value",
        json!(1_000_000_000),
    );
    assert_shop_error(&node.post("/orders", huge), 422);
}

fn create_answers_424_and_leaves_nothing_when_the_invoice_cannot_be_created(storage: Storage) {
    let node = shop_whose_invoice_refuses("POST", storage);
    let body = new_order(1, 10);
    assert_shop_error(&node.post("/orders", body.clone()), 424);
    assert_eq!(node.orders_of(&body["user_id"]), Vec::<Value>::new());
}

fn an_unknown_order_is_404_whatever_is_asked_of_it(storage: Storage) {
    let node = shop(storage);
    for id in [uuid(), "no-uuid".to_owned()] {
        let path = format!("/orders/{id}");
        assert_shop_error(&node.get(&path), 404);
        assert_shop_error(
            &node.patch(&path, json!({"update_time": at_minute(1)})),
            404,
        );
        assert_shop_error(&node.delete(&path), 404);
    }
}

fn list_gives_the_orders_of_one_user_only(storage: Storage) {
    let node = shop(storage);
    let mine = new_order(1, 10);
    let others = new_order(2, 20);
    let id = node.post("/orders", mine.clone()).expect(201).json()["id"].clone();
    node.post("/orders", others).expect(201);

    let listed = node.orders_of(&mine["user_id"]);
    assert_eq!(listed.len(), 1, "{listed:?}");
    let order = Order {
        id: id.as_str().expect("it is text").to_owned(),
    };
    assert_eq!(listed[0], node.order(&order));
    assert_eq!(node.orders_of(&json!(uuid())), Vec::<Value>::new());
}

fn list_gives_every_order_once_over_its_pages(storage: Storage) {
    let node = shop(storage);
    let body = new_order(1, 10);
    let mut created: Vec<Value> = (0..120)
        .map(|_| node.post("/orders", body.clone()).expect(201).json()["id"].clone())
        .collect();
    let mut listed: Vec<Value> = node
        .orders_of(&body["user_id"])
        .iter()
        .map(|order| order["id"].clone())
        .collect();
    created.sort_by_key(ToString::to_string);
    listed.sort_by_key(ToString::to_string);
    assert_eq!(listed, created);
}

fn with(body: &Value, name: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[name] = value;
    body
}

#[track_caller]
fn assert_is_uuid_v4(value: &Value) {
    let text = value.as_str().expect("it is text");
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12], "{text}");
    assert!(
        text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()),
        "{text}"
    );
    assert_eq!(text.as_bytes()[14], b'4', "{text}");
}
