//! Tests of what administrators are shown.

use super::*;
use crate::shutdown::{self, Phase, Trigger};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use lockport_engine::Engine;
use lockport_locks::Token;
use lockport_store::{LockPattern, Memory};
use serde_json::Value;
use tower_service::Service;

const OPERATOR: &str = "operator-0123456789abcdef";
const BILLING: &str = "billing-0123456789abcdef";

struct Asked {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

fn tokens() -> Access {
    let token = |principal: &str, secret: &str, operator| Token {
        principal: principal.to_owned(),
        secret: secret.to_owned(),
        operator,
        locks: vec![LockPattern::parse("**").unwrap()],
    };
    let tokens = vec![
        token("ops", OPERATOR, true),
        token("billing", BILLING, false),
    ];
    Access::tokens(tokens).unwrap()
}

fn admin(access: Access) -> (Router, Trigger) {
    let (trigger, shutdown) = shutdown::channel();
    let sources = Sources {
        store: Arc::new(Memory::new()),
        engine: Engine::new(lockport_engine::Options::default()).unwrap(),
        locks: None,
    };
    let admin = Admin::new(access, Arc::new(Metrics::new()), sources, shutdown);
    (admin.router(), trigger)
}

async fn ask(router: &Router, method: &str, path: &str, token: Option<&str>) -> Asked {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(axum::body::Body::empty()).unwrap();
    let (head, body) = router.clone().call(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Asked {
        status: head.status,
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

#[tokio::test]
async fn without_tokens_everything_is_open() {
    let (router, _trigger) = admin(Access::open());
    for (path, part) in [
        ("/", "/metrics"),
        ("/healthz", "ok"),
        ("/readyz", "\"ready\":true"),
        ("/metrics", "lockport_build_info"),
    ] {
        let asked = ask(&router, "GET", path, None).await;
        assert_eq!(asked.status, StatusCode::OK, "{path}");
        assert!(asked.body.contains(part), "{path}: {}", asked.body);
        let head = ask(&router, "HEAD", path, None).await;
        assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""));
    }
}

#[tokio::test]
async fn with_tokens_only_the_probes_are_open() {
    let (router, _trigger) = admin(tokens());
    for (path, token, status) in [
        ("/healthz", None, 200),
        ("/readyz", None, 200),
        ("/", None, 401),
        ("/metrics", None, 401),
        ("/nothing", None, 401),
        ("/metrics", Some("wrong-0123456789abcdef"), 401),
        ("/metrics", Some(BILLING), 403),
        ("/metrics", Some(OPERATOR), 200),
        ("/nothing", Some(OPERATOR), 404),
    ] {
        let asked = ask(&router, "GET", path, token).await;
        assert_eq!(asked.status.as_u16(), status, "{path} {token:?}");
        let challenge = asked.headers.contains_key("www-authenticate");
        assert_eq!(challenge, status == 401, "{path} {token:?}");
        if status != 200 {
            assert_eq!(asked.headers[CONTENT_TYPE], "application/problem+json");
            let problem: Value = serde_json::from_str(&asked.body).unwrap();
            assert_eq!(problem["status"], status);
            assert_eq!(
                problem["request_id"],
                asked.headers["x-request-id"].to_str().unwrap()
            );
        }
    }
}

#[tokio::test]
async fn everything_here_is_only_read() {
    let (router, _trigger) = admin(Access::open());
    for path in ["/", "/healthz", "/readyz", "/metrics"] {
        for method in ["POST", "PUT", "DELETE"] {
            let asked = ask(&router, method, path, None).await;
            assert_eq!(asked.status.as_u16(), 405, "{method} {path}");
            assert_eq!(asked.headers["allow"], "GET,HEAD");
            assert!(asked.body.contains("METHOD_NOT_ALLOWED"), "{}", asked.body);
        }
    }
}

#[tokio::test]
async fn a_node_that_ends_is_alive_but_not_ready() {
    let (router, trigger) = admin(Access::open());
    trigger.advance(Phase::Draining);
    let ready = ask(&router, "GET", "/readyz", None).await;
    assert_eq!(ready.status.as_u16(), 503);
    let report: Value = serde_json::from_str(&ready.body).unwrap();
    assert_eq!(report["ready"], false);
    let bad: Vec<_> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["ok"] == false)
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(bad, ["serving"]);
    assert_eq!(ask(&router, "GET", "/healthz", None).await.status, 200);
}
