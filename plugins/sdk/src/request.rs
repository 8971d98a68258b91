//! The request that is being handled.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::{Error, host, json, query};

/// How many bytes of a body [`Request::json`] reads: 1 MiB. The host may allow
/// less.
pub const BODY_LIMIT: usize = 1024 * 1024;

/// An HTTP request. It is read as far as the handler asks for it.
#[derive(Debug)]
pub struct Request {
    incoming: host::Incoming,
}

/// An HTTP method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// `CONNECT`
    Connect,
    /// `DELETE`
    Delete,
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `OPTIONS`
    Options,
    /// `PATCH`
    Patch,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `TRACE`
    Trace,
    /// Any other one, as it was sent.
    Other(String),
}

/// A request's body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than the handler allows.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },

    /// It ended before it was complete, or was read before.
    #[error("the body cannot be read")]
    Incomplete,
}

impl Request {
    pub(crate) fn new(incoming: host::Incoming) -> Self {
        Self { incoming }
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.incoming.method()
    }

    /// The path and the query, as they were sent.
    #[must_use]
    pub fn path_with_query(&self) -> String {
        self.incoming.path_with_query()
    }

    /// The first value of a query parameter, decoded; none if it is absent.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<String> {
        query::value(&self.path_with_query(), name)
    }

    /// The first value of a header, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.incoming.header(name)
    }

    /// The route that matched, as the manifest has it: `/orders/{id}`.
    #[must_use]
    pub fn route(&self) -> String {
        host::route()
    }

    /// A parameter of the route, percent-decoded once.
    ///
    /// # Errors
    ///
    /// [`Error::NoParam`] if the matched route has no such parameter.
    pub fn param(&self, name: &str) -> Result<String, Error> {
        host::params()
            .into_iter()
            .find_map(|(known, value)| (known == name).then_some(value))
            .ok_or_else(|| Error::NoParam(name.to_owned()))
    }

    /// The request's identity, the one in the logs.
    #[must_use]
    pub fn id(&self) -> String {
        host::request_id()
    }

    /// Who asks, if the gateway knows.
    #[must_use]
    pub fn principal(&self) -> Option<String> {
        host::principal()
    }

    /// How long the request may still run.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        host::deadline()
    }

    /// The whole body, of at most `limit` bytes. It can be read once.
    ///
    /// # Errors
    ///
    /// If it is longer, ends too early, or was read before.
    pub fn body(&self, limit: usize) -> Result<Vec<u8>, BodyError> {
        self.incoming.body(limit)
    }

    /// The whole body as JSON, of at most [`BODY_LIMIT`] bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Body`] if it cannot be read, [`Error::Json`] if it is not what
    /// `T` expects; that one names the field.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(json::decode(&self.body(BODY_LIMIT)?)?)
    }

    /// The same, if it is a JSON object. For a struct: [`Self::json`] would
    /// take an array for its fields as well.
    ///
    /// # Errors
    ///
    /// As [`Self::json`], and if the body is not an object.
    pub fn object<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(json::decode_object(&self.body(BODY_LIMIT)?)?)
    }
}
