//! `locks fill`: many locks held, or many waiters for one, while somebody else
//! measures whether that changes anything.

use crate::connection::Connection;
use crate::load::{CONTENDED, WAIT};
use crate::session::Session;
use crate::unary::{GET, acquire};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use futures_util::future::select_all;
use lockport_proto::lock;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::session_response::Result as Answer;
use std::ops::Range;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};

/// How many requests of one session are in flight: as many as a server reads
/// of one stream, with room to spare.
const WINDOW: usize = 1_000;

/// How many locks one session holds: half of what it may.
const GRANTS: usize = 5_000;

/// How many sessions go over one connection.
const SESSIONS: usize = 100;

/// How long the server may take.
const FILL_MAX: Duration = Duration::from_secs(120);

#[derive(clap::Args)]
pub struct Arguments {
    /// What there is to be many of.
    kind: Kind,

    /// The server, as `host:port`.
    #[arg(long)]
    server: String,

    /// How many.
    #[arg(long, default_value_t = 100_000)]
    count: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Locks that are held, by sessions.
    Held,
    /// Waiters for one lock, which is held.
    Waiters,
}

/// Fills the server, says `ready`, and stays until the standard input ends.
pub async fn run(arguments: &Arguments) -> Result<()> {
    let fill = async {
        match arguments.kind {
            Kind::Held => held(arguments).await,
            Kind::Waiters => waiters(arguments).await,
        }
    };
    let mut sessions = timeout(FILL_MAX, fill)
        .await
        .context("the server took too long")??;
    println!("ready");
    let mut input = tokio::io::stdin();
    let ended = async {
        let mut bytes = [0; 64];
        while input.read(&mut bytes).await? > 0 {}
        Ok(())
    };
    tokio::select! {
        ended = ended => ended,
        answer = any_answer(&mut sessions) => answer,
    }
}

async fn held(arguments: &Arguments) -> Result<Vec<Session>> {
    let connection = Connection::open(&arguments.server).await?;
    let mut sessions = Vec::new();
    for first in (0..arguments.count).step_by(GRANTS) {
        let mut session = Session::open(&connection).await?;
        let behind = arguments.count.min(first + GRANTS);
        hold(&mut session, first..behind).await?;
        sessions.push(session);
    }
    Ok(sessions)
}

/// Holds the locks of these numbers.
async fn hold(session: &mut Session, numbers: Range<usize>) -> Result<()> {
    let mut asked = numbers.start;
    let mut granted = numbers.start;
    while granted < numbers.end {
        while asked < numbers.end && asked - granted < WINDOW {
            let request = of_session(format!("bench/held/{asked}"));
            session.ask(asked as u64 + 2, Operation::Acquire(request));
            asked += 1;
        }
        for (_, answer) in session.answers().await? {
            match answer {
                Answer::Acquire(_) => granted += 1,
                other => bail!("an answer that nobody asked for: {other:?}"),
            }
        }
    }
    Ok(())
}

async fn waiters(arguments: &Arguments) -> Result<Vec<Session>> {
    let mut connection = Connection::open(&arguments.server).await?;
    let mut holder = Session::open(&connection).await?;
    holder.ask(2, Operation::Acquire(of_session(CONTENDED.to_owned())));
    match holder.answers().await?.as_slice() {
        [(2, Answer::Acquire(_))] => {}
        other => bail!("a lock was asked for, and this came: {other:?}"),
    }
    let mut sessions = vec![holder];
    for waiter in 0..arguments.count {
        if waiter % (WINDOW * SESSIONS) == 0 && waiter > 0 {
            connection = Connection::open(&arguments.server).await?;
        }
        if waiter % WINDOW == 0 {
            sessions.push(Session::open(&connection).await?);
        }
        let mut request = of_session(CONTENDED.to_owned());
        request.wait = Some(WAIT.into());
        request.owner = waiter.to_string();
        let last = sessions.last_mut().expect("one was opened just now");
        last.ask((waiter % WINDOW) as u64 + 2, Operation::Acquire(request));
    }
    tokio::select! {
        queued = queued(&connection, arguments.count) => queued?,
        answer = any_answer(&mut sessions) => answer?,
    }
    Ok(sessions)
}

/// Returns when so many wait for the lock.
async fn queued(connection: &Connection, count: usize) -> Result<()> {
    let get = connection.path(GET)?;
    let asked = lock::GetRequest {
        name: CONTENDED.to_owned(),
    };
    loop {
        let answer: lock::GetResponse = connection.call(&get, &asked).await??;
        let waiting = answer.lock.map_or(0, |lock| lock.waiter_count);
        if waiting as usize == count {
            return Ok(());
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn of_session(name: String) -> lock::AcquireRequest {
    lock::AcquireRequest {
        lease: None,
        ..acquire(name)
    }
}

/// Sends what is in line, and waits for an answer, which nobody expects.
async fn any_answer(sessions: &mut [Session]) -> Result<()> {
    let all = sessions.iter_mut().map(|it| Box::pin(it.answers()));
    let (answers, ..) = select_all(all).await;
    bail!("an answer that nobody expected: {:?}", answers?);
}
