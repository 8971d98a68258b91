//! A loaded component, and what happens to a request that is given to it.

use crate::admission::{Admission, Door, Entry, Place};
use crate::answer::{Answer, AnswerBody};
use crate::call::{Call, Incoming, Limited, Progress, Working};
use crate::calls::Calls;
use crate::engine::Inner;
use crate::failure::Failure;
use crate::head::Set;
use crate::instance::{Instance, State};
use crate::pool::Pool;
use crate::printer::Printer;
use crate::spec::Spec;
use crate::statistics::{ComponentStatistics, Tally};
use lockport_store::transaction::Scope;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

/// A loaded component: compiled, linked, with its grants and its warm
/// instances.
///
/// Dropping the last reference drops the idle instances; requests that are
/// under way keep it alive.
pub struct Component {
    engine: Arc<Inner>,
    pre: ProxyPre<State>,
    spec: Arc<Spec>,
    printer: Arc<Printer>,
    door: Door,
    pool: Arc<Pool>,
    tally: Arc<Tally>,
}

/// What an instance knows of the request it serves.
pub struct Context {
    /// The component's part in the request's transaction.
    pub scope: Scope,
    /// The route that matched: `/orders/{id}`.
    pub route: Arc<str>,
    /// The route's parameters, decoded.
    pub params: Vec<(Arc<str>, String)>,
    /// The request's identity.
    pub id: Arc<str>,
    /// Who asks, if known.
    pub principal: Option<Arc<str>>,
    /// When the request has to be over, wall clock.
    pub deadline: Instant,
    /// What the component's outgoing requests are given to.
    pub calls: Arc<dyn Calls>,
}

impl Context {
    /// How long the request may still run.
    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl Component {
    pub(crate) fn new(engine: Arc<Inner>, pre: ProxyPre<State>, spec: Spec) -> Self {
        Self {
            engine,
            pre,
            printer: Arc::new(Printer::new(spec.name.clone())),
            door: Door::new(&spec.limits),
            pool: Arc::default(),
            tally: Arc::default(),
            spec: Arc::new(spec),
        }
    }

    /// The name in its manifest.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Gives `request` to an instance and drives it until its response's head
    /// is set; the scope is sealed at that moment. Dropping the future ends the
    /// handler and discards the instance.
    ///
    /// A handler that is known to have failed by then has no answer, even if
    /// it had set one: nothing of it was sent, and nothing should be
    /// committed.
    pub async fn answer(
        self: &Arc<Self>,
        request: http::Request<crate::Body>,
        context: Context,
        admission: Admission,
    ) -> Result<Answer, Failure> {
        self.tally
            .note(self.serve(request, context, admission).await)
    }

    /// How it stands.
    pub(crate) fn statistics(&self) -> ComponentStatistics {
        ComponentStatistics {
            name: self.spec.name.clone(),
            busy: self.door.at_work() as u64,
            idle: self.pool.idle() as u64,
            waiting: self.door.waiting() as u64,
            failures: self.tally.counts(),
        }
    }

    async fn serve(
        self: &Arc<Self>,
        request: http::Request<crate::Body>,
        context: Context,
        admission: Admission,
    ) -> Result<Answer, Failure> {
        let deadline = context.deadline;
        let Entry { permit, place } = self.door.enter(admission, deadline).await?;
        let instance = match self.pool.take() {
            Some(instance) => {
                // It waits no longer: its place is for the next.
                drop(place);
                instance
            }
            None => {
                let slot = self.slot(admission, place, deadline).await?;
                self.instantiate(slot, deadline).await?
            }
        };
        let working = Working {
            component: self.clone(),
            instance,
            permit,
        };
        let mut call = Call::new(working, Incoming { request, context });
        match poll_fn(|task| call.poll_head(task)).await? {
            Progress::Head(set) => {
                let (head, body) = response(set)?.into_parts();
                let tally = self.tally.clone();
                let body = AnswerBody::running(body, &head.headers, call, tally);
                Ok(Answer { head, body })
            }
            Progress::Ended(working, None) => {
                working.give_back();
                Err(Failure::no_response("it returned without one"))
            }
            Progress::Ended(working, Some(set)) => {
                let answer = match response(set) {
                    Ok(response) => Answer::complete(response).await,
                    Err(failure) => Err(failure),
                };
                working.give_back();
                answer
            }
        }
    }

    /// Keeps an instance for the next request, or lets go of one if requests
    /// wait for a slot.
    pub(crate) fn keep(&self, instance: Box<Instance>) {
        self.pool.put(instance);
        self.engine.became_idle(&self.pool);
    }

    /// Where its idle instances are.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// A slot for one more instance. Who queues waits for it, in its place of
    /// the queue.
    async fn slot(
        &self,
        admission: Admission,
        place: Option<Place<'_>>,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, Failure> {
        if let Some(slot) = self.engine.slot() {
            return Ok(slot);
        }
        if admission == Admission::AtOnce {
            return Err(Failure::Overloaded);
        }
        let _place = match place {
            Some(place) => place,
            None => self.door.place()?,
        };
        self.engine.wait_for_slot(deadline).await
    }

    async fn instantiate(
        &self,
        slot: OwnedSemaphorePermit,
        deadline: Instant,
    ) -> Result<Box<Instance>, Failure> {
        let (pre, spec) = (self.pre.clone(), self.spec.clone());
        Limited::new(
            deadline,
            Instance::new(pre, spec, self.printer.clone(), slot),
        )
        .await
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("name", &self.spec.name)
            .finish_non_exhaustive()
    }
}

/// The response that was set, unless it was an error.
fn response(
    set: Set,
) -> Result<http::Response<wasmtime_wasi_http::p2::body::HyperOutgoingBody>, Failure> {
    set.map_err(|code| Failure::no_response(format!("it set the error {code:?}")))
}
