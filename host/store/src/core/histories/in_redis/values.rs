//! Steps with values and commits, with numbers for what is known when they run,
//! and what the store in memory answers.

use super::*;
use crate::id::CommitId;
use crate::listing::Bounds;
use crate::memory::Data;
use crate::name::{Collection, Key};
use crate::redis::codec::Arguments;
use crate::store::{
    Commit, CommitError, Committed, Guarding, LIST_BYTES_MAX, Order, Page, Query, Reading,
    Resolved, Versioned, Write,
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// One thing that is done with values.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Commit(Draft),
    /// A commit is given up before it comes.
    GiveUp(Draft),
    /// One of the latest commits is sent again.
    Again(usize),
    /// What became of one of the latest commits, or of one that never was and
    /// was minted so many tenths of a second ago.
    Resolve(usize, u64),
    Read(usize, usize),
    /// What a commit would have read is validated.
    Validate(Draft),
    List(Listing),
}

/// A commit of a transaction that may have locks.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    transaction: usize,
    /// How many tenths of a second ago it was minted.
    age: u64,
    /// One of the latest requests, whosever it is, that it takes for a guard.
    stray: Option<usize>,
    /// Whether it takes what it waits for, too.
    is_hasty: bool,
    /// How far behind it was when it read a key, or listed a collection.
    reads: Vec<(usize, usize, u64)>,
    ranges: Vec<(usize, u64)>,
    writes: BTreeMap<(usize, usize), DraftWrite>,
}

#[derive(Clone, Debug)]
struct DraftWrite {
    value: Option<u8>,
    guard: Option<usize>,
    absence_read: bool,
}

/// A page that is asked for: bounds are keys, by number.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    collection: usize,
    prefix: usize,
    after: Option<usize>,
    is_descending: bool,
    limit: usize,
}

/// What a store is asked.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Commit(Commit),
    Resolve(CommitId),
    Validate(Reading),
    Read(Collection, Key),
    List(Collection, Query),
}

/// What it answers.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    Committed(Result<Committed, CommitError>),
    Resolved(Resolved),
    Validated(Result<(), CommitError>),
    Read(Option<Versioned>),
    Listed(Page),
}

/// The values of a store in memory, and the commits so far, oldest first.
pub(super) struct Values {
    data: Data,
    collections: Vec<Collection>,
    keys: Vec<Key>,
    commits: Vec<Commit>,
}

const COLLECTIONS: usize = 2;

/// Some begin like others, and one is no ASCII.
const KEYS: [&str; 5] = ["a", "a/b", "a0", "b", "\u{fc}"];

/// How many bytes of a stored value are its version.
const VERSION: usize = 8;

pub(super) fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => draft().prop_map(Change::Commit),
        1 => draft().prop_map(Change::GiveUp),
        2 => (0..5usize).prop_map(Change::Again),
        1 => (0..8usize, age()).prop_map(|(which, age)| Change::Resolve(which, age)),
        2 => (0..COLLECTIONS, 0..KEYS.len()).prop_map(|(of, key)| Change::Read(of, key)),
        1 => draft().prop_map(Change::Validate),
        3 => listing().prop_map(Change::List),
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    let key = || (0..COLLECTIONS, 0..KEYS.len());
    let behind = || prop_oneof![9 => Just(0), 1 => Just(1u64)];
    let guards = (
        prop::option::weighted(0.1, 0..8usize),
        prop::bool::weighted(0.1),
    );
    let reads = prop::collection::vec((key(), behind()), 0..3);
    let ranges = prop::collection::vec((0..COLLECTIONS, behind()), 0..2);
    let writes = prop::collection::btree_map(key(), draft_write(), 0..4);
    let parts = (0..TRANSACTIONS, age(), guards, reads, ranges, writes);
    parts.prop_map(
        |(transaction, age, (stray, is_hasty), reads, ranges, writes)| Draft {
            transaction,
            age,
            stray,
            is_hasty,
            reads: reads.into_iter().map(|((c, k), it)| (c, k, it)).collect(),
            ranges,
            writes,
        },
    )
}

fn draft_write() -> impl Strategy<Value = DraftWrite> {
    let value = prop::option::weighted(0.7, any::<u8>());
    let guard = prop::option::weighted(0.4, 0..NAMES);
    (value, guard, any::<bool>()).prop_map(|(value, guard, absence_read)| DraftWrite {
        value,
        guard,
        absence_read,
    })
}

/// Mostly none; at times about as long as outcomes are remembered.
fn age() -> impl Strategy<Value = u64> {
    prop_oneof![16 => Just(0), 3 => 1..30u64, 1 => 5_999..6_002u64, 1 => 6_002..12_002u64]
}

fn listing() -> impl Strategy<Value = Listing> {
    let after = prop::option::of(0..KEYS.len());
    let parts = (
        0..COLLECTIONS,
        0..=KEYS.len(),
        after,
        any::<bool>(),
        0..4usize,
    );
    parts.prop_map(
        |(collection, prefix, after, is_descending, limit)| Listing {
            collection,
            prefix,
            after,
            is_descending,
            limit,
        },
    )
}

// === impl Values ===

impl Values {
    pub(super) fn new() -> Self {
        let collection = |it| Collection::new("shop", &format!("collection-{it}"), None);
        Self {
            data: Data::new(&LIMITS),
            collections: (0..COLLECTIONS).map(|it| collection(it).unwrap()).collect(),
            keys: KEYS.map(|it| Key::new(it).unwrap()).into(),
            commits: Vec::new(),
        }
    }

    /// What a step asks of a store that stands so.
    pub(super) fn request(
        &mut self,
        change: &Change,
        world: &World,
        core: &Core,
        now: Time,
    ) -> Request {
        match change {
            Change::Commit(draft) => {
                let commit = self.commit(draft, world, core, now);
                self.commits.push(commit.clone());
                Request::Commit(commit)
            }
            Change::GiveUp(draft) => {
                let commit = self.commit(draft, world, core, now);
                let id = commit.id;
                self.commits.push(commit);
                Request::Resolve(id)
            }
            Change::Again(which) => match self.commits.iter().rev().nth(*which) {
                Some(commit) => Request::Commit(commit.clone()),
                None => Request::Resolve(CommitId::mint(now)),
            },
            Change::Resolve(which, age) => {
                let commit = self.commits.iter().rev().nth(*which);
                Request::Resolve(commit.map_or_else(|| minted(*age, now), |it| it.id))
            }
            Change::Validate(draft) => {
                let commit = self.commit(draft, world, core, now);
                Request::Validate(Reading {
                    began: now,
                    reads: commit.reads,
                    ranges: commit.ranges,
                })
            }
            Change::Read(collection, key) => Request::Read(
                self.collections[*collection].clone(),
                self.keys[*key].clone(),
            ),
            Change::List(listing) => self.list(listing),
        }
    }

    /// What the store in memory answers.
    pub(super) fn answer(
        &mut self,
        request: &Request,
        core: &mut Core,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Said {
        match request {
            Request::Commit(commit) => {
                Said::Committed(self.data.commit(core, commit.clone(), now, effects))
            }
            Request::Resolve(id) => Said::Resolved(self.data.resolve(*id, now)),
            Request::Validate(reading) => Said::Validated(self.data.validate(reading)),
            Request::Read(collection, key) => Said::Read(self.data.get(collection, key).cloned()),
            Request::List(collection, query) => Said::Listed(self.data.list(collection, query)),
        }
    }

    /// Asks for all there is.
    pub(super) fn all(&self) -> Vec<Request> {
        let query = Query {
            prefix: String::new(),
            after: None,
            order: Order::Ascending,
            limit: 2 * KEYS.len(),
        };
        let lists = self.collections.iter();
        let lists = lists.map(|it| Request::List(it.clone(), query.clone()));
        let reads = self.collections.iter().flat_map(|collection| {
            let keys = self.keys.iter();
            keys.map(|it| Request::Read(collection.clone(), it.clone()))
        });
        let outcomes = self.commits.iter().map(|it| Request::Resolve(it.id));
        lists.chain(reads).chain(outcomes).collect()
    }

    fn commit(&self, draft: &Draft, world: &World, core: &Core, now: Time) -> Commit {
        let transaction = world.transactions[draft.transaction];
        let holder = Holder::Transaction(transaction);
        let own = world.asked.iter().filter(|it| it.holder == holder);
        let held = own.filter(|it| {
            let request = core.table.get(it.id);
            request.is_some_and(|it| it.is_held() || draft.is_hasty)
        });
        let stray = draft.stray.and_then(|it| world.asked.iter().rev().nth(it));
        let guards = held.chain(stray).map(|it| Guarding {
            grant: it.id,
            names: it.names.clone(),
        });
        let reads = draft.reads.iter().map(|(collection, key, behind)| {
            let (collection, key) = (&self.collections[*collection], &self.keys[*key]);
            let version = self.version(collection, key);
            (
                collection.clone(),
                key.clone(),
                version.saturating_sub(*behind),
            )
        });
        let ranges = draft.ranges.iter().map(|(collection, behind)| {
            let collection = &self.collections[*collection];
            (
                collection.clone(),
                self.change_of(collection).saturating_sub(*behind),
            )
        });
        let writes = draft.writes.iter().map(|((collection, key), write)| Write {
            collection: self.collections[*collection].clone(),
            key: self.keys[*key].clone(),
            value: write.value.map(|it| Bytes::from(vec![it, 0])),
            guard: write.guard.map(|it| world.names[it].clone()),
            absence_read: write.absence_read,
        });
        Commit {
            id: minted(draft.age, now),
            began: now,
            transaction,
            guards: guards.collect(),
            reads: reads.collect(),
            ranges: ranges.collect(),
            writes: writes.collect(),
        }
    }

    fn list(&self, listing: &Listing) -> Request {
        let prefix = KEYS.get(listing.prefix).copied().unwrap_or_default();
        let query = Query {
            prefix: prefix.to_owned(),
            after: listing.after.map(|it| KEYS[it].to_owned()),
            order: if listing.is_descending {
                Order::Descending
            } else {
                Order::Ascending
            },
            limit: listing.limit,
        };
        Request::List(self.collections[listing.collection].clone(), query)
    }

    fn version(&self, collection: &Collection, key: &Key) -> u64 {
        self.data.get(collection, key).map_or(0, |it| it.version)
    }

    fn change_of(&self, collection: &Collection) -> u64 {
        let query = Query {
            prefix: String::new(),
            after: None,
            order: Order::Ascending,
            limit: 1,
        };
        self.data.list(collection, &query).change
    }
}

/// The id of a commit that is minted so many tenths of a second ago.
fn minted(tenths_ago: u64, now: Time) -> CommitId {
    let ago = 100_000 * tenths_ago;
    CommitId::mint(Time::from_micros(now.as_micros().saturating_sub(ago)))
}

// === In Redis ===

impl Space {
    /// What the library answers.
    pub(super) fn answer(&mut self, request: &Request, now: Time) -> Said {
        match request {
            Request::Commit(commit) => {
                let reply = self.call_through_any(&Arguments::commit(commit, self.node), now);
                Said::Committed(reply.committed().unwrap())
            }
            Request::Resolve(id) => {
                let reply = self.call(&Arguments::resolve(*id), now);
                Said::Resolved(reply.resolved().unwrap())
            }
            Request::Validate(reading) => {
                let reply = self.call(&Arguments::validate(reading), now);
                Said::Validated(reply.validated().unwrap())
            }
            Request::Read(collection, key) => {
                let mut get = ::redis::cmd("HGET");
                get.arg(self.key_of(&format!("v:{}", collection.name())))
                    .arg(key.as_str());
                let stored: Option<Vec<u8>> = get.query(&mut self.connection).unwrap();
                Said::Read(stored.map(|it| versioned(it.into())))
            }
            Request::List(collection, query) => Said::Listed(self.list(collection, query, now)),
        }
    }

    fn list(&mut self, collection: &Collection, query: &Query, now: Time) -> Page {
        let bounds = Bounds::of(query);
        let to = match bounds.to.as_deref() {
            Some(_) if bounds.is_empty() => Some(bounds.from.as_str()),
            to => to,
        };
        let is_descending = query.order == Order::Descending;
        let most = (query.limit.max(1), LIST_BYTES_MAX);
        let arguments = Arguments::list(collection, &bounds.from, to, is_descending, most);
        let listed = self.call(&arguments, now).listed().unwrap();
        let entries = listed.entries.into_iter().map(|(key, stored)| {
            let key = Key::new(String::from_utf8(key).unwrap()).unwrap();
            (key, versioned(stored))
        });
        Page {
            entries: entries.collect(),
            more: listed.more,
            change: listed.change,
        }
    }
}

/// A value as it is stored: its version in front.
fn versioned(stored: Bytes) -> Versioned {
    let version = stored.first_chunk::<VERSION>().unwrap();
    Versioned {
        version: u64::from_be_bytes(*version),
        value: stored.slice(VERSION..),
    }
}
