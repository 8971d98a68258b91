//! The contract of `order` where an order changes: PATCH and DELETE, row by
//! row, on every store.

use crate::harness::{
    HeldLock, Node, Order, RESOURCE_LOCKED, Storage, assert_is_time, assert_shop_error, at_minute,
    shop_whose_invoice_refuses,
};
use serde_json::{Value, json};

fn shop(storage: Storage) -> Node {
    Node::builder().shop().storage(storage).start()
}

on_every_store! {
    patch_changes_quantity_value_and_the_invoice,
    patch_may_change_only_one_field_or_none,
    patch_refuses_bad_json_and_a_missing_update_time_with_422,
    patch_with_an_older_update_time_is_409_event_outdated,
    patch_of_a_deleted_order_is_422_order_cancelled,
    patch_answers_424_and_changes_nothing_when_the_invoice_cannot_be_changed,
    delete_marks_the_order_and_its_invoice,
    delete_of_a_deleted_order_is_204_and_changes_nothing,
    delete_answers_424_and_changes_nothing_when_the_invoice_cannot_be_deleted,
    patch_and_delete_are_423_while_the_order_s_lock_is_held,
    patch_and_delete_are_423_while_the_invoice_s_lock_is_held,
}

fn patch_changes_quantity_value_and_the_invoice(storage: Storage) {
    let node = shop(storage);
    let order = node.create_order_of(2, 10);
    let before = node.order(&order);
    let change = json!({"update_time": at_minute(5), "quantity": 3, "value": 12.5});
    let answer = node.patch(&order.path(), change).expect(204);
    assert_eq!(answer.body, b"");

    let after = node.assert_invoice_fits(&order);
    assert_eq!(after["quantity"], 3);
    assert_eq!(after["value"], 12.5);
    assert_eq!(after["status"], "updated");
    assert_same_time(&after["updated_at"], &at_minute(5));
    for name in ["id", "user_id", "item_id", "invoice_id", "created_at"] {
        assert_eq!(after[name], before[name], "{name}");
    }
    assert_eq!(node.invoice_of(&after)["total"], json!(37.5));
}

fn patch_may_change_only_one_field_or_none(storage: Storage) {
    let node = shop(storage);
    let order = node.create_order_of(2, 10);
    for (change, quantity, value) in [
        (json!({"update_time": at_minute(1), "quantity": 5}), 5, 10.0),
        (json!({"update_time": at_minute(2), "value": 7}), 5, 7.0),
        (json!({"update_time": at_minute(3)}), 5, 7.0),
        // The same time again is not older.
        (json!({"update_time": at_minute(3), "quantity": 6}), 6, 7.0),
    ] {
        node.patch(&order.path(), change.clone()).expect(204);
        let after = node.assert_invoice_fits(&order);
        assert_eq!(after["quantity"], quantity, "{change}");
        assert_eq!(after["value"].as_f64(), Some(value), "{change}");
        assert_same_time(
            &after["updated_at"],
            change["update_time"].as_str().expect("text"),
        );
    }
}

fn patch_refuses_bad_json_and_a_missing_update_time_with_422(storage: Storage) {
    let node = shop(storage);
    let order = node.create_order();
    let before = node.order(&order);
    for text in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"quantity": 3}"#,
        r#"{"update_time": 5}"#,
        r#"{"update_time": null}"#,
        r#"{"update_time": "yesterday"}"#,
        r#"{"update_time": "2040-13-01T00:00:00Z"}"#,
        r#"{"update_time": "2040-01-01"}"#,
        r#"{"update_time": "2040-01-01T00:00:00Z", "quantity": 0}"#,
        r#"{"update_time": "2040-01-01T00:00:00Z", "quantity": -1}"#,
        r#"{"update_time": "2040-01-01T00:00:00Z", "quantity": "3"}"#,
        r#"{"update_time": "2040-01-01T00:00:00Z", "value": -1}"#,
        r#"{"update_time": "2040-01-01T00:00:00Z", "value": "1"}"#,
    ] {
        let answer = node.call("PATCH", &order.path()).text(text).send();
        assert_eq!(answer.status, 422, "{text}: {}", answer.text());
        assert_shop_error(&answer, 422);
    }
    assert_eq!(node.order(&order), before);
}

fn patch_with_an_older_update_time_is_409_event_outdated(storage: Storage) {
    let node = shop(storage);
    let order = node.create_order();
    let change = json!({"update_time": at_minute(10), "quantity": 4});
    node.patch(&order.path(), change).expect(204);
    let before = node.order(&order);

    for time in [at_minute(9), "2001-01-01T00:00:00Z".to_owned()] {
        let answer = node.patch(&order.path(), json!({"update_time": time, "quantity": 9}));
        assert_eq!(assert_shop_error(&answer, 409), "event_outdated");
    }
    // Later on the clock of another zone, and yet earlier.
    let zoned = json!({"update_time": "2040-01-01T05:00:00+06:00", "quantity": 9});
    assert_eq!(
        assert_shop_error(&node.patch(&order.path(), zoned), 409),
        "event_outdated"
    );
    assert_eq!(node.assert_invoice_fits(&order), before);
}

fn patch_of_a_deleted_order_is_422_order_cancelled(storage: Storage) {
    let node = shop(storage);
    let order = node.create_order();
    node.delete(&order.path()).expect(204);
    let answer = node.patch(&order.path(), json!({"update_time": at_minute(1)}));
    assert_eq!(assert_shop_error(&answer, 422), "order_cancelled");
}

fn patch_answers_424_and_changes_nothing_when_the_invoice_cannot_be_changed(storage: Storage) {
    let node = shop_whose_invoice_refuses("PATCH", storage);
    let order = node.create_order();
    let before = node.assert_invoice_fits(&order);
    let change = json!({"update_time": at_minute(1), "quantity": 9});
    assert_shop_error(&node.patch(&order.path(), change), 424);
    assert_eq!(node.assert_invoice_fits(&order), before);
}

fn delete_marks_the_order_and_its_invoice(storage: Storage) {
    let node = shop(storage);
    let order = node.create_order();
    let before = node.order(&order);
    let answer = node.delete(&order.path()).expect(204);
    assert_eq!(answer.body, b"");

    let after = node.assert_invoice_fits(&order);
    assert_eq!(after["status"], "deleted");
    assert_is_time(&after["deleted_at"]);
    for name in [
        "id",
        "user_id",
        "item_id",
        "invoice_id",
        "quantity",
        "value",
        "created_at",
    ] {
        assert_eq!(after[name], before[name], "{name}");
    }
    let invoice = node.invoice_of(&after);
    assert_eq!(invoice["status"], "deleted");
    assert_is_time(&invoice["deleted_at"]);
}

fn delete_of_a_deleted_order_is_204_and_changes_nothing(storage: Storage) {
    let node = shop(storage);
    let order = node.create_order();
    node.delete(&order.path()).expect(204);
    let before = node.order(&order);
    node.delete(&order.path()).expect(204);
    assert_eq!(node.order(&order), before);
}

fn delete_answers_424_and_changes_nothing_when_the_invoice_cannot_be_deleted(storage: Storage) {
    let node = shop_whose_invoice_refuses("DELETE", storage);
    let order = node.create_order();
    let before = node.assert_invoice_fits(&order);
    assert_shop_error(&node.delete(&order.path()), 424);
    assert_eq!(node.order(&order), before);
}

fn patch_and_delete_are_423_while_the_order_s_lock_is_held(storage: Storage) {
    let node = Node::builder()
        .shop()
        .guest("holder")
        .storage(storage)
        .start();
    let order = node.create_order();
    assert_locked_out(&node, &order, &order.lock());
}

fn patch_and_delete_are_423_while_the_invoice_s_lock_is_held(storage: Storage) {
    let node = Node::builder()
        .shop()
        .guest("holder")
        .storage(storage)
        .start();
    let order = node.create_order();
    let invoice = node.order(&order)["invoice_id"].clone();
    let invoice = invoice.as_str().expect("it is text");
    assert_locked_out(&node, &order, &format!("invoice/{invoice}"));
}

/// Fails unless `lock` keeps the order from being changed for as long as
/// somebody else holds it, and no longer.
#[track_caller]
fn assert_locked_out(node: &Node, order: &Order, lock: &str) {
    let before = node.order(order);
    let held = HeldLock::hold(node, lock);
    let change = json!({"update_time": at_minute(1), "quantity": 9});
    for answer in [
        node.patch(&order.path(), change.clone()),
        node.delete(&order.path()),
    ] {
        assert_eq!(assert_shop_error(&answer, 423), "resource_locked");
        assert_eq!(answer.json()["message"], RESOURCE_LOCKED);
    }
    // Reading needs no lock.
    assert_eq!(node.order(order), before);

    held.give_back(node);
    node.patch(&order.path(), change).expect(204);
    node.delete(&order.path()).expect(204);
}

/// Whether two times in UTC are the same up to the second.
#[track_caller]
fn assert_same_time(value: &Value, expected: &str) {
    let text = value.as_str().expect("it is text");
    assert!(text.ends_with('Z'), "{text}");
    assert_eq!(text[..19], expected[..19]);
}
