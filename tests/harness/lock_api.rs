//! The lock API in the tests' words: the same asking in gRPC, in JSON and on a
//! session's stream, and what is told, in one shape.
//!
//! A test asks and waits for the answer; what waits for a lock is asked by a
//! thread of its own. Nothing is tried again, and nothing is renewed by itself.

mod grpc;
mod json;
mod served;
mod session;
mod watch;

pub(crate) use grpc::LockApi;
pub(crate) use json::{JsonApi, encoded};
pub(crate) use served::assert_served_in_order;
pub(crate) use session::{Opened, SessionStream};
pub(crate) use watch::{ServerSentEvents, Watching};

use super::{BOUND, Node};
use lockport_proto::Duration as ProtoDuration;
use lockport_proto::lock::{
    AcquireRequest, AcquireResponse, CancelRequest, CancelResponse, ForceReleaseRequest,
    ForceReleaseResponse, GetRequest, GetResponse, Grant, ListRequest, ListResponse, Mode,
    ReleaseRequest, ReleaseResponse, RenewRequest, RenewResponse,
};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::runtime::Runtime;
use tonic::Code;

/// What can be asked in every way there is.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Acquire(AcquireRequest),
    Cancel(CancelRequest),
    Renew(RenewRequest),
    Release(ReleaseRequest),
    Get(GetRequest),
    List(ListRequest),
    ForceRelease(ForceReleaseRequest),
}

/// What is answered to an [`Ask`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    Acquire(AcquireResponse),
    Cancel(CancelResponse),
    Renew(RenewResponse),
    Release(ReleaseResponse),
    Get(GetResponse),
    List(ListResponse),
    ForceRelease(ForceReleaseResponse),
}

/// A refusal, as far as the transport has words for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The gRPC code; JSON has none.
    pub(crate) code: Option<Code>,
    /// The HTTP status; only JSON has one.
    pub(crate) status: Option<u16>,
    /// The reason's name.
    pub(crate) reason: String,
    /// The sentence.
    pub(crate) message: String,
}

/// What was told, or why not.
pub(crate) type Answered<T = Told> = Result<T, Refused>;

/// An answer that has to be a refusal.
pub(crate) trait IsRefused {
    /// The refusal.
    #[track_caller]
    fn expect_refused(self) -> Refused;
}

/// One way of asking.
pub(crate) trait Speaks {
    /// Asks and waits for the answer, for at most [`BOUND`].
    fn ask(&self, ask: Ask) -> Answered;

    /// [`Ask::Acquire`].
    fn acquire(&self, request: AcquireRequest) -> Answered<AcquireResponse> {
        match self.ask(Ask::Acquire(request))? {
            Told::Acquire(told) => Ok(told),
            other => panic!("an acquire was answered {other:?}"),
        }
    }

    /// Acquires what is free; its grant.
    #[track_caller]
    fn grant(&self, request: AcquireRequest) -> Grant {
        let asked = request.clone();
        match self.acquire(request) {
            Ok(told) => told.grant.expect("there is a grant in the answer"),
            Err(refused) => panic!("{asked:?}: {refused:?}"),
        }
    }

    /// [`Ask::Cancel`], of what was asked with this request id.
    fn cancel(&self, request_id: &str) -> Answered<CancelResponse> {
        let request_id = request_id.to_owned();
        match self.ask(Ask::Cancel(CancelRequest { request_id }))? {
            Told::Cancel(told) => Ok(told),
            other => panic!("a cancel was answered {other:?}"),
        }
    }

    /// [`Ask::Renew`].
    fn renew(&self, grant: &str, lease: Option<ProtoDuration>) -> Answered<Grant> {
        let grant = grant.to_owned();
        match self.ask(Ask::Renew(RenewRequest { grant, lease }))? {
            Told::Renew(told) => Ok(told.grant.expect("there is a grant in the answer")),
            other => panic!("a renewal was answered {other:?}"),
        }
    }

    /// [`Ask::Release`]; what was found.
    fn release(&self, grant: &str) -> Answered<lockport_proto::lock::release_response::Outcome> {
        let grant = grant.to_owned();
        match self.ask(Ask::Release(ReleaseRequest { grant }))? {
            Told::Release(told) => Ok(told.outcome()),
            other => panic!("a release was answered {other:?}"),
        }
    }

    /// [`Ask::Get`]; it has to be answered.
    #[track_caller]
    fn look(&self, name: &str) -> lockport_proto::lock::Lock {
        let name = name.to_owned();
        match self.ask(Ask::Get(GetRequest { name })) {
            Ok(Told::Get(told)) => told.lock.expect("there is a lock in the answer"),
            other => panic!("a look was answered {other:?}"),
        }
    }

    /// [`Ask::List`]; every page of it, in pages of this size.
    #[track_caller]
    fn list(&self, prefix: &str, page_size: u32) -> Vec<lockport_proto::lock::Lock> {
        let mut request = ListRequest {
            prefix: prefix.to_owned(),
            page_size,
            page_token: String::new(),
        };
        let mut locks = Vec::new();
        loop {
            let page = match self.ask(Ask::List(request.clone())) {
                Ok(Told::List(page)) => page,
                other => panic!("a list was answered {other:?}"),
            };
            assert!(page.locks.len() <= page_size as usize, "a page is too long");
            locks.extend(page.locks);
            if page.next_page_token.is_empty() {
                return locks;
            }
            assert_ne!(page.next_page_token, request.page_token, "it does not end");
            request.page_token = page.next_page_token;
        }
    }

    /// [`Ask::ForceRelease`].
    fn force_release(&self, name: &str) -> Answered<ForceReleaseResponse> {
        let request = ForceReleaseRequest {
            name: name.to_owned(),
            reason: "a test takes it away".to_owned(),
        };
        match self.ask(Ask::ForceRelease(request))? {
            Told::ForceRelease(told) => Ok(told),
            other => panic!("a forced release was answered {other:?}"),
        }
    }

    /// Waits until so many wait for a lock.
    #[track_caller]
    fn wait_until_waiting(&self, name: &str, count: u32) {
        super::eventually(&format!("{count} wait for `{name}`"), || {
            (self.look(name).waiter_count == count).then_some(())
        });
    }

    /// Waits until nobody holds a lock.
    #[track_caller]
    fn wait_until_idle(&self, name: &str) {
        super::eventually(&format!("`{name}` is free"), || {
            (self.look(name).holder_count == 0).then_some(())
        });
    }
}

/// What to acquire: these names, exclusively, for the default lease, without
/// waiting.
pub(crate) fn acquire<N: Into<String>>(names: impl IntoIterator<Item = N>) -> AcquireRequest {
    AcquireRequest {
        names: names.into_iter().map(Into::into).collect(),
        ..AcquireRequest::default()
    }
}

/// The same, waiting for longer than any test does.
pub(crate) fn acquire_waiting<N: Into<String>>(
    names: impl IntoIterator<Item = N>,
) -> AcquireRequest {
    AcquireRequest {
        wait: millis(2 * BOUND.as_millis() as u64),
        ..acquire(names)
    }
}

/// A grant with a lease of so many milliseconds: so short that on a busy machine
/// it may be over before it is told of, and then it is asked for again.
#[track_caller]
pub(crate) fn brief_grant(by: &dyn Speaks, name: &str, milliseconds: u64) -> Grant {
    super::eventually("a brief grant is told of in time", || {
        let request = AcquireRequest {
            lease: millis(milliseconds),
            ..acquire_waiting([name])
        };
        by.acquire(request).ok()?.grant
    })
}

/// Where a node serves the lock API.
#[track_caller]
pub(crate) fn address_of(node: &Node) -> SocketAddr {
    let address = node.ready()["lock"].as_str();
    let address = address.expect("the ready line has `lock`");
    address.parse().expect("it is an address")
}

/// Shared mode, as it travels.
pub(crate) fn shared() -> i32 {
    Mode::Shared.into()
}

/// So many milliseconds, as they travel.
pub(crate) fn millis(milliseconds: u64) -> Option<ProtoDuration> {
    Some(ProtoDuration {
        seconds: (milliseconds / 1_000) as i64,
        nanos: (milliseconds % 1_000) as i32 * 1_000_000,
    })
}

/// A duration that has travelled.
#[track_caller]
pub(crate) fn duration(travelled: Option<ProtoDuration>) -> Duration {
    let travelled = travelled.expect("there is a duration");
    let seconds = u64::try_from(travelled.seconds).expect("it is not negative");
    let nanos = u32::try_from(travelled.nanos).expect("it is not negative");
    Duration::new(seconds, nanos)
}

/// What drives the connections of all clients of this process.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads can be started")
    })
}

/// Waits for `future`, for at most [`BOUND`].
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, future: impl Future<Output = T>) -> T {
    match runtime().block_on(async { tokio::time::timeout(BOUND, future).await }) {
        Ok(answer) => answer,
        Err(_) => panic!("waited {BOUND:?} in vain: {what}"),
    }
}

impl<T> IsRefused for Answered<T> {
    fn expect_refused(self) -> Refused {
        match self {
            Ok(_) => panic!("it was not refused"),
            Err(refused) => refused,
        }
    }
}

// === impl Refused ===

impl Refused {
    /// Of a gRPC status: its `ErrorInfo` has to be there, and in our domain.
    #[track_caller]
    pub(crate) fn of_status(status: &tonic::Status) -> Self {
        use tonic_types::StatusExt;
        let Some(info) = status.get_details_error_info() else {
            panic!("there is no ErrorInfo in {status:?}");
        };
        assert_eq!(info.domain, "lockport", "{status:?}");
        Self {
            code: Some(status.code()),
            status: None,
            reason: info.reason,
            message: status.message().to_owned(),
        }
    }
}
