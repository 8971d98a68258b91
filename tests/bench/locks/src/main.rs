//! The load of the lock API's benchmark, and what stands beside it.
//!
//! `cargo xtask bench locks` runs these commands; each does one thing, prints
//! one line of JSON, and fails if anything it asked for went wrong.

mod by_hand;
mod connection;
mod echo;
mod fill;
mod in_process;
mod load;
mod meter;
mod session;
mod unary;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "locks")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a bare tonic echo until the process is ended.
    Echo {
        /// Where.
        address: String,
    },
    /// Put a load on a server and print what was measured.
    Load(load::Arguments),
    /// Acquire and release on a store in this process, without gRPC.
    Store(in_process::Arguments),
    /// Acquire and release on Redis, without Lockport.
    ByHand(by_hand::Arguments),
    /// Hold locks, or wait for one, until the standard input ends.
    Fill(fill::Arguments),
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        // As the node has it: as many threads as it may use cores.
        Command::Echo { address } => threads().block_on(echo::serve(&address)),
        Command::Load(arguments) => one_thread().block_on(load::run(&arguments)),
        Command::Store(arguments) => one_thread().block_on(in_process::run(arguments)),
        Command::ByHand(arguments) => one_thread().block_on(by_hand::run(arguments)),
        Command::Fill(arguments) => one_thread().block_on(fill::run(&arguments)),
    }
}

fn threads() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a system that can run this can start threads")
}

fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a system that can run this can watch sockets")
}
