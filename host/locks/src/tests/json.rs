//! JSON over HTTP/1.1: the routes of the annotations, and what is refused.

use super::node::{Node, Reply, Setup, request};
use http::Method;
use lockport_proto::{DESCRIPTORS, Reason};
use prost_reflect::{DescriptorPool, Value};
use serde_json::json;
use std::collections::BTreeMap;

const METHODS: [Method; 6] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// Path and method of every route that the annotations name.
fn annotated() -> BTreeMap<String, Method> {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let service = pool.get_service_by_name("lockport.lock.v1.LockService");
    let http = pool.get_extension_by_name("google.api.http").unwrap();
    let mut routes = BTreeMap::new();
    for method in service.unwrap().methods() {
        let options = method.options();
        if !options.has_extension(&http) {
            assert_eq!(method.name(), "Session");
            continue;
        }
        let rule = options.get_extension(&http);
        let rule = rule.as_message().unwrap();
        for (field, verb) in [("get", Method::GET), ("post", Method::POST)] {
            if let Some(Value::String(path)) = rule.get_field_by_name(field).as_deref()
                && !path.is_empty()
            {
                routes.insert(path.clone(), verb);
            }
        }
    }
    routes
}

#[tokio::test]
async fn exactly_the_routes_of_the_annotations_are_served() {
    let node = Node::start().await;
    let routes = annotated();
    assert_eq!(routes.len(), 8);
    for (path, verb) in &routes {
        let path = path.replace("{name=**}", "a/b");
        for method in METHODS {
            // A watch never ends.
            if method == verb && path.ends_with(":watch") {
                continue;
            }
            let reply = node.send(request(method.clone(), &path, "{}")).await;
            if method == verb {
                assert!(
                    matches!(reply.status.as_u16(), 200 | 400),
                    "{path}: {reply:?}"
                );
            } else {
                assert_eq!(reply.status, 405, "{method} {path}");
                assert_eq!(reply.reason(), "METHOD_NOT_ALLOWED");
                let allow = reply.headers["allow"].to_str().unwrap();
                assert!(allow.contains(verb.as_str()), "{path}: {allow}");
                assert!(!allow.contains(method.as_str()), "{path}: {allow}");
            }
        }
    }
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/lock",
        "/v1/locks:session",
        "/v1/locksmith",
        "/v1/locks:acquire/",
        "/v2/locks",
        "/metrics",
        "//v1/locks",
    ] {
        let reply = node.get(path).await;
        assert_eq!(reply.status, 404, "{path}");
        assert_eq!(reply.reason(), "NOT_FOUND");
    }
}

#[tokio::test]
async fn answers_are_proto3_json() {
    let node = Node::start().await;
    let body = json!({"names": ["a/b"], "mode": "MODE_SHARED", "lease": "20.5s", "requestId": "1"});
    let reply = node.post("/v1/locks:acquire", body.to_string()).await;
    assert_eq!(reply.status, 200);
    let grant = &reply.json()["grant"];
    assert_eq!(grant["remaining"], "20.500s");
    assert_eq!(grant["mode"], "MODE_SHARED");
    assert_eq!(grant["acquireTime"], "2025-01-01T00:00:01Z");
    let token: u64 = grant["fencingToken"].as_str().unwrap().parse().unwrap();
    assert!(token > 0);
    for path in ["/v1/locks/a/b", "/v1/locks/a%2Fb", "/v1/locks/%61%2fb"] {
        let lock = node.get(path).await.json()["lock"].clone();
        assert_eq!(lock["name"], "a/b", "{path}");
        assert_eq!(lock["holders"][0]["fencingToken"], token.to_string());
    }
    // Decoded once, not twice.
    let lock = node.get("/v1/locks/a%252Fb").await.json()["lock"].clone();
    assert_eq!(lock["name"], "a%2Fb");
    let head = node.send(request(Method::HEAD, "/v1/locks/a", "")).await;
    assert_eq!((head.status.as_u16(), head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn bodies_that_are_no_such_message_are_refused_and_change_nothing() {
    let node = Node::start().await;
    let deep = "[".repeat(100_000);
    let odd: Vec<Vec<u8>> = vec![
        b"".into(),
        b"null".into(),
        b"[]".into(),
        b"{".into(),
        b"{} {}".into(),
        deep.into(),
        br#"{"names": ["a"], "wiat": "1s"}"#.into(),
        br#"{"names": ["a"], "names": ["b"]}"#.into(),
        br#"{"names": ["a"], "requestId": "1", "request_id": "2"}"#.into(),
        br#"{"names": ["a"], "permits": NaN}"#.into(),
        br#"{"names": ["a"], "permits": 18446744073709551616}"#.into(),
        br#"{"names": ["a"], "permits": -1}"#.into(),
        br#"{"names": ["a"], "mode": "MODE_NONE"}"#.into(),
        br#"{"names": ["a"], "lease": 20}"#.into(),
        br#"{"names": ["a"], "lease": "20"}"#.into(),
        br#"{"names": ["a"], "lease": "1e9s"}"#.into(),
        br#"{"names": ["a"], "lease": "--9223372036854775808s"}"#.into(),
        br#"{"names": ["\ud800"]}"#.into(),
        b"{\"names\": [\"a\xff\"]}".into(),
        br#"{"names": "a"}"#.into(),
    ];
    for body in odd {
        let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let reply = node.post("/v1/locks:acquire", body).await;
        assert_eq!(reply.status, 400, "{start}");
        assert_eq!(reply.reason(), "INVALID_REQUEST", "{start}");
    }
    assert_eq!(node.store.statistics().granted, 0);
}

#[tokio::test]
async fn a_refusal_names_the_field() {
    let node = Node::start().await;
    let body = json!({"names": ["a", ""], "lease": "1s"}).to_string();
    let reply = node.post("/v1/locks:acquire", body).await;
    assert_eq!(reply.reason(), "INVALID_NAME");
    assert_eq!(reply.json()["field"], "names[1]");
    assert_eq!(reply.json()["detail"], "`names[1]` is empty");
    let body = json!({"names": ["a"], "wait": "-1s"}).to_string();
    let reply = node.post("/v1/locks:acquire", body).await;
    assert_eq!(reply.reason(), "INVALID_WAIT");
    assert_eq!(reply.json()["field"], "wait");
}

#[tokio::test]
async fn bodies_of_other_types_and_sizes_are_refused() {
    let mut setup = Setup::default();
    setup.options.limits.message_bytes = 100;
    let node = Node::with(setup).await;
    let typed = async |kind: &str, body: &str| -> Reply {
        let mut request = request(Method::POST, "/v1/locks:acquire", body.to_owned());
        let kind = kind.parse().unwrap();
        request.headers_mut().insert("content-type", kind);
        node.send(request).await
    };
    for kind in [
        "text/plain",
        "application/jsonp",
        "application/x-www-form-urlencoded",
        "",
    ] {
        let reply = typed(kind, "{}").await;
        assert_eq!(reply.status, 415, "{kind}");
        assert_eq!(reply.reason(), "UNSUPPORTED_MEDIA_TYPE");
    }
    let body = r#"{"names": ["a"]}"#;
    for kind in ["application/json", "Application/JSON ; charset=utf-8"] {
        assert!(typed(kind, body).await.status != 415, "{kind}");
    }
    let untyped = request(Method::POST, "/v1/locks:release", "{}");
    assert_eq!(node.send(untyped).await.status, 400);

    let reply = node.post("/v1/locks:acquire", " ".repeat(101)).await;
    assert_eq!(reply.status, 413);
    assert_eq!(reply.reason(), "TOO_LARGE");
    assert!(reply.body.contains("100 bytes"), "{}", reply.body);
}

#[tokio::test]
async fn queries_and_paths_are_read_strictly() {
    let node = Node::start().await;
    for path in [
        "/v1/locks?page_size=1",
        "/v1/locks?prefix=a&prefix=b",
        "/v1/locks/a?x=1",
        "/v1/locks:watch?from=1",
        "/v1/locks:watch?fromRevision=-1",
        "/v1/locks/%ff",
        "/v1/locks/%zz",
        "/v1/locks?prefix=%ff",
    ] {
        let reply = node.get(path).await;
        assert_eq!(reply.reason(), "INVALID_REQUEST", "{path}");
    }
    let reply = node.get("/v1/locks?pageSize=x").await;
    assert_eq!(reply.reason(), "INVALID_PAGE");
    assert_eq!(node.get("/v1/locks/").await.reason(), "INVALID_NAME");
    let reply = node.get("/v1/locks/a%00b").await;
    assert_eq!(reply.reason(), "INVALID_NAME");
    let reply = node.post("/v1/locks:acquire?dryRun=1", "{}").await;
    assert_eq!(reply.reason(), "INVALID_REQUEST");
}

#[tokio::test]
async fn an_identity_is_taken_from_the_client_if_it_is_a_plain_word() {
    let node = Node::start().await;
    for (given, is_taken) in [("abc-1", true), ("a b", false)] {
        let mut request = request(Method::GET, "/nowhere", "");
        let value = given.parse().unwrap();
        request.headers_mut().insert("x-request-id", value);
        let reply = node.send(request).await;
        assert_eq!(reply.reason(), Reason::NotFound.name());
        assert_eq!(reply.json()["request_id"] == given, is_taken);
    }
}
