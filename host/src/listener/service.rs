//! What a listener serves: anything that answers requests.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use std::future::Future;
use tower_service::Service as _;

/// What goes wrong under a response's body, which cuts its connection or, on
/// HTTP/2, its stream.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Answers the requests of a listener.
pub trait Service: Send + Sync + 'static {
    /// The bodies of its responses.
    type Body: Body<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static;

    /// Answers one request, whatever happens. The future is dropped if the
    /// client goes away, or when the node has no more time.
    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

impl Service for axum::Router {
    type Body = axum::body::Body;

    async fn answer(&self, request: Request<Incoming>) -> Response<Self::Body> {
        let mut router = self.clone();
        match router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
