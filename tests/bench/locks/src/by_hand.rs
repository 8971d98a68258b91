//! `locks by-hand`: locks on Redis without Lockport, as small as programs write
//! them: nobody waits, renews, hears of a loss or may ask twice.

use crate::load::Measurement;
use crate::meter::Meter;
use crate::unary::LEASE;
use anyhow::{Result, ensure};
use clap::ValueEnum;
use futures_util::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, cmd};
use tokio::time::Instant;

/// The functions `acquire` and `release`.
const LIBRARY: &str = include_str!("smallest.lua");

#[derive(clap::Args)]
pub struct Arguments {
    /// How a lock is acquired.
    how: How,

    /// The server, as `redis://host:port`.
    #[arg(long)]
    server: String,

    /// Acquires and releases in flight, over one connection.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,

    #[command(flatten)]
    measurement: Measurement,
}

/// How a lock is acquired; it is released by comparing and deleting.
#[derive(Clone, Copy, ValueEnum)]
enum How {
    /// By a function that answers a fencing token.
    Token,
    /// By `SET NX PX`, without one.
    Set,
}

/// Acquires and releases, and prints what was measured.
pub async fn run(arguments: Arguments) -> Result<()> {
    let mut connection = open(&arguments).await?;
    let mut load = cmd("FUNCTION");
    load.arg("LOAD")
        .arg(LIBRARY)
        .exec_async(&mut connection)
        .await?;
    let meter = arguments.measurement.meter()?;
    let lanes = (0..arguments.in_flight).map(|number| {
        let lane = Lane {
            how: arguments.how,
            connection: connection.clone(),
            lock: format!("bench/{number}"),
            token: format!("bench/{number}/token"),
            number,
        };
        lane.run(&meter)
    });
    let (figures, _) = tokio::try_join!(meter.finish(), try_join_all(lanes))?;
    figures.print()
}

/// One connection for all, with nothing that costs and is not needed.
async fn open(arguments: &Arguments) -> Result<MultiplexedConnection> {
    let server = arguments.server.as_str().into_connection_info()?;
    let tcp = server.tcp_settings().clone().set_nodelay(true);
    let client = Client::open(server.set_tcp_settings(tcp))?;
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_pipeline_buffer_size(arguments.in_flight);
    Ok(client
        .get_multiplexed_async_connection_with_config(&config)
        .await?)
}

/// A lock that nobody else wants.
struct Lane {
    how: How,
    connection: MultiplexedConnection,
    lock: String,
    token: String,
    number: usize,
}

impl Lane {
    async fn run(mut self, meter: &Meter) -> Result<()> {
        let mut token = 0;
        for round in 0_u64.. {
            if meter.is_over() {
                break;
            }
            // As long as the id of a grant is.
            let holder = format!("{:016x}{round:016x}", self.number);
            let sent = Instant::now();
            match self.how {
                How::Token => {
                    let asked = self.acquire(&holder);
                    let answer: Option<u64> = asked.query_async(&mut self.connection).await?;
                    ensure!(answer > Some(token), "the lock was not granted");
                    token += 1;
                }
                How::Set => {
                    let asked = self.set(&holder);
                    let answer: Option<String> = asked.query_async(&mut self.connection).await?;
                    ensure!(answer.is_some(), "the lock was not granted");
                }
            }
            meter.call(sent);
            let sent = Instant::now();
            let asked = self.release(&holder);
            let released: u64 = asked.query_async(&mut self.connection).await?;
            ensure!(released == 1, "the lock was lost");
            meter.call(sent);
            meter.pair();
        }
        Ok(())
    }

    fn acquire(&self, holder: &str) -> Cmd {
        let mut asked = cmd("FCALL");
        asked.arg("acquire").arg(2).arg(&self.lock).arg(&self.token);
        asked.arg(holder).arg(lease());
        asked
    }

    fn set(&self, holder: &str) -> Cmd {
        let mut asked = cmd("SET");
        asked.arg(&self.lock).arg(holder);
        asked.arg("NX").arg("PX").arg(lease());
        asked
    }

    fn release(&self, holder: &str) -> Cmd {
        let mut asked = cmd("FCALL");
        asked.arg("release").arg(1).arg(&self.lock).arg(holder);
        asked
    }
}

/// In milliseconds.
fn lease() -> u64 {
    LEASE.as_secs() * 1_000
}
