//! The older contract as HTTP: errors are `{"error":"..."}`.

use super::{Compatible, Refusal};
use crate::access::Caller;
use crate::failure::Failure;
use crate::percent;
use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode, request};
use lockport_proto::Reason;
use serde_json::{Value, json};

/// Where it is served.
pub(crate) const PATH: &str = "/api/v1/locks";

/// Answers a request whose path begins with [`PATH`]. Bodies are not looked at.
pub(crate) async fn answer(
    compatible: &Compatible,
    caller: &Caller,
    request: &request::Parts,
) -> Response<Body> {
    let uri = &request.uri;
    let rest = uri.path().strip_prefix(PATH).unwrap_or_default();
    // `{id}` is all of the rest, so slashes in it may be encoded or not.
    let id = match rest.strip_prefix('/') {
        Some(id) => percent::decode(id).ok(),
        None => parameter(uri.query(), "resource_id"),
    };
    let id = id.unwrap_or_default();
    let is_published_form = rest.is_empty();
    let answered = match (&request.method, is_published_form) {
        (&Method::POST, _) => lock(compatible, caller, &id).await,
        (&Method::DELETE, false) => unlock(compatible, caller, &id, uri.query()).await,
        _ => {
            let allow = if is_published_form {
                "POST"
            } else {
                "POST, DELETE"
            };
            let why = format!("the path takes {allow}");
            let failure = Failure::new(Reason::MethodNotAllowed, why);
            return failure.response(&request.headers, Some(allow));
        }
    };
    answered.unwrap_or_else(|refusal| respond(refusal.status(), &json!({"error": refusal.text()})))
}

async fn lock(
    compatible: &Compatible,
    caller: &Caller,
    id: &str,
) -> Result<Response<Body>, Refusal> {
    let token = compatible.lock(caller, id).await?.to_string();
    let href = format!("{PATH}/{}?token={token}", percent::encode(id));
    let links = json!({"unlock": {"href": href, "type": "delete"}});
    let body = json!({"token": token, "_links": links});
    Ok(respond(StatusCode::CREATED, &body))
}

async fn unlock(
    compatible: &Compatible,
    caller: &Caller,
    id: &str,
    query: Option<&str>,
) -> Result<Response<Body>, Refusal> {
    let token = parameter(query, "token").unwrap_or_default();
    compatible.unlock(caller, id, &token).await?;
    Ok(respond(StatusCode::OK, &json!({})))
}

/// The first parameter of this name. Others may be there: the contract never
/// refused any.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let known = percent::parameters(query).flatten();
    let mut found = known.filter(|(it, _)| it == name);
    found.next().map(|(_, value)| value)
}

fn respond(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
