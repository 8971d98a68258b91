//! Patterns of lock names: what a manifest or a token grants.

use crate::name::LockName;
use std::fmt;
use std::sync::Arc;

/// A pattern of lock names: `*` stands for one segment, `**`, at the end, for
/// the rest, of at least one segment.
///
/// Segments are what is between slashes; one may be empty. A star that is only
/// a part of a segment is refused, because it would look like a wildcard that
/// it is not.
#[derive(Clone, PartialEq, Eq)]
pub struct LockPattern {
    /// Checked by [`LockPattern::parse`]: `**` is the last segment or absent.
    text: Box<str>,
}

/// Which locks somebody may use and see. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission(
    /// `None`: all there are.
    Option<Arc<[LockPattern]>>,
);

impl LockPattern {
    /// Reads a pattern; an error says why it is not one, as what one would say
    /// of it: `is empty`.
    pub fn parse(text: &str) -> Result<Self, String> {
        LockName::new(text).map_err(|error| error.to_string())?;
        let mut segments = text.split('/').peekable();
        while let Some(segment) = segments.next() {
            match segment {
                "**" if segments.peek().is_some() => {
                    return Err("has `**` before its end".to_owned());
                }
                "*" | "**" => {}
                _ if segment.contains('*') => {
                    return Err(format!(
                        "has a `*` inside the segment `{segment}`; it can only be a whole one"
                    ));
                }
                _ => {}
            }
        }
        Ok(Self { text: text.into() })
    }

    /// Whether `name` is of this pattern. No internal one is of any.
    pub fn matches(&self, name: &LockName) -> bool {
        if name.is_internal() {
            return false;
        }
        let mut names = name.as_str().split('/');
        for segment in self.text.split('/') {
            let Some(part) = names.next() else {
                return false;
            };
            match segment {
                "**" => return true,
                "*" => {}
                literal if literal == part => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// What every name of this pattern begins with: all before its first star.
    pub fn literal(&self) -> &str {
        let stars = self.text.split('/').scan(0, |at, segment| {
            let begin = *at;
            *at += segment.len() + 1;
            Some((begin, segment))
        });
        let first = stars.filter(|(_, segment)| matches!(*segment, "*" | "**"));
        &self.text[..first.map(|(at, _)| at).next().unwrap_or(self.text.len())]
    }
}

impl Permission {
    /// Of every lock but the internal ones.
    pub fn all() -> Self {
        Self(None)
    }

    /// Of the locks of these patterns.
    pub fn of(patterns: Vec<LockPattern>) -> Self {
        Self(Some(patterns.into()))
    }

    /// Whether it is one of the lock `name`.
    pub fn covers(&self, name: &LockName) -> bool {
        let patterns = self.0.as_ref();
        !name.is_internal()
            && patterns.is_none_or(|patterns| patterns.iter().any(|it| it.matches(name)))
    }

    /// `None` if it is one of every lock but the internal ones.
    pub(crate) fn patterns(&self) -> Option<&[LockPattern]> {
        self.0.as_deref()
    }

    /// What the names of all locks begin with that it covers and that begin with
    /// `asked`: in order, none of them the beginning of another.
    pub(crate) fn prefixes<'a>(&'a self, asked: &'a str) -> Vec<&'a str> {
        let Some(patterns) = &self.0 else {
            return vec![asked];
        };
        let narrower = |permitted: &'a str| {
            if asked.starts_with(permitted) {
                Some(asked)
            } else {
                permitted.starts_with(asked).then_some(permitted)
            }
        };
        let permitted = patterns.iter().map(LockPattern::literal);
        let mut prefixes: Vec<&str> = permitted.filter_map(narrower).collect();
        prefixes.sort_unstable();
        // The beginning of another sorts before it.
        prefixes.dedup_by(|later, earlier| later.starts_with(&**earlier));
        prefixes
    }
}

impl fmt::Debug for LockPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

impl fmt::Display for LockPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(pattern: &str, name: &str) -> bool {
        LockPattern::parse(pattern)
            .unwrap()
            .matches(&LockName::new(name).unwrap())
    }

    #[test]
    fn a_pattern_without_stars_is_one_name() {
        assert!(grants("order/42", "order/42"));
        assert!(!grants("order/42", "order/421"));
        assert!(!grants("order/42", "order/42/line"));
        assert!(!grants("order/42", "order"));
    }

    #[test]
    fn a_star_is_exactly_one_segment() {
        assert!(grants("order/*", "order/42"));
        assert!(grants("order/*/line", "order/42/line"));
        assert!(grants("order/*", "order/"));
        assert!(!grants("order/*", "order"));
        assert!(!grants("order/*", "order/42/line"));
        assert!(!grants("order/*", "invoice/42"));
        assert!(grants("*", "order"));
        assert!(!grants("*", "order/42"));
    }

    #[test]
    fn two_stars_are_the_rest_but_not_nothing() {
        assert!(grants("order/**", "order/42"));
        assert!(grants("order/**", "order/42/line/1"));
        assert!(!grants("order/**", "order"));
        assert!(!grants("order/**", "orders/42"));
        assert!(grants("**", "anything/at/all"));
    }

    #[test]
    fn the_literal_is_what_is_before_the_first_star() {
        for (pattern, literal) in [
            ("order/42", "order/42"),
            ("order/*/line/**", "order/"),
            ("**", ""),
            ("a/b/**", "a/b/"),
        ] {
            assert_eq!(LockPattern::parse(pattern).unwrap().literal(), literal);
        }
    }

    #[test]
    fn a_permission_covers_what_any_of_its_patterns_matches() {
        let of = |texts: &[&str]| {
            let patterns = texts.iter().map(|it| LockPattern::parse(it).unwrap());
            Permission::of(patterns.collect())
        };
        let covers = |it: &Permission, text| it.covers(&LockName::new(text).unwrap());
        let some = of(&["a/*", "b/1"]);
        assert!(covers(&some, "a/1") && covers(&some, "b/1"));
        assert!(!covers(&some, "b/2") && !covers(&of(&[]), "a/1"));
        assert!(covers(&Permission::all(), "any/thing"));
    }

    #[test]
    fn prefixes_are_those_that_are_permitted_and_asked_for() {
        let patterns = ["b/1", "a/**", "a/x/*", "b/*", "c/d/*/e"];
        let patterns = patterns.map(|it| LockPattern::parse(it).unwrap());
        let some = Permission::of(patterns.to_vec());
        for (asked, prefixes) in [
            ("", &["a/", "b/", "c/d/"] as &[_]),
            ("a", &["a/"]),
            ("a/x/y", &["a/x/y"]),
            ("c/", &["c/d/"]),
            ("c/e", &[]),
            ("d", &[]),
        ] {
            assert_eq!(some.prefixes(asked), prefixes, "{asked:?}");
        }
        assert_eq!(Permission::all().prefixes("x"), ["x"]);
        assert_eq!(Permission::of(vec![]).prefixes(""), [""; 0]);
    }

    #[test]
    fn what_is_not_a_pattern_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "is empty"),
            ("order/**/line", "has `**` before its end"),
            (
                "order/a*",
                "has a `*` inside the segment `a*`; it can only be a whole one",
            ),
            (
                "***",
                "has a `*` inside the segment `***`; it can only be a whole one",
            ),
            ("a\nb", "has a control character at byte 1"),
        ] {
            assert_eq!(LockPattern::parse(text).unwrap_err(), reason);
        }
        let long = "x".repeat(513);
        assert_eq!(
            LockPattern::parse(&long).unwrap_err(),
            "has 513 bytes; at most 512 are allowed"
        );
    }
}
