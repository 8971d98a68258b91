//! The clients: what they ask for all the time, and write down.
//!
//! | file | who |
//! | --- | --- |
//! | `callers.rs` | callers of the lock API who renew by themselves |
//! | `guards.rs` | the client's guards and sessions, which renew and say when they are lost |
//! | `observer.rs` | who looks at the queues |
//! | `transactions.rs` | callers of components |
//! | `script.rs` | what a transaction says to the probe, and what it was answered |
//! | `rest.rs` | what is there before and after |

mod callers;
mod guards;
mod observer;
pub(crate) mod rest;
mod script;
mod transactions;

use crate::history::Recorder;
use crate::http;
use crate::random::Random;
use crate::world::World;
use lockport_client::{Client, Options};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How many clients there are of each kind.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Callers of the lock API.
    pub callers: usize,
    /// Guards, and as many sessions.
    pub guards: usize,
    /// Callers of components.
    pub transactions: usize,
}

/// How long the clients may take to come to an end when the load does. Longer
/// than any wait and any answer.
const END: Duration = Duration::from_secs(60);

/// What every client has.
#[derive(Clone, Debug)]
struct Site {
    recorder: Recorder,
    over: watch::Receiver<bool>,
    nodes: Arc<[Door]>,
}

/// Where the clients of a node connect to.
#[derive(Clone, Copy, Debug)]
struct Door {
    http: SocketAddr,
    locks: SocketAddr,
}

/// The load. Dropping it ends every client as it is.
#[derive(Debug)]
pub(crate) struct Load {
    clients: JoinSet<()>,
    over: watch::Sender<bool>,
}

// === impl Size ===

impl Size {
    /// Enough for queues, and not more than two cores can do.
    pub const DEFAULT: Self = Self {
        callers: 8,
        guards: 2,
        transactions: 8,
    };
}

// === impl Load ===

impl Load {
    /// Starts the clients.
    pub(crate) fn start(world: &World, recorder: &Recorder, seed: u64, size: Size) -> Self {
        let (over, receiver) = watch::channel(false);
        let site = Site {
            recorder: recorder.clone(),
            over: receiver,
            nodes: doors(world),
        };
        let mut clients = JoinSet::new();
        let mut number = 0;
        let mut next = || {
            number += 1;
            (site.clone(), Random::of(seed, number))
        };
        for client in 0..size.callers {
            let (site, random) = next();
            clients.spawn(callers::run(site, client, random));
        }
        for client in 0..size.guards {
            let (site, random) = next();
            clients.spawn(guards::run_guards(site, client, random));
            let (site, random) = next();
            clients.spawn(guards::run_session(site, client, random));
        }
        for client in 0..size.transactions {
            let (site, random) = next();
            clients.spawn(transactions::run(site, client, random));
        }
        let (site, random) = next();
        clients.spawn(observer::run(site, random));
        Self { clients, over }
    }

    /// Lets every client finish what it is at. What does not end is reported.
    pub(crate) async fn end(mut self, recorder: &Recorder) {
        self.over.send_replace(true);
        let ends = async {
            while let Some(ended) = self.clients.join_next().await {
                if let Err(error) = ended {
                    let mut history = recorder.history();
                    history.broken.push(format!("a client panicked: {error}"));
                }
            }
        };
        if timeout(END, ends).await.is_err() {
            let count = self.clients.len();
            let mut history = recorder.history();
            history
                .broken
                .push(format!("{count} clients did not come to an end in {END:?}"));
        }
    }
}

/// The ways into a system.
fn doors(world: &World) -> Arc<[Door]> {
    let door = |node: &crate::world::Node| Door {
        http: node.http.address(),
        locks: node.locks.address(),
    };
    world.nodes.iter().map(door).collect()
}

// === impl Site ===

impl Site {
    fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// A client of a node's lock API; none if the load is over before it is
    /// there.
    async fn connect(&self, node: usize, patience: Duration) -> Option<Client> {
        let options = Options {
            connect_timeout: Duration::from_millis(600),
            request_timeout: Duration::from_millis(2_500),
            patience,
            ..Options::server(self.nodes[node].locks.to_string())
        };
        while !self.is_over() {
            if let Ok(client) = Client::connect(options.clone()).await {
                return Some(client);
            }
            sleep(Duration::from_millis(100)).await;
        }
        None
    }

    /// A client of a node's components.
    fn http(&self, node: usize) -> http::Client {
        http::Client::of(self.nodes[node].http)
    }
}

/// Locks that callers take, the more often the further in front: some are
/// nobody else's, some are those under which components write.
const LOCKS: [&str; 8] = [
    "lock/0", "item/g0", "lock/1", "lock/2", "item/c0", "lock/3", "lock/4", "lock/5",
];

/// One of them.
fn lock(random: &mut Random) -> &'static str {
    LOCKS[random.below(LOCKS.len()).min(random.below(LOCKS.len()))]
}

/// Random names of locks, mostly one.
fn names(random: &mut Random) -> Vec<String> {
    let mut names = vec![lock(random).to_owned()];
    if random.once_in(4) {
        let other = lock(random).to_owned();
        if other != names[0] {
            names.push(other);
        }
    }
    names
}
