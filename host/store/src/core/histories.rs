//! Random histories, through the core and through a model of it that is as
//! naive as can be: one list of grants, one list of waiters, and loops.

use super::*;
use crate::store::{Holder, LockHolder};
use proptest::prelude::*;

/// The state machine without indices.
struct Model {
    live: Vec<Live>,
    waiting: Vec<Waiting>,
    last_token: Token,
    waiters_per_lock: usize,
}

struct Live {
    id: GrantId,
    arrival: usize,
    holder: Holder,
    names: Vec<LockName>,
    token: Token,
    since: Time,
    until: Option<Time>,
    lease: Option<Duration>,
    label: String,
}

struct Waiting {
    id: GrantId,
    arrival: usize,
    holder: Holder,
    asked: Vec<(LockName, Option<Token>)>,
    until: Time,
    lease: Option<Duration>,
    label: String,
}

impl Waiting {
    fn queues_for(&self, name: &LockName) -> bool {
        self.asked
            .iter()
            .any(|(it, own)| it == name && own.is_none())
    }
}

impl Model {
    fn apply(
        &mut self,
        arrival: usize,
        operation: &Operation,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        self.tick(now, effects);
        let answer = match operation {
            Operation::Acquire(request) => {
                Answer::Acquired(self.acquire(arrival, request, now, effects))
            }
            Operation::Renew(id, lease) => Answer::Renewed(self.renew(*id, *lease, now, effects)),
            Operation::Release(id) => {
                let found = self.finish(*id, Effect::Cancelled, effects);
                Answer::Released(if found {
                    Released::Released
                } else {
                    Released::Already
                })
            }
            Operation::ForceRelease(name) => {
                let taken = self
                    .live
                    .iter()
                    .find(|it| it.names.contains(name))
                    .map(|it| {
                        let (names, label) = (it.names.clone(), it.label.clone());
                        (
                            it.id,
                            Taken {
                                names,
                                token: it.token,
                                label,
                            },
                        )
                    });
                if let Some((id, _)) = &taken {
                    self.finish(*id, Effect::Cancelled, effects);
                }
                Answer::Taken(taken.map(|it| it.1))
            }
            Operation::End(transaction) => {
                let holder = Holder::Transaction(*transaction);
                let live = self.live.iter().map(|it| (it.arrival, it.id, it.holder));
                let waiting = self.waiting.iter().map(|it| (it.arrival, it.id, it.holder));
                let mut ids: Vec<_> = live.chain(waiting).filter(|it| it.2 == holder).collect();
                ids.sort_by_key(|it| it.0);
                for (_, id, _) in ids {
                    self.finish(id, Effect::Cancelled, effects);
                }
                Answer::Done
            }
            Operation::Look(name) => Answer::Lock(self.look(name, now)),
            Operation::Tick => Answer::Done,
        };
        self.serve(now, effects);
        answer
    }

    fn tick(&mut self, now: Time, effects: &mut Vec<Effect>) {
        loop {
            let leases = self
                .live
                .iter()
                .filter_map(|it| Some((it.until?, 0, it.arrival, it.id)));
            let waits = self
                .waiting
                .iter()
                .map(|it| (it.until, 1, it.arrival, it.id));
            match leases.chain(waits).min() {
                Some((until, _, _, id)) if until <= now => {
                    self.finish(id, Effect::TimedOut, effects);
                    self.serve(now, effects);
                }
                _ => return,
            }
        }
    }

    fn finish(
        &mut self,
        id: GrantId,
        told: fn(GrantId) -> Effect,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if let Some(at) = self.waiting.iter().position(|it| it.id == id) {
            self.waiting.remove(at);
            effects.push(told(id));
            return true;
        }
        let Some(at) = self.live.iter().position(|it| it.id == id) else {
            return false;
        };
        if self.live.remove(at).holder == Holder::Caller {
            effects.push(Effect::Forget(id));
        }
        true
    }

    fn own_token(&self, name: &LockName, holder: Holder) -> Option<Token> {
        let of = |it: &&Live| it.names.contains(name) && it.holder == holder;
        self.live
            .iter()
            .find(of)
            .filter(|_| holder != Holder::Caller)
            .map(|it| it.token)
    }

    /// Whether somebody else holds `name`, or waits for it and came before.
    fn is_blocked(&self, name: &LockName, holder: Holder, arrival: usize) -> bool {
        let held = self.live.iter().any(|it| it.names.contains(name));
        let ahead = self
            .waiting
            .iter()
            .any(|it| it.arrival < arrival && it.queues_for(name));
        (held && self.own_token(name, holder).is_none()) || ahead
    }

    fn acquire(
        &mut self,
        arrival: usize,
        request: &Acquire,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Acquired {
        let mut asked: Vec<(LockName, Option<Token>)> = Vec::new();
        for name in &request.names {
            if !asked.iter().any(|(it, _)| it == name) {
                asked.push((name.clone(), self.own_token(name, request.holder)));
            }
        }
        let wanted: Vec<_> = asked
            .iter()
            .filter(|it| it.1.is_none())
            .map(|it| &it.0)
            .collect();
        let blocked = wanted
            .iter()
            .find(|it| self.is_blocked(it, request.holder, arrival));
        if let Some(name) = blocked {
            if request.wait.is_zero() {
                return Acquired::Refused(AcquireError::Held((*name).clone()));
            }
            let queue =
                |name: &LockName| self.waiting.iter().filter(|it| it.queues_for(name)).count();
            if wanted.iter().any(|it| queue(it) >= self.waiters_per_lock) {
                let text = format!("a lock takes at most {} waiters", self.waiters_per_lock);
                return Acquired::Refused(AcquireError::Quota(text));
            }
        }
        let is_blocked = blocked.is_some();
        let waiting = Waiting {
            id: request.id,
            arrival,
            holder: request.holder,
            asked,
            until: now + request.wait,
            lease: request.lease,
            label: request.label.clone(),
        };
        if is_blocked {
            self.waiting.push(waiting);
            return Acquired::Waiting;
        }
        if waiting.asked.iter().all(|it| it.1.is_some()) {
            // Nothing to grant: no token either.
            let tokens = waiting
                .asked
                .into_iter()
                .map(|(name, own)| (name, own.unwrap()));
            let (tokens, acquired) = (tokens.collect(), vec![]);
            return Acquired::Granted(Granted { tokens, acquired });
        }
        Acquired::Granted(self.grant(waiting, now, effects))
    }

    fn grant(&mut self, waiting: Waiting, now: Time, effects: &mut Vec<Effect>) -> Granted {
        let by_time = now.as_micros() / 1000 * 4096;
        let token = by_time.max(self.last_token + 1);
        self.last_token = token;
        let mut granted = Granted {
            tokens: vec![],
            acquired: vec![],
        };
        for (name, own) in waiting.asked {
            let own = own.or_else(|| self.own_token(&name, waiting.holder));
            if own.is_none() {
                granted.acquired.push(name.clone());
            }
            granted.tokens.push((name, own.unwrap_or(token)));
        }
        if granted.acquired.is_empty() {
            return granted;
        }
        let live = Live {
            id: waiting.id,
            arrival: waiting.arrival,
            holder: waiting.holder,
            names: granted.acquired.clone(),
            token,
            since: now,
            until: waiting.lease.map(|it| now + it),
            lease: waiting.lease,
            label: waiting.label,
        };
        keep(&live, effects);
        self.live.push(live);
        granted
    }

    /// Grants, oldest first, until nobody can be granted anything.
    fn serve(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let servable = |model: &Self, it: &Waiting| {
            let mut wanted = it.asked.iter().filter(|it| it.1.is_none());
            wanted.all(|(name, _)| !model.is_blocked(name, it.holder, it.arrival))
        };
        while let Some(at) = self.waiting.iter().position(|it| servable(self, it)) {
            let waiting = self.waiting.remove(at);
            let id = waiting.id;
            let granted = self.grant(waiting, now, effects);
            effects.push(Effect::Granted(id, granted));
        }
    }

    fn renew(
        &mut self,
        id: GrantId,
        lease: Duration,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Duration, RenewError> {
        let live = self
            .live
            .iter_mut()
            .find(|it| it.id == id)
            .ok_or(RenewError::Lost)?;
        let Some(until) = &mut live.until else {
            return Ok(Duration::MAX);
        };
        *until = (*until).max(now + lease);
        let remaining = until.since(now);
        if live.lease.is_none_or(|it| it < lease) {
            live.lease = Some(lease);
            keep(live, effects);
        }
        Ok(remaining)
    }

    fn look(&self, name: &LockName, now: Time) -> Lock {
        let holder = self.live.iter().find(|it| it.names.contains(name));
        let waiting: Vec<_> = self
            .waiting
            .iter()
            .filter(|it| it.queues_for(name))
            .collect();
        Lock {
            holder: holder.map(|it| LockHolder {
                token: it.token,
                label: it.label.clone(),
                remaining: it.until.map(|it| it.since(now)),
                held_for: now.since(it.since),
            }),
            waiting: waiting.len(),
            waiters: waiting.iter().map(|it| it.label.clone()).collect(),
        }
    }
}

fn keep(live: &Live, effects: &mut Vec<Effect>) {
    if let (Holder::Caller, Some(lease)) = (live.holder, live.lease) {
        effects.push(Effect::Keep(CallerGrant {
            id: live.id,
            names: live.names.clone(),
            token: live.token,
            lease,
            label: live.label.clone(),
        }));
    }
}

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

fn assert_sound(model: &Model) {
    let mut held: Vec<_> = model.live.iter().flat_map(|it| &it.names).collect();
    let all = held.len();
    held.sort();
    held.dedup();
    assert_eq!(held.len(), all, "two grants share a name");
}

fn run(steps: &[Step]) {
    let limits = Limits {
        waiters_per_lock: 5,
        ..Limits::default()
    };
    let mut core = Core::volatile(limits);
    let mut model = Model {
        live: Vec::new(),
        waiting: Vec::new(),
        last_token: 0,
        waiters_per_lock: limits.waiters_per_lock,
    };
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
        assert_sound(&model);
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
