//! Asking in JSON over HTTP/1.1, each on a connection of its own.

use super::{Answered, Ask, Refused, ServerSentEvents, Speaks, Told};
use crate::harness::Node;
use crate::harness::http::{Answer, Client, Request, request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;

/// A client.
#[derive(Clone)]
pub(crate) struct JsonApi {
    address: SocketAddr,
    token: Option<String>,
}

impl JsonApi {
    /// Of a node.
    #[track_caller]
    pub(crate) fn of(node: &Node) -> Self {
        Self {
            address: super::address_of(node),
            token: None,
        }
    }

    /// Shows this token with every request from now on.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Sends a request and waits for the whole answer.
    #[track_caller]
    pub(crate) fn send(&self, request: Request) -> Answer {
        Client::new(self.address).send(&self.prepared(request))
    }

    /// `POST` of a body that claims to be JSON.
    #[track_caller]
    pub(crate) fn post(&self, target: &str, body: &str) -> Answer {
        self.send(request("POST", target).text(body))
    }

    /// `GET`.
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.send(request("GET", target))
    }

    /// `DELETE`.
    #[track_caller]
    pub(crate) fn delete(&self, target: &str) -> Answer {
        self.send(request("DELETE", target))
    }

    /// Begins to watch: `target` is `/v1/locks:watch` with its query.
    #[track_caller]
    pub(crate) fn watch(&self, target: &str, last_event_id: Option<u64>) -> ServerSentEvents {
        let mut request = request("GET", target);
        if let Some(revision) = last_event_id {
            request = request.header("last-event-id", &revision.to_string());
        }
        ServerSentEvents::begin(self.address, &self.prepared(request))
    }

    /// The answer to `ask` as it came.
    #[track_caller]
    pub(crate) fn send_ask(&self, ask: &Ask) -> Answer {
        match ask {
            Ask::Acquire(message) => self.post_message("acquire", message),
            Ask::Cancel(message) => self.post_message("cancel", message),
            Ask::Renew(message) => self.post_message("renew", message),
            Ask::Release(message) => self.post_message("release", message),
            Ask::ForceRelease(message) => self.post_message("forceRelease", message),
            Ask::Get(message) => self.get(&format!("/v1/locks/{}", encoded(&message.name))),
            Ask::List(message) => {
                let (prefix, token) = (encoded(&message.prefix), encoded(&message.page_token));
                let size = message.page_size;
                self.get(&format!(
                    "/v1/locks?prefix={prefix}&pageSize={size}&pageToken={token}"
                ))
            }
        }
    }

    fn post_message(&self, method: &str, message: &impl Serialize) -> Answer {
        let body = serde_json::to_string(message).expect("it has a JSON form");
        self.post(&format!("/v1/locks:{method}"), &body)
    }

    fn prepared(&self, request: Request) -> Request {
        match &self.token {
            Some(token) => request.header("authorization", &format!("Bearer {token}")),
            None => request,
        }
    }
}

impl Speaks for JsonApi {
    fn ask(&self, ask: Ask) -> Answered {
        let answer = self.send_ask(&ask);
        if answer.status != 200 {
            return Err(Refused::of_problem(&answer));
        }
        assert_eq!(
            answer.header("content-type"),
            Some("application/json"),
            "{ask:?}",
        );
        Ok(match ask {
            Ask::Acquire(_) => Told::Acquire(message(&answer)),
            Ask::Cancel(_) => Told::Cancel(message(&answer)),
            Ask::Renew(_) => Told::Renew(message(&answer)),
            Ask::Release(_) => Told::Release(message(&answer)),
            Ask::Get(_) => Told::Get(message(&answer)),
            Ask::List(_) => Told::List(message(&answer)),
            Ask::ForceRelease(_) => Told::ForceRelease(message(&answer)),
        })
    }
}

/// `text` so that it means itself in a path or a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(byte.into());
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[track_caller]
fn message<T: DeserializeOwned>(answer: &Answer) -> T {
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

impl Refused {
    /// The refusal in an answer, which has to be a problem of the one shape.
    #[track_caller]
    pub(crate) fn of_problem(answer: &Answer) -> Self {
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{} {}",
            answer.status,
            answer.text(),
        );
        let problem = answer.json();
        let text = |name: &str| {
            let text = problem[name].as_str();
            let text = text.unwrap_or_else(|| panic!("no `{name}` in {problem}"));
            assert!(!text.is_empty(), "`{name}` is empty in {problem}");
            text.to_owned()
        };
        assert_eq!(problem["status"], answer.status, "{problem}");
        // A type and a title are there for every problem.
        let _ = (text("type"), text("title"));
        Self {
            code: None,
            status: Some(answer.status),
            reason: text("reason"),
            message: text("detail"),
        }
    }
}
