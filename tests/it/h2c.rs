//! HTTP/2 without TLS on the ports of HTTP/1.1: the same requests, the same
//! answers.

use crate::harness::{BodyEnd, H2, Node, Order, Storage, new_order, request, steps};
use serde_json::{Value, json};
use std::process::Command;

#[test]
fn a_shop_serves_both_protocols_alike() {
    for storage in [Storage::Memory, Storage::Embedded, Storage::Redis] {
        let node = Node::builder().shop().storage(storage).start();
        let h2 = node.h2();
        let created = h2
            .send(&request("POST", "/orders").json(new_order(3, 2.5)))
            .expect(201)
            .json();
        let order = Order {
            id: created["id"].as_str().expect("it has one").to_owned(),
        };
        // The call to the invoice was made, and committed with the order.
        let seen = node.assert_invoice_fits(&order);
        let same = h2.send(&request("GET", &order.path())).expect(200).json();
        assert_eq!(same, seen);
        let change = json!({"quantity": 7, "update_time": "2050-01-01T00:00:00Z"});
        h2.send(&request("PATCH", &order.path()).json(change))
            .expect(204);
        assert_eq!(node.assert_invoice_fits(&order)["quantity"], 7);
    }
}

#[test]
fn what_the_gateway_says_is_the_same() {
    let node = Node::builder().guest("probe").component("invoice").start();
    let h2 = node.h2();
    let nowhere = h2.send(&request("GET", "/nowhere").header("x-request-id", "mine"));
    let nowhere = nowhere.expect_problem(404, "NO_ROUTE");
    assert_eq!(nowhere.header("x-request-id"), Some("mine"));
    let wrong = h2.send(&request("PUT", "/invoices"));
    let wrong = wrong.expect_problem(405, "METHOD_NOT_ALLOWED");
    assert!(wrong.header("allow").is_some());
    h2.send(&request("GET", "/a//b"))
        .expect_problem(400, "INVALID_TARGET");
    h2.send(&steps("probe", ["trap"]))
        .expect_problem(500, "HANDLER_FAILED");
    // The connection lives on.
    h2.send(&steps("probe", ["about"])).expect(200);
}

#[test]
fn many_requests_of_one_connection_are_at_work_at_once() {
    let node = Node::builder().guest("probe").start();
    let h2 = node.h2();
    // Each waits for the lock that the one before it holds for a moment.
    let asked: Vec<_> = (0..50)
        .map(|_| {
            steps(
                "probe",
                ["acquire item/a wait=5000", "get notes a", "put notes a 1"],
            )
        })
        .collect();
    for answer in h2.send_all(&asked) {
        answer.expect(200);
    }
}

#[test]
fn bodies_beyond_every_window_arrive_whole_and_too_large_ones_are_refused() {
    let node = Node::builder()
        .guest("probe")
        .set("limits.request_body", "3MiB")
        .start();
    let h2 = node.h2();
    // Steps that cost nothing: each body is larger than the window of a
    // request, and all together are larger than that of the connection.
    let names = "try names\n".repeat(1_000_000 / 10);
    let large = request("POST", "/probe").body(format!("{names}about"));
    for answer in h2.send_all(&[large.clone(), large.clone(), large]) {
        let answer = answer.expect(200);
        assert_eq!(answer.end, BodyEnd::Clean);
        assert!(answer.body.len() > 1_000_000, "{}", answer.body.len());
        answer.step("about");
    }
    let too_large = request("POST", "/probe")
        .header("content-length", &(4_u32 << 20).to_string())
        .body("x".repeat(4 << 20));
    h2.send(&too_large).expect_problem(413, "BODY_TOO_LARGE");
    h2.send(&steps("probe", ["about"])).expect(200);
}

#[test]
fn cookies_reach_a_handler_as_one_header() {
    let node = Node::builder().guest("probe").start();
    let asked = steps("probe", ["incoming cookie"])
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    let answer = node.h2().send(&asked).expect(200);
    assert_eq!(answer.step("incoming"), "[a=1; b=2]");
}

#[test]
fn an_answer_that_breaks_off_is_cut_and_nothing_else_on_the_connection() {
    let node = Node::builder().guest("probe").start();
    let broken = steps("probe", ["head", "write 10", "sleep 100", "trap"]);
    let asked = [broken, steps("probe", ["about"])];
    let answers = node.h2().send_all(&asked);
    let ends: Vec<_> = answers.iter().map(|it| (it.status, it.end)).collect();
    assert_eq!(ends, [(200, BodyEnd::Cut), (200, BodyEnd::Clean)]);
}

#[test]
fn every_listener_speaks_both() {
    let node = Node::builder().shop().start();
    let admin = H2::connect(node.listener("admin"));
    let ready: Value = admin.send(&request("GET", "/readyz")).expect(200).json();
    assert_eq!(ready["ready"], true);
    let lock = H2::connect(node.listener("lock"));
    lock.send(&request("GET", "/v1/locks")).expect(200);
}

#[test]
fn curl_speaks_it_by_prior_knowledge() {
    let node = Node::builder().shop().start();
    let output = Command::new("curl")
        .args(["--http2-prior-knowledge", "--silent", "--show-error"])
        .args(["--write-out", " %{http_version}"])
        .arg(format!("{}/ping", node.url()))
        .output()
        .expect("curl is there");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.ends_with(" 2"), "{said}");
}
