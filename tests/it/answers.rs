//! What a handler says beyond its answer: headers that are not its to set,
//! lengths that are wrong, and its log.

use crate::harness::{BodyEnd, Node, request, steps};

fn node() -> Node {
    Node::builder().guest("probe").start()
}

#[test]
fn why_a_handler_failed_is_in_the_log_once_with_its_request() {
    let node = node();
    let answer = node.run("probe", ["trap"]).expect(500);
    let id = answer.json()["request_id"]
        .as_str()
        .expect("it is text")
        .to_owned();
    let line = node.logs().wait_for("unreachable");
    assert!(line.contains(&id), "{line}");
    let count = node
        .logs()
        .lines()
        .iter()
        .filter(|line| line.contains("unreachable"))
        .count();
    assert_eq!(count, 1, "{}", node.logs().text());
}

#[test]
fn headers_of_an_answer_are_limited_and_cleaned() {
    let node = node();
    for list in [
        ["headers 100000 1"],
        ["headers 1 10000000"],
        ["headers 2000 2000"],
    ] {
        let answer = node.run("probe", list);
        assert!(
            [200, 422, 500].contains(&answer.status),
            "{list:?}: {} {}",
            answer.status,
            answer.text(),
        );
    }
    for name in [
        "connection",
        "keep-alive",
        "transfer-encoding",
        "upgrade",
        "proxy-authenticate",
        "te",
    ] {
        let answer = node
            .run("probe", [format!("try header {name} close")])
            .expect(200);
        assert_ne!(
            answer.header(name),
            Some("close"),
            "{name} is the gateway's"
        );
    }
    let answer = node
        .run("probe", ["header x-mine yes", "header x-mine too"])
        .expect(200);
    assert_eq!(
        answer
            .headers
            .iter()
            .filter(|(name, _)| name == "x-mine")
            .count(),
        2
    );
}

#[test]
fn a_length_that_is_wrong_never_smuggles_an_answer() {
    let node = node();
    for length in ["3", "+5", "100000", "-1", "nonsense", "5, 6"] {
        let mut connection = node.connect();
        let list = [format!("try header content-length {length}")];
        connection
            .send(&steps("probe", list).to_bytes())
            .expect("the node reads");
        let first = connection.answer_to("POST");
        // Either the connection is over, or the next answer is a whole one.
        if connection
            .send(&request("GET", "/nowhere").to_bytes())
            .is_err()
        {
            continue;
        }
        match (first, connection.answer_to("GET")) {
            (_, Err(_)) => {}
            (Ok(first), Ok(second)) => {
                assert_eq!(first.end, BodyEnd::Clean, "{length}: {}", first.text());
                second.expect_problem(404, "NO_ROUTE");
            }
            (Err(error), Ok(_)) => panic!("{length}: an answer after {error}"),
        }
    }
}

#[test]
fn what_a_handler_logs_is_limited_escaped_and_named() {
    let node = node();
    let answer = node.run("probe", ["log hello \u{1b}[31mred"]).expect(200);
    let line = node.logs().wait_for("hello");
    assert!(
        !line.contains('\u{1b}'),
        "a control character went through: {line}"
    );
    assert!(line.contains("probe"), "{line}");
    let id = answer.header("x-request-id").expect("it is there");
    assert!(line.contains(id), "{line}");

    node.run(
        "probe",
        ["log-size 10000000", "log-lines 10000", "log the end"],
    )
    .expect(200);
    node.run("probe", ["get notes a"]).expect(200);
    let longest = node.logs().lines().iter().map(String::len).max();
    assert!(longest < Some(64 << 10), "{longest:?}");
    let lines = node
        .logs()
        .lines()
        .iter()
        .filter(|line| line.contains("red"))
        .count();
    assert!(lines < 10_000, "every one of {lines} lines was let through");
}
