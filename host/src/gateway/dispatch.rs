//! One request, from top to bottom.
//!
//! The order of the steps is a promise: what is cheap and the client's own
//! fault is refused first, locks are waited for before an instance is taken,
//! and nothing is answered before the transaction has ended.
//!
//! ```text
//!   route -> intake -> answered before? -> locks -> run -> decided -> out
//!                                                    ^        |
//!                                                    +--------+
//!                                              a conflict: when it is its turn
//! ```
//!
//! The handler of a request that conflicts is run again, [`RERUNS_MAX`] times at
//! most, as if it had never run: what it staged is discarded, its body is read
//! again, and what it acquired is given back. The route's locks stay. A request
//! that has done something outside of its transaction, or whose body is too
//! large to be kept, is not run again.

use super::calls::JoinedCalls;
use super::commit::{self, BodySent, CommitPoint, Held, HeldBody};
use super::ending::Ending;
use super::idempotency::{self, Keyed, Known};
use super::identity::{self, RequestId};
use super::intake::{Intake, Pump, Reads};
use super::outcome::Outcome;
use super::outgoing::Outgoing;
use super::rescue::Refusal;
use super::route::{Found, Params};
use super::target::{self, Target};
use super::{Gateway, Route, headers, locks};
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version, response};
use http_body::Body;
use lockport_engine::{Admission, Context};
use lockport_store::Transaction;
use lockport_store::store::CommitError;
use lockport_store::transaction::{Limits, Scope};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

/// How often the handler of a request is run again that conflicts.
pub const RERUNS_MAX: u32 = 3;

/// A request whose route is known.
struct Routed {
    route: Arc<Route>,
    params: Params,
    sent: BodySent,
}

impl Gateway {
    /// Answers a request, whatever happens. Dropping the future ends the
    /// request: its handler is stopped and its locks are given back.
    pub async fn handle<B>(self: &Arc<Self>, request: Request<B>) -> Response<Outgoing<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let id = RequestId::of(request.headers());
        let mut outcome = Outcome::begin(self, id.clone(), request.method().clone());
        let dispatched = AssertUnwindSafe(self.dispatch(request, &id, &mut outcome));
        let answer = dispatched.catch_unwind().await;
        let mut response = match answer.unwrap_or(Err(Refusal::Panicked)) {
            Ok(response) => {
                outcome.answered(response.status());
                response
            }
            Err(refusal) => {
                outcome.refused(&refusal);
                refusal.response(&id).map(Outgoing::whole)
            }
        };
        response.headers_mut().insert(identity::HEADER, id.header());
        response
    }

    async fn dispatch<B>(
        self: &Arc<Self>,
        request: Request<B>,
        id: &RequestId,
        outcome: &mut Outcome<'_>,
    ) -> Result<Response<Outgoing<B>>, Refusal>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let (mut parts, body) = request.into_parts();
        let routed = self.route(&mut parts)?;
        let owner = &routed.route.owner;
        outcome.routed(&routed.route);
        headers::check_request(&parts.headers)?;
        headers::clean_request(&mut parts.headers);
        let deadline = Instant::now() + owner.deadline;
        let has_key = idempotency::has_key(&parts);
        let reads = Reads::again_if(owner.may_conflict || has_key);
        let mut intake = Intake::begin(body, owner.request_body, reads).await?;
        let mut ending = self.begin(&routed.route, id);
        let transaction = ending.transaction.clone();
        let mut keyed = None;
        if has_key {
            let known = self.known(&routed, &parts, &mut intake, &transaction);
            match locks::in_time(deadline, known).await?? {
                (_, Known::Answer(answer)) => return Ok(replay(answer, intake.pump, id)),
                (key, Known::Nothing(replaced)) => keyed = Some((key, replaced)),
            }
        }
        let locked = locks::take(&transaction, &routed.route, &routed.params, deadline);
        Pump::alongside(&mut intake.pump, locked).await??;
        let mut reruns = 0;
        let mut body = intake.body().ok_or(Refusal::Panicked)?;
        let decided = loop {
            let request = Request::from_parts(parts.clone(), body);
            let run = self.run(request, &routed, &transaction, id, deadline, has_key);
            let run = Pump::alongside(&mut intake.pump, run).await?;
            if let (Ok(held), Some((key, replaced))) = (&run, &keyed) {
                let replaced = replaced.as_ref();
                self.answers.record(key, held, replaced, &transaction);
            }
            // From here on it does not matter any more what the client still
            // sends: a commit that has begun is not broken off for it.
            let decided = commit::decide(run, &transaction).await;
            let Err(Refusal::Commit(conflict @ CommitError::Conflict { .. })) = &decided else {
                break decided;
            };
            if reruns == RERUNS_MAX || transaction.has_left() || !intake.is_there_again() {
                break decided;
            }
            reruns += 1;
            self.transactions.began_again();
            tracing::debug!(request_id = %id, %conflict, reruns, "is run again");
            let again = locks::begin_again(&transaction, conflict, deadline);
            Pump::alongside(&mut intake.pump, again).await??;
            match intake.body() {
                Some(again) => body = again,
                // It has become too large meanwhile.
                None => break decided,
            }
        };
        ending.note(&decided);
        let (head, body) = decided?;
        Ok(respond(head, body, intake.pump, id))
    }

    /// Whose request it is. Brings its target into one form.
    fn route(&self, parts: &mut Parts) -> Result<Routed, Refusal> {
        target::normalise(parts)?;
        let target = Target::read(&parts.uri)?;
        let (route, params) = match self.routes.find(&target, &parts.method) {
            Found::Route(route, params) => (route.clone(), params),
            Found::WrongMethod(allowed) => return Err(Refusal::WrongMethod(allowed)),
            Found::Nobody => return Err(Refusal::NoRoute),
        };
        let sent = match parts.method == Method::HEAD {
            true => BodySent::No,
            false => BodySent::Yes,
        };
        if route.methods.head_is_get(&parts.method) {
            // Any handler of GET can answer this; what it writes stays here.
            parts.method = Method::GET;
        }
        Ok(Routed {
            route,
            params,
            sent,
        })
    }

    /// What is known of a request with an idempotency key, which is then its own.
    async fn known<B>(
        &self,
        routed: &Routed,
        parts: &Parts,
        intake: &mut Intake<B>,
        transaction: &Transaction,
    ) -> Result<(Keyed, Known), Refusal>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let key = Keyed::read(&routed.route.owner.name, parts, intake).await?;
        let looked = self.answers.look(&key, transaction);
        let known = Pump::alongside(&mut intake.pump, looked).await??;
        Ok((key, known))
    }

    /// An instance, its answer up to the commit point.
    async fn run(
        self: &Arc<Self>,
        request: Request<lockport_engine::Body>,
        routed: &Routed,
        transaction: &Arc<Transaction>,
        id: &RequestId,
        deadline: Instant,
        keyed: bool,
    ) -> Result<Held, Refusal> {
        let Routed {
            route,
            params,
            sent,
        } = routed;
        // What is kept is kept whole.
        let point = match keyed {
            true => CommitPoint::End,
            false => commit_point(request.version()),
        };
        let calls = JoinedCalls::of_request(self, &route.owner, transaction, id, deadline);
        let params = params.clone();
        let context = context(route, params, id, deadline, transaction.scope(), calls);
        let component = &route.owner.component;
        let answer = component.answer(request, context, Admission::Queue).await?;
        let held_max = match keyed {
            true => route.owner.response_held.min(idempotency::ANSWER_BYTES_MAX),
            false => route.owner.response_held,
        };
        commit::hold(answer, point, *sent, held_max).await
    }

    fn begin(&self, route: &Route, id: &RequestId) -> Ending<'_> {
        let label = format!("{} {} {id}", route.owner.name, route.path);
        // Only who calls has calls that opt out.
        let begin = match route.owner.calls.is_empty() {
            true => Transaction::begin,
            false => Transaction::begin_root,
        };
        let transaction = begin(self.store.clone(), Limits::default(), label);
        Ending::of(transaction, &self.transactions)
    }
}

/// What an instance is told of the request it serves.
pub(super) fn context(
    route: &Route,
    params: Params,
    id: &RequestId,
    deadline: Instant,
    scope: Scope,
    calls: Arc<JoinedCalls>,
) -> Context {
    Context {
        scope,
        route: route.path.clone(),
        params,
        id: id.text().clone(),
        // Who asks is known once requests are authenticated.
        principal: None,
        deadline,
        calls,
    }
}

/// When a request is decided. HTTP/1.0 cannot tell a body that was cut from
/// one that has ended, so its bodies are sent whole.
fn commit_point(version: Version) -> CommitPoint {
    if version < Version::HTTP_11 {
        CommitPoint::End
    } else {
        CommitPoint::Head
    }
}

/// The response as its client will see it.
fn respond<B>(
    mut head: response::Parts,
    body: HeldBody,
    pump: Option<Pump<B>>,
    id: &RequestId,
) -> Response<Outgoing<B>> {
    let length = headers::clean_response(&mut head.headers);
    if head.status == StatusCode::NO_CONTENT {
        head.headers.remove(CONTENT_LENGTH);
    }
    let body = match body {
        HeldBody::Whole(bytes) => Outgoing::whole(bytes),
        HeldBody::Open(body) => Outgoing::answer(body, length, pump, id.clone()),
    };
    Response::from_parts(head, body)
}

/// An answer that was given before, as its client will see it.
fn replay<B>(
    answer: Response<Bytes>,
    pump: Option<Pump<B>>,
    id: &RequestId,
) -> Response<Outgoing<B>> {
    let (head, body) = answer.into_parts();
    let mut response = respond(head, HeldBody::Whole(body), pump, id);
    idempotency::mark_replayed(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_whose_end_could_not_be_told_from_a_cut_is_held() {
        assert_eq!(commit_point(Version::HTTP_10), CommitPoint::End);
        assert_eq!(commit_point(Version::HTTP_11), CommitPoint::Head);
    }
}
