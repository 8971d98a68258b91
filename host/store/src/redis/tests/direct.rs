//! A space that is asked without a store around it, so that what one call of the
//! library costs the server can be counted.

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::id::{NodeId, SessionId};
use crate::redis::codec::{Arguments, Heading, Message, News, Reached, Reply};
use crate::redis::library::Library;
use crate::redis::space::{Caller, Epoch, Space};
use crate::secret::SpaceKey;
use std::collections::BTreeMap;

/// The lease of the only node: longer than any test.
pub(super) const LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// A node that says only what it is told to say.
pub(super) struct Direct {
    connection: ::redis::Connection,
    space: Space,
    clock: ManualClock,
    pub(super) node: NodeId,
    /// The number of the connection that it says it asks over.
    pub(super) link: u64,
    /// How many grants are held, how many wait, and how many sessions are open, as
    /// the last answer said.
    pub(super) held: u64,
    pub(super) waiting: u64,
    pub(super) sessions: u64,
}

/// What the server has done: how often it ran each command, also those that ran
/// within a function, and for how many microseconds it ran functions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) commands: BTreeMap<String, u64>,
    pub(super) micros: u64,
}

impl Direct {
    /// A node of a new space. If the library is the one that goes by hand, time
    /// passes as [`Direct::let_pass`] says.
    pub(super) fn new(server: &Server, library: Library) -> Self {
        let mut connection = server.connection();
        let mut load = cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(library.text());
        load.exec(&mut connection).unwrap();
        let limits = Limits::default();
        let clock = ManualClock::new(Time::from_micros(1 << 40));
        let time = (library == Library::ByHand).then(|| Clock::from(clock.clone()));
        let space = Space::new("direct", library, &limits, RECLAIM_DEFAULT, time, false);
        let open = space.open("a run", &Reached::default());
        let found: Vec<Vec<u8>> = open.query(&mut connection).unwrap();
        let epoch = Epoch::try_from(found[0].as_slice()).unwrap();
        let key = SpaceKey::from_bytes(found[1].as_slice().try_into().unwrap());
        space.adopt(epoch, key, Time::default());
        let mut direct = Self {
            connection,
            space,
            clock,
            node: NodeId::mint(),
            link: 1,
            held: 0,
            waiting: 0,
            sessions: 0,
        };
        direct.call(&Arguments::join(LEASE)).joined().unwrap();
        direct
    }

    pub(super) fn call(&mut self, arguments: &Arguments) -> Reply {
        self.call_all(&[arguments]).remove(0)
    }

    /// Has operations done by one call.
    pub(super) fn call_all(&mut self, operations: &[&Arguments]) -> Vec<Reply> {
        let by = Caller {
            node: self.node,
            connection: self.link,
        };
        let call = self.space.call(self.space.epoch(), by, operations);
        let answer: Vec<Vec<u8>> = call
            .query(&mut self.connection)
            .unwrap_or_else(|error| panic!("{:?}: {error}", operations[0].operation));
        let heading = Heading::read(&answer[0]).unwrap();
        let reached = heading.reached;
        (self.held, self.waiting) = (heading.held, heading.waiting);
        self.sessions = heading.sessions;
        let answers = answer[1..].iter();
        answers
            .map(|it| Reply::read(it, reached).unwrap())
            .collect()
    }

    /// Asks as another node from now on.
    pub(super) fn go_as_another(&mut self) {
        self.go_as_one_for(LEASE);
    }

    /// Asks as another node from now on, whose lease is so long.
    pub(super) fn go_as_one_for(&mut self, lease: Duration) {
        self.node = NodeId::mint();
        self.call(&Arguments::join(lease)).joined().unwrap();
    }

    /// What the server does for one call.
    pub(super) fn call_counted(&mut self, arguments: &Arguments) -> (Reply, Done) {
        let (mut replies, done) = self.call_all_counted(&[arguments]);
        (replies.remove(0), done)
    }

    /// As [`Direct::call_counted`] for operations that are done by one call.
    pub(super) fn call_all_counted(&mut self, operations: &[&Arguments]) -> (Vec<Reply>, Done) {
        cmd("CONFIG")
            .arg("RESETSTAT")
            .exec(&mut self.connection)
            .unwrap();
        let replies = self.call_all(operations);
        (replies, self.done())
    }

    /// Asks for very many locks, many by each call.
    pub(super) fn acquire_all(&mut self, requests: &[Acquire]) {
        for requests in requests.chunks(100) {
            let arguments: Vec<_> = requests.iter().map(|it| self.acquiring(it)).collect();
            self.call_all(&arguments.iter().collect::<Vec<_>>());
        }
    }

    /// All that a node was told.
    pub(super) fn told(&mut self, node: NodeId) -> Vec<News> {
        let mut inbox = cmd("LRANGE");
        inbox.arg(self.space.inbox(node)).arg(0).arg(-1);
        let messages: Vec<Vec<u8>> = inbox.query(&mut self.connection).unwrap();
        let messages = messages.iter();
        messages.map(|it| Message::read(it).unwrap().what).collect()
    }

    /// Has the server do something to a key of the space.
    pub(super) fn has_done<T: ::redis::FromRedisValue>(
        &mut self,
        command: &str,
        key: &[u8],
        rest: &[&[u8]],
    ) -> T {
        let mut command = cmd(command);
        command.arg(key).arg(rest);
        command.query(&mut self.connection).unwrap()
    }

    /// The name of a key of the space, and of one of a node's.
    pub(super) fn key(&self, name: &str) -> Vec<u8> {
        self.space.key(name).into_bytes()
    }

    /// See [`Direct::key`].
    pub(super) fn key_of_node(&self, kind: &str, node: NodeId) -> Vec<u8> {
        self.space.of_node(kind, node)
    }

    /// The name of the sorted set of a session's requests.
    pub(super) fn key_of_session(&self, session: SessionId) -> Vec<u8> {
        self.space.of_session(session)
    }

    /// Lets time pass, in a space that goes by hand.
    pub(super) fn let_pass(&mut self, time: Duration) {
        self.clock.advance(time);
    }

    /// A beat of the node, which has the messages up to a number.
    pub(super) fn beat(&self, acknowledged: u64) -> Arguments {
        Arguments::node_beat(LEASE, (self.space.epoch(), acknowledged), None)
    }

    pub(super) fn acquire(&mut self, request: &Acquire) -> Reply {
        self.call(&self.acquiring(request))
    }

    /// How a request is asked for.
    pub(super) fn acquiring(&self, request: &Acquire) -> Arguments {
        self.acquiring_as(request, 0)
    }

    /// How the asker of this number asks for a request.
    pub(super) fn acquiring_as(&self, request: &Acquire, asker: u64) -> Arguments {
        let Acquire { names, wait, .. } = request;
        Arguments::acquire(request, names, self.node, *wait, false, asker)
    }

    /// How a number of `INFO memory` stands.
    pub(super) fn memory(&mut self, field: &str) -> u64 {
        let text: String = cmd("INFO")
            .arg("memory")
            .query(&mut self.connection)
            .unwrap();
        let mut fields = text.lines().filter_map(|it| it.split_once(':'));
        let (_, value) = fields.find(|it| it.0 == field).unwrap();
        value.trim().parse().unwrap()
    }

    /// How many bytes each key of the space takes, in the order of their names.
    pub(super) fn memory_of_keys(&mut self) -> BTreeMap<String, u64> {
        let of_space = self.space.key("");
        let mut keys = cmd("KEYS");
        let keys: Vec<Vec<u8>> = keys.arg("*").query(&mut self.connection).unwrap();
        let mut usage = BTreeMap::new();
        for key in keys {
            let mut command = cmd("MEMORY");
            command.arg("USAGE").arg(&key).arg("SAMPLES").arg(0);
            let bytes = command.query(&mut self.connection).unwrap();
            let text = key.escape_ascii().to_string();
            let text = text.strip_prefix(&of_space).unwrap_or(&text).to_owned();
            usage.insert(text, bytes);
        }
        usage
    }

    /// What was done since the counters were set back, but for counting.
    fn done(&mut self) -> Done {
        let text: String = cmd("INFO")
            .arg("commandstats")
            .query(&mut self.connection)
            .unwrap();
        let mut done = Done::default();
        for line in text.lines() {
            let Some((name, numbers)) = line
                .strip_prefix("cmdstat_")
                .and_then(|it| it.split_once(':'))
            else {
                continue;
            };
            let number = |field: &str| -> u64 {
                let mut fields = numbers.split(',').filter_map(|it| it.split_once('='));
                fields.find(|it| it.0 == field).unwrap().1.parse().unwrap()
            };
            match name {
                "fcall" => done.micros = number("usec"),
                "info" | "config|resetstat" => {}
                _ => drop(done.commands.insert(name.to_owned(), number("calls"))),
            }
        }
        done
    }
}

impl Done {
    /// How many commands ran within the function.
    pub(super) fn count(&self) -> u64 {
        self.commands.values().sum()
    }
}
