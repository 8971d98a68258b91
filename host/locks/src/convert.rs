//! Messages to what the store takes, and what it gives to messages.
//!
//! What only a message can get wrong is refused here, with the field's name:
//! names that are none, negative durations, modes that nobody knows. What the
//! store limits, the store refuses.

use crate::access::Caller;
use crate::failure::Failure;
use lockport_proto::lock as proto;
use lockport_proto::{Duration as ProtoDuration, Reason, Timestamp};
use lockport_store::store::{
    EventKind, Holder, LABEL_BYTES_MAX, Lock, LockEvent, LockHolder, LockWaiter, Mode,
    NAMES_PER_GRANT_MAX, Party, Taken, Watched,
};
use lockport_store::{LockName, Time};
use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// The longest request id, holder, owner and reason, in bytes: what the store
/// takes of a holder.
pub(crate) const TEXT_BYTES_MAX: usize = LABEL_BYTES_MAX;

// === from messages ===

/// Checks the names of a request and what the caller may do with them.
pub(crate) fn names(caller: &Caller, names: &[String]) -> Result<Vec<LockName>, Failure> {
    if names.is_empty() {
        return Err(Failure::field(Reason::InvalidName, "names", "is empty"));
    }
    let distinct = match names.len() {
        few @ 0..=NAMES_PER_GRANT_MAX => few,
        _ => names.iter().collect::<HashSet<_>>().len(),
    };
    if distinct > NAMES_PER_GRANT_MAX {
        let why = format!("has {distinct} names; at most {NAMES_PER_GRANT_MAX} are allowed");
        return Err(Failure::field(Reason::InvalidName, "names", why));
    }
    let name = |(at, name): (usize, &String)| {
        let name =
            LockName::new(name).map_err(|why| Failure::name(format!("names[{at}]"), &why))?;
        permitted(caller, &name)?;
        Ok(name)
    };
    names.iter().enumerate().map(name).collect()
}

/// Checks one name and what the caller may do with it.
pub(crate) fn name(caller: &Caller, name: &str) -> Result<LockName, Failure> {
    let name = LockName::new(name).map_err(|why| Failure::name("name", &why))?;
    permitted(caller, &name)?;
    Ok(name)
}

fn permitted(caller: &Caller, name: &LockName) -> Result<(), Failure> {
    match caller.may_lock(name) {
        true => Ok(()),
        false => Err(Failure::new(
            Reason::AccessDenied,
            format!("the token does not permit the lock `{name}`"),
        )),
    }
}

/// How the locks are to be held.
pub(crate) fn mode(mode: i32, permits: u32) -> Result<Mode, Failure> {
    let known = proto::Mode::try_from(mode).map_err(|_| {
        let why = format!("is {mode}, which is none");
        Failure::field(Reason::InvalidMode, "mode", why)
    })?;
    let invalid = |why| Failure::field(Reason::InvalidPermits, "permits", why);
    match (known, NonZeroU32::new(permits)) {
        (proto::Mode::Permits, Some(permits)) => Ok(Mode::Permits(permits)),
        (proto::Mode::Permits, None) => Err(invalid("is not set, and the mode is permits")),
        (_, Some(_)) => Err(invalid("is set, and the mode is not permits")),
        (proto::Mode::Shared, None) => Ok(Mode::Shared),
        (proto::Mode::Exclusive | proto::Mode::Unspecified, None) => Ok(Mode::Exclusive),
    }
}

/// A duration, if it is set.
pub(crate) fn duration(
    given: Option<ProtoDuration>,
    field: &'static str,
    reason: Reason,
) -> Result<Option<Duration>, Failure> {
    let Some(ProtoDuration { seconds, nanos }) = given else {
        return Ok(None);
    };
    let invalid = |why| Err(Failure::field(reason, field, why));
    if seconds < 0 || nanos < 0 {
        return invalid("is negative");
    }
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(nanos @ 0..1_000_000_000)) => Ok(Some(Duration::new(seconds, nanos))),
        _ => invalid("has more than 999999999 nanoseconds beside its seconds"),
    }
}

/// A text for people or for comparison: not too long.
pub(crate) fn text<'a>(
    given: &'a str,
    field: &'static str,
    reason: Reason,
) -> Result<&'a str, Failure> {
    if given.len() > TEXT_BYTES_MAX {
        let why = format!(
            "has {} bytes; at most {TEXT_BYTES_MAX} are allowed",
            given.len()
        );
        return Err(Failure::field(reason, field, why));
    }
    // It is printed to logs and terminals.
    if let Some((at, _)) = given.char_indices().find(|(_, it)| it.is_control()) {
        let why = format!("has a control character at byte {at}");
        return Err(Failure::field(reason, field, why));
    }
    Ok(given)
}

/// A text that has to be there.
pub(crate) fn required<'a>(
    given: &'a str,
    field: &'static str,
    reason: Reason,
) -> Result<&'a str, Failure> {
    match given {
        "" => Err(Failure::field(reason, field, "is empty")),
        given => text(given, field, reason),
    }
}

// === to messages ===

pub(crate) fn timestamp(time: Time) -> Timestamp {
    let micros = time.as_micros();
    let seconds = Time::EPOCH_UNIX_SECONDS.saturating_add(micros / 1_000_000);
    Timestamp {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        // Below 10^9.
        nanos: (micros % 1_000_000 * 1000) as i32,
    }
}

/// The names as texts.
pub(crate) fn texts<'a>(names: impl IntoIterator<Item = &'a LockName>) -> Vec<String> {
    names.into_iter().map(|it| it.as_str().to_owned()).collect()
}

/// The mode's number, and how many permits it has.
pub(crate) fn of_mode(mode: Mode) -> (i32, u32) {
    match mode {
        Mode::Exclusive => (proto::Mode::Exclusive.into(), 0),
        Mode::Shared => (proto::Mode::Shared.into(), 0),
        Mode::Permits(permits) => (proto::Mode::Permits.into(), permits.get()),
    }
}

fn owner(party: &Party) -> String {
    party.owner.as_deref().unwrap_or_default().to_owned()
}

fn principal(party: &Party) -> String {
    party.principal.as_str().to_owned()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(crate) fn of_lock(lock: Lock) -> proto::Lock {
    let (mode, permits) = lock.mode.map_or((0, 0), of_mode);
    let last = lock.holders.iter().map(|it| it.token).max();
    proto::Lock {
        name: lock.name.as_str().to_owned(),
        mode,
        permits,
        last_fencing_token: last.unwrap_or(0),
        holder_count: count(lock.holding),
        waiter_count: count(lock.waiting),
        holders: lock.holders.into_iter().map(of_holder).collect(),
        waiters: lock.waiters.into_iter().map(of_waiter).collect(),
    }
}

fn of_holder(holder: LockHolder) -> proto::Holder {
    let kind = match holder.holder {
        Holder::Caller => proto::HolderKind::Caller,
        Holder::Session(_) => proto::HolderKind::Session,
        Holder::Transaction(_) => proto::HolderKind::Transaction,
    };
    proto::Holder {
        owner: owner(&holder.party),
        principal: principal(&holder.party),
        holder: (*holder.party.label).to_owned(),
        kind: kind.into(),
        fencing_token: holder.token,
        acquire_time: Some(timestamp(holder.since)),
        held: Some(holder.held_for.into()),
        remaining: holder.remaining.map(Into::into),
    }
}

fn of_waiter(waiter: LockWaiter) -> proto::Waiter {
    proto::Waiter {
        owner: owner(&waiter.party),
        principal: principal(&waiter.party),
        holder: (*waiter.party.label).to_owned(),
        mode: of_mode(waiter.mode).0,
        waited: Some(waiter.waited.into()),
        remaining: Some(waiter.remaining.into()),
    }
}

pub(crate) fn of_taken(taken: Taken) -> proto::force_release_response::Taken {
    proto::force_release_response::Taken {
        names: texts(&taken.names),
        fencing_token: taken.token,
        holder: (*taken.party.label).to_owned(),
        principal: principal(&taken.party),
    }
}

/// What a watcher is told; `None` if it concerns none of the locks that the
/// caller may see.
pub(crate) fn of_watched(caller: &Caller, watched: Watched) -> Option<proto::WatchResponse> {
    let item = match watched {
        Watched::Event(event) => proto::watch_response::Item::Event(of_event(caller, &event)?),
        Watched::Gap(revision) => proto::watch_response::Item::Gap(proto::Gap { revision }),
    };
    Some(proto::WatchResponse { item: Some(item) })
}

fn of_event(caller: &Caller, event: &Arc<LockEvent>) -> Option<proto::Event> {
    use proto::event::Kind;
    let names = texts(event.names.iter().filter(|it| caller.may_lock(it)));
    if names.is_empty() {
        return None;
    }
    let kind = match event.kind {
        EventKind::Queued => Kind::Queued,
        EventKind::Granted => Kind::Granted,
        EventKind::Released => Kind::Released,
        EventKind::Expired => Kind::Expired,
        EventKind::Lost => Kind::Lost,
        EventKind::Forced => Kind::Forced,
        EventKind::Left => Kind::Left,
    };
    Some(proto::Event {
        revision: event.revision,
        kind: kind.into(),
        names,
        mode: of_mode(event.mode).0,
        fencing_token: event.token,
        holder: (*event.party.label).to_owned(),
        principal: principal(&event.party),
        event_time: Some(timestamp(event.time)),
    })
}

/// Nothing happened, up to here.
pub(crate) fn of_progress(revision: u64) -> proto::WatchResponse {
    let progress = proto::Progress { revision };
    proto::WatchResponse {
        item: Some(proto::watch_response::Item::Progress(progress)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_neither_negative_nor_has_too_many_nanoseconds() {
        let read = |seconds, nanos| {
            let given = Some(ProtoDuration { seconds, nanos });
            duration(given, "wait", Reason::InvalidWait)
        };
        assert_eq!(read(1, 5), Ok(Some(Duration::new(1, 5))));
        assert_eq!(
            read(i64::MAX, 0),
            Ok(Some(Duration::new(i64::MAX as u64, 0)))
        );
        for (seconds, nanos) in [(-1, 0), (0, -1), (1, 1_000_000_000), (i64::MIN, i32::MIN)] {
            let failure = read(seconds, nanos).unwrap_err();
            assert_eq!(failure.reason, Reason::InvalidWait);
            assert_eq!(failure.field.unwrap(), "wait");
        }
        let unset = duration(None, "wait", Reason::InvalidWait);
        assert_eq!(unset, Ok(None));
    }

    #[test]
    fn permits_go_with_their_mode_and_only_with_it() {
        let permits = NonZeroU32::new(3).unwrap();
        assert_eq!(mode(0, 0), Ok(Mode::Exclusive));
        assert_eq!(mode(1, 0), Ok(Mode::Exclusive));
        assert_eq!(mode(2, 0), Ok(Mode::Shared));
        assert_eq!(mode(3, 3), Ok(Mode::Permits(permits)));
        let reason = |number, permits| mode(number, permits).unwrap_err().reason;
        assert_eq!(reason(3, 0), Reason::InvalidPermits);
        assert_eq!(reason(2, 1), Reason::InvalidPermits);
        assert_eq!(reason(4, 0), Reason::InvalidMode);
        assert_eq!(reason(-1, 0), Reason::InvalidMode);
    }

    #[test]
    fn store_time_is_told_since_the_epoch_of_unix() {
        let time = Time::from_micros(1_500_000);
        let Timestamp { seconds, nanos } = timestamp(time);
        assert_eq!(seconds, 1_735_689_601);
        assert_eq!(nanos, 500_000_000);
        assert_eq!(timestamp(Time::from_micros(u64::MAX)).nanos, 551_615_000);
    }
}
