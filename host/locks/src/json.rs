//! The lock API as JSON over HTTP, as the `google.api.http` options of its
//! methods say.
//!
//! Bodies are proto3 JSON. What is not known is refused, in bodies and in
//! queries: a misspelt `wait` must not become none.

mod events;
mod parameters;

use crate::access::Caller;
use crate::failure::Failure;
use crate::percent;
use crate::service::Service;
use crate::statistics::{Method, Transport};
use axum::body::Body;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method as HttpMethod, Request, Response, request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use lockport_proto::Reason;
use lockport_proto::lock as proto;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::sync::Arc;
use tokio::time::timeout;

const JSON: &str = "application/json";

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    Acquire,
    Cancel,
    Renew,
    Release,
    ForceRelease,
    List,
    Watch,
    /// With the name, not decoded yet.
    Get(&'a str),
}

/// Answers a request whose path begins with `/v1/`.
pub(crate) async fn answer(
    service: &Arc<Service>,
    caller: &Caller,
    request: Request<Body>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Some(route) = Route::of(head.uri.path()) else {
        return not_found(service, &head.headers);
    };
    if !route.takes(&head.method) {
        let allow = route.allow();
        let why = format!("the path takes {allow}");
        let failure = Failure::new(Reason::MethodNotAllowed, why);
        return refuse(service, &head.headers, failure, Some(allow));
    }
    let calling = Calling {
        service,
        caller,
        head: &head,
    };
    match route {
        Route::Acquire => {
            let perform = |it| service.acquire(caller, it, None);
            calling.post(Method::Acquire, body, perform).await
        }
        Route::Cancel => {
            let perform = |it| service.cancel(caller, it);
            calling.post(Method::Cancel, body, perform).await
        }
        Route::Renew => {
            let perform = |it| service.renew(caller, it);
            calling.post(Method::Renew, body, perform).await
        }
        Route::Release => {
            let perform = |it| service.release(caller, it);
            calling.post(Method::Release, body, perform).await
        }
        Route::ForceRelease => {
            let perform = |it| service.force_release(caller, it);
            calling.post(Method::ForceRelease, body, perform).await
        }
        Route::List => calling.list().await,
        Route::Get(name) => calling.get(name).await,
        Route::Watch => calling.watch().await,
    }
}

/// No path of the lock API.
pub(crate) fn not_found(service: &Service, headers: &HeaderMap) -> Response<Body> {
    let failure = Failure::new(Reason::NotFound, "there is no such path");
    refuse(service, headers, failure, None)
}

/// Refuses a request before it is known what it asks for.
fn refuse(
    service: &Service,
    headers: &HeaderMap,
    failure: Failure,
    allow: Option<&str>,
) -> Response<Body> {
    let response = failure.response(headers, allow);
    let asked = service.counters.ask(Method::Other, Transport::Json);
    drop(asked.answered::<()>(Err(failure)));
    response
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix("/v1/locks")?;
        Some(match rest {
            "" => Self::List,
            ":acquire" => Self::Acquire,
            ":cancel" => Self::Cancel,
            ":renew" => Self::Renew,
            ":release" => Self::Release,
            ":forceRelease" => Self::ForceRelease,
            ":watch" => Self::Watch,
            _ => Self::Get(rest.strip_prefix('/')?),
        })
    }

    fn allow(self) -> &'static str {
        match self {
            Self::List | Self::Get(_) => "GET, HEAD",
            Self::Watch => "GET",
            Self::Acquire | Self::Cancel | Self::Renew | Self::Release | Self::ForceRelease => {
                "POST"
            }
        }
    }

    fn takes(self, method: &HttpMethod) -> bool {
        self.allow().split(", ").any(|it| it == method.as_str())
    }
}

/// A request with a known route.
struct Calling<'a> {
    service: &'a Arc<Service>,
    caller: &'a Caller,
    head: &'a request::Parts,
}

impl Calling<'_> {
    /// An operation that is asked for by a body.
    async fn post<Q, A, F>(
        &self,
        method: Method,
        body: Body,
        perform: impl FnOnce(Q) -> F,
    ) -> Response<Body>
    where
        Q: DeserializeOwned,
        A: Serialize,
        F: Future<Output = Result<A, Failure>>,
    {
        self.answer(method, async {
            parameters::none(self.head.uri.query())?;
            let bytes = self.read(body).await?;
            perform(parse(&bytes)?).await
        })
        .await
    }

    async fn list(&self) -> Response<Body> {
        self.answer(Method::List, async {
            let request = parameters::list(self.head.uri.query())?;
            self.service.list(self.caller, request).await
        })
        .await
    }

    async fn get(&self, name: &str) -> Response<Body> {
        self.answer(Method::Get, async {
            parameters::none(self.head.uri.query())?;
            let name = percent::decode(name)?;
            let request = proto::GetRequest { name };
            self.service.get(self.caller, request).await
        })
        .await
    }

    async fn watch(&self) -> Response<Body> {
        let asked = self.service.counters.ask(Method::Watch, Transport::Json);
        let request = parameters::watch(self.head.uri.query(), &self.head.headers);
        let begun = match request {
            Ok(it) => events::begin(self.service, self.caller, it, self.head).await,
            Err(failure) => Err(failure),
        };
        match asked.answered(begun) {
            Ok(response) => response,
            Err(failure) => failure.response(&self.head.headers, None),
        }
    }

    async fn answer<A: Serialize>(
        &self,
        method: Method,
        answer: impl Future<Output = Result<A, Failure>>,
    ) -> Response<Body> {
        let asked = self.service.counters.ask(method, Transport::Json);
        let written = answer.await.and_then(|it| {
            serde_json::to_vec(&it).map_err(|why| Failure::internal(&why.to_string()))
        });
        match asked.answered(written) {
            Ok(body) => {
                let mut response = Response::new(Body::from(body));
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
                // Answers have secrets in them.
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
            Err(failure) => failure.response(&self.head.headers, None),
        }
    }

    /// Reads the body.
    async fn read(&self, body: Body) -> Result<bytes::Bytes, Failure> {
        if !is_json(&self.head.headers) {
            let why = format!("the body has to be `{JSON}`");
            return Err(Failure::new(Reason::UnsupportedMediaType, why));
        }
        let limit = self.service.limits.message_bytes;
        let patience = self.service.limits.body;
        match timeout(patience, Limited::new(body, limit).collect()).await {
            Err(_) => Err(Failure::too_slow(patience)),
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Failure::too_large(limit)),
            Ok(Err(_)) => {
                let why = "the body broke off";
                Err(Failure::new(Reason::InvalidRequest, why))
            }
        }
    }
}

/// Whether the body's type is JSON, or is not said.
fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_none_or(|value| {
        let value = value.as_bytes();
        let end = value.iter().position(|it| *it == b';');
        let essence = value[..end.unwrap_or(value.len())].trim_ascii();
        essence.eq_ignore_ascii_case(JSON.as_bytes())
    })
}

/// Reads a message.
fn parse<Q: DeserializeOwned>(bytes: &[u8]) -> Result<Q, Failure> {
    serde_json::from_slice(bytes).map_err(|why| {
        let why = format!("the body cannot be read: {why}");
        Failure::new(Reason::InvalidRequest, why)
    })
}
