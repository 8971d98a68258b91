//! The contract of the component, row by row, against the host in memory.

use lockport_guest::testing::{Host, Sending};
use lockport_guest::{Method, Response};
use serde_json::{Value, json};

use super::handle;

const USER: &str = "5a0cd2bb-46d1-4a3b-9d2a-35ab1bb1a2c4";

fn host() -> Host {
    Host::new().guarded("invoices", "invoice/{key}")
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

fn create(host: &Host, body: &Value) -> (u16, Value) {
    read(
        &host
            .request(Method::Post, "/invoices", "/invoices")
            .json(body)
            .send(handle),
    )
}

fn created(host: &Host) -> String {
    let (status, body) = create(host, &json!({"user_id": USER, "total": 37.5}));
    assert_eq!(status, 201, "{body}");
    body["invoice_id"].as_str().unwrap().to_owned()
}

fn to<'a>(host: &'a Host, method: Method, id: &str) -> Sending<'a> {
    host.request(method, "/invoices/{id}", &format!("/invoices/{id}"))
}

fn invoice(host: &Host, id: &str) -> Value {
    let (status, body) = read(&to(host, Method::Get, id).send(handle));
    assert_eq!(status, 200, "{body}");
    body
}

#[test]
fn an_invoice_is_created_and_shown() {
    let host = host();
    let id = created(&host);
    let invoice = invoice(&host, &id);
    assert_eq!(invoice["id"], id);
    assert_eq!(invoice["user_id"], USER);
    assert_eq!(invoice["total"], 37.5);
    assert_eq!(invoice["status"], "created");
    assert_eq!(invoice["created_at"], invoice["updated_at"]);
    assert!(invoice.get("deleted_at").is_none());
}

#[test]
fn an_invoice_that_is_not_valid_is_refused_and_the_field_is_named() {
    let host = host();
    let rows = [
        (json!({"user_id": "7", "total": 1}), "user_id"),
        (json!({"total": 1}), "user_id"),
        (json!({"user_id": USER}), "total"),
        (json!({"user_id": USER, "total": "1"}), "total"),
        (json!({"user_id": USER, "total": null}), "total"),
        (json!({"user_id": USER, "total": -1}), "total"),
        (json!({"user_id": USER, "total": 0.001}), "total"),
        (json!({"user_id": USER, "total": 1e300}), "total"),
    ];
    for (body, field) in rows {
        let (status, answer) = create(&host, &body);
        assert_eq!(
            (status, &answer["error"]),
            (422, &json!("invalid_request")),
            "{body}"
        );
        assert!(
            answer["message"].as_str().unwrap().contains(field),
            "{body}: {answer}"
        );
    }
    assert!(host.keys("invoices").is_empty());
}

#[test]
fn an_update_under_the_lock_sets_the_total() {
    let host = host();
    let id = created(&host);
    let update = to(&host, Method::Patch, &id).json(&json!({"total": 4}));
    let response = update.lent(&format!("invoice/{id}")).send(handle);
    assert_eq!(read(&response), (204, Value::Null));
    let invoice = invoice(&host, &id);
    assert_eq!(
        (&invoice["total"], &invoice["status"]),
        (&json!(4), &json!("updated"))
    );
}

#[test]
fn a_change_without_the_lock_of_the_invoice_is_refused() {
    let host = host();
    let id = created(&host);
    let before = invoice(&host, &id);
    for method in [Method::Patch, Method::Delete] {
        for lock in [
            None,
            Some(format!("invoice/{USER}")),
            Some(format!("order/{id}")),
        ] {
            let mut sending = to(&host, method.clone(), &id).json(&json!({"total": 4}));
            if let Some(lock) = &lock {
                sending = sending.lent(lock);
            }
            let (status, body) = read(&sending.send(handle));
            assert_eq!(
                (status, &body["error"]),
                (409, &json!("lock_required")),
                "{lock:?}"
            );
        }
    }
    assert_eq!(invoice(&host, &id), before);
}

#[test]
fn an_update_that_is_not_valid_is_refused_before_anything_else() {
    let host = host();
    for body in ["", "{}", "{\"total\":-1}", "{\"total\":\"1\"}", "[null]"] {
        let (status, body) = read(&to(&host, Method::Patch, USER).body(body).send(handle));
        assert_eq!((status, &body["error"]), (422, &json!("invalid_request")));
    }
}

#[test]
fn an_invoice_that_does_not_exist_is_not_found() {
    let host = host();
    for id in [USER, "7"] {
        for method in [Method::Get, Method::Patch, Method::Delete] {
            let sending = to(&host, method, id).json(&json!({"total": 4}));
            let (status, body) = read(&sending.send(handle));
            assert_eq!((status, &body["error"]), (404, &json!("not_found")), "{id}");
        }
    }
}

#[test]
fn deleting_marks_the_invoice_and_again_changes_nothing() {
    let host = host();
    let id = created(&host);
    let lock = format!("invoice/{id}");
    assert_eq!(
        read(&to(&host, Method::Delete, &id).lent(&lock).send(handle)),
        (204, Value::Null)
    );
    let deleted = invoice(&host, &id);
    assert_eq!(deleted["status"], "deleted");
    assert_eq!(deleted["deleted_at"], deleted["updated_at"]);

    // There is nothing to change, so no lock is asked for.
    assert_eq!(
        read(&to(&host, Method::Delete, &id).send(handle)),
        (204, Value::Null)
    );
    let update = to(&host, Method::Patch, &id)
        .json(&json!({"total": 4}))
        .lent(&lock);
    let (status, body) = read(&update.send(handle));
    assert_eq!((status, &body["error"]), (422, &json!("invoice_cancelled")));
    assert_eq!(invoice(&host, &id), deleted);
}
