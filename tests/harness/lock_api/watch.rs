//! Watching locks: by gRPC, and as server-sent events.

use super::{Answered, LockApi, Refused};
use crate::harness::http::{Connection, Request};
use lockport_proto::lock::event::Kind;
use lockport_proto::lock::lock_service_client::LockServiceClient;
use lockport_proto::lock::watch_response::Item;
use lockport_proto::lock::{Event, WatchRequest, WatchResponse};
use std::net::SocketAddr;
use tonic::Streaming;

/// A watch by gRPC. What comes is kept by the connection until it is read.
pub(crate) struct Watching {
    stream: Streaming<WatchResponse>,
    /// Where it began.
    pub(crate) began: u64,
}

/// A watch by server-sent events.
pub(crate) struct ServerSentEvents {
    connection: Connection,
    /// What was read of the connection and is no whole chunk yet.
    chunks: Vec<u8>,
    /// What the chunks held and is no whole event yet.
    text: String,
}

/// A server-sent event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServerSentEvent {
    /// Its `id`.
    pub(crate) id: u64,
    /// Its `event`.
    pub(crate) event: String,
    /// Its `data`.
    pub(crate) data: serde_json::Value,
}

impl Watching {
    pub(super) fn begin(api: &LockApi, request: WatchRequest) -> Answered<Self> {
        let mut client = LockServiceClient::new(api.channel());
        let begin = client.watch(api.request(request));
        let stream = super::wait_for("a watch", begin)
            .map_err(|status| Refused::of_status(&status))?
            .into_inner();
        let mut watching = Self { stream, began: 0 };
        match watching.next_item()? {
            Item::Progress(progress) => watching.began = progress.revision,
            other => panic!("a watch began with {other:?}"),
        }
        Ok(watching)
    }

    /// The next message of any kind.
    #[track_caller]
    pub(crate) fn next_item(&mut self) -> Answered<Item> {
        let message = super::wait_for("what is watched", self.stream.message());
        let message = message.map_err(|status| Refused::of_status(&status))?;
        let message = message.expect("a watch does not just end");
        Ok(message.item.expect("a message says something"))
    }

    /// The next event. There must be no gap before it.
    #[track_caller]
    pub(crate) fn next_event(&mut self) -> Event {
        loop {
            match self.next_item() {
                Ok(Item::Event(event)) => return event,
                Ok(Item::Progress(_)) => {}
                other => panic!("instead of an event: {other:?}"),
            }
        }
    }

    /// The events up to and with the first for which `last` holds.
    #[track_caller]
    pub(crate) fn events_until(&mut self, last: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next_event();
            let is_last = last(&event);
            events.push(event);
            if is_last {
                return events;
            }
        }
    }

    /// The events up to and with the first of this kind for this lock.
    #[track_caller]
    pub(crate) fn events_until_kind(&mut self, kind: Kind, name: &str) -> Vec<Event> {
        self.events_until(|event| event.kind() == kind && event.names.iter().any(|it| it == name))
    }
}

impl ServerSentEvents {
    #[track_caller]
    pub(super) fn begin(address: SocketAddr, request: &Request) -> Self {
        let mut connection = Connection::open(address).expect("the node listens");
        connection
            .send(&request.to_bytes())
            .expect("the node reads");
        let (status, headers) = connection.head().expect("the node answers");
        assert_eq!(status, 200, "{headers:?}");
        let has = |name: &str, value: &str| headers.iter().any(|(n, v)| n == name && v == value);
        assert!(has("content-type", "text/event-stream"), "{headers:?}");
        assert!(has("transfer-encoding", "chunked"), "{headers:?}");
        Self {
            connection,
            chunks: Vec::new(),
            text: String::new(),
        }
    }

    /// The next event that is not a progress.
    #[track_caller]
    pub(crate) fn next_event(&mut self) -> ServerSentEvent {
        loop {
            let event = self.next_any();
            if event.event != "progress" {
                return event;
            }
        }
    }

    /// The next event of any kind. Comments are passed over.
    #[track_caller]
    pub(crate) fn next_any(&mut self) -> ServerSentEvent {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                if let Some(event) = parse(&block) {
                    return event;
                }
            }
            let bytes = self.connection.some_bytes().expect("the node goes on");
            assert!(!bytes.is_empty(), "the node ended the events");
            self.chunks.extend(bytes);
            self.unpack();
        }
    }

    /// Takes every whole chunk out of its framing.
    fn unpack(&mut self) {
        while let Some(line) = self.chunks.windows(2).position(|two| two == b"\r\n") {
            let size = std::str::from_utf8(&self.chunks[..line]).expect("a size is ASCII");
            let size = usize::from_str_radix(size, 16).expect("a size is hexadecimal");
            assert_ne!(size, 0, "the node ended the events");
            let end = line + 2 + size;
            if self.chunks.len() < end + 2 {
                return;
            }
            let data = std::str::from_utf8(&self.chunks[line + 2..end]);
            self.text.push_str(data.expect("events are UTF-8"));
            self.chunks.drain(..end + 2);
        }
    }
}

/// The event in a block of lines; none if all of them are comments.
fn parse(block: &str) -> Option<ServerSentEvent> {
    let field = |name: &str| {
        let of_name = |line: &'_ str| {
            line.strip_prefix(name)?
                .strip_prefix(": ")
                .map(str::to_owned)
        };
        block.lines().find_map(of_name)
    };
    let data = field("data")?;
    Some(ServerSentEvent {
        id: field("id")?.parse().expect("an id is a revision"),
        event: field("event")?,
        data: serde_json::from_str(&data).expect("the data is JSON"),
    })
}
