//! Outgoing requests of components: who takes them, and what a guest is told.

mod fault;
mod patience;

pub use fault::Fault;

use crate::component::Context;
use crate::head::Head;
use crate::{Body, BoxError};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use lockport_store::transaction::Scope;
use patience::Patience;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody,
    WasiHttpHooks,
};

/// Where outgoing requests of components go.
pub trait Calls: Send + Sync + 'static {
    /// Sends `request`, made by a component in `scope`. Runs on a task of its
    /// own, which is aborted when the request of its caller ends, or when the
    /// caller has set its response.
    ///
    /// `connect` is how long the guest allows for a connection, if it says;
    /// never zero. Its other timeouts are kept by the engine: they begin when
    /// the request is handed over here, and when a part of the answer's body
    /// is asked for.
    fn call(
        self: Arc<Self>,
        request: http::Request<Body>,
        connect: Option<Duration>,
        scope: Scope,
    ) -> Pin<Box<dyn Future<Output = Result<http::Response<Body>, CallRefused>> + Send>>;
}

/// Why an outgoing request was not answered; becomes the guest's `error-code`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallRefused {
    /// The manifest does not grant it. Does not disclose whether the target
    /// exists.
    #[error("the call is not granted")]
    Denied,
    /// The request or response body is larger than a joined call may carry.
    #[error("the body of a call is larger than {limit} bytes")]
    TooLarge {
        /// How much is allowed, in bytes.
        limit: u64,
    },
    /// The request is over, or its response is set.
    #[error("the request is over")]
    Closed,
    /// Something is wrong with a server outside, or on the way to it.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Anything else, in words for people.
    #[error("{0}")]
    Failed(String),
}

/// How many writes of a guest to one body are buffered before the guest waits.
const BODY_CHUNKS: usize = 16;

/// How long one such write may be, in bytes. With [`BODY_CHUNKS`] it bounds
/// what a slow reader makes the host keep per body: 272 KiB.
const BODY_CHUNK_BYTES: usize = 16 << 10;

/// What wasi:http forbids guests to set. Kept once: the upstream default
/// allocates for every header it looks at.
static FORBIDDEN_HEADERS: [http::HeaderName; 9] = DEFAULT_FORBIDDEN_HEADERS;

/// What wasi:http asks of the host, for one instance.
pub(crate) struct Hooks {
    /// The request that is being handled. Without one, every call answers
    /// `closed`.
    pub(crate) context: Option<Context>,
    /// Whether its response is set: then nothing more is sent.
    head: Arc<Head>,
}

impl Hooks {
    pub(crate) fn new(head: Arc<Head>) -> Self {
        Self {
            context: None,
            head,
        }
    }
}

/// What [`WasiHttpHooks::send_request`] resolves to: a response, and a future
/// for an error that comes after it, of which there is none here.
type Sent = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &http::HeaderName) -> bool {
        FORBIDDEN_HEADERS.contains(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(|name| FORBIDDEN_HEADERS.contains(name))
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_CHUNKS
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _after: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let Some(context) = &self.context else {
            return Box::new(async { Err(refused(CallRefused::Closed)) });
        };
        let (calls, scope) = (context.calls.clone(), context.scope.clone());
        let patience = Patience::of(options);
        let head = self.head.clone();
        let request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
        Box::new(async move {
            // A panic must not leave this future: the handle that wasi:http
            // keeps of its task panics with it, inside the guest's call.
            let connect = patience.connect;
            let answer = AssertUnwindSafe(async move { calls.call(request, connect, scope).await });
            let answer = tokio::select! {
                biased;
                () = head.is_set() => Err(CallRefused::Closed),
                answer = patience.first_byte(answer.catch_unwind()) => {
                    answer?.unwrap_or_else(|_| {
                        tracing::error!("a call panicked");
                        Err(CallRefused::Failed("the call failed".to_owned()))
                    })
                }
            };
            let response = answer.map_err(refused)?;
            let response = response.map(|body| patience.with(body).map_err(broken).boxed_unsync());
            let after: Box<dyn Future<Output = _> + Send> = Box::new(async { Ok(()) });
            Ok((response, after))
        })
    }
}

/// What the guest is told of a call that was not answered.
fn refused(why: CallRefused) -> Error {
    match why {
        CallRefused::Denied => Error::HttpRequestDenied,
        CallRefused::TooLarge { limit } => Error::HttpRequestBodySize(Some(limit)),
        CallRefused::Closed => Error::InternalError(Some("closed".to_owned())),
        CallRefused::Fault(fault) => fault.into(),
        CallRefused::Failed(text) => Error::InternalError(Some(text)),
    }
}

/// What the guest is told when a body it reads breaks off. Why is the host's or
/// the client's own matter, unless it is a server's outside.
pub(crate) fn broken(error: BoxError) -> Error {
    tracing::debug!(%error, "a body that a guest reads broke off");
    if let Some(fault) = error.downcast_ref::<Fault>() {
        fault.clone().into()
    } else if error.is::<http_body_util::LengthLimitError>() {
        Error::HttpRequestBodySize(None)
    } else {
        Error::ConnectionTerminated
    }
}
