//! Moments as they travel: seconds and nanoseconds, in JSON as RFC 3339.
//!
//! Proto3 JSON is written with a `Z`; the library's own type writes `+00:00`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds beside them: 0 to 999 999 999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

const DAY: i64 = 24 * 60 * 60;

/// The days of 400 years, after which the calendar repeats itself.
const CYCLE: i64 = 400 * 365 + 97;

/// The days from 0001-01-01 to 1970-01-01.
const TO_1970: i64 = 719_162;

impl Timestamp {
    /// Year, month and day.
    fn date(&self) -> (i64, u8, i64) {
        let since_1 = self.seconds.div_euclid(DAY) + TO_1970;
        let mut year = 1 + since_1.div_euclid(CYCLE) * 400;
        let mut days = since_1.rem_euclid(CYCLE);
        // At most three steps of a century, then at most 99 years.
        while days >= 36_524 + i64::from(is_leap(year + 99)) {
            days -= 36_524 + i64::from(is_leap(year + 99));
            year += 100;
        }
        while days >= 365 + i64::from(is_leap(year)) {
            days -= 365 + i64::from(is_leap(year));
            year += 1;
        }
        let february = 28 + i64::from(is_leap(year));
        let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 1;
        for length in lengths {
            if days < length {
                break;
            }
            days -= length;
            month += 1;
        }
        (year, month, days + 1)
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

impl fmt::Display for Timestamp {
    /// As RFC 3339 in UTC, with 0, 3, 6 or 9 digits behind the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let second = self.seconds.rem_euclid(DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        match self.nanos {
            0 => {}
            nanos if nanos % 1_000_000 == 0 => write!(f, ".{:03}", nanos / 1_000_000)?,
            nanos if nanos % 1000 == 0 => write!(f, ".{:06}", nanos / 1000)?,
            nanos => write!(f, ".{nanos:09}")?,
        }
        f.write_str("Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_four_digits = (1..=9999).contains(&self.date().0);
        if !is_four_digits || !(0..1_000_000_000).contains(&self.nanos) {
            let why = "a timestamp is out of range";
            return Err(serde::ser::Error::custom(why));
        }
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pbjson_types::Timestamp { seconds, nanos } = Deserialize::deserialize(deserializer)?;
        Ok(Self { seconds, nanos })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (-1, 999_000_000, "1969-12-31T23:59:59.999Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (1_735_689_601, 500_000, "2025-01-01T00:00:01.000500Z"),
            (4_107_542_399, 0, "2100-02-28T23:59:59Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00Z"),
            (1_798_761_599, 0, "2026-12-31T23:59:59Z"),
            (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59Z"),
        ] {
            let timestamp = Timestamp { seconds, nanos };
            assert_eq!(timestamp.to_string(), text);
        }
    }

    #[test]
    fn every_day_comes_after_the_one_before() {
        let mut before = String::new();
        for day in 0..3 * CYCLE / 2 {
            let seconds = (day - TO_1970) * DAY;
            let now = Timestamp { seconds, nanos: 0 }.to_string();
            assert!(before < now, "{before} {now}");
            before = now;
        }
    }
}
