//! A real `lockport serve` process with a configuration of its own.
//!
//! [`Node::builder`] says what it serves; [`Builder::start`] returns when it
//! listens. Dropping a [`Node`] kills its process and nothing else.

use super::command::{Lockport, lockport, wait};
use super::http::{Answer, Client, Connection, H2, Request, request};
use super::{BOUND, Logs, RedisServer, component_dir, guest_dir};
use serde_json::Value;
use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use tempfile::TempDir;
use toml::Value as Toml;

/// The stores that every promise is tested on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// `memory:`.
    Memory,
    /// `embedded:`, in a directory of the test's.
    Embedded,
    /// `redis:`, in a server of the test's.
    Redis,
}

/// What a node is to serve, and how. A clone starts the same node again, on
/// the same directory.
#[derive(Clone)]
pub(crate) struct Builder {
    components: Vec<PathBuf>,
    config: toml::Table,
    variables: Vec<(String, String)>,
    disk_can_refuse: bool,
    may_log_errors: bool,
    home: Arc<TempDir>,
    /// Lives for as long as the node may be started again.
    redis: Option<Arc<RedisServer>>,
}

/// A running node.
pub(crate) struct Node {
    child: Child,
    address: SocketAddr,
    ready: Value,
    logs: Logs,
    /// Whether something is done to it that it rightly complains about.
    may_log_errors: bool,
    /// Keeps its directory until the process is gone.
    _home: Arc<TempDir>,
    /// Goes after the node.
    _redis: Option<Arc<RedisServer>>,
}

/// A request to a node, which [`Call::send`] sends on a connection of its own.
pub(crate) struct Call {
    address: SocketAddr,
    request: Request,
}

/// Where compiled code is kept. It is shared between tests: it is keyed by
/// content, and compiling is most of what starting a node costs.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")
}

/// The token of a principal of [`Builder::token`].
pub(crate) fn secret_of(principal: &str) -> String {
    format!("{principal}-0123456789abcdef0123456789abcdef")
}

// === impl Builder ===

impl Builder {
    /// Serves a component that we ship.
    pub(crate) fn component(self, name: &str) -> Self {
        self.directory(component_dir(name))
    }

    /// Serves a component of `tests/guests`.
    pub(crate) fn guest(self, name: &str) -> Self {
        self.directory(guest_dir(name))
    }

    /// Serves order and invoice.
    pub(crate) fn shop(self) -> Self {
        self.component("order").component("invoice")
    }

    /// Serves what is in `path`: a directory with a manifest, or a `.wasm`.
    pub(crate) fn directory(mut self, path: PathBuf) -> Self {
        self.components.push(path);
        self
    }

    /// Serves a component whose manifest is this text. Its `wasm` should come
    /// from [`super::built_wasm`].
    pub(crate) fn manifest(self, name: &str, text: &str) -> Self {
        let dir = self.home.path().join(name);
        std::fs::create_dir_all(&dir).expect("the directory is ours");
        std::fs::write(dir.join("component.toml"), text).expect("the directory is ours");
        self.directory(dir)
    }

    /// Serves the component in `dir` with parts of its manifest replaced:
    /// `change` gets the manifest as it is.
    pub(crate) fn changed(self, dir: &Path, change: impl FnOnce(&mut toml::Table)) -> Self {
        let text = std::fs::read_to_string(dir.join("component.toml")).expect("it was built");
        let mut manifest: toml::Table = text.parse().expect("it is TOML");
        let wasm = super::built_wasm(dir);
        manifest.insert("wasm".to_owned(), wasm.display().to_string().into());
        change(&mut manifest);
        let name = manifest["name"].as_str().expect("it is text").to_owned();
        self.manifest(&name, &manifest.to_string())
    }

    /// Serves the probe, whose requests may take longer than any test.
    pub(crate) fn patient_probe(self) -> Self {
        self.changed(&super::guest_dir("probe"), |manifest| {
            manifest["limits"]["deadline"] = "1h".into();
        })
    }

    /// Keeps everything in the process.
    pub(crate) fn memory(self) -> Self {
        self.set("store.url", "memory:")
    }

    /// Keeps everything in `dir`.
    pub(crate) fn embedded(self, dir: &Path) -> Self {
        let url = format!("embedded:{}", dir.display());
        self.set("store.url", url)
    }

    /// Keeps everything in the given kind of store.
    pub(crate) fn storage(self, storage: Storage) -> Self {
        let data = self.data_dir();
        match storage {
            Storage::Memory => self.memory(),
            Storage::Embedded => self.embedded(&data),
            Storage::Redis => self.redis(&Arc::new(RedisServer::start()), "test"),
        }
    }

    /// Keeps everything in a space of this server.
    pub(crate) fn redis(mut self, server: &Arc<RedisServer>, space: &str) -> Self {
        self.redis = Some(Arc::clone(server));
        self.set("store.url", server.url(space))
    }

    /// Another node with the same store and components, and a directory of its
    /// own.
    pub(crate) fn beside(&self) -> Self {
        Self {
            home: Arc::new(TempDir::new().expect("a directory for temporary files")),
            ..self.clone()
        }
    }

    /// Sets a value of the node's configuration: `limits.request_body`.
    pub(crate) fn set(mut self, path: &str, value: impl Into<Toml>) -> Self {
        let (section, key) = path.split_once('.').expect("it is section.key");
        self.config
            .entry(section)
            .or_insert_with(|| Toml::Table(toml::Table::new()))
            .as_table_mut()
            .expect("a section is a table")
            .insert(key.to_owned(), value.into());
        self
    }

    /// Serves the lock API to whoever has the token of this principal, which is
    /// [`secret_of`] it, and to nobody without one.
    pub(crate) fn token(mut self, principal: &str, operator: bool, locks: &[&str]) -> Self {
        let file = self.home.path().join(format!("{principal}.token"));
        std::fs::write(&file, secret_of(principal)).expect("the directory is ours");
        std::fs::set_permissions(&file, Permissions::from_mode(0o600))
            .expect("the directory is ours");
        let mut token = toml::Table::new();
        token.insert("principal".to_owned(), principal.into());
        token.insert("file".to_owned(), file.display().to_string().into());
        token.insert("operator".to_owned(), operator.into());
        token.insert("locks".to_owned(), locks.to_vec().into());
        self.config
            .entry("tokens")
            .or_insert_with(|| Toml::Array(Vec::new()))
            .as_array_mut()
            .expect("tokens are a list")
            .push(Toml::Table(token));
        self
    }

    /// Runs the node with this variable set.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the node so that [`Node::limit_file_size`] makes its disk refuse.
    pub(crate) fn disk_can_refuse(mut self) -> Self {
        self.disk_can_refuse = true;
        self
    }

    /// The node may log errors: something is done to it that it rightly
    /// complains about.
    pub(crate) fn may_log_errors(mut self) -> Self {
        self.may_log_errors = true;
        self
    }

    /// Where an embedded store of this node keeps its data.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Writes the configuration and gives its path.
    pub(crate) fn write_config(&self) -> PathBuf {
        let mut config = self.config.clone();
        let load: Vec<Toml> = self
            .components
            .iter()
            .map(|path| Toml::from(path.display().to_string()))
            .collect();
        if !load.is_empty() {
            let mut components = toml::Table::new();
            components.insert("load".to_owned(), Toml::Array(load));
            config.insert("components".to_owned(), Toml::Table(components));
        }
        let path = self.home.path().join("lockport.toml");
        std::fs::write(&path, config.to_string()).expect("the directory is ours");
        path
    }

    /// The arguments of `lockport` that serve this.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let config = self.write_config().display().to_string();
        ["serve", "--format", "json", "--config", &config]
            .map(str::to_owned)
            .to_vec()
    }

    /// Starts the node and waits until it listens.
    #[track_caller]
    pub(crate) fn start(&self) -> Node {
        let mut command = lockport(self.arguments()).dir(self.home.path());
        for (name, value) in &self.variables {
            command = command.env(name, value);
        }
        if self.disk_can_refuse {
            command = command.told_of_file_limits();
        }
        let mut node = Node::start(command, Arc::clone(&self.home));
        node.may_log_errors = self.disk_can_refuse || self.may_log_errors;
        node._redis.clone_from(&self.redis);
        node
    }
}

// === impl Node ===

impl Node {
    /// A node on `memory:` that serves nothing yet, on a port that is free.
    pub(crate) fn builder() -> Builder {
        let home = TempDir::new().expect("a directory for temporary files");
        let builder = Builder {
            components: Vec::new(),
            config: toml::Table::new(),
            variables: Vec::new(),
            disk_can_refuse: false,
            may_log_errors: false,
            home: Arc::new(home),
            redis: None,
        };
        builder
            .memory()
            .set("listen.http", "127.0.0.1:0")
            .set("listen.lock", "127.0.0.1:0")
            .set("listen.admin", "127.0.0.1:0")
            .set("engine.cache", cache().display().to_string())
    }

    /// A node that runs with a configuration as it is, but on `memory:`, on a
    /// free port, and with the tests' own cache.
    #[track_caller]
    pub(crate) fn serve_config(config: &Path) -> Self {
        let home = TempDir::new().expect("a directory for temporary files");
        let config = config.display().to_string();
        let command = lockport(["serve", "--format", "json", "--config", &config])
            .dir(home.path())
            .env("LOCKPORT_LISTEN__HTTP", "127.0.0.1:0")
            .env("LOCKPORT_LISTEN__LOCK", "127.0.0.1:0")
            .env("LOCKPORT_LISTEN__ADMIN", "127.0.0.1:0")
            .env("LOCKPORT_STORE__URL", "memory:")
            .env("LOCKPORT_ENGINE__CACHE", &cache().display().to_string());
        Self::start(command, Arc::new(home))
    }

    #[track_caller]
    fn start(command: Lockport, home: Arc<TempDir>) -> Self {
        let mut child = command.spawn();
        let logs = Logs::of(child.stderr.take().expect("it is piped"));
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, first_line) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Later lines have no reader; the pipe is only kept empty.
                let _ = sender.send(line);
            }
        });
        let Ok(line) = first_line.recv_timeout(BOUND) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "the node did not get ready:\n{}",
                logs.wait_for_end().join("\n")
            );
        };
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("the ready line is not JSON ({error}): {line}"));
        assert_eq!(ready["event"], "ready", "{line}");
        let address = ready["http"].as_str().expect("the ready line has `http`");
        Self {
            child,
            address: address.parse().expect("it is an address"),
            ready,
            logs,
            may_log_errors: false,
            _home: home,
            _redis: None,
        }
    }

    /// A request; [`Call::send`] sends it.
    pub(crate) fn call(&self, method: &str, target: &str) -> Call {
        Call {
            address: self.address,
            request: request(method, target),
        }
    }

    /// `GET`, sent.
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.call("GET", target).send()
    }

    /// `DELETE`, sent.
    #[track_caller]
    pub(crate) fn delete(&self, target: &str) -> Answer {
        self.call("DELETE", target).send()
    }

    /// `POST` of JSON, sent.
    #[track_caller]
    pub(crate) fn post(&self, target: &str, body: impl Into<Value>) -> Answer {
        self.call("POST", target).json(body).send()
    }

    /// `PATCH` of JSON, sent.
    #[track_caller]
    pub(crate) fn patch(&self, target: &str, body: impl Into<Value>) -> Answer {
        self.call("PATCH", target).json(body).send()
    }

    /// A client that keeps its connection.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// A connection of HTTP/2.
    #[track_caller]
    pub(crate) fn h2(&self) -> H2 {
        H2::connect(self.address)
    }

    /// A connection for raw bytes.
    #[track_caller]
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address).expect("the node listens")
    }

    /// Sends raw bytes on a new connection and reads one answer.
    #[track_caller]
    pub(crate) fn send_raw(&self, bytes: &[u8]) -> Answer {
        let mut connection = self.connect();
        connection.send(bytes).expect("the node reads");
        connection.answer_to("GET").expect("the node answers")
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where one of its listeners is, by its key in `[listen]`.
    #[track_caller]
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        let address = self.ready[name].as_str();
        let address = address.unwrap_or_else(|| panic!("no `{name}`: {}", self.ready));
        address.parse().expect("it is an address")
    }

    /// A client of its administrators' listener, which keeps its connection.
    pub(crate) fn admin(&self) -> Client {
        Client::new(self.listener("admin"))
    }

    /// `http://` and where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its ready line.
    pub(crate) fn ready(&self) -> &Value {
        &self.ready
    }

    /// What it logged.
    pub(crate) fn logs(&self) -> &Logs {
        &self.logs
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets the process open so many files at once from now on.
    #[track_caller]
    pub(crate) fn limit_files(&self, count: u64) {
        let limit = rustix::process::Rlimit {
            current: Some(count),
            maximum: Some(count),
        };
        rustix::process::prlimit(
            Some(self.process()),
            rustix::process::Resource::Nofile,
            limit,
        )
        .expect("it is our child");
    }

    /// Lets the process write no file beyond so many bytes from now on; or
    /// any, without a limit.
    #[track_caller]
    pub(crate) fn limit_file_size(&self, bytes: Option<u64>) {
        let limit = rustix::process::Rlimit {
            current: bytes,
            maximum: None,
        };
        rustix::process::prlimit(
            Some(self.process()),
            rustix::process::Resource::Fsize,
            limit,
        )
        .expect("it is our child");
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `kill -9`; returns when the process is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Sends `SIGTERM`.
    #[track_caller]
    pub(crate) fn signal_term(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Sends it a signal.
    #[track_caller]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.process(), signal)
            .expect("it is our child and has not been waited for");
    }

    fn process(&self) -> rustix::process::Pid {
        let pid = i32::try_from(self.child.id()).expect("a process number is small");
        rustix::process::Pid::from_raw(pid).expect("it is not zero")
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child, "the node ends")
    }

    /// `SIGTERM`, and waits for it to end.
    #[track_caller]
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.signal_term();
        self.wait()
    }
}

impl Drop for Node {
    #[expect(clippy::print_stderr, reason = "a failing test shows it")]
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("--- the node's log ---\n{}", self.logs.text());
            return;
        }
        let errors = self.logs.errors();
        assert!(
            errors.is_empty() || self.may_log_errors,
            "the node logged errors:\n{}",
            errors.join("\n")
        );
    }
}

// === impl Call ===

impl Call {
    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Gives it a body of JSON.
    pub(crate) fn json(mut self, value: impl Into<Value>) -> Self {
        self.request = self.request.json(value);
        self
    }

    /// Gives it a body that claims to be JSON.
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.request = self.request.text(text);
        self
    }

    /// Gives it a body.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.request = self.request.body(body);
        self
    }

    /// Sends it on a connection of its own and waits for the whole answer.
    #[track_caller]
    pub(crate) fn send(self) -> Answer {
        Client::new(self.address).send(&self.request)
    }
}
