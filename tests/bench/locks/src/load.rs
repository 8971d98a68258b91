//! `locks load`: so many requests in flight, for so long, at one server.

use crate::connection::Connection;
use crate::meter::Meter;
use crate::{session, unary};
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::time::Duration;
use tokio::time::timeout;

/// How long the last requests may take to be answered.
const END_MAX: Duration = Duration::from_secs(60);

/// The lock that everybody wants.
pub const CONTENDED: &str = "bench/contended";

/// How long a waiter waits: longer than any measurement.
pub const WAIT: Duration = Duration::from_secs(3_600);

#[derive(clap::Args)]
pub struct Arguments {
    /// What is asked of the server.
    target: Target,

    /// The server, as `host:port`.
    #[arg(long)]
    server: String,

    /// Connections; a session has one stream on each.
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    connections: usize,

    /// Requests in flight, over all connections.
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    in_flight: usize,

    #[command(flatten)]
    measurement: Measurement,
}

/// For how long, and who is watched.
#[derive(clap::Args)]
pub struct Measurement {
    /// Seconds that are measured.
    #[arg(long, default_value_t = 5)]
    seconds: u64,

    /// Seconds before that.
    #[arg(long, default_value_t = 1)]
    warm_up: u64,

    /// A process that serves, to see how busy it is; several are added up.
    #[arg(long)]
    pid: Vec<u32>,
}

/// What is asked of a server.
#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// Unary calls of a bare tonic server.
    EchoUnary,
    /// Messages on streams of a bare tonic server.
    EchoStream,
    /// Acquire and release a lock of one's own, by unary calls.
    LockUnary,
    /// The same on the stream of a session.
    LockStream,
    /// Ask for a lock that is held, without waiting.
    LockRefused,
    /// All want one lock, by unary calls; the latency is that from a release
    /// to the next grant, and calls are grants.
    HandoverUnary,
    /// The same on the stream of a session, for an owner each.
    HandoverStream,
    /// Lock and unlock a name of one's own on etcd, under one lease.
    Etcd,
}

/// A load on one server.
pub struct Load {
    pub connections: Vec<Connection>,
    pub in_flight: usize,
    pub meter: Meter,
    /// Tells this run's requests from those of others.
    run: u64,
}

/// Runs the load and prints what was measured.
pub async fn run(arguments: &Arguments) -> Result<()> {
    let mut connections = Vec::new();
    for _ in 0..arguments.connections {
        connections.push(Connection::open(&arguments.server).await?);
    }
    let load = Load {
        connections,
        in_flight: arguments.in_flight,
        meter: arguments.measurement.meter()?,
        run: rand::random(),
    };
    let work = async {
        match arguments.target {
            Target::EchoUnary => unary::echo(&load).await,
            Target::EchoStream => session::echo(&load).await,
            Target::LockUnary => unary::locks(&load).await,
            Target::LockStream => session::locks(&load, false).await,
            Target::LockRefused => unary::refused(&load).await,
            Target::HandoverUnary => unary::handover(&load).await,
            Target::HandoverStream => session::locks(&load, true).await,
            Target::Etcd => unary::etcd(&load).await,
        }
    };
    let both = async { tokio::try_join!(load.meter.finish(), work) };
    let (figures, ()) = timeout(arguments.measurement.all() + END_MAX, both)
        .await
        .context("the server stopped answering")??;
    figures.print()
}

impl Measurement {
    /// A meter that begins now.
    pub fn meter(&self) -> Result<Meter> {
        let [warm_up, span] = [self.warm_up, self.seconds].map(Duration::from_secs);
        Meter::start(warm_up, span, self.pid.clone())
    }

    fn all(&self) -> Duration {
        Duration::from_secs(self.warm_up + self.seconds)
    }
}

impl Load {
    /// A lock that only `lane` of this run asks for.
    pub fn private(&self, lane: usize) -> String {
        format!("bench/{:016x}/{lane}", self.run)
    }

    /// An id that no other request has: 32 digits, as clients choose them.
    pub fn request_id(&self, lane: usize, round: u64) -> String {
        let lane = u32::try_from(lane).expect("lanes are few");
        format!("{:016x}{lane:04x}{round:012x}", self.run)
    }
}

fn at_least_one(text: &str) -> Result<usize> {
    let number = text.parse()?;
    anyhow::ensure!(number > 0, "at least 1");
    Ok(number)
}
