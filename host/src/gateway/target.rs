//! What a request asks for: its target, taken apart once. Pure.
//!
//! Everything that two programs could read differently is refused, not
//! repaired: an empty or dot segment, a broken escape, bytes that are not
//! UTF-8. What is left has one meaning, here and in the handler that reads the
//! raw path. A slash that was escaped is part of its segment, so it never
//! moves a request to another route.

use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Uri};
use std::borrow::Cow;

/// A path in segments, percent-decoded once. Of all segments only the last can
/// be empty: `/a/` has two.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'a>(Vec<Cow<'a, str>>);

/// Why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Neither a path nor an absolute URI: `*`, or `host:port`.
    #[error("the request target is not a path")]
    NotAPath,
    /// `//` in the path.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `.` or `..` in the path, escaped or not, also between escaped slashes:
    /// a handler may well join a parameter to a path of its own.
    #[error("the path has a dot segment")]
    DotSegment,
    /// A `%` without two hexadecimal digits.
    #[error("the path has a broken percent escape")]
    Escape,
    /// Escaped bytes that are no text.
    #[error("the path is not UTF-8")]
    NotUtf8,
    /// Not exactly one `Host`, or one that is not a host.
    #[error("the request needs exactly one valid host header")]
    Host,
}

impl<'a> Target<'a> {
    /// Takes the path of `uri` apart.
    pub fn read(uri: &'a Uri) -> Result<Self, TargetError> {
        let path = uri.path().strip_prefix('/').ok_or(TargetError::NotAPath)?;
        if path.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let mut segments = Vec::with_capacity(8);
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            if part.is_empty() && parts.peek().is_some() {
                return Err(TargetError::EmptySegment);
            }
            let segment = decode(part)?;
            if segment.split('/').any(|it| matches!(it, "." | "..")) {
                return Err(TargetError::DotSegment);
            }
            segments.push(segment);
        }
        Ok(Self(segments))
    }

    /// The segments.
    pub fn segments(&self) -> &[Cow<'a, str>] {
        &self.0
    }
}

/// Brings the target into one form, a path with one `Host` beside it: a host
/// that is named in an absolute target replaces the header's.
pub fn normalise(parts: &mut Parts) -> Result<(), TargetError> {
    if let Some(authority) = parts.uri.authority() {
        let host = authority.as_str();
        if parts.uri.scheme().is_none() || host.contains('@') {
            return Err(TargetError::NotAPath);
        }
        let host = HeaderValue::from_str(host).map_err(|_| TargetError::Host)?;
        parts.headers.insert(HOST, host);
        let path = parts.uri.path_and_query().cloned();
        parts.uri = path.map_or_else(Uri::default, Uri::from);
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        _ => Err(TargetError::Host),
    }
}

/// Whether this could be a host and a port. Who it is does not matter here.
fn is_host(bytes: &[u8]) -> bool {
    let allowed = |it: &u8| it.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(it);
    !bytes.is_empty() && bytes.iter().all(allowed)
}

fn decode(part: &str) -> Result<Cow<'_, str>, TargetError> {
    if !part.as_bytes().contains(&b'%') {
        return Ok(part.into());
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let [high, low, behind @ ..] = rest else {
            return Err(TargetError::Escape);
        };
        match (hex(*high), hex(*low)) {
            (Some(high), Some(low)) => bytes.push(high << 4 | low),
            _ => return Err(TargetError::Escape),
        }
        rest = behind;
    }
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| TargetError::NotUtf8)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|it| it as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn segments(path: &str) -> Result<Vec<String>, TargetError> {
        let uri = path.parse().unwrap();
        let target = Target::read(&uri)?;
        Ok(target.segments().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_path_is_decoded_once_segment_by_segment() {
        for (path, expected) in [
            ("/", &[] as &[&str]),
            ("/a", &["a"]),
            ("/a/", &["a", ""]),
            ("/a/b?c=/d/../", &["a", "b"]),
            ("/a%2Fb/c", &["a/b", "c"]),
            ("/%2541", &["%41"]),
            ("/a%20b", &["a b"]),
            ("/%c3%bc", &["\u{fc}"]),
            ("/...", &["..."]),
            ("/a..%2F.b", &["a../.b"]),
            ("/a%00b", &["a\0b"]),
        ] {
            assert_eq!(segments(path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (path, expected) in [
            ("//", TargetError::EmptySegment),
            ("//a", TargetError::EmptySegment),
            ("/a//b", TargetError::EmptySegment),
            ("/a//", TargetError::EmptySegment),
            ("/a/../b", TargetError::DotSegment),
            ("/./a", TargetError::DotSegment),
            ("/a/%2e%2E", TargetError::DotSegment),
            ("/.%2e/a", TargetError::DotSegment),
            ("/a/..%2Fb", TargetError::DotSegment),
            ("/a/b%2f%2e%2e%2fc", TargetError::DotSegment),
            ("/a%2F.", TargetError::DotSegment),
            ("/%", TargetError::Escape),
            ("/%2", TargetError::Escape),
            ("/%zz", TargetError::Escape),
            ("/%ff", TargetError::NotUtf8),
            ("/%c3", TargetError::NotUtf8),
            ("*", TargetError::NotAPath),
        ] {
            assert_eq!(segments(path), Err(expected), "{path}");
        }
    }

    fn normalised(uri: &str, hosts: &[&str]) -> Result<(String, String), TargetError> {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        normalise(&mut parts)?;
        let host = parts.headers[HOST].to_str().unwrap().to_owned();
        Ok((parts.uri.to_string(), host))
    }

    #[test]
    fn an_absolute_target_names_the_host_itself() {
        assert_eq!(
            normalised("http://real.example/a?b", &["other.example"]).unwrap(),
            ("/a?b".to_owned(), "real.example".to_owned())
        );
        assert_eq!(
            normalised("http://real.example", &[]).unwrap(),
            ("/".to_owned(), "real.example".to_owned())
        );
        for uri in ["http://user@real.example/", "real.example:80"] {
            assert_eq!(normalised(uri, &["a"]), Err(TargetError::NotAPath), "{uri}");
        }
    }

    #[test]
    fn a_request_has_exactly_one_host() {
        for hosts in [
            &[] as &[&str],
            &["a", "b"],
            &[""],
            &["a b"],
            &["a/b"],
            &["u@a"],
        ] {
            assert_eq!(normalised("/a", hosts), Err(TargetError::Host), "{hosts:?}");
        }
        for host in ["localhost", "127.0.0.1:3000", "[::1]:3000"] {
            assert_eq!(normalised("/a", &[host]).unwrap().1, host);
        }
    }
}
