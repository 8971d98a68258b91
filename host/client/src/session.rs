//! A session: many grants that live and end together, and one stream that
//! carries everything.
//!
//! ```text
//!   Session, its guards --ask--> Table <--settle-- Stream's task <--> server
//!                                (what is under way)      |
//!                                                       beats
//! ```
//!
//! Whoever asks enters the request in the table and queues it on the stream.
//! The stream's task matches answers with requests and beats. When the stream
//! breaks it attaches the session to another, and sends again what is under
//! way; nobody who asked hears of it. While nothing is under way that has time:
//! see [`RETURN_MAX`].

mod stream;
mod table;

use crate::acquire::Acquire;
use crate::calls::Call;
use crate::client::Client;
use crate::error::Error;
use crate::life::{Life, Lost};
use crate::options::SessionOptions;
use lockport_proto::lock::CloseSession;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::session_response::Result as Answered;
use std::sync::Arc;
use std::time::Duration;
use stream::Opened;
pub use stream::RETURN_MAX;
use table::Table;
use tokio::time::Instant;

/// A session on whose life many grants hang. Cheap to clone.
///
/// It beats until the last of its clones and of its guards is dropped; then it
/// is closed in the background, and if that fails it ends by itself after its
/// grace.
#[derive(Clone, Debug)]
pub struct Session {
    handle: Arc<Handle>,
}

/// Closes the session when it is dropped.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

/// What the session and its stream's task share.
#[derive(Debug)]
struct Shared {
    client: Client,
    table: Table,
    life: Life,
    /// The shorter of its time to live and its grace.
    lease: Duration,
}

impl Session {
    pub(crate) async fn open(client: Client, options: SessionOptions) -> Result<Self, Error> {
        let opened = stream::open(&client, options).await?;
        Ok(Self::begin(client, opened))
    }

    fn begin(client: Client, opened: Opened) -> Self {
        let shared = Arc::new(Shared {
            table: Table::default(),
            life: opened.life(),
            lease: opened.lease(),
            client,
        });
        let runtime = shared.client.connection().runtime();
        drop(runtime.spawn(opened.run(Arc::clone(&shared))));
        Self {
            handle: Arc::new(Handle { shared }),
        }
    }

    /// Acquires every name, all or none: await what this returns. The grant
    /// hangs on this session and has no lease of its own.
    pub fn acquire<N: Into<String>>(&self, names: impl IntoIterator<Item = N>) -> Acquire {
        Acquire::over_session(self.clone(), names.into_iter().map(Into::into).collect())
    }

    /// Until when the session lives for certain. Each beat moves it on.
    pub fn deadline(&self) -> Instant {
        self.shared().life.until()
    }

    /// Waits until the session has ended, and all its grants with it. Resolves
    /// before the server can grant their locks to anybody else.
    pub async fn lost(&self) -> Lost {
        self.shared().life.lost().await
    }

    /// Ends the session at once: its grants are released and its waits end. An
    /// error says that it had been lost before.
    pub async fn close(self) -> Result<(), Error> {
        self.shared().close().await
    }

    pub(crate) fn client(&self) -> &Client {
        &self.shared().client
    }

    /// How long it lives without a beat.
    pub(crate) fn lease(&self) -> Duration {
        self.shared().lease
    }

    /// How it ended, if it has.
    pub(crate) fn fate(&self) -> Option<Lost> {
        self.shared().life.fate()
    }

    /// The life of a grant that was acquired just now.
    pub(crate) fn life_of(&self, token: u64) -> Result<Life, Error> {
        self.shared().table.life_of(token)
    }

    /// One less asks about a grant.
    pub(crate) fn forget(&self, token: u64) {
        self.shared().table.forget(token);
    }

    /// A grant is given back: other guards of it are told.
    pub(crate) fn give_back(&self, token: u64) {
        self.shared().table.give_back(token);
    }

    /// Asks, and asks again over another stream if this one breaks.
    pub(crate) async fn ask_once<Q: Call>(
        &self,
        message: Q,
        wait: Duration,
    ) -> Result<Q::Answer, Error> {
        let answered = self.shared().ask(message.operation(), wait).await?;
        Q::answer(answered).ok_or_else(|| Error::nonsense("it answers something else"))
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }
}

impl Shared {
    async fn ask(&self, operation: Operation, wait: Duration) -> Result<Answered, Error> {
        let awaited = self.table.enter(operation, wait)?;
        awaited.answer().await
    }

    async fn close(&self) -> Result<(), Error> {
        match self
            .ask(Operation::Close(CloseSession {}), Duration::ZERO)
            .await?
        {
            Answered::Closed(_) => Ok(()),
            _ => Err(Error::nonsense("it answers something else")),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.shared.life.fate().is_some() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.shared.client.in_background(async move {
            if let Err(error) = shared.close().await {
                tracing::debug!(%error, "a session that was dropped could not be closed");
            }
        });
    }
}
