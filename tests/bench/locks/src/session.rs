//! Loads on streams: one task reads what has arrived, and answers all of it
//! with one write.

use crate::connection::{Connection, Duplex};
use crate::echo::proto::Message as Echo;
use crate::load::{CONTENDED, Load, WAIT};
use crate::unary::{ECHO_BYTES, acquire};
use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use lockport_proto::lock;
use lockport_proto::lock::release_response::Outcome;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::session_response::Result as Answer;
use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// How long a session lives without a beat: longer than any measurement.
const TTL: Duration = Duration::from_secs(3_600);

/// The id of the request that opens a session; operations have greater ones.
const OPEN: u64 = 1;

/// A session and its stream.
pub struct Session {
    stream: Duplex<lock::SessionResponse>,
    received: Vec<lock::SessionResponse>,
}

/// Echoes on one stream of each connection.
pub async fn echo(load: &Load) -> Result<()> {
    let streams = load
        .connections
        .iter()
        .zip(windows(load))
        .map(|(connection, window)| echo_stream(load, connection, window.len()));
    try_join_all(streams).await?;
    Ok(())
}

/// Locks on the stream of one session for each connection: each lane has one of
/// its own, or all want the same.
pub async fn locks(load: &Load, contended: bool) -> Result<()> {
    let released = Cell::new(None);
    let streams = load
        .connections
        .iter()
        .zip(windows(load))
        .map(|(connection, window)| {
            let lanes = Lanes {
                load,
                contended: contended.then_some(&released),
                first: window.start,
                lanes: Vec::new(),
                over: 0,
            };
            lanes.run(connection, window.len())
        });
    try_join_all(streams).await?;
    Ok(())
}

/// Which lanes go over which connection.
fn windows(load: &Load) -> impl Iterator<Item = std::ops::Range<usize>> {
    let (all, over) = (load.in_flight, load.connections.len());
    (0..over).map(move |at| all * at / over..all * (at + 1) / over)
}

async fn echo_stream(load: &Load, connection: &Connection, window: usize) -> Result<()> {
    let path = connection.path("/echo.Echo/Session")?;
    let asked = Echo {
        payload: vec![b'x'; ECHO_BYTES],
    };
    let mut stream: Duplex<Echo> = connection.stream(&path, &asked).await?;
    // Answers come in the order of the questions.
    let mut sent = VecDeque::from(vec![Instant::now(); window]);
    for _ in 1..window {
        stream.put(&asked);
    }
    let mut answers = Vec::new();
    while !sent.is_empty() {
        stream.flush()?;
        stream.receive(&mut answers).await?;
        for answer in answers.drain(..) {
            let at = sent.pop_front().context("an answer to nothing")?;
            load.meter.call(at);
            ensure!(answer.payload.len() == ECHO_BYTES, "not what was sent");
            if !load.meter.is_over() {
                stream.put(&asked);
                sent.push_back(Instant::now());
            }
        }
    }
    Ok(())
}

/// The lanes of one session.
struct Lanes<'a> {
    load: &'a Load,
    /// If all lanes want the same lock: when it was last released.
    contended: Option<&'a Cell<Option<Instant>>>,
    /// The number of the first lane.
    first: usize,
    lanes: Vec<Lane>,
    /// How many lanes have ended.
    over: usize,
}

struct Lane {
    asked: lock::AcquireRequest,
    round: u64,
    sent: Instant,
}

impl Lanes<'_> {
    async fn run(mut self, connection: &Connection, window: usize) -> Result<()> {
        let mut session = Session::open(connection).await?;
        for at in 0..window {
            self.lanes.push(self.lane(self.first + at));
            self.acquire(at, &mut session);
        }
        while self.over < window {
            for (id, answer) in session.answers().await? {
                self.answered(id, answer, &mut session)?;
            }
        }
        session.close().await
    }

    fn lane(&self, number: usize) -> Lane {
        let mut asked = match self.contended {
            Some(_) => acquire(CONTENDED.to_owned()),
            None => acquire(self.load.private(number)),
        };
        // A session's grants last as long as it does.
        asked.lease = None;
        if self.contended.is_some() {
            asked.wait = Some(WAIT.into());
            asked.owner = number.to_string();
        }
        Lane {
            asked,
            round: 0,
            sent: Instant::now(),
        }
    }

    fn answered(&mut self, id: u64, answer: Answer, session: &mut Session) -> Result<()> {
        let operation = id.checked_sub(OPEN + 1).context("nobody asked for this")?;
        let at = (operation % self.lanes.len() as u64) as usize;
        match answer {
            Answer::Acquire(granted) => {
                let grant = granted.grant.context("an answer without a grant")?;
                match self.contended {
                    Some(released) => {
                        if let Some(at) = released.replace(Some(Instant::now())) {
                            self.load.meter.call(at);
                        }
                    }
                    None => self.load.meter.call(self.lanes[at].sent),
                }
                let asked = lock::ReleaseRequest { grant: grant.id };
                self.ask(at, Operation::Release(asked), session);
            }
            Answer::Release(released) => {
                ensure!(
                    released.outcome() == Outcome::Released,
                    "the grant was lost"
                );
                if self.contended.is_none() {
                    self.load.meter.call(self.lanes[at].sent);
                }
                self.load.meter.pair();
                if self.load.meter.is_over() {
                    self.over += 1;
                } else {
                    self.acquire(at, session);
                }
            }
            other => bail!("an answer that nobody asked for: {other:?}"),
        }
        Ok(())
    }

    fn acquire(&mut self, at: usize, session: &mut Session) {
        let lane = &mut self.lanes[at];
        lane.asked.request_id = self.load.request_id(self.first + at, lane.round);
        let asked = lane.asked.clone();
        self.ask(at, Operation::Acquire(asked), session);
    }

    fn ask(&mut self, at: usize, operation: Operation, session: &mut Session) {
        let lanes = self.lanes.len().max(at + 1) as u64;
        let lane = &mut self.lanes[at];
        session.ask(OPEN + 1 + lane.round * lanes + at as u64, operation);
        lane.round += 1;
        lane.sent = Instant::now();
    }
}

impl Session {
    /// Opens a session on a stream of its own.
    pub async fn open(connection: &Connection) -> Result<Self> {
        let path = connection.path("/lockport.lock.v1.LockService/Session")?;
        let open = lock::OpenSession {
            ttl: Some(TTL.into()),
            ..Default::default()
        };
        let open = lock::SessionRequest {
            id: OPEN,
            operation: Some(Operation::Open(open)),
        };
        let mut session = Self {
            stream: connection.stream(&path, &open).await?,
            received: Vec::new(),
        };
        match session.answers().await?.as_slice() {
            [(OPEN, Answer::Opened(_))] => Ok(session),
            other => bail!("a session was opened, and this came: {other:?}"),
        }
    }

    /// Puts a request in line; waiting for [`Session::answers`] sends it.
    pub fn ask(&mut self, id: u64, operation: Operation) {
        self.stream.put(&lock::SessionRequest {
            id,
            operation: Some(operation),
        });
    }

    /// Sends what is in line and waits for answers; a failure is an error.
    pub async fn answers(&mut self) -> Result<Vec<(u64, Answer)>> {
        self.stream.flush()?;
        self.stream.receive(&mut self.received).await?;
        let answers = self.received.drain(..).map(|response| {
            match response.result.context("an answer without a result")? {
                Answer::Failure(failure) => bail!("{}: {}", failure.reason, failure.message),
                answer => Ok((response.id, answer)),
            }
        });
        answers.collect()
    }

    /// Ends the session.
    async fn close(mut self) -> Result<()> {
        self.ask(u64::MAX, Operation::Close(lock::CloseSession {}));
        match self.answers().await?.as_slice() {
            [(u64::MAX, Answer::Closed(_))] => Ok(()),
            other => bail!("a session was closed, and this came: {other:?}"),
        }
    }
}
