//! The JSON form of the lock API, as somebody writes it who has only read about
//! it; and JSON that nobody should have to read.

use crate::harness::{Answer, JsonApi, LockApi, Node, Refused, Speaks, Storage, acquire, request};
use lockport_proto::lock::AcquireRequest;
use serde_json::{Value, json};

on_every_store! {
    the_json_form_is_the_one_that_is_documented,
    looking_and_listing_in_json_show_everything_but_secrets,
}

fn the_json_form_is_the_one_that_is_documented(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let api = JsonApi::of(&node);
    let asked = r#"{"names": ["order/1", "stock/7"], "lease": "20s", "requestId": "r1",
        "holder": "a script", "owner": "o"}"#;
    let grant = ok(api.post("/v1/locks:acquire", asked))["grant"].clone();
    let id = grant["id"].as_str().expect("it is text");
    assert!(
        id.len() == 48 && id.bytes().all(|it| it.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(grant["names"], json!(["order/1", "stock/7"]));
    assert_eq!(grant["mode"], "MODE_EXCLUSIVE");
    assert_eq!(grant["holder"], "a script");
    assert_is_time(&grant["acquireTime"]);
    assert!(
        (19.0..=20.0).contains(&seconds(&grant["remaining"])),
        "{grant}"
    );
    let token = grant["fencingToken"].as_str().expect("64 bits are text");
    let number: u64 = token.parse().expect("it is a number");
    assert!(number > 0 && number < 1 << 53, "it is exact everywhere");

    // Names of the proto are understood as well, and so is a number as text.
    let asked = r#"{"names": ["order/1"], "request_id": "r2", "mode": 2}"#;
    problem(api.post("/v1/locks:acquire", asked), 409, "HELD");
    let asked = json!({"grant": id, "lease": "30.5s"}).to_string();
    let renewed = ok(api.post("/v1/locks:renew", &asked))["grant"].clone();
    assert_eq!(renewed["fencingToken"], token);
    assert!(
        (29.5..=30.5).contains(&seconds(&renewed["remaining"])),
        "{renewed}"
    );

    let asked = json!({"name": "stock/7", "reason": "it is in the way"}).to_string();
    let taken = ok(api.post("/v1/locks:forceRelease", &asked))["taken"].clone();
    assert_eq!(taken[0]["fencingToken"], token);
    assert_eq!(taken[0]["names"], json!(["order/1", "stock/7"]));
    let asked = json!({"grant": id}).to_string();
    problem(api.post("/v1/locks:renew", &asked), 412, "LOST");
    let told = ok(api.post("/v1/locks:release", &asked));
    assert_eq!(told, json!({"outcome": "OUTCOME_ALREADY"}));
    let told = ok(api.post("/v1/locks:cancel", r#"{"requestId": "unseen"}"#));
    assert_eq!(told, json!({"outcome": "OUTCOME_CANCELLED"}));
}

fn looking_and_listing_in_json_show_everything_but_secrets(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let api = JsonApi::of(&node);
    let grant = LockApi::of(&node).grant(AcquireRequest {
        holder: "a script".to_owned(),
        owner: "o".to_owned(),
        ..acquire(["order/1", "stock/7"])
    });
    // Slashes in a name may be encoded or not; it is decoded once.
    for path in ["order/1", "order%2F1", "order%2f%31"] {
        let lock = ok(api.get(&format!("/v1/locks/{path}")))["lock"].clone();
        assert_eq!(lock["name"], "order/1", "{lock}");
        assert_eq!(lock["lastFencingToken"], grant.fencing_token.to_string());
        assert_eq!(lock["holderCount"], 1);
        let holder = &lock["holders"][0];
        assert_eq!(holder["holder"], "a script");
        assert_eq!(holder["owner"], "o");
        assert_eq!(holder["kind"], "HOLDER_KIND_CALLER");
        assert!(seconds(&holder["remaining"]) <= 30.0);
        assert!(
            !lock.to_string().contains(&grant.id),
            "the secret is shown: {lock}"
        );
    }
    let lock = ok(api.get("/v1/locks/order%252F1"))["lock"].clone();
    assert_eq!(lock["name"], "order%2F1");
    let page = ok(api.get("/v1/locks?pageSize=1"));
    assert_eq!(page["locks"][0]["name"], "order/1");
    let next = page["nextPageToken"].as_str().expect("there is more");
    let next = crate::harness::encoded(next);
    let page = ok(api.get(&format!("/v1/locks?pageSize=1&pageToken={next}")));
    assert_eq!(page["locks"][0]["name"], "stock/7");
    let page = ok(api.get("/v1/locks?prefix=stock%2F&pageSize=10"));
    assert_eq!(page["locks"].as_array().map(Vec::len), Some(1));
    assert!(page["nextPageToken"].as_str().is_none_or(str::is_empty));
}

/// Bodies that are no JSON, or not what is asked for.
const HOSTILE_BODIES: &[&str] = &[
    // Not JSON.
    "",
    "{",
    "[]",
    "null",
    "1",
    "\"a\"",
    "{}{}",
    "{\"names\": [\"a\"]} x",
    "{'names': ['a']}",
    "{\"names\": [\"a\",]}",
    "{\"names\": [\"a\"], }",
    "{names: [\"a\"]}",
    "{\"names\": [\"a\"], // why\n \"holder\": \"b\"}",
    // Not what is asked for.
    r#"{"names": "a"}"#,
    r#"{"names": [1]}"#,
    r#"{"names": ["a"], "nonsense": 1}"#,
    r#"{"names": ["a"], "Lease": "1s"}"#,
    r#"{"names": ["a"], "lease": 1}"#,
    r#"{"names": ["a"], "lease": "1"}"#,
    r#"{"names": ["a"], "lease": "soon"}"#,
    r#"{"names": ["a"], "lease": "99999999999999999999s"}"#,
    r#"{"names": ["a"], "mode": "MODE_NONSENSE"}"#,
    r#"{"names": ["a"], "mode": 1.5}"#,
    // Twice.
    r#"{"names": ["a"], "names": ["b"]}"#,
    r#"{"names": ["a"], "requestId": "1", "request_id": "2"}"#,
    // Numbers that are none, or that do not fit.
    r#"{"names": ["a"], "permits": NaN}"#,
    r#"{"names": ["a"], "permits": Infinity}"#,
    r#"{"names": ["a"], "permits": -1}"#,
    r#"{"names": ["a"], "permits": 4294967296}"#,
    r#"{"names": ["a"], "permits": 18446744073709551616}"#,
    r#"{"names": ["a"], "permits": 1e400}"#,
    r#"{"names": ["a"], "permits": "x"}"#,
    // Text that is none.
    r#"{"names": ["\ud800"]}"#,
    r#"{"names": ["\udc00\ud800"]}"#,
    r#"{"names": ["\x"]}"#,
    "{\"names\": [\"a\nb\"]}",
];

#[test]
fn h5_json_that_is_broken_or_says_what_is_not_known_is_a_problem_and_nothing_happens() {
    let node = Node::builder().start();
    let api = JsonApi::of(&node);
    for body in hostile_bodies() {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let post = request("POST", "/v1/locks:acquire")
            .header("content-type", "application/json")
            .body(body);
        let answer = api.send(post);
        assert_eq!(answer.status, 400, "{shown}: {}", answer.text());
        let refused = Refused::of_problem(&answer);
        assert!(
            refused.reason.starts_with("INVALID_"),
            "{shown}: {refused:?}"
        );
        assert!(answer.body.len() < 4_096, "{shown}: {}", answer.text());
    }
    assert!(LockApi::of(&node).list("", 10).is_empty());
}

/// The same, and those that are no text or very deep.
fn hostile_bodies() -> Vec<Vec<u8>> {
    let deep = |depth: usize, open: &str, close: &str| {
        let (open, close) = (open.repeat(depth), close.repeat(depth));
        format!(r#"{{"names": {open}{close}}}"#)
    };
    HOSTILE_BODIES
        .iter()
        .map(|body| body.as_bytes().to_vec())
        .chain([
            b"{\"names\": [\"\xff\"]}".to_vec(),
            b"{\"names\": [\"\xed\xa0\x80\"]}".to_vec(),
            b"\xef\xbb\xbf\xfe".to_vec(),
            deep(100_000, "[", "]").into_bytes(),
            // As deep as it may be long.
            deep(50_000, r#"{"":"#, "}").into_bytes(),
            "[".repeat(100_000).into_bytes(),
        ])
        .collect()
}

#[test]
fn what_is_asked_in_the_wrong_way_is_a_problem_that_says_which() {
    let node = Node::builder().start();
    let api = JsonApi::of(&node);
    for target in ["/", "/v1", "/v1/nothing", "/v2/locks", "/v1/locks:nothing"] {
        problem(api.get(target), 404, "NOT_FOUND");
    }
    for (method, target, allow) in [
        ("GET", "/v1/locks:acquire", "POST"),
        ("DELETE", "/v1/locks:release", "POST"),
        ("POST", "/v1/locks", "GET"),
        ("PUT", "/v1/locks/a", "GET"),
    ] {
        let answer = api.send(request(method, target));
        let allowed = answer.header("allow").unwrap_or_default().to_owned();
        assert!(allowed.contains(allow), "{method} {target}: {allowed}");
        problem(answer, 405, "METHOD_NOT_ALLOWED");
    }
    let body = r#"{"names": ["a"]}"#;
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
    ] {
        let post = request("POST", "/v1/locks:acquire")
            .header("content-type", content_type)
            .body(body);
        problem(api.send(post), 415, "UNSUPPORTED_MEDIA_TYPE");
    }
    for query in [
        "?nonsense=1",
        "?page_size=x",
        "?pageSize=-1",
        "?pageSize=1&pageSize=2",
    ] {
        let answer = api.get(&format!("/v1/locks{query}"));
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
    let large = json!({"names": ["a"], "holder": "x".repeat(1 << 20)}).to_string();
    problem(api.post("/v1/locks:acquire", &large), 413, "TOO_LARGE");
    assert!(LockApi::of(&node).list("", 10).is_empty());

    // The content type may be left out, or say more than it has to.
    let post = request("POST", "/v1/locks:acquire").body(body);
    ok(api.send(post.header("content-type", "application/json; charset=utf-8")));
    let post = request("POST", "/v1/locks:acquire").body(r#"{"names": ["b"]}"#);
    ok(api.send(post));
}

#[test]
fn grpc_and_json_are_served_on_one_port_at_once() {
    let node = Node::builder().start();
    let (grpc, json) = (LockApi::of(&node), JsonApi::of(&node));
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (grpc, json) = (&grpc, &json);
            scope.spawn(move || {
                for round in 0..50 {
                    let ways: [&dyn Speaks; 2] = [grpc, json];
                    let [first, second] = [round % 2, (round + 1) % 2].map(|it| ways[it]);
                    let grant = first.grant(acquire([format!("{client}/{round}")]));
                    second.renew(&grant.id, None).expect("it is held");
                    first.release(&grant.id).expect("it is held");
                }
            });
        }
    });
}

#[track_caller]
fn ok(answer: Answer) -> Value {
    let answer = answer.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()
}

#[track_caller]
fn problem(answer: Answer, status: u16, reason: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let refused = Refused::of_problem(&answer);
    assert_eq!(refused.reason, reason, "{refused:?}");
}

/// The seconds of a duration as proto3 JSON has it.
#[track_caller]
fn seconds(value: &Value) -> f64 {
    let text = value.as_str().expect("a duration is text");
    let number = text.strip_suffix('s').expect("it is in seconds");
    number.parse().expect("it is a number")
}

#[track_caller]
fn assert_is_time(value: &Value) {
    let text = value.as_str().expect("a time is text");
    // Either form of UTC is RFC 3339.
    let utc = text
        .strip_suffix('Z')
        .or_else(|| text.strip_suffix("+00:00"));
    assert!(
        utc.is_some_and(|it| it.as_bytes().get(10) == Some(&b'T')),
        "{text}"
    );
}
