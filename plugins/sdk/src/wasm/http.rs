//! `wasi:http`: the request that came in, the response to it, and calls out.
//!
//! The usual request costs few host calls: headers are fetched only when asked
//! for, and a body that fits what the host allows at once is written without
//! waiting.

use std::cell::Cell;

use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types as wit;
use crate::bindings::wasi::io::streams::{OutputStream, StreamError};
use crate::call::{ANSWER_LIMIT, Answer, Error};
use crate::{BodyError, IntoResponse, Method, Request, Response};

/// How much is asked of an incoming body at once.
const READ_CHUNK: u64 = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Incoming {
    request: wit::IncomingRequest,
    /// Whether the body was asked for; it can be had once.
    consumed: Cell<bool>,
}

/// Why a body could not be read to its end.
enum ReadError {
    TooLarge,
    Incomplete,
}

/// Runs the handler and sends what it answers.
///
/// The response is set after the handler has returned, so that all that it
/// does to state and locks comes before: setting the response is what commits.
#[doc(hidden)]
pub fn serve<R, E>(
    request: wit::IncomingRequest,
    out: wit::ResponseOutparam,
    handler: impl FnOnce(&Request) -> Result<R, E>,
) where
    R: IntoResponse,
    E: IntoResponse,
{
    let request = Request::new(Incoming {
        request,
        consumed: Cell::new(false),
    });
    let response = crate::answer(&request, handler);
    match outgoing(&response) {
        Ok(head) => send(head, &response, out),
        Err(reason) => {
            super::log(&format!("the response is not valid: {reason}"));
            wit::ResponseOutparam::set(out, Err(wit::ErrorCode::InternalError(None)));
        }
    }
}

/// Calls `http://{authority}{path}` and waits for the whole answer.
pub(crate) fn call(
    method: &Method,
    authority: &str,
    path: &str,
    body: Option<&[u8]>,
) -> Result<Answer, Error> {
    let request = outgoing_request(method, authority, path, body.is_some())?;
    let outgoing = request.body().map_err(|()| failed("no body"))?;
    let future = outgoing_handler::handle(request, None).map_err(refused)?;
    // The callee starts when the request is complete. If it refuses to read
    // the whole of it, its answer says why.
    if let Some(bytes) = body {
        let stream = outgoing.write().map_err(|()| failed("no stream"))?;
        let _ = write(&stream, bytes);
    }
    let _ = wit::OutgoingBody::finish(outgoing, None);

    future.subscribe().block();
    let response = match future.get() {
        Some(Ok(answer)) => answer.map_err(refused)?,
        Some(Err(())) | None => return Err(failed("no answer")),
    };
    let status = response.status();
    let incoming = response.consume().map_err(|()| failed("no body"))?;
    match read(&incoming, ANSWER_LIMIT) {
        Ok(body) => Ok(Answer { status, body }),
        Err(ReadError::TooLarge) => Err(Error::TooLarge),
        Err(ReadError::Incomplete) => Err(failed("the answer ended early")),
    }
}

// === impl Incoming ===

impl Incoming {
    pub(crate) fn method(&self) -> Method {
        match self.request.method() {
            wit::Method::Connect => Method::Connect,
            wit::Method::Delete => Method::Delete,
            wit::Method::Get => Method::Get,
            wit::Method::Head => Method::Head,
            wit::Method::Options => Method::Options,
            wit::Method::Patch => Method::Patch,
            wit::Method::Post => Method::Post,
            wit::Method::Put => Method::Put,
            wit::Method::Trace => Method::Trace,
            wit::Method::Other(name) => Method::Other(name),
        }
    }

    pub(crate) fn path_with_query(&self) -> String {
        self.request.path_with_query().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let value = self.request.headers().get(name).into_iter().next()?;
        String::from_utf8(value).ok()
    }

    pub(crate) fn body(&self, limit: usize) -> Result<Vec<u8>, BodyError> {
        if self.consumed.replace(true) {
            return Err(BodyError::Incomplete);
        }
        let body = self.request.consume().map_err(|()| BodyError::Incomplete)?;
        read(&body, limit).map_err(|error| match error {
            ReadError::TooLarge => BodyError::TooLarge { limit },
            ReadError::Incomplete => BodyError::Incomplete,
        })
    }
}

// === helpers: responses ===

fn outgoing(response: &Response) -> Result<wit::OutgoingResponse, &'static str> {
    let mut headers: Vec<(String, Vec<u8>)> = Vec::with_capacity(response.headers.len() + 1);
    for (name, value) in &response.headers {
        headers.push((name.as_ref().to_owned(), value.as_bytes().to_vec()));
    }
    if !response.body.is_empty() {
        headers.push((
            "content-length".into(),
            response.body.len().to_string().into_bytes(),
        ));
    }
    let fields = wit::Fields::from_list(&headers).map_err(|_| "a header is not allowed")?;
    let head = wit::OutgoingResponse::new(fields);
    if response.status != 200 {
        head.set_status_code(response.status)
            .map_err(|()| "no such status")?;
    }
    Ok(head)
}

fn send(head: wit::OutgoingResponse, response: &Response, out: wit::ResponseOutparam) {
    let body = head.body();
    wit::ResponseOutparam::set(out, Ok(head));
    let Ok(body) = body else { return };
    if !response.body.is_empty() {
        let Ok(stream) = body.write() else { return };
        if write(&stream, &response.body).is_err() {
            // The client is gone, or the host has refused the commit. A body
            // that is dropped unfinished never looks complete.
            return;
        }
    }
    let _ = wit::OutgoingBody::finish(body, None);
}

// === helpers: calls ===

fn outgoing_request(
    method: &Method,
    authority: &str,
    path: &str,
    json: bool,
) -> Result<wit::OutgoingRequest, Error> {
    let fields = if json {
        let content_type = ("content-type".to_owned(), b"application/json".to_vec());
        wit::Fields::from_list(&[content_type]).map_err(|_| failed("no header"))?
    } else {
        wit::Fields::new()
    };
    let request = wit::OutgoingRequest::new(fields);
    request
        .set_method(&outgoing_method(method))
        .map_err(|()| failed("no such method"))?;
    request
        .set_scheme(Some(&wit::Scheme::Http))
        .map_err(|()| failed("no such scheme"))?;
    request
        .set_authority(Some(authority))
        .map_err(|()| Error::NotFound)?;
    request
        .set_path_with_query(Some(path))
        .map_err(|()| Error::Path(path.to_owned()))?;
    Ok(request)
}

fn outgoing_method(method: &Method) -> wit::Method {
    match method {
        Method::Connect => wit::Method::Connect,
        Method::Delete => wit::Method::Delete,
        Method::Get => wit::Method::Get,
        Method::Head => wit::Method::Head,
        Method::Options => wit::Method::Options,
        Method::Patch => wit::Method::Patch,
        Method::Post => wit::Method::Post,
        Method::Put => wit::Method::Put,
        Method::Trace => wit::Method::Trace,
        Method::Other(name) => wit::Method::Other(name.clone()),
    }
}

fn refused(code: wit::ErrorCode) -> Error {
    match code {
        wit::ErrorCode::HttpRequestDenied => Error::Denied,
        wit::ErrorCode::DestinationNotFound => Error::NotFound,
        other => Error::Failed(other.to_string()),
    }
}

fn failed(text: &str) -> Error {
    Error::Failed(text.to_owned())
}

// === helpers: bodies ===

/// Writes all of it, as fast as the host takes it.
fn write(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        if room == 0 {
            stream.subscribe().block();
            continue;
        }
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        stream.write(now)?;
        bytes = later;
    }
    Ok(())
}

fn read(body: &wit::IncomingBody, limit: usize) -> Result<Vec<u8>, ReadError> {
    let stream = body.stream().map_err(|()| ReadError::Incomplete)?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(READ_CHUNK) {
            Ok(chunk) if bytes.is_empty() => bytes = chunk,
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(_)) => return Err(ReadError::Incomplete),
        }
        if bytes.len() > limit {
            return Err(ReadError::TooLarge);
        }
    }
}
