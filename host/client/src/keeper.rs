//! Renews one grant until it is told to stop, or the grant is lost.

use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::Error;
use crate::life::{self, Keeping, Lost};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// Renews `grant` at a third of `lease`, the first time a third after `sent`.
/// Returns when it is lost.
pub(crate) async fn keep(
    client: Client,
    grant: String,
    lease: Duration,
    mut sent: Instant,
    keeping: Keeping,
) {
    loop {
        sleep_until(sent + life::beat(lease)).await;
        let renewal = renew(&client, &grant, lease);
        match timeout_at(keeping.until(), renewal).await {
            Ok(Ok((at, until))) => {
                sent = at;
                keeping.extend(until);
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "a grant was taken away");
                return keeping.lose(Lost::Taken);
            }
            Err(_) => return keeping.lose(Lost::Unrenewed),
        }
    }
}

/// Renews until it is acknowledged, and says when that was sent and until when
/// the grant lasts. An error says that the grant has ended.
async fn renew(client: &Client, grant: &str, lease: Duration) -> Result<(Instant, Instant), Error> {
    let mut backoff = Backoff::new();
    loop {
        let sent = Instant::now();
        match client
            .renew_once(grant, lease, life::beat_patience(lease))
            .await
        {
            Ok(remaining) => return Ok((sent, life::deadline(sent, remaining))),
            Err(error) if error.is_lost() => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "a renewal failed and is tried again");
                sleep(backoff.pause()).await;
            }
        }
    }
}
