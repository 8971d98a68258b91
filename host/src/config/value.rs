//! The kinds of values a configuration has: how each is written, read, and
//! shown again.
//!
//! A reader is a function from a [`Value`] to what it means, or to why it is
//! refused, as what one would say of the key: `must be a duration such as
//! "5s"`. Each takes the range it allows, so no value goes in unchecked.

use super::document::{Entry, Table};
use super::section::nearest;
use lockport_store::LockPattern;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A value as it was written.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string in a file.
    Text(String),
    /// The text of a variable or flag, which has no type of its own.
    Untyped(String),
    /// An integer.
    Integer(i64),
    /// `true` or `false`.
    Boolean(bool),
    /// A list.
    Array(Vec<Entry>),
    /// A table.
    Table(Table),
    /// A number with a point, or a time: no key takes one.
    Other(String),
}

/// A number of bytes, written `32MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// How a value is shown by `--print-config`: as TOML.
pub trait Show {
    /// The value as TOML.
    fn show(&self) -> String;
}

/// The units of a size, greatest first.
const SIZE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// The units of a duration in milliseconds, greatest first.
const DURATION_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads text.
pub fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) | Value::Untyped(text) => Ok(text.clone()),
        other => Err(format!("must be text in quotes, not {}", other.kind())),
    }
}

/// Reads text that is not empty.
pub fn nonempty(value: &Value) -> Result<String, String> {
    match text(value)? {
        it if it.trim().is_empty() => Err("is empty".to_owned()),
        it => Ok(it),
    }
}

/// Reads a path. Whoever reads it decides what it is relative to.
pub fn path(value: &Value) -> Result<PathBuf, String> {
    nonempty(value).map(PathBuf::from)
}

/// Reads `true` or `false`.
pub fn boolean(value: &Value) -> Result<bool, String> {
    match value {
        Value::Boolean(it) => Ok(*it),
        Value::Untyped(it) if it == "true" => Ok(true),
        Value::Untyped(it) if it == "false" => Ok(false),
        other => Err(format!("must be true or false, not {}", other.kind())),
    }
}

/// Reads a whole number within `allowed`.
pub fn integer(allowed: RangeInclusive<u32>) -> impl Fn(&Value) -> Result<u32, String> {
    move |value| {
        let number = match value {
            Value::Integer(it) => Some(*it),
            Value::Untyped(it) => it.trim().parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| format!("must be a number, not {}", value.kind()))?;
        u32::try_from(number)
            .ok()
            .filter(|it| allowed.contains(it))
            .ok_or_else(|| outside(number, allowed.start(), allowed.end()))
    }
}

/// Reads a duration such as `5s` within `allowed`.
pub fn duration(allowed: RangeInclusive<Duration>) -> impl Fn(&Value) -> Result<Duration, String> {
    move |value| {
        let refuse = |_| {
            format!(
                "must be a duration such as \"5s\" or \"250ms\", not {}",
                value.kind()
            )
        };
        let text = text(value).map_err(refuse)?;
        let millis = quantity(&text, &DURATION_UNITS).ok_or_else(|| refuse(String::new()))?;
        let duration = Duration::from_millis(millis);
        if allowed.contains(&duration) {
            return Ok(duration);
        }
        Err(outside(&text, Shown(allowed.start()), Shown(allowed.end())))
    }
}

/// Reads a size such as `32MiB` within `allowed`, in bytes.
pub fn size(allowed: RangeInclusive<u64>) -> impl Fn(&Value) -> Result<Size, String> {
    move |value| {
        let refuse = |_| format!("must be a size such as \"32MiB\", not {}", value.kind());
        let text = text(value).map_err(refuse)?;
        let bytes = quantity(&text, &SIZE_UNITS).ok_or_else(|| refuse(String::new()))?;
        if allowed.contains(&bytes) {
            return Ok(Size(bytes));
        }
        Err(outside(&text, Size(*allowed.start()), Size(*allowed.end())))
    }
}

/// Reads an address such as `127.0.0.1:3000`.
pub fn address(value: &Value) -> Result<SocketAddr, String> {
    let refuse = |_| {
        format!(
            "must be an address and a port such as \"127.0.0.1:3000\", not {}",
            value.kind()
        )
    };
    text(value)
        .map_err(refuse)?
        .parse()
        .map_err(|_| refuse(String::new()))
}

/// Reads a pattern of lock names.
pub fn lock_pattern(value: &Value) -> Result<LockPattern, String> {
    let text = text(value)?;
    LockPattern::parse(&text).map_err(|why| format!("has `{text}`, which {why}"))
}

/// Reads one of the words in `choices`.
pub fn choice<T: Copy>(choices: &[(&'static str, T)]) -> impl Fn(&Value) -> Result<T, String> {
    move |value| {
        let word = text(value)?;
        let found = choices.iter().find(|(it, _)| *it == word);
        found.map(|(_, it)| *it).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(it, _)| *it).collect();
            let mut why = format!("must be one of {}, not `{word}`", words.join(", "));
            if let Some(known) = nearest(&word, words) {
                why.push_str(&format!("; did you mean `{known}`?"));
            }
            why
        })
    }
}

/// Reads a list of what `item` reads. A variable's text is split at commas.
pub fn list<T>(
    item: impl Fn(&Value) -> Result<T, String>,
) -> impl Fn(&Value) -> Result<Vec<T>, String> {
    move |value| match value {
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items
                .map(|(at, it)| item(&it.value).map_err(|why| format!("{why} (entry {})", at + 1)))
                .collect()
        }
        Value::Untyped(text) => {
            let items = text.split(',').filter(|it| !it.is_empty());
            items
                .map(|it| item(&Value::Untyped(it.trim().to_owned())))
                .collect()
        }
        other => Err(format!("must be a list in brackets, not {}", other.kind())),
    }
}

// === impl Value ===

impl Value {
    /// The value in words, for a message.
    pub fn kind(&self) -> String {
        match self {
            Self::Text(it) | Self::Untyped(it) => format!("`{it}`"),
            Self::Integer(it) => it.to_string(),
            Self::Boolean(it) => it.to_string(),
            Self::Array(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
            Self::Other(it) => it.clone(),
        }
    }
}

// === impl Show ===

impl Show for String {
    fn show(&self) -> String {
        toml::Value::from(self.as_str()).to_string()
    }
}

impl Show for bool {
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Show for u32 {
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Show for SocketAddr {
    fn show(&self) -> String {
        self.to_string().show()
    }
}

impl Show for LockPattern {
    fn show(&self) -> String {
        self.to_string().show()
    }
}

impl Show for Path {
    fn show(&self) -> String {
        self.display().to_string().show()
    }
}

impl Show for PathBuf {
    fn show(&self) -> String {
        self.as_path().show()
    }
}

impl Show for Size {
    fn show(&self) -> String {
        self.to_string().show()
    }
}

impl Show for Duration {
    fn show(&self) -> String {
        Shown(self).to_string().show()
    }
}

impl<T: Show> Show for Vec<T> {
    fn show(&self) -> String {
        let items: Vec<_> = self.iter().map(Show::show).collect();
        format!("[{}]", items.join(", "))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        in_greatest_unit(f, self.0, &SIZE_UNITS)
    }
}

/// A duration as it is written in a configuration.
struct Shown<'a>(&'a Duration);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        in_greatest_unit(f, millis, &DURATION_UNITS)
    }
}

/// Writes `amount` in the greatest unit that it is a multiple of.
fn in_greatest_unit(f: &mut fmt::Formatter<'_>, amount: u64, units: &[(&str, u64)]) -> fmt::Result {
    let whole = |(_, it): &&(&str, u64)| amount != 0 && amount.is_multiple_of(*it);
    let (name, unit) = units
        .iter()
        .find(whole)
        .or(units.last())
        .unwrap_or(&("", 1));
    write!(f, "{}{name}", amount / unit)
}

/// Reads a whole number with a unit behind it.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|it: char| !it.is_ascii_digit())?;
    let (number, name) = text.split_at(digits);
    let (_, unit) = units.iter().find(|(it, _)| *it == name)?;
    number.parse::<u64>().ok()?.checked_mul(*unit)
}

fn outside(value: impl fmt::Display, min: impl fmt::Display, max: impl fmt::Display) -> String {
    format!("is {value}; it must be {min} to {max}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untyped(text: &str) -> Value {
        Value::Untyped(text.to_owned())
    }

    #[test]
    fn durations_and_sizes_are_read_and_shown_in_the_greatest_whole_unit() {
        let any = duration(Duration::ZERO..=Duration::MAX);
        for (text, shown) in [
            ("0s", "\"0ms\""),
            ("250ms", "\"250ms\""),
            ("5s", "\"5s\""),
            ("5000ms", "\"5s\""),
            ("90s", "\"90s\""),
            ("120s", "\"2m\""),
            ("24h", "\"24h\""),
        ] {
            assert_eq!(any(&untyped(text)).unwrap().show(), shown);
        }
        let any = size(0..=u64::MAX);
        for (text, shown) in [
            ("0B", "\"0B\""),
            ("1024B", "\"1KiB\""),
            ("32MiB", "\"32MiB\""),
        ] {
            assert_eq!(any(&untyped(text)).unwrap().show(), shown);
        }
    }

    #[test]
    fn what_has_no_unit_or_an_unknown_one_is_refused_with_an_example() {
        let read = duration(Duration::ZERO..=Duration::MAX);
        for text in [
            "5",
            "",
            "s",
            "-5s",
            "5 s",
            "5sec",
            "1.5s",
            "99999999999999999999h",
        ] {
            assert_eq!(
                read(&untyped(text)).unwrap_err(),
                format!("must be a duration such as \"5s\" or \"250ms\", not `{text}`")
            );
        }
        assert_eq!(
            size(0..=1)(&Value::Integer(5)).unwrap_err(),
            "must be a size such as \"32MiB\", not 5"
        );
    }

    #[test]
    fn what_is_outside_its_range_is_refused_with_the_range() {
        let read = duration(Duration::from_millis(1)..=Duration::from_secs(60));
        assert_eq!(
            read(&untyped("61s")).unwrap_err(),
            "is 61s; it must be 1ms to 1m"
        );
        assert_eq!(
            size(1 << 10..=1 << 20)(&untyped("0B")).unwrap_err(),
            "is 0B; it must be 1KiB to 1MiB"
        );
        assert_eq!(
            integer(1..=10)(&Value::Integer(-1)).unwrap_err(),
            "is -1; it must be 1 to 10"
        );
        assert_eq!(integer(1..=10)(&untyped("7")), Ok(7));
    }

    #[test]
    fn a_word_that_is_not_a_choice_is_refused_with_the_nearest() {
        let read = choice(&[("sync", 1), ("relaxed", 2)]);
        assert_eq!(read(&untyped("relaxed")), Ok(2));
        assert_eq!(
            read(&untyped("relax")).unwrap_err(),
            "must be one of sync, relaxed, not `relax`; did you mean `relaxed`?"
        );
    }

    #[test]
    fn a_list_says_which_entry_is_wrong() {
        assert_eq!(list(text)(&untyped("a, b")).unwrap(), ["a", "b"]);
        assert_eq!(
            list(text)(&Value::Integer(1)).unwrap_err(),
            "must be a list in brackets, not 1"
        );
    }
}
