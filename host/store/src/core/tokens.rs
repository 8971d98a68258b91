//! Fencing tokens: one counter for all locks of a space.
//!
//! `token = max(last + 1, store milliseconds x 4096)`, so tokens of a store
//! that lost its counter but not its clock still rise. A restart must not
//! repeat a token either, and writing each one down would cost an fsync per
//! acquire. So tokens are *reserved* in blocks: a high-water mark is written
//! down ahead of need, and after a restart the counter goes on from there. The
//! time's part of a token is capped by what is reserved, which keeps an acquire
//! after an idle hour from waiting for the disk.

use crate::store::Token;
use crate::time::Time;
use std::time::Duration;

/// Tokens per millisecond of store time: below 2^53 until the year 2094.
const TOKENS_PER_MILLISECOND: u64 = 4096;

/// What one reservation is worth: the disk is asked every few seconds under
/// load, and a crash loses nothing but numbers.
const BLOCK: Duration = Duration::from_secs(10);

/// The counter, and what of it has been written down.
#[derive(Debug)]
pub(super) struct Tokens {
    /// The last token given.
    last: Token,
    /// The high-water mark that has been written down.
    pub(super) reserved: Token,
    /// The high-water mark that is being written down.
    asked: Token,
}

impl Tokens {
    /// A counter that ends with the process.
    pub(super) fn volatile() -> Self {
        Self {
            last: 0,
            reserved: Token::MAX,
            asked: Token::MAX,
        }
    }

    /// The counter as it was written down.
    pub(super) fn restored(high_water: Token) -> Self {
        Self {
            last: high_water,
            reserved: high_water,
            asked: high_water,
        }
    }

    /// What to write down before the first token is given.
    pub(super) fn first_reservation(&mut self, now: Time) -> Token {
        self.asked = self.last.max(of_time(now)) + block();
        self.asked
    }

    /// The next token, and what to write down if the block is half used. A
    /// token above `reserved` must not be told before it is written down.
    pub(super) fn next(&mut self, now: Time) -> (Token, Option<Token>) {
        let by_time = of_time(now);
        let token = (self.last + 1).max(by_time.min(self.reserved));
        self.last = token;
        let ahead = token.max(by_time);
        let reserve = ahead.saturating_add(block() / 2) > self.asked;
        if reserve {
            self.asked = ahead + block();
        }
        (token, reserve.then_some(self.asked))
    }
}

fn of_time(now: Time) -> Token {
    (now.as_micros() / 1000).saturating_mul(TOKENS_PER_MILLISECOND)
}

fn block() -> u64 {
    BLOCK.as_secs() * 1000 * TOKENS_PER_MILLISECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_token_follows_the_time_and_never_repeats() {
        let mut tokens = Tokens::volatile();
        assert_eq!(tokens.next(at(0)), (1, None));
        assert_eq!(tokens.next(at(2)), (2 * 1000 * 4096, None));
        assert_eq!(tokens.next(at(1)), (2 * 1000 * 4096 + 1, None));
    }

    #[test]
    fn tokens_stay_below_two_to_the_fifty_third_until_2094() {
        let seventy_years = at(69 * 365 * 24 * 60 * 60);
        assert!(Tokens::volatile().next(seventy_years).0 < 1 << 53);
    }

    #[test]
    fn a_restored_counter_goes_on_above_its_mark_and_asks_in_time() {
        let mut tokens = Tokens::restored(1_000_000_000);
        let first = tokens.first_reservation(at(1));
        assert_eq!(first, 1_000_000_000 + block());
        tokens.reserved = first;
        assert_eq!(tokens.next(at(1)), (1_000_000_001, None));

        // Half a block on, more is asked for, once.
        let later = at(1_000_000_000 / 4_096_000 + 6);
        let (token, asked) = tokens.next(later);
        assert!(token <= first);
        let asked = asked.expect("more is asked for");
        assert!(asked >= token + block() / 2);
        assert_eq!(tokens.next(later).1, None);
    }

    #[test]
    fn after_an_idle_hour_a_token_stays_within_what_is_written_down() {
        let mut tokens = Tokens::restored(0);
        tokens.reserved = tokens.first_reservation(at(0));
        let (token, asked) = tokens.next(at(3600));
        assert_eq!(token, tokens.reserved);
        assert!(asked.is_some());
        // The block is used up now: the next one has to be withheld.
        assert!(tokens.next(at(3600)).0 > tokens.reserved);
    }
}
