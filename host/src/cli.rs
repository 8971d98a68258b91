//! The command line: every command and flag, as types. No behaviour. Those of
//! the commands that talk to a lock API are in `arguments.rs`.
//!
//! The doc comments are the help. What was asked for goes to standard output;
//! everything else, logs and errors included, goes to standard error.

mod arguments;
mod check;
mod client;
pub mod exit;
mod lock;
mod locks;
mod output;
mod pack;
mod serve;
mod sources;

use crate::telemetry::LogFormat;
use arguments::{LockArgs, LocksArgs, TiedArgs};
use clap::{Args, Parser, Subcommand, ValueEnum};
use exit::Exit;
use output::Output;
use std::path::PathBuf;
use std::process::ExitCode;

/// A gateway for handlers that must not step on each other.
#[derive(Debug, Parser)]
#[command(name = "lockport", version, max_term_width = 100)]
#[command(after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    global: Global,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
struct Global {
    /// How to write what was asked for
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    format: Format,

    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,

    /// Log more; twice for even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,

    /// Log warnings and errors only
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node
    ///
    /// Loads the components, opens the store, listens, and serves until it is
    /// told to stop by SIGTERM or SIGINT. Then it takes no new requests and
    /// finishes those under way; a second signal ends it at once. Never builds
    /// anything.
    Serve(NodeArgs),

    /// Do everything that `serve` does before it listens, then report
    ///
    /// Exits with the code that `serve` would.
    Check(Check),

    /// Put a component and its manifest into one file
    Pack(Pack),

    /// Run a command while holding locks
    ///
    /// Waits for the locks, runs the command, renews the locks while it runs,
    /// and releases them when it has ended. The command finds the grant in
    /// LOCKPORT_GRANT and the fencing token in LOCKPORT_FENCING_TOKEN. Signals
    /// are passed on to it, and its exit code is passed on from it: 128 and the
    /// signal's number if a signal ended it.
    ///
    /// If the locks are lost, the command is told to end by SIGTERM, and ended
    /// by SIGKILL before anybody else can have been granted them. On Linux so
    /// is all that it has started, but what has become a daemon by then: in a
    /// session of its own, and whoever started it has ended.
    ///
    /// If lockport itself is killed, on Linux so is the command, but not what
    /// the command has started; nor a command that takes on other rights as it
    /// starts, such as sudo. If lockport is stopped, or the machine sleeps, the
    /// command goes on, and is killed as soon as lockport goes on too. Whatever
    /// must not be written twice even then has to be fenced by the token.
    ///
    /// What the command leaves running when it ends by itself is not under the
    /// locks any more.
    #[command(after_help = arguments::LOCK_EXAMPLES)]
    Lock(LockArgs),

    /// Become a command that is killed when the process that started it ends
    #[command(hide = true)]
    Tied(TiedArgs),

    /// Look at locks, take them and give them back
    #[command(after_help = arguments::LOCKS_EXAMPLES)]
    Locks(LocksArgs),
}

/// What a node runs, over what its configuration says.
#[derive(Clone, Debug, Args)]
struct NodeArgs {
    /// Components: directories with a `component.toml`, or packed `.wasm` files
    ///
    /// Named here, they replace `components.load` of the configuration.
    #[arg(value_name = "DIR|FILE")]
    components: Vec<PathBuf>,

    /// The configuration; without it, `lockport.toml` if there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where locks and state live: `memory:`, `embedded:DIR` or
    /// `redis://HOST:PORT`
    ///
    /// Others see the command line: a password goes into LOCKPORT_STORE__URL.
    #[arg(long, value_name = "URL")]
    store: Option<String>,

    /// The address for requests; port 0 picks a free one
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,

    /// The address for the lock API; port 0 picks a free one, `off` has none
    #[arg(long, value_name = "ADDR")]
    lock: Option<String>,

    /// The address for health and metrics; port 0 picks a free one, `off` has
    /// none
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,

    /// How log lines look
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogLines>,
}

#[derive(Clone, Debug, Args)]
struct Check {
    #[command(flatten)]
    node: NodeArgs,

    /// Print what is in force, and where each value came from
    #[arg(long)]
    print_config: bool,
}

#[derive(Clone, Debug, Args)]
struct Pack {
    /// A directory with a `component.toml`
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// The file to write; without it, `NAME.wasm` in the working directory
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How what was asked for is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// When colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogLines {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error),
    };
    let output = Output::new(cli.global.format, cli.global.color);
    let global = &cli.global;
    let done = match cli.command {
        Command::Serve(node) => serve::run(global, &node, &output),
        Command::Check(check) => check::run(global, &check, &output),
        Command::Pack(pack) => pack::run(&pack, &output),
        Command::Locks(locks) => locks::run(global, &locks, &output),
        Command::Lock(lock) => match lock::run(global, &lock) {
            Ok(code) => return code,
            Err(report) => Err(report),
        },
        Command::Tied(tied) => lock::tied::run(&tied).map(|never| match never {}),
    };
    match done {
        Ok(()) => Exit::Done.into(),
        Err(report) => {
            output.error(&report);
            report.exit.into()
        }
    }
}

impl From<LogLines> for LogFormat {
    fn from(lines: LogLines) -> Self {
        match lines {
            LogLines::Text => Self::Text,
            LogLines::Json => Self::Json,
        }
    }
}

#[cfg(test)]
mod tests;
