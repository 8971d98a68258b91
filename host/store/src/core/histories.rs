//! Random histories, through the core and through a [`model`] of it.
//!
//! A failing history is printed in its shortest form, with the seed that made
//! it.

mod in_redis;
mod model;
mod steps;

use super::*;
use crate::store::{EventKind, Holder};
use model::Model;
use proptest::prelude::*;
use steps::{NAMES, Step, TRANSACTIONS, World, step};

/// Small, so that histories run into each of them.
const LIMITS: Limits = Limits {
    holders_per_lock: 3,
    waiters_per_lock: 4,
    locks_per_principal: 8,
    waiters_per_principal: 2,
    sessions_per_principal: 2,
    grants_per_session: 2,
    cancels_per_principal: 2,
    watchers: 0,
    events: 0,
    event_bytes: 0,
    ended: 1_000,
    records: 3,
    unwritten: 0,
};

/// What holds at every moment, judged by what was answered alone.
#[derive(Default)]
struct Witness {
    highest: Token,
    revision: u64,
}

impl Witness {
    /// Every event has its number, and every token is greater than any that
    /// was given before.
    fn see(&mut self, effect: &Effect) {
        let Effect::Event(event) = effect else {
            return;
        };
        assert_eq!(event.revision, self.revision + 1, "{event:?}");
        self.revision = event.revision;
        if event.kind == EventKind::Granted {
            assert!(event.token > self.highest, "{event:?}");
            self.highest = event.token;
        }
    }
}

/// What differs between the two is how they say it: texts, and which of several
/// cycles is named.
fn without_words(answer: Answer) -> Answer {
    let wordless = |mut it: crate::store::Invalid| {
        it.why.clear();
        it
    };
    match answer {
        Answer::Acquired(Acquired::Refused(error)) => {
            Answer::Acquired(Acquired::Refused(match error {
                AcquireError::Quota(_) => AcquireError::Quota(String::new()),
                AcquireError::Invalid(it) => AcquireError::Invalid(wordless(it)),
                AcquireError::Deadlock(_) => AcquireError::Deadlock(Cycle(vec![])),
                other => other,
            }))
        }
        Answer::Renewed(Err(RenewError::Invalid(it))) => {
            Answer::Renewed(Err(RenewError::Invalid(wordless(it))))
        }
        Answer::Session(Err(SessionError::Quota(_))) => {
            Answer::Session(Err(SessionError::Quota(String::new())))
        }
        Answer::Cancelled(Err(ReleaseError::Quota(_))) => {
            Answer::Cancelled(Err(ReleaseError::Quota(String::new())))
        }
        other => other,
    }
}

fn run(steps: &[Step]) {
    let start = Time::from_micros(0);
    let mut core = Core::volatile(LIMITS, start);
    let mut model = Model::new(LIMITS, start);
    let (mut world, mut witness) = (World::new(), Witness::default());
    let mut now = start;
    for (at, step) in steps.iter().enumerate() {
        now = now + step.pause();
        let operation = world.operation(step);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let expected = model.apply(&operation, now, &mut theirs);
        let answer = core.apply(operation.clone(), now, &mut ours);
        world.learn(&operation, &answer);
        assert_eq!(ours, theirs, "effects of step {at}: {operation:?}");
        let answer = without_words(answer);
        assert_eq!(answer, expected, "answer to step {at}: {operation:?}");
        ours.iter().for_each(|it| witness.see(it));
        model.assert_sound();
        super::tests::assert_sound(&core);
    }
    // Nothing is left over once everybody has gone.
    let mut effects = Vec::new();
    for operation in world.ends() {
        core.apply(operation, now, &mut effects);
    }
    assert!(core.table.is_empty(), "{:?}", core.table);
    let statistics = core.statistics();
    assert_eq!((statistics.held, statistics.waiting), (0, 0));
    assert_eq!(statistics.sessions, 0);
    let ended = statistics.released + statistics.expired + statistics.forced;
    assert_eq!(statistics.granted, ended);
    assert_eq!(statistics.hold.count(), ended);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn the_core_answers_like_the_model(steps in prop::collection::vec(step(), 1..100)) {
        run(&steps);
    }
}
