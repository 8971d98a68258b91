//! S1 exclusion, S2 tokens, S4 honesty: of the grants of each lock.
//!
//! A holder is sure of a lock from when he is told until he gives it back, hears
//! that it is lost, or his own deadline passes. Grants are ordered by their
//! tokens, which is the order in which the store gave them. So with the tokens
//! `a < b` of grants that exclude each other:
//!
//! - whoever has `b` was told of it after the holder of `a` could no more be
//!   sure of his (S1, as clients see it);
//! - `a` was not asked for after `b` had been told of (S2).
//!
//! Each is looked for in one pass over the grants in the order of their tokens.

use super::claims::{Claim, by_lock};
use super::{Expect, Violation};
use crate::history::{History, Hold, Look};

/// What is wrong with the locks of a history.
pub fn check(history: &History, expect: Expect) -> Vec<Violation> {
    let mut violations = Vec::new();
    for claims in by_lock(history).into_values() {
        let mut claims = claims;
        claims.sort_by_key(|it| it.token);
        violations.extend(twice(&claims));
        violations.extend(fell(&claims));
        if expect.keeps_grants {
            violations.extend(overlapping(&claims));
        }
    }
    if expect.keeps_grants {
        violations.extend(history.holds.iter().filter_map(lost_early));
        violations.extend(history.looks.iter().filter_map(crowded));
    }
    violations
}

/// One token that two grants have.
fn twice(claims: &[Claim<'_>]) -> Option<Violation> {
    let pair = claims
        .windows(2)
        .find(|pair| pair[0].token == pair[1].token)?;
    let (token, name) = (pair[0].token, pair[0].name);
    let what = format!("the token {token} of `{name}` was given out twice");
    Some(Violation::of("S2 tokens", what).shown_by(pair))
}

/// A grant that was asked for when a grant with a greater token was known.
fn fell(claims: &[Claim<'_>]) -> Option<Violation> {
    // From the greatest token down: the earliest that one of them was told.
    let mut earliest: Option<&Claim<'_>> = None;
    for claim in claims.iter().rev() {
        if let Some(greater) = earliest.filter(|greater| greater.told < claim.asked) {
            let what = format!(
                "the tokens of `{}` fell: {} after {}",
                claim.name, claim.token, greater.token
            );
            return Some(Violation::of("S2 tokens", what).shown_by([greater, claim]));
        }
        if earliest.is_none_or(|it| claim.told < it.told) {
            earliest = Some(claim);
        }
    }
    None
}

/// A lock that somebody was told to have while another was sure of it.
fn overlapping(claims: &[Claim<'_>]) -> Option<Violation> {
    let mut alone: Option<&Claim<'_>> = None;
    let mut any: Option<&Claim<'_>> = None;
    for claim in claims {
        let before = if claim.shared { alone } else { any };
        if let Some(before) = before.filter(|it| it.until > claim.told) {
            let what = format!(
                "`{}` was held by two: by `{}` until {} at least, and `{}` was told at {}",
                claim.name, before.whose, before.until, claim.whose, claim.told
            );
            return Some(Violation::of("S1 exclusion", what).shown_by([before, claim]));
        }
        // One that nobody was ever sure of keeps nobody out.
        if claim.until > claim.told {
            let longer = |it: &&Claim<'_>| it.until >= claim.until;
            any = any.filter(longer).or(Some(claim));
            if !claim.shared {
                alone = alone.filter(longer).or(Some(claim));
            }
        }
    }
    None
}

/// A grant that was lost although it was neither given back nor had run out.
fn lost_early(hold: &Hold) -> Option<Violation> {
    let lost = hold.lost_early?;
    let what = format!(
        "`{}` lost {:?} at {lost}, before its own deadline",
        hold.request, hold.names
    );
    Some(Violation::of("held until released", what).shown_by([hold]))
}

/// An exclusive lock that had several holders at once.
fn crowded(look: &Look) -> Option<Violation> {
    (look.exclusive && look.holders.len() > 1).then(|| {
        let what = format!("`{}` had the holders {:?} at once", look.name, look.holders);
        Violation::of("S1 exclusion", what).shown_by([look])
    })
}

#[cfg(test)]
mod tests {
    //! A checker that finds nothing wrong with anything is of no use.

    use super::*;
    use crate::history::{Outcome, Transaction};

    /// Holds in short: `token asked told until`, `r` before it for a reader.
    fn history(text: &str) -> History {
        let hold = |(at, line): (usize, &str)| {
            let (shared, line) = match line.strip_prefix('r') {
                Some(line) => (true, line),
                None => (false, line),
            };
            let numbers: Vec<u64> = line.split(' ').map(|it| it.parse().unwrap()).collect();
            Hold {
                request: format!("{at}"),
                names: vec!["a".to_owned()],
                shared,
                token: Some(numbers[0]),
                asked: numbers[1],
                told: Some(numbers[2]),
                until: numbers[3],
                outcome: Outcome::Ok,
                ..Hold::default()
            }
        };
        History {
            holds: text.split(", ").enumerate().map(hold).collect(),
            ..History::default()
        }
    }

    fn promises(history: &History) -> Vec<&'static str> {
        let violations = check(history, Expect::EVERYTHING);
        violations.iter().map(|it| it.promise).collect()
    }

    #[test]
    fn what_is_permitted_passes() {
        for text in [
            "1 0 1 5, 2 0 6 8, 3 7 9 9",
            "r1 0 1 5, r2 0 2 6, 3 0 7 8",
            // A grant whose answer came too late for anybody to rely on it.
            "1 0 9 9, 2 0 3 4",
            // Both asked at once, and the answers overtook each other.
            "2 0 6 7, 1 0 1 5",
            "r1 0 1 5, r2 0 1 9, r3 0 2 3, 4 0 10 11",
        ] {
            assert_eq!(promises(&history(text)), Vec::<&str>::new(), "{text}");
        }
    }

    #[test]
    fn what_breaks_a_promise_is_found() {
        for (text, promise) in [
            ("1 0 1 5, 2 0 4 6", "S1 exclusion"),
            ("r1 0 1 5, 2 0 4 6", "S1 exclusion"),
            ("1 0 1 5, r2 0 4 6", "S1 exclusion"),
            // Not the neighbour, but the one before it.
            ("1 0 1 9, r2 0 10 11, 3 0 8 8", "S1 exclusion"),
            ("r1 0 1 9, r2 0 2 3, 3 0 4 5", "S1 exclusion"),
            // The later grant was told before the earlier one was.
            ("1 0 5 9, 2 0 3 4", "S1 exclusion"),
            ("2 0 1 2, 1 3 4 5", "S2 tokens"),
            ("r2 0 1 2, r1 3 4 5", "S2 tokens"),
            ("1 0 1 2, 1 3 4 5", "S2 tokens"),
            ("3 0 1 2, 2 0 4 4, 1 2 3 3", "S2 tokens"),
        ] {
            assert!(promises(&history(text)).contains(&promise), "{text}");
        }
    }

    #[test]
    fn a_component_that_holds_what_somebody_else_is_sure_of_is_found() {
        let mut history = history("1 0 1 9");
        history.transactions.push(Transaction {
            asked: 2,
            told: Some(5),
            outcome: Outcome::Ok,
            locks: vec![("a".to_owned(), Some(2))],
            ..Transaction::default()
        });
        assert_eq!(promises(&history), ["S1 exclusion"]);
        history.transactions[0].told = Some(10);
        assert_eq!(promises(&history), Vec::<&str>::new());
    }

    #[test]
    fn a_grant_that_is_lost_before_its_deadline_is_found() {
        let mut history = history("1 0 1 9");
        history.holds[0].lost_early = Some(3);
        assert_eq!(promises(&history), ["held until released"]);
        let expect = Expect {
            keeps_grants: false,
            ..Expect::EVERYTHING
        };
        assert_eq!(check(&history, expect), []);
    }

    #[test]
    fn an_exclusive_lock_with_two_holders_is_found() {
        let look = Look {
            exclusive: true,
            holders: vec!["a".to_owned(), "b".to_owned()],
            ..Look::default()
        };
        let history = |look| History {
            looks: vec![look],
            ..History::default()
        };
        assert_eq!(promises(&history(look.clone())), ["S1 exclusion"]);
        let shared = Look {
            exclusive: false,
            ..look
        };
        assert_eq!(promises(&history(shared)), Vec::<&str>::new());
    }
}
