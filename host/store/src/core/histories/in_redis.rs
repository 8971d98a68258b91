//! The same histories, through the core and through the library in a real
//! Redis, step by step, with the time in the test's hands: answers, what those
//! who wait are told and what watchers are told must be the same. Values and
//! commits are compared with those of the store in memory.

mod seeded;
mod space;
mod values;

use super::*;
use crate::core::groups::Kind;
use crate::redis::library::Library;
use crate::redis::server::Server;
use proptest::test_runner::TestRunner;
use space::Space;
use std::sync::atomic::{AtomicU64, Ordering};
use values::{Change, Values, change};

/// One step of a history: of locks, or of values and commits; or several of locks
/// that the library is told at once.
#[derive(Clone, Debug)]
enum Turn {
    Locks(Step),
    Values(Change),
    Together(Vec<Step>),
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        8 => step().prop_map(Turn::Locks),
        2 => change().prop_map(Turn::Values),
        1 => prop::collection::vec(step(), 2..16).prop_map(Turn::Together),
    ]
}

/// What those who wait are told, and what those who watch are: only within each
/// there is an order.
fn in_order(effects: Vec<Effect>) -> (Vec<Effect>, Vec<Effect>) {
    let events = effects.iter().filter(|it| matches!(it, Effect::Event(_)));
    let events = events.cloned().collect();
    let mut effects = effects;
    effects.retain(Effect::is_told);
    (effects, events)
}

fn is_attached(core: &Core, session: SessionId) -> bool {
    let groups = &core.table.groups;
    let group = groups.session(session).map(|it| groups.get(it));
    matches!(group.map(|it| &it.kind), Some(Kind::Session(session)) if session.attached)
}

/// A history on its way through both.
struct Comparison {
    core: Core,
    space: Space,
    world: World,
    values: Values,
    now: Time,
}

impl Comparison {
    /// `at_once` is how many steps a search for deadlocks makes before it leaves
    /// the store to others.
    fn new(server: &Server, at_once: usize) -> Self {
        static SPACES: AtomicU64 = AtomicU64::new(0);
        let name = format!("space-{}", SPACES.fetch_add(1, Ordering::Relaxed));
        let now = Time::from_micros(0);
        let mut core = Core::volatile(LIMITS, now);
        core.searches.steps = at_once;
        Self {
            core,
            space: Space::new(server, &name, at_once, now),
            world: World::new(),
            values: Values::new(),
            now,
        }
    }

    /// `at` is the place in the history.
    fn pass(&mut self, at: usize, turn: &Turn) {
        match turn {
            Turn::Locks(step) => self.step(at, step),
            Turn::Values(change) => self.change(at, change),
            Turn::Together(steps) => self.bundle(at, steps),
        }
    }

    fn step(&mut self, at: usize, step: &Step) {
        let operation = self.world.operation(step);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        if !step.pause().is_zero() {
            // What is handed over meanwhile is claimed before it is looked at.
            self.now = self.now + step.pause();
            self.core.apply(Operation::Tick, self.now, &mut ours);
            let core = &self.core;
            self.space
                .apply(&Operation::Tick, self.now, core, &mut theirs);
        }
        let passed = ours.len();
        let expected = self.core.apply(operation.clone(), self.now, &mut ours);
        self.world.learn(&operation, &expected);
        if let Operation::Abandon(id) = operation {
            // Nobody is there to be told.
            let done = ours.split_off(passed);
            ours.extend(done.into_iter().filter(|it| *it != Effect::Cancelled(id)));
        }
        let answer = self
            .space
            .apply(&operation, self.now, &self.core, &mut theirs);
        let (expected, answer) = (without_words(expected), without_words(answer));
        assert_eq!(answer, expected, "answer to step {at}: {operation:?}");
        self.retain_told(&mut ours);
        self.assert_told_alike(ours, theirs, &format!("step {at}: {operation:?}"));
    }

    /// Several steps at the same moment, which the library is told at once.
    fn bundle(&mut self, at: usize, steps: &[Step]) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        self.now = self.now + steps[0].pause();
        self.core.apply(Operation::Tick, self.now, &mut ours);
        let (now, core) = (self.now, &self.core);
        self.space.apply(&Operation::Tick, now, core, &mut theirs);
        let (mut operations, mut expected) = (Vec::new(), Vec::new());
        for step in steps {
            let (operation, mut effects) = (self.world.operation(step), Vec::new());
            let answer = self.core.apply(operation.clone(), self.now, &mut effects);
            self.world.learn(&operation, &answer);
            if let Operation::Abandon(id) = operation {
                effects.retain(|it| *it != Effect::Cancelled(id));
            }
            self.retain_told(&mut effects);
            ours.extend(effects);
            operations.push(operation);
            expected.push(without_words(answer));
        }
        let answers = self
            .space
            .apply_together(&operations, self.now, &self.core, &mut theirs);
        let answers: Vec<_> = answers.into_iter().map(without_words).collect();
        assert_eq!(answers, expected, "answers to bundle {at}: {operations:?}");
        self.assert_told_alike(ours, theirs, &format!("bundle {at}: {operations:?}"));
    }

    fn change(&mut self, at: usize, change: &Change) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let request = self
            .values
            .request(change, &self.world, &self.core, self.now);
        let expected = self
            .values
            .answer(&request, &mut self.core, self.now, &mut ours);
        let answer = self.space.answer(&request, self.now);
        assert_eq!(answer, expected, "answer to step {at}: {request:?}");
        self.space.hear(self.now, &self.core, &mut theirs);
        self.retain_told(&mut ours);
        self.assert_told_alike(ours, theirs, &format!("step {at}: {request:?}"));
    }

    /// A session that is attached to nothing cannot be told.
    fn retain_told(&self, ours: &mut Vec<Effect>) {
        ours.retain(
            |it| !matches!(it, Effect::Lost(session, _) if !is_attached(&self.core, *session)),
        );
    }

    fn assert_told_alike(&self, ours: Vec<Effect>, theirs: Vec<Effect>, at: &str) {
        let (told, events) = in_order(theirs);
        let (expected_told, expected_events) = in_order(ours);
        assert_eq!(told, expected_told, "told in {at}");
        assert_eq!(events, expected_events, "events of {at}");
        self.space.assert_counted(&self.core, at);
    }

    /// Once everybody has gone, nothing is left but values.
    fn end(mut self) {
        for request in self.values.all() {
            let expected = self
                .values
                .answer(&request, &mut self.core, self.now, &mut vec![]);
            let answer = self.space.answer(&request, self.now);
            assert_eq!(answer, expected, "at the end: {request:?}");
        }
        for operation in self.world.ends() {
            self.core
                .apply(operation.clone(), self.now, &mut Vec::new());
            self.space
                .apply(&operation, self.now, &self.core, &mut Vec::new());
        }
        assert!(self.core.table.is_empty(), "{:?}", self.core.table);
        self.space.assert_empty();
    }
}

/// Whether what is found is brought into its shortest form.
#[derive(Clone, Copy, PartialEq)]
enum Shrinking {
    On,
    Off,
}

/// Compares so many histories, on a server that has the library; what it finds.
fn compare_many(
    server: &Server,
    cases: u32,
    at_once: usize,
    shrinking: Shrinking,
) -> Result<(), String> {
    let mut config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    };
    if shrinking == Shrinking::Off {
        config.max_shrink_iters = 0;
    }
    let mut runner = TestRunner::new(config);
    let histories = prop::collection::vec(turn(), 1..100);
    let result = runner.run(&histories, |turns| {
        let mut comparison = Comparison::new(server, at_once);
        for (at, turn) in turns.iter().enumerate() {
            comparison.pass(at, turn);
        }
        comparison.end();
        Ok(())
    });
    result.map_err(|failure| format!("{failure}\n{runner}"))
}

fn load(server: &Server, text: &str) {
    let mut load = ::redis::cmd("FUNCTION");
    load.arg("LOAD").arg("REPLACE").arg(text);
    load.query::<String>(&mut server.connection()).unwrap();
}

#[track_caller]
fn assert_alike(cases: u32, at_once: usize) {
    let server = Server::start();
    load(&server, Library::ByHand.text());
    if let Err(difference) = compare_many(&server, cases, at_once, Shrinking::On) {
        panic!("{difference}");
    }
}

#[test]
fn redis_answers_like_the_core() {
    assert_alike(500, crate::core::STEPS);
}

#[test]
fn redis_goes_on_with_searches_like_the_core() {
    assert_alike(300, 2);
}
