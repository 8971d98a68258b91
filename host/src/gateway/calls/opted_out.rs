//! A call that has nothing to do with its caller's transaction.
//!
//! ```text
//!   caller's transaction  ----- call ------------------- goes on ---- ends
//!                                 |                          ^
//!   a child of its own            +-- work -- commit or not --+
//! ```
//!
//! The callee sees nothing of what the caller has staged and holds none of its
//! locks. What it does is decided by its own status, before the caller hears of
//! it, and stays so whatever becomes of the caller. Bodies are not kept by the
//! host but stream, in both directions.
//!
//! The caller waits all the same, with its instance and its locks. So the child
//! counts as its root where it is looked for deadlocks
//! ([`Transaction::begin_child`]); and like a call that joins, it never queues
//! for an instance: those that it would wait for may be waiting for its caller.

use super::in_flight::Place;
use super::{JoinedCalls, Routed, into_local};
use crate::gateway::commit::{self, CommitPoint, HeldBody, Stake};
use crate::gateway::ending::Ending;
use crate::gateway::outgoing::Outgoing;
use crate::gateway::rescue::Refusal;
use crate::gateway::{dispatch, headers, locks};
use bytes::Bytes;
use http::{Request, Response, response};
use http_body_util::{BodyExt, Full, Limited};
use lockport_engine::{Admission, Body, CallRefused};
use std::time::Instant;

impl JoinedCalls {
    /// Has the callee answer, in a transaction of its own.
    pub(super) async fn opt_out(
        &self,
        request: Request<Body>,
        routed: Routed<'_>,
        place: Place,
    ) -> Result<Response<Body>, CallRefused> {
        let (mut parts, body) = request.into_parts();
        into_local(&mut parts, &routed);
        let limit = usize::try_from(routed.callee.request_body).unwrap_or(usize::MAX);
        let body = Limited::new(body, limit).boxed_unsync();
        let request = Request::from_parts(parts, body);
        let answered = self.answer_alone(request, routed).await;
        Ok(match answered {
            Ok((head, body)) => {
                let length = headers::content_length(&head.headers);
                let body = match body {
                    HeldBody::Whole(bytes) => place.keep_for(bytes),
                    HeldBody::Open(body) => {
                        // A body that is cut, or shorter than its head says, ends
                        // in an error here, too.
                        let id = self.id.clone();
                        let body = Outgoing::<Full<Bytes>>::answer(body, length, None, id);
                        place.keep_with(body)
                    }
                };
                Response::from_parts(head, body)
            }
            Err(refusal) => self.refuse(&refusal, place),
        })
    }

    async fn answer_alone(
        &self,
        request: Request<Body>,
        routed: Routed<'_>,
    ) -> Result<(response::Parts, HeldBody), Refusal> {
        let route = routed.route;
        let owner = &route.owner;
        let label = format!("{} {} {}", owner.name, route.path, self.id);
        self.transaction.leave();
        let given_back = self.transaction.give_turns_back().await;
        given_back.map_err(Refusal::Lock)?;
        let child = self.transaction.begin_child(&label);
        let mut ending = Ending::of(child, &self.gateway.transactions);
        let transaction = ending.transaction.clone();
        let transaction = &transaction;
        let deadline = self.deadline.min(Instant::now() + routed.callee.deadline);
        locks::take(transaction, route, &routed.params, deadline).await?;
        let calls = self.of_call(owner, transaction, deadline);
        let scope = transaction.scope();
        let context = dispatch::context(route, routed.params, &self.id, deadline, scope, calls);
        let answer = owner.component.answer(request, context, Admission::AtOnce);
        let held = commit::hold(
            answer.await?,
            CommitPoint::Head,
            routed.sent,
            owner.response_held,
        );
        let decided = held.await?.decide(Stake::Request(transaction)).await;
        ending.note(&decided);
        let (mut head, body) = decided?;
        headers::clean_response(&mut head.headers);
        Ok((head, body))
    }
}
