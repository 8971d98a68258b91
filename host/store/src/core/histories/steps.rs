//! Steps of random histories, with numbers for what is minted when they run.

use super::*;
use crate::pattern::LockPattern;
use std::num::NonZeroU32;

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
    /// Whether it asks for a session that may be another's.
    is_stranger: bool,
    request_id: Option<usize>,
}

pub(super) const NAMES: usize = 4;
pub(super) const TRANSACTIONS: usize = 4;
const SESSIONS: usize = 4;
const REQUEST_IDS: usize = 8;

/// The number of a session that never was.
const NO_SESSION: usize = SESSIONS;

pub(super) fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        20 => acquire().prop_map(What::Acquire),
        2 => (0..20usize).prop_map(What::Again),
        2 => (grant(), 0..3usize).prop_map(|(id, by)| What::Cancel(id, by)),
        1 => grant().prop_map(What::Abandon),
        4 => (grant(), 0..3usize, 0..8u64).prop_map(|(id, by, it)| What::Renew(id, by, it)),
        7 => (grant(), 0..3usize).prop_map(|(id, by)| What::Release(id, by)),
        2 => (0..NAMES, 0..2 * NAMES).prop_map(|(name, to)| What::ForceRelease(name, to)),
        4 => (0..2usize, life(), life()).prop_map(|(by, ttl, grace)| What::Open(by, ttl, grace)),
        5 => (session(), 0..3usize).prop_map(|(id, by)| What::Attach(id, by)),
        2 => (session(), attachment()).prop_map(|(id, of)| What::Beat(id, of)),
        3 => (session(), attachment()).prop_map(|(id, of)| What::Detach(id, of)),
        1 => (session(), 0..3usize).prop_map(|(id, by)| What::Close(id, by)),
        2 => (0..TRANSACTIONS).prop_map(What::End),
        2 => (0..NAMES).prop_map(What::Look),
        1 => Just(What::Tick),
    ];
    // Mostly little time, so that deadlines meet each other; at times so much
    // that what ended is forgotten.
    let tenths = prop_oneof![30 => Just(0), 20 => 1..3u64, 8 => 3..20u64, 1 => 5_990..6_010u64];
    (tenths, what).prop_map(|(tenths, what)| Step { tenths, what })
}

fn acquire() -> impl Strategy<Value = Ask> {
    let names = prop::collection::vec(0..NAMES, 1..4);
    let holder = 0..TRANSACTIONS + SESSIONS + 5;
    // Some wait for so long that others meet them.
    let wait = prop_oneof![6 => 0..6u64, 1 => 10..60u64];
    let owner = prop_oneof![Just(9), 0..2usize];
    let principal = (0..2usize, prop::bool::weighted(0.1));
    let request_id = prop_oneof![3 => Just(None), 1 => (0..REQUEST_IDS).prop_map(Some)];
    let rest = (0..8u64, wait, owner, principal, request_id);
    (names, 0..11u32, holder, rest).prop_map(|(names, mode, holder, rest)| {
        let (lease, wait, owner, (principal, is_stranger), request_id) = rest;
        Ask {
            names,
            mode,
            holder,
            lease,
            wait,
            owner,
            principal,
            is_stranger,
            request_id,
        }
    })
}

/// Mostly one of the very latest, which has not ended.
fn grant() -> impl Strategy<Value = usize> {
    prop_oneof![2 => 0..6usize, 1 => 0..20usize]
}

/// How long a session lives, in tenths of a second: the shortest there is, or so
/// long that it comes to hold something.
fn life() -> impl Strategy<Value = u64> {
    prop_oneof![10..25u64, 30..80u64]
}

fn session() -> impl Strategy<Value = usize> {
    0..=NO_SESSION
}

/// Mostly the latest, at times the one before.
fn attachment() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0), 1 => Just(1u64)]
}

impl Step {
    pub(super) fn pause(&self) -> Duration {
        tenths(self.tenths)
    }
}

/// What numbers stand for in one run.
pub(super) struct World {
    pub(super) names: Vec<LockName>,
    pub(super) transactions: Vec<TransactionId>,
    principals: Vec<Principal>,
    /// The sessions opened so far, oldest first.
    sessions: Vec<Opened>,
    request_ids: Vec<GrantId>,
    /// Every request made so far, oldest first.
    pub(super) asked: Vec<Acquire>,
}

/// A session as a client knows it.
#[derive(Clone, Copy)]
struct Opened {
    id: SessionId,
    principal: usize,
    /// The latest.
    attachment: u64,
}

impl World {
    pub(super) fn new() -> Self {
        let name = |it| LockName::new(format!("lock/{it}")).unwrap();
        // Commits write what these are the turns at.
        let turns = [
            LockName::turn("shop/collection-0", Some("a")),
            LockName::turn("shop/collection-1", None),
        ];
        let named = ["anna", "ben"].map(Principal::new);
        Self {
            names: (turns.len()..NAMES).map(name).chain(turns).collect(),
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
                    Some(names) => Permission::of(names.iter().filter_map(exactly).collect()),
                    None => Permission::all(),
                };
                Operation::ForceRelease(self.names[*name].clone(), permission)
            }
            What::Open(principal, ttl, grace) => {
                let id = SessionId::mint();
                self.sessions.push(Opened {
                    id,
                    principal: *principal,
                    attachment: 0,
                });
                Operation::OpenSession(OpenSession {
                    id,
                    ttl: tenths(*ttl),
                    grace: tenths(*grace),
                    party: self.party(*principal, 9),
                })
            }
            What::Attach(which, principal) => {
                Operation::Attach(self.session(*which).id, by(principal))
            }
            What::Beat(which, earlier) => {
                let Opened { id, attachment, .. } = self.session(*which);
                Operation::Beat(id, Attachment(attachment.saturating_sub(*earlier)))
            }
            What::Detach(which, earlier) => {
                let Opened { id, attachment, .. } = self.session(*which);
                Operation::Detach(id, Attachment(attachment.saturating_sub(*earlier)))
            }
            What::Close(which, principal) => {
                Operation::CloseSession(self.session(*which).id, by(principal))
            }
            What::End(transaction) => Operation::End(self.transactions[*transaction]),
            What::Look(name) => Operation::Look(self.names[*name].clone()),
            What::Tick => Operation::Tick,
        }
    }

    /// Remembers what later steps refer to.
    pub(super) fn learn(&mut self, operation: &Operation, answer: &Answer) {
        match (operation, answer) {
            (Operation::OpenSession(_), Answer::Session(Err(_))) => drop(self.sessions.pop()),
            (Operation::Attach(id, _), Answer::Attached(Ok(attached))) => {
                let mut sessions = self.sessions.iter_mut();
                if let Some(session) = sessions.find(|it| it.id == *id) {
                    session.attachment = attached.attachment.0;
                }
            }
            _ => {}
        }
    }

    /// Operations that end everything.
    pub(super) fn ends(&self) -> Vec<Operation> {
        let node = Principal::node;
        let sessions = self.sessions.iter();
        let sessions = sessions.map(|it| Operation::CloseSession(it.id, node()));
        let grants = self.asked.iter();
        let grants = grants.map(|it| Operation::Release(it.id, node()));
        sessions.chain(grants).collect()
    }

    fn acquire(&self, ask: &Ask) -> Acquire {
        let session = ask.holder.checked_sub(TRANSACTIONS);
        let session = session.filter(|it| *it <= NO_SESSION);
        let session = session.map(|it| self.session(it));
        let holder = match (self.transactions.get(ask.holder), session) {
            (Some(transaction), _) => Holder::Transaction(*transaction),
            (None, Some(session)) => Holder::Session(session.id),
            (None, None) => Holder::Caller,
        };
        let asker = match session {
            Some(session) if !ask.is_stranger => session.principal,
            _ => ask.principal,
        };
        let lease = match holder {
            Holder::Transaction(_) => (ask.lease > 3).then(|| tenths(ask.lease)),
            Holder::Session(_) => None,
            Holder::Caller => Some(tenths(ask.lease + 1)),
        };
        let mode = match ask.mode {
            0..4 => Mode::Exclusive,
            4..7 => Mode::Shared,
            7..10 => Mode::Permits(NonZeroU32::new(2).unwrap()),
            _ => Mode::Permits(NonZeroU32::new(3).unwrap()),
        };
        let request_id = ask.request_id.filter(|it| it % 2 == asker);
        // A transaction has one owner throughout; here, two of them have the same.
        let (principal, owner) = match holder {
            Holder::Transaction(_) if ask.holder < 2 => (2, 0),
            Holder::Transaction(_) => (2, usize::MAX),
            Holder::Session(_) | Holder::Caller => (asker, ask.owner),
        };
        Acquire {
            id: request_id.map_or_else(GrantId::mint, |it| self.request_ids[it]),
            repeatable: request_id.is_some(),
            names: ask.names.iter().map(|it| self.names[*it].clone()).collect(),
            mode,
            holder,
            lease,
            wait: tenths(ask.wait),
            party: self.party(principal, owner),
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
    fn session(&self, which: usize) -> Opened {
        let latest = self.sessions.len().min(SESSIONS);
        let known = latest > 0 && which < NO_SESSION;
        let session = known.then(|| self.sessions[self.sessions.len() - 1 - which % latest]);
        session.unwrap_or_else(|| Opened {
            id: SessionId::mint(),
            principal: 0,
            attachment: 1,
        })
    }
}

fn tenths(number: u64) -> Duration {
    Duration::from_millis(100 * number)
}

/// The pattern of one name; an internal one has none.
fn exactly(name: &LockName) -> Option<LockPattern> {
    LockPattern::parse(name.as_str()).ok()
}
