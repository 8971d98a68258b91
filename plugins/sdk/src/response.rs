//! What a handler answers.

use std::borrow::Cow;
use std::convert::Infallible;

use serde::Serialize;

use crate::Error;

/// An HTTP response. A status below 400 commits what the handler staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    pub(crate) body: Vec<u8>,
}

/// Something that can be answered.
pub trait IntoResponse {
    /// The response that says it.
    fn into_response(self) -> Response;
}

// === impl Response ===

impl Response {
    /// A response without a body. A status that HTTP does not know is sent as
    /// 500.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A response with any body and its media type.
    #[must_use]
    pub fn bytes(
        status: u16,
        content_type: impl Into<Cow<'static, str>>,
        body: impl Into<Vec<u8>>,
    ) -> Self {
        let headers = vec![(Cow::Borrowed("content-type"), content_type.into())];
        Self {
            status,
            headers,
            body: body.into(),
        }
    }

    /// A response with a JSON body.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`] if `value` has no JSON form, such as a map whose keys
    /// are no strings.
    pub fn json<T: Serialize + ?Sized>(status: u16, value: &T) -> Result<Self, Error> {
        let body = serde_json::to_vec(value).map_err(Error::Encode)?;
        Ok(Self::bytes(status, "application/json", body))
    }

    /// Adds a header. One that HTTP does not allow makes the host answer 500.
    #[must_use]
    pub fn header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

// === impl IntoResponse ===

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

impl IntoResponse for Infallible {
    fn into_response(self) -> Response {
        match self {}
    }
}
