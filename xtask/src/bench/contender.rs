//! What is measured: how each server is started, and with what load.

use super::load::{Load, SERVER_CORE, Sample};
use crate::process::root;
use crate::steps::{Failure, Outcome};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it accepts connections.
const START_MAX: Duration = Duration::from_secs(60);

/// How many orders the order handler's load is spread over: enough that two
/// requests rarely want the same one.
const ORDERS: usize = 2_000;

/// A server and the load it gets.
pub(super) struct Contender {
    pub(super) name: &'static str,
    program: PathBuf,
    /// Its arguments, with `{address}` where the address goes.
    arguments: Vec<String>,
    work: Work,
}

/// What is asked of a server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    /// `GET /hello`, answered with 12 bytes.
    Hello,
    /// `GET /orders/{id}` of one of [`ORDERS`].
    ReadOrder,
    /// `PATCH /orders/{id}` of one of [`ORDERS`]: two locks, a joined call and
    /// a commit of two guarded values.
    UpdateOrder,
}

/// Every contender, the reference first.
pub(super) fn all(lockport: &Path, wasmtime: &Path) -> Vec<Contender> {
    let contender = |name, program: &Path, arguments, work| Contender {
        name,
        program: program.to_owned(),
        arguments,
        work,
    };
    let reference = root().join("tests/bench/reference/target/release/reference");
    let address = vec!["{address}".to_owned()];
    let wasmtime =
        |name, tuning: &[&str]| contender(name, wasmtime, wasmtime_serve(tuning), Work::Hello);
    let lockport = |name, components: &[&str], work| {
        contender(name, lockport, lockport_serve(components), work)
    };
    let tuned = [
        "-O",
        "pooling-allocator=y",
        "-O",
        "pooling-pagemap-scan=y",
        "-O",
        "pooling-memory-keep-resident=1048576",
        "-O",
        "pooling-table-keep-resident=65536",
    ];
    // What is kept resident only slows it down if instances are used again.
    let reuse = [
        "-O",
        "pooling-allocator=y",
        "--max-instance-reuse-count",
        "1000",
    ];
    let shop = ["plugins/order", "plugins/invoice"];
    let hello = ["tests/guests/hello12"];
    vec![
        contender("plain axum, 12 bytes", &reference, address, Work::Hello),
        wasmtime("wasmtime serve as shipped, 12 bytes", &[]),
        wasmtime("wasmtime serve tuned, 12 bytes", &tuned),
        wasmtime("wasmtime serve tuned with reuse, 12 bytes", &reuse),
        lockport("lockport, 12 bytes", &hello, Work::Hello),
        lockport("lockport, order: GET", &shop, Work::ReadOrder),
        lockport("lockport, order: PATCH", &shop, Work::UpdateOrder),
    ]
}

/// The arguments with which `wasmtime serve` serves the 12 bytes.
fn wasmtime_serve(tuning: &[&str]) -> Vec<String> {
    let hello = root().join("tests/guests/target/wasm32-wasip2/release/hello12.wasm");
    let mut arguments = vec!["serve", "--addr", "{address}"];
    arguments.extend(tuning);
    let mut arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
    arguments.push(hello.to_string_lossy().into_owned());
    arguments
}

/// The arguments with which a node serves components.
fn lockport_serve(components: &[&str]) -> Vec<String> {
    let mut arguments = ["serve", "--http", "{address}", "--store", "memory:"]
        .map(str::to_owned)
        .to_vec();
    let folders = components.iter().map(|it| root().join(it));
    arguments.extend(folders.map(|it| it.to_string_lossy().into_owned()));
    arguments
}

impl Contender {
    /// Whether the others are shown as shares of this one.
    pub(super) fn is_reference(&self) -> bool {
        self.name.starts_with("plain axum")
    }

    /// Starts the server, puts the load on it, ends it.
    pub(super) fn measure(&self, load: &Load) -> Outcome<Sample> {
        let address = free_address()?;
        let server = Server::start(self, &address)?;
        let sample = match self.work {
            Work::Hello => load.put_on(&format!("http://{address}/hello"), None),
            Work::ReadOrder | Work::UpdateOrder => {
                let script = self.script(&address)?;
                load.put_on(&format!("http://{address}/"), Some(&script))
            }
        };
        drop(server);
        sample
    }

    /// Creates the orders and writes the script that asks for them.
    fn script(&self, address: &str) -> Outcome<PathBuf> {
        let mut connection = TcpStream::connect(address)
            .map_err(|error| Failure::new(format!("connecting to {address}: {error}")))?;
        let mut script = String::from("local ids = {\n");
        for _ in 0..ORDERS {
            let id = create_order(&mut connection, address)?;
            // Writing to a string cannot fail.
            let _ = writeln!(script, "  \"{id}\",");
        }
        script.push_str("}\n");
        script.push_str(match self.work {
            Work::UpdateOrder => UPDATE,
            Work::ReadOrder | Work::Hello => READ,
        });
        let path = root().join("target/bench/orders.lua");
        std::fs::write(&path, script)
            .map_err(|error| Failure::new(format!("writing {}: {error}", path.display())))?;
        Ok(path)
    }
}

const READ: &str = r#"
local at = 0
request = function()
  at = at % #ids + 1
  return wrk.format("GET", "/orders/" .. ids[at])
end
"#;

const UPDATE: &str = r#"
local at = 0
local headers = { ["Content-Type"] = "application/json" }
request = function()
  at = at % #ids + 1
  return wrk.format("PATCH", "/orders/" .. ids[at], headers,
    '{"update_time":"2999-01-01T00:00:00Z","quantity":' .. at % 9 + 1 .. '}')
end
"#;

/// A running server; ended when dropped.
struct Server(Child);

impl Server {
    fn start(contender: &Contender, address: &str) -> Outcome<Self> {
        let mut command = Command::new("taskset");
        command
            .args(["--cpu-list", SERVER_CORE])
            .arg(&contender.program)
            .args(
                contender
                    .arguments
                    .iter()
                    .map(|it| it.replace("{address}", address)),
            )
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command
            .spawn()
            .map_err(|error| Failure::new(format!("starting {}: {error}", contender.name)))?;
        let mut server = Self(child);
        let until = Instant::now() + START_MAX;
        while TcpStream::connect(address).is_err() {
            let ended = server.0.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > until {
                return Err(Failure::new(format!("{} did not start", contender.name)));
            }
            std::thread::yield_now();
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> Outcome<String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    listener
        .map(|address| address.to_string())
        .map_err(|error| Failure::new(format!("looking for a free port: {error}")))
}

/// Creates one order and answers its id.
fn create_order(connection: &mut TcpStream, host: &str) -> Outcome<String> {
    let body = r#"{"user_id":"6f1d3b9e-0000-4000-8000-000000000001","item_id":"6f1d3b9e-0000-4000-8000-000000000002","quantity":1,"value":2.5}"#;
    let request = format!(
        "POST /orders HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let failed = |what: String| Failure::new(format!("creating an order: {what}"));
    connection
        .write_all(request.as_bytes())
        .map_err(|error| failed(error.to_string()))?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = connection
            .read(&mut chunk)
            .map_err(|error| failed(error.to_string()))?;
        answer.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&answer);
        // The id is the last thing of a short answer: `{"id":"..."}`.
        if let Some((_, rest)) = text.split_once("{\"id\":\"")
            && let Some((id, _)) = rest.split_once("\"}")
        {
            return Ok(id.to_owned());
        }
        if read == 0 {
            return Err(failed(text.into_owned()));
        }
    }
}
