//! The client: every operation of the lock API as a method.

use crate::acquire::Acquire;
use crate::backoff::Tries;
use crate::calls::{Call, from_wire, to_wire};
use crate::connection::Connection;
use crate::error::Error;
use crate::options::{Options, SessionOptions};
use crate::session::Session;
use crate::via::Via;
use crate::watch::Watch;
use lockport_proto::lock::{
    CancelRequest, ForceReleaseRequest, GetRequest, Grant, ListRequest, ListResponse, Lock,
    ReleaseRequest, RenewRequest, cancel_response, force_release_response::Taken, release_response,
};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A client of the lock API. Cheap to clone; all clones share one connection,
/// which comes back by itself.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    request_timeout: Duration,
    patience: Duration,
}

/// How many locks a page has: as many as it may.
const PAGE_SIZE: u32 = 1000;

/// What a release found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// The grant was held, and is no more.
    Released,
    /// It had ended before.
    Already,
}

/// What a cancel found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// Nothing had been granted, and nothing will be.
    Cancelled,
    /// It had been granted before. If that grant was still held, it has been
    /// given back.
    Granted,
}

impl Client {
    /// Connects to a server. It fails if there is none: what fails later is
    /// tried again.
    ///
    /// The client lives in the runtime that this is called in; it may be a
    /// multi-thread or a current-thread one.
    pub async fn connect(options: Options) -> Result<Self, Error> {
        let connection = Connection::open(&options).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                connection,
                request_timeout: options.request_timeout,
                patience: options.patience,
            }),
        })
    }

    /// Connects as the environment says: see [`Options::from_env`].
    pub async fn from_env() -> Result<Self, Error> {
        Self::connect(Options::from_env()).await
    }

    /// Acquires every name, all or none: await what this returns.
    pub fn acquire<N: Into<String>>(&self, names: impl IntoIterator<Item = N>) -> Acquire {
        Acquire::over_calls(self.clone(), names.into_iter().map(Into::into).collect())
    }

    /// Opens a session, on whose life many grants hang.
    pub async fn session(&self, options: SessionOptions) -> Result<Session, Error> {
        Session::open(self.clone(), options).await
    }

    /// Makes a grant last at least `lease` from now; without one, as long as
    /// when it was acquired.
    pub async fn renew(&self, grant: &str, lease: Option<Duration>) -> Result<Grant, Error> {
        let message = RenewRequest {
            grant: grant.to_owned(),
            lease: lease.map(to_wire),
        };
        let answer = self.ask(message).await?;
        answer.grant.ok_or_else(|| Error::nonsense("no grant"))
    }

    /// Gives a grant back. Doing it twice is no error, and does nothing to
    /// whoever holds the locks by then.
    pub async fn release(&self, grant: &str) -> Result<Released, Error> {
        let grant = grant.to_owned();
        let answer = self.ask(ReleaseRequest { grant }).await?;
        Released::read(answer.outcome())
    }

    /// Ends the wait of a request, or gives back what it was granted. A request
    /// that has not arrived yet is refused when it does.
    pub async fn cancel(&self, request_id: &str) -> Result<Cancelled, Error> {
        let request_id = request_id.to_owned();
        let answer = self.ask(CancelRequest { request_id }).await?;
        match answer.outcome() {
            cancel_response::Outcome::Cancelled => Ok(Cancelled::Cancelled),
            cancel_response::Outcome::Granted => Ok(Cancelled::Granted),
            cancel_response::Outcome::Unspecified => Err(Error::nonsense("no outcome")),
        }
    }

    /// Who holds a lock and who waits for it.
    pub async fn get(&self, name: &str) -> Result<Lock, Error> {
        let name = name.to_owned();
        let answer = self.ask(GetRequest { name }).await?;
        answer.lock.ok_or_else(|| Error::nonsense("no lock"))
    }

    /// A page of the locks that are held or waited for whose names begin with
    /// `prefix`, as long as pages may be: the first, or the one that
    /// `page_token` names, which is the `next_page_token` of the page before.
    pub async fn list(&self, prefix: &str, page_token: &str) -> Result<ListResponse, Error> {
        let message = ListRequest {
            prefix: prefix.to_owned(),
            page_size: PAGE_SIZE,
            page_token: page_token.to_owned(),
        };
        self.ask(message).await
    }

    /// Tells what happens to the locks whose names begin with `prefix`: await
    /// what this returns.
    pub fn watch(&self, prefix: impl Into<String>) -> Watch {
        Watch::new(self.clone(), prefix.into())
    }

    /// Takes a lock away from its holders, with all the names of their grants.
    /// For operators; `reason` goes to the server's log.
    ///
    /// Asked once, whatever comes of it: if its answer got lost, to ask again
    /// could take the lock away from the next holder. Look with
    /// [`get`](Self::get) first.
    pub async fn force_release(&self, name: &str, reason: &str) -> Result<Vec<Taken>, Error> {
        let message = ForceReleaseRequest {
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        let within = self.request_timeout();
        Ok(self.connection().ask(message, within).await?.taken)
    }

    /// The connection.
    pub(crate) fn connection(&self) -> &Connection {
        &self.inner.connection
    }

    /// Within what an answer has to come.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.inner.request_timeout
    }

    /// Tries of one operation.
    pub(crate) fn tries(&self) -> Tries {
        Tries::new(self.inner.patience)
    }

    /// Asks, and asks again while it is not known whether it happened. For what
    /// does nothing twice.
    async fn ask<Q: Call>(&self, message: Q) -> Result<Q::Answer, Error> {
        Via::Calls(self.clone()).ask(message).await
    }

    /// Renews once, and says how long the grant lasts.
    pub(crate) async fn renew_once(
        &self,
        grant: &str,
        lease: Duration,
        within: Duration,
    ) -> Result<Duration, Error> {
        let message = RenewRequest {
            grant: grant.to_owned(),
            lease: Some(to_wire(lease)),
        };
        let within = within.min(self.request_timeout());
        let answer = self.connection().ask(message, within).await?;
        let remaining = answer.grant.and_then(|it| it.remaining);
        Ok(remaining.map_or(lease, |it| from_wire(&it)))
    }

    /// Does something that nobody waits for.
    pub(crate) fn in_background(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.connection().runtime().spawn(task));
    }
}

impl Released {
    pub(crate) fn read(outcome: release_response::Outcome) -> Result<Self, Error> {
        match outcome {
            release_response::Outcome::Released => Ok(Self::Released),
            release_response::Outcome::Already => Ok(Self::Already),
            release_response::Outcome::Unspecified => Err(Error::nonsense("no outcome")),
        }
    }
}
