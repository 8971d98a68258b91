//! The operations of a session's stream that have begun and are not answered.
//!
//! Two limits. Operations that wait, for a lock or for something to happen, may
//! do so for as long as they like, so beyond a number they are refused: were
//! the stream not read on instead, beats would not be heard. All others are
//! answered soon, at the latest when the disk has, so beyond a number the
//! stream is not read on.

use super::respond;
use crate::access::Caller;
use crate::failure::Failure;
use crate::limits::Limits;
use crate::service::{OnSession, Service};
use crate::statistics::{Method, Transport};
use crate::watch::Watcher;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use lockport_proto::Reason;
use lockport_proto::lock as proto;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::session_response::Result as Answer;
use std::collections::HashSet;
use std::future::{Future, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

/// See the [module](self).
pub(super) struct InFlight {
    limits: Limits,
    operations: FuturesUnordered<BoxFuture<'static, Done>>,
    ids: HashSet<u64>,
    /// How many of them wait for a lock.
    waits: usize,
    /// How many of them watch.
    watches: usize,
}

/// An answer to send.
pub(super) struct Step {
    pub(super) response: proto::SessionResponse,
    /// If this answers `close`: whether the session has ended.
    pub(super) closed: Option<bool>,
}

/// An operation that has something to answer.
struct Done {
    id: u64,
    kind: Kind,
    answer: Result<Answer, Failure>,
    /// What goes on.
    watcher: Option<Box<Watcher>>,
}

/// How long an operation may take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As long as the store does.
    Short,
    /// As long as its request says.
    Wait,
    /// As long as the stream.
    Watch,
    /// As long as the store does, and it ends the session.
    Close,
}

/// Who asks, and for what.
struct Asking<'a> {
    service: &'a Arc<Service>,
    caller: &'a Caller,
    id: u64,
    kind: Kind,
}

impl InFlight {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            operations: FuturesUnordered::new(),
            ids: HashSet::new(),
            waits: 0,
            watches: 0,
        }
    }

    pub(super) fn has(&self, id: u64) -> bool {
        self.ids.contains(&id)
    }

    /// Whether the stream is to be read on.
    pub(super) fn has_room(&self) -> bool {
        let short = self.operations.len() - self.waits - self.watches;
        short < self.limits.session_in_flight
    }

    /// Whether something else than a watch is to be answered yet.
    pub(super) fn has_but_watches(&self) -> bool {
        self.operations.len() > self.watches
    }

    /// Begins an operation. If it has an answer at once, that is it.
    pub(super) fn begin(
        &mut self,
        service: &Arc<Service>,
        caller: &Caller,
        on: &Arc<OnSession>,
        id: u64,
        operation: Operation,
        cx: &mut Context<'_>,
    ) -> Option<Step> {
        let kind = Kind::of(&operation);
        let is_full = self.waits + self.watches >= self.limits.session_waits;
        if is_full && matches!(kind, Kind::Wait | Kind::Watch) {
            let most = self.limits.session_waits;
            let why = format!("at most {most} operations of one stream may wait");
            let failure = Failure::new(Reason::Quota, why);
            return Some(Step::new(id, Answer::Failure((&failure).into())));
        }
        let asking = Asking {
            service,
            caller,
            id,
            kind,
        };
        let mut operation = asking.begin(on, operation);
        match operation.as_mut().poll(cx) {
            Poll::Ready(done) => Some(self.answer(done)),
            Poll::Pending => {
                self.ids.insert(id);
                self.put(kind, operation);
                None
            }
        }
    }

    /// The next answer that has come.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        match self.operations.poll_next_unpin(cx) {
            Poll::Ready(Some(done)) => {
                match done.kind {
                    Kind::Wait => self.waits -= 1,
                    Kind::Watch => self.watches -= 1,
                    Kind::Short | Kind::Close => {}
                }
                self.ids.remove(&done.id);
                Poll::Ready(self.answer(done))
            }
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn put(&mut self, kind: Kind, operation: BoxFuture<'static, Done>) {
        match kind {
            Kind::Wait => self.waits += 1,
            Kind::Watch => self.watches += 1,
            Kind::Short | Kind::Close => {}
        }
        self.operations.push(operation);
    }

    fn answer(&mut self, done: Done) -> Step {
        let Done {
            id,
            kind,
            answer,
            watcher,
        } = done;
        if let Some(watcher) = watcher {
            self.ids.insert(id);
            self.put(Kind::Watch, watch(id, watcher));
        }
        let closed = (kind == Kind::Close).then_some(answer.is_ok());
        let answer = answer.unwrap_or_else(|failure| Answer::Failure((&failure).into()));
        Step {
            closed,
            ..Step::new(id, answer)
        }
    }
}

impl Asking<'_> {
    /// The operation, not polled yet.
    fn begin(self, on: &Arc<OnSession>, operation: Operation) -> BoxFuture<'static, Done> {
        let on = Arc::clone(on);
        match operation {
            Operation::Acquire(it) => {
                self.perform(Method::Acquire, Answer::Acquire, |s, c| async move {
                    s.acquire(&c, it, Some(&on)).await
                })
            }
            Operation::Cancel(it) => {
                self.perform(Method::Cancel, Answer::Cancel, |s, c| async move {
                    s.cancel(&c, it).await
                })
            }
            Operation::Renew(it) => self.perform(Method::Renew, Answer::Renew, |s, c| async move {
                s.renew(&c, it).await
            }),
            Operation::Release(it) => {
                self.perform(Method::Release, Answer::Release, |s, c| async move {
                    s.release(&c, it).await
                })
            }
            Operation::Get(it) => self.perform(Method::Get, Answer::Get, |s, c| async move {
                s.get(&c, it).await
            }),
            Operation::List(it) => self.perform(Method::List, Answer::List, |s, c| async move {
                s.list(&c, it).await
            }),
            Operation::ForceRelease(it) => self.perform(
                Method::ForceRelease,
                Answer::ForceRelease,
                |s, c| async move { s.force_release(&c, it).await },
            ),
            Operation::Close(it) => {
                self.perform(Method::Close, Answer::Closed, |s, c| async move {
                    let principal = c.principal().clone();
                    s.store.close_session(on.id, principal).await?;
                    Ok(it)
                })
            }
            Operation::Watch(it) => self.begin_watch(it),
            // Those are answered where they are read.
            Operation::Open(_) | Operation::Beat(_) => {
                let why = "the operation cannot be waited for";
                self.fail(Failure::new(Reason::InvalidRequest, why))
            }
        }
    }

    fn perform<T, F>(
        self,
        method: Method,
        wrap: fn(T) -> Answer,
        perform: impl FnOnce(Arc<Service>, Caller) -> F,
    ) -> BoxFuture<'static, Done>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let Self { id, kind, .. } = self;
        let service = Arc::clone(self.service);
        let answer = perform(Arc::clone(&service), self.caller.clone());
        Box::pin(async move {
            let asked = service.counters.ask(method, Transport::Session);
            Done {
                id,
                kind,
                answer: asked.answered(answer.await).map(wrap),
                watcher: None,
            }
        })
    }

    fn begin_watch(self, request: proto::WatchRequest) -> BoxFuture<'static, Done> {
        let Self { id, kind, .. } = self;
        let (service, caller) = (Arc::clone(self.service), self.caller.clone());
        Box::pin(async move {
            let asked = service.counters.ask(Method::Watch, Transport::Session);
            let begun = Watcher::new(&service, &caller, request).await;
            match asked.answered(begun) {
                Ok(watcher) => watch(id, Box::new(watcher)).await,
                Err(failure) => Done {
                    id,
                    kind,
                    answer: Err(failure),
                    watcher: None,
                },
            }
        })
    }

    fn fail(self, failure: Failure) -> BoxFuture<'static, Done> {
        let done = Done {
            id: self.id,
            kind: self.kind,
            answer: Err(failure),
            watcher: None,
        };
        Box::pin(ready(done))
    }
}

/// Waits for the next thing to tell, and goes on.
fn watch(id: u64, mut watcher: Box<Watcher>) -> BoxFuture<'static, Done> {
    Box::pin(async move {
        let told = watcher.next().await;
        Done {
            id,
            kind: Kind::Watch,
            watcher: told.is_ok().then_some(watcher),
            answer: told.map(Answer::Watch),
        }
    })
}

impl Kind {
    fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Acquire(it) if it.wait.is_some_and(|it| it != Default::default()) => {
                Self::Wait
            }
            Operation::Watch(_) => Self::Watch,
            Operation::Close(_) => Self::Close,
            _ => Self::Short,
        }
    }
}

impl Step {
    fn new(id: u64, answer: Answer) -> Self {
        Self {
            response: respond(id, answer),
            closed: None,
        }
    }
}
