//! A `redis-server` of a test's own: a real process, on a socket in a directory
//! that nobody else has, and on a port if the test wants one.

pub(crate) mod cluster;

use crate::clock::Clock;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long it may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    directory: TempDir,
    /// That it listens on, or may.
    port: u16,
    /// What it was told besides where its socket is.
    arguments: Vec<String>,
}

impl Server {
    /// Starts one that keeps nothing on disk.
    pub(crate) fn start() -> Self {
        Self::start_with(|_, _| strings(&["--port", "0"]))
    }

    /// Starts one that listens on a port, too.
    pub(crate) fn listening(more: &[&str]) -> Self {
        Self::start_with(|port, _| {
            [strings(&["--port", &port.to_string()]), strings(more)].concat()
        })
    }

    /// Starts one that follows another, and waits until it has all that is there.
    pub(crate) fn following(server: &Self) -> Self {
        let port = server.port().to_string();
        let replica = Self::listening(&["--replicaof", "127.0.0.1", &port]);
        let mut connection = replica.connection();
        until("redis-server follows", || {
            let mut about = redis::cmd("INFO");
            let text: String = about.arg("replication").query(&mut connection).unwrap();
            text.contains("master_link_status:up")
        });
        replica
    }

    /// Starts one with arguments that go by a port that is nobody else's, and by
    /// the directory.
    pub(crate) fn start_with(arguments: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        let clock = Clock::machine();
        let start = clock.now();
        loop {
            let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
            let arguments = arguments(port, directory.path());
            let mut server = Self {
                child: spawn(&directory, &arguments),
                directory,
                port,
                arguments,
            };
            if server.comes_up() {
                return server;
            }
            // Somebody else may have been given the port meanwhile.
            let waited = clock.now().since(start);
            assert!(waited < PATIENCE, "redis-server does not start");
        }
    }

    /// Kills it, and starts one in its place that knows nothing of it, but what it
    /// was told to save.
    pub(crate) fn replace(&mut self) {
        self.kill();
        self.child = spawn(&self.directory, &self.arguments);
        assert!(self.comes_up(), "redis-server does not start again");
    }

    /// Has it write down what it knows by now: the next in its place knows that.
    pub(crate) fn save(&self) {
        redis::cmd("SAVE").exec(&mut self.connection()).unwrap();
    }

    /// Where it listens, as a URL.
    pub(crate) fn url(&self) -> String {
        let socket = self.directory.path().join("socket");
        format!("redis+unix://{}", socket.display())
    }

    /// The port it was started for.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A connection that waits for each answer.
    pub(crate) fn connection(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_connection().unwrap()
    }

    /// Sends it a signal, as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.arg(format!("-{name}"))
            .arg(self.child.id().to_string());
        assert!(kill.status().unwrap().success());
    }

    /// Kills it. Nobody is in its place then.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Waits until it answers; false if it ends before.
    fn comes_up(&mut self) -> bool {
        let client = redis::Client::open(self.url()).unwrap();
        let clock = Clock::machine();
        let start = clock.now();
        while client.get_connection().is_err() {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let waited = clock.now().since(start);
            assert!(waited < PATIENCE, "redis-server does not answer");
            std::thread::yield_now();
        }
        true
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until something is so, within reason.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let clock = Clock::machine();
    let start = clock.now();
    while !is_so() {
        assert!(clock.now().since(start) < PATIENCE, "it is not so: {what}");
        std::thread::yield_now();
    }
}

/// Texts that are owned.
pub(crate) fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|it| (*it).to_owned()).collect()
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn spawn(directory: &TempDir, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(arguments)
        .args(["--save", "", "--appendonly", "no"])
        .args(["--unixsocket", "socket", "--dir"])
        .arg(directory.path())
        .args(["--bind", "127.0.0.1"])
        // Whoever follows it is told all at once.
        .args(["--repl-diskless-sync-delay", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}
