//! What the functions of the library are asked.

use super::super::asking::AskerNumber;
use super::super::space::Epoch;
use super::{Held, Value, of_mode, packed};
use crate::id::{CommitId, GrantId, NodeId, SessionId, TransactionId};
use crate::name::{Collection, Key, LockName};
use crate::pattern::Permission;
use crate::store::{
    Acquire, Attachment, Commit, Holder, OpenSession, Party, Principal, Reading, Token, Write,
};
use crate::time::Time;
use std::time::Duration;

/// An operation of the library, and what it needs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) operation: Operation,
    /// One after the other.
    pub(crate) packed: Vec<u8>,
}

/// The operations of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Acquire,
    Claim,
    Cancel,
    Abandon,
    Renew,
    Release,
    ForceRelease,
    End,
    OpenSession,
    Attach,
    Beat,
    Detach,
    CloseSession,
    Commit,
    Resolve,
    Validate,
    List,
    Look,
    Join,
    Leave,
    NodeBeat,
    Watch,
    Rejoin,
    RecoverSession,
    RecoverGrants,
}

impl Operation {
    /// Its name within the library.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Claim => "claim",
            Self::Cancel => "cancel",
            Self::Abandon => "abandon",
            Self::Renew => "renew",
            Self::Release => "release",
            Self::ForceRelease => "force_release",
            Self::End => "end",
            Self::OpenSession => "open_session",
            Self::Attach => "attach",
            Self::Beat => "beat",
            Self::Detach => "detach",
            Self::CloseSession => "close_session",
            Self::Commit => "commit",
            Self::Resolve => "resolve",
            Self::Validate => "validate",
            Self::List => "list",
            Self::Look => "look",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::NodeBeat => "node_beat",
            Self::Watch => "watch",
            Self::Rejoin => "rejoin",
            Self::RecoverSession => "recover_session",
            Self::RecoverGrants => "recover_grants",
        }
    }

    /// Whether it may need memory that the server has not got to spare. What gives
    /// some back, or keeps what is held, is done without.
    pub(crate) fn takes(self) -> bool {
        matches!(
            self,
            Self::Acquire | Self::OpenSession | Self::Commit | Self::Join
        )
    }

    /// Whether it takes so little of the server's time that others may be done in
    /// the same call.
    pub(crate) fn is_short(self) -> bool {
        !matches!(
            self,
            Self::ForceRelease
                | Self::Attach
                | Self::CloseSession
                | Self::Validate
                | Self::List
                | Self::Look
                | Self::Leave
                | Self::RecoverGrants
        )
    }
}

impl Arguments {
    fn new(operation: Operation, values: impl IntoIterator<Item = Value>) -> Self {
        let packed = packed(values);
        Self { operation, packed }
    }

    /// A request that has been found to be allowed, its names without
    /// repetitions.
    ///
    /// `again` says that the node has asked it before, whether or not the server
    /// knows; `asker` who there asks.
    pub(crate) fn acquire(
        request: &Acquire,
        names: &[LockName],
        node: NodeId,
        wait: Duration,
        again: bool,
        asker: AskerNumber,
    ) -> Self {
        let [principal, owner, label] = party_of(&request.party);
        let values = [
            grant(request.id),
            request.repeatable.into(),
            list(names.iter().map(|it| text(it.as_str()))),
            of_mode(request.mode),
            life_of(request.holder, node),
            or_false(request.lease.map(micros)),
            micros(wait),
            principal,
            owner,
            label,
            again.into(),
            asker.into(),
        ];
        Self::new(Operation::Acquire, values)
    }

    /// The grant that was handed over with this token has arrived.
    pub(crate) fn claim(id: GrantId, token: Token) -> Self {
        Self::new(Operation::Claim, [grant(id), token.into()])
    }

    pub(crate) fn cancel(id: GrantId, principal: &Principal) -> Self {
        let values = [grant(id), text(principal.as_str())];
        Self::new(Operation::Cancel, values)
    }

    /// All who asked up to this one have gone, and none has heard of a grant.
    pub(crate) fn abandon(id: GrantId, asker: AskerNumber) -> Self {
        Self::new(Operation::Abandon, [grant(id), asker.into()])
    }

    pub(crate) fn renew(id: GrantId, principal: &Principal, lease: Option<Duration>) -> Self {
        let lease = or_false(lease.map(micros));
        let values = [grant(id), text(principal.as_str()), lease];
        Self::new(Operation::Renew, values)
    }

    pub(crate) fn release(id: GrantId, principal: &Principal) -> Self {
        let values = [grant(id), text(principal.as_str())];
        Self::new(Operation::Release, values)
    }

    pub(crate) fn force_release(name: &LockName, permission: &Permission) -> Self {
        let patterns = permission.patterns();
        let patterns = patterns.map(|it| list(it.iter().map(|it| text(it.as_str()))));
        let values = [text(name.as_str()), or_false(patterns)];
        Self::new(Operation::ForceRelease, values)
    }

    pub(crate) fn end(node: NodeId, transaction: TransactionId) -> Self {
        Self::new(Operation::End, [life(node, transaction)])
    }

    pub(crate) fn open_session(request: &OpenSession) -> Self {
        let [principal, owner, label] = party_of(&request.party);
        let values = [
            session(request.id),
            micros(request.ttl),
            micros(request.grace),
            principal,
            owner,
            label,
        ];
        Self::new(Operation::OpenSession, values)
    }

    pub(crate) fn attach(id: SessionId, principal: &Principal) -> Self {
        let values = [session(id), text(principal.as_str())];
        Self::new(Operation::Attach, values)
    }

    pub(crate) fn beat(id: SessionId, attachment: Attachment) -> Self {
        Self::new(Operation::Beat, [session(id), attachment.0.into()])
    }

    pub(crate) fn detach(id: SessionId, attachment: Attachment) -> Self {
        Self::new(Operation::Detach, [session(id), attachment.0.into()])
    }

    pub(crate) fn close_session(id: SessionId, principal: &Principal) -> Self {
        let values = [session(id), text(principal.as_str())];
        Self::new(Operation::CloseSession, values)
    }

    pub(crate) fn commit(commit: &Commit, node: NodeId) -> Self {
        let guards = commit.guards.iter().map(|it| {
            let names = it.names.iter().map(|it| text(it.as_str()));
            list([grant(it.grant), list(names)])
        });
        let [minted, random] = commit_id(commit.id);
        let values = [
            minted,
            random,
            life(node, commit.transaction),
            list(guards),
            reads(&commit.reads),
            ranges(&commit.ranges),
            list(commit.writes.iter().map(write)),
        ];
        Self::new(Operation::Commit, values)
    }

    pub(crate) fn validate(reading: &Reading) -> Self {
        let values = [reads(&reading.reads), ranges(&reading.ranges)];
        Self::new(Operation::Validate, values)
    }

    pub(crate) fn resolve(id: CommitId) -> Self {
        Self::new(Operation::Resolve, commit_id(id))
    }

    /// A page of the keys from `from` on, up to but without `to`.
    pub(crate) fn list(
        collection: &Collection,
        from: &str,
        to: Option<&str>,
        is_descending: bool,
        most: (usize, usize),
    ) -> Self {
        let (entries, bytes) = most;
        let values = [
            text(collection.name()),
            text(from),
            or_false(to.map(text)),
            is_descending.into(),
            entries.into(),
            bytes.into(),
        ];
        Self::new(Operation::List, values)
    }

    pub(crate) fn look<'a>(names: impl IntoIterator<Item = &'a LockName>) -> Self {
        let names = names.into_iter().map(|it| text(it.as_str()));
        Self::new(Operation::Look, [list(names)])
    }

    pub(crate) fn join(lease: Duration) -> Self {
        Self::new(Operation::Join, [micros(lease)])
    }

    pub(crate) fn leave() -> Self {
        Self::new(Operation::Leave, [])
    }

    /// The node is still there; perhaps it begins to say what it has.
    pub(crate) fn rejoin(lease: Duration, begins: bool) -> Self {
        Self::new(Operation::Rejoin, [micros(lease), begins.into()])
    }

    /// The session is attached at the node, so much is known.
    pub(crate) fn recover_session(
        id: SessionId,
        attachment: Attachment,
        times: (Duration, Duration),
        party: &Party,
    ) -> Self {
        let [principal, owner, label] = party_of(party);
        let values = [
            session(id),
            micros(times.0),
            micros(times.1),
            principal,
            owner,
            label,
            attachment.0.into(),
        ];
        Self::new(Operation::RecoverSession, values)
    }

    /// The node says that it has these, each for so long if it has a lease, up to
    /// the last who asked there.
    pub(crate) fn recover_grants(
        node: NodeId,
        grants: &[(GrantId, Held, Option<Duration>)],
        asker: AskerNumber,
    ) -> Self {
        let each = grants.iter().map(|(id, held, remaining)| {
            let [principal, owner, label] = party_of(&held.party);
            list([
                grant(*id),
                list(held.names.iter().map(|it| text(it.as_str()))),
                of_mode(held.mode),
                held.token.into(),
                held.since.as_micros().into(),
                or_false(held.lease.map(micros)),
                or_false(remaining.map(micros)),
                principal,
                owner,
                label,
                life_of(held.holder, node),
                held.repeatable.into(),
            ])
        });
        Self::new(Operation::RecoverGrants, [list(each), asker.into()])
    }

    /// Renews the node's lease; it has the messages of an epoch up to a number, and
    /// somebody watches there until `watched`.
    pub(crate) fn node_beat(
        lease: Duration,
        (epoch, acknowledged): (Epoch, u64),
        watched: Option<Time>,
    ) -> Self {
        let epoch = Value::Bytes(epoch.to_vec());
        let values = [micros(lease), epoch, acknowledged.into(), moment(watched)];
        Self::new(Operation::NodeBeat, values)
    }

    /// Somebody watches until then.
    pub(crate) fn watch(watched: Option<Time>) -> Self {
        Self::new(Operation::Watch, [moment(watched)])
    }
}

fn write(write: &Write) -> Value {
    list([
        text(write.collection.name()),
        text(write.key.as_str()),
        or_false(write.value.as_ref().map(|it| bytes(it))),
        or_false(write.guard.as_ref().map(|it| text(it.as_str()))),
        write.absence_read.into(),
    ])
}

/// Whose something is: principal, owner, label.
fn party_of(party: &Party) -> [Value; 3] {
    [
        text(party.principal.as_str()),
        or_false(party.owner.as_deref().map(text)),
        text(&party.label),
    ]
}

fn reads(reads: &[(Collection, Key, u64)]) -> Value {
    list(reads.iter().map(|(collection, key, version)| {
        let (collection, key) = (text(collection.name()), text(key.as_str()));
        list([collection, key, (*version).into()])
    }))
}

fn ranges(ranges: &[(Collection, u64)]) -> Value {
    let range = |(collection, change): &(Collection, u64)| {
        list([text(collection.name()), (*change).into()])
    };
    list(ranges.iter().map(range))
}

fn commit_id(id: CommitId) -> [Value; 2] {
    let random = bytes(&id.random.to_be_bytes());
    [id.minted.as_micros().into(), random]
}

/// What a grant hangs on.
fn life_of(holder: Holder, node: NodeId) -> Value {
    match holder {
        Holder::Transaction(transaction) => life(node, transaction),
        Holder::Session(session) => prefixed(b's', &session.to_u128().to_be_bytes()),
        Holder::Caller => text(""),
    }
}

/// What the grants of a transaction hang on: its node and itself.
fn life(node: NodeId, transaction: TransactionId) -> Value {
    let mut life = node.to_u128().to_be_bytes().to_vec();
    life.extend(transaction.to_u128().to_be_bytes());
    prefixed(b't', &life)
}

fn prefixed(kind: u8, rest: &[u8]) -> Value {
    let mut value = vec![kind];
    value.extend(rest);
    Value::Bytes(value)
}

fn grant(id: GrantId) -> Value {
    bytes(&id.to_u128().to_be_bytes())
}

fn session(id: SessionId) -> Value {
    bytes(&id.to_u128().to_be_bytes())
}

fn micros(duration: Duration) -> Value {
    u64::try_from(duration.as_micros())
        .unwrap_or(u64::MAX)
        .into()
}

fn moment(time: Option<Time>) -> Value {
    time.map_or(Value::Number(-1), |it| it.as_micros().into())
}

fn text(text: &str) -> Value {
    bytes(text.as_bytes())
}

fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.to_vec())
}

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::List(values.into_iter().collect())
}

fn or_false(value: Option<Value>) -> Value {
    value.unwrap_or(Value::Truth(false))
}
