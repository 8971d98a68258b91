//! The identity of a request: taken from its client, or minted.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use std::fmt;
use std::sync::Arc;

/// The header that carries it, in and out.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest identity a client may choose, in bytes.
pub const BYTES_MAX: usize = 128;

/// A request's identity: 1 to [`BYTES_MAX`] letters, digits and `-_.:`. Cheap
/// to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The identity the client chose, if it is one; else a new, random one.
    pub fn of(headers: &HeaderMap) -> Self {
        let chosen = headers.get(HEADER).and_then(|it| it.to_str().ok());
        match chosen.filter(|it| is_identity(it)) {
            Some(chosen) => Self(chosen.into()),
            None => Self::mint(),
        }
    }

    /// A new, random identity (128 bits), in hexadecimal.
    pub fn mint() -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut number: u128 = rand::random();
        let mut text = [0; 32];
        for digit in text.iter_mut().rev() {
            *digit = DIGITS[(number & 0xf) as usize];
            number >>= 4;
        }
        Self(str::from_utf8(&text).unwrap_or_default().into())
    }

    /// The identity as text.
    pub fn text(&self) -> &Arc<str> {
        &self.0
    }

    /// The identity as a header's value.
    pub fn header(&self) -> HeaderValue {
        // Every character of an identity is visible ASCII.
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("invalid"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_identity(text: &str) -> bool {
    let allowed = |it: u8| it.is_ascii_alphanumeric() || b"-_.:".contains(&it);
    !text.is_empty() && text.len() <= BYTES_MAX && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &[u8]) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_bytes(value).unwrap());
        RequestId::of(&headers)
    }

    #[test]
    fn a_client_chooses_the_identity_if_it_is_a_plain_word() {
        assert_eq!(&**of(b"a-1_B.2:c").text(), "a-1_B.2:c");
        for odd in [&b""[..], b"a b", b"a\"b", b"\xff", &[b'x'; BYTES_MAX + 1]] {
            let minted = of(odd);
            assert_eq!(minted.text().len(), 32);
            assert!(is_identity(minted.text()));
        }
    }

    #[test]
    fn minted_identities_differ() {
        assert_ne!(RequestId::mint(), RequestId::mint());
    }
}
