//! Whole requests, given to small guests that are made here from text.
//!
//! What real guests do, in real processes, is tested from outside; these tests
//! look at what can only be seen from here: which instance served, what is
//! left of it, what a guest is told.

mod endings;
mod guest;
mod hostcalls;
mod limits;
mod log;
mod panics;
mod reuse;

pub(crate) use log::Log;

use crate::{
    Admission, Answer, AnswerBody, Body, BodyError, CallRefused, Calls, Component, Configuration,
    Context, Engine, Failure, Limits, LockPattern, Options, Reuse, Spec,
};
use futures_util::FutureExt;
use http_body_util::{BodyExt, Empty};
use lockport_store::transaction::{self, Scope};
use lockport_store::{Collection, Memory, Store, Transaction};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Far more time than any of these tests needs.
const LONG: Duration = Duration::from_secs(30);

/// Enough for a body; tests that look at limits of bodies are elsewhere.
const MUCH: u64 = 64 << 20;

/// An engine, a store, and what requests need beside a component.
struct Bench {
    engine: Engine,
    store: Arc<dyn Store>,
    calls: Arc<dyn Calls>,
}

impl Bench {
    fn new() -> Self {
        Self::with_instances(8)
    }

    fn with_instances(instances: u32) -> Self {
        let options = Options {
            instances,
            ..Options::default()
        };
        Self {
            engine: Engine::new(options).unwrap(),
            store: Arc::new(Memory::new()),
            calls: Arc::new(NoCalls),
        }
    }

    /// A component whose handler is `body`; see [`guest::component`].
    fn load(&self, body: &str) -> Arc<Component> {
        self.load_with(body, |_| {})
    }

    fn load_with(&self, body: &str, change: impl FnOnce(&mut Spec)) -> Arc<Component> {
        let mut spec = Spec {
            name: "guest".to_owned(),
            collections: HashMap::from([(
                "things".to_owned(),
                Collection::new("guest", "things", None).unwrap(),
            )]),
            locks: vec![LockPattern::parse("thing/*").unwrap()],
            configuration: Configuration::default(),
            reuse: Reuse::Requests(1_000),
            limits: Limits::default(),
        };
        change(&mut spec);
        self.engine.load(&guest::component(body), spec).unwrap()
    }

    fn transaction(&self) -> Arc<Transaction> {
        let limits = transaction::Limits::default();
        Transaction::begin(self.store.clone(), limits, "test".to_owned())
    }

    fn context(&self, scope: Scope, time: Duration) -> Context {
        Context {
            scope,
            route: "/things/{id}".into(),
            params: vec![("id".into(), "7".to_owned())],
            id: "r1".into(),
            principal: Some("ann".into()),
            deadline: Instant::now() + time,
            calls: self.calls.clone(),
        }
    }

    /// Gives the component one request, with a transaction of its own.
    async fn ask(&self, component: &Arc<Component>) -> Result<Answer, Failure> {
        self.ask_for(component, LONG).await
    }

    async fn ask_for(&self, component: &Arc<Component>, time: Duration) -> Result<Answer, Failure> {
        let context = self.context(self.transaction().scope(), time);
        component.answer(get("/"), context, Admission::Queue).await
    }

    /// The whole body of one answer.
    async fn body(&self, component: &Arc<Component>) -> Vec<u8> {
        let answer = self.ask(component).await.unwrap();
        answer.body.collect(MUCH).await.unwrap().to_vec()
    }

    /// Why there was no answer, or why its body broke off.
    async fn failure(&self, component: &Arc<Component>) -> Failure {
        ended(self.ask(component).await).await
    }
}

/// Where no outgoing request is granted.
struct NoCalls;

impl Calls for NoCalls {
    fn call(
        self: Arc<Self>,
        _: http::Request<Body>,
        _: Option<Duration>,
        _: Scope,
    ) -> Pin<Box<Called>> {
        Box::pin(async { Err(CallRefused::Denied) })
    }
}

type Called = dyn Future<Output = Result<http::Response<Body>, CallRefused>> + Send;

fn get(path: &str) -> http::Request<Body> {
    let nothing = Empty::new().map_err(|never| match never {});
    http::Request::builder()
        .uri(path)
        .header("host", "test")
        .body(nothing.boxed_unsync())
        .unwrap()
}

/// Runs `future` as far as it gets without waiting. Whether it has to wait.
fn pending(future: &mut Pin<Box<impl Future>>) -> bool {
    future.as_mut().now_or_never().is_none()
}

/// Waits until `condition` holds.
async fn until(condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(LONG, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    });
    waited.await.expect("it never came true");
}

/// Why a request failed, before its head or behind it.
async fn ended(outcome: Result<Answer, Failure>) -> Failure {
    match outcome {
        Ok(answer) => broke(collected(answer.body).await.unwrap_err()),
        Err(failure) => failure,
    }
}

/// How much of a body there was, if it ended well.
async fn collected(body: AnswerBody) -> Result<usize, BodyError> {
    Ok(body.collect(MUCH).await?.len())
}

/// Why a body broke off.
fn broke(error: BodyError) -> Failure {
    match error {
        BodyError::Handler(failure) => failure,
        BodyError::TooLarge { .. } => panic!("it was too large"),
    }
}
