//! The same histories, through the core and through the library in a real
//! Redis, step by step, with the time in the test's hands: answers, what those
//! who wait are told and what watchers are told must be the same.

mod seeded;

use super::*;
use crate::core::acquire::validate;
use crate::core::groups::Kind;
use crate::id::NodeId;
use crate::redis::codec::{self, Arguments, Beaten, Claimed, Message, News, Reply};
use crate::redis::library::Library;
use crate::redis::server::Server;
use proptest::test_runner::TestRunner;
use std::sync::atomic::{AtomicU64, Ordering};

/// The lease of the only node: longer than any history.
const LEASE: Duration = Duration::from_secs(1 << 32);

/// A space in Redis, and what its node was told.
struct Space {
    connection: ::redis::Connection,
    key: String,
    epoch: [u8; 16],
    node: NodeId,
    told: u64,
    revision: String,
    limits: Vec<u8>,
}

impl Space {
    fn new(server: &Server, name: &str, steps: usize, start: Time) -> Self {
        let mut connection = server.connection();
        let epoch = [7; 16];
        let key = format!("{{lp:{name}}}:m");
        let mut open = ::redis::cmd("FCALL");
        open.arg(format!("{}_open", Library::ByHand.name()));
        open.arg(1).arg(&key).arg(&epoch).arg("key").arg("server");
        open.arg(start.as_micros());
        open.query::<Vec<::redis::Value>>(&mut connection).unwrap();
        let mut space = Self {
            connection,
            key,
            epoch,
            node: NodeId::mint(),
            told: 0,
            revision: "-".to_owned(),
            limits: codec::limits_and_steps(&LIMITS, steps),
        };
        space.call(&Arguments::join(LEASE), start).joined().unwrap();
        let always = Some(start + LEASE);
        space
            .call(&Arguments::watch(always), start)
            .watching()
            .unwrap();
        space
    }

    fn call(&mut self, arguments: &Arguments, now: Time) -> Reply {
        let mut call = ::redis::cmd("FCALL");
        call.arg(format!(
            "{}_{}",
            Library::ByHand.name(),
            arguments.function.name()
        ));
        call.arg(1).arg(&self.key).arg(&self.epoch);
        call.arg(&self.node.to_u128().to_be_bytes());
        call.arg(arguments.packed())
            .arg(&self.limits)
            .arg(now.as_micros());
        let reply: Vec<u8> = call
            .query(&mut self.connection)
            .unwrap_or_else(|error| panic!("{:?}: {error}", arguments.function));
        Reply::read(&reply).unwrap()
    }

    /// Does what the operation asks, and claims what is handed over.
    /// `core` has done the same already.
    fn apply(
        &mut self,
        operation: &Operation,
        now: Time,
        core: &Core,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let answer = self.ask(operation, now);
        self.hear(now, core, effects);
        answer
    }

    fn ask(&mut self, operation: &Operation, now: Time) -> Answer {
        use Operation as Do;
        let node = self.node;
        let mut call = |arguments| self.call(&arguments, now);
        match operation {
            Do::Acquire(request) => match validate(request) {
                Err(error) => Answer::Acquired(Acquired::Refused(error.into())),
                Ok(()) => {
                    let mut names = request.names.clone();
                    let mut seen = std::collections::BTreeSet::new();
                    names.retain(|it| seen.insert(it.clone()));
                    let reply = call(Arguments::acquire(request, &names, node));
                    Answer::Acquired(reply.acquired().unwrap().0)
                }
            },
            Do::Cancel(id, by) => {
                Answer::Cancelled(call(Arguments::cancel(*id, by)).cancelled().unwrap())
            }
            Do::Abandon(id) => {
                call(Arguments::abandon(*id));
                Answer::Done
            }
            Do::Renew(id, by, lease) => {
                Answer::Renewed(call(Arguments::renew(*id, by, *lease)).renewed().unwrap())
            }
            Do::Release(id, by) => {
                Answer::Released(call(Arguments::release(*id, by)).released().unwrap())
            }
            Do::ForceRelease(name, permission) => {
                let taken = call(Arguments::force_release(name, permission)).taken();
                Answer::Taken(taken.unwrap())
            }
            Do::OpenSession(request) => {
                Answer::Session(call(Arguments::open_session(request)).session().unwrap())
            }
            Do::Attach(id, by) => {
                let attached = call(Arguments::attach(*id, by)).attached().unwrap();
                Answer::Attached(attached.map(|it| it.0))
            }
            Do::Beat(id, attachment) => {
                Answer::Session(call(Arguments::beat(*id, *attachment)).session().unwrap())
            }
            Do::Detach(id, attachment) => {
                call(Arguments::detach(*id, *attachment));
                Answer::Done
            }
            Do::CloseSession(id, by) => {
                Answer::Session(call(Arguments::close_session(*id, by)).session().unwrap())
            }
            Do::End(transaction) => {
                call(Arguments::end(node, *transaction));
                Answer::Done
            }
            Do::Look(name) => {
                let locks = call(Arguments::look([name])).locks([name]).unwrap();
                Answer::Lock(locks.into_iter().next().unwrap())
            }
            Do::Tick => {
                let beat = Arguments::node_beat(LEASE, self.told, None);
                let beaten = self.call(&beat, now).node_beaten().unwrap();
                assert!(matches!(beaten, Beaten::Lives(_)), "{beaten:?}");
                Answer::Done
            }
        }
    }

    /// What the node and whoever watches are told.
    fn hear(&mut self, now: Time, core: &Core, effects: &mut Vec<Effect>) {
        let inbox = self.key.replace(":m", ":i:").into_bytes();
        let inbox = [inbox.as_slice(), &self.node.to_u128().to_be_bytes()].concat();
        let mut take = ::redis::cmd("LRANGE");
        take.arg(&inbox).arg(0).arg(-1);
        let messages: Vec<Vec<u8>> = take.query(&mut self.connection).unwrap();
        for bytes in messages {
            let Message { number, what } = Message::read(&bytes).unwrap();
            if number <= self.told {
                continue;
            }
            assert_eq!(number, self.told + 1, "messages are numbered");
            self.told = number;
            effects.push(match what {
                News::Granted(id, granted) => {
                    self.claim(id, &granted, now, core);
                    Effect::Granted(id, granted)
                }
                News::Refused(id, AcquireError::TimedOut) => Effect::TimedOut(id),
                News::Refused(id, AcquireError::Deadlock(cycle)) => Effect::Deadlock(id, cycle),
                News::Refused(id, _) => Effect::Cancelled(id),
                News::Lost(session, lost) => Effect::Lost(session, lost),
                News::Unattached(session, _) => Effect::Unattached(session),
            });
        }
        let mut events = ::redis::cmd("XRANGE");
        events
            .arg(self.key.replace(":m", ":ev"))
            .arg(&self.revision)
            .arg("+");
        let events: Vec<(String, Vec<(String, Vec<u8>)>)> =
            events.query(&mut self.connection).unwrap();
        for (id, fields) in events {
            effects.push(Effect::Event(codec::event(&fields[0].1).unwrap()));
            self.revision = format!("({id}");
        }
    }

    fn claim(&mut self, id: GrantId, granted: &Granted, now: Time, core: &Core) {
        let Some(name) = granted.acquired.first() else {
            return;
        };
        let own = granted.tokens.iter().find(|it| it.0 == *name).unwrap();
        let claimed = self
            .call(&Arguments::claim(id, own.1), now)
            .claimed()
            .unwrap();
        // Its session may have ended in the same step.
        let remaining = core.remaining(id, granted, now);
        assert_eq!(claimed, remaining.map_or(Claimed::Lost, Claimed::Held));
    }

    /// Whether nothing is left but what is there of every space.
    fn assert_empty(&mut self) {
        let tag = self.key.trim_end_matches('m').to_owned();
        let pattern = tag.replace('[', "\\[") + "*";
        let keys: Vec<Vec<u8>> = ::redis::cmd("KEYS")
            .arg(pattern)
            .query(&mut self.connection)
            .unwrap();
        let lasting = [
            "m", "id", "n", "i:", "d", "pl", "pw", "ps", "e", "eo", "eu:", "ev",
        ];
        for key in keys {
            let key = String::from_utf8_lossy(&key);
            let rest = key.trim_start_matches(&tag);
            let lasts = lasting
                .iter()
                .any(|it| rest == *it || it.ends_with(':') && rest.starts_with(it));
            assert!(lasts, "{key} is left");
        }
    }
}

/// What those who wait are told, and what those who watch are: only within each
/// there is an order.
fn in_order(effects: Vec<Effect>) -> (Vec<Effect>, Vec<Effect>) {
    let told = |it: &Effect| {
        matches!(
            it,
            Effect::Granted(..)
                | Effect::TimedOut(_)
                | Effect::Cancelled(_)
                | Effect::Deadlock(..)
                | Effect::Lost(..)
                | Effect::Unattached(_)
        )
    };
    let events = effects.iter().filter(|it| matches!(it, Effect::Event(_)));
    let events = events.cloned().collect();
    let mut effects = effects;
    effects.retain(told);
    (effects, events)
}

fn is_attached(core: &Core, session: SessionId) -> bool {
    let groups = &core.table.groups;
    let group = groups.session(session).map(|it| groups.get(it));
    matches!(group.map(|it| &it.kind), Some(Kind::Session(session)) if session.attached)
}

/// Runs a history through both. `at_once` is how many steps a search for deadlocks
/// makes before it leaves the store to others.
fn compare(server: &Server, name: &str, at_once: usize, steps: &[Step]) {
    let start = Time::from_micros(0);
    let mut core = Core::volatile(LIMITS, start);
    core.searches.steps = at_once;
    let mut space = Space::new(server, name, at_once, start);
    let mut world = World::new();
    let mut now = start;
    for (at, step) in steps.iter().enumerate() {
        now = now + step.pause();
        let operation = world.operation(step);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        if !step.pause().is_zero() {
            // What is handed over meanwhile is claimed before it is looked at.
            core.apply(Operation::Tick, now, &mut ours);
            space.apply(&Operation::Tick, now, &core, &mut theirs);
        }
        let passed = ours.len();
        let expected = core.apply(operation.clone(), now, &mut ours);
        world.learn(&operation, &expected);
        if let Operation::Abandon(id) = operation {
            // Nobody is there to be told.
            let done = ours.split_off(passed);
            ours.extend(done.into_iter().filter(|it| *it != Effect::Cancelled(id)));
        }
        // Nor is a session that is attached to nothing.
        ours.retain(|it| !matches!(it, Effect::Lost(session, _) if !is_attached(&core, *session)));
        let answer = space.apply(&operation, now, &core, &mut theirs);
        let (expected, answer) = (without_words(expected), without_words(answer));
        assert_eq!(answer, expected, "answer to step {at}: {operation:?}");
        let (told, events) = in_order(theirs);
        let (expected_told, expected_events) = in_order(ours);
        assert_eq!(told, expected_told, "told in step {at}: {operation:?}");
        assert_eq!(
            events, expected_events,
            "events of step {at}: {operation:?}"
        );
    }
    for operation in world.ends() {
        core.apply(operation.clone(), now, &mut Vec::new());
        space.apply(&operation, now, &core, &mut Vec::new());
    }
    assert!(core.table.is_empty(), "{:?}", core.table);
    space.assert_empty();
}

/// Compares so many histories, on a server that has the library; what it finds, in
/// its shortest form.
fn compare_many(server: &Server, cases: u32, at_once: usize) -> Result<(), String> {
    static SPACES: AtomicU64 = AtomicU64::new(0);
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    };
    let mut runner = TestRunner::new(config);
    let histories = prop::collection::vec(step(), 1..100);
    let result = runner.run(&histories, |steps| {
        let number = SPACES.fetch_add(1, Ordering::Relaxed);
        compare(server, &format!("space-{number}"), at_once, &steps);
        Ok(())
    });
    result.map_err(|failure| format!("{failure}\n{runner}"))
}

fn load(server: &Server, text: &str) {
    let mut load = ::redis::cmd("FUNCTION");
    load.arg("LOAD").arg("REPLACE").arg(text);
    load.query::<String>(&mut server.connection()).unwrap();
}

#[track_caller]
fn assert_alike(cases: u32, at_once: usize) {
    let server = Server::start();
    load(&server, Library::ByHand.text());
    if let Err(difference) = compare_many(&server, cases, at_once) {
        panic!("{difference}");
    }
}

#[test]
fn redis_answers_like_the_core() {
    assert_alike(500, crate::core::STEPS);
}

#[test]
fn redis_goes_on_with_searches_like_the_core() {
    assert_alike(300, 2);
}
