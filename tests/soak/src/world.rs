//! The system under test: nodes, their store, and the network between them and
//! everybody.

mod redis;

use crate::process::Process;
use crate::proxy::{Passage, Proxy, Way};
use crate::schedule::Storage;
use anyhow::{Context, Result, ensure};
use redis::Redis;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use toml::Value as Toml;

/// How long a node may take to start, other attempts included: its store may be
/// away at first.
const START: Duration = Duration::from_secs(60);

/// How long a node is taken to live without a beat: shorter than many faults
/// last, so that what hangs on it ends in some of them.
const LEASE: &str = "2s";

/// How long nodes have after a failover to say what they hold.
const RECLAIM: &str = "4s";

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// The program under test.
    pub lockport: PathBuf,
    /// The folder of the component that runs steps, with its manifest.
    pub probe: PathBuf,
    /// Where compiled components are kept, for all rounds.
    pub cache: PathBuf,
}

/// The system.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) redis: Option<Redis>,
    home: TempDir,
}

/// A node, and the ways to it.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    places: Places,
    config: PathBuf,
    log: PathBuf,
    /// Locked by whoever does something to the process.
    process: Mutex<Option<Process>>,
    /// In front of its components.
    pub(crate) http: Proxy,
    /// In front of its lock API.
    pub(crate) locks: Proxy,
    /// In front of its store.
    pub(crate) link: Option<Proxy>,
}

impl World {
    /// Starts everything.
    pub(crate) async fn start(places: &Places, storage: Storage, nodes: usize) -> Result<Self> {
        ensure!(
            nodes == 1 || storage == Storage::Redis,
            "only Redis has more than one node"
        );
        let home = TempDir::new()?;
        let redis = match storage {
            Storage::Redis => Some(Redis::start(home.path()).await?),
            Storage::Memory | Storage::Embedded => None,
        };
        let mut world = Self {
            nodes: Vec::new(),
            redis,
            home,
        };
        for number in 0..nodes {
            let node = world.node(places, storage, number).await?;
            node.begin().await?;
            world.nodes.push(node);
        }
        Ok(world)
    }

    async fn node(&self, places: &Places, storage: Storage, number: usize) -> Result<Node> {
        let name = format!("node-{number}");
        let home = self.home.path();
        let mut link = None;
        let url = match (storage, &self.redis) {
            (Storage::Memory, _) => "memory:".to_owned(),
            (Storage::Embedded, _) => format!("embedded:{}", home.join("data").display()),
            (Storage::Redis, redis) => {
                let redis = redis.as_ref().context("it was started")?;
                let proxy = Proxy::to(redis.address().await).await?;
                let url = format!("redis://{}/0?space=soak", proxy.address());
                link = Some(proxy);
                url
            }
        };
        let config = home.join(format!("{name}.toml"));
        std::fs::write(&config, configuration(places, storage, url).to_string())?;
        // Led to the node when it listens.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        Ok(Node {
            log: home.join(format!("{name}.log")),
            name,
            places: places.clone(),
            config,
            process: Mutex::new(None),
            http: Proxy::to(nowhere).await?,
            locks: Proxy::to(nowhere).await?,
            link,
        })
    }

    /// Opens every passage.
    pub(crate) fn heal(&self) {
        for proxy in self.nodes.iter().flat_map(Node::proxies) {
            proxy.heal();
        }
    }

    /// What is wrong with the processes themselves: ends that nobody caused, and
    /// panics.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for node in &self.nodes {
            let ended = node.process.lock().await.as_mut().and_then(Process::ended);
            complaints.extend(ended.map(|how| format!("{} ended by itself: {how}", node.name)));
            let log = std::fs::read_to_string(&node.log).unwrap_or_default();
            let panics = log.lines().filter(|it| it.contains("panicked at"));
            complaints.extend(panics.take(3).map(|it| format!("{}: {it}", node.name)));
        }
        complaints
    }

    /// The logs of the nodes.
    pub(crate) fn logs(&self) -> Vec<(String, String)> {
        let log = |node: &Node| {
            let text = std::fs::read_to_string(&node.log).unwrap_or_default();
            (node.name.clone(), text)
        };
        self.nodes.iter().map(log).collect()
    }
}

impl Node {
    /// The name it has in the log.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        [&self.http, &self.locks].into_iter().chain(&self.link)
    }

    /// SIGSTOP for so long.
    pub(crate) async fn pause(&self, lasts: Duration) -> Result<()> {
        let process = self.process.lock().await;
        let running = process.as_ref().context("it does not run")?;
        running.pause()?;
        sleep(lasts).await;
        running.go_on()
    }

    /// `kill -9`, and another start after so long.
    pub(crate) async fn kill(&self, lasts: Duration) -> Result<()> {
        let mut process = self.process.lock().await;
        if let Some(running) = process.take() {
            running.kill().await?;
        }
        sleep(lasts).await;
        *process = Some(self.spawn().await?);
        Ok(())
    }

    /// Starts the process for the first time.
    async fn begin(&self) -> Result<()> {
        let process = self.try_spawn().await;
        *self.process.lock().await = Some(process.map_err(|it| self.explained(it))?);
        Ok(())
    }

    /// Starts the process, again if its store is away, until it listens.
    async fn spawn(&self) -> Result<Process> {
        let end = Instant::now() + START;
        loop {
            match self.try_spawn().await {
                Ok(process) => return Ok(process),
                Err(_) if Instant::now() < end => sleep(Duration::from_millis(200)).await,
                Err(error) => return Err(self.explained(error)),
            }
        }
    }

    /// An error with what the node said last.
    fn explained(&self, error: anyhow::Error) -> anyhow::Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().next_back().unwrap_or_default();
        error.context(format!("{} does not start: {last}", self.name))
    }

    async fn try_spawn(&self) -> Result<Process> {
        let mut command = Command::new(&self.places.lockport);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LOCKPORT_") {
                command.env_remove(name);
            }
        }
        command
            .env_remove("RUST_BACKTRACE")
            .env_remove("RUST_LOG")
            .args(["serve", "--format", "json", "--config"])
            .arg(&self.config);
        let mut process = Process::start(&mut command, &self.log)?;
        let line = process.first_line().await?;
        let ready: Value = serde_json::from_str(&line).context("its first line is not JSON")?;
        for (key, proxy) in [("http", &self.http), ("lock", &self.locks)] {
            let address = ready[key].as_str().context("it does not say where it is")?;
            proxy.lead_to(address.parse()?);
        }
        Ok(process)
    }

    /// What becomes of what its clients and it say.
    pub(crate) fn set_clients(&self, way: Way, passage: Passage) {
        self.http.set(way, passage);
        self.locks.set(way, passage);
    }
}

/// The configuration of a node.
fn configuration(places: &Places, storage: Storage, url: String) -> toml::Table {
    let section = |pairs: &[(&str, Toml)]| {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()));
        Toml::Table(pairs.collect())
    };
    let path = |path: &Path| Toml::from(path.display().to_string());
    let anywhere = || Toml::from("127.0.0.1:0");
    let mut config = toml::Table::new();
    let listen = [
        ("http", anywhere()),
        ("lock", anywhere()),
        ("admin", anywhere()),
    ];
    config.insert("listen".to_owned(), section(&listen));
    let mut store = vec![("url", Toml::from(url))];
    if storage == Storage::Redis {
        store.extend([("lease", LEASE.into()), ("reclaim", RECLAIM.into())]);
    }
    config.insert("store".to_owned(), section(&store));
    let load = Toml::Array(vec![path(&places.probe)]);
    config.insert("components".to_owned(), section(&[("load", load)]));
    let cache = [("cache", path(&places.cache))];
    config.insert("engine".to_owned(), section(&cache));
    config
}
