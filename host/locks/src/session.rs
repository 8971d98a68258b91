//! A session's stream: keeps the session alive and carries every operation.
//!
//! ```text
//!   New --open--> Opening --attached--> Open --close--> Closing --> Over
//!                    |                   |                           ^
//!                    +-- refused --------+-- broke, lost, draining --+
//!                                            then the session is detached
//! ```
//!
//! There is no task and no channel: the stream of answers is made when the
//! connection asks for more of it. Each request is begun where it is read, and
//! most are answered there and then; what has to wait, for a lock or for the
//! disk, is put aside ([`InFlight`]) and answered when it is done. The library
//! puts all answers that are ready into one piece.
//!
//! No timer runs here: the store ends a session whose beats do not come, and
//! closes the line by which it tells of lost grants.

mod in_flight;
mod opening;

use crate::access::Caller;
use crate::failure::Failure;
use crate::service::{OnSession, Service};
use crate::statistics::{Method, Open, Transport};
use futures_util::future::BoxFuture;
use futures_util::stream::Stream;
use in_flight::{InFlight, Step};
use lockport_proto::Reason;
use lockport_proto::lock as proto;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::session_response::Result as Answer;
use lockport_store::store::{Attachment, LostGrant};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tonic::{Status, Streaming};

/// How many requests are read in a row before answers that have come since are
/// looked for.
const STREAK: usize = 32;

/// The answers on a session's stream. Dropping it detaches the session.
pub(crate) struct SessionStream {
    service: Arc<Service>,
    caller: Caller,
    requests: Streaming<proto::SessionRequest>,
    stage: Stage,
    /// Resolves when the node ends.
    ending: BoxFuture<'static, ()>,
    /// The client's own deadline for the whole stream.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whether it has been counted how the stream ended.
    is_counted: bool,
    _open: Open,
}

enum Stage {
    /// Until when the first request has to come, once it was missed.
    New(Option<Pin<Box<Sleep>>>),
    Opening(u64, BoxFuture<'static, Result<Opened, Failure>>),
    Open(Session),
    Over,
}

/// What opening a session gives.
struct Opened {
    attachment: Attachment,
    lost: mpsc::UnboundedReceiver<LostGrant>,
    on: OnSession,
    message: proto::SessionOpened,
}

/// A session that is attached to this stream.
struct Session {
    service: Arc<Service>,
    attachment: Attachment,
    on: Arc<OnSession>,
    lost: mpsc::UnboundedReceiver<LostGrant>,
    in_flight: InFlight,
    /// How many requests were read since others were looked at.
    streak: usize,
    closing: Closing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    /// Nothing is read until it is known whether the session has ended.
    Asked,
    /// The session has ended, and so have its waits: they are still answered.
    Done,
}

/// What there is to send: an answer, or the end.
type Next = Result<Option<proto::SessionResponse>, Status>;

impl SessionStream {
    pub(crate) fn new(
        service: Arc<Service>,
        caller: Caller,
        requests: Streaming<proto::SessionRequest>,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            ending: Box::pin(service.drain.ending()),
            deadline: deadline.map(|it| Box::pin(sleep_until(it))),
            _open: Open::new(&service.counters.sessions),
            stage: Stage::New(None),
            is_counted: false,
            service,
            caller,
            requests,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        // First, for there may always be something to read or to answer.
        if let Some(end) = self.end() {
            return Poll::Ready(Err(end.into()));
        }
        loop {
            let next = match &mut self.stage {
                Stage::New(end) => match Pin::new(&mut self.requests).poll_next(cx) {
                    Poll::Ready(Some(Ok(request))) => {
                        self.stage = self.open(request)?;
                        continue;
                    }
                    Poll::Ready(Some(Err(status))) => Err(self.refused(&status)),
                    Poll::Ready(None) => Ok(None),
                    Poll::Pending => {
                        let patience = self.service.limits.body;
                        let end = end.get_or_insert_with(|| Box::pin(sleep(patience)));
                        match end.as_mut().poll(cx) {
                            Poll::Ready(()) => Err(Failure::too_slow(patience).into()),
                            Poll::Pending => return self.poll_end(cx),
                        }
                    }
                },
                Stage::Opening(id, opening) => match opening.as_mut().poll(cx) {
                    Poll::Ready(Ok(opened)) => {
                        let answer = Answer::Opened(opened.message.clone());
                        let response = respond(*id, answer);
                        self.stage = Stage::Open(Session::new(&self.service, opened));
                        Ok(Some(response))
                    }
                    Poll::Ready(Err(failure)) => Err(failure.into()),
                    Poll::Pending => return self.poll_end(cx),
                },
                Stage::Open(session) => match session.poll(&self.caller, &mut self.requests, cx) {
                    Poll::Ready(next) => next,
                    Poll::Pending => return self.poll_end(cx),
                },
                Stage::Over => Ok(None),
            };
            return Poll::Ready(next);
        }
    }

    /// What has ended the stream from outside.
    fn end(&self) -> Option<Failure> {
        let is_over = |it: &Pin<Box<Sleep>>| it.deadline() <= Instant::now();
        let deadline = self.deadline.as_ref().filter(|it| is_over(it));
        let ending = self.service.drain.check_brief().err();
        ending.or_else(|| deadline.map(|_| Failure::deadline()))
    }

    /// Waits for what ends the stream from outside.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if self.ending.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Failure::draining().into()));
        }
        let deadline = self.deadline.as_mut();
        match deadline.is_some_and(|it| it.as_mut().poll(cx).is_ready()) {
            true => Poll::Ready(Err(Failure::deadline().into())),
            false => Poll::Pending,
        }
    }

    /// The first request has to open a session.
    fn open(&self, request: proto::SessionRequest) -> Result<Stage, Failure> {
        let proto::SessionRequest { id, operation } = request;
        let Some(Operation::Open(open)) = operation else {
            let why = "the first request on a session's stream has to open a session";
            return Err(Failure::new(Reason::InvalidRequest, why));
        };
        check_id(id)?;
        let (service, caller) = (Arc::clone(&self.service), self.caller.clone());
        let opening = async move {
            let asked = service.counters.ask(Method::Open, Transport::Session);
            asked.answered(opening::open(&service, &caller, open).await)
        };
        Ok(Stage::Opening(id, Box::pin(opening)))
    }

    /// The library could not read a request.
    fn refused(&self, status: &Status) -> Status {
        Failure::of_library(status, self.service.limits.message_bytes)
    }

    fn count(&mut self, next: &Next) {
        self.is_counted = true;
        let asked = self.service.counters.ask(Method::Session, Transport::Grpc);
        let end = match next {
            Ok(_) => Ok(()),
            Err(status) => match Failure::reason_of(status) {
                Some(reason) => Err(Failure::new(reason, "")),
                // The client has gone.
                None => return,
            },
        };
        drop(asked.answered(end));
    }
}

impl Stream for SessionStream {
    type Item = Result<proto::SessionResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Poll::Ready(next) = self.poll(cx) else {
            return Poll::Pending;
        };
        if !matches!(next, Ok(Some(_))) && !self.is_counted {
            self.count(&next);
            // Detaches the session.
            self.stage = Stage::Over;
        }
        Poll::Ready(next.transpose())
    }
}

impl Drop for SessionStream {
    fn drop(&mut self) {
        if !self.is_counted {
            drop(self.service.counters.ask(Method::Session, Transport::Grpc));
        }
    }
}

impl Session {
    fn new(service: &Arc<Service>, opened: Opened) -> Self {
        Self {
            in_flight: InFlight::new(service.limits),
            service: Arc::clone(service),
            attachment: opened.attachment,
            on: Arc::new(opened.on),
            lost: opened.lost,
            streak: 0,
            closing: Closing::No,
        }
    }

    fn poll(
        &mut self,
        caller: &Caller,
        requests: &mut Streaming<proto::SessionRequest>,
        cx: &mut Context<'_>,
    ) -> Poll<Next> {
        loop {
            let reads = self.closing == Closing::No && self.in_flight.has_room();
            let is_streak = self.streak >= STREAK;
            if reads && !is_streak {
                self.streak += 1;
                match Pin::new(&mut *requests).poll_next(cx) {
                    Poll::Ready(Some(Ok(request))) => match self.begin(caller, request, cx)? {
                        Some(response) => return Poll::Ready(Ok(Some(response))),
                        None => continue,
                    },
                    Poll::Ready(Some(Err(status))) => {
                        let limit = self.service.limits.message_bytes;
                        return Poll::Ready(Err(Failure::of_library(&status, limit)));
                    }
                    Poll::Ready(None) => return Poll::Ready(Ok(None)),
                    Poll::Pending => {}
                }
            }
            self.streak = 0;
            // First, for what is in flight may always have something to say.
            if let Poll::Ready(next) = self.poll_lost(cx) {
                return Poll::Ready(next);
            }
            // Watches would go on; nobody waits for those any more.
            if self.closing == Closing::Done && !self.in_flight.has_but_watches() {
                return Poll::Ready(Ok(None));
            }
            if let Poll::Ready(Step { response, closed }) = self.in_flight.poll(cx) {
                self.closed(closed);
                return Poll::Ready(Ok(Some(response)));
            }
            // After a streak there may be more to read.
            if !(reads && is_streak) {
                return Poll::Pending;
            }
        }
    }

    /// Begins a request, and answers it if that is possible at once. An error
    /// is the end of the stream.
    fn begin(
        &mut self,
        caller: &Caller,
        request: proto::SessionRequest,
        cx: &mut Context<'_>,
    ) -> Result<Option<proto::SessionResponse>, Failure> {
        let proto::SessionRequest { id, operation } = request;
        check_id(id)?;
        if self.in_flight.has(id) {
            let why = format!("the request {id} is still in flight; choose other ids");
            return Err(Failure::new(Reason::InvalidRequest, why));
        }
        match operation {
            Some(Operation::Beat(beat)) => {
                let asked = self.service.counters.ask(Method::Beat, Transport::Session);
                let beaten = self.service.store.beat(self.on.id, self.attachment);
                asked.answered(beaten.map_err(Failure::from))?;
                Ok(Some(respond(id, Answer::Beat(beat))))
            }
            Some(Operation::Open(_)) => Ok(Some(refuse(id, "the stream has a session already"))),
            None => Ok(Some(refuse(
                id,
                "the request has no operation that is known",
            ))),
            Some(operation) => {
                if matches!(operation, Operation::Close(_)) {
                    self.closing = Closing::Asked;
                }
                let begun =
                    self.in_flight
                        .begin(&self.service, caller, &self.on, id, operation, cx);
                let Some(Step { response, closed }) = begun else {
                    return Ok(None);
                };
                self.closed(closed);
                Ok(Some(response))
            }
        }
    }

    /// What the session's grants lose, and its end.
    fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        // Nobody waits for that who has asked for the end.
        if self.closing != Closing::No {
            return Poll::Pending;
        }
        self.lost.poll_recv(cx).map(|lost| match lost {
            Some(lost) => Ok(Some(respond(0, of_lost(lost)))),
            None => Err(self.why_ended().into()),
        })
    }

    /// A close was answered, if `closed` says whether the session has ended.
    fn closed(&mut self, closed: Option<bool>) {
        match closed {
            Some(true) => self.closing = Closing::Done,
            Some(false) => self.closing = Closing::No,
            None => {}
        }
    }

    /// Why the store has closed its line.
    fn why_ended(&self) -> Failure {
        match self.service.store.beat(self.on.id, self.attachment) {
            Err(error) => error.into(),
            Ok(()) => Failure::new(Reason::Lost, "the session has ended"),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.closing != Closing::Done {
            self.service.store.detach(self.on.id, self.attachment);
        }
    }
}

fn check_id(id: u64) -> Result<(), Failure> {
    match id {
        0 => Err(Failure::field(Reason::InvalidRequest, "id", "is 0")),
        _ => Ok(()),
    }
}

fn respond(id: u64, answer: Answer) -> proto::SessionResponse {
    proto::SessionResponse {
        id,
        result: Some(answer),
    }
}

fn refuse(id: u64, why: &'static str) -> proto::SessionResponse {
    let failure = Failure::new(Reason::InvalidRequest, why);
    respond(id, Answer::Failure((&failure).into()))
}

fn of_lost(lost: LostGrant) -> Answer {
    Answer::Lost(proto::LostGrant {
        fencing_token: lost.token,
        names: crate::convert::texts(&lost.names),
    })
}
