//! A call that is a part of its caller's transaction.
//!
//! It begins when its whole request is there, and is answered when its whole
//! answer is: until then nobody knows whether its part is kept.

use super::in_flight::Place;
use super::{BODY_BYTES_MAX, JoinedCalls, Routed, into_local};
use crate::gateway::commit::{self, CommitPoint, HeldBody, Stake};
use crate::gateway::rescue::Refusal;
use crate::gateway::{dispatch, headers, locks};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use lockport_engine::{Admission, Body, CallRefused};
use lockport_store::transaction::{Scope, StateError};
use std::time::Instant;

impl JoinedCalls {
    /// Has the callee answer, in a savepoint of the caller's transaction.
    pub(super) async fn join(
        &self,
        request: Request<Body>,
        routed: Routed<'_>,
        scope: Scope,
        place: Place,
    ) -> Result<Response<Body>, CallRefused> {
        let (mut parts, body) = request.into_parts();
        let body = collect(body).await?;
        into_local(&mut parts, &routed);
        let body = Full::new(body)
            .map_err(|never| match never {})
            .boxed_unsync();
        let request = Request::from_parts(parts, body);
        Ok(match self.answer(request, routed, scope).await? {
            Ok(response) => response.map(|bytes| place.keep_for(bytes)),
            Err(refusal) => self.refuse(&refusal, place),
        })
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
            let calls = self.of_call(&route.owner, &self.transaction, deadline);
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

/// The whole body of a call. The callee starts when it is there.
pub(super) async fn collect(mut body: Body) -> Result<Bytes, CallRefused> {
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
