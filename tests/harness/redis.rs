//! A real `redis-server` of a test's own, in a directory that nobody else has.
//!
//! Its data are in memory unless a test asks for more: what is lost with it is
//! then lost. Dropping it kills it.

use super::{BOUND, eventually};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use tempfile::TempDir;

/// A server.
pub(crate) struct RedisServer {
    child: Mutex<Child>,
    port: u16,
    arguments: Vec<String>,
    home: TempDir,
}

/// How often another port is tried, if somebody else has taken the one that was
/// free a moment ago.
const PORTS: usize = 10;

/// What a server is told that writes down all that it acknowledges.
pub(crate) const KEEPS_EVERYTHING: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

impl RedisServer {
    /// One that keeps nothing on disk.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::with(&["--appendonly", "no"])
    }

    /// One with these settings.
    #[track_caller]
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let home = TempDir::new().expect("a directory for temporary files");
        let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
        let mut tries = (0..PORTS).filter_map(|_| {
            let port = free_port();
            let mut child = spawn(&home, port, &arguments);
            match answers(&home, &mut child) {
                true => Some((child, port)),
                false => None,
            }
        });
        let (child, port) = tries.next().expect("redis-server comes up");
        Self {
            child: Mutex::new(child),
            port,
            arguments,
            home,
        }
    }

    /// Where a space is, as nodes are told.
    pub(crate) fn url(&self, space: &str) -> String {
        Self::url_at(self.address(), space)
    }

    /// Where a space is that is reached by another address, such as a proxy's.
    pub(crate) fn url_at(address: SocketAddr, space: &str) -> String {
        format!("redis://{address}?space={space}")
    }

    /// Where a space is, by the server's socket.
    pub(crate) fn socket_url(&self, space: &str) -> String {
        format!(
            "redis+unix://{}?space={space}",
            socket(&self.home).display()
        )
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// What it answers to a command without spaces in its arguments.
    #[track_caller]
    pub(crate) fn ask(&self, command: &str) -> String {
        ask(&self.home, command).expect("the server answers")
    }

    /// Stops it where it is, until [`RedisServer::go_on`].
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// `kill -9`; returns when it is gone.
    #[track_caller]
    pub(crate) fn kill(&self) {
        let mut child = self.child();
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
    }

    /// Starts it again after a [`RedisServer::kill`]: where it was, with what it
    /// has written down.
    #[track_caller]
    pub(crate) fn start_again(&self) {
        let mut child = self.child();
        *child = spawn(&self.home, self.port, &self.arguments);
        assert!(answers(&self.home, &mut child), "it comes up again");
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child().id()).expect("a process number is small");
        let pid = Pid::from_raw(pid).expect("it is not zero");
        kill_process(pid, signal).expect("it is our child and has not been waited for");
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().expect("no holder of this mutex panics")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let child = self
            .child
            .get_mut()
            .expect("no holder of this mutex panics");
        // It may have been killed by the test.
        drop(child.kill());
        drop(child.wait());
    }
}

/// A port that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}

fn socket(home: &TempDir) -> PathBuf {
    home.path().join("socket")
}

fn spawn(home: &TempDir, port: u16, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--unixsocket", "socket", "--save", "", "--dir"])
        .arg(home.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed; `cargo xtask test` says how")
}

/// Waits until a server answers; false if it has ended.
#[track_caller]
fn answers(home: &TempDir, child: &mut Child) -> bool {
    eventually("redis-server answers", || {
        if child.try_wait().expect("it is our child").is_some() {
            return Some(false);
        }
        // It may want a password, and says so when it has read what it has.
        let answer = ask(home, "PING").ok()?;
        let is_up = answer.starts_with("+PONG") || answer.starts_with("-NOAUTH");
        is_up.then_some(true)
    })
}

fn ask(home: &TempDir, command: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket(home))?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
