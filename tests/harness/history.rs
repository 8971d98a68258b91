//! What clients saw and what the node said happened, and whether the promises
//! of locks were kept in it.
//!
//! Two witnesses. The *watch* has every event in the order of the store: it is
//! replayed, and each step has to be one that the promises permit. The
//! *clients* have what was asked and answered, on one clock: a lock that one
//! client still thought it had when another was told that it has it was held
//! twice, whatever the watch says. And the two have to agree on who got which
//! token.

use lockport_proto::lock::event::Kind;
use lockport_proto::lock::{Event, Mode};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Instant;

/// A grant as its client saw it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// The locks.
    pub(crate) names: Vec<String>,
    /// Whether others may hold them too.
    pub(crate) shared: bool,
    /// Its fencing token.
    pub(crate) token: u64,
    /// When it was asked for.
    pub(crate) asked: Instant,
    /// When the client was told that it has it.
    pub(crate) told: Instant,
    /// When the client asked to give it back.
    pub(crate) given_back: Instant,
}

/// What all clients saw.
#[derive(Debug, Default)]
pub(crate) struct History {
    held: Mutex<Vec<Held>>,
}

/// Of the grants of a lock so far, those that a later one is likeliest to
/// contradict: if it does not contradict these, it contradicts none.
#[derive(Default)]
struct Before<'a> {
    /// The one that was asked for last.
    asked: Option<&'a Held>,
    /// The one that was given back last.
    held: Option<&'a Held>,
    /// The same, of those that shared the lock with nobody.
    alone: Option<&'a Held>,
}

/// What is known of a lock while events are replayed.
#[derive(Debug, Default)]
struct Replayed {
    /// The tokens of its holders, and whether they share it.
    holders: BTreeMap<u64, bool>,
    /// Who waits, in the order in which they came: who, and whether to share.
    queue: VecDeque<(String, bool)>,
    /// The highest token so far.
    token: u64,
}

impl History {
    /// Adds a grant that has been given back.
    pub(crate) fn add(&self, held: Held) {
        self.held
            .lock()
            .expect("no client panics while it adds")
            .push(held);
    }

    /// How many grants there are.
    pub(crate) fn len(&self) -> usize {
        self.held.lock().expect("no client panics").len()
    }

    /// Fails unless no two clients held a lock at once (S1), and later grants
    /// had higher tokens (S2).
    #[track_caller]
    pub(crate) fn check(&self) {
        let held = self.held.lock().expect("no client panics");
        let mut locks: BTreeMap<&str, Vec<&Held>> = BTreeMap::new();
        for grant in &*held {
            for name in &grant.names {
                locks.entry(name).or_default().push(grant);
            }
        }
        for (name, mut grants) in locks {
            grants.sort_by_key(|grant| grant.token);
            for pair in grants.windows(2) {
                let [earlier, later] = pair else { continue };
                assert_ne!(earlier.token, later.token, "`{name}`: {pair:#?}");
            }
            let mut before = Before::default();
            for later in grants {
                // With the greater token, it was granted later.
                if let Some(earlier) = before.asked.filter(|it| it.asked > later.told) {
                    panic!("tokens of `{name}` fell: {earlier:#?} {later:#?}");
                }
                let others = match later.shared {
                    true => before.alone,
                    false => before.held,
                };
                if let Some(earlier) = others.filter(|it| it.given_back > later.told) {
                    panic!("`{name}` was held twice: {earlier:#?} {later:#?}");
                }
                before.add(later);
            }
        }
    }

    /// Fails unless each grant that a client saw is among the events, for the
    /// same locks.
    #[track_caller]
    pub(crate) fn check_against(&self, events: &[Event]) {
        let granted: BTreeMap<u64, &Vec<String>> = events
            .iter()
            .filter(|event| event.kind() == Kind::Granted)
            .map(|event| (event.fencing_token, &event.names))
            .collect();
        for held in &*self.held.lock().expect("no client panics") {
            let names = granted.get(&held.token);
            let names = names.unwrap_or_else(|| panic!("nothing was said of {held:?}"));
            let mut names = (*names).clone();
            let mut seen = held.names.clone();
            names.sort();
            seen.sort();
            assert_eq!(names, seen, "{held:?}");
        }
    }
}

/// Fails unless the events, from the first that ever happened to their locks
/// on, keep S1, S2 and F1. Grants have to be exclusive or shared.
#[track_caller]
pub(crate) fn check_events(events: &[Event]) {
    let mut locks: BTreeMap<String, Replayed> = BTreeMap::new();
    let mut revision = 0;
    for (at, event) in events.iter().enumerate() {
        assert!(event.revision > revision, "revisions fell: {event:?}");
        revision = event.revision;
        for name in &event.names {
            let lock = locks.entry(name.clone()).or_default();
            if let Err(fault) = lock.replay(event) {
                let before = &events[at.saturating_sub(20)..=at];
                panic!("`{name}`: {fault}: {lock:#?}\nthe events up to it: {before:#?}");
            }
        }
    }
}

impl<'a> Before<'a> {
    fn add(&mut self, grant: &'a Held) {
        let last = |one: Option<&'a Held>, of: fn(&Held) -> Instant| {
            let grants = one.into_iter().chain([grant]);
            grants.max_by_key(|it| of(it))
        };
        self.asked = last(self.asked, |it| it.asked);
        self.held = last(self.held, |it| it.given_back);
        if !grant.shared {
            self.alone = last(self.alone, |it| it.given_back);
        }
    }
}

impl Replayed {
    /// Takes the next event of this lock; what is wrong with it, if something
    /// is.
    fn replay(&mut self, event: &Event) -> Result<(), &'static str> {
        let shared = event.mode() == Mode::Shared;
        match event.kind() {
            Kind::Queued => self.queue.push_back((event.holder.clone(), shared)),
            Kind::Left => {
                let at = self.place_of(&event.holder);
                self.queue
                    .remove(at.ok_or("somebody left who did not wait")?);
            }
            Kind::Granted => return self.grant(event, shared),
            Kind::Released | Kind::Expired | Kind::Forced | Kind::Lost => {
                let held = self.holders.remove(&event.fencing_token);
                held.ok_or("what was not held has ended")?;
            }
            Kind::Unspecified => return Err("it says nothing"),
        }
        Ok(())
    }

    fn grant(&mut self, event: &Event, shared: bool) -> Result<(), &'static str> {
        if event.fencing_token <= self.token {
            return Err("a token did not rise (S2)");
        }
        self.token = event.fencing_token;
        if self.holders.values().any(|others| !(*others && shared)) {
            return Err("it is held by somebody else (S1)");
        }
        // A reader in front keeps no other reader back: it may be waiting for
        // another lock as well. Everybody else does.
        let place = self.place_of(&event.holder);
        let ahead = place.unwrap_or(self.queue.len());
        let mut ahead = self.queue.iter().take(ahead);
        let ahead = ahead.any(|(_, other)| !(*other && shared));
        if let Some(place) = place {
            self.queue.remove(place);
        }
        if ahead {
            return Err("somebody was ahead of it (F1)");
        }
        self.holders.insert(event.fencing_token, shared);
        Ok(())
    }

    /// Where somebody waits; the first place, if there are several.
    fn place_of(&self, holder: &str) -> Option<usize> {
        self.queue.iter().position(|(other, _)| other == holder)
    }
}

#[cfg(test)]
mod tests {
    //! A checker that finds nothing wrong with anything is of no use.

    use super::*;

    /// A history in short: kind, token, whose; `r` before it for a reader.
    fn events(text: &str) -> Vec<Event> {
        let event = |(at, word): (usize, &str)| {
            let (reads, word) = match word.strip_prefix('r') {
                Some(word) => (true, word),
                None => (false, word),
            };
            let mut parts = word.split('.');
            let kind = match parts.next() {
                Some("queue") => Kind::Queued,
                Some("grant") => Kind::Granted,
                Some("free") => Kind::Released,
                Some("leave") => Kind::Left,
                other => panic!("{other:?}"),
            };
            let mode = if reads { Mode::Shared } else { Mode::Exclusive };
            Event {
                revision: at as u64 + 1,
                kind: kind.into(),
                names: vec!["a".to_owned()],
                mode: mode.into(),
                fencing_token: parts.next().and_then(|it| it.parse().ok()).unwrap_or(0),
                holder: parts.next().unwrap_or_default().to_owned(),
                ..Event::default()
            }
        };
        text.split(' ').enumerate().map(event).collect()
    }

    #[test]
    fn what_is_permitted_passes() {
        for history in [
            "grant.1.a free.1 grant.2.b free.2",
            "grant.1.a queue.0.b queue.0.c free.1 grant.2.b free.2 grant.3.c",
            "grant.1.a queue.0.b queue.0.c leave.0.b free.1 grant.3.c",
            "rgrant.1.a rgrant.2.b queue.0.c rqueue.0.d free.1 free.2 grant.3.c",
            "grant.1.a rqueue.0.b rqueue.0.c free.1 rgrant.2.c rgrant.3.b",
            "rqueue.0.a rgrant.1.b",
        ] {
            check_events(&events(history));
        }
    }

    #[test]
    fn what_breaks_a_promise_is_found() {
        for (history, fault) in [
            ("grant.1.a grant.2.b", "S1"),
            ("rgrant.1.a grant.2.b", "S1"),
            ("grant.1.a rgrant.2.b", "S1"),
            ("grant.2.a free.2 grant.1.b", "S2"),
            ("grant.1.a free.1 grant.1.b", "S2"),
            ("grant.1.a queue.0.b queue.0.c free.1 grant.2.c", "F1"),
            ("grant.1.a queue.0.b free.1 grant.2.c", "F1"),
            ("rgrant.1.a queue.0.b rgrant.2.c", "F1"),
            ("rqueue.0.a grant.1.b", "F1"),
            ("grant.1.a queue.0.b rqueue.0.c free.1 rgrant.2.c", "F1"),
            ("grant.1.a free.2", "not held"),
            ("leave.0.a", "did not wait"),
        ] {
            let found = std::panic::catch_unwind(|| check_events(&events(history)));
            let found = found.expect_err(history);
            let text = found.downcast_ref::<String>().expect("it says what");
            assert!(text.contains(fault), "{history}: {text}");
        }
    }

    #[test]
    fn what_clients_saw_twice_is_found() {
        let moments: Vec<Instant> = (0..6)
            .scan(Instant::now(), |last, _| {
                *last += std::time::Duration::from_millis(1);
                Some(*last)
            })
            .collect();
        let held = |token, asked: usize, told: usize, given_back: usize| Held {
            names: vec!["a".to_owned()],
            shared: false,
            token,
            asked: moments[asked],
            told: moments[told],
            given_back: moments[given_back],
        };
        let read = |token, asked, told, given_back| Held {
            shared: true,
            ..held(token, asked, told, given_back)
        };
        let found = |of: &[Held]| {
            let history = History::default();
            of.iter().for_each(|held| history.add(held.clone()));
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history.check())).is_err()
        };
        assert!(!found(&[held(1, 0, 1, 2), held(2, 0, 3, 4)]));
        assert!(found(&[held(1, 0, 1, 3), held(2, 0, 2, 4)]), "S1");
        assert!(found(&[held(2, 0, 1, 2), held(1, 3, 4, 5)]), "S2");
        assert!(
            found(&[held(1, 0, 1, 2), held(1, 3, 4, 5)]),
            "one token twice"
        );
        assert!(!found(&[read(1, 0, 1, 5), read(2, 0, 2, 3)]));
        // The one that it contradicts is not the last before it.
        let readers = [read(1, 0, 1, 5), read(2, 0, 1, 2)];
        assert!(!found(&[&readers[..], &[read(3, 0, 3, 4)]].concat()));
        assert!(found(&[&readers[..], &[held(3, 0, 3, 4)]].concat()), "S1");
        let writer = [held(1, 0, 1, 5), held(2, 0, 5, 5)];
        assert!(found(&[&writer[..], &[read(3, 0, 4, 5)]].concat()), "S1");
        let early = [held(1, 4, 4, 4), held(2, 0, 4, 4)];
        assert!(!found(&[&early[..], &[held(3, 0, 4, 5)]].concat()));
        assert!(found(&[&early[..], &[held(3, 0, 3, 5)]].concat()), "S2");
    }
}
