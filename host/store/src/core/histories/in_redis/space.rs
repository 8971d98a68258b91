//! A space in a real Redis, asked without a store around it.

use super::*;
use crate::clock::Clock;
use crate::core::acquire::validate;
use crate::id::NodeId;
use crate::redis::codec::{self, Arguments, Beaten, Claimed, Message, News, Reached, Reply};
use crate::redis::heard::Heard;

/// The lease of the only node: longer than any history.
const LEASE: Duration = Duration::from_secs(1 << 32);

/// Everybody there asks as the same: nobody gives up late.
const ASKER: u64 = 1;

/// An event as a stream has it: its id, and what is in it by name.
type Entry = (String, Vec<(String, Vec<u8>)>);

/// A space in Redis, and what its node was told.
pub(super) struct Space {
    pub(super) connection: ::redis::Connection,
    key: String,
    epoch: [u8; 16],
    pub(super) node: NodeId,
    told: u64,
    revision: String,
    limits: Vec<u8>,
    heard: Heard,
}

impl Space {
    pub(super) fn new(server: &Server, name: &str, steps: usize, start: Time) -> Self {
        let mut connection = server.connection();
        let epoch = [7; 16];
        let key = format!("{{lp:{name}}}:m");
        let mut open = ::redis::cmd("FCALL");
        open.arg(format!("{}_open", Library::ByHand.name()));
        open.arg(1).arg(&key).arg(&epoch).arg("key").arg("server");
        let seen = codec::seen(&Reached::default(), Duration::ZERO);
        open.arg("").arg(seen).arg(start.as_micros());
        open.query::<Vec<::redis::Value>>(&mut connection).unwrap();
        let mut space = Self {
            connection,
            key,
            epoch,
            node: NodeId::mint(),
            told: 0,
            revision: "-".to_owned(),
            limits: codec::limits_and_steps(&LIMITS, steps),
            heard: Heard::new(Clock::machine()),
        };
        space.call(&Arguments::join(LEASE), start).joined().unwrap();
        let always = Some(start + LEASE);
        space
            .call(&Arguments::watch(always), start)
            .watching()
            .unwrap();
        space
    }

    pub(super) fn call(&mut self, arguments: &Arguments, now: Time) -> Reply {
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
        let reply = Reply::read(&reply).unwrap();
        self.heard.hear(&reply);
        reply
    }

    /// Does what the operation asks, and claims what is handed over.
    /// `core` has done the same already.
    pub(super) fn apply(
        &mut self,
        operation: &Operation,
        now: Time,
        core: &Core,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let answer = self.ask(operation, now, core);
        self.hear(now, core, effects);
        answer
    }

    fn ask(&mut self, operation: &Operation, now: Time, core: &Core) -> Answer {
        use Operation as Do;
        let node = self.node;
        let mut call = |arguments| self.call(&arguments, now);
        match operation {
            Do::Acquire(request) => match validate(request) {
                Err(error) => Answer::Acquired(Acquired::Refused(error.into())),
                Ok(()) => {
                    let reply = call(acquire(request, node));
                    Answer::Acquired(reply.acquired().unwrap().0)
                }
            },
            Do::Cancel(id, by) => {
                Answer::Cancelled(call(Arguments::cancel(*id, by)).cancelled().unwrap())
            }
            Do::Abandon(id) => {
                call(Arguments::abandon(*id, ASKER));
                Answer::Done
            }
            Do::Renew(id, by, lease) => {
                let renewed = call(Arguments::renew(*id, by, *lease)).renewed().unwrap();
                Answer::Renewed(renewed.map(|it| it.0))
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
                let attached = call(Arguments::attach(*id, by)).attached(*id).unwrap();
                Answer::Attached(attached.map(|(attached, held)| {
                    let held: Vec<Token> = held.iter().map(|it| it.1.token).collect();
                    assert_eq!(held, core.tokens_of(*id), "what the session holds");
                    attached
                }))
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
    pub(super) fn hear(&mut self, now: Time, core: &Core, effects: &mut Vec<Effect>) {
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
                // Only whoever watches is told of that by the core.
                News::Ended(_) => continue,
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
        let events: Vec<Entry> = events.query(&mut self.connection).unwrap();
        for (id, fields) in events {
            effects.push(Effect::Event(codec::event(&fields[0].1).unwrap()));
            self.revision = format!("({id}");
        }
    }

    fn claim(&mut self, id: GrantId, granted: &Granted, now: Time, core: &Core) {
        if granted.acquired.is_empty() {
            return;
        }
        let own = granted.own_token().unwrap();
        let claimed = self
            .call(&Arguments::claim(id, own), now)
            .claimed()
            .unwrap();
        // Its session may have ended in the same step.
        let remaining = core.remaining(id, granted, now);
        assert_eq!(claimed, remaining.map_or(Claimed::Lost, Claimed::Held));
    }

    /// Whether what the answers counted is what the core has.
    pub(super) fn assert_counted(&self, core: &Core, at: &str) {
        assert_eq!(
            self.heard.statistics(),
            core.statistics(),
            "counted up to {at}"
        );
    }

    /// The key of a part of the space.
    pub(super) fn key_of(&self, part: &str) -> String {
        format!("{}{part}", self.key.trim_end_matches('m'))
    }

    /// Whether nothing is left but what is there of every space.
    pub(super) fn assert_empty(&mut self) {
        let tag = self.key.trim_end_matches('m').to_owned();
        let pattern = tag.replace('[', "\\[") + "*";
        let keys: Vec<Vec<u8>> = ::redis::cmd("KEYS")
            .arg(pattern)
            .query(&mut self.connection)
            .unwrap();
        let lasting = [
            "m", "id", "n", "i:", "d", "pl", "pw", "ps", "e", "eo", "eu:", "ev", "v:", "vn:", "k:",
            "c", "o", "oo",
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

fn acquire(request: &Acquire, node: NodeId) -> Arguments {
    let mut names = request.names.clone();
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|it| seen.insert(it.clone()));
    Arguments::acquire(request, &names, node, request.wait, false, ASKER)
}
