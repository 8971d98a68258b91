//! How locks look to people: aligned tables, durations one can read, no
//! secrets but those that were asked for.

use lockport_client::api::{
    AcquireResponse, Event, ForceReleaseResponse, GetResponse, Grant, Holder, HolderKind,
    ListResponse, Lock, Mode, ReleaseResponse, RenewResponse, Waiter, WatchResponse, event,
    release_response::Outcome, watch_response,
};
use lockport_client::{Timestamp, WireDuration, from_wire};
use std::fmt::Write as _;
use std::time::Duration;

/// What stands where there is nothing to say.
const NOTHING: &str = "-";

/// Rows with the same number of columns, the first of which are the headings.
struct Rows(Vec<Vec<String>>);

/// The answer to `ls`.
pub(super) fn locks(list: &ListResponse) -> String {
    if list.locks.is_empty() {
        return "no lock is held or waited for\n".to_owned();
    }
    let mut rows = Rows::of(&[
        "NAME", "MODE", "HOLDERS", "WAITING", "TOKEN", "HELD", "LEFT", "HOLDER",
    ]);
    for lock in &list.locks {
        let first = lock.holders.first();
        rows.add([
            plain(&lock.name),
            mode(lock.mode(), lock.permits),
            lock.holder_count.to_string(),
            lock.waiter_count.to_string(),
            token(lock.last_fencing_token),
            since(first.and_then(|it| it.held.as_ref())),
            since(first.and_then(|it| it.remaining.as_ref())),
            first.map_or(NOTHING.to_owned(), |it| or_nothing(&it.holder)),
        ]);
    }
    rows.aligned("")
}

/// The answer to `get`.
pub(super) fn lock(answer: &GetResponse) -> String {
    let Some(lock) = &answer.lock else {
        return String::new();
    };
    let mut text = fields(&[
        ("name", plain(&lock.name)),
        ("mode", mode(lock.mode(), lock.permits)),
        ("token", token(lock.last_fencing_token)),
        ("holders", shown(lock.holder_count, lock.holders.len())),
        ("waiting", shown(lock.waiter_count, lock.waiters.len())),
    ]);
    if lock.holders.is_empty() && lock.waiters.is_empty() {
        text = fields(&[("name", plain(&lock.name)), ("mode", "free".to_owned())]);
    }
    text.push_str(&holders(lock));
    text.push_str(&waiters(lock));
    text
}

/// The answer to `acquire`.
pub(super) fn acquired(answer: &AcquireResponse) -> String {
    let mut text = answer.grant.as_ref().map(grant).unwrap_or_default();
    if let Some(waited) = &answer.waited {
        text.push_str(&fields(&[("waited", since(Some(waited)))]));
    }
    text
}

/// The answer to `renew`.
pub(super) fn renewed(answer: &RenewResponse) -> String {
    answer.grant.as_ref().map(grant).unwrap_or_default()
}

/// The answer to `release`.
pub(super) fn released(answer: &ReleaseResponse) -> String {
    match answer.outcome() {
        Outcome::Already => "it had ended before\n".to_owned(),
        Outcome::Released | Outcome::Unspecified => "released\n".to_owned(),
    }
}

/// The answer to `force-release`.
pub(super) fn taken(name: &str, answer: &ForceReleaseResponse) -> String {
    if answer.taken.is_empty() {
        return format!("{} was free\n", plain(name));
    }
    let mut rows = Rows::of(&["TOKEN", "NAMES", "HOLDER", "PRINCIPAL"]);
    for it in &answer.taken {
        rows.add([
            token(it.fencing_token),
            names(&it.names),
            or_nothing(&it.holder),
            or_nothing(&it.principal),
        ]);
    }
    rows.aligned("")
}

/// A line of `watch`.
pub(super) fn told(told: &WatchResponse) -> String {
    match &told.item {
        Some(watch_response::Item::Event(event)) => happened(event),
        Some(watch_response::Item::Gap(gap)) => {
            format!("{:<8} events were missed: look again\n", gap.revision)
        }
        Some(watch_response::Item::Progress(_)) | None => String::new(),
    }
}

fn happened(event: &Event) -> String {
    let kind = match event.kind() {
        event::Kind::Unspecified => "unknown",
        event::Kind::Queued => "queued",
        event::Kind::Granted => "granted",
        event::Kind::Released => "released",
        event::Kind::Expired => "expired",
        event::Kind::Lost => "lost",
        event::Kind::Forced => "forced",
        event::Kind::Left => "left",
    };
    let time = event.event_time.as_ref().map_or(NOTHING.to_owned(), time);
    let mut line = format!(
        "{:<8} {time} {kind:<8} {}",
        event.revision,
        names(&event.names)
    );
    if event.fencing_token != 0 {
        // Writing to a string cannot fail.
        let _ = write!(line, " token {}", event.fencing_token);
    }
    if !event.holder.is_empty() {
        let _ = write!(line, " by {}", plain(&event.holder));
    }
    line.push('\n');
    line
}

fn grant(grant: &Grant) -> String {
    fields(&[
        ("grant", plain(&grant.id)),
        ("names", names(&grant.names)),
        ("mode", mode(grant.mode(), 0)),
        ("token", token(grant.fencing_token)),
        ("left", since(grant.remaining.as_ref())),
    ])
}

fn holders(lock: &Lock) -> String {
    if lock.holders.is_empty() {
        return String::new();
    }
    let mut rows = Rows::of(&[
        "HOLDER",
        "PRINCIPAL",
        "OWNER",
        "KIND",
        "TOKEN",
        "HELD",
        "LEFT",
    ]);
    for it in &lock.holders {
        rows.add([
            or_nothing(&it.holder),
            or_nothing(&it.principal),
            or_nothing(&it.owner),
            kind(it).to_owned(),
            token(it.fencing_token),
            since(it.held.as_ref()),
            since(it.remaining.as_ref()),
        ]);
    }
    format!("\nholders\n{}", rows.aligned("  "))
}

fn waiters(lock: &Lock) -> String {
    if lock.waiters.is_empty() {
        return String::new();
    }
    let mut rows = Rows::of(&["WAITING", "PRINCIPAL", "OWNER", "MODE", "WAITED", "LEFT"]);
    for it in &lock.waiters {
        rows.add(waiter(it, lock.permits));
    }
    format!("\nwaiting, first come first served\n{}", rows.aligned("  "))
}

fn waiter(waiter: &Waiter, permits: u32) -> [String; 6] {
    [
        or_nothing(&waiter.holder),
        or_nothing(&waiter.principal),
        or_nothing(&waiter.owner),
        mode(waiter.mode(), permits),
        since(waiter.waited.as_ref()),
        since(waiter.remaining.as_ref()),
    ]
}

fn kind(holder: &Holder) -> &'static str {
    match holder.kind() {
        HolderKind::Unspecified => NOTHING,
        HolderKind::Caller => "caller",
        HolderKind::Session => "session",
        HolderKind::Transaction => "request",
    }
}

fn mode(mode: Mode, permits: u32) -> String {
    match (mode, permits) {
        (Mode::Unspecified, _) => NOTHING.to_owned(),
        (Mode::Exclusive, _) => "exclusive".to_owned(),
        (Mode::Shared, _) => "shared".to_owned(),
        (Mode::Permits, 0) => "permits".to_owned(),
        (Mode::Permits, permits) => format!("permits of {permits}"),
    }
}

fn token(token: u64) -> String {
    match token {
        0 => NOTHING.to_owned(),
        token => token.to_string(),
    }
}

fn names(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|it| plain(it)).collect();
    names.join(", ")
}

fn shown(count: u32, listed: usize) -> String {
    match usize::try_from(count) {
        Ok(count) if count > listed => format!("{count}, of which {listed} are listed"),
        _ => count.to_string(),
    }
}

fn or_nothing(text: &str) -> String {
    match text {
        "" => NOTHING.to_owned(),
        text => plain(text),
    }
}

/// Text that others chose, without what would move a terminal's cursor.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for it in text.chars() {
        match it.is_control() {
            true => plain.extend(it.escape_default()),
            false => plain.push(it),
        }
    }
    plain
}

fn since(duration: Option<&WireDuration>) -> String {
    duration.map_or(NOTHING.to_owned(), |it| human(from_wire(it)))
}

/// A time as JSON has it: in UTC.
fn time(timestamp: &Timestamp) -> String {
    let text = serde_json::to_value(timestamp).ok();
    let text = text.as_ref().and_then(|it| it.as_str());
    text.unwrap_or(NOTHING).to_owned()
}

/// A duration in at most two units.
fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

fn fields(fields: &[(&str, String)]) -> String {
    let lines = fields
        .iter()
        .map(|(name, value)| format!("{name:<8} {value}\n"));
    lines.collect()
}

// === impl Rows ===

impl Rows {
    fn of(headings: &[&str]) -> Self {
        Self(vec![headings.iter().copied().map(str::to_owned).collect()])
    }

    fn add(&mut self, row: impl IntoIterator<Item = String>) {
        self.0.push(row.into_iter().collect());
    }

    /// One line each, with every column as wide as its widest.
    fn aligned(&self, indent: &str) -> String {
        let columns = self.0.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells.map(|it| it.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.0 {
            let mut line = indent.to_owned();
            for (cell, width) in row.iter().zip(&widths) {
                // Writing to a string cannot fail.
                let _ = write!(line, "{cell:<width$}  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests;
