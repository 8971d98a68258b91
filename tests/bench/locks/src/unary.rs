//! Loads of unary calls: as many lanes as requests may be in flight, each
//! asking again when it was answered.

use crate::connection::{Connection, Status};
use crate::echo::proto::Message as Echo;
use crate::load::{CONTENDED, Load, WAIT};
use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use lockport_proto::lock;
use lockport_proto::lock::release_response::Outcome;
use std::cell::Cell;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// etcd's messages.
mod etcd {
    tonic::include_proto!("etcd");
}

/// The methods of the lock API.
pub const ACQUIRE: &str = "/lockport.lock.v1.LockService/Acquire";
const RELEASE: &str = "/lockport.lock.v1.LockService/Release";
/// See [`ACQUIRE`].
pub const GET: &str = "/lockport.lock.v1.LockService/Get";

/// What an echo carries: as much as the mean of an acquire, a release and
/// their answers.
pub const ECHO_BYTES: usize = 80;

/// How long the lease of a lock is; nobody comes near its end.
pub const LEASE: Duration = Duration::from_secs(30);

/// The status that refuses a lock which somebody else holds.
const ALREADY_EXISTS: i32 = 6;

/// How often etcd, which listens before it has elected itself, is asked again.
const ELECTION_TRIES: usize = 600;

/// An echo in each lane.
pub async fn echo(load: &Load) -> Result<()> {
    let asked = Echo {
        payload: vec![b'x'; ECHO_BYTES],
    };
    let asked = &asked;
    lanes(load, async |_, connection| {
        let path = connection.path("/echo.Echo/Unary")?;
        while !load.meter.is_over() {
            let sent = Instant::now();
            let answer: Echo = connection.call(&path, asked).await??;
            load.meter.call(sent);
            ensure!(answer.payload.len() == ECHO_BYTES, "not what was sent");
        }
        Ok(())
    })
    .await
}

/// A lock of its own in each lane, acquired and released.
pub async fn locks(load: &Load) -> Result<()> {
    lanes(load, async |lane, connection| {
        let locker = Locker::new(connection)?;
        let mut asked = acquire(load.private(lane));
        for round in 0.. {
            if load.meter.is_over() {
                break;
            }
            asked.request_id = load.request_id(lane, round);
            let sent = Instant::now();
            let grant = locker.acquire(&asked).await?;
            load.meter.call(sent);
            let sent = Instant::now();
            locker.release(grant).await?;
            load.meter.call(sent);
            load.meter.pair();
        }
        Ok(())
    })
    .await
}

/// The same lock in all lanes, which somebody else holds.
pub async fn refused(load: &Load) -> Result<()> {
    lanes(load, async |lane, connection| {
        let path = connection.path(ACQUIRE)?;
        let mut asked = acquire(CONTENDED.to_owned());
        for round in 0.. {
            if load.meter.is_over() {
                break;
            }
            asked.request_id = load.request_id(lane, round);
            let sent = Instant::now();
            let answer: Result<lock::AcquireResponse, Status> =
                connection.call(&path, &asked).await?;
            load.meter.call(sent);
            match answer {
                Err(status) if status.code == ALREADY_EXISTS => {}
                Err(status) => return Err(status.into()),
                Ok(_) => bail!("a lock was granted that somebody else should hold"),
            }
        }
        Ok(())
    })
    .await
}

/// The same lock in all lanes, each waiting for it.
pub async fn handover(load: &Load) -> Result<()> {
    let released = Cell::new(None);
    let released = &released;
    lanes(load, async |lane, connection| {
        let locker = Locker::new(connection)?;
        let mut asked = acquire(CONTENDED.to_owned());
        asked.wait = Some(WAIT.into());
        for round in 0.. {
            if load.meter.is_over() {
                break;
            }
            asked.request_id = load.request_id(lane, round);
            let grant = locker.acquire(&asked).await?;
            if let Some(at) = released.replace(Some(Instant::now())) {
                load.meter.call(at);
            }
            locker.release(grant).await?;
            load.meter.pair();
        }
        Ok(())
    })
    .await
}

/// A lock of its own in each lane, on etcd, all under one lease.
pub async fn etcd(load: &Load) -> Result<()> {
    let lease = lease(&load.connections[0]).await?;
    lanes(load, async |lane, connection| {
        let lock = connection.path("/v3lockpb.Lock/Lock")?;
        let unlock = connection.path("/v3lockpb.Lock/Unlock")?;
        let asked = etcd::LockRequest {
            name: load.private(lane).into_bytes(),
            lease,
        };
        while !load.meter.is_over() {
            let sent = Instant::now();
            let locked: etcd::LockResponse = connection.call(&lock, &asked).await??;
            load.meter.call(sent);
            let key = etcd::UnlockRequest { key: locked.key };
            let sent = Instant::now();
            let _: etcd::UnlockResponse = connection.call(&unlock, &key).await??;
            load.meter.call(sent);
            load.meter.pair();
        }
        Ok(())
    })
    .await
}

/// Asks for `name` as our clients do.
pub fn acquire(name: String) -> lock::AcquireRequest {
    lock::AcquireRequest {
        names: vec![name],
        lease: Some(LEASE.into()),
        ..Default::default()
    }
}

/// A lease that outlasts the measurement.
async fn lease(connection: &Connection) -> Result<i64> {
    let path = connection.path("/etcdserverpb.Lease/LeaseGrant")?;
    let asked = etcd::LeaseGrantRequest { ttl: 3_600 };
    let mut tries = 0;
    loop {
        let answer: Result<etcd::LeaseGrantResponse, _> = connection.call(&path, &asked).await?;
        match answer {
            Ok(lease) => return Ok(lease.id),
            Err(status) if tries == ELECTION_TRIES => return Err(status.into()),
            Err(_) => tries += 1,
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Runs `lane` so many times at once, spread over the connections.
async fn lanes<F>(load: &Load, lane: impl Fn(usize, Connection) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let lanes = (0..load.in_flight).map(|at| {
        let connection = &load.connections[at % load.connections.len()];
        lane(at, connection.clone())
    });
    try_join_all(lanes).await?;
    Ok(())
}

/// The lock API on one connection.
struct Locker {
    connection: Connection,
    acquire: crate::connection::Path,
    release: crate::connection::Path,
}

impl Locker {
    fn new(connection: Connection) -> Result<Self> {
        Ok(Self {
            acquire: connection.path(ACQUIRE)?,
            release: connection.path(RELEASE)?,
            connection,
        })
    }

    /// Acquires, and answers the grant's id.
    async fn acquire(&self, asked: &lock::AcquireRequest) -> Result<String> {
        let granted: lock::AcquireResponse = self.connection.call(&self.acquire, asked).await??;
        Ok(granted.grant.context("an answer without a grant")?.id)
    }

    async fn release(&self, grant: String) -> Result<()> {
        let asked = lock::ReleaseRequest { grant };
        let answer: lock::ReleaseResponse = self.connection.call(&self.release, &asked).await??;
        ensure!(answer.outcome() == Outcome::Released, "the grant was lost");
        Ok(())
    }
}
