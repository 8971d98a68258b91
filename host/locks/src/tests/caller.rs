//! One client, whichever way it asks: what an operation answers, or the reason
//! why it fails, with the code or the status checked against the table.

use super::node::{Node, Reply, request, send, soon};
use crate::percent;
use futures_util::stream;
use http::Method;
use lockport_proto::lock as proto;
use lockport_proto::lock::lock_service_client::LockServiceClient;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::session_response::Result as Answer;
use lockport_proto::{ERROR_DOMAIN, Reason};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tonic_types::StatusExt;

/// The ways to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    Grpc,
    Json,
    Session,
}

pub(super) const WAYS: [Via; 3] = [Via::Grpc, Via::Json, Via::Session];

/// How many requests of a session's stream a test has in flight at most.
const IN_FLIGHT: usize = 1000;

/// What an operation answers, or why it fails.
pub(super) type Outcome<T> = Result<T, Reason>;

/// One client.
pub(super) struct Caller {
    address: SocketAddr,
    token: Option<&'static str>,
    grpc: LockServiceClient<Channel>,
    talk: Option<Talk>,
    via: Via,
}

/// A session's stream, as its client has it.
pub(super) struct Talk {
    requests: mpsc::Sender<proto::SessionRequest>,
    responses: Streaming<proto::SessionResponse>,
    /// Answers that came while another was waited for.
    early: HashMap<u64, Answer>,
    last: u64,
}

impl Caller {
    pub(super) async fn new(node: &Node, via: Via, token: Option<&'static str>) -> Self {
        let mut grpc = node.grpc().await;
        let talk = match via {
            Via::Session => {
                let mut talk = Talk::begin(&mut grpc, token).await.unwrap();
                talk.open(proto::OpenSession::default()).await.unwrap();
                Some(talk)
            }
            Via::Grpc | Via::Json => None,
        };
        Self {
            address: node.address,
            token,
            grpc,
            talk,
            via,
        }
    }

    pub(super) async fn acquire(
        &mut self,
        it: proto::AcquireRequest,
    ) -> Outcome<proto::AcquireResponse> {
        match self.via {
            Via::Grpc => of_grpc(self.grpc.acquire(with(self.token, it)).await),
            Via::Json => self.post("/v1/locks:acquire", it).await,
            Via::Session => match self.ask(Operation::Acquire(it)).await? {
                Answer::Acquire(answer) => Ok(answer),
                other => panic!("{other:?}"),
            },
        }
    }

    pub(super) async fn cancel(
        &mut self,
        it: proto::CancelRequest,
    ) -> Outcome<proto::CancelResponse> {
        match self.via {
            Via::Grpc => of_grpc(self.grpc.cancel(with(self.token, it)).await),
            Via::Json => self.post("/v1/locks:cancel", it).await,
            Via::Session => match self.ask(Operation::Cancel(it)).await? {
                Answer::Cancel(answer) => Ok(answer),
                other => panic!("{other:?}"),
            },
        }
    }

    pub(super) async fn renew(&mut self, it: proto::RenewRequest) -> Outcome<proto::RenewResponse> {
        match self.via {
            Via::Grpc => of_grpc(self.grpc.renew(with(self.token, it)).await),
            Via::Json => self.post("/v1/locks:renew", it).await,
            Via::Session => match self.ask(Operation::Renew(it)).await? {
                Answer::Renew(answer) => Ok(answer),
                other => panic!("{other:?}"),
            },
        }
    }

    pub(super) async fn release(
        &mut self,
        it: proto::ReleaseRequest,
    ) -> Outcome<proto::ReleaseResponse> {
        match self.via {
            Via::Grpc => of_grpc(self.grpc.release(with(self.token, it)).await),
            Via::Json => self.post("/v1/locks:release", it).await,
            Via::Session => match self.ask(Operation::Release(it)).await? {
                Answer::Release(answer) => Ok(answer),
                other => panic!("{other:?}"),
            },
        }
    }

    pub(super) async fn force_release(
        &mut self,
        it: proto::ForceReleaseRequest,
    ) -> Outcome<proto::ForceReleaseResponse> {
        match self.via {
            Via::Grpc => of_grpc(self.grpc.force_release(with(self.token, it)).await),
            Via::Json => self.post("/v1/locks:forceRelease", it).await,
            Via::Session => match self.ask(Operation::ForceRelease(it)).await? {
                Answer::ForceRelease(answer) => Ok(answer),
                other => panic!("{other:?}"),
            },
        }
    }

    pub(super) async fn get(&mut self, name: &str) -> Outcome<proto::Lock> {
        let it = proto::GetRequest {
            name: name.to_owned(),
        };
        let answer: proto::GetResponse = match self.via {
            Via::Grpc => of_grpc(self.grpc.get(with(self.token, it)).await)?,
            Via::Json => {
                let path = format!("/v1/locks/{}", percent::encode(name));
                self.fetch(&path).await?
            }
            Via::Session => match self.ask(Operation::Get(it)).await? {
                Answer::Get(answer) => answer,
                other => panic!("{other:?}"),
            },
        };
        Ok(answer.lock.unwrap())
    }

    pub(super) async fn list(&mut self, it: proto::ListRequest) -> Outcome<proto::ListResponse> {
        match self.via {
            Via::Grpc => of_grpc(self.grpc.list(with(self.token, it)).await),
            Via::Json => {
                let prefix = percent::encode(&it.prefix);
                let token = percent::encode(&it.page_token);
                let size = it.page_size;
                let path = format!("/v1/locks?prefix={prefix}&pageSize={size}&pageToken={token}");
                self.fetch(&path).await
            }
            Via::Session => match self.ask(Operation::List(it)).await? {
                Answer::List(answer) => Ok(answer),
                other => panic!("{other:?}"),
            },
        }
    }

    pub(super) fn talk(&mut self) -> &mut Talk {
        self.talk.as_mut().unwrap()
    }

    async fn ask(&mut self, operation: Operation) -> Outcome<Answer> {
        let talk = self.talk();
        let id = talk.send(operation);
        talk.answer(id).await
    }

    async fn post<Q: Serialize, A: DeserializeOwned>(&self, path: &str, it: Q) -> Outcome<A> {
        let mut request = request(Method::POST, path, serde_json::to_vec(&it).unwrap());
        let json = "application/json; charset=utf-8".parse().unwrap();
        request.headers_mut().insert("content-type", json);
        self.over_http(request).await
    }

    async fn fetch<A: DeserializeOwned>(&self, path: &str) -> Outcome<A> {
        self.over_http(request(Method::GET, path, "")).await
    }

    async fn over_http<A: DeserializeOwned>(
        &self,
        mut request: http::Request<http_body_util::Full<bytes::Bytes>>,
    ) -> Outcome<A> {
        if let Some(token) = self.token {
            let bearer = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert("authorization", bearer);
        }
        of_json(&soon(send(self.address, request)).await)
    }
}

impl Talk {
    /// Begins a stream. Nothing is asked yet.
    pub(super) async fn begin(
        grpc: &mut LockServiceClient<Channel>,
        token: Option<&str>,
    ) -> Result<Self, Status> {
        let (requests, mut receiver) = mpsc::channel(IN_FLIGHT);
        let asked = stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let responses = grpc.session(with(token, asked)).await?.into_inner();
        Ok(Self {
            requests,
            responses,
            early: HashMap::new(),
            last: 0,
        })
    }

    /// Opens a session, or attaches one.
    pub(super) async fn open(
        &mut self,
        it: proto::OpenSession,
    ) -> Result<proto::SessionOpened, Status> {
        self.send(Operation::Open(it));
        match self.next().await? {
            Some((1, Answer::Opened(opened))) => Ok(opened),
            other => panic!("{other:?}"),
        }
    }

    /// Sends a request; its id.
    pub(super) fn send(&mut self, operation: Operation) -> u64 {
        self.last += 1;
        self.send_as(self.last, Some(operation));
        self.last
    }

    pub(super) fn send_as(&self, id: u64, operation: Option<Operation>) {
        // The other side may have gone; then the next answer says so.
        drop(
            self.requests
                .try_send(proto::SessionRequest { id, operation }),
        );
    }

    /// What comes next; `None` is the end.
    pub(super) async fn next(&mut self) -> Result<Option<(u64, Answer)>, Status> {
        let response = soon(self.responses.message()).await?;
        Ok(response.map(|it| (it.id, it.result.unwrap())))
    }

    /// The answer to a request.
    pub(super) async fn answer(&mut self, id: u64) -> Outcome<Answer> {
        loop {
            if let Some(answer) = self.early.remove(&id) {
                return of_session(answer);
            }
            let (id, answer) = self.next().await.unwrap().unwrap();
            self.early.insert(id, answer);
        }
    }

    /// Ends the client's side, as a client does that just goes away.
    pub(super) fn half_close(self) -> Streaming<proto::SessionResponse> {
        self.responses
    }
}

pub(super) fn with<T>(token: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
    }
    request
}

/// The answer, or the reason of a status that fits it.
pub(super) fn of_grpc<T>(answer: Result<Response<T>, Status>) -> Outcome<T> {
    answer.map(Response::into_inner).map_err(|it| reason(&it))
}

/// The reason in a status that fits it.
pub(super) fn reason(status: &Status) -> Reason {
    let Some(info) = status.get_details_error_info() else {
        panic!("no details in {status:?}");
    };
    assert_eq!(info.domain, ERROR_DOMAIN);
    let reason = Reason::from_name(&info.reason).unwrap();
    assert_eq!(status.code(), reason.code(), "{status:?}");
    assert!(!status.message().is_empty());
    reason
}

fn of_json<A: DeserializeOwned>(reply: &Reply) -> Outcome<A> {
    if reply.status.is_success() {
        assert_eq!(reply.headers["content-type"], "application/json");
        return Ok(serde_json::from_str(&reply.body).unwrap());
    }
    let reason = Reason::from_name(&reply.reason()).unwrap();
    assert_eq!(reply.status, reason.status());
    Err(reason)
}

fn of_session(answer: Answer) -> Outcome<Answer> {
    match answer {
        Answer::Failure(failure) => {
            let reason = Reason::from_name(&failure.reason).unwrap();
            assert_eq!(failure.code, i32::from(reason.code()));
            assert!(!failure.message.is_empty());
            Err(reason)
        }
        answer => Ok(answer),
    }
}

/// A request for one lock.
pub(super) fn one(name: &str) -> proto::AcquireRequest {
    proto::AcquireRequest {
        names: vec![name.to_owned()],
        ..Default::default()
    }
}

/// A request for one lock that waits for it.
pub(super) fn waiting(name: &str) -> proto::AcquireRequest {
    proto::AcquireRequest {
        wait: Some(Duration::from_secs(60).into()),
        ..one(name)
    }
}

pub(super) fn release(grant: &str) -> proto::ReleaseRequest {
    proto::ReleaseRequest {
        grant: grant.to_owned(),
    }
}

/// The grant in an answer.
pub(super) fn granted(answer: Outcome<proto::AcquireResponse>) -> proto::Grant {
    answer.unwrap().grant.unwrap()
}
