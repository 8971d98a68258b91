//! The front door: which request reaches which component, and what happens to
//! those that should reach none.

use crate::harness::{Node, assert_shop_error, request, uuid};
use serde_json::json;

fn shop() -> Node {
    Node::builder().shop().start()
}

#[test]
fn a_path_that_no_component_serves_is_a_404_problem() {
    let node = shop();
    for target in [
        "/",
        "/order",
        "/orders/1/2",
        "/pin",
        "/ping/",
        "/PING",
        "/probe",
    ] {
        let answer = node.get(target).expect_problem(404, "NO_ROUTE");
        assert!(
            !answer.text().contains("wasm"),
            "nothing internal: {}",
            answer.text()
        );
    }
}

#[test]
fn a_method_that_the_route_does_not_take_is_405_with_the_ones_it_does() {
    let node = shop();
    let answer = node
        .call("POST", "/ping")
        .send()
        .expect_problem(405, "METHOD_NOT_ALLOWED");
    assert!(allowed(answer.header("allow")).contains(&"GET".to_owned()));

    let answer = node.call("PUT", &format!("/orders/{}", uuid())).send();
    let answer = answer.expect_problem(405, "METHOD_NOT_ALLOWED");
    let allowed = allowed(answer.header("allow"));
    for method in ["DELETE", "GET", "PATCH"] {
        assert!(allowed.contains(&method.to_owned()), "{allowed:?}");
    }
    assert!(!allowed.contains(&"PUT".to_owned()), "{allowed:?}");
}

#[test]
fn every_answer_names_its_request_and_so_does_the_log() {
    let node = shop();
    let answer = node.get("/ping").expect(200);
    let minted = answer
        .header("x-request-id")
        .expect("it is there")
        .to_owned();
    let again = node.get("/ping").expect(200);
    assert_ne!(again.header("x-request-id"), Some(minted.as_str()));
    node.logs().wait_for(&minted);

    let given = "the-client-s.own_id-1";
    let answer = node
        .call("GET", "/ping")
        .header("x-request-id", given)
        .send()
        .expect(200);
    assert_eq!(answer.header("x-request-id"), Some(given));
    node.logs().wait_for(given);
}

#[test]
fn a_request_id_that_could_harm_a_log_is_replaced() {
    let node = shop();
    for bad in [
        "",
        "a b",
        "a\tb",
        "\"quoted\"",
        "a=b{c}",
        &"x".repeat(1_000),
    ] {
        let answer = node
            .call("GET", "/ping")
            .header("x-request-id", bad)
            .send()
            .expect(200);
        let id = answer.header("x-request-id").expect("it is there");
        assert_ne!(id, bad);
        assert!(id.bytes().all(|b| b.is_ascii_graphic()), "{id}");
    }
}

#[test]
fn an_encoded_slash_stays_in_its_parameter() {
    let node = shop();
    // The component answers, hence the route was `/orders/{id}`.
    assert_shop_error(&node.get("/orders/a%2Fb"), 404);
    assert_shop_error(&node.get("/orders/a%2F..b"), 404);
    // What a handler could join to a path of its own is nobody's parameter.
    let answer = node.get("/orders/%2e%2e%2fping");
    answer.expect_problem(400, "INVALID_TARGET");
}

#[test]
fn control_characters_in_a_parameter_are_only_text() {
    let node = shop();
    for segment in ["%00", "a%0d%0aset-cookie:%20b", "%1b[31m", "%7f"] {
        let answer = node.get(&format!("/orders/{segment}"));
        assert_shop_error(&answer, 404);
        assert_eq!(answer.header("set-cookie"), None);
    }
    assert!(
        !node.logs().text().contains('\u{1b}'),
        "a control character went into the log"
    );
}

#[test]
fn the_absolute_form_is_routed_by_its_path() {
    let node = shop();
    let answer = node.send_raw(b"GET http://shop.test/ping HTTP/1.1\r\nhost: shop.test\r\n\r\n");
    assert_eq!(answer.expect(200).json(), json!({"message": "pong"}));
    let answer = node.send_raw(b"GET http://shop.test HTTP/1.1\r\nhost: shop.test\r\n\r\n");
    answer.expect_problem(404, "NO_ROUTE");
}

#[test]
fn the_request_line_cannot_name_a_component_behind_the_gateway() {
    let node = shop();
    // An address that is only for components means nothing from outside.
    for bytes in [
        b"GET http://invoice.internal/ping HTTP/1.1\r\nhost: invoice.internal\r\n\r\n".as_slice(),
        b"GET http://invoice.internal/ping HTTP/1.1\r\nhost: shop.test\r\n\r\n",
        b"GET http://user:pass@shop.test/ping HTTP/1.1\r\nhost: shop.test\r\n\r\n",
    ] {
        let answer = node.send_raw(bytes);
        let text = String::from_utf8_lossy(bytes);
        assert!(
            [200, 400, 404].contains(&answer.status),
            "{text}: {}",
            answer.status
        );
        if answer.status == 200 {
            assert_eq!(
                answer.json(),
                json!({"message": "pong"}),
                "routed by its path"
            );
        }
    }
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let node = shop();
    let mut connection = node.connect();
    let ping = request("GET", "/ping").to_bytes();
    for _ in 0..10 {
        connection.send(&ping).expect("the node reads");
        connection.answer_to("GET").expect("it answers").expect(200);
    }
    // An error of ours is no reason to close.
    connection
        .send(&request("GET", "/nowhere").to_bytes())
        .expect("the node reads");
    connection.answer_to("GET").expect("it answers").expect(404);
    connection.send(&ping).expect("the node reads");
    connection.answer_to("GET").expect("it answers").expect(200);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let node = shop();
    let mut connection = node.connect();
    let targets = ["/ping", "/orders/a", "/nowhere", "/ping"];
    let bytes: Vec<u8> = targets
        .iter()
        .flat_map(|target| request("GET", target).to_bytes())
        .collect();
    connection.send(&bytes).expect("the node reads");
    let statuses = targets.map(|_| connection.answer_to("GET").expect("it answers").status);
    assert_eq!(statuses, [200, 404, 404, 200]);
}

#[test]
fn head_has_the_head_of_get_and_no_body() {
    let node = shop();
    let get = node.get("/ping").expect(200);
    let mut connection = node.connect();
    connection
        .send(&request("HEAD", "/ping").to_bytes())
        .expect("the node reads");
    let head = connection
        .answer_to("HEAD")
        .expect("it answers")
        .expect(200);
    assert_eq!(head.header("content-type"), get.header("content-type"));
    // A body would be read as the beginning of the next answer.
    connection
        .send(&request("GET", "/ping").to_bytes())
        .expect("the node reads");
    assert_eq!(
        connection.answer_to("GET").expect("it answers").body,
        get.body
    );
}

#[test]
fn a_client_that_expects_100_continue_is_told_to() {
    let node = shop();
    let body = crate::harness::new_order(1, 10).to_string();
    let mut connection = node.connect();
    let head = format!(
        "POST /orders HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len(),
    );
    connection.send(head.as_bytes()).expect("the node reads");
    assert_eq!(connection.head().expect("it answers").0, 100);
    connection.send(body.as_bytes()).expect("the node reads");
    connection
        .answer_to("POST")
        .expect("it answers")
        .expect(201);
}

fn allowed(allow: Option<&str>) -> Vec<String> {
    let allow = allow.expect("a 405 has `allow`");
    allow
        .split(',')
        .map(|method| method.trim().to_owned())
        .collect()
}
