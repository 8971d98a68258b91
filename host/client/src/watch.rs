//! Watching locks: resumed where it broke off.

use crate::backoff::Tries;
use crate::calls::service;
use crate::client::Client;
use crate::error::Error;
use lockport_proto::lock::watch_response::Item as WireItem;
use lockport_proto::lock::{Event, WatchRequest, WatchResponse};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tonic::Streaming;

/// A watch that has not begun: await it to get a [`Watching`].
#[must_use = "nothing is watched unless it is awaited"]
#[derive(Clone, Debug)]
pub struct Watch {
    client: Client,
    prefix: String,
    from: u64,
}

/// Tells what happens. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watching {
    client: Client,
    prefix: String,
    /// Everything up to here was told.
    revision: u64,
    stream: Option<Streaming<WatchResponse>>,
    /// What the stream's first message told, if it told something.
    first: Option<Item>,
    tries: Tries,
}

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Something happened.
    Event(Event),
    /// Events were missed: look at the locks again. What is told next is behind
    /// this revision.
    Gap(u64),
}

impl Watch {
    pub(crate) fn new(client: Client, prefix: String) -> Self {
        Self {
            client,
            prefix,
            from: 0,
        }
    }

    /// Only what happened after this revision; without it, from now on.
    pub fn from(mut self, revision: u64) -> Self {
        self.from = revision;
        self
    }

    async fn begin(self) -> Result<Watching, Error> {
        let mut watching = Watching {
            tries: self.client.tries(),
            client: self.client,
            prefix: self.prefix,
            revision: self.from,
            stream: None,
            first: None,
        };
        watching.resume().await?;
        Ok(watching)
    }
}

impl IntoFuture for Watch {
    type Output = Result<Watching, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.begin())
    }
}

impl Watching {
    /// The revision up to which everything was told. A later watch may begin
    /// there.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Waits for what happens next. A stream that breaks is resumed; an error
    /// says that this was of no use. May be dropped: nothing is missed.
    pub async fn next(&mut self) -> Result<Item, Error> {
        loop {
            if let Some(item) = self.first.take() {
                return Ok(item);
            }
            let Some(stream) = &mut self.stream else {
                self.resume().await?;
                continue;
            };
            let error = match stream.message().await {
                Ok(Some(response)) => {
                    self.tries = self.client.tries();
                    match self.told(response) {
                        Some(item) => return Ok(item),
                        None => continue,
                    }
                }
                Ok(None) => Error::nonsense("the stream has just ended"),
                Err(status) => Error::from_status(self.client.connection().server(), status),
            };
            self.stream = None;
            self.again(Instant::now(), error).await?;
        }
    }

    /// What a message tells, and how far that is.
    fn told(&mut self, response: WatchResponse) -> Option<Item> {
        let (revision, item) = match response.item? {
            WireItem::Event(event) => (event.revision, Some(Item::Event(event))),
            WireItem::Gap(gap) => (gap.revision, Some(Item::Gap(gap.revision))),
            WireItem::Progress(progress) => (progress.revision, None),
        };
        self.revision = revision;
        item
    }

    /// Opens a stream behind what was told.
    async fn resume(&mut self) -> Result<(), Error> {
        loop {
            let began = Instant::now();
            match self.open().await {
                Ok(()) => return Ok(()),
                Err(error) => self.again(began, error).await?,
            }
        }
    }

    /// Pauses after a failure, or hands it on if it will not pass.
    async fn again(&mut self, began: Instant, error: Error) -> Result<(), Error> {
        match error.outcome_unknown() && self.tries.again(began, Duration::ZERO).await {
            true => Ok(()),
            false => Err(error),
        }
    }

    /// Opens a stream and reads its first message: from then on nothing is
    /// missed.
    async fn open(&mut self) -> Result<(), Error> {
        let client = self.client.clone();
        let connection = client.connection();
        let line = connection.line();
        let sent = Instant::now();
        let request = connection.request(WatchRequest {
            prefix: self.prefix.clone(),
            from_revision: self.revision,
        });
        let mut service = service(line.channel.clone());
        let opening = async {
            let mut stream = service.watch(request).await?.into_inner();
            let first = stream.message().await?;
            Ok((first, stream))
        };
        let within = client.request_timeout();
        match timeout(within, opening).await {
            Ok(Ok((Some(first), stream))) => {
                self.first = self.told(first);
                self.stream = Some(stream);
                Ok(())
            }
            Ok(Ok((None, _))) => Err(Error::nonsense("the stream has just ended")),
            Ok(Err(status)) => Err(Error::from_status(connection.server(), status)),
            Err(_) => {
                connection.give_up(&line, sent);
                Err(Error::no_answer(connection.server(), within))
            }
        }
    }
}
