//! What a route's path and its locks may look like. Pure.
//!
//! ```text
//! /orders/{id}/lines      a literal, a parameter (one segment), a literal
//! /files/{path...}        a literal, the rest: one segment or more
//! order/{id}              a lock's name, made from the route's parameters
//! ```

use http::Method;
use lockport_store::LockName;
use lockport_store::name::InvalidName;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A route: a path, and who may ask for it how.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// Its path.
    pub path: PathPattern,
    /// Its methods.
    pub methods: Methods,
    /// The locks it needs.
    pub lock: Option<RouteLock>,
}

/// Locks that are taken before an instance is, and released by the commit.
#[derive(Clone, Debug)]
pub struct RouteLock {
    /// Their names.
    pub names: Vec<NameTemplate>,
    /// How long to wait for them.
    pub wait: Duration,
}

/// The path of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: Arc<str>,
    segments: Vec<Segment>,
}

/// One segment of a [`PathPattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this text, after percent-decoding.
    Literal(Box<str>),
    /// Any segment that is not empty.
    Parameter(Arc<str>),
    /// All the segments that are left, at least one. Always last.
    Rest(Arc<str>),
}

/// The methods a route serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods(u8);

/// A lock's name with parameters in it: `order/{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTemplate {
    text: Box<str>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Parameter(Box<str>),
}

/// The most segments a route may have. It bounds how deep a search goes.
pub const SEGMENTS_MAX: usize = 32;

/// Stands for the value of a parameter where a template is compared with a
/// pattern of names: a character that nobody writes.
const ANY_VALUE: &str = "\u{10fffd}";

/// Every method a manifest can name, in the order they are shown.
const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

// === impl PathPattern ===

impl PathPattern {
    /// Reads a path; an error says why it is not one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path = text
            .strip_prefix('/')
            .ok_or_else(|| format!("is `{text}`; it must begin with `/`"))?;
        let mut segments = Vec::new();
        for part in path.split('/').filter(|_| !path.is_empty()) {
            if matches!(segments.last(), Some(Segment::Rest(_))) {
                return Err(format!("is `{text}`; nothing may follow `{{...}}`"));
            }
            segments.push(Segment::parse(part).map_err(|why| format!("is `{text}`; {why}"))?);
        }
        if segments.len() > SEGMENTS_MAX {
            return Err(format!("has more than {SEGMENTS_MAX} segments"));
        }
        let pattern = Self {
            text: text.into(),
            segments,
        };
        let mut names: Vec<_> = pattern.parameters().collect();
        names.sort();
        match names.windows(2).find(|it| it[0] == it[1]) {
            Some(twice) => Err(format!("has the parameter `{}` twice", twice[0])),
            None => Ok(pattern),
        }
    }

    /// The path as it was written.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Its segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The names of its parameters, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.segments.iter().filter_map(|it| match it {
            Segment::Literal(_) => None,
            Segment::Parameter(name) | Segment::Rest(name) => Some(name),
        })
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        let Some(inner) = text.strip_prefix('{').and_then(|it| it.strip_suffix('}')) else {
            return Self::literal(text);
        };
        let (name, rest) = match inner.strip_suffix("...") {
            Some(name) => (name, true),
            None => (inner, false),
        };
        if !is_parameter(name) {
            return Err(format!(
                "`{{{name}}}` is not a parameter: its name must be letters, digits and `_`"
            ));
        }
        Ok(if rest {
            Self::Rest(name.into())
        } else {
            Self::Parameter(name.into())
        })
    }

    fn literal(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("it has an empty segment".to_owned());
        }
        if matches!(text, "." | "..") {
            return Err(format!("a segment `{text}` is never requested"));
        }
        let odd = |it: char| it.is_control() || it.is_whitespace() || "{}%?#\\".contains(it);
        match text.chars().find(|it| odd(*it)) {
            Some(it) => Err(format!("`{}` cannot be in a segment", it.escape_default())),
            None => Ok(Self::Literal(text.into())),
        }
    }
}

// === impl Methods ===

impl Methods {
    /// Every method there is, also those that no manifest can name.
    pub const ANY: Self = Self(u8::MAX);

    /// Reads a list of methods; an error says which is not one.
    pub fn parse(names: &[String]) -> Result<Self, String> {
        let mut methods = 0;
        for name in names {
            let known = METHODS.iter().position(|it| it.as_str() == name);
            let at = known.ok_or_else(|| {
                let known: Vec<_> = METHODS.iter().map(Method::as_str).collect();
                format!("has `{name}`; it can have {}", known.join(", "))
            })?;
            methods |= 1 << at;
        }
        match methods {
            0 => Err("is empty; leave it out to serve every method".to_owned()),
            methods => Ok(Self(methods)),
        }
    }

    /// Whether `method` is among them. `HEAD` is wherever `GET` is.
    pub fn contains(self, method: &Method) -> bool {
        self.names(method) || (method == Method::HEAD && self.names(&Method::GET))
    }

    /// Whether `HEAD` is served only because `GET` is.
    pub fn head_is_get(self, method: &Method) -> bool {
        method == Method::HEAD && !self.names(method)
    }

    /// What both serve.
    pub fn overlap(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What either serves.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this very method is served, and not for another's sake.
    pub fn names(self, method: &Method) -> bool {
        match METHODS.iter().position(|it| it == method) {
            Some(at) => self.0 & (1 << at) != 0,
            None => self == Self::ANY,
        }
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ANY {
            return f.write_str("any method");
        }
        let served = METHODS.iter().filter(|it| self.contains(it));
        for (at, method) in served.enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{method}")?;
        }
        Ok(())
    }
}

// === impl NameTemplate ===

impl NameTemplate {
    /// Reads a template whose parameters are all in `pattern`; an error says
    /// why it is not one.
    pub fn parse(text: &str, pattern: &PathPattern) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let close = rest[open..]
                .find('}')
                .ok_or_else(|| format!("has `{text}`, where a `{{` is not closed"))?;
            let name = &rest[open + 1..open + close];
            if !pattern.parameters().any(|it| **it == *name) {
                return Err(format!(
                    "has `{text}`, but `{}` has no parameter `{name}`",
                    pattern.text
                ));
            }
            parts.push(Part::Text(rest[..open].into()));
            parts.push(Part::Parameter(name.into()));
            rest = &rest[open + close + 1..];
        }
        parts.push(Part::Text(rest.into()));
        let template = Self {
            text: text.into(),
            parts,
        };
        match template.example() {
            Ok(_) => Ok(template),
            Err(error) => Err(format!("has `{text}`, which {error}")),
        }
    }

    /// The name for these values. An error if it is not a name.
    pub fn fill(&self, params: &[(Arc<str>, String)]) -> Result<LockName, InvalidName> {
        self.fill_with(|name| {
            let found = params.iter().find(|(it, _)| **it == *name);
            found.map_or("", |(_, value)| value.as_str())
        })
    }

    /// A name that stands for all that this template makes: what covers it
    /// covers them, as long as a value is one segment.
    pub fn example(&self) -> Result<LockName, InvalidName> {
        self.fill_with(|_| ANY_VALUE)
    }

    fn fill_with<'v>(
        &'v self,
        value: impl Fn(&'v str) -> &'v str,
    ) -> Result<LockName, InvalidName> {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text,
            Part::Parameter(name) => value(name),
        });
        LockName::new(parts.collect::<String>())
    }
}

impl fmt::Display for NameTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_parameter(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || it == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_literals_parameters_and_a_rest() {
        let pattern = PathPattern::parse("/a/{b}/{c...}").unwrap();
        assert_eq!(
            pattern.segments(),
            [
                Segment::Literal("a".into()),
                Segment::Parameter("b".into()),
                Segment::Rest("c".into())
            ]
        );
        assert_eq!(PathPattern::parse("/").unwrap().segments(), []);
    }

    #[test]
    fn what_is_not_a_path_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "is ``; it must begin with `/`"),
            ("a", "is `a`; it must begin with `/`"),
            ("//", "is `//`; it has an empty segment"),
            ("/a/", "is `/a/`; it has an empty segment"),
            ("/a/../b", "is `/a/../b`; a segment `..` is never requested"),
            ("/a%20", "is `/a%20`; `%` cannot be in a segment"),
            ("/a?b", "is `/a?b`; `?` cannot be in a segment"),
            ("/a{b}", "is `/a{b}`; `{` cannot be in a segment"),
            (
                "/{}",
                "is `/{}`; `{}` is not a parameter: its name must be letters, digits and `_`",
            ),
            ("/{a...}/b", "is `/{a...}/b`; nothing may follow `{...}`"),
            ("/{a}/{a}", "has the parameter `a` twice"),
        ] {
            assert_eq!(PathPattern::parse(text).unwrap_err(), why);
        }
        let deep = "/a".repeat(SEGMENTS_MAX + 1);
        assert_eq!(
            PathPattern::parse(&deep).unwrap_err(),
            "has more than 32 segments"
        );
    }

    #[test]
    fn head_is_wherever_get_is() {
        let methods = Methods::parse(&["GET".to_owned(), "POST".to_owned()]).unwrap();
        assert!(methods.contains(&Method::HEAD));
        assert!(methods.head_is_get(&Method::HEAD));
        assert!(!methods.contains(&Method::DELETE));
        assert_eq!(methods.to_string(), "GET, HEAD, POST");
        assert!(!Methods::ANY.head_is_get(&Method::HEAD));
        assert!(Methods::ANY.contains(&Method::from_bytes(b"PURGE").unwrap()));
        assert!(Methods::parse(&["PURGE".to_owned()]).is_err());
        assert!(Methods::parse(&[]).is_err());
    }

    #[test]
    fn a_lock_is_named_by_the_decoded_parameters() {
        let pattern = PathPattern::parse("/seats/{id}").unwrap();
        let template = NameTemplate::parse("seat/{id}/x", &pattern).unwrap();
        let fill = |value: &str| template.fill(&[("id".into(), value.to_owned())]);
        assert_eq!(fill("1 a").unwrap().as_str(), "seat/1 a/x");
        assert!(fill(&"x".repeat(600)).is_err());
        assert!(fill("a\nb").is_err());
    }

    #[test]
    fn a_lock_s_name_uses_only_its_route_s_parameters() {
        let pattern = PathPattern::parse("/seats/{id}").unwrap();
        for (text, why) in [
            (
                "a/{key}",
                "has `a/{key}`, but `/seats/{id}` has no parameter `key`",
            ),
            ("a/{id", "has `a/{id`, where a `{` is not closed"),
            ("", "has ``, which is empty"),
        ] {
            assert_eq!(NameTemplate::parse(text, &pattern).unwrap_err(), why);
        }
    }
}
