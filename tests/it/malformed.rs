//! Requests that no decent client sends: refused by rule, never read in two
//! ways, and nobody else is kept waiting for them.

use crate::harness::{Node, request};
use serde_json::json;

fn shop() -> Node {
    Node::builder().shop().start()
}

#[test]
fn a_target_that_is_not_a_plain_path_is_refused() {
    let node = shop();
    for target in [
        "//ping",
        "//orders/1",
        "/orders//1",
        "/../ping",
        "/orders/../ping",
        "/orders/./1",
        "/orders/%2e%2e/ping",
        "/orders/.%2E",
        "/orders/%",
        "/orders/%2",
        "/orders/%zz",
        "/orders/%ff",
        "/orders/%c0%af",
    ] {
        let line = format!("GET {target} HTTP/1.1\r\nhost: shop.test\r\n\r\n");
        let answer = node.send_raw(line.as_bytes());
        assert_eq!(answer.status, 400, "{target}: {}", answer.text());
    }
    for line in [
        "GET ping HTTP/1.1\r\nhost: shop.test\r\n\r\n",
        "GET * HTTP/1.1\r\nhost: shop.test\r\n\r\n",
        "CONNECT shop.test:80 HTTP/1.1\r\nhost: shop.test:80\r\n\r\n",
    ] {
        let status = node.send_raw(line.as_bytes()).status;
        assert!((400..500).contains(&status), "{line}: {status}");
    }
    node.get("/ping").expect(200);
}

#[test]
fn a_request_names_exactly_one_host() {
    let node = shop();
    for head in [
        "GET /ping HTTP/1.1\r\n\r\n",
        "GET /ping HTTP/1.1\r\nhost: a.test\r\nhost: b.test\r\n\r\n",
        "GET /ping HTTP/1.1\r\nhost: a b\r\n\r\n",
    ] {
        assert_eq!(node.send_raw(head.as_bytes()).status, 400, "{head}");
    }
}

#[test]
fn a_body_that_says_it_is_too_long_is_refused_before_it_is_sent() {
    let node = shop();
    let mut connection = node.connect();
    let head = "POST /orders HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 10000000000\r\n\r\n";
    connection.send(head.as_bytes()).expect("the node reads");
    let answer = connection
        .answer_to("POST")
        .expect("it does not wait for the body");
    answer.expect_problem(413, "BODY_TOO_LARGE");
}

#[test]
fn a_body_that_turns_out_too_long_is_refused() {
    let node = Node::builder()
        .shop()
        .set("limits.request_body", "64KiB")
        .start();
    let mut connection = node.connect();
    let head = "POST /orders HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.send(head.as_bytes()).expect("the node reads");
    let chunk = [b"2000\r\n".as_slice(), &[b' '; 0x2000], b"\r\n"].concat();
    for _ in 0..9 {
        // It may have answered and closed already.
        if connection.send(&chunk).is_err() {
            break;
        }
    }
    let answer = connection
        .answer_to("POST")
        .expect("it answers before the end");
    answer.expect_problem(413, "BODY_TOO_LARGE");
    node.get("/ping").expect(200);
}

#[test]
fn headers_that_are_too_large_are_431() {
    let node = shop();
    let long = format!(
        "GET /ping HTTP/1.1\r\nhost: a.test\r\nx: {}\r\n\r\n",
        "y".repeat(1 << 20)
    );
    let many = (0..2_000)
        .map(|n| format!("x-{n}: 1\r\n"))
        .collect::<String>();
    let many = format!("GET /ping HTTP/1.1\r\nhost: a.test\r\n{many}\r\n");
    for head in [long, many] {
        let mut connection = node.connect();
        // It may answer and close before everything is sent.
        let _ = connection.send(head.as_bytes());
        match connection.answer_to("GET") {
            Ok(answer) => assert_eq!(answer.status, 431),
            Err(error) => panic!("no answer to large headers: {error}"),
        }
    }
    node.get("/ping").expect(200);
}

#[test]
fn a_target_that_is_too_long_is_refused() {
    let node = shop();
    let line = format!(
        "GET /{} HTTP/1.1\r\nhost: a.test\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let mut connection = node.connect();
    let _ = connection.send(line.as_bytes());
    let status = connection.answer_to("GET").expect("it answers").status;
    assert!([400, 414, 431].contains(&status), "{status}");
    node.get("/ping").expect(200);
}

#[test]
fn framing_that_two_readers_could_read_differently_is_refused() {
    let node = shop();
    let smuggled = "GET /ping HTTP/1.1\r\nhost: a.test\r\n\r\n";
    for framing in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: +5\r\n",
        "content-length: -1\r\n",
        "content-length: 0x5\r\n",
        "content-length: 5, 6\r\n",
        "content-length: five\r\n",
        "content-length: 18446744073709551616\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding: gzip\r\n",
        "content-length : 5\r\n",
    ] {
        let mut connection = node.connect();
        let bytes = format!("POST /ping HTTP/1.1\r\nhost: a.test\r\n{framing}\r\n{smuggled}");
        connection.send(bytes.as_bytes()).expect("the node reads");
        let answer = connection.answer_to("POST").expect("it answers");
        assert_eq!(answer.status, 400, "{framing}: {}", answer.text());
        assert!(
            connection.is_closed_silently(),
            "{framing}: what followed was read as a request"
        );
    }
    node.get("/ping").expect(200);
}

#[test]
fn a_length_beside_chunks_never_smuggles_a_request() {
    let node = shop();
    let mut connection = node.connect();
    let bytes = "POST /ping HTTP/1.1\r\nhost: a.test\r\ncontent-length: 4\r\n\
                 transfer-encoding: chunked\r\n\r\n\
                 0\r\n\r\nGET /ping HTTP/1.1\r\nhost: a.test\r\n\r\n";
    connection.send(bytes.as_bytes()).expect("the node reads");
    // RFC 9112 allows to go by the chunks, if the connection ends with it.
    let first = connection.answer_to("POST").expect("it answers").status;
    assert!([400, 405].contains(&first), "{first}");
    assert!(
        connection.is_closed_silently(),
        "the rest was read as a request"
    );
}

#[test]
fn chunks_that_are_garbage_end_in_an_error_and_harm_nobody() {
    let node = shop();
    for chunks in [
        "zz\r\n",
        "5\r\nabcdefgh\r\n0\r\n\r\n",
        "-5\r\nabcde\r\n",
        "ffffffffffffffffff\r\n",
        "5;x=\"\r\nabc",
    ] {
        let mut connection = node.connect();
        let head = "POST /orders HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n";
        connection.send(head.as_bytes()).expect("the node reads");
        connection.send(chunks.as_bytes()).expect("the node reads");
        connection.finish_sending().expect("it is open");
        if let Ok(answer) = connection.answer_to("POST") {
            assert!(
                (400..500).contains(&answer.status),
                "{chunks:?}: {}",
                answer.status
            );
        }
    }
    node.get("/ping").expect(200);
}

#[test]
fn a_body_that_breaks_off_changes_nothing() {
    let node = shop();
    let body = crate::harness::new_order(1, 10);
    let user = body["user_id"].as_str().expect("it is text").to_owned();
    let whole = request("POST", "/orders").json(body).to_bytes();
    let mut connection = node.connect();
    connection
        .send(&whole[..whole.len() - 1])
        .expect("the node reads");
    connection.finish_sending().expect("it is open");
    if let Ok(answer) = connection.answer_to("POST") {
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    let listed = node
        .get(&format!("/orders?user_id={user}"))
        .expect(200)
        .json();
    assert_eq!(listed["orders"], json!([]));
}
