//! What a watcher is told, as server-sent events.
//!
//! ```text
//!   id: 1763683200000001
//!   event: granted
//!   data: {"event":{"revision":"1763683200000001","kind":"KIND_GRANTED",...}}
//! ```
//!
//! The data is a `WatchResponse`. A stream that ends says why in an event
//! `problem`, with a problem document.

use crate::access::Caller;
use crate::failure::{Failure, request_id};
use crate::service::Service;
use crate::watch::Watcher;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::StreamExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, request};
use lockport_proto::lock as proto;
use proto::event::Kind;
use proto::watch_response::Item;
use std::convert::Infallible;
use std::sync::Arc;

/// Begins to tell.
pub(super) async fn begin(
    service: &Arc<Service>,
    caller: &Caller,
    request: proto::WatchRequest,
    head: &request::Parts,
) -> Result<Response<Body>, Failure> {
    let watcher = Watcher::new(service, caller, request).await?;
    let request_id = request_id(&head.headers);
    let events = watcher.until(None).map(move |told| {
        let written = told.and_then(|it| write(&it));
        Ok::<_, Infallible>(written.unwrap_or_else(|failure| end(&failure, &request_id)))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn write(response: &proto::WatchResponse) -> Result<Bytes, Failure> {
    let (id, event) = match &response.item {
        Some(Item::Event(event)) => (event.revision, name(event.kind())),
        Some(Item::Gap(gap)) => (gap.revision, "gap"),
        Some(Item::Progress(progress)) => (progress.revision, "progress"),
        None => return Err(Failure::internal("a watcher is told nothing")),
    };
    // JSON has no line breaks outside of strings, and escapes those in them.
    let data = serde_json::to_string(response);
    let data = data.map_err(|why| Failure::internal(&why.to_string()))?;
    Ok(format!("id: {id}\nevent: {event}\ndata: {data}\n\n").into())
}

fn end(failure: &Failure, request_id: &str) -> Bytes {
    let document = failure.document(request_id);
    let document = String::from_utf8_lossy(&document);
    format!("event: problem\ndata: {document}\n\n").into()
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Unspecified => "event",
        Kind::Queued => "queued",
        Kind::Granted => "granted",
        Kind::Released => "released",
        Kind::Expired => "expired",
        Kind::Lost => "lost",
        Kind::Forced => "forced",
        Kind::Left => "left",
    }
}
