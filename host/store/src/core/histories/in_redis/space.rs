//! A space in a real Redis, asked without a store around it.

use super::*;
use crate::clock::Clock;
use crate::core::acquire::validate;
use crate::id::NodeId;
use crate::redis::codec::{
    self, Arguments, Beaten, Claimed, Heading, Message, News, Reached, Reply,
};
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
    /// Another, at which nobody waits.
    other: NodeId,
    turns: usize,
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
            other: NodeId::mint(),
            turns: 0,
            told: 0,
            revision: "-".to_owned(),
            limits: codec::limits_and_steps(&LIMITS, steps),
            heard: Heard::new(Clock::machine()),
        };
        for node in [space.node, space.other] {
            let joined = space.call_for(node, &Arguments::join(LEASE), start);
            joined.joined().unwrap();
        }
        let always = Some(start + LEASE);
        space
            .call(&Arguments::watch(always), start)
            .watching()
            .unwrap();
        space
    }

    pub(super) fn call(&mut self, arguments: &Arguments, now: Time) -> Reply {
        self.call_for(self.node, arguments, now)
    }

    fn call_for(&mut self, node: NodeId, arguments: &Arguments, now: Time) -> Reply {
        self.call_all(node, &[arguments], now).remove(0)
    }

    fn call_all(&mut self, node: NodeId, operations: &[&Arguments], now: Time) -> Vec<Reply> {
        let mut call = ::redis::cmd("FCALL");
        call.arg(format!("{}_take", Library::ByHand.name()));
        call.arg(1).arg(&self.key).arg(&self.epoch);
        call.arg(&node.to_u128().to_be_bytes()).arg(1);
        call.arg(&self.limits).arg(now.as_micros());
        for it in operations {
            call.arg(it.operation.name()).arg(&it.packed);
        }
        let answer: Vec<Vec<u8>> = call
            .query(&mut self.connection)
            .unwrap_or_else(|error| panic!("{operations:?}: {error}"));
        let heading = Heading::read(&answer[0]).unwrap();
        self.heard.hear(&heading);
        let answers = answer[1..].iter();
        answers
            .map(|it| Reply::read(it, heading.reached).unwrap())
            .collect()
    }

    /// Asks through one node or the other: who waits hears of it with the answer,
    /// or has to claim.
    pub(super) fn call_through_any(&mut self, arguments: &Arguments, now: Time) -> Reply {
        self.turns += 1;
        let node = [self.node, self.other][self.turns % 2];
        self.call_for(node, arguments, now)
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

    /// As [`Space::apply`] for each, but all at once.
    pub(super) fn apply_together(
        &mut self,
        operations: &[Operation],
        now: Time,
        core: &Core,
        effects: &mut Vec<Effect>,
    ) -> Vec<Answer> {
        let arguments: Vec<_> = operations.iter().map(|it| self.arguments(it)).collect();
        let asked: Vec<&Arguments> = arguments.iter().filter_map(|it| it.as_ref().ok()).collect();
        let mut replies = self.call_all(self.node, &asked, now).into_iter();
        let answers = operations.iter().zip(&arguments);
        let answers = answers.map(|(operation, arguments)| match arguments {
            Ok(_) => answer(operation, replies.next().unwrap()),
            Err(refused) => refused.clone(),
        });
        let answers = answers.collect();
        self.hear(now, core, effects);
        answers
    }

    fn ask(&mut self, operation: &Operation, now: Time, core: &Core) -> Answer {
        use Operation as Do;
        let arguments = match self.arguments(operation) {
            Ok(arguments) => arguments,
            Err(refused) => return refused,
        };
        let reply = match operation {
            // Where it is asked is where somebody is told.
            Do::Acquire(_) | Do::Renew(..) | Do::Abandon(_) | Do::Attach(..) | Do::Tick => {
                self.call(&arguments, now)
            }
            _ => self.call_through_any(&arguments, now),
        };
        if let Do::Attach(id, _) = operation
            && let Some(held) = tokens_held(*id, &reply)
        {
            assert_eq!(held, core.tokens_of(*id), "what the session holds");
        }
        answer(operation, reply)
    }

    /// What the library is asked; or the answer, if it need not be.
    fn arguments(&self, operation: &Operation) -> Result<Arguments, Answer> {
        use Operation as Do;
        Ok(match operation {
            Do::Acquire(request) => match validate(request) {
                Err(error) => return Err(Answer::Acquired(Acquired::Refused(error.into()))),
                Ok(()) => acquire(request, self.node),
            },
            Do::Cancel(id, by) => Arguments::cancel(*id, by),
            Do::Abandon(id) => Arguments::abandon(*id, ASKER),
            Do::Renew(id, by, lease) => Arguments::renew(*id, by, *lease),
            Do::Release(id, by) => Arguments::release(*id, by),
            Do::ForceRelease(name, permission) => Arguments::force_release(name, permission),
            Do::OpenSession(request) => Arguments::open_session(request),
            Do::Attach(id, by) => Arguments::attach(*id, by),
            Do::Beat(id, attachment) => Arguments::beat(*id, *attachment),
            Do::Detach(id, attachment) => Arguments::detach(*id, *attachment),
            Do::CloseSession(id, by) => Arguments::close_session(*id, by),
            Do::End(transaction) => Arguments::end(self.node, *transaction),
            Do::Look(name) => Arguments::look([name]),
            Do::Tick => Arguments::node_beat(LEASE, (self.epoch, self.told), None),
        })
    }

    /// What the node and whoever watches are told.
    pub(super) fn hear(&mut self, now: Time, core: &Core, effects: &mut Vec<Effect>) {
        let inbox = self.key.replace(":m", ":i:").into_bytes();
        let inbox = [inbox.as_slice(), &self.node.to_u128().to_be_bytes()].concat();
        let mut take = ::redis::cmd("LRANGE");
        take.arg(&inbox).arg(0).arg(-1);
        let messages: Vec<Vec<u8>> = take.query(&mut self.connection).unwrap();
        for bytes in messages {
            let Message { number, what, .. } = Message::read(&bytes).unwrap();
            if number <= self.told {
                continue;
            }
            assert_eq!(number, self.told + 1, "messages are numbered");
            self.told = number;
            effects.push(match what {
                // Only whoever watches is told of that by the core.
                News::Ended(_) => continue,
                News::Granted(id, _, granted) => {
                    self.claim(id, &granted, now, core);
                    Effect::Granted(id, granted)
                }
                News::Refused(id, _, AcquireError::TimedOut) => Effect::TimedOut(id),
                News::Refused(id, _, AcquireError::Deadlock(cycle)) => Effect::Deadlock(id, cycle),
                News::Refused(id, ..) => Effect::Cancelled(id),
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

/// What the library has answered.
fn answer(operation: &Operation, reply: Reply) -> Answer {
    use Operation as Do;
    match operation {
        Do::Acquire(_) => Answer::Acquired(reply.acquired().unwrap().0),
        Do::Cancel(..) => Answer::Cancelled(reply.cancelled().unwrap()),
        Do::Renew(..) => Answer::Renewed(reply.renewed().unwrap().map(|it| it.0)),
        Do::Release(..) => Answer::Released(reply.released().unwrap()),
        Do::ForceRelease(..) => Answer::Taken(reply.taken().unwrap()),
        Do::Attach(id, _) => Answer::Attached(reply.attached(*id).unwrap().map(|it| it.0)),
        Do::OpenSession(_) | Do::Beat(..) => Answer::Session(reply.session().unwrap()),
        Do::CloseSession(..) => Answer::Session(reply.closed().unwrap().map(drop)),
        Do::Look(name) => Answer::Lock(reply.locks([name]).unwrap().remove(0)),
        Do::Tick => {
            let beaten = reply.node_beaten().unwrap();
            assert!(matches!(beaten, Beaten::Lives { .. }), "{beaten:?}");
            Answer::Done
        }
        Do::Abandon(_) | Do::Detach(..) | Do::End(_) => Answer::Done,
    }
}

/// The tokens of what a session was told to hold when it was attached.
fn tokens_held(id: SessionId, reply: &Reply) -> Option<Vec<Token>> {
    let (_, held) = reply.clone().attached(id).unwrap().ok()?;
    Some(held.iter().map(|it| it.1.token).collect())
}

fn acquire(request: &Acquire, node: NodeId) -> Arguments {
    let mut names = request.names.clone();
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|it| seen.insert(it.clone()));
    Arguments::acquire(request, &names, node, request.wait, false, ASKER)
}
