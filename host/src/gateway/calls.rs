//! What components ask of others: of components, `http://invoice.internal/...`,
//! without a network, and of the world outside.
//!
//! A call of a component joins its caller's transaction. Its callee works in a nested scope:
//! it sees what the caller has staged and what the caller holds, and what it
//! stages itself is kept if it answers below 400 and rolled back otherwise,
//! before the caller hears of it. While it runs, the caller's own operations
//! on state and locks wait.
//!
//! It can opt out, and what goes outside is always out: neither belongs to the
//! transaction, so what it does stays done whatever becomes of that
//! ([`Transaction::leave`]). The files of this module have one kind each.
//!
//! ```text
//!   call -+- *.internal -+- admit -+- joined
//!         |                        +- opted_out     a transaction of its own
//!         +- anything else --------- outbound       Door::send
//! ```
//!
//! What is wrong about a call is told to the caller in two ways. That it is
//! not allowed, or too large, is an error of the call itself. Everything that
//! happens at or behind the callee's door, no such route, no instance free, a
//! trap, is a response, as it would be from any other server.
//!
//! What a call carries is kept by the host until it is handed over, so a
//! request has only so many of them at once ([`CALLS_IN_FLIGHT_MAX`]).

mod in_flight;
mod joined;
mod opted_out;

use super::commit::BodySent;
use super::identity::RequestId;
use super::rescue::Refusal;
use super::route::{Found, Params};
use super::target::Target;
use super::{Callee, Deployed, Gateway, Route, headers, outcome};
use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use in_flight::{InFlight, Place};
use lockport_engine::{Body, CallRefused, Calls};
use lockport_store::Transaction;
use lockport_store::transaction::Scope;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How deep calls may be nested.
pub const DEPTH_MAX: u32 = 8;

/// The largest body of a call that joins, in bytes, in either direction.
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

/// What it says if the call has nothing to do with it.
const NONE: &[u8] = b"none";

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

/// How a call relates to its caller's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    /// It is a part of it.
    Joins,
    /// It has nothing to do with it.
    OptsOut,
}

/// A call whose route is known.
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

    /// The calls of a component that was called, in `transaction`.
    fn of_call(
        &self,
        callee: &Arc<Deployed>,
        transaction: &Arc<Transaction>,
        deadline: Instant,
    ) -> Arc<Self> {
        Arc::new(Self {
            gateway: self.gateway.clone(),
            caller: callee.clone(),
            transaction: transaction.clone(),
            id: self.id.clone(),
            deadline,
            depth: self.depth + 1,
            in_flight: self.in_flight.clone(),
        })
    }

    /// Sends a request to another component.
    async fn send(
        &self,
        request: Request<Body>,
        scope: Scope,
    ) -> Result<Response<Body>, CallRefused> {
        let callee = self.callee(request.uri())?;
        let place = self.in_flight.enter()?;
        let relation = Relation::of(request.headers());
        let routed = headers::check_request(request.headers())
            .and(relation)
            .and_then(|relation| {
                let routed = self.admit(callee, request.method(), request.uri())?;
                Ok((relation, routed))
            });
        match routed {
            Ok((Relation::Joins, routed)) => self.join(request, routed, scope, place).await,
            Ok((Relation::OptsOut, routed)) => self.opt_out(request, routed, place).await,
            Err(refusal) => {
                // Who could not write it all would not ask for the answer.
                joined::collect(request.into_body()).await?;
                Ok(self.refuse(&refusal, place))
            }
        }
    }

    /// Sends a request to the world outside.
    async fn send_outside(
        &self,
        mut request: Request<Body>,
        connect: Option<Duration>,
    ) -> Result<Response<Body>, CallRefused> {
        // A guard is lent to components only, and never leaves the node.
        if headers::check_request(request.headers()).is_err() {
            return Err(CallRefused::Denied);
        }
        headers::clean_request(request.headers_mut());
        let place = self.in_flight.enter()?;
        let leave = || self.transaction.leave();
        let door = &self.caller.outbound;
        let mut response = door.send(request, connect, self.deadline, leave).await?;
        headers::clean_response(response.headers_mut());
        Ok(response.map(|body| place.keep_with(body)))
    }

    /// The answer to a call that is not answered by its callee.
    fn refuse(&self, refusal: &Refusal, place: Place) -> Response<Body> {
        outcome::call_refused(&self.gateway, &self.id, &self.caller.name, refusal);
        let response = refusal.response(&self.id);
        response.map(|bytes| place.keep_for(bytes))
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
    ) -> Result<Routed<'g>, Refusal> {
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
}

impl Calls for JoinedCalls {
    fn call(
        self: Arc<Self>,
        request: Request<Body>,
        connect: Option<Duration>,
        scope: Scope,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Body>, CallRefused>> + Send>> {
        Box::pin(async move {
            match is_internal(request.uri()) {
                true => self.send(request, scope).await,
                false => self.send_outside(request, connect).await,
            }
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

/// Whether a host is a component's. Those of the world outside are never called
/// so.
fn is_internal(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().as_bytes();
    let domain = host.len().checked_sub(DOMAIN.len());
    domain.is_some_and(|it| host[it..].eq_ignore_ascii_case(DOMAIN.as_bytes()))
}

impl Relation {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut values = headers.get_all(TRANSACTION).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(Self::Joins),
            (Some(value), None) if value.as_bytes() == NONE => Ok(Self::OptsOut),
            _ => Err(Refusal::Transaction),
        }
    }
}
