//! Whether a server keeps what it is given: looked at on every connection.

use super::link::CallError;
use super::tls::TlsError;
use super::whereabouts::Lost;
use redis::RedisError;

/// The oldest version that has function libraries.
const VERSION_MIN: (u32, u32) = (7, 0);

/// What a server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    /// A new one each time it starts.
    pub(super) run: String,
    version: String,
    /// Whether it takes what another server tells it.
    is_replica: bool,
    /// What it does when its memory is full.
    policy: String,
    /// Whether it writes down what it is told.
    is_durable: bool,
    /// Whether it is one of a cluster.
    is_of_cluster: bool,
}

/// Why a server cannot hold a space.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It does not say what it is.
    #[error("the server does not say its version and its run id")]
    Unknown,
    /// It is too old.
    #[error("the server is of version {0}, and has to be 7.0 or newer")]
    Version(String),
    /// It forgets what it likes when its memory is full: locks too.
    #[error("the server's `maxmemory-policy` is `{0}`, and has to be `noeviction`")]
    Policy(String),
    /// It follows another server.
    #[error("the server is a replica")]
    Replica,
    /// It has the keys of some slots only, and these may move away.
    #[error("the server is one of a cluster: the URL of that begins with `redis+cluster://`")]
    OfCluster,
    /// The node may not do there what it has to.
    #[error("the server's user lacks `{0}`")]
    Permissions(String),
}

impl About {
    /// Reads the answer to `INFO`.
    pub(super) fn read(text: &str) -> Self {
        let value = |name: &str| {
            let line = |it: &str| Some(it.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
            text.lines().find_map(line).unwrap_or_default()
        };
        Self {
            run: value("run_id"),
            version: value("redis_version"),
            is_replica: value("role") == "slave",
            policy: value("maxmemory_policy"),
            is_durable: value("aof_enabled") == "1",
            is_of_cluster: value("cluster_enabled") == "1",
        }
    }

    /// Whether a space may be there; in a cluster only if it was looked for there.
    pub(super) fn check(&self, in_cluster: bool) -> Result<(), Unfit> {
        let mut numbers = self.version.split('.').map(str::parse::<u32>);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
            return Err(Unfit::Unknown);
        };
        if self.run.is_empty() {
            return Err(Unfit::Unknown);
        }
        if (major, minor) < VERSION_MIN {
            return Err(Unfit::Version(self.version.clone()));
        }
        if self.policy != "noeviction" {
            return Err(Unfit::Policy(self.policy.clone()));
        }
        if self.is_replica {
            return Err(Unfit::Replica);
        }
        if self.is_of_cluster && !in_cluster {
            return Err(Unfit::OfCluster);
        }
        Ok(())
    }

    /// Says which promises a server's settings weaken.
    pub(super) fn warn(&self) {
        if !self.is_durable {
            tracing::warn!(
                "the server writes no append-only file: acknowledged commits are lost with it"
            );
        }
    }
}

/// Why a server was not found to be fit.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the server does not answer")]
    Server(#[from] RedisError),
    #[error("the server's answer to the opening of a space is not understood")]
    Malformed,
    #[error("what this node has could not be said")]
    Unsaid(#[from] CallError),
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n# Memory\r\n\
        maxmemory_policy:noeviction\r\n# Persistence\r\naof_enabled:1\r\n# Replication\r\n\
        role:master\r\n# Cluster\r\ncluster_enabled:0\r\n";

    #[test]
    fn a_server_that_keeps_what_it_is_given_is_fit() {
        let about = About::read(INFO);
        assert_eq!((about.check(false), about.run.as_str()), (Ok(()), "abc"));
        assert!(about.is_durable);
    }

    #[test]
    fn a_server_that_may_forget_a_lock_is_refused() {
        let with = |from: &str, to: &str| About::read(&INFO.replace(from, to)).check(false);
        let policy = "allkeys-lru".to_owned();
        assert_eq!(with("noeviction", &policy), Err(Unfit::Policy(policy)));
        assert_eq!(
            with("7.0.15", "6.2.9"),
            Err(Unfit::Version("6.2.9".to_owned()))
        );
        assert_eq!(with("master", "slave"), Err(Unfit::Replica));
        assert_eq!(with("7.0.15", "new"), Err(Unfit::Unknown));
        assert_eq!(with("run_id:abc", ""), Err(Unfit::Unknown));
        assert_eq!(with("7.0.15", "10.1"), Ok(()));
    }

    #[test]
    fn a_server_of_a_cluster_is_refused_unless_it_was_found_there() {
        let about = About::read(&INFO.replace("cluster_enabled:0", "cluster_enabled:1"));
        assert_eq!(about.check(false), Err(Unfit::OfCluster));
        assert_eq!(about.check(true), Ok(()));
    }
}
