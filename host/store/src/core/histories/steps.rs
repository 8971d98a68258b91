//! Steps of random histories, with numbers for what is minted when they run.

use super::*;
use crate::pattern::LockPattern;

/// One step of a history.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// How much time passes before, in tenths of a second.
    tenths: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Acquire(Ask),
    Again(usize),
    Cancel(usize, usize),
    Abandon(usize),
    Renew(usize, usize, u64),
    Release(usize, usize),
    /// With a permission of every lock, or only of those up to another.
    ForceRelease(usize, usize),
    Open(usize, u64, u64),
    Attach(usize, usize),
    Beat(usize, u64),
    Detach(usize, u64),
    Close(usize, usize),
    End(usize),
    Look(usize),
    Tick,
}

#[derive(Clone, Debug)]
struct Ask {
    names: Vec<usize>,
    mode: u32,
    holder: usize,
    lease: u64,
    wait: u64,
    owner: usize,
    principal: usize,
    request_id: Option<usize>,
}

const NAMES: usize = 4;
const TRANSACTIONS: usize = 4;
const SESSIONS: usize = 4;
const REQUEST_IDS: usize = 8;

pub(super) fn step() -> impl Strategy<Value = Step> {
    let acquire = || {
        let names = prop::collection::vec(0..NAMES, 1..4);
        let owner = prop_oneof![Just(9), 0..2usize];
        let request_id = prop_oneof![3 => Just(None), 1 => (0..REQUEST_IDS).prop_map(Some)];
        let holder = 0..TRANSACTIONS + SESSIONS + 4;
        let rest = (0..8u64, 0..6u64, owner, 0..2usize, request_id);
        let ask = (names, 0..9u32, holder, rest);
        ask.prop_map(|(names, mode, holder, rest)| {
            let (lease, wait, owner, principal, request_id) = rest;
            What::Acquire(Ask {
                names,
                mode,
                holder,
                lease,
                wait,
                owner,
                principal,
                request_id,
            })
        })
    };
    let what = prop_oneof![
        20 => acquire(),
        2 => (0..20usize).prop_map(What::Again),
        2 => (0..20usize, 0..3usize).prop_map(|(id, by)| What::Cancel(id, by)),
        1 => (0..20usize).prop_map(What::Abandon),
        3 => (0..20usize, 0..3usize, 0..10u64).prop_map(|(id, by, it)| What::Renew(id, by, it)),
        7 => (0..20usize, 0..3usize).prop_map(|(id, by)| What::Release(id, by)),
        1 => (0..NAMES, 0..2 * NAMES).prop_map(|(name, to)| What::ForceRelease(name, to)),
        3 => (0..2usize, 10..15u64, 10..25u64).prop_map(|(by, ttl, grace)| What::Open(by, ttl, grace)),
        3 => (0..SESSIONS, 0..3usize).prop_map(|(id, by)| What::Attach(id, by)),
        2 => (0..SESSIONS, 0..2u64).prop_map(|(id, of)| What::Beat(id, of)),
        1 => (0..SESSIONS, 0..2u64).prop_map(|(id, of)| What::Detach(id, of)),
        1 => (0..SESSIONS, 0..3usize).prop_map(|(id, by)| What::Close(id, by)),
        2 => (0..TRANSACTIONS).prop_map(What::End),
        2 => (0..NAMES).prop_map(What::Look),
        1 => Just(What::Tick),
    ];
    // Mostly little time, so that deadlines meet each other; at times so much
    // that what ended is forgotten.
    let tenths = prop_oneof![30 => Just(0), 20 => 1..3u64, 8 => 3..20u64, 1 => 5_990..6_010u64];
    (tenths, what).prop_map(|(tenths, what)| Step { tenths, what })
}

impl Step {
    pub(super) fn pause(&self) -> Duration {
        tenths(self.tenths)
    }
}

/// What numbers stand for in one run.
pub(super) struct World {
    names: Vec<LockName>,
    transactions: Vec<TransactionId>,
    principals: Vec<Principal>,
    /// The latest attachments of the sessions opened so far, oldest first.
    sessions: Vec<(SessionId, u64)>,
    request_ids: Vec<GrantId>,
    /// Every request made so far, oldest first.
    asked: Vec<Acquire>,
}

impl World {
    pub(super) fn new() -> Self {
        let name = |it| LockName::new(format!("lock/{it}")).unwrap();
        let named = ["anna", "ben"].map(Principal::new);
        Self {
            names: (0..NAMES).map(name).collect(),
            transactions: (0..TRANSACTIONS).map(|_| TransactionId::mint()).collect(),
            principals: named.into_iter().chain([Principal::node()]).collect(),
            sessions: Vec::new(),
            request_ids: (0..REQUEST_IDS).map(|_| GrantId::mint()).collect(),
            asked: Vec::new(),
        }
    }

    pub(super) fn operation(&mut self, step: &Step) -> Operation {
        let by = |it: &usize| self.principals[*it].clone();
        match &step.what {
            What::Acquire(ask) => {
                let request = self.acquire(ask);
                self.asked.push(request.clone());
                Operation::Acquire(request)
            }
            What::Again(which) => match self.asked.iter().rev().nth(*which) {
                Some(request) => Operation::Acquire(request.clone()),
                None => Operation::Tick,
            },
            What::Cancel(which, principal) => {
                // A few are cancelled before they come.
                let early = self.request_ids.get(*which).filter(|_| *which % 4 == 0);
                let id = early.copied().unwrap_or_else(|| self.id(*which));
                Operation::Cancel(id, by(principal))
            }
            What::Abandon(which) => Operation::Abandon(self.id(*which)),
            What::Renew(which, principal, lease) => {
                let lease = (*lease > 0).then(|| tenths(*lease));
                Operation::Renew(self.id(*which), by(principal), lease)
            }
            What::Release(which, principal) => Operation::Release(self.id(*which), by(principal)),
            What::ForceRelease(name, to) => {
                let permission = match self.names.get(..=*to) {
                    Some(names) => Permission::of(names.iter().map(exactly).collect()),
                    None => Permission::all(),
                };
                Operation::ForceRelease(self.names[*name].clone(), permission)
            }
            What::Open(principal, ttl, grace) => {
                let id = SessionId::mint();
                self.sessions.push((id, 0));
                Operation::OpenSession(OpenSession {
                    id,
                    ttl: tenths(*ttl),
                    grace: tenths(*grace),
                    party: self.party(*principal, 9),
                })
            }
            What::Attach(which, principal) => {
                Operation::Attach(self.session(*which).0, by(principal))
            }
            What::Beat(which, earlier) => {
                let (id, attachment) = self.session(*which);
                Operation::Beat(id, Attachment(attachment.saturating_sub(*earlier)))
            }
            What::Detach(which, earlier) => {
                let (id, attachment) = self.session(*which);
                Operation::Detach(id, Attachment(attachment.saturating_sub(*earlier)))
            }
            What::Close(which, principal) => {
                Operation::CloseSession(self.session(*which).0, by(principal))
            }
            What::End(transaction) => Operation::End(self.transactions[*transaction]),
            What::Look(name) => Operation::Look(self.names[*name].clone()),
            What::Tick => Operation::Tick,
        }
    }

    /// Remembers what later steps refer to.
    pub(super) fn learn(&mut self, operation: &Operation, answer: &Answer) {
        if let (Operation::Attach(id, _), Answer::Attached(Ok(attached))) = (operation, answer) {
            let mut sessions = self.sessions.iter_mut();
            if let Some(session) = sessions.find(|it| it.0 == *id) {
                session.1 = attached.attachment.0;
            }
        }
    }

    /// Operations that end everything.
    pub(super) fn ends(&self) -> Vec<Operation> {
        let node = Principal::node;
        let sessions = self.sessions.iter();
        let sessions = sessions.map(|it| Operation::CloseSession(it.0, node()));
        let grants = self.asked.iter();
        let grants = grants.map(|it| Operation::Release(it.id, node()));
        sessions.chain(grants).collect()
    }

    fn acquire(&self, ask: &Ask) -> Acquire {
        let session = ask.holder.checked_sub(TRANSACTIONS);
        let session = session.filter(|it| *it < SESSIONS);
        let holder = match (self.transactions.get(ask.holder), session) {
            (Some(transaction), _) => Holder::Transaction(*transaction),
            (None, Some(session)) => Holder::Session(self.session(session).0),
            (None, None) => Holder::Caller,
        };
        let lease = match holder {
            Holder::Transaction(_) => (ask.lease > 3).then(|| tenths(ask.lease)),
            Holder::Session(_) => None,
            Holder::Caller => Some(tenths(ask.lease + 1)),
        };
        let mode = match ask.mode {
            0..4 => Mode::Exclusive,
            4..7 => Mode::Shared,
            number => Mode::Permits((number - 5).try_into().unwrap()),
        };
        let request_id = ask.request_id.filter(|it| it % 2 == ask.principal);
        let principal = match holder {
            Holder::Transaction(_) => 2,
            Holder::Session(_) | Holder::Caller => ask.principal,
        };
        Acquire {
            id: request_id.map_or_else(GrantId::mint, |it| self.request_ids[it]),
            repeatable: request_id.is_some(),
            names: ask.names.iter().map(|it| self.names[*it].clone()).collect(),
            mode,
            holder,
            lease,
            wait: tenths(ask.wait),
            party: self.party(principal, ask.owner),
        }
    }

    fn party(&self, principal: usize, owner: usize) -> Party {
        let owners = ["one", "two"];
        Party {
            principal: self.principals[principal].clone(),
            owner: owners.get(owner).map(|it| (*it).into()),
            label: format!("request {}", self.asked.len()).into(),
        }
    }

    /// One of the latest ids, or one that never was.
    fn id(&self, which: usize) -> GrantId {
        let asked = self.asked.iter().rev().nth(which);
        asked.map_or_else(GrantId::mint, |it| it.id)
    }

    /// One of the latest sessions, or one that never was.
    fn session(&self, which: usize) -> (SessionId, u64) {
        let session = self.sessions.iter().rev().nth(which).copied();
        session.unwrap_or_else(|| (SessionId::mint(), 1))
    }
}

fn tenths(number: u64) -> Duration {
    Duration::from_millis(100 * number)
}

/// The pattern of one name.
fn exactly(name: &LockName) -> LockPattern {
    LockPattern::parse(name.as_str()).expect("it has no stars")
}
