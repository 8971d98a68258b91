//! The administrators' listener: whether the node is well, and what it does.
//!
//! | path | what |
//! | --- | --- |
//! | `/` | a list of what is here |
//! | `/healthz` | 200 as long as the process answers |
//! | `/readyz` | 200 if it can serve, else 503, and why ([`readiness`]) |
//! | `/metrics` | the format of Prometheus ([`metrics`](crate::metrics)) |
//!
//! Where tokens are configured, an operator's is asked for. `/healthz` and
//! `/readyz` are open to everybody: probes have no secrets, and what they learn
//! is what a connection to a port would tell them too.

mod readiness;
mod refusal;

use crate::gateway::identity::RequestId;
use crate::metrics::{self, Metrics, Sources};
use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri};
use lockport_locks::Access;
use readiness::Readiness;
use refusal::Refusal;
use std::sync::Arc;

pub use readiness::STORE_TIMEOUT;

/// What administrators are shown, and who they are.
pub struct Admin {
    access: Access,
    metrics: Arc<Metrics>,
    sources: Sources,
    readiness: Readiness,
}

/// Whoever asked is an operator.
struct Operator;

const INDEX: &str = "\
lockport: administration

/healthz   alive: 200 as long as the process answers
/readyz    ready: 200 if requests can be served, else 503 and why
/metrics   metrics, in the format of Prometheus
";

const TEXT: &str = "text/plain; charset=utf-8";

impl Admin {
    /// Shows `metrics` and `sources` to whoever `access` says is an operator.
    /// The node is ready until `shutdown` says otherwise.
    pub fn new(
        access: Access,
        metrics: Arc<Metrics>,
        sources: Sources,
        shutdown: crate::shutdown::Shutdown,
    ) -> Self {
        Self {
            access,
            metrics,
            readiness: Readiness::new(sources.store.clone(), shutdown),
            sources,
        }
    }

    /// Everything that is served on the port.
    pub fn router(self) -> Router {
        Router::new()
            .route("/", get(index))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(scrape))
            .fallback(nothing)
            .method_not_allowed_fallback(wrong_method)
            .with_state(Arc::new(self))
    }
}

// === impl handlers ===

async fn index(_: Operator) -> Response {
    said(TEXT, INDEX)
}

async fn healthz() -> Response {
    said(TEXT, "ok\n")
}

async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let report = admin.readiness.check(&admin.sources.engine).await;
    let mut response = said("application/json", report.to_json());
    *response.status_mut() = refusal::of_readiness(report.ready);
    response
}

async fn scrape(_: Operator, State(admin): State<Arc<Admin>>) -> Response {
    said(metrics::MEDIA_TYPE, admin.metrics.scrape(&admin.sources))
}

async fn nothing(_: Operator, headers: HeaderMap) -> Response {
    Refusal::Nothing.response(&RequestId::of(&headers))
}

async fn wrong_method(_: Operator, headers: HeaderMap) -> Response {
    Refusal::WrongMethod.response(&RequestId::of(&headers))
}

/// What is true now and may not be a moment later.
fn said(kind: &'static str, text: impl Into<axum::body::Body>) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, text.into()).into_response()
}

impl FromRequestParts<Arc<Admin>> for Operator {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        admin: &Arc<Admin>,
    ) -> Result<Self, Self::Rejection> {
        let refuse = |refusal: Refusal, parts: &Parts| {
            note(&refusal, &parts.method, &parts.uri);
            refusal.response(&RequestId::of(&parts.headers))
        };
        match admin.access.principal_of(parts.headers.get(AUTHORIZATION)) {
            Ok(caller) if caller.is_operator() => Ok(Self),
            Ok(_) => Err(refuse(Refusal::NoOperator, parts)),
            Err(_) => Err(refuse(Refusal::NoToken, parts)),
        }
    }
}

fn note(refusal: &Refusal, method: &Method, uri: &Uri) {
    tracing::info!(%method, path = uri.path(), why = %refusal, "an administrator was refused");
}

#[cfg(test)]
mod tests;
