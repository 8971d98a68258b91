//! How requests travel: as calls of their own, or on a session's stream.

use crate::calls::Call;
use crate::client::Client;
use crate::error::Error;
use crate::session::Session;
use std::time::Duration;
use tokio::time::Instant;

/// How requests travel, and what the grants hang on that they acquire.
#[derive(Clone, Debug)]
pub(crate) enum Via {
    /// Calls of their own.
    Calls(Client),
    /// A session's stream.
    Session(Session),
}

impl Via {
    /// The client at this end.
    pub(crate) fn client(&self) -> &Client {
        match self {
            Self::Calls(client) => client,
            Self::Session(session) => session.client(),
        }
    }

    /// Asks once. The answer may take as long as `wait`, and a while.
    pub(crate) async fn ask_once<Q: Call>(
        &self,
        message: Q,
        wait: Duration,
    ) -> Result<Q::Answer, Error> {
        match self {
            Self::Calls(client) => {
                let within = wait.saturating_add(client.request_timeout());
                client.connection().ask(message, within).await
            }
            Self::Session(session) => session.ask_once(message, wait).await,
        }
    }

    /// Asks, and asks again while it is not known whether it happened.
    pub(crate) async fn ask<Q: Call>(&self, message: Q) -> Result<Q::Answer, Error> {
        let mut tries = self.client().tries();
        loop {
            let began = Instant::now();
            match self.ask_once(message.clone(), Duration::ZERO).await {
                Err(error) if error.outcome_unknown() => {
                    if !tries.again(began, Duration::ZERO).await {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }
}
