//! F1 first come, first served, as far as it can be seen from outside.
//!
//! Nobody outside knows when a request reached its queue. But an observer sees
//! who waits, and in which order: whoever stands in front of another, or stood
//! there before the other asked, gets its grant first, so with the smaller
//! token. Readers may pass readers. A request that was asked again, and one
//! whose wait saw a fault, may have lost its place: nothing is said of those.

use super::Violation;
use crate::history::{History, Hold, Look, Micros};
use std::collections::{BTreeMap, HashMap};

/// How long after a fault a queue may still show its marks: a grant that is not
/// taken in time goes to the next, and its waiter has lost its place.
const MARKS: Micros = 3_000_000;

/// What is wrong with the queues of a history.
pub fn check(history: &History) -> Vec<Violation> {
    let granted: HashMap<&str, &Hold> = history
        .holds
        .iter()
        .filter(|it| it.token.is_some() && !it.again)
        .map(|it| (it.request.as_str(), it))
        .collect();
    let mut violations = Vec::new();
    // When somebody was first seen to wait for a lock.
    let mut seen: BTreeMap<(&str, &str), &Look> = BTreeMap::new();
    for look in &history.looks {
        let waiters: Vec<&Hold> = look
            .waiters
            .iter()
            .filter_map(|it| granted.get(it.as_str()).copied())
            .collect();
        for (at, front) in waiters.iter().enumerate() {
            let first = seen
                .entry((look.name.as_str(), front.request.as_str()))
                .or_insert(look);
            if look.told < first.told {
                *first = look;
            }
            violations.extend(waiters[at + 1..].iter().find_map(|back| {
                let from = look.asked.min(front.asked).min(back.asked);
                passed(history, front, back, &look.name, from)?;
                let what = format!(
                    "`{}` stood behind `{}` at `{}` and got it first",
                    back.request, front.request, look.name
                );
                let shown = Violation::of("F1 fairness", what).shown_by([look]);
                Some(shown.shown_by([front, back]))
            }));
        }
    }
    violations.extend(latecomers(history, &granted, &seen));
    violations.dedup();
    violations
}

/// Those who asked when another was seen to wait, and got the lock before it.
fn latecomers(
    history: &History,
    granted: &HashMap<&str, &Hold>,
    seen: &BTreeMap<(&str, &str), &Look>,
) -> Vec<Violation> {
    let mut by_lock: BTreeMap<&str, Vec<&Hold>> = BTreeMap::new();
    for hold in granted.values() {
        for name in &hold.names {
            by_lock.entry(name).or_default().push(hold);
        }
    }
    let find = |((name, request), look): (&(&str, &str), &&Look)| {
        let front = granted.get(request)?;
        let late = by_lock.get(name)?.iter().find(|late| {
            late.asked > look.told && passed(history, front, late, name, front.asked).is_some()
        })?;
        let what = format!(
            "`{}` asked for `{name}` when `{request}` was waiting, and got it first",
            late.request
        );
        let shown = Violation::of("F1 fairness", what).shown_by([look]);
        Some(shown.shown_by([front, late]))
    };
    seen.iter().filter_map(find).collect()
}

/// Whether `back` got `name` before `front`, and nothing excuses it.
fn passed(history: &History, front: &Hold, back: &Hold, name: &str, from: Micros) -> Option<()> {
    let is_of = |hold: &Hold| hold.names.iter().any(|it| it == name);
    if !is_of(front) || !is_of(back) || (front.shared && back.shared) {
        return None;
    }
    let until = front.told?.max(back.told?);
    let calm = history.is_calm(from.saturating_sub(MARKS), until);
    (back.token? < front.token? && calm).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Outcome, Window};

    fn hold(request: &str, token: u64, asked: Micros) -> Hold {
        Hold {
            request: request.to_owned(),
            names: vec!["x".to_owned()],
            token: Some(token),
            asked,
            told: Some(100),
            outcome: Outcome::Ok,
            ..Hold::default()
        }
    }

    fn look(told: Micros, waiters: &[&str]) -> Look {
        Look {
            name: "x".to_owned(),
            asked: told,
            told,
            waiters: waiters.iter().map(|it| (*it).to_owned()).collect(),
            ..Look::default()
        }
    }

    fn history(holds: [Hold; 2], look: Look) -> History {
        History {
            holds: holds.into(),
            looks: vec![look],
            ..History::default()
        }
    }

    #[test]
    fn who_stood_in_front_and_is_served_first_passes() {
        let holds = [hold("a", 1, 0), hold("b", 2, 0)];
        assert_eq!(check(&history(holds, look(5, &["a", "b"]))), []);
    }

    #[test]
    fn who_stood_behind_and_is_served_first_is_found() {
        let holds = [hold("a", 2, 0), hold("b", 1, 0)];
        let mut history = history(holds, look(5, &["a", "b"]));
        assert_eq!(check(&history).len(), 1);
        let window = Window {
            from: 20,
            to: 30,
            ..Window::default()
        };
        history.windows.push(window);
        assert_eq!(check(&history), [], "a fault may have cost it its place");
    }

    #[test]
    fn who_comes_late_and_is_served_first_is_found() {
        let holds = [hold("a", 2, 0), hold("b", 1, 6)];
        assert_eq!(check(&history(holds.clone(), look(5, &["a"]))).len(), 1);
        assert_eq!(check(&history(holds, look(7, &["a"]))), [], "not known");
    }

    #[test]
    fn readers_pass_readers_and_never_a_writer() {
        let reader = |hold: Hold| Hold {
            shared: true,
            ..hold
        };
        let both = [reader(hold("a", 2, 0)), reader(hold("b", 1, 0))];
        assert_eq!(check(&history(both, look(5, &["a", "b"]))), []);
        let one = [hold("a", 2, 0), reader(hold("b", 1, 0))];
        assert_eq!(check(&history(one, look(5, &["a", "b"]))).len(), 1);
    }

    #[test]
    fn who_asked_again_is_not_judged() {
        let mut holds = [hold("a", 2, 0), hold("b", 1, 0)];
        holds[0].again = true;
        assert_eq!(check(&history(holds, look(5, &["a", "b"]))), []);
    }
}
