//! The functions that the SDK expects of its host, over the world in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::Called;
use super::world::{self, Place, Transaction, World};
use crate::{BodyError, Method, call, locks, state};

/// How long every request may run.
const DEADLINE: Duration = Duration::from_secs(5);

/// The identity of every request.
const REQUEST_ID: &str = "test";

#[derive(Debug)]
pub(crate) struct Incoming {
    method: Method,
    path_with_query: String,
    headers: Vec<(String, String)>,
    /// Taken when it is read.
    body: RefCell<Option<Vec<u8>>>,
}

#[derive(Debug)]
pub(crate) struct Guard {
    /// The names and their tokens.
    tokens: BTreeMap<String, u64>,
}

pub(crate) fn route() -> String {
    transaction(|transaction| transaction.route.clone()).unwrap_or_default()
}

pub(crate) fn params() -> Vec<(String, String)> {
    transaction(|transaction| transaction.params.clone()).unwrap_or_default()
}

pub(crate) fn request_id() -> String {
    REQUEST_ID.to_owned()
}

pub(crate) fn principal() -> Option<String> {
    None
}

pub(crate) fn deadline() -> Duration {
    DEADLINE
}

pub(crate) fn log(line: &str) {
    world::with(|world| world.log.push(line.to_owned()));
}

pub(crate) fn acquire(names: &[String], options: locks::Options) -> Result<Guard, locks::Error> {
    world::with(|world| {
        let Some(mut transaction) = world.transaction.take() else {
            return Err(locks::Error::Closed);
        };
        let result = acquire_for(world, &mut transaction, names, options);
        world.transaction = Some(transaction);
        result
    })
}

pub(crate) fn inherited() -> Vec<Guard> {
    let lent = transaction(|transaction| transaction.lent.clone()).unwrap_or_default();
    if lent.is_empty() {
        Vec::new()
    } else {
        vec![Guard { tokens: lent }]
    }
}

pub(crate) fn get(
    collection: &str,
    key: &str,
) -> Result<Option<state::Entry<Vec<u8>>>, state::Error> {
    staging(collection, |world, transaction| {
        let place = (collection.to_owned(), key.to_owned());
        let value = current(world, transaction, &place);
        if value.is_none() {
            transaction.absent.insert(place);
        }
        value.map(|(value, version)| state::Entry {
            key: key.to_owned(),
            value,
            version,
        })
    })
}

pub(crate) fn list(
    collection: &str,
    query: state::Query<'_>,
) -> Result<state::Page<Vec<u8>>, state::Error> {
    staging(collection, |world, transaction| {
        let mut keys = world.keys(collection);
        let staged = transaction
            .staged
            .keys()
            .filter(|(known, _)| known == collection);
        keys.extend(staged.map(|(_, key)| key.clone()));
        keys.sort();
        keys.dedup();
        if query.descending {
            keys.reverse();
        }
        let behind = |key: &String| match query.after {
            None => true,
            Some(after) if query.descending => key.as_str() < after,
            Some(after) => key.as_str() > after,
        };
        let mut entries = keys
            .into_iter()
            .filter(|key| key.starts_with(query.prefix) && behind(key))
            .filter_map(|key| {
                let (value, version) =
                    current(world, transaction, &(collection.to_owned(), key.clone()))?;
                Some(state::Entry {
                    key,
                    value,
                    version,
                })
            });
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let page: Vec<_> = entries.by_ref().take(limit).collect();
        state::Page {
            entries: page,
            more: entries.next().is_some(),
        }
    })
}

pub(crate) fn put(collection: &str, key: &str, value: Vec<u8>) -> Result<(), state::Error> {
    stage(collection, key, Some(value))
}

pub(crate) fn delete(collection: &str, key: &str) -> Result<(), state::Error> {
    stage(collection, key, None)
}

pub(crate) fn keep() {
    let _ = transaction(|transaction| transaction.keep = true);
}

pub(crate) fn call(
    method: &Method,
    authority: &str,
    path: &str,
    body: Option<&[u8]>,
) -> Result<call::Answer, call::Error> {
    let name = authority.strip_suffix(".internal").unwrap_or(authority);
    let answer = world::with(|world| world.components.get(name).cloned());
    let answer = answer.ok_or(call::Error::NotFound)?;
    let locks = transaction(|transaction| {
        transaction
            .held
            .keys()
            .chain(transaction.lent.keys())
            .cloned()
            .collect()
    });
    let response = answer(&Called {
        method: method.clone(),
        path: path.to_owned(),
        body: body.unwrap_or_default().to_vec(),
        locks: locks.unwrap_or_default(),
    });
    Ok(call::Answer {
        status: response.status,
        body: response.body,
    })
}

// === impl Incoming ===

impl Incoming {
    pub(super) fn new(method: Method, path_with_query: &str) -> Self {
        Self {
            method,
            path_with_query: path_with_query.to_owned(),
            headers: Vec::new(),
            body: RefCell::new(Some(Vec::new())),
        }
    }

    pub(super) fn set_body(&mut self, body: Vec<u8>) {
        self.body = RefCell::new(Some(body));
    }

    pub(super) fn add_header(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn method(&self) -> Method {
        self.method.clone()
    }

    pub(crate) fn path_with_query(&self) -> String {
        self.path_with_query.clone()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    }

    pub(crate) fn body(&self, limit: usize) -> Result<Vec<u8>, BodyError> {
        let body = self.body.take().ok_or(BodyError::Incomplete)?;
        if body.len() > limit {
            Err(BodyError::TooLarge { limit })
        } else {
            Ok(body)
        }
    }
}

// === impl Guard ===

impl Guard {
    pub(crate) fn names(&self) -> Vec<String> {
        self.tokens.keys().cloned().collect()
    }

    pub(crate) fn token(&self, name: &str) -> u64 {
        self.tokens
            .get(name)
            .copied()
            .filter(|_| self.is_current())
            .unwrap_or(0)
    }

    pub(crate) fn remaining(&self) -> Duration {
        if self.is_current() {
            DEADLINE
        } else {
            Duration::ZERO
        }
    }

    pub(crate) fn renew(&self, _lease: Duration) -> Result<(), locks::Error> {
        if self.is_current() {
            Ok(())
        } else {
            Err(locks::Error::Closed)
        }
    }

    pub(crate) fn release(self) -> Result<(), locks::Error> {
        world::with(|world| {
            let Some(transaction) = &mut world.transaction else {
                return Err(locks::Error::Closed);
            };
            if self
                .tokens
                .keys()
                .any(|name| !transaction.held.contains_key(name))
            {
                return Err(locks::Error::InUse);
            }
            // Which lock a staged write needs is the collection's business;
            // here any staged write counts.
            if !transaction.staged.is_empty() {
                return Err(locks::Error::InUse);
            }
            transaction
                .held
                .retain(|name, _| !self.tokens.contains_key(name));
            Ok(())
        })
    }

    /// Whether the transaction that it belongs to is running.
    fn is_current(&self) -> bool {
        let known = transaction(|transaction| {
            self.tokens.iter().all(|(name, token)| {
                transaction
                    .held
                    .get(name)
                    .or_else(|| transaction.lent.get(name))
                    == Some(token)
            })
        });
        known.unwrap_or(false)
    }
}

// === helpers ===

fn transaction<T>(f: impl FnOnce(&mut Transaction) -> T) -> Option<T> {
    world::with(|world| world.transaction.as_mut().map(f))
}

fn acquire_for(
    world: &mut World,
    transaction: &mut Transaction,
    names: &[String],
    options: locks::Options,
) -> Result<Guard, locks::Error> {
    if names.is_empty() || names.iter().any(String::is_empty) {
        return Err(locks::Error::InvalidArgument(
            "a name is empty, or there is none".into(),
        ));
    }
    let wanted = |name: &&String| {
        !transaction.held.contains_key(*name) && !transaction.lent.contains_key(*name)
    };
    let new: Vec<String> = names.iter().filter(wanted).cloned().collect();
    if new.iter().any(|name| world.others.contains(name)) {
        return Err(if options.wait.is_zero() {
            locks::Error::Held
        } else {
            locks::Error::TimedOut
        });
    }
    if !new.is_empty() {
        let token = world.token();
        transaction
            .held
            .extend(new.into_iter().map(|name| (name, token)));
    }
    let token = |name: &String| {
        transaction
            .held
            .get(name)
            .or_else(|| transaction.lent.get(name))
            .copied()
            .unwrap_or(0)
    };
    Ok(Guard {
        tokens: names
            .iter()
            .map(|name| (name.clone(), token(name)))
            .collect(),
    })
}

fn staging<T>(
    collection: &str,
    f: impl FnOnce(&World, &mut Transaction) -> T,
) -> Result<T, state::Error> {
    world::with(|world| {
        if !world.collections.contains_key(collection) {
            return Err(state::Error::AccessDenied);
        }
        let mut transaction = world.transaction.take().ok_or(state::Error::Closed)?;
        let result = f(world, &mut transaction);
        world.transaction = Some(transaction);
        Ok(result)
    })
}

fn stage(collection: &str, key: &str, value: Option<Vec<u8>>) -> Result<(), state::Error> {
    staging(collection, |_, transaction| {
        transaction
            .staged
            .insert((collection.to_owned(), key.to_owned()), value);
    })
}

/// The value under the overlay of what is staged, and its version.
fn current(world: &World, transaction: &Transaction, place: &Place) -> Option<(Vec<u8>, u64)> {
    match transaction.staged.get(place) {
        Some(staged) => staged.clone().map(|value| (value, 0)),
        None => world.committed(&place.0, &place.1),
    }
}
