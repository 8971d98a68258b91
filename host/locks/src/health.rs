//! The gRPC health protocol: serving until the node is about to end.

use crate::service::Service;
use futures_util::stream::{self, BoxStream, StreamExt};
use std::sync::Arc;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// The names that can be asked for: the whole, and its services.
pub(crate) struct Healthy {
    pub(crate) service: Arc<Service>,
    pub(crate) names: Vec<&'static str>,
}

#[tonic::async_trait]
impl Health for Healthy {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.knows(request.get_ref()) {
            true => Ok(Response::new(says(status(&self.service)))),
            false => Err(Status::not_found("there is no such service")),
        }
    }

    /// Tells how things stand, and then that the node is about to end: then
    /// there is no more to tell.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if !self.knows(request.get_ref()) {
            // The protocol asks for a stream that says so.
            let unknown = stream::once(async { Ok(says(ServingStatus::ServiceUnknown)) });
            return Ok(Response::new(unknown.boxed()));
        }
        let now = status(&self.service);
        let first = stream::once(async move { Ok(says(now)) });
        if now != ServingStatus::Serving {
            return Ok(Response::new(first.boxed()));
        }
        let begun = self.service.drain.begun();
        let last = stream::once(async move {
            begun.await;
            Ok(says(ServingStatus::NotServing))
        });
        Ok(Response::new(first.chain(last).boxed()))
    }
}

impl Healthy {
    fn knows(&self, request: &HealthCheckRequest) -> bool {
        self.names.contains(&request.service.as_str())
    }
}

fn status(service: &Service) -> ServingStatus {
    match service.drain.has_begun() {
        true => ServingStatus::NotServing,
        false => ServingStatus::Serving,
    }
}

fn says(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}
