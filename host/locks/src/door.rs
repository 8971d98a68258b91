//! Where requests come in: who calls, and who is to answer.
//!
//! | path | answered by | token |
//! | --- | --- | --- |
//! | `/lockport.lock.v1.LockService/*` | `grpc.rs` | yes |
//! | `/lock_manager.LockManagerService/*` | `compat.rs` | unless anonymous |
//! | `/grpc.health.v1.Health/*`, `/grpc.reflection.*` | health, reflection | no |
//! | `/v1/*` | `json.rs` | yes |
//! | `/api/v1/locks*` | `compat.rs` | unless anonymous |
//! | all others | nobody | yes |

use crate::access::{Access, Caller, LEGACY};
use crate::compat::{Compatible, grpc::CompatGrpc, http as compat_http};
use crate::failure::Failure;
use crate::grpc::Grpc;
use crate::health::Healthy;
use crate::json;
use crate::patience::Timed;
use crate::service::Service;
use crate::statistics::{Method, Transport};
use crate::{Compat, Options};
use axum::Router;
use axum::body::Body;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, Response, Version};
use http_body_util::BodyExt;
use lockport_proto::lock::lock_service_server::{self, LockServiceServer};
use lockport_proto::lock_manager::lock_manager_service_server::{self, LockManagerServiceServer};
use lockport_proto::{DESCRIPTORS, Reason};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::service::Routes;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_reflection::server::Builder;
use tower_service::Service as Tower;

/// The streams whose requests come for as long as their clients like. A
/// session's is timed until its first.
const SESSION: &str = "/lockport.lock.v1.LockService/Session";
const REFLECTION: &str = "/grpc.reflection.";

/// What is asked by whoever looks whether the node lives: one answer, at once.
const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";

/// The door of one lock API. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Door(Arc<Rooms>);

/// Who answers.
struct Rooms {
    service: Arc<Service>,
    access: Access,
    grpc: LockServiceServer<Grpc>,
    compat: Option<CompatRoom>,
    /// Health and reflection.
    open: Router,
    /// How many more streams of these may be open.
    open_streams: Arc<Semaphore>,
}

/// The older contract.
struct CompatRoom {
    compatible: Compatible,
    grpc: LockManagerServiceServer<CompatGrpc>,
    /// Who comes without a token, if that is allowed.
    legacy: Option<Caller>,
}

/// Where a path leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Grpc,
    Json,
    CompatGrpc,
    CompatHttp,
    Open,
    Nowhere,
}

impl Door {
    pub(crate) fn new(service: &Arc<Service>, options: Options) -> Self {
        let limit = options.limits.message_bytes;
        let grpc = LockServiceServer::new(Grpc(Arc::clone(service)));
        let compat = options.compat;
        Self(Arc::new(Rooms {
            service: Arc::clone(service),
            access: options.access,
            grpc: grpc.max_decoding_message_size(limit),
            compat: compat.map(|it| CompatRoom::new(service, it, limit)),
            open: open(service, compat.is_some()),
            open_streams: Arc::new(Semaphore::new(options.limits.open_streams)),
        }))
    }
}

impl Tower<Request<Body>> for Door {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let rooms = Arc::clone(&self.0);
        Box::pin(async move { Ok(rooms.answer(request).await) })
    }
}

impl Rooms {
    async fn answer(&self, mut request: Request<Body>) -> Response<Body> {
        let room = Room::of(request.uri().path());
        if room == Room::Open {
            return self.answer_stranger(request).await;
        }
        let Some(caller) = self.caller(room, request.headers()) else {
            return self.refuse(request.headers(), Failure::unauthenticated());
        };
        if matches!(room, Room::Grpc | Room::CompatGrpc) {
            if let Err(failure) = check_grpc(&request) {
                let response = failure.response(request.headers(), None);
                return self.count(failure, Transport::Grpc, response);
            }
            request.extensions_mut().insert(caller.clone());
        }
        match (room, &self.compat) {
            (Room::Grpc, _) => {
                let response = answer(self.grpc.clone(), self.timed(request)).await;
                self.explain(response)
            }
            (Room::Json, _) => json::answer(&self.service, &caller, request).await,
            (Room::CompatGrpc, Some(compat)) => {
                answer(compat.grpc.clone(), self.timed(request)).await
            }
            (Room::CompatHttp, Some(compat)) => {
                compat_http::answer(&compat.compatible, &caller, &request.into_parts().0).await
            }
            _ => {
                let failure = Failure::new(Reason::NotFound, "nothing is served at this path");
                self.refuse(request.headers(), failure)
            }
        }
    }

    /// Answers who needs no token, and so could have any number of streams.
    async fn answer_stranger(&self, request: Request<Body>) -> Response<Body> {
        if request.uri().path() == HEALTH_CHECK {
            return answer(self.open.clone(), self.timed(request)).await;
        }
        let Ok(permit) = Arc::clone(&self.open_streams).try_acquire_owned() else {
            let why = "too many streams that need no token are open";
            return self.refuse(request.headers(), Failure::new(Reason::Quota, why));
        };
        let response = answer(self.open.clone(), self.timed(request)).await;
        response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                // It lives as long as the stream.
                let _permit = &permit;
                frame
            }))
        })
    }

    /// A request whose body has to come in time, unless it may go on for as long
    /// as its client likes.
    fn timed(&self, request: Request<Body>) -> Request<Body> {
        let path = request.uri().path();
        if path == SESSION || path.starts_with(REFLECTION) {
            return request;
        }
        request.map(|body| Body::new(Timed::new(body, Arc::clone(&self.service))))
    }

    /// Who calls, if they may come in.
    fn caller(&self, room: Room, headers: &HeaderMap) -> Option<Caller> {
        let authorization = headers.get(AUTHORIZATION);
        if matches!(room, Room::CompatGrpc | Room::CompatHttp) {
            let legacy = self.compat.as_ref().and_then(|it| it.legacy.as_ref());
            if let (Some(legacy), true) = (legacy, authorization.is_none() || self.access.is_open())
            {
                return Some(legacy.clone());
            }
        }
        self.access.principal_of(authorization).ok()
    }

    /// Refuses a request, in the way its client understands.
    fn refuse(&self, headers: &HeaderMap, failure: Failure) -> Response<Body> {
        match is_grpc(headers) {
            true => {
                let response = Status::from(&failure).into_http();
                self.count(failure, Transport::Grpc, response)
            }
            false => {
                let response = failure.response(headers, None);
                self.count(failure, Transport::Json, response)
            }
        }
    }

    /// Gives a reason to what the library has refused itself.
    fn explain(&self, response: Response<Body>) -> Response<Body> {
        if response.headers().get(Status::GRPC_STATUS).is_none() {
            return response;
        }
        let status = match response.extensions().get::<Status>() {
            // It has its reason.
            Some(status) if !status.details().is_empty() => return response,
            Some(status) => status.clone(),
            // The library knows of no such method.
            None => Status::unimplemented(""),
        };
        let status = Failure::of_library(&status, self.service.limits.message_bytes);
        let reason = Failure::reason_of(&status);
        let response = status.into_http();
        match reason {
            Some(reason) => self.count(Failure::new(reason, ""), Transport::Grpc, response),
            None => {
                // The client has gone.
                drop(self.service.counters.ask(Method::Other, Transport::Grpc));
                response
            }
        }
    }

    fn count(
        &self,
        failure: Failure,
        transport: Transport,
        response: Response<Body>,
    ) -> Response<Body> {
        let asked = self.service.counters.ask(Method::Other, transport);
        drop(asked.answered::<()>(Err(failure)));
        response
    }
}

impl CompatRoom {
    fn new(service: &Arc<Service>, compat: Compat, limit: usize) -> Self {
        let compatible = Compatible::new(service, compat.lease);
        let grpc = LockManagerServiceServer::new(CompatGrpc(compatible.clone()));
        Self {
            compatible,
            grpc: grpc.max_decoding_message_size(limit),
            legacy: compat.anonymous.then(|| Caller::everything(LEGACY, false)),
        }
    }
}

impl Room {
    fn of(path: &str) -> Self {
        let begins = |service: &str| {
            let rest = path
                .strip_prefix('/')
                .and_then(|it| it.strip_prefix(service));
            rest.is_some_and(|it| it.starts_with('/'))
        };
        if begins(lock_service_server::SERVICE_NAME) {
            Self::Grpc
        } else if path.starts_with("/v1/") {
            Self::Json
        } else if begins(lock_manager_service_server::SERVICE_NAME) {
            Self::CompatGrpc
        } else if path
            .strip_prefix(compat_http::PATH)
            .is_some_and(|it| it.is_empty() || it.starts_with('/'))
        {
            Self::CompatHttp
        } else if begins(health_server::SERVICE_NAME) || path.starts_with(REFLECTION) {
            Self::Open
        } else {
            Self::Nowhere
        }
    }
}

/// Health and reflection: nothing of these is secret.
fn open(service: &Arc<Service>, has_compat: bool) -> Router {
    let mut names = vec![lock_service_server::SERVICE_NAME];
    if has_compat {
        names.push(lock_manager_service_server::SERVICE_NAME);
    }
    let reflection = || {
        let builder = Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(health_server::SERVICE_NAME);
        names
            .iter()
            .fold(builder, |it, name| it.with_service_name(*name))
    };
    let v1 = reflection()
        .build_v1()
        .expect("the descriptors are our own");
    let v1alpha = reflection()
        .build_v1alpha()
        .expect("the descriptors are our own");
    let health = Healthy {
        service: Arc::clone(service),
        names: names.iter().copied().chain([""]).collect(),
    };
    Routes::new(HealthServer::new(health))
        .add_service(v1)
        .add_service(v1alpha)
        .into_axum_router()
}

/// Lets a service that never fails answer.
async fn answer<S, B>(mut service: S, request: Request<Body>) -> Response<Body>
where
    S: Tower<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    // None of them is ever busy.
    match service.call(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// Whether the client speaks gRPC.
fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let rest = value.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|it| it.is_empty() || it.starts_with(b"+proto") || it.starts_with(b";"))
}

/// Refuses what is sent to a gRPC service and is none.
fn check_grpc(request: &Request<Body>) -> Result<(), Failure> {
    if request.method() != http::Method::POST {
        let why = "gRPC methods take POST";
        return Err(Failure::new(Reason::MethodNotAllowed, why));
    }
    if !is_grpc(request.headers()) {
        let why = "the body has to be `application/grpc`";
        return Err(Failure::new(Reason::UnsupportedMediaType, why));
    }
    if request.version() < Version::HTTP_2 {
        let why = "gRPC needs HTTP/2";
        return Err(Failure::new(Reason::UnsupportedMediaType, why));
    }
    Ok(())
}
