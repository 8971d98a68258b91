//! Random histories, through the core and through a [`model`] of it.

mod model;

use super::*;
use crate::store::Holder;
use model::Model;
use proptest::prelude::*;

/// One step of a history, with numbers for what is minted when it is run.
#[derive(Clone, Debug)]
struct Step {
    /// How much time passes before, in tenths of a second.
    tenths: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Acquire {
        names: Vec<usize>,
        holder: usize,
        lease: u64,
        wait: u64,
    },
    Renew {
        which: usize,
        lease: u64,
    },
    Release {
        which: usize,
    },
    ForceRelease {
        name: usize,
    },
    End {
        transaction: usize,
    },
    Look {
        name: usize,
    },
    Tick,
}

const NAMES: usize = 4;
const TRANSACTIONS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let acquire = (
        prop::collection::vec(0..NAMES, 1..4),
        0..TRANSACTIONS + 2,
        0..8u64,
        0..6u64,
    );
    let what = prop_oneof![
        8 => acquire.prop_map(|(names, holder, lease, wait)| What::Acquire { names, holder, lease, wait }),
        2 => (0..30usize, 1..10u64).prop_map(|(which, lease)| What::Renew { which, lease }),
        4 => (0..30usize).prop_map(|which| What::Release { which }),
        1 => (0..NAMES).prop_map(|name| What::ForceRelease { name }),
        2 => (0..TRANSACTIONS).prop_map(|transaction| What::End { transaction }),
        1 => (0..NAMES).prop_map(|name| What::Look { name }),
        1 => Just(What::Tick),
    ];
    // Mostly little time, so that deadlines meet each other.
    (prop_oneof![3 => Just(0), 3 => 1..3u64, 1 => 3..20u64], what)
        .prop_map(|(tenths, what)| Step { tenths, what })
}

/// What numbers stand for in one run.
struct Names {
    names: Vec<LockName>,
    transactions: Vec<TransactionId>,
    /// Every id used so far, oldest first.
    ids: Vec<GrantId>,
}

impl Names {
    fn new() -> Self {
        let name = |it| LockName::new(format!("lock/{it}")).unwrap();
        Self {
            names: (0..NAMES).map(name).collect(),
            transactions: (0..TRANSACTIONS).map(|_| TransactionId::mint()).collect(),
            ids: Vec::new(),
        }
    }

    /// One of the latest ids, or one that never was.
    fn id(&self, which: usize) -> GrantId {
        let at = self.ids.len().checked_sub(which + 1);
        at.map_or_else(GrantId::mint, |at| self.ids[at])
    }

    fn operation(&mut self, what: &What) -> Operation {
        let tenths = |it: u64| Duration::from_millis(100 * it);
        match what {
            What::Acquire {
                names,
                holder,
                lease,
                wait,
            } => {
                let id = GrantId::mint();
                self.ids.push(id);
                let holder = match self.transactions.get(*holder) {
                    Some(transaction) => Holder::Transaction(*transaction),
                    None => Holder::Caller,
                };
                let lease = match holder {
                    Holder::Transaction(_) => (*lease > 3).then(|| tenths(*lease)),
                    Holder::Caller => Some(tenths(lease + 1)),
                };
                Operation::Acquire(Acquire {
                    id,
                    names: names.iter().map(|it| self.names[*it].clone()).collect(),
                    holder,
                    lease,
                    wait: tenths(*wait),
                    label: format!("request {}", self.ids.len()),
                })
            }
            What::Renew { which, lease } => Operation::Renew(self.id(*which), tenths(*lease)),
            What::Release { which } => Operation::Release(self.id(*which)),
            What::ForceRelease { name } => Operation::ForceRelease(self.names[*name].clone()),
            What::End { transaction } => Operation::End(self.transactions[*transaction]),
            What::Look { name } => Operation::Look(self.names[*name].clone()),
            What::Tick => Operation::Tick,
        }
    }
}

/// What holds at every moment, judged by what was answered alone.
#[derive(Default)]
struct Witness {
    highest: Token,
}

impl Witness {
    /// Every token is greater than any that was given before.
    fn see(&mut self, granted: &Granted) {
        let new = granted
            .tokens
            .iter()
            .filter(|it| granted.acquired.contains(&it.0));
        let new: Vec<Token> = new.map(|it| it.1).collect();
        assert!(new.iter().all(|it| *it > self.highest), "{granted:?}");
        self.highest = new.into_iter().max().unwrap_or(self.highest);
    }
}

fn run(steps: &[Step]) {
    let limits = Limits {
        waiters_per_lock: 5,
        ..Limits::default()
    };
    let mut core = Core::volatile(limits);
    let mut model = Model::new(limits);
    let (mut names, mut witness) = (Names::new(), Witness::default());
    let mut now = Time::from_micros(0);
    for (at, step) in steps.iter().enumerate() {
        now = now + Duration::from_millis(100 * step.tenths);
        let operation = names.operation(&step.what);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let expected = model.apply(at, &operation, now, &mut theirs);
        let answer = core.apply(operation.clone(), now, &mut ours);
        assert_eq!(ours, theirs, "effects of step {at}: {operation:?}");
        assert_eq!(answer, expected, "answer to step {at}: {operation:?}");
        for effect in &ours {
            if let Effect::Granted(_, granted) = effect {
                witness.see(granted);
            }
        }
        if let Answer::Acquired(Acquired::Granted(granted)) = &answer {
            witness.see(granted);
        }
        model.assert_sound();
    }
    // Nothing is left over once everybody has gone.
    let mut effects = Vec::new();
    for id in std::mem::take(&mut names.ids) {
        core.release(id, now, &mut effects);
    }
    assert!(core.table.is_empty(), "{:?}", core.table);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_core_answers_like_the_model(steps in prop::collection::vec(step(), 1..80)) {
        run(&steps);
    }
}
