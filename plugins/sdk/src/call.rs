//! Calls to other components, in the same transaction.
//!
//! The manifest must grant them (`calls = ["invoice"]`). What the callee
//! changes is committed with what the caller changes; if it answers 400 or
//! more, its part alone is undone. It inherits the caller's guards as far as
//! its own grants cover them.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{JsonError, Method, host, json};

/// How many bytes of an answer are read: 1 MiB, the host's limit for calls
/// that join.
pub const ANSWER_LIMIT: usize = 1024 * 1024;

/// What the other component answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,

    /// The body.
    pub body: Vec<u8>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The manifest does not grant the call.
    #[error("the component is not granted this call")]
    Denied,

    /// There is no such component.
    #[error("there is no such component")]
    NotFound,

    /// The path is not allowed.
    #[error("the path `{0}` is not allowed")]
    Path(String),

    /// The body has no JSON form.
    #[error("the body has no JSON form")]
    Encode(#[source] serde_json::Error),

    /// No answer came, or not a whole one. The text is for people.
    #[error("the call gave no answer: {0}")]
    Failed(String),

    /// The answer is longer than [`ANSWER_LIMIT`].
    #[error("the answer is longer than {ANSWER_LIMIT} bytes")]
    TooLarge,

    /// The callee answered 400 or more.
    #[error("the call was answered with status {0}")]
    Status(u16),

    /// The answer is not the JSON that was expected.
    #[error("the answer is not as expected")]
    Json(#[source] JsonError),
}

/// `GET`s from a component.
///
/// # Errors
///
/// If there is no answer; an answer of 400 or more is none.
pub fn get(component: &str, path: &str) -> Result<Answer, Error> {
    send(&Method::Get, component, path, None)
}

/// `DELETE`s at a component.
///
/// # Errors
///
/// As [`get`].
pub fn delete(component: &str, path: &str) -> Result<Answer, Error> {
    send(&Method::Delete, component, path, None)
}

/// `POST`s JSON to a component.
///
/// # Errors
///
/// As [`get`], and if `body` has no JSON form.
pub fn post<T: Serialize + ?Sized>(component: &str, path: &str, body: &T) -> Result<Answer, Error> {
    send_json(&Method::Post, component, path, body)
}

/// `PUT`s JSON to a component.
///
/// # Errors
///
/// As [`post`].
pub fn put<T: Serialize + ?Sized>(component: &str, path: &str, body: &T) -> Result<Answer, Error> {
    send_json(&Method::Put, component, path, body)
}

/// `PATCH`es a component with JSON.
///
/// # Errors
///
/// As [`post`].
pub fn patch<T: Serialize + ?Sized>(
    component: &str,
    path: &str,
    body: &T,
) -> Result<Answer, Error> {
    send_json(&Method::Patch, component, path, body)
}

/// Sends a request with any JSON body, or none, to a component.
///
/// # Errors
///
/// As [`get`].
pub fn send(
    method: &Method,
    component: &str,
    path: &str,
    body: Option<&[u8]>,
) -> Result<Answer, Error> {
    host::call(method, &format!("{component}.internal"), path, body)
}

fn send_json<T: Serialize + ?Sized>(
    method: &Method,
    component: &str,
    path: &str,
    body: &T,
) -> Result<Answer, Error> {
    let body = serde_json::to_vec(body).map_err(Error::Encode)?;
    send(method, component, path, Some(&body))
}

// === impl Answer ===

impl Answer {
    /// The answer itself if its status is below 400.
    ///
    /// # Errors
    ///
    /// [`Error::Status`] otherwise.
    pub fn success(self) -> Result<Self, Error> {
        if self.status < 400 {
            Ok(self)
        } else {
            Err(Error::Status(self.status))
        }
    }

    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if it is not what `T` expects.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        json::decode(&self.body).map_err(Error::Json)
    }
}
