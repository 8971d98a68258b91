//! Durations as they travel: seconds and nanoseconds, in JSON as `1.500s`.
//!
//! The library's own type reads a second minus sign as a part of the number,
//! and then negates the least there is.

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::num::TryFromIntError;

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Duration {
    /// Seconds; negative for a time that has passed.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds beside them, with the same sign: up to 999 999 999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// The digits of a nanosecond.
const DIGITS: usize = 9;

impl Duration {
    /// Reads what JSON has for it.
    fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('s')?;
        let (sign, number) = match number.strip_prefix('-') {
            Some(number) => (-1, number),
            None => (1, number),
        };
        let (seconds, fraction) = match number.split_once('.') {
            Some((seconds, fraction)) if !fraction.is_empty() => (seconds, fraction),
            Some(_) => return None,
            None => (number, "0"),
        };
        let is_number = |it: &str| it.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(seconds) || !is_number(fraction) || fraction.len() > DIGITS {
            return None;
        }
        // Without a sign it is not negative, so it can be negated.
        let seconds: i64 = seconds.parse().ok()?;
        let nanos: i32 = format!("{fraction:0<DIGITS$}").parse().ok()?;
        Some(Self {
            seconds: sign * seconds,
            nanos: sign as i32 * nanos,
        })
    }
}

impl From<std::time::Duration> for Duration {
    /// What is longer than there is room for is as long as there is.
    fn from(it: std::time::Duration) -> Self {
        Self {
            seconds: i64::try_from(it.as_secs()).unwrap_or(i64::MAX),
            // Fewer than a second has.
            nanos: it.subsec_nanos() as i32,
        }
    }
}

impl TryFrom<Duration> for std::time::Duration {
    type Error = TryFromIntError;

    fn try_from(it: Duration) -> Result<Self, TryFromIntError> {
        let (seconds, nanos) = (u64::try_from(it.seconds)?, u32::try_from(it.nanos)?);
        let whole = Self::from_secs(seconds);
        // Nanoseconds may be more than a second has.
        Ok(whole.saturating_add(Self::from_nanos(nanos.into())))
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sign = match (self.seconds.signum(), self.nanos.signum()) {
            (1, -1) | (-1, 1) => {
                let why = "a duration has two signs";
                return Err(serde::ser::Error::custom(why));
            }
            (-1, _) | (_, -1) => "-",
            _ => "",
        };
        let seconds = self.seconds.unsigned_abs();
        match self.nanos.unsigned_abs() {
            0 => serializer.collect_str(&format_args!("{sign}{seconds}s")),
            nanos if nanos % 1_000_000 == 0 => {
                let millis = nanos / 1_000_000;
                serializer.collect_str(&format_args!("{sign}{seconds}.{millis:03}s"))
            }
            nanos if nanos % 1000 == 0 => {
                let micros = nanos / 1000;
                serializer.collect_str(&format_args!("{sign}{seconds}.{micros:06}s"))
            }
            nanos => serializer.collect_str(&format_args!("{sign}{seconds}.{nanos:09}s")),
        }
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let parsed = Self::parse(&text);
        parsed.ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &"a duration"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error as Refused, StrDeserializer};

    fn read(text: &str) -> Result<Duration, Refused> {
        let text: StrDeserializer<'_, Refused> = text.into_deserializer();
        Duration::deserialize(text)
    }

    #[test]
    fn durations_are_read_as_json_has_them() {
        let half = 500_000_000;
        for (text, seconds, nanos) in [
            ("0s", 0, 0),
            ("1.5s", 1, half),
            ("-1.5s", -1, -half),
            ("-0.5s", 0, -half),
            ("0.000000001s", 0, 1),
            ("9223372036854775807s", i64::MAX, 0),
            ("-9223372036854775807.999999999s", -i64::MAX, -999_999_999),
        ] {
            assert_eq!(read(text).unwrap(), Duration { seconds, nanos }, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_and_nothing_overflows() {
        for text in [
            "",
            "s",
            "1",
            "-s",
            "1.s",
            ".5s",
            "+1s",
            "--1s",
            "1.-5s",
            "1.+5s",
            "1e3s",
            "--9223372036854775808s",
            "9223372036854775808s",
            "0.0000000001s",
            "99999999999999999999999s",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        let large = Duration {
            seconds: i64::MAX,
            nanos: i32::MAX,
        };
        assert!(std::time::Duration::try_from(large).is_ok());
        let least = Duration {
            seconds: i64::MIN,
            nanos: i32::MIN,
        };
        assert!(std::time::Duration::try_from(least).is_err());
        assert_eq!(Duration::from(std::time::Duration::MAX).seconds, i64::MAX);
    }
}
