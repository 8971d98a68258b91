//! An HTTP/1.1 client that says exactly what it is told to, and exactly what
//! came back.
//!
//! It neither retries nor repairs: a body that was cut is reported as cut, a
//! connection that was closed is an error. [`Connection`] takes raw bytes, for
//! everything that a decent client would never send.

mod connection;
mod h2;

pub(crate) use self::h2::H2;
pub(crate) use connection::Connection;

use serde_json::Value;
use std::io;
use std::net::SocketAddr;

/// A request, before it is put on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The headers in their order, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, as far as it came.
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its end.
    pub(crate) end: BodyEnd,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    /// As its framing promised.
    Clean,
    /// The connection ended before that.
    Cut,
}

/// Sends one request after the other over one connection, which is opened
/// again when the other side said that it would close it.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    connection: Option<Connection>,
}

/// A request for `target`.
pub(crate) fn request(method: &str, target: &str) -> Request {
    Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: Vec::new(),
        body: None,
    }
}

// === impl Request ===

impl Request {
    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives it a body of JSON.
    pub(crate) fn json(self, value: impl Into<Value>) -> Self {
        self.text(&value.into().to_string())
    }

    /// Gives it a body that claims to be JSON.
    pub(crate) fn text(self, text: &str) -> Self {
        self.header("content-type", "application/json")
            .body(text.as_bytes().to_vec())
    }

    /// Gives it a body.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// As it goes over the wire.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.has("host") {
            text.push_str("host: shop.test\r\n");
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body
            && !self.has("content-length")
            && !self.has("transfer-encoding")
        {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend(self.body.iter().flatten());
        bytes
    }

    fn has(&self, name: &str) -> bool {
        self.headers
            .iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name))
    }
}

// === impl Answer ===

impl Answer {
    /// The only value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other == name);
        let first = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "more than one `{name}`: {self:?}");
        first
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {}", self.status, self.text()))
    }

    /// Fails unless the status is `status`; shows what came instead.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "the answer was: {}", self.text());
        self
    }

    /// Fails unless it is a problem of the gateway with this status and
    /// reason, in the one shape that problems have.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, reason: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{}",
            answer.text(),
        );
        let problem = answer.json();
        let problem = problem.as_object().expect("a problem is an object");
        assert_eq!(problem["reason"], reason, "{}", answer.text());
        assert_eq!(problem["status"], status, "{}", answer.text());
        for name in ["type", "title", "detail", "request_id"] {
            let text = problem[name].as_str().expect("it is text");
            assert!(!text.is_empty(), "`{name}` is empty: {}", answer.text());
        }
        assert_eq!(
            answer.header("x-request-id"),
            problem["request_id"].as_str(),
            "the header and the body name the same request",
        );
        answer
    }

    fn keeps_alive(&self) -> bool {
        self.end == BodyEnd::Clean
            && !self.headers.iter().any(|(name, value)| {
                name == "connection" && value.to_ascii_lowercase().contains("close")
            })
    }
}

// === impl Client ===

impl Client {
    /// A client of the node at `address`.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    /// Sends `request` and waits for the whole answer.
    pub(crate) fn try_send(&mut self, request: &Request) -> io::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.address)?,
        };
        connection.send(&request.to_bytes())?;
        let answer = connection.answer_to(&request.method)?;
        if answer.keeps_alive() {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    /// As [`Client::try_send`]; none if the connection ended instead of an
    /// answer. A handler that fails right behind its head may do that: the
    /// head is not sent on its own before there is a body for it.
    #[track_caller]
    pub(crate) fn send_to_hostile(&mut self, request: &Request) -> Option<Answer> {
        match self.try_send(request) {
            Ok(answer) => Some(answer),
            Err(error) if connection::is_cut(&error) => None,
            Err(error) => panic!(
                "no answer to {} {}: {error}",
                request.method, request.target
            ),
        }
    }

    /// As [`Client::try_send`]; an answer has to come.
    #[track_caller]
    pub(crate) fn send(&mut self, request: &Request) -> Answer {
        match self.try_send(request) {
            Ok(answer) => answer,
            Err(error) => panic!(
                "no answer to {} {}: {error}",
                request.method, request.target
            ),
        }
    }
}
