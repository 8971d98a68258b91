//! Asking by gRPC, each in a call of its own.

use super::{Answered, Ask, Opened, Refused, SessionStream, Speaks, Told, Watching};
use crate::harness::Node;
use lockport_proto::lock::lock_service_client::LockServiceClient;
use lockport_proto::lock::{OpenSession, WatchRequest};
use std::net::SocketAddr;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// A client with a connection of its own, which begins with the first call.
#[derive(Clone)]
pub(crate) struct LockApi {
    channel: Channel,
    token: Option<String>,
}

impl LockApi {
    /// Of a node.
    #[track_caller]
    pub(crate) fn of(node: &Node) -> Self {
        Self::at(super::address_of(node))
    }

    /// At an address.
    pub(crate) fn at(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint.expect("it is an address").tcp_nodelay(true);
        let _runtime = super::runtime().enter();
        Self {
            channel: endpoint.connect_lazy(),
            token: None,
        }
    }

    /// Shows this token with every call from now on.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// The connection, for other services.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A message with what goes with every call.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            let bearer = format!("Bearer {token}");
            let bearer = bearer.parse().expect("a test's token is ASCII");
            request.metadata_mut().insert("authorization", bearer);
        }
        request
    }

    /// The answer as it came, with all that a status has.
    pub(crate) async fn call(&self, ask: Ask) -> Result<Told, Status> {
        let mut client = LockServiceClient::new(self.channel.clone());
        macro_rules! call {
            ($method:ident, $message:expr, $told:ident) => {
                client
                    .$method(self.request($message))
                    .await
                    .map(|answer| Told::$told(answer.into_inner()))
            };
        }
        match ask {
            Ask::Acquire(message) => call!(acquire, message, Acquire),
            Ask::Cancel(message) => call!(cancel, message, Cancel),
            Ask::Renew(message) => call!(renew, message, Renew),
            Ask::Release(message) => call!(release, message, Release),
            Ask::Get(message) => call!(get, message, Get),
            Ask::List(message) => call!(list, message, List),
            Ask::ForceRelease(message) => call!(force_release, message, ForceRelease),
        }
    }

    /// As [`Speaks::ask`], with the status as it came.
    #[track_caller]
    pub(crate) fn ask_for_status(&self, ask: Ask) -> Result<Told, Status> {
        super::wait_for("an answer", self.call(ask))
    }

    /// Opens or attaches a session.
    pub(crate) fn session(&self, open: OpenSession) -> Answered<(SessionStream, Opened)> {
        SessionStream::open(self, open)
    }

    /// Begins to watch; returns when the first message has come, and with the
    /// revision it named.
    pub(crate) fn watch(&self, request: WatchRequest) -> Answered<Watching> {
        Watching::begin(self, request)
    }
}

impl Speaks for LockApi {
    fn ask(&self, ask: Ask) -> Answered {
        self.ask_for_status(ask)
            .map_err(|status| Refused::of_status(&status))
    }
}
