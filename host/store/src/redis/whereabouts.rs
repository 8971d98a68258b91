//! Where the server is now: found out before each connection is made.
//!
//! A server that was promoted, or that took over a slot, is another server: what
//! it lacks the nodes say again, as of any that was replaced (`recovery.rs`).

mod cluster;
mod sentinels;

use super::fitness::Refusal;
use super::tls::{Tls, TlsError};
use super::url::{Servers, Url};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ConnectionInfo, RedisError, Value};
use std::sync::Mutex;
use std::time::Duration;

/// How long those who know where the server is may take to say so, each.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Finds the server of a space.
pub(super) struct Whereabouts {
    servers: Servers,
    tls: Tls,
    /// The slot of the space, if it is in a cluster.
    slot: u16,
    /// The nodes of the cluster that were heard of.
    nodes: Mutex<Vec<ConnectionInfo>>,
}

/// Why it is not known where the server is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Lost {
    /// None of the sentinels says anything.
    #[error("none of the sentinels answers")]
    Sentinels(#[source] Option<Silence>),
    /// They know of no such service.
    #[error("the sentinels know of no service `{0}`")]
    Service(String),
    /// No node of the cluster says anything.
    #[error("no node of the cluster answers")]
    Cluster(#[source] Option<Silence>),
    /// Nobody has the slot.
    #[error("no node of the cluster has the slot {0} of the space")]
    Slot(u16),
}

/// Why one who may know where the server is did not say it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Silence {
    /// It cannot be reached, or does not answer as it should.
    #[error(transparent)]
    Server(#[from] RedisError),
    /// There is no secure connection to it.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Whereabouts {
    pub(super) fn new(url: &Url, tls: Tls) -> Self {
        Self {
            servers: url.servers.clone(),
            tls,
            slot: cluster::slot_of(&url.space),
            nodes: Mutex::default(),
        }
    }

    /// Whether the server is one of a cluster.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.servers, Servers::Cluster(_))
    }

    /// Connects to where the server is now. Others are asked at each `attempt`, or
    /// in another order, if not all of them say the same.
    pub(super) async fn connect(
        &self,
        attempt: u64,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, Refusal> {
        let server = match &self.servers {
            Servers::One(server) => server.clone(),
            Servers::Sentinels(it) => sentinels::master(it, &self.tls, attempt).await?,
            Servers::Cluster(seeds) => self.owner(seeds, attempt).await?,
        };
        open(&self.tls, server, config).await
    }
}

async fn open(
    tls: &Tls,
    server: ConnectionInfo,
    config: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, Refusal> {
    let address = server.addr().clone();
    let client = tls.client(server)?;
    let connection = client.get_multiplexed_async_connection_with_config(config);
    connection.await.map_err(|it| tls.explain(&address, it))
}

/// Asks one who may know, on a connection for this alone.
async fn ask(tls: &Tls, server: ConnectionInfo, question: &Cmd) -> Result<Value, Refusal> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_MAX))
        .set_response_timeout(Some(ANSWER_MAX));
    let mut connection = open(tls, server, &config).await?;
    let answer = connection.send_packed_command(question).await?;
    Ok(answer.extract_error()?)
}

/// Remembers why one said nothing, so that others are asked: what is wrong with it
/// rather than that there is no answer. Fails if nobody else need be asked.
fn note(last: &mut Option<Silence>, refusal: Refusal) -> Result<(), Refusal> {
    let silence = match refusal {
        Refusal::Server(error) => error.into(),
        Refusal::Tls(error) if !error.is_of_files() => error.into(),
        other => return Err(other),
    };
    let is_more = |it: &Silence| matches!(it, Silence::Tls(it) if *it != TlsError::Silent);
    if is_more(&silence) || !last.as_ref().is_some_and(is_more) {
        *last = Some(silence);
    }
    Ok(())
}
