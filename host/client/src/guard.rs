//! Locks that are held, for as long as somebody keeps their guard.

use crate::client::{Client, Released};
use crate::error::Error;
use crate::keeper;
use crate::life::{self, Life, Lost};
use crate::session::Session;
use crate::via::Via;
use lockport_proto::lock::{Grant, ReleaseRequest};
use std::time::Duration;
use tokio::select;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Locks that are held.
///
/// It renews itself. Dropping it releases the locks in the background; if that
/// fails they are held until their lease runs out.
#[must_use = "the locks are released when it is dropped"]
#[derive(Debug)]
pub struct Guard {
    grant: Grant,
    life: Life,
    hold: Hold,
    /// Whether there is nothing left to release.
    released: bool,
}

/// What keeps the grant alive.
#[derive(Debug)]
enum Hold {
    /// A task of its own.
    Keeper {
        client: Client,
        lease: Duration,
        task: AbortHandle,
    },
    /// Its session.
    Session(Session),
}

impl Guard {
    /// The guard of a grant that was acquired, or last renewed, by what was
    /// sent at `sent`.
    pub(crate) fn of_call(
        client: Client,
        grant: Grant,
        sent: Instant,
        lease: Duration,
        remaining: Duration,
    ) -> Self {
        let (keeping, life) = life::begin(life::deadline(sent, remaining));
        let keeper = keeper::keep(client.clone(), grant.id.clone(), lease, sent, keeping);
        let task = client.connection().runtime().spawn(keeper).abort_handle();
        Self {
            grant,
            life,
            hold: Hold::Keeper {
                client,
                lease,
                task,
            },
            released: false,
        }
    }

    /// The guard of a grant that hangs on a session.
    pub(crate) fn of_session(session: Session, grant: Grant) -> Result<Self, Error> {
        let life = session.life_of(grant.fencing_token)?;
        Ok(Self {
            grant,
            life,
            hold: Hold::Session(session),
            released: false,
        })
    }

    /// The names it covers.
    pub fn names(&self) -> &[String] {
        &self.grant.names
    }

    /// The fencing token: greater than that of every earlier grant of the same
    /// locks.
    pub fn token(&self) -> u64 {
        self.grant.fencing_token
    }

    /// The grant's id: a secret, for a `Lockport-Grant` header. Whoever has it
    /// may renew and release the grant.
    pub fn id(&self) -> &str {
        &self.grant.id
    }

    /// The grant as it was acquired. What remained of its lease then says
    /// nothing any more; [`deadline`](Self::deadline) does.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// How long it lasts from one renewal on: its lease, or the shorter of its
    /// session's time to live and grace.
    pub fn lease(&self) -> Duration {
        match &self.hold {
            Hold::Keeper { lease, .. } => *lease,
            Hold::Session(session) => session.lease(),
        }
    }

    /// Until when the locks are held for certain, unless they are taken away.
    /// Each renewal moves it on.
    pub fn deadline(&self) -> Instant {
        match &self.hold {
            Hold::Keeper { .. } => self.life.until(),
            Hold::Session(session) => session.deadline(),
        }
    }

    /// Whether the locks are held, as far as is known.
    pub fn is_held(&self) -> bool {
        let session_ended = match &self.hold {
            Hold::Keeper { .. } => None,
            Hold::Session(session) => session.fate(),
        };
        self.life.fate().or(session_ended).is_none()
    }

    /// Waits until the locks are lost. Resolves before the server can grant
    /// them to anybody else, unless they were taken away.
    pub async fn lost(&self) -> Lost {
        match &self.hold {
            Hold::Keeper { .. } => self.life.lost().await,
            Hold::Session(session) => select! {
                lost = self.life.lost() => lost,
                lost = session.lost() => lost,
            },
        }
    }

    /// Releases the locks, and says whether they were still held.
    pub async fn release(mut self) -> Result<Released, Error> {
        let released = self.ask_to_release().await;
        // If it is not known, dropping it tries once more.
        self.released = released.is_ok();
        released
    }

    /// Lets nobody renew it any more, and releases it.
    fn ask_to_release(&self) -> impl Future<Output = Result<Released, Error>> + Send + 'static {
        let via = match &self.hold {
            Hold::Keeper { client, task, .. } => {
                task.abort();
                Via::Calls(client.clone())
            }
            Hold::Session(session) => {
                session.give_back(self.grant.fencing_token);
                Via::Session(session.clone())
            }
        };
        let grant = self.grant.id.clone();
        async move {
            match via.ask(ReleaseRequest { grant }).await {
                Ok(answer) => Released::read(answer.outcome()),
                // The session has ended, and all its grants with it.
                Err(error) if error.is_lost() => Ok(Released::Already),
                Err(error) => Err(error),
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        let releasing = self.ask_to_release();
        let task = async move {
            if let Err(error) = releasing.await {
                // The locks are free when the lease has run out.
                tracing::debug!(%error, "a guard that was dropped could not be released");
            }
        };
        match &self.hold {
            Hold::Keeper { client, .. } => client.in_background(task),
            Hold::Session(session) => session.client().in_background(task),
        }
    }
}
