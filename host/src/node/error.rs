//! Why a node cannot start, and what to do about it.

use super::configuration::ConfigurationError;
use super::tokens::TokenError;
use super::wiring::WiringError;
use crate::bundle::BundleError;
use crate::config::node::RedisUrl;
use crate::outbound::TrustError;
use lockport_engine::LoadError;
use lockport_store::embedded::OpenError;
use lockport_store::redis::{self, Lost, Silence, TlsError, Unfit};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A component cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The components do not fit together.
    #[error(transparent)]
    Wiring(#[from] WiringError),
    /// The store cannot be opened.
    #[error("the store cannot be opened")]
    Store(#[source] OpenError),
    /// The store in Redis cannot be used.
    #[error("the store at {url} cannot be opened")]
    Redis {
        /// Where it is. Shown without a password.
        url: RedisUrl,
        /// Why.
        source: redis::OpenError,
    },
    /// The engine cannot be set up.
    #[error("components cannot be run on this machine")]
    Engine(#[source] LoadError),
    /// A component was read but cannot be loaded.
    #[error("the component `{name}` cannot be loaded")]
    Component {
        /// Its name.
        name: String,
        /// Why.
        source: LoadError,
    },
    /// A token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A component cannot be given its configuration.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// Nobody can be trusted as the configuration says.
    #[error("`outbound.ca` cannot be used")]
    Trust(#[source] TrustError),
    /// An address cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The flag that gives it.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The host failed while it started.
    #[error("the host failed while it started")]
    Host(#[source] tokio::task::JoinError),
}

impl StartError {
    /// What to do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Bundle(error) => error.hint(),
            Self::Wiring(error) => error.hint(),
            Self::Store(error) => store_hint(error),
            Self::Redis { source, .. } => redis_hint(source).map(str::to_owned),
            Self::Component { source, .. } => component_hint(source),
            Self::Token(error) => error.hint(),
            Self::Configuration(error) => error.hint(),
            Self::Bind {
                address,
                flag,
                source,
            } => match source.kind() {
                io::ErrorKind::AddrInUse => Some(format!(
                    "another process listens on {address}; `{flag} {}:0` picks a free port",
                    address.ip()
                )),
                io::ErrorKind::PermissionDenied => {
                    Some("ports below 1024 need a privilege; choose a higher one".to_owned())
                }
                _ => None,
            },
            Self::Engine(_) | Self::Trust(_) | Self::Host(_) => None,
        }
    }
}

fn store_hint(error: &OpenError) -> Option<String> {
    let hint = match error {
        OpenError::InUse { path } => format!(
            "stop the other node, or give this one a directory of its own: --store embedded:{}",
            beside(path).display()
        ),
        OpenError::Newer { .. } => {
            "run the version of lockport that wrote it, or a later one".to_owned()
        }
        OpenError::Unreleased { .. } => {
            "give the node another directory: --store embedded:DIR".to_owned()
        }
        OpenError::Foreign { .. } => "give the store a directory of its own".to_owned(),
        OpenError::NoLog { .. } => "put the data directory on a local file system".to_owned(),
        OpenError::Directory { .. } => {
            "name a directory that can be created and written to: --store embedded:DIR".to_owned()
        }
        OpenError::Database(_) | OpenError::Thread(_) => return None,
    };
    Some(hint)
}

fn redis_hint(error: &redis::OpenError) -> Option<&'static str> {
    let hint = match error {
        redis::OpenError::Server(error) => match error.code() {
            Some("WRONGPASS" | "NOAUTH") => {
                "name a user and a password: LOCKPORT_STORE__URL=redis://USER:PASSWORD@HOST"
            }
            Some("LOADING") => "the server is reading its data; start the node again after that",
            // Others that the server itself says.
            Some(_) => return None,
            None => {
                "start a server there, Redis 7.0 or newer, or name another: \
                 --store redis://HOST:PORT"
            }
        },
        redis::OpenError::Unfit(Unfit::Policy(_)) => {
            "on the server: CONFIG SET maxmemory-policy noeviction, and in its redis.conf too"
        }
        redis::OpenError::Unfit(Unfit::Version(_)) => {
            "run Redis 7.0 or newer, or Valkey 7.2 or newer"
        }
        redis::OpenError::Unfit(Unfit::Replica) => "name the server that it follows",
        redis::OpenError::Unfit(Unfit::OfCluster) => {
            "name some of its masters: --store redis+cluster://HOST:PORT,HOST:PORT"
        }
        redis::OpenError::Unfit(Unfit::Permissions(_)) => {
            "give it that: ACL SETUSER; deploy/lockport.toml has all that a user needs"
        }
        redis::OpenError::Tls(error)
        | redis::OpenError::Lost(
            Lost::Sentinels(Some(Silence::Tls(error))) | Lost::Cluster(Some(Silence::Tls(error))),
        ) => return tls_hint(error),
        redis::OpenError::Malformed => {
            "give the store a space of its own: --store redis://HOST:PORT?space=NAME"
        }
        redis::OpenError::Lost(Lost::Service(_)) => {
            "name the service as the sentinels do: --store redis+sentinel://HOST:PORT/SERVICE"
        }
        redis::OpenError::Lost(Lost::Slot(_)) => {
            "see that every slot has a master: redis-cli --cluster check HOST:PORT"
        }
        redis::OpenError::Url(_)
        | redis::OpenError::Lost(_)
        | redis::OpenError::Unfit(Unfit::Unknown)
        | redis::OpenError::Thread(_) => return None,
    };
    Some(hint)
}

fn tls_hint(error: &TlsError) -> Option<&'static str> {
    let hint = match error {
        TlsError::Issuer => "name the file of its authority's certificate: store.tls_ca",
        TlsError::Name(_) => "name the host as the certificate does",
        TlsError::Time => "give the server a new certificate, or set the clock",
        TlsError::IdentityWanted => {
            "name the files of one and of its key: store.tls_certificate and store.tls_key"
        }
        TlsError::IdentityRefused => {
            "give the node a certificate of an authority that the server knows: \
             store.tls_certificate"
        }
        TlsError::IdentityExpired => "give the node a new certificate: store.tls_certificate",
        TlsError::Silent => "name the server's TLS port, or begin the URL with redis://",
        TlsError::Unreadable { .. }
        | TlsError::Missing { .. }
        | TlsError::Unusable(_)
        | TlsError::Other(_) => return None,
    };
    Some(hint)
}

/// A directory like `path`, for an example.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push("-2");
    path.with_file_name(name)
}

fn component_hint(error: &LoadError) -> Option<String> {
    let hint = match error {
        LoadError::NotAComponent(_) => "build it for the target wasm32-wasip2",
        LoadError::MissingImports(_) | LoadError::NoHandler => {
            "build it for the world `lockport:host/handler`, or for `wasi:http/proxy` of WASI 0.2"
        }
        LoadError::Limits(_) => {
            "see `[limits]` in its component.toml and `engine.memory` of the node"
        }
        LoadError::Compile(_) => return None,
    };
    Some(hint.to_owned())
}
