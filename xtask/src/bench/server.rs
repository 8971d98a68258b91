//! The servers that are measured: how each is started, on which core, and that
//! nothing of it stays.

use super::scratch::Scratch;
use crate::steps::{Failure, Outcome};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The core the load runs on; the server has [`SERVER_CORE`].
pub(super) const LOAD_CORE: &str = "0";
/// See [`LOAD_CORE`].
pub(super) const SERVER_CORE: &str = "1";

/// How long a server may take until it accepts connections.
const START_MAX: Duration = Duration::from_secs(60);

/// A program that serves.
pub(super) struct Program {
    path: PathBuf,
    /// Its arguments, with `{address}`, its `{port}`, `{peer}` (another free
    /// address), `{behind}` and `{directory}` where those go.
    arguments: Vec<String>,
    /// What it asks itself, at the address `{behind}`: started before it.
    behind: Option<Box<Program>>,
}

/// A running server; ended when dropped, with all that it has written.
pub(super) struct Server {
    child: Child,
    pub(super) address: String,
    /// Ended after it.
    behind: Option<Box<Server>>,
    /// Removed after the server has ended.
    _directory: Scratch,
}

impl Program {
    pub(super) fn new(path: &Path, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            path: path.to_owned(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            behind: None,
        }
    }

    /// It asks another server, which runs on the same core.
    pub(super) fn behind(self, program: Self) -> Self {
        Self {
            behind: Some(Box::new(program)),
            ..self
        }
    }
}

impl Server {
    /// Starts a server and waits until it accepts connections.
    pub(super) fn start(program: &Program) -> Outcome<Self> {
        let behind = program.behind.as_deref().map(Self::start).transpose()?;
        let asked = behind.as_ref().map_or("", |it| it.address.as_str());
        let [address, peer] = [free_address()?, free_address()?];
        let (_, port) = address.rsplit_once(':').unwrap_or_default();
        let directory = Scratch::new()?;
        let path = directory.path().to_string_lossy().into_owned();
        let arguments = program.arguments.iter().map(|argument| {
            argument
                .replace("{address}", &address)
                .replace("{port}", port)
                .replace("{peer}", &peer)
                .replace("{behind}", asked)
                .replace("{directory}", &path)
        });
        let child = on_core(SERVER_CORE, &program.path)
            .args(arguments)
            // So that no configuration that lies about is read.
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Failure::new(format!("starting {}: {error}", program)))?;
        let mut server = Self {
            child,
            address,
            behind: behind.map(Box::new),
            _directory: directory,
        };
        let until = Instant::now() + START_MAX;
        while TcpStream::connect(&server.address).is_err() {
            let ended = server.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > until {
                return Err(Failure::new(format!("{program} did not start"))
                    .hint("run it by hand to see what it says"));
            }
            std::thread::yield_now();
        }
        Ok(server)
    }

    /// The numbers of its process and of those behind it.
    pub(super) fn processes(&self) -> Vec<u32> {
        let behind = self.behind.iter().flat_map(|it| it.processes());
        [self.child.id()].into_iter().chain(behind).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.path.display(), self.arguments.join(" "))
    }
}

/// A program that runs on one core only. A backtrace for each error would be
/// measured too, so there is none.
pub(super) fn on_core(core: &str, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["--cpu-list", core])
        .arg(program.as_ref())
        .env_remove("RUST_BACKTRACE");
    command
}

fn free_address() -> Outcome<String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    listener
        .map(|address| address.to_string())
        .map_err(|error| Failure::new(format!("looking for a free port: {error}")))
}
