//! Percent-encoding in paths and queries: decoded once, and strictly.

use crate::failure::Failure;
use lockport_proto::Reason;
use std::borrow::Cow;
use std::fmt::Write;

/// Decodes a part of a path.
pub(crate) fn decode(text: &str) -> Result<String, Failure> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |it: Option<u8>| (it? as char).to_digit(16);
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(refused("has a `%` without two hexadecimal digits"));
        };
        // Two digits make a byte.
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| refused("is not UTF-8 once it is decoded"))
}

/// The parameters of a query, in order. A `+` stands for a space.
pub(crate) fn parameters(
    query: Option<&str>,
) -> impl Iterator<Item = Result<(String, String), Failure>> {
    let parts = query.unwrap_or_default().split('&');
    parts.filter(|it| !it.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Ok((decode(&spaces(name))?, decode(&spaces(value))?))
    })
}

/// Encodes a text as one segment of a path, or as a value in a query.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte as char);
            }
            // Writing to a string cannot fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

fn spaces(text: &str) -> Cow<'_, str> {
    match text.contains('+') {
        true => text.replace('+', " ").into(),
        false => text.into(),
    }
}

fn refused(why: &'static str) -> Failure {
    Failure::new(Reason::InvalidRequest, format!("the path or query {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_once_and_only_if_it_is_well_formed() {
        assert_eq!(decode("a%2Fb/%25%32f").unwrap(), "a/b/%2f");
        assert_eq!(decode("%C3%BC+").unwrap(), "\u{fc}+");
        for wrong in ["%", "%2", "%2x", "%+1", "%ff", "a%C3"] {
            assert!(decode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn whatever_is_encoded_is_decoded_to_the_same() {
        let odd = "a/b c+d%e{f}*\u{20ac}?&=#";
        assert_eq!(decode(&encode(odd)).unwrap(), odd);
        assert_eq!(encode("a/\u{fc}"), "a%2F%C3%BC");
    }

    #[test]
    fn parameters_are_pairs_in_order() {
        let read = |query| parameters(Some(query)).collect::<Result<Vec<_>, _>>();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let pairs = vec![pair("a", "1=2"), pair("b", ""), pair("a", "x y")];
        assert_eq!(read("a=1=2&&b&a=x+%79").unwrap(), pairs);
        assert!(read("a=%ff").is_err());
        assert_eq!(parameters(None).count(), 0);
    }
}
