//! Why a node cannot start, and what to do about it.

use super::tokens::TokenError;
use super::wiring::WiringError;
use crate::bundle::BundleError;
use lockport_engine::LoadError;
use lockport_store::embedded::OpenError;
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
            Self::Component { source, .. } => component_hint(source),
            Self::Token(error) => error.hint(),
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
            Self::Engine(_) | Self::Host(_) => None,
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
