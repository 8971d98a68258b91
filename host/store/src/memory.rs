//! The store without a file: the same engine as [`embedded`](crate::embedded),
//! and everything in it ends with the process.
//!
//! Operations run in the caller's thread, under one mutex, and never wait for
//! anything but a lock that somebody holds.

use crate::clock::Clock;
use crate::core::check::{Current, check_changes, check_versions};
use crate::core::records::{Forgotten, Outcome, Records};
use crate::core::{Core, Effect, Limits};
use crate::id::CommitId;
use crate::listing::{Bounds, Filling};
use crate::name::{Collection, Key};
use crate::secret::SpaceKey;
use crate::shell::{Shell, Timer, lock_operations};
use crate::store::{
    Answer, Commit, CommitError, Committed, Order, Page, Query, Reading, Resolved, Store,
    StoreError, Versioned, Write,
};
use crate::time::Time;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A store in memory. Dropping it ends its timer.
pub struct Memory {
    shell: Arc<Shell>,
    /// Locked within a step of the shell where both are needed.
    data: RwLock<Data>,
    key: SpaceKey,
    _timer: Timer,
}

/// Values, and what became of commits: what is in a store but locks.
pub(crate) struct Data {
    collections: HashMap<String, Values>,
    records: Records,
    /// The number of the last commit.
    number: u64,
}

/// The values of one collection.
#[derive(Default)]
struct Values {
    change: u64,
    values: BTreeMap<Key, Versioned>,
}

impl Memory {
    /// An empty store, on the machine's clock.
    ///
    /// # Panics
    ///
    /// If the operating system gives no thread for its timer.
    pub fn new() -> Self {
        Self::with(Limits::default(), Clock::machine())
    }

    /// An empty store with limits and a clock of its own.
    ///
    /// # Panics
    ///
    /// As [`Memory::new`].
    pub fn with(limits: Limits, clock: Clock) -> Self {
        let core = Core::volatile(limits, clock.now());
        let shell = Shell::volatile(core, clock, limits);
        let timer = Timer::start(&shell).expect("the operating system gives a thread at start");
        Self {
            shell,
            data: RwLock::new(Data::new(&limits)),
            key: SpaceKey::mint(),
            _timer: timer,
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Data> {
        self.data
            .read()
            .expect("nothing panics while it holds the lock")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Data> {
        self.data
            .write()
            .expect("nothing panics while it holds the lock")
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for Memory {
    fn summary(&self) -> String {
        "memory: nothing outlives the process".to_owned()
    }

    fn key(&self) -> SpaceKey {
        self.key.clone()
    }

    lock_operations!(self => self.shell);

    fn get(
        &self,
        collection: Collection,
        key: Key,
    ) -> Answer<'_, Result<Option<Versioned>, StoreError>> {
        Box::pin(async move { Ok(self.read().get(&collection, &key).cloned()) })
    }

    fn list(&self, collection: Collection, query: Query) -> Answer<'_, Result<Page, StoreError>> {
        Box::pin(async move { Ok(self.read().list(&collection, &query)) })
    }

    fn commit(&self, commit: Commit) -> Answer<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            self.shell
                .step(|core, now, effects| self.write().commit(core, commit, now, effects))
        })
    }

    fn validate(&self, reading: Reading) -> Answer<'_, Result<(), CommitError>> {
        Box::pin(async move { self.read().validate(&reading) })
    }

    fn resolve(&self, id: CommitId) -> Answer<'_, Result<Resolved, StoreError>> {
        Box::pin(async move { Ok(self.shell.step(|_, now, _| self.write().resolve(id, now))) })
    }
}

impl Data {
    /// Without values.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            collections: HashMap::new(),
            records: Records::new(limits.records),
            number: 0,
        }
    }

    pub(crate) fn get(&self, collection: &Collection, key: &Key) -> Option<&Versioned> {
        self.collections.get(collection.name())?.values.get(key)
    }

    pub(crate) fn list(&self, collection: &Collection, query: &Query) -> Page {
        let Some(values) = self.collections.get(collection.name()) else {
            return Filling::new(query.limit, 0).finish();
        };
        let mut page = Filling::new(query.limit, values.change);
        let bounds = Bounds::of(query);
        if bounds.is_empty() {
            return page.finish();
        }
        let from = Bound::Included(bounds.from.as_str());
        let to = bounds
            .to
            .as_deref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let mut range = values.values.range::<str, _>((from, to));
        let mut next = || match query.order {
            Order::Ascending => range.next(),
            Order::Descending => range.next_back(),
        };
        while let Some((key, value)) = next() {
            if !page.add(key.clone(), value.clone()) {
                break;
            }
        }
        page.finish()
    }

    /// Applies a commit in the same step in which the core allows it.
    pub(crate) fn commit(
        &mut self,
        core: &mut Core,
        commit: Commit,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Committed, CommitError> {
        match self.records.get(commit.id, now) {
            Err(Forgotten) => return Err(CommitError::TooOld),
            Ok(Some(outcome)) => return outcome.to_commit(),
            Ok(None) => {}
        }
        core.check(&commit, &self.current(&commit), now, effects)?;
        self.number += 1;
        let committed = Committed {
            number: self.number,
        };
        for write in commit.writes {
            self.apply(write);
        }
        let outcome = Outcome::Committed(committed);
        self.records.insert(commit.id, outcome, now);
        core.end(commit.transaction, now, effects);
        Ok(committed)
    }

    pub(crate) fn validate(&self, reading: &Reading) -> Result<(), CommitError> {
        let (reads, ranges) = self.versions(&reading.reads, &reading.ranges);
        check_versions(&reading.reads, &reads)?;
        check_changes(&reading.ranges, &ranges)
    }

    pub(crate) fn resolve(&mut self, id: CommitId, now: Time) -> Resolved {
        match self.records.get(id, now) {
            Err(Forgotten) => Resolved::Forgotten,
            Ok(Some(outcome)) => outcome.to_resolve(),
            Ok(None) => {
                self.records.insert(id, Outcome::Aborted, now);
                Resolved::Aborted
            }
        }
    }

    fn current(&self, commit: &Commit) -> Current {
        let (reads, ranges) = self.versions(&commit.reads, &commit.ranges);
        let writes = commit.writes.iter();
        Current {
            reads,
            ranges,
            writes: writes
                .map(|it| self.version(&it.collection, &it.key))
                .collect(),
        }
    }

    /// The versions that keys have now, and the change numbers of collections.
    fn versions(
        &self,
        reads: &[(Collection, Key, u64)],
        ranges: &[(Collection, u64)],
    ) -> (Vec<u64>, Vec<u64>) {
        let change = |it: &Collection| self.collections.get(it.name()).map_or(0, |it| it.change);
        let versions = reads.iter().map(|(c, key, _)| self.version(c, key));
        let changes = ranges.iter().map(|(c, _)| change(c));
        (versions.collect(), changes.collect())
    }

    fn version(&self, collection: &Collection, key: &Key) -> u64 {
        self.get(collection, key).map_or(0, |it| it.version)
    }

    fn apply(&mut self, write: Write) {
        let name = write.collection.name();
        if !self.collections.contains_key(name) {
            self.collections.insert(name.to_owned(), Values::default());
        }
        let Some(values) = self.collections.get_mut(name) else {
            return;
        };
        values.change = self.number;
        let version = self.number;
        match write.value {
            Some(value) => drop(
                values
                    .values
                    .insert(write.key, Versioned { value, version }),
            ),
            None => drop(values.values.remove(&write.key)),
        }
    }
}
