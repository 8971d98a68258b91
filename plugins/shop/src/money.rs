//! Amounts of money, counted in hundredths.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;

/// An amount of money: a whole number of hundredths from zero to
/// [`Money::MAX`].
///
/// In JSON it is a number, read from its digits and not by way of binary
/// fractions: `12.5`, `12.50` and `1.25e1` are the same amount, and `0.001`
/// is none. It is written in the shortest form: `12.5`, `3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money {
    hundredths: u64,
}

/// A number is no amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseMoneyError {
    /// It is not a JSON number.
    #[error("expected a number")]
    NotANumber,

    /// It is below zero.
    #[error("must not be negative")]
    Negative,

    /// It has a fraction of a hundredth.
    #[error("must have at most two decimals")]
    TooFine,

    /// It is greater than [`Money::MAX`].
    #[error("must be at most {}", Money::MAX)]
    TooLarge,
}

// === impl Money ===

impl Money {
    /// The greatest amount: 9999999999999.99. Fifteen digits are what every
    /// JSON reader keeps, those that read numbers as doubles too.
    pub const MAX: Self = Self {
        hundredths: 999_999_999_999_999,
    };

    /// So many times this amount; none if that is more than [`Money::MAX`].
    #[must_use]
    pub fn times(self, count: NonZeroU32) -> Option<Self> {
        let hundredths = self.hundredths.checked_mul(u64::from(count.get()))?;
        (hundredths <= Self::MAX.hundredths).then_some(Self { hundredths })
    }
}

impl FromStr for Money {
    type Err = ParseMoneyError;

    /// Reads a JSON number, exactly.
    fn from_str(text: &str) -> Result<Self, ParseMoneyError> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        if !all_digits(whole) || !all_digits(fraction) {
            return Err(ParseMoneyError::NotANumber);
        }

        // The amount is the digits, taken as a whole number of hundredths,
        // times ten to the power of `shift`.
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let leading = digits.iter().take_while(|digit| **digit == b'0').count();
        let trailing = digits[leading..]
            .iter()
            .rev()
            .take_while(|digit| **digit == b'0')
            .count();
        let digits = &digits[leading..digits.len() - trailing];
        if digits.is_empty() {
            return Ok(Self::default());
        }
        if negative {
            return Err(ParseMoneyError::Negative);
        }
        let shift = exponent
            .saturating_add(2)
            .saturating_add(count(trailing))
            .saturating_sub(count(fraction.len()));
        if shift < 0 {
            return Err(ParseMoneyError::TooFine);
        }
        let hundredths = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse::<u64>().ok())
            .zip(u32::try_from(shift).ok())
            .and_then(|(number, shift)| number.checked_mul(10_u64.checked_pow(shift)?))
            .filter(|hundredths| *hundredths <= Self::MAX.hundredths)
            .ok_or(ParseMoneyError::TooLarge)?;
        Ok(Self { hundredths })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.hundredths / 100, self.hundredths % 100);
        match (fraction / 10, fraction % 10) {
            (0, 0) => write!(f, "{whole}"),
            (tenths, 0) => write!(f, "{whole}.{tenths}"),
            (tenths, hundredths) => write!(f, "{whole}.{tenths}{hundredths}"),
        }
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.hundredths.is_multiple_of(100) {
            serializer.serialize_u64(self.hundredths / 100)
        } else {
            // With at most fifteen digits the double that is nearest to the
            // amount has the amount as its shortest form.
            #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
            serializer.serialize_f64(self.hundredths as f64 / 100.0)
        }
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer)?
            .get()
            .parse()
            .map_err(de::Error::custom)
    }
}

// === helpers ===

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An exponent that does not fit has one sign or the other, and that decides.
fn parse_exponent(text: &str) -> Result<i64, ParseMoneyError> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !all_digits(digits) {
        return Err(ParseMoneyError::NotANumber);
    }
    let size = digits.parse::<i64>().unwrap_or(i64::MAX);
    Ok(if negative { -size } else { size })
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<u64, ParseMoneyError> {
        text.parse::<Money>().map(|money| money.hundredths)
    }

    #[test]
    fn a_number_with_at_most_two_decimals_is_an_amount() {
        let amounts = [
            ("0", 0),
            ("0.00", 0),
            ("-0", 0),
            ("0e999999999999999999999", 0),
            ("3", 300),
            ("12.5", 1250),
            ("12.50", 1250),
            ("12.500000", 1250),
            ("0.01", 1),
            ("1.25e1", 1250),
            ("1E2", 10_000),
            ("125e-2", 125),
            ("1000e-5", 1),
            ("0.0001e+2", 1),
            ("9999999999999.99", 999_999_999_999_999),
        ];
        for (text, hundredths) in amounts {
            assert_eq!(parse(text), Ok(hundredths), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused_and_says_why() {
        let refused = [
            ("-0.01", ParseMoneyError::Negative),
            ("-1e400", ParseMoneyError::Negative),
            ("0.001", ParseMoneyError::TooFine),
            ("12.345", ParseMoneyError::TooFine),
            ("1e-3", ParseMoneyError::TooFine),
            ("1e-99999999999999999999", ParseMoneyError::TooFine),
            ("12.340000000000000000001", ParseMoneyError::TooFine),
            ("10000000000000", ParseMoneyError::TooLarge),
            ("1e400", ParseMoneyError::TooLarge),
            ("1e99999999999999999999", ParseMoneyError::TooLarge),
            ("99999999999999999999999999", ParseMoneyError::TooLarge),
            ("\"1\"", ParseMoneyError::NotANumber),
            ("null", ParseMoneyError::NotANumber),
            ("true", ParseMoneyError::NotANumber),
            ("[1]", ParseMoneyError::NotANumber),
            ("", ParseMoneyError::NotANumber),
            ("1.", ParseMoneyError::NotANumber),
            ("1e", ParseMoneyError::NotANumber),
        ];
        for (text, reason) in refused {
            assert_eq!(parse(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn the_json_form_is_the_shortest_number() {
        for text in [
            "0",
            "3",
            "12.5",
            "12.34",
            "0.01",
            "0.1",
            "9999999999999.99",
            "1234567.89",
        ] {
            let money: Money = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&money).unwrap(), text);
            assert_eq!(money.to_string(), text);
        }
    }

    #[test]
    fn a_product_beyond_the_limit_is_none() {
        let count = NonZeroU32::new(3).unwrap();
        assert_eq!(
            "0.35".parse::<Money>().unwrap().times(count),
            "1.05".parse().ok()
        );
        assert_eq!(Money::MAX.times(count), None);
        assert_eq!(Money::MAX.times(NonZeroU32::MAX), None);
        assert_eq!(Money::MAX.times(NonZeroU32::MIN), Some(Money::MAX));
    }
}
