//! Calls between components: `http://invoice.internal/...`, without a network.
//!
//! A call joins its caller's transaction. Its callee works in a nested scope:
//! it sees what the caller has staged and what the caller holds, and what it
//! stages itself is kept if it answers below 400 and rolled back otherwise,
//! before the caller hears of it. While it runs, the caller's own operations
//! on state and locks wait.
//!
//! What is wrong about a call is told to the caller in two ways. That it is
//! not allowed, or too large, is an error of the call itself. Everything that
//! happens at or behind the callee's door, no such route, no instance free, a
//! trap, is a response, as it would be from any other server.
//!
//! What a call carries is kept by the host until it is handed over, so a
//! request has only so many of them at once ([`CALLS_IN_FLIGHT_MAX`]).

mod in_flight;

use super::commit::{self, BodySent, CommitPoint, HeldBody, Stake};
use super::identity::RequestId;
use super::rescue::Refusal;
use super::route::{Found, Params};
use super::target::Target;
use super::{Callee, Deployed, Gateway, Route, dispatch, headers, locks, outcome};
use bytes::Bytes;
use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use in_flight::{InFlight, Place};
use lockport_engine::{Admission, Body, CallRefused, Calls};
use lockport_store::Transaction;
use lockport_store::transaction::{Scope, StateError};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

/// How deep calls may be nested.
pub const DEPTH_MAX: u32 = 8;

/// The largest body of a call, in bytes, in either direction.
pub const BODY_BYTES_MAX: u64 = 1 << 20;

/// How many calls of one request may be in flight at once, whichever of its
/// components makes them. A call is from before its body is read until the
/// body of its answer was read to its end or dropped: with [`BODY_BYTES_MAX`]
/// that bounds what the calls of a request make the host keep.
pub const CALLS_IN_FLIGHT_MAX: usize = 16;

// The deepest chain, and the call that is too deep, need room.
const _: () = assert!(CALLS_IN_FLIGHT_MAX > DEPTH_MAX as usize);

/// What the host of a component ends with.
const DOMAIN: &str = ".internal";

/// Says how a call relates to its caller's transaction.
const TRANSACTION: &str = "lockport-transaction";

/// The calls that one component makes while it serves one request.
pub struct JoinedCalls {
    gateway: Arc<Gateway>,
    caller: Arc<Deployed>,
    transaction: Arc<Transaction>,
    id: RequestId,
    deadline: Instant,
    /// How many calls led here.
    depth: u32,
    /// All calls of the request, also those of other components.
    in_flight: InFlight,
}

/// A call whose body is complete and whose route is known.
struct Routed<'g> {
    callee: &'g Deployed,
    route: &'g Arc<Route>,
    params: Params,
    sent: BodySent,
}

impl JoinedCalls {
    /// The calls of the component that serves a request.
    pub(super) fn of_request(
        gateway: &Arc<Gateway>,
        caller: &Arc<Deployed>,
        transaction: &Arc<Transaction>,
        id: &RequestId,
        deadline: Instant,
    ) -> Arc<Self> {
        Arc::new(Self {
            gateway: gateway.clone(),
            caller: caller.clone(),
            transaction: transaction.clone(),
            id: id.clone(),
            deadline,
            depth: 0,
            in_flight: InFlight::new(CALLS_IN_FLIGHT_MAX),
        })
    }

    /// The calls of a component that was called.
    fn of_call(&self, callee: &Arc<Deployed>, deadline: Instant) -> Arc<Self> {
        Arc::new(Self {
            gateway: self.gateway.clone(),
            caller: callee.clone(),
            transaction: self.transaction.clone(),
            id: self.id.clone(),
            deadline,
            depth: self.depth + 1,
            in_flight: self.in_flight.clone(),
        })
    }

    async fn send(
        &self,
        request: Request<Body>,
        scope: Scope,
    ) -> Result<(Response<Bytes>, Place), CallRefused> {
        let callee = self.callee(request.uri())?;
        let place = self.in_flight.enter()?;
        let (mut parts, body) = request.into_parts();
        let joins = parts.headers.remove(TRANSACTION);
        let asked = headers::check_request(&parts.headers);
        let body = collect(body).await?;
        let (method, uri) = (parts.method.clone(), parts.uri.clone());
        let routed = asked.and_then(|()| self.admit(callee, &method, &uri, joins.as_ref()));
        let answered = match routed {
            Ok(routed) => {
                into_local(&mut parts, &routed);
                let body = Full::new(body)
                    .map_err(|never| match never {})
                    .boxed_unsync();
                let request = Request::from_parts(parts, body);
                self.answer(request, routed, scope).await?
            }
            Err(refusal) => Err(refusal),
        };
        let response = answered.unwrap_or_else(|refusal| {
            outcome::call_refused(&self.gateway, &self.id, &self.caller.name, &refusal);
            refusal.response(&self.id)
        });
        Ok((response, place))
    }

    /// The component that `uri` names, if the caller may call it. What is
    /// denied looks the same whether it exists or not.
    fn callee(&self, uri: &Uri) -> Result<Option<&Callee>, CallRefused> {
        let known = [None, Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&uri.scheme());
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let name = host.strip_suffix(DOMAIN).filter(|_| known);
        let granted = name.filter(|name| self.caller.calls.iter().any(|it| it == name));
        let name = granted.ok_or(CallRefused::Denied)?;
        Ok(self.gateway.components.get(name))
    }

    /// Finds the callee's route; only its own are looked at.
    fn admit<'g>(
        &self,
        callee: Option<&'g Callee>,
        method: &Method,
        uri: &Uri,
        joins: Option<&HeaderValue>,
    ) -> Result<Routed<'g>, Refusal> {
        if joins.is_some() {
            return Err(Refusal::NotYet("Lockport-Transaction"));
        }
        if self.depth >= DEPTH_MAX {
            return Err(Refusal::TooDeep);
        }
        let callee = callee.ok_or(Refusal::NoComponent)?;
        let target = Target::read(uri)?;
        match callee.routes.find(&target, method) {
            Found::Route(route, params) => Ok(Routed {
                callee: &callee.deployed,
                route,
                params,
                sent: match *method == Method::HEAD {
                    true => BodySent::No,
                    false => BodySent::Yes,
                },
            }),
            Found::WrongMethod(allowed) => Err(Refusal::WrongMethod(allowed)),
            Found::Nobody => Err(Refusal::NoRoute),
        }
    }

    /// Runs the callee in a nested scope. The outer error is the call's own,
    /// the inner one becomes a response.
    async fn answer(
        &self,
        request: Request<Body>,
        routed: Routed<'_>,
        scope: Scope,
    ) -> Result<Result<Response<Bytes>, Refusal>, CallRefused> {
        let nested = match scope.nest().await {
            Ok(nested) => nested,
            Err(StateError::Closed) => return Err(CallRefused::Closed),
            Err(error) => return Err(CallRefused::Failed(error.to_string())),
        };
        let route = routed.route;
        let deadline = self.deadline.min(Instant::now() + routed.callee.deadline);
        let worked = async {
            locks::take(&self.transaction, route, &routed.params, deadline).await?;
            let calls = self.of_call(&route.owner, deadline);
            let inner = nested.scope().clone();
            let context = dispatch::context(route, routed.params, &self.id, deadline, inner, calls);
            let component = &route.owner.component;
            // Never queued: the instance it would wait for may be its caller's.
            let answer = component
                .answer(request, context, Admission::AtOnce)
                .await?;
            let held = commit::hold(answer, CommitPoint::End, routed.sent, BODY_BYTES_MAX).await?;
            held.decide(Stake::Call(nested)).await
        };
        match worked.await {
            Ok((mut head, HeldBody::Whole(bytes))) => {
                headers::clean_response(&mut head.headers);
                Ok(Ok(Response::from_parts(head, bytes)))
            }
            // Held answers are whole.
            Ok((_, HeldBody::Open(_))) => Ok(Err(Refusal::Panicked)),
            Err(Refusal::HeldTooLarge { limit }) => Err(CallRefused::TooLarge { limit }),
            Err(refusal) => Ok(Err(refusal)),
        }
    }
}

impl Calls for JoinedCalls {
    fn call(
        self: Arc<Self>,
        request: Request<Body>,
        scope: Scope,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Body>, CallRefused>> + Send>> {
        Box::pin(async move {
            let (response, place) = self.send(request, scope).await?;
            Ok(response.map(|bytes| place.keep_for(bytes)))
        })
    }
}

/// Brings the head of a call into the form that a request from outside has.
fn into_local(parts: &mut http::request::Parts, routed: &Routed<'_>) {
    headers::clean_request(&mut parts.headers);
    if let Some(host) = parts.uri.authority().map(|it| it.as_str())
        && let Ok(host) = HeaderValue::from_str(host)
    {
        parts.headers.insert(HOST, host);
    }
    let path = parts.uri.path_and_query().cloned();
    parts.uri = path.map_or_else(Uri::default, Uri::from);
    if routed.route.methods.head_is_get(&parts.method) {
        parts.method = Method::GET;
    }
}

/// The whole body of a call. The callee starts when it is there.
async fn collect(mut body: Body) -> Result<Bytes, CallRefused> {
    let mut whole = Bytes::new();
    let mut parts = Vec::new();
    while let Some(frame) = body.frame().await {
        // The caller broke off its own request.
        let frame = frame.map_err(|_| CallRefused::Closed)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.len() + parts.len() + data.len() > BODY_BYTES_MAX as usize {
            return Err(CallRefused::TooLarge {
                limit: BODY_BYTES_MAX,
            });
        }
        // Most bodies are one chunk, which is not copied.
        if whole.is_empty() && parts.is_empty() {
            whole = data;
        } else {
            parts.extend_from_slice(&std::mem::take(&mut whole));
            parts.extend_from_slice(&data);
        }
    }
    Ok(if parts.is_empty() {
        whole
    } else {
        parts.into()
    })
}
