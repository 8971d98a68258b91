//! What the host in memory remembers: values, locks, and the transaction of
//! the request that is running.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use super::Called;
use crate::Response;

/// How another component answers.
pub(super) type Component = Rc<dyn Fn(&Called) -> Response>;

/// A key of a collection.
pub(super) type Place = (String, String);

#[derive(Default)]
pub(super) struct World {
    /// The collections and their guards.
    pub(super) collections: BTreeMap<String, Option<String>>,
    pub(super) components: BTreeMap<String, Component>,
    /// The locks that somebody else holds.
    pub(super) others: BTreeSet<String>,
    pub(super) log: Vec<String>,
    pub(super) transaction: Option<Transaction>,
    values: BTreeMap<Place, (Vec<u8>, u64)>,
    commits: u64,
    tokens: u64,
}

#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) route: String,
    pub(super) params: Vec<(String, String)>,
    /// The locks it has acquired, and their tokens.
    pub(super) held: BTreeMap<String, u64>,
    /// The locks its caller holds for it.
    pub(super) lent: BTreeMap<String, u64>,
    /// What it has written; none stands for a removal.
    pub(super) staged: BTreeMap<Place, Option<Vec<u8>>>,
    /// The keys it has found to be absent.
    pub(super) absent: BTreeSet<Place>,
    pub(super) keep: bool,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::default());
}

pub(super) fn replace(world: World) {
    WORLD.set(world);
}

/// Not to be nested: a handler runs between two of these, never within one.
pub(super) fn with<T>(f: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(f)
}

/// The parameters of a path, if the route has such paths.
pub(super) fn matches(route: &str, path_with_query: &str) -> Option<Vec<(String, String)>> {
    let path = path_with_query.split('?').next().unwrap_or_default();
    let mut params = Vec::new();
    let mut segments = path.split('/');
    for pattern in route.split('/') {
        let segment = segments.next()?;
        match pattern
            .strip_prefix('{')
            .and_then(|name| name.strip_suffix('}'))
        {
            Some(name) => params.push((name.to_owned(), segment.to_owned())),
            None if pattern == segment => {}
            None => return None,
        }
    }
    segments.next().is_none().then_some(params)
}

// === impl World ===

impl World {
    /// The next fencing token.
    pub(super) fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    pub(super) fn committed(&self, collection: &str, key: &str) -> Option<(Vec<u8>, u64)> {
        self.values
            .get(&(collection.to_owned(), key.to_owned()))
            .cloned()
    }

    pub(super) fn keys(&self, collection: &str) -> Vec<String> {
        let places = self.values.keys().filter(|(known, _)| known == collection);
        places.map(|(_, key)| key.clone()).collect()
    }

    /// Writes a value, or removes it, in a commit of its own.
    pub(super) fn store(&mut self, collection: &str, key: &str, value: Option<Vec<u8>>) {
        self.commits += 1;
        self.write((collection.to_owned(), key.to_owned()), value);
    }

    /// Ends the transaction: commits it if the answer says so.
    pub(super) fn finish(&mut self, response: Response) -> Response {
        let Some(transaction) = self.transaction.take() else {
            return response;
        };
        if response.status >= 400 && !transaction.keep {
            return response;
        }
        for (place, value) in &transaction.staged {
            if !self.covered(&transaction, place, value.is_some()) {
                let text = format!("unguarded write of `{}` in `{}`", place.1, place.0);
                return Response::bytes(409, "text/plain", text);
            }
        }
        self.commits += 1;
        for (place, value) in transaction.staged {
            self.write(place, value);
        }
        response
    }

    fn write(&mut self, place: Place, value: Option<Vec<u8>>) {
        match value {
            Some(bytes) => self.values.insert(place, (bytes, self.commits)),
            None => self.values.remove(&place),
        };
    }

    /// Whether the transaction may write there: the collection has no guard,
    /// the lock is the transaction's, or the key is new and its lock is free.
    fn covered(&self, transaction: &Transaction, place: &Place, put: bool) -> bool {
        let Some(Some(guard)) = self.collections.get(&place.0) else {
            return true;
        };
        let lock = guard.replace("{key}", &place.1);
        let held = transaction.held.contains_key(&lock) || transaction.lent.contains_key(&lock);
        let new = put && transaction.absent.contains(place) && !self.values.contains_key(place);
        held || (new && !self.others.contains(&lock))
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("commits", &self.commits)
            .finish_non_exhaustive()
    }
}
