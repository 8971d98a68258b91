//! Which headers cross the gateway.
//!
//! Headers about one hop (RFC 9110, 7.6.1) end here in both directions: what
//! they say is between the client and us. `Lockport-*` is ours: a client's are
//! not shown to handlers, and a handler's are not sent. One that lends a guard
//! is refused as long as none can be lent: whoever sends it takes what is done
//! for done under its lock. How long a body is and
//! where it ends is decided by whoever writes it to the wire, never by a
//! header that a handler set.

use super::rescue::Refusal;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};

/// Headers about one hop, beside those that `Connection` names.
const HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What headers of ours begin with.
const OURS: &str = "lockport-";

/// Lends a guard to a request or a call.
const GRANT: &str = "lockport-grant";

/// Refuses a request that asks for something which is not served yet.
pub fn check_request(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.contains_key(GRANT) {
        true => Err(Refusal::NotYet("Lockport-Grant")),
        false => Ok(()),
    }
}

/// Takes out of a request what its handler must not see.
pub fn clean_request(headers: &mut HeaderMap) {
    clean(headers);
    join_cookies(headers);
}

/// On HTTP/2 a client may send its cookies one by one. Whoever does not speak
/// it has to see one header (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let all = headers.get_all(COOKIE).iter();
    let all: Vec<_> = all.map(HeaderValue::as_bytes).collect();
    // Values joined by what may be in a value are a value.
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// Takes out of a response what its client must not see, and returns the
/// length of the body if the response states one that can be true.
pub fn clean_response(headers: &mut HeaderMap) -> Option<u64> {
    clean(headers);
    // Only we know.
    headers.remove(super::idempotency::REPLAYED);
    let length = content_length(headers);
    if length.is_none() {
        headers.remove(CONTENT_LENGTH);
    }
    length
}

/// The length of the body if the head states one that can be true.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (Some(value), None) => length(value),
        _ => None,
    }
}

fn clean(headers: &mut HeaderMap) {
    // Most messages have none of these, so only what is there is looked at.
    if headers.contains_key(CONNECTION) {
        for name in named_by_connection(headers) {
            headers.remove(name);
        }
    }
    let doomed: Vec<_> = headers
        .keys()
        .filter(|it| HOP.contains(it) || it.as_str().starts_with(OURS))
        .cloned()
        .collect();
    for name in doomed {
        headers.remove(name);
    }
}

/// The headers that `Connection` says are about this hop. A body's length
/// stays: to strip it on a client's word would change where the body ends.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| *name != CONTENT_LENGTH && *name != http::header::HOST)
        .collect()
}

/// A length, if it is digits only: `+5` and `5, 5` are not.
fn length(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok()?;
    let plain = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn headers_about_one_hop_and_headers_of_ours_do_not_cross() {
        let mut cleaned = headers(&[
            ("connection", "x-mine, Close"),
            ("connection", "content-length, host"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "secret"),
            ("lockport-anything", "secret"),
            ("host", "a"),
            ("content-length", "3"),
            ("x-other", "2"),
        ]);
        clean_request(&mut cleaned);
        let mut left: Vec<_> = cleaned.keys().map(HeaderName::as_str).collect();
        left.sort();
        assert_eq!(left, ["content-length", "host", "x-other"]);
    }

    #[test]
    fn cookies_that_came_one_by_one_are_one_header() {
        let mut one_by_one = headers(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]);
        clean_request(&mut one_by_one);
        let cookies: Vec<_> = one_by_one.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
        let mut alone = headers(&[("cookie", "a=1")]);
        clean_request(&mut alone);
        assert_eq!(alone["cookie"], "a=1");
    }

    #[test]
    fn a_guard_that_is_lent_is_refused() {
        let lent = check_request(&headers(&[("lockport-grant", "secret")]));
        assert!(matches!(lent, Err(Refusal::NotYet("Lockport-Grant"))));
        assert!(check_request(&headers(&[("idempotency-key", "1")])).is_ok());
    }

    #[test]
    fn only_one_plain_length_is_believed() {
        for (values, expected) in [
            (&["12"][..], Some(12)),
            (&["0"], Some(0)),
            (&["+5"], None),
            (&["-5"], None),
            (&[""], None),
            (&["5, 5"], None),
            (&["5", "5"], None),
            (&["5", "6"], None),
            (&["99999999999999999999999"], None),
        ] {
            let pairs: Vec<_> = values.iter().map(|it| ("content-length", *it)).collect();
            let mut headers = headers(&pairs);
            assert_eq!(clean_response(&mut headers), expected, "{values:?}");
            assert_eq!(headers.contains_key("content-length"), expected.is_some());
        }
        assert_eq!(clean_response(&mut HeaderMap::new()), None);
    }
}
