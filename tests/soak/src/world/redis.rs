//! A Redis server of a round's own, and its replica.

use crate::process::Process;
use anyhow::{Context, Result, bail};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

/// How long a server may take to come up or to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The server that the nodes use, and the one that may take its place.
#[derive(Debug)]
pub(crate) struct Redis {
    /// Locked by whoever does something to it.
    master: Mutex<Server>,
    home: PathBuf,
}

/// A `redis-server` that writes down everything before it answers.
#[derive(Debug)]
struct Server {
    process: Option<Process>,
    address: SocketAddr,
    dir: PathBuf,
}

impl Redis {
    /// Starts one that has nothing.
    pub(crate) async fn start(home: &Path) -> Result<Self> {
        let server = Server::start(home.join("redis")).await?;
        Ok(Self {
            master: Mutex::new(server),
            home: home.to_owned(),
        })
    }

    /// Where it listens.
    pub(crate) async fn address(&self) -> SocketAddr {
        self.master.lock().await.address
    }

    /// Has it run a command; its answer.
    pub(crate) async fn command(&self, command: &str) -> Result<String> {
        // Locked until it has answered: another fault would cut it off.
        let server = self.master.lock().await;
        ask(server.address, command).await
    }

    /// SIGSTOP for so long.
    pub(crate) async fn pause(&self, lasts: Duration) -> Result<()> {
        let server = self.master.lock().await;
        let process = server.process.as_ref().context("it does not run")?;
        process.pause()?;
        sleep(lasts).await;
        process.go_on()
    }

    /// `kill -9`, and another start on the same files after so long.
    pub(crate) async fn kill(&self, lasts: Duration) -> Result<()> {
        let mut server = self.master.lock().await;
        if let Some(process) = server.process.take() {
            process.kill().await?;
        }
        sleep(lasts).await;
        server.spawn().await
    }

    /// Starts a replica, promotes it when it has caught up, and kills the server
    /// in whose place it comes; where it listens.
    pub(crate) async fn fail_over(&self) -> Result<SocketAddr> {
        let mut server = self.master.lock().await;
        let next = self.home.join(format!("redis-{}", server.address.port()));
        let mut replica = Server::start(next).await?;
        let follow = format!("REPLICAOF 127.0.0.1 {}", server.address.port());
        ask(replica.address, &follow).await?;
        let end = Instant::now() + PATIENCE;
        while !ask(replica.address, "INFO replication")
            .await?
            .contains("master_link_status:up")
        {
            if Instant::now() > end {
                bail!("the replica does not catch up");
            }
            sleep(Duration::from_millis(20)).await;
        }
        ask(replica.address, "REPLICAOF NO ONE").await?;
        std::mem::swap(&mut *server, &mut replica);
        if let Some(process) = replica.process.take() {
            process.kill().await?;
        }
        Ok(server.address)
    }
}

impl Server {
    async fn start(dir: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&dir)?;
        // Free now; whoever takes it first has it, and then the start fails.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mut server = Self {
            process: None,
            address: free.local_addr()?,
            dir,
        };
        drop(free);
        server.spawn().await?;
        Ok(server)
    }

    async fn spawn(&mut self) -> Result<()> {
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port"])
            .arg(self.address.port().to_string())
            .args([
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
            ])
            .arg("--dir")
            .arg(&self.dir);
        let mut process = Process::start(&mut command, &self.dir.join("log"))
            .context("redis-server is needed: `apt-get install redis-server`")?;
        process.forget_output();
        let end = Instant::now() + PATIENCE;
        while !ask(self.address, "PING")
            .await
            .is_ok_and(|it| it.starts_with("+PONG"))
        {
            if Instant::now() > end {
                bail!("redis-server does not answer");
            }
            sleep(Duration::from_millis(10)).await;
        }
        self.process = Some(process);
        Ok(())
    }
}

/// Has a server run a command, on a connection of its own. Long answers are cut.
async fn ask(address: SocketAddr, command: &str) -> Result<String> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .await?;
        let mut bytes = vec![0; 16 << 10];
        let count = stream.read(&mut bytes).await?;
        io::Result::Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
    };
    let answer = timeout(PATIENCE, asked).await??;
    if let Some(refusal) = answer.strip_prefix('-') {
        bail!("redis-server refused `{command}`: {}", refusal.trim());
    }
    Ok(answer)
}
