//! What became of a request: one line in the log and one count, whatever
//! happened.
//!
//! An [`Outcome`] lives as long as its request is handled. If it is dropped
//! before anything was answered, the client has gone away.

use super::identity::RequestId;
use super::rescue::Refusal;
use super::{Gateway, Route};
use crate::metrics::{NOWHERE, RequestOutcome};
use crate::telemetry::chain;
use http::{Method, StatusCode};
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

/// A request that is being handled.
pub struct Outcome<'g> {
    gateway: &'g Gateway,
    id: RequestId,
    method: Method,
    began: Instant,
    route: Option<Arc<Route>>,
    said: bool,
}

impl<'g> Outcome<'g> {
    /// A request that has just come.
    pub fn begin(gateway: &'g Gateway, id: RequestId, method: Method) -> Self {
        Self {
            gateway,
            id,
            method,
            began: Instant::now(),
            route: None,
            said: false,
        }
    }

    /// Who serves it, once that is known.
    pub fn routed(&mut self, route: &Arc<Route>) {
        self.route = Some(route.clone());
    }

    /// A handler answered it.
    pub fn answered(mut self, status: StatusCode) {
        self.ended(match status.as_u16() {
            ..400 => RequestOutcome::Success,
            400..500 => RequestOutcome::ClientError,
            _ => RequestOutcome::ServerError,
        });
        let (component, route) = self.served();
        tracing::info!(
            target: "lockport::request",
            request_id = %self.id,
            method = %self.method,
            %component,
            %route,
            status = status.as_u16(),
            us = self.micros(),
            "answered"
        );
    }

    /// It was refused, and why.
    pub fn refused(mut self, refusal: &Refusal) {
        let problem = refusal.problem();
        self.ended(match problem.status.is_server_error() {
            true => RequestOutcome::Failed,
            false => RequestOutcome::Refused,
        });
        self.gateway.metrics.refused(problem.reason);
        let (component, route) = self.served();
        let error = chain(refusal);
        let (request_id, method) = (&self.id, &self.method);
        let (status, us) = (problem.status.as_u16(), self.micros());
        let reason = problem.reason;
        // What is the client's doing is no news to the operator.
        if problem.status.is_server_error() {
            tracing::warn!(target: "lockport::request", %request_id, %method, %component, %route, status, us, %reason, error, "refused");
        } else {
            tracing::info!(target: "lockport::request", %request_id, %method, %component, %route, status, us, %reason, error, "refused");
        }
    }

    fn served(&self) -> (&str, &str) {
        self.route
            .as_ref()
            .map_or((NOWHERE, NOWHERE), |it| (&it.owner.name, &it.path))
    }

    fn ended(&mut self, outcome: RequestOutcome) {
        self.said = true;
        let route = self.route.as_ref();
        let metrics = route.map_or(&self.gateway.nowhere, |it| &it.metrics);
        metrics.ended(outcome, self.began.elapsed());
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        if self.said {
            return;
        }
        self.ended(RequestOutcome::Abandoned);
        let (component, route) = self.served();
        tracing::info!(
            target: "lockport::request",
            request_id = %self.id,
            method = %self.method,
            %component,
            %route,
            us = self.micros(),
            "the client went away"
        );
    }
}

/// A call between components was refused, and why.
pub fn call_refused(gateway: &Gateway, id: &RequestId, caller: &str, refusal: &Refusal) {
    let problem = refusal.problem();
    gateway.metrics.refused(problem.reason);
    let (request_id, error) = (id, chain(refusal));
    let (status, reason) = (problem.status.as_u16(), problem.reason);
    if problem.status.is_server_error() {
        tracing::warn!(target: "lockport::request", %request_id, %caller, status, %reason, error, "a call was refused");
    } else {
        tracing::info!(target: "lockport::request", %request_id, %caller, status, %reason, error, "a call was refused");
    }
}

/// An answer broke off behind its head, which had been sent already.
pub fn cut(id: &RequestId, error: &dyn Error) {
    let (request_id, error) = (id, chain(error));
    tracing::warn!(target: "lockport::request", %request_id, error, "the answer was cut");
}
