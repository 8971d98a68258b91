//! The flags of the commands that talk to a lock API, as types.

use crate::config::value::{self, Value};
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Where the lock API is, and who asks.
#[derive(Clone, Debug, Args)]
pub(super) struct Server {
    /// The lock API: `host:port` or `http://host:port`
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        env = "LOCKPORT_LOCK_ADDR",
        default_value = "127.0.0.1:50051"
    )]
    pub(super) server: String,

    /// A file with the bearer token; without it, LOCKPORT_API_TOKEN has it
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
}

/// Which locks, and how they are taken.
#[derive(Clone, Debug, Args)]
pub(super) struct Wanted {
    /// The locks: all are taken, or none
    #[arg(value_name = "NAME", required = true)]
    pub(super) names: Vec<String>,

    /// How long to wait for them; without it, not at all
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) wait: Option<Duration>,

    /// How long they are held unless they are renewed
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub(super) lease: Duration,

    /// Share them with all who ask for the same
    #[arg(long, conflicts_with = "permits")]
    pub(super) shared: bool,

    /// Share them with so many at most, this one included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) permits: Option<u32>,

    /// Whose waits are looked at together to find deadlocks
    #[arg(long, value_name = "TEXT")]
    pub(super) owner: Option<String>,

    /// Who takes them, in words for an operator
    #[arg(long, value_name = "TEXT")]
    pub(super) holder: Option<String>,
}

/// `lockport lock`.
#[derive(Clone, Debug, Args)]
pub(super) struct LockArgs {
    #[command(flatten)]
    pub(super) wanted: Wanted,

    /// The exit code if the locks are not obtained, instead of 75
    #[arg(long, value_name = "N")]
    pub(super) conflict_exit_code: Option<u8>,

    #[command(flatten)]
    pub(super) server: Server,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub(super) command: Vec<OsString>,
}

/// `lockport tied`.
#[derive(Clone, Debug, Args)]
pub(super) struct TiedArgs {
    /// The process to end with
    #[arg(long, value_name = "PID")]
    pub(super) parent: i32,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub(super) command: Vec<OsString>,
}

/// `lockport locks`.
#[derive(Clone, Debug, Args)]
pub(super) struct LocksArgs {
    #[command(flatten)]
    pub(super) server: Server,

    #[command(subcommand)]
    pub(super) command: LocksCommand,
}

/// What to do with locks.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum LocksCommand {
    /// List the locks that are held or waited for
    Ls {
        /// Only those whose names begin with this
        #[arg(value_name = "PREFIX", default_value = "")]
        prefix: String,
    },

    /// Show who holds a lock and who waits for it
    Get {
        /// The lock
        name: String,
    },

    /// Tell what happens to locks, as it happens
    Watch {
        /// Only locks whose names begin with this
        #[arg(value_name = "PREFIX", default_value = "")]
        prefix: String,

        /// Begin behind this revision; without it, now
        #[arg(long, value_name = "REVISION", default_value_t = 0)]
        from: u64,
    },

    /// Take locks, and print the grant
    ///
    /// Nothing renews it: do so before the lease is over, or use `lockport
    /// lock`.
    Acquire {
        #[command(flatten)]
        wanted: Wanted,

        /// Makes it safe to repeat the command: the same id gets the same grant
        #[arg(long, value_name = "TEXT")]
        request_id: Option<String>,
    },

    /// Make a grant last longer
    Renew {
        /// The id that `acquire` printed
        grant: String,

        /// How long it lasts from now; without it, as long as when it was
        /// acquired
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        lease: Option<Duration>,
    },

    /// Give a grant back; doing it twice is no error
    Release {
        /// The id that `acquire` printed
        grant: String,
    },

    /// Take a lock away from whoever holds it
    ///
    /// Its holders lose all locks of their grants, and their next guarded write
    /// is refused. The node's log says who did it, and why.
    ForceRelease {
        /// The lock
        name: String,

        /// Why, for the node's log
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// For the help of `lock`.
pub(super) const LOCK_EXAMPLES: &str = "\
Examples:
  lockport lock backup -- backup.sh /srv
  lockport lock --wait 10s --lease 1m user/7 order/9 -- sh -c 'echo $LOCKPORT_FENCING_TOKEN'
  lockport lock --shared reports --conflict-exit-code 0 -- make reports";

/// For the help of `locks`.
pub(super) const LOCKS_EXAMPLES: &str = "\
Examples:
  lockport locks ls order/
  lockport locks watch --format json
  grant=$(lockport locks acquire order/9 --format json | jq -r .grant.id)
  lockport locks renew \"$grant\" --lease 1m
  lockport locks release \"$grant\"";

/// Reads a duration such as `10s`. What is allowed the server knows.
fn duration(text: &str) -> Result<Duration, String> {
    value::duration(Duration::ZERO..=Duration::MAX)(&Value::Untyped(text.to_owned()))
}
