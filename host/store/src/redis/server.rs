//! A `redis-server` of a test's own: a real process, on a socket in a directory
//! that nobody else has.

use crate::clock::Clock;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long it may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    directory: TempDir,
}

impl Server {
    /// Starts one that keeps nothing on disk.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let child = spawn(&directory);
        let server = Self { child, directory };
        server.wait_until_it_answers();
        server
    }

    /// Kills it, and starts one in its place that knows nothing of it, but what it
    /// was told to save.
    pub(crate) fn replace(&mut self) {
        self.kill();
        self.child = spawn(&self.directory);
        self.wait_until_it_answers();
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

    /// A connection that waits for each answer.
    pub(crate) fn connection(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_connection().unwrap()
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    fn wait_until_it_answers(&self) {
        let client = redis::Client::open(self.url()).unwrap();
        let clock = Clock::machine();
        let start = clock.now();
        while client.get_connection().is_err() {
            assert!(
                clock.now().since(start) < PATIENCE,
                "redis-server does not answer"
            );
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(directory: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no"])
        .args(["--unixsocket", "socket", "--dir"])
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}
