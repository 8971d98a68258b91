//! Bodies in and out, and calls.

use crate::wasi::http::outgoing_handler;
use crate::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme, http_error_code,
};
use crate::wasi::io::streams::{OutputStream, StreamError};

/// The longest script.
const SCRIPT_LIMIT: usize = 1024 * 1024;

/// The longest answer of a call.
const ANSWER_LIMIT: usize = 8 * 1024 * 1024;

/// A response's body that is being written.
pub(crate) struct Body {
    pub(crate) stream: OutputStream,
    pub(crate) body: OutgoingBody,
}

/// What is said about a call beside its request.
#[derive(Default)]
pub(crate) struct Extra {
    /// Headers of the request.
    pub(crate) headers: Vec<(String, String)>,
    /// How long it may take to connect, to the first byte and between bytes, in
    /// milliseconds.
    pub(crate) timeouts: Option<[u64; 3]>,
}

/// What a call was answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// The steps of a request: of its query, then of its body.
pub(crate) fn script(request: &IncomingRequest) -> Result<Vec<String>, String> {
    let path = request.path_with_query().unwrap_or_default();
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let mut text = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("do="))
        .map(|steps| decode(steps).replace(';', "\n"))
        .collect::<Vec<_>>()
        .join("\n");
    let body = request.consume().map_err(|()| "no body".to_owned())?;
    let bytes = read(&body, SCRIPT_LIMIT)?;
    text.push('\n');
    text.push_str(std::str::from_utf8(&bytes).map_err(|_| "the body is no text".to_owned())?);
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}

/// Sends a request and waits for the whole answer; `url` is `http://host/path`.
pub(crate) fn call(method: &str, url: &str, body: &[u8], extra: &Extra) -> Result<Answer, String> {
    let response = send(method, url, body, extra)?;
    let incoming = response.consume().map_err(|()| "no body")?;
    Ok(Answer {
        status: response.status(),
        body: read(&incoming, ANSWER_LIMIT)?,
    })
}

/// Sends a request and waits for an answer, whose body is not read.
pub(crate) fn send(
    method: &str,
    url: &str,
    body: &[u8],
    extra: &Extra,
) -> Result<IncomingResponse, String> {
    let (scheme, rest) = url.split_once("://").ok_or("the URL has no scheme")?;
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let scheme = if scheme == "https" {
        Scheme::Https
    } else {
        Scheme::Http
    };
    let fields = Fields::new();
    for (header, value) in &extra.headers {
        fields
            .append(header, value.as_bytes())
            .map_err(|error| format!("{error:?}"))?;
    }
    let request = OutgoingRequest::new(fields);
    request
        .set_method(&method_of(method))
        .map_err(|()| "bad method")?;
    request
        .set_scheme(Some(&scheme))
        .map_err(|()| "bad scheme")?;
    request
        .set_authority(Some(authority))
        .map_err(|()| "bad authority")?;
    request
        .set_path_with_query(Some(path))
        .map_err(|()| "bad path")?;
    let outgoing = request.body().map_err(|()| "no body")?;

    let options = extra.timeouts.map(options);
    let future = outgoing_handler::handle(request, options).map_err(name)?;
    if let Some(open) = open(outgoing) {
        let _ = write(&open.stream, body);
        close(open);
    }
    future.subscribe().block();
    match future.get() {
        Some(Ok(answer)) => answer.map_err(name),
        Some(Err(())) | None => Err("no answer".to_owned()),
    }
}

/// Begins to write a body.
pub(crate) fn open(body: OutgoingBody) -> Option<Body> {
    let stream = body.write().ok()?;
    Some(Body { stream, body })
}

/// Ends a body as it should be ended.
pub(crate) fn close(Body { stream, body }: Body) {
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

/// Writes all of it, as fast as the host takes it.
pub(crate) fn write(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
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

fn read(body: &IncomingBody, limit: usize) -> Result<Vec<u8>, String> {
    let stream = body.stream().map_err(|()| "no stream".to_owned())?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = http_error_code(&error).map(name);
                return Err(code.unwrap_or_else(|| error.to_debug_string()));
            }
        }
        if bytes.len() > limit {
            return Err(format!("the body is longer than {limit} bytes"));
        }
    }
}

fn options([connect, first_byte, between_bytes]: [u64; 3]) -> RequestOptions {
    let nanoseconds = |milliseconds: u64| Some(milliseconds.saturating_mul(1_000_000));
    let options = RequestOptions::new();
    let _ = options.set_connect_timeout(nanoseconds(connect));
    let _ = options.set_first_byte_timeout(nanoseconds(first_byte));
    let _ = options.set_between_bytes_timeout(nanoseconds(between_bytes));
    options
}

/// The case of an error code, without its payload.
fn name(code: ErrorCode) -> String {
    let text = format!("{code:?}");
    let name = text.strip_prefix("ErrorCode::").unwrap_or(&text);
    name.split('(').next().unwrap_or(name).to_owned()
}

fn method_of(name: &str) -> Method {
    match name {
        "DELETE" => Method::Delete,
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "PATCH" => Method::Patch,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        other => Method::Other(other.to_owned()),
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let hex = std::str::from_utf8(&hex).unwrap_or("00");
                u8::from_str_radix(hex, 16).unwrap_or(0)
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
