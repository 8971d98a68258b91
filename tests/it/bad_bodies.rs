//! JSON that was made to do harm, sent to the handlers we ship: always a 4xx,
//! never a 5xx, and never a change.

use crate::harness::{Node, at_minute, uuid};
use serde_json::json;

/// How deep nested JSON goes.
const DEPTH: usize = 100_000;

/// Bodies that are no order, no change and no invoice.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let user = uuid();
    let order = |value: &str| {
        format!(
            r#"{{"user_id":"{user}","item_id":"{user}","total":{value},"quantity":1,"value":{value}}}"#
        )
    };
    let nested = |open: &str, close: &str| {
        format!("{}{}", open.repeat(DEPTH), close.repeat(DEPTH)).into_bytes()
    };
    vec![
        ("deep lists", nested("[", "]")),
        ("deep objects", nested("{\"a\":", "}")),
        ("lists without end", "[".repeat(DEPTH).into_bytes()),
        ("not a number", order("NaN").into_bytes()),
        ("infinite", order("Infinity").into_bytes()),
        ("minus infinity", order("-1e999").into_bytes()),
        ("too large a number", order("1e999").into_bytes()),
        ("2^64", order("18446744073709551616").into_bytes()),
        ("many digits", order(&"9".repeat(10_000)).into_bytes()),
        (
            "many decimals",
            order(&format!("0.{}1", "0".repeat(10_000))).into_bytes(),
        ),
        ("a leading zero", order("01").into_bytes()),
        ("a plus", order("+1").into_bytes()),
        ("hexadecimal", order("0x10").into_bytes()),
        ("invalid UTF-8", b"{\"user_id\":\"\xff\xfe\"}".to_vec()),
        (
            "an overlong encoding",
            b"{\"user_id\":\"\xc0\xaf\"}".to_vec(),
        ),
        ("a lone surrogate", br#"{"user_id":"\ud800"}"#.to_vec()),
        (
            "half a surrogate pair",
            br#"{"user_id":"\ud800\u0041"}"#.to_vec(),
        ),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec()),
        ("a comment", b"{/* */}".to_vec()),
        ("a comma at the end", br#"{"quantity":1,}"#.to_vec()),
        ("a NUL", b"{\0}".to_vec()),
        ("an open string", br#"{"user_id":""#.to_vec()),
        (
            "a long string",
            format!("{{\"user_id\":\"{}\"}}", "x".repeat(500_000)).into_bytes(),
        ),
    ]
}

/// A body with the same key twice: which of them counts is nobody's business.
fn twice(user: &str) -> String {
    format!(
        r#"{{"user_id":"{user}","item_id":"{user}","quantity":1,"quantity":2,"value":1,"value":2,"total":1,"total":2,"update_time":"{0}","update_time":"{0}"}}"#,
        at_minute(1)
    )
}

#[test]
fn a_body_that_is_made_to_do_harm_is_refused_with_4xx() {
    let node = Node::builder().shop().start();
    let order = node.create_order();
    let before = node.order(&order);
    let invoice = format!(
        "/invoices/{}",
        before["invoice_id"].as_str().expect("it is text")
    );
    for (what, body) in bodies() {
        for (method, path) in [
            ("POST", "/orders"),
            ("PATCH", &order.path()),
            ("POST", "/invoices"),
            ("PATCH", &invoice),
        ] {
            let answer = node.call(method, path).body(body.clone()).send();
            assert!(
                (400..500).contains(&answer.status),
                "{what} to {method} {path}: {} {}",
                answer.status,
                answer.text(),
            );
        }
    }
    assert_eq!(node.assert_invoice_fits(&order), before);
}

#[test]
fn a_key_that_is_there_twice_is_refused() {
    let node = Node::builder().shop().start();
    let order = node.create_order();
    let user = uuid();
    for (method, path) in [
        ("POST", "/orders"),
        ("PATCH", &order.path()),
        ("POST", "/invoices"),
    ] {
        let status = node.call(method, path).text(&twice(&user)).send().status;
        assert_eq!(status, 422, "{method} {path}");
    }
    assert_eq!(
        node.orders_of(&json!(user)),
        Vec::<serde_json::Value>::new()
    );
}

#[test]
fn a_query_that_is_made_to_do_harm_is_refused_with_4xx() {
    let node = Node::builder().shop().start();
    for query in [
        "user_id=".to_owned(),
        "user_id=nobody".to_owned(),
        "user_id=%ff".to_owned(),
        "user_id=%zz".to_owned(),
        format!("user_id={0}&user_id={0}", uuid()),
        format!("user_id={}&page_token=nonsense", uuid()),
        format!("user_id={}&page_token=%00", uuid()),
        format!("user_id={}&page_token={}", uuid(), "x".repeat(5_000)),
        String::new(),
    ] {
        let answer = node.get(&format!("/orders?{query}"));
        assert!(
            answer.status == 200 || (400..500).contains(&answer.status),
            "{query}: {} {}",
            answer.status,
            answer.text(),
        );
    }
}
