//! The administrators' listener: probes, metrics, and who may see them.

use crate::harness::{BOUND, HeldLock, Node, eventually, guest_dir, request, secret_of};
use serde_json::Value;
use std::time::Instant;
use toml::Value as Toml;

/// The value of one series of a scrape.
#[track_caller]
fn value(scrape: &str, series: &str) -> f64 {
    let found = scrape.lines().find_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        (name == series).then(|| value.parse().expect("a sample is a number"))
    });
    found.unwrap_or_else(|| panic!("no {series} in:\n{scrape}"))
}

#[track_caller]
fn scrape(node: &Node) -> String {
    let answer = node.admin().send(&request("GET", "/metrics")).expect(200);
    let kind = answer.header("content-type").expect("it has a type");
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    answer.text()
}

#[test]
fn a_node_that_serves_is_alive_and_ready_and_says_why() {
    let node = Node::builder().shop().start();
    let mut admin = node.admin();
    let alive = admin.send(&request("GET", "/healthz")).expect(200);
    assert_eq!(alive.text(), "ok\n");
    let ready = admin.send(&request("GET", "/readyz")).expect(200).json();
    assert_eq!(ready["ready"], true);
    let checks: Vec<&Value> = ready["checks"]
        .as_array()
        .expect("it is a list")
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(checks, ["store", "components", "serving"]);
    let index = admin.send(&request("GET", "/")).expect(200);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert!(index.text().contains(path), "{}", index.text());
    }
    admin
        .send(&request("GET", "/nothing"))
        .expect_problem(404, "NO_ROUTE");
    let wrong = admin.send(&request("POST", "/metrics"));
    let wrong = wrong.expect_problem(405, "METHOD_NOT_ALLOWED");
    assert_eq!(wrong.header("allow"), Some("GET,HEAD"));
}

#[test]
fn a_node_that_ends_is_not_ready_and_stays_to_say_so() {
    let mut node = Node::builder()
        .changed(&guest_dir("probe"), |manifest| {
            manifest["limits"]["deadline"] = Toml::from("60s");
        })
        .start();
    let mut connection = node.connect();
    let hold = HeldLock::request("item/drain", 3_000);
    connection.send(&hold.to_bytes()).expect("the node reads");
    node.wait_until_held("item/drain");
    let mut admin = node.admin();
    admin.send(&request("GET", "/readyz")).expect(200);
    node.signal_term();
    let told = Instant::now();
    let report = eventually("it is not ready", || {
        let answer = admin.send(&request("GET", "/readyz"));
        (answer.status == 503).then(|| answer.json())
    });
    assert!(told.elapsed() < BOUND / 10, "{:?}", told.elapsed());
    assert_eq!(report["ready"], false);
    // New connections to it are still taken, and others are not.
    node.admin().send(&request("GET", "/healthz")).expect(200);
    eventually("no new requests are taken", || {
        std::net::TcpStream::connect(node.listener("http"))
            .is_err()
            .then_some(())
    });
    connection
        .answer_to("POST")
        .expect("it is finished")
        .expect(200);
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn what_happened_is_counted() {
    let node = Node::builder().shop().guest("probe").start();
    let order = node.create_order();
    node.get(&order.path()).expect(200);
    node.get("/orders/nobody-has-this").expect(404);
    node.get("/nowhere").expect_problem(404, "NO_ROUTE");
    node.run("probe", ["trap"]).expect(500);
    node.run("probe", ["acquire item/a"]).expect(200);
    let held = HeldLock::hold(&node, "item/b");
    let scrape = scrape(&node);
    for (series, expected) in [
        (
            "lockport_requests_total{component=\"order\",outcome=\"success\",route=\"/orders\"}",
            1.0,
        ),
        (
            "lockport_requests_total{component=\"order\",outcome=\"success\",route=\"/orders/{id}\"}",
            1.0,
        ),
        (
            "lockport_requests_total{component=\"order\",outcome=\"client_error\",route=\"/orders/{id}\"}",
            1.0,
        ),
        (
            "lockport_requests_total{component=\"-\",outcome=\"refused\",route=\"-\"}",
            1.0,
        ),
        (
            "lockport_request_duration_seconds_count{component=\"order\",route=\"/orders\"}",
            1.0,
        ),
        ("lockport_refusals_total{reason=\"NO_ROUTE\"}", 1.0),
        ("lockport_refusals_total{reason=\"HANDLER_FAILED\"}", 1.0),
        (
            "lockport_handler_failures_total{component=\"probe\",kind=\"trap\"}",
            1.0,
        ),
        (
            "lockport_instances{component=\"probe\",state=\"busy\"}",
            1.0,
        ),
        ("lockport_locks_held", 1.0),
        ("lockport_locks_waiting", 0.0),
        ("lockport_connections{listener=\"admin\"}", 1.0),
        ("lockport_connections{listener=\"lock\"}", 0.0),
        ("locked_total", 0.0),
    ] {
        assert_eq!(value(&scrape, series), expected, "{series}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("lockport_build_info{{version=\"{version}\"}}");
    assert_eq!(value(&scrape, &build), 1.0);
    let committed = value(
        &scrape,
        "lockport_transactions_total{outcome=\"committed\"}",
    );
    assert!(committed >= 3.0, "{committed}");
    let discarded = value(
        &scrape,
        "lockport_transactions_total{outcome=\"discarded\"}",
    );
    assert!(discarded >= 2.0, "{discarded}");
    assert!(value(&scrape, "lockport_locks_granted_total") >= 2.0);
    assert!(value(&scrape, "process_resident_memory_bytes") > 1e6);
    held.give_back(&node);
}

#[test]
fn a_client_that_goes_away_is_counted_as_such() {
    let node = Node::builder().guest("probe").start();
    drop(HeldLock::hold(&node, "item/a"));
    let series =
        "lockport_requests_total{component=\"probe\",outcome=\"abandoned\",route=\"/probe\"}";
    eventually("it is counted", || {
        (value(&scrape(&node), series) >= 1.0).then_some(())
    });
}

#[test]
fn with_tokens_metrics_are_an_operator_s_and_probes_are_everybody_s() {
    let node = Node::builder()
        .token("ops", true, &["**"])
        .token("billing", false, &["invoice/**"])
        .start();
    let mut admin = node.admin();
    let mut ask = |path: &str, principal: Option<&str>| {
        let mut asked = request("GET", path);
        if let Some(principal) = principal {
            asked = asked.header("authorization", &format!("Bearer {}", secret_of(principal)));
        }
        admin.send(&asked)
    };
    for path in ["/healthz", "/readyz"] {
        ask(path, None).expect(200);
    }
    for path in ["/", "/metrics", "/nothing"] {
        let refused = ask(path, None).expect_problem(401, "UNAUTHENTICATED");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        ask(path, Some("billing")).expect_problem(403, "ACCESS_DENIED");
    }
    ask("/metrics", Some("ops")).expect(200);
    ask("/metrics", Some("nobody")).expect_problem(401, "UNAUTHENTICATED");
}
