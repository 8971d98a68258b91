//! A host in memory, to test a handler with `cargo test`.
//!
//! It keeps the rules that a handler is written against: what is staged is
//! committed by an answer below 400 and forgotten otherwise, a lock is held by
//! one, and a write to a guarded collection needs its lock. It knows no time,
//! no limits and no other requests at the same time; those are tested against
//! the real host.
//!
//! ```
//! use lockport_guest::testing::Host;
//! use lockport_guest::{Collection, Error, Method, Request, Response, locks};
//!
//! fn handle(request: &Request) -> Result<Response, Error> {
//!     let id = request.param("id")?;
//!     let _guard = locks::acquire([format!("seat/{id}")])?;
//!     Collection::<String>::new("seats").put(&id, &request.json()?)?;
//!     Ok(Response::empty(204))
//! }
//!
//! let host = Host::new().guarded("seats", "seat/{key}");
//! let answer = host.request(Method::Put, "/seats/{id}", "/seats/7").json("Ada").send(handle);
//! assert_eq!(answer.status(), 204);
//! assert_eq!(host.value::<String>("seats", "7").as_deref(), Some("Ada"));
//!
//! host.hold("seat/7");
//! let answer = host.request(Method::Put, "/seats/{id}", "/seats/7").json("Bob").send(handle);
//! assert_eq!(answer.status(), 423);
//! ```

pub(crate) mod host;
mod world;

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{IntoResponse, Method, Request, Response};
use host::Incoming;
use world::{Transaction, World};

/// The host of the handlers that run on this thread. There is one at a time:
/// making another forgets all that was stored.
#[derive(Debug)]
pub struct Host {
    /// It stands for what is the thread's, so it stays on it.
    here: PhantomData<*const ()>,
}

/// A call to another component, as that component sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// The method.
    pub method: Method,
    /// The path and the query.
    pub path: String,
    /// The body; empty if there is none.
    pub body: Vec<u8>,
    /// The locks that the caller holds.
    pub locks: Vec<String>,
}

/// A request that is being put together.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Sending<'a> {
    host: PhantomData<&'a Host>,
    route: String,
    incoming: Incoming,
    lent: Vec<String>,
}

// === impl Host ===

impl Host {
    /// A host with nothing in it.
    #[expect(
        clippy::new_without_default,
        reason = "it replaces the thread's, which is no default"
    )]
    #[must_use]
    pub fn new() -> Self {
        world::replace(World::default());
        Self { here: PhantomData }
    }

    /// Declares a collection.
    #[must_use]
    pub fn collection(self, name: &str) -> Self {
        world::with(|world| world.collections.insert(name.to_owned(), None));
        self
    }

    /// Declares a guarded collection; `guard` is as in the manifest:
    /// `order/{key}`.
    #[must_use]
    pub fn guarded(self, name: &str, guard: &str) -> Self {
        world::with(|world| {
            world
                .collections
                .insert(name.to_owned(), Some(guard.to_owned()))
        });
        self
    }

    /// Deploys another component that answers calls.
    #[must_use]
    pub fn component(self, name: &str, answer: impl Fn(&Called) -> Response + 'static) -> Self {
        world::with(|world| {
            world
                .components
                .insert(name.to_owned(), std::rc::Rc::new(answer))
        });
        self
    }

    /// Lets somebody else hold a lock.
    pub fn hold(&self, lock: &str) {
        world::with(|world| world.others.insert(lock.to_owned()));
    }

    /// Lets somebody else give a lock back.
    pub fn give_back(&self, lock: &str) {
        world::with(|world| world.others.remove(lock));
    }

    /// Stores a value.
    ///
    /// # Panics
    ///
    /// If it has no JSON form.
    pub fn store<T: Serialize + ?Sized>(&self, collection: &str, key: &str, value: &T) {
        let bytes = serde_json::to_vec(value).expect("the value has a JSON form");
        world::with(|world| world.store(collection, key, Some(bytes)));
    }

    /// The committed value of a key.
    ///
    /// # Panics
    ///
    /// If it is not a `T`.
    #[must_use]
    pub fn value<T: DeserializeOwned>(&self, collection: &str, key: &str) -> Option<T> {
        let bytes = world::with(|world| world.committed(collection, key).map(|(bytes, _)| bytes))?;
        Some(serde_json::from_slice(&bytes).expect("the value is what the test expects"))
    }

    /// The committed keys of a collection.
    #[must_use]
    pub fn keys(&self, collection: &str) -> Vec<String> {
        world::with(|world| world.keys(collection))
    }

    /// What handlers have written to the log.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        world::with(|world| world.log.clone())
    }

    /// A request to the route that the manifest would have matched.
    ///
    /// # Panics
    ///
    /// If the path does not match the route.
    pub fn request(&self, method: Method, route: &str, path_with_query: &str) -> Sending<'_> {
        assert!(
            world::matches(route, path_with_query).is_some(),
            "{path_with_query} is no {route}"
        );
        Sending {
            host: PhantomData,
            route: route.to_owned(),
            incoming: Incoming::new(method, path_with_query),
            lent: Vec::new(),
        }
    }
}

// === impl Called ===

impl Called {
    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// If it is not what `T` expects.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).expect("the body is what the test expects")
    }
}

// === impl Sending ===

impl Sending<'_> {
    /// Gives it a body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.incoming.set_body(body.into());
        self
    }

    /// Gives it a JSON body.
    ///
    /// # Panics
    ///
    /// If the value has no JSON form.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        self.body(serde_json::to_vec(value).expect("the value has a JSON form"))
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.incoming.add_header(name, value);
        self
    }

    /// Lets the request inherit a guard of its caller.
    pub fn lent(mut self, lock: &str) -> Self {
        self.lent.push(lock.to_owned());
        self
    }

    /// Runs the handler, and commits or forgets what it has staged.
    #[must_use]
    pub fn send<R, E>(self, handler: impl FnOnce(&Request) -> Result<R, E>) -> Response
    where
        R: IntoResponse,
        E: IntoResponse,
    {
        let Self {
            host: _,
            route,
            incoming,
            lent,
        } = self;
        let params = world::matches(&route, &incoming.path_with_query()).unwrap_or_default();
        world::with(|world| {
            let lent = lent.into_iter().map(|lock| (lock, world.token())).collect();
            world.transaction = Some(Transaction {
                route,
                params,
                lent,
                ..Transaction::default()
            });
        });
        let response = crate::answer(&Request::new(incoming), handler);
        world::with(|world| world.finish(response))
    }
}

#[cfg(test)]
mod tests;
