//! `cargo xtask bench`: how fast it is, side by side in one run.
//!
//! Only ratios taken in one run count. Every round runs each contender once,
//! in an order that is turned by one place each round; the tables show medians
//! over the rounds and the spread. The load has one core, the servers the other.

mod contender;
mod generator;
mod http;
mod locks;
mod orders;
mod sample;
mod scratch;
mod server;
mod suite;
mod table;
mod tools;
mod wrk;

use crate::steps::Outcome;
use clap::ValueEnum;
use std::path::PathBuf;
use suite::Suite;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What is measured; without it, everything.
    suite: Option<Which>,

    /// How often each contender is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// How long one measurement takes, in seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// Connections held open by the load on HTTP.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,

    /// Only contenders whose name contains this, and what they are compared
    /// with.
    #[arg(long)]
    only: Option<String>,

    /// Write every round to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Handlers behind the gateway, beside plain axum and `wasmtime serve`.
    Http,
    /// The lock API, beside a bare tonic server and etcd.
    Locks,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    tools::taskset()?;
    let mut suites = Vec::new();
    for which in [Which::Http, Which::Locks] {
        if arguments.suite.is_none_or(|it| it == which) {
            let mut suite = prepare(which, arguments)?;
            if let Some(only) = &arguments.only {
                suite.keep(only);
            }
            suites.push(suite);
        }
    }
    let mut all = Vec::new();
    for suite in suites {
        let measured = suite.measure(arguments.rounds)?;
        all.push((suite, measured));
    }
    for (suite, measured) in &all {
        table::print(suite, measured);
    }
    match &arguments.json {
        Some(path) => table::write(path, &all),
        None => Ok(()),
    }
}

/// Builds and installs what the contenders need.
fn prepare(which: Which, arguments: &Arguments) -> Outcome<Suite> {
    match which {
        Which::Http => http::suite(wrk::Shape {
            connections: arguments.connections,
            seconds: arguments.seconds,
        }),
        Which::Locks => locks::suite(arguments.seconds),
    }
}
