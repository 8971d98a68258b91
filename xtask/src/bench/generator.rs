//! One measurement of locks: the load generator of `tests/bench/locks` on its
//! own core, and what it found.

use super::sample::{Busy, Sample};
use super::scratch::Scratch;
use super::server::{LOAD_CORE, SERVER_CORE, Server, on_core};
use crate::process::{cargo, output, root, run};
use crate::steps::{Failure, Outcome, say};
use serde::Deserialize;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The folder of the generator.
const FOLDER: &str = "tests/bench/locks";

/// How many requests go over one connection at most: fewer than the streams
/// that servers allow.
const PER_CONNECTION: usize = 64;

/// What is measured.
#[derive(Clone, Copy)]
pub(super) enum Load {
    /// A target of the generator's, on a server.
    Server {
        target: &'static str,
        in_flight: usize,
        /// What there is of besides while it is measured.
        beside: Option<Beside>,
        seconds: u64,
    },
    /// Locks without gRPC. What needs a server is on the core that loads have,
    /// the rest on the one that servers have.
    Direct {
        what: Direct,
        in_flight: usize,
        seconds: u64,
    },
}

/// What is done without gRPC.
#[derive(Clone, Copy)]
pub(super) enum Direct {
    /// A store in the generator's own memory.
    Memory,
    /// A store in the generator's own process, on a disk.
    Embedded,
    /// A store in a server that is asked by the generator.
    Redis,
    /// Not our store, but the smallest functions that lock, with a token, in a
    /// server.
    Functions,
    /// Not our store, but a server's own commands as far as they go, without a
    /// token.
    Commands,
}

/// Many locks held, or many waiters for one.
#[derive(Clone, Copy)]
pub(super) struct Beside {
    pub(super) kind: &'static str,
    pub(super) count: usize,
}

/// What the generator prints.
#[derive(Deserialize)]
struct Figures {
    calls_per_second: f64,
    pairs_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    load_busy: f64,
    server_busy: Option<f64>,
}

/// Builds the generator.
pub(super) fn build() -> Outcome {
    say("Building the load generator (the first time takes minutes)");
    run(
        cargo(FOLDER).args(["build", "--release", "--locked"]),
        "building the load generator",
    )
}

/// Where the generator is; it is a bare tonic server, too.
pub(super) fn program() -> PathBuf {
    root().join(FOLDER).join("target/release/locks")
}

impl Load {
    /// Measures once; `server` is what was started for it.
    pub(super) fn run(&self, server: Option<&Server>) -> Outcome<Sample> {
        match (*self, server) {
            (
                Self::Server {
                    target,
                    in_flight,
                    beside,
                    seconds,
                },
                Some(server),
            ) => {
                let _beside = beside.map(|it| Filled::start(it, server)).transpose()?;
                let mut command = on_core(LOAD_CORE, program());
                command
                    .args(["load", target, "--server", &server.address])
                    .args(["--in-flight", &in_flight.to_string()])
                    .args(["--seconds", &seconds.to_string()]);
                if !target.ends_with("-stream") {
                    let connections = in_flight.div_ceil(PER_CONNECTION);
                    command.args(["--connections", &connections.to_string()]);
                }
                measure(&mut command, Some(server))
            }
            (
                Self::Direct {
                    what,
                    in_flight,
                    seconds,
                },
                server,
            ) => {
                let directory = Scratch::new()?;
                let core = if server.is_some() {
                    LOAD_CORE
                } else {
                    SERVER_CORE
                };
                let mut command = on_core(core, program());
                what.say(&mut command, &directory, server)?;
                command
                    .args(["--in-flight", &in_flight.to_string()])
                    .args(["--seconds", &seconds.to_string()]);
                measure(&mut command, server)
            }
            (Self::Server { .. }, None) => Err(no_server()),
        }
    }
}

impl Direct {
    /// Says it to the generator.
    fn say(self, command: &mut Command, directory: &Scratch, server: Option<&Server>) -> Outcome {
        let url = || {
            let server = server.ok_or_else(no_server)?;
            Ok(format!("redis://{}", server.address))
        };
        match self {
            Self::Memory => command.arg("store"),
            Self::Embedded => command
                .args(["store", "--directory"])
                .arg(directory.path().join("db")),
            Self::Redis => command.args(["store", "--redis", &url()?]),
            Self::Functions => command.args(["by-hand", "token", "--server", &url()?]),
            Self::Commands => command.args(["by-hand", "set", "--server", &url()?]),
        };
        Ok(())
    }
}

fn no_server() -> Failure {
    Failure::new("there is no server to ask")
}

fn measure(command: &mut Command, server: Option<&Server>) -> Outcome<Sample> {
    for process in server.iter().flat_map(|it| it.processes()) {
        command.args(["--pid", &process.to_string()]);
    }
    let text = output(command, "the load generator")?;
    let figures: Figures = serde_json::from_str(&text)
        .map_err(|error| Failure::new(format!("the load generator printed {text:?}: {error}")))?;
    Ok(figures.into())
}

impl From<Figures> for Sample {
    /// Pairs count where there are any, else calls.
    fn from(figures: Figures) -> Self {
        let time = |us: f64| Duration::from_secs_f64(us * 1e-6);
        let rate = if figures.pairs_per_second > 0.0 {
            figures.pairs_per_second
        } else {
            figures.calls_per_second
        };
        Self {
            rate,
            p50: time(figures.p50_us),
            p99: time(figures.p99_us),
            refused: 0,
            busy: Some(Busy {
                server: figures.server_busy,
                load: figures.load_busy,
            }),
        }
    }
}

/// A process that holds many locks, or waits for one many times; ended when
/// dropped.
struct Filled(Child);

impl Filled {
    fn start(beside: Beside, server: &Server) -> Outcome<Self> {
        let child = on_core(LOAD_CORE, program())
            .args(["fill", beside.kind, "--server", &server.address])
            .args(["--count", &beside.count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::new(format!("starting the load generator: {error}")))?;
        let mut filled = Self(child);
        let mut line = String::new();
        if let Some(output) = filled.0.stdout.take() {
            // What cannot be read did not say that it is ready.
            let _ = BufReader::new(output).read_line(&mut line);
        }
        if line.trim() == "ready" {
            Ok(filled)
        } else {
            Err(Failure::new(format!(
                "the server could not be filled with {} {}",
                beside.count, beside.kind
            )))
        }
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_generator_prints_is_read() {
        let text = r#"{"calls_per_second":200.0,"pairs_per_second":100.0,"p50_us":12.5,
            "p99_us":2000.0,"samples":7,"load_busy":0.5,"server_busy":null}"#;
        let figures: Figures = serde_json::from_str(text).expect("figures");
        let sample = Sample::from(figures);
        assert!((sample.rate - 100.0).abs() < 1e-9);
        assert_eq!(sample.p50, Duration::from_nanos(12_500));
        assert_eq!(sample.p99, Duration::from_millis(2));
    }
}
