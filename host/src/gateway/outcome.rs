//! What became of a request: one line in the log, whatever happened.
//!
//! An [`Outcome`] lives as long as its request is handled. If it is dropped
//! before anything was answered, the client has gone away.

use super::identity::RequestId;
use super::rescue::Refusal;
use http::{Method, StatusCode};
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

/// A request that is being handled.
pub struct Outcome {
    id: RequestId,
    method: Method,
    began: Instant,
    route: Option<Served>,
    said: bool,
}

struct Served {
    component: Arc<str>,
    path: Arc<str>,
}

/// Where a request goes that has no route.
const NOWHERE: &str = "-";

impl Outcome {
    /// A request that has just come.
    pub fn begin(id: RequestId, method: Method) -> Self {
        Self {
            id,
            method,
            began: Instant::now(),
            route: None,
            said: false,
        }
    }

    /// Who serves it, once that is known.
    pub fn routed(&mut self, component: &Arc<str>, path: &Arc<str>) {
        self.route = Some(Served {
            component: component.clone(),
            path: path.clone(),
        });
    }

    /// A handler answered it.
    pub fn answered(mut self, status: StatusCode) {
        self.said = true;
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
        self.said = true;
        let problem = refusal.problem();
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
            .map_or((NOWHERE, NOWHERE), |it| (&it.component, &it.path))
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        if self.said {
            return;
        }
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
pub fn call_refused(id: &RequestId, caller: &str, refusal: &Refusal) {
    let problem = refusal.problem();
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

/// An error and its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
