//! An answer as it is kept: a line of ours, and the answer as HTTP/1.1 has it.
//!
//! ```text
//!   1 TIME SHA256-OF-THE-REQUEST'S-BODY HEADER-FIELDS
//!   HTTP/1.1 201 Created
//!   content-type: application/json
//!
//!   {"id": 7}
//! ```

use super::hex;
use bytes::{BufMut, Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use lockport_store::Time;

/// The version of the format.
const VERSION: &str = "1";

/// An answer that was given before.
#[derive(Debug)]
pub(super) struct Kept {
    /// When it was committed, in store time.
    pub(super) at: Time,
    /// SHA-256 of the request's body.
    pub(super) body: [u8; 32],
    pub(super) response: Response<Bytes>,
}

impl Kept {
    pub(super) fn write(at: Time, of: &[u8; 32], head: &Parts, body: &Bytes) -> Bytes {
        let mut text = BytesMut::with_capacity(256 + body.len());
        let (status, at) = (head.status, at.as_micros());
        let reason = status.canonical_reason().unwrap_or_default();
        let fields = head.headers.len();
        text.put_slice(format!("{VERSION} {at} {} {fields}\r\n", hex(of)).as_bytes());
        text.put_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).as_bytes());
        for (name, value) in &head.headers {
            text.put_slice(name.as_str().as_bytes());
            text.put_slice(b": ");
            text.put_slice(value.as_bytes());
            text.put_slice(b"\r\n");
        }
        text.put_slice(b"\r\n");
        text.put_slice(body);
        text.freeze()
    }

    /// `None` for what this version does not understand.
    pub(super) fn read(kept: &Bytes) -> Option<Self> {
        let end = kept.iter().position(|it| *it == b'\n')? + 1;
        let line = str::from_utf8(kept.get(..end)?).ok()?;
        let mut words = line.split_ascii_whitespace();
        if words.next()? != VERSION {
            return None;
        }
        let at = Time::from_micros(words.next()?.parse().ok()?);
        let body = of_hex(words.next()?)?;
        let fields = words.next()?.parse().ok()?;
        let answer = kept.slice(end..);
        // Each is a few bytes of it at least.
        if fields > answer.len() {
            return None;
        }
        let mut headers = vec![httparse::EMPTY_HEADER; fields];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = head.parse(&answer).ok()? else {
            return None;
        };
        let mut response = Response::new(answer.slice(length..));
        *response.status_mut() = StatusCode::try_from(head.code?).ok()?;
        for field in head.headers {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            let value = HeaderValue::from_bytes(field.value).ok()?;
            response.headers_mut().append(name, value);
        }
        Some(Self { at, body, response })
    }
}

fn of_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let response = Response::builder()
            .status(201)
            .header("content-type", "text/plain")
            .header("set-cookie", "a=1")
            .header("set-cookie", HeaderValue::from_bytes(b"b=\xff").unwrap())
            .body(());
        let (head, ()) = response.unwrap().into_parts();
        for body in [Bytes::new(), Bytes::from_static(b"\r\n\r\n\x00\xff\n")] {
            let kept = Kept::write(Time::from_micros(7), &[0xab; 32], &head, &body);
            let read = Kept::read(&kept).unwrap();
            assert_eq!((read.at, read.body), (Time::from_micros(7), [0xab; 32]));
            assert_eq!(read.response.status(), 201);
            assert_eq!(read.response.headers(), &head.headers);
            assert_eq!(read.response.body(), &body);
        }
    }

    #[test]
    fn what_is_not_understood_is_no_answer() {
        let head = "HTTP/1.1 200 OK\r\n\r\n";
        let hash = "00".repeat(32);
        for text in [
            String::new(),
            "1 7".to_owned(),
            format!("2 7 {hash} 0\r\n{head}"),
            format!("1 x {hash} 0\r\n{head}"),
            format!("1 7 {} 0\r\n{head}", &hash[1..]),
            format!("1 7 {hash} 0\r\nHTTP/1.1"),
            format!("1 7 {hash} 0\r\nHTTP/1.1 200 OK\r\na: b\r\n\r\n"),
            format!("1 7 {hash} 99999999999\r\n{head}"),
        ] {
            assert!(Kept::read(&Bytes::from(text.clone())).is_none(), "{text:?}");
        }
    }
}
