//! The contract of `invoice`, row by row, on every store.
//!
//! An invoice may be changed only by somebody who holds its lock. Here that is
//! a test guest, which acquires `invoice/<id>` and calls `invoice` under it.

use crate::harness::{Answer, Node, Storage, assert_shop_error, moment, uuid};
use serde_json::{Value, json};

on_every_store! {
    create_answers_201_with_the_invoice_s_id,
    a_created_invoice_has_every_field,
    totals_come_back_as_they_were_given,
    create_refuses_what_is_not_an_invoice_with_422,
    an_unknown_invoice_is_404_whatever_is_asked_of_it,
    the_holder_of_the_lock_changes_the_total,
    patch_refuses_what_is_not_a_total_with_422,
    patch_without_the_lock_is_409_and_changes_nothing,
    the_holder_of_the_lock_deletes_the_invoice,
    delete_of_a_deleted_invoice_is_204_and_changes_nothing,
    delete_without_the_lock_is_409_and_changes_nothing,
    the_lock_of_another_invoice_does_not_help,
}

fn node(storage: Storage) -> Node {
    Node::builder()
        .shop()
        .guest("holder")
        .storage(storage)
        .start()
}

fn create_answers_201_with_the_invoice_s_id(storage: Storage) {
    let answer = node(storage)
        .post("/invoices", new_invoice(json!(5)))
        .expect(201);
    let body = answer.json();
    let names: Vec<&String> = body.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["invoice_id"]);
    assert_eq!(body["invoice_id"].as_str().map(str::len), Some(36));
}

fn a_created_invoice_has_every_field(storage: Storage) {
    let node = node(storage);
    let asked = new_invoice(json!(37.5));
    let id = node.post("/invoices", asked.clone()).expect(201).json()["invoice_id"].clone();
    let path = format!("/invoices/{}", id.as_str().expect("it is text"));
    let body = node.get(&path).expect(200).json();

    let mut names: Vec<&String> = body.as_object().expect("an object").keys().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "created_at",
            "id",
            "status",
            "total",
            "updated_at",
            "user_id"
        ]
    );
    assert_eq!(body["id"], id);
    assert_eq!(body["user_id"], asked["user_id"]);
    assert_eq!(body["total"], json!(37.5));
    assert_eq!(body["status"], "created");
    assert_eq!(body["created_at"], body["updated_at"]);
}

fn totals_come_back_as_they_were_given(storage: Storage) {
    let node = node(storage);
    for total in [
        json!(0),
        json!(3),
        json!(12.5),
        json!(0.01),
        json!(139.93),
        json!(9_999_999_999.99),
    ] {
        let path = node.create_invoice(total.clone());
        let body = node.get(&path).expect(200).json();
        assert_eq!(body["total"].as_f64(), total.as_f64());
    }
}

fn create_refuses_what_is_not_an_invoice_with_422(storage: Storage) {
    let node = node(storage);
    let good = new_invoice(json!(5));
    for (name, value) in [
        ("user_id", Value::Null),
        ("user_id", json!("nobody")),
        ("user_id", json!(1)),
        ("total", Value::Null),
        ("total", json!("5")),
        ("total", json!(-1)),
        ("total", json!(1e300)),
        ("total", json!({})),
    ] {
        let mut body = good.clone();
        body[name] = value.clone();
        let answer = node.post("/invoices", body);
        assert_eq!(answer.status, 422, "{name} = {value}: {}", answer.text());
        assert_shop_error(&answer, 422);
    }
    for text in ["", "{", "[]", "null", "{}", r#"{"total": 5}"#] {
        let answer = node.call("POST", "/invoices").text(text).send();
        assert_eq!(answer.status, 422, "{text:?}: {}", answer.text());
        assert_shop_error(&answer, 422);
    }
}

fn an_unknown_invoice_is_404_whatever_is_asked_of_it(storage: Storage) {
    let node = node(storage);
    let path = format!("/invoices/{}", uuid());
    assert_shop_error(&node.get(&path), 404);
    assert_shop_error(&node.patch(&path, json!({"total": 5})), 404);
    assert_shop_error(&node.delete(&path), 404);
    assert_shop_error(
        &node.as_invoice_holder("PATCH", &path, json!({"total": 5})),
        404,
    );
    assert_shop_error(&node.as_invoice_holder("DELETE", &path, Value::Null), 404);
}

fn the_holder_of_the_lock_changes_the_total(storage: Storage) {
    let node = node(storage);
    let path = node.create_invoice(5);
    let before = node.get(&path).expect(200).json();
    node.as_invoice_holder("PATCH", &path, json!({"total": 7.25}))
        .expect(204);

    let after = node.get(&path).expect(200).json();
    assert_eq!(after["total"], json!(7.25));
    assert_eq!(after["status"], "updated");
    for name in ["id", "user_id", "created_at"] {
        assert_eq!(after[name], before[name], "{name}");
    }
    assert!(moment(&after["updated_at"]) >= moment(&before["updated_at"]));
}

fn patch_refuses_what_is_not_a_total_with_422(storage: Storage) {
    let node = node(storage);
    let path = node.create_invoice(5);
    for body in [
        json!({}),
        json!({"total": null}),
        json!({"total": "5"}),
        json!({"total": -1}),
        json!([5]),
        json!(5),
    ] {
        assert_shop_error(&node.as_invoice_holder("PATCH", &path, body.clone()), 422);
        // What is wrong with the body is said first, also without the lock.
        assert_shop_error(&node.patch(&path, body), 422);
    }
    assert_shop_error(&node.call("PATCH", &path).text("{").send(), 422);
    assert_eq!(
        node.get(&path).expect(200).json()["total"].as_f64(),
        Some(5.0)
    );
}

fn patch_without_the_lock_is_409_and_changes_nothing(storage: Storage) {
    let node = node(storage);
    let path = node.create_invoice(5);
    let before = node.get(&path).expect(200).json();
    assert_shop_error(&node.patch(&path, json!({"total": 7})), 409);
    assert_eq!(node.get(&path).expect(200).json(), before);
}

fn the_holder_of_the_lock_deletes_the_invoice(storage: Storage) {
    let node = node(storage);
    let path = node.create_invoice(5);
    node.as_invoice_holder("DELETE", &path, Value::Null)
        .expect(204);
    let after = node.get(&path).expect(200).json();
    assert_eq!(after["status"], "deleted");
    assert!(after["deleted_at"].is_string());
    assert_eq!(after["total"].as_f64(), Some(5.0));
}

fn delete_of_a_deleted_invoice_is_204_and_changes_nothing(storage: Storage) {
    let node = node(storage);
    let path = node.create_invoice(5);
    node.as_invoice_holder("DELETE", &path, Value::Null)
        .expect(204);
    let before = node.get(&path).expect(200).json();
    node.as_invoice_holder("DELETE", &path, Value::Null)
        .expect(204);
    assert_eq!(node.get(&path).expect(200).json(), before);
}

fn delete_without_the_lock_is_409_and_changes_nothing(storage: Storage) {
    let node = node(storage);
    let path = node.create_invoice(5);
    let before = node.get(&path).expect(200).json();
    assert_shop_error(&node.delete(&path), 409);
    assert_eq!(node.get(&path).expect(200).json(), before);
}

fn the_lock_of_another_invoice_does_not_help(storage: Storage) {
    let node = node(storage);
    let path = node.create_invoice(5);
    let other = node.create_invoice(5);
    let answer: Answer = node.as_holder_of(&lock_of(&other), "PATCH", &path, json!({"total": 7}));
    assert_shop_error(&answer, 409);
    assert_eq!(
        node.get(&path).expect(200).json()["total"].as_f64(),
        Some(5.0)
    );
}

fn new_invoice(total: Value) -> Value {
    json!({"user_id": uuid(), "total": total})
}

/// `invoice/<id>` for `/invoices/<id>`.
fn lock_of(path: &str) -> String {
    path.replacen("/invoices/", "invoice/", 1)
}
