//! The composition root: builds every part of a node, binds what listens, and
//! owns the order of shutdown.
//!
//! ```text
//!   configuration --> bundles --> wiring --> store --> engine --> gateway --> sockets
//!                     read        checked    opened    compiled              bound
//! ```
//!
//! Everything that can be refused is refused in [`Node::prepare`], in the order
//! of what it costs, before a single connection is accepted. Nothing is served
//! until all of it stands. Shutdown runs the other way: the sockets first, the
//! requests under way next, the store last.

mod wiring;

use crate::bundle::{Bundle, BundleError};
use crate::config::NodeConfig;
use crate::config::manifest::Manifest;
use crate::config::node::{Cache, StoreConfig, StoreUrl};
use crate::gateway::connection::Patience;
use crate::gateway::listener::{self, Listener};
use crate::gateway::{Deployed, Gateway};
use crate::shutdown::Shutdown;
use lockport_engine::{Component, Engine, LoadError, Spec};
use lockport_store::embedded::OpenError;
use lockport_store::{Embedded, Memory, Store};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
pub use wiring::WiringError;

/// A node that is ready to serve.
pub struct Node {
    listener: Listener,
    gateway: Arc<Gateway>,
    store: Arc<dyn Store>,
    ready: Ready,
}

/// What a node that is ready says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Ready {
    /// The program's version.
    pub version: &'static str,
    /// The address of each listener there is, by its key in `[listen]`.
    #[serde(flatten)]
    pub listeners: BTreeMap<&'static str, SocketAddr>,
    /// The components, in the order they were named.
    pub components: Vec<ReadyComponent>,
    /// The store, in one line.
    pub store: String,
}

/// A component that is loaded.
#[derive(Clone, Debug, Serialize)]
pub struct ReadyComponent {
    /// Its name.
    pub name: String,
    /// Which deploy of it this is: what a node loads when it starts is the
    /// first.
    pub version: u32,
    /// Its routes: methods and path.
    pub routes: Vec<String>,
    /// The lock names it may acquire.
    pub locks: Vec<String>,
    /// The components it may call.
    pub calls: Vec<String>,
}

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
    /// An address cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The host failed while it started.
    #[error("the host failed while it started")]
    Host(#[source] tokio::task::JoinError),
}

/// The version of a component that was loaded from a file.
const FIRST_VERSION: u32 = 1;

/// The directory for compiled code in the data directory of a store.
const CACHE_DIRECTORY: &str = "compiled";

impl Node {
    /// Builds everything and binds every socket. Serves nothing yet.
    pub async fn prepare(config: &NodeConfig) -> Result<Self, StartError> {
        let built = {
            let config = config.clone();
            // Files, the store and the compiler block.
            tokio::task::spawn_blocking(move || build(&config))
                .await
                .map_err(StartError::Host)?
        };
        let Built {
            store,
            gateway,
            components,
        } = built?;
        let address = config.listen.http;
        let listener = Listener::bind(address, listener_options(config))
            .await
            .map_err(|source| StartError::Bind { address, source })?;
        let ready = Ready {
            version: env!("CARGO_PKG_VERSION"),
            listeners: BTreeMap::from([("http", listener.address())]),
            components,
            store: store.summary(),
        };
        Ok(Self {
            listener,
            gateway: Arc::new(gateway),
            store,
            ready,
        })
    }

    /// What it says of itself.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Serves until `shutdown` says to stop and what was under way has ended.
    pub async fn run(self, shutdown: Shutdown) {
        let Self {
            listener,
            gateway,
            store,
            ..
        } = self;
        listener.serve(gateway, shutdown).await;
        tracing::info!("every connection has ended");
        // Closing a store writes what is under way, which blocks.
        let closing = tokio::task::spawn_blocking(move || drop(store));
        if let Err(error) = closing.await {
            tracing::error!(%error, "the store was not closed");
        }
    }
}

/// What blocks to build.
struct Built {
    store: Arc<dyn Store>,
    gateway: Gateway,
    components: Vec<ReadyComponent>,
}

fn build(config: &NodeConfig) -> Result<Built, StartError> {
    let bundles = read_all(&config.load)?;
    let manifests: Vec<_> = bundles.iter().map(|it| &it.manifest).collect();
    wiring::check(&manifests)?;
    if bundles.is_empty() {
        tracing::warn!("no component is loaded; every request will be answered 404");
    }
    let store = open_store(&config.store).map_err(StartError::Store)?;
    let engine = Engine::new(lockport_engine::Options {
        cache: cache(config),
        instances: config.engine.instances,
        memory: config.engine.memory,
    })
    .map_err(StartError::Engine)?;
    let components = manifests.iter().map(|it| ReadyComponent::of(it)).collect();
    let mut deployed = Vec::new();
    for bundle in bundles {
        let component = load(&engine, &bundle)?;
        let routes = bundle.manifest.routes.clone();
        deployed.push((Arc::new(deploy(component, bundle.manifest, config)), routes));
    }
    let gateway = Gateway::new(store.clone(), deployed).map_err(WiringError::from)?;
    Ok(Built {
        store,
        gateway,
        components,
    })
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Bundle>, BundleError> {
    paths.iter().map(|path| Bundle::read(path)).collect()
}

fn open_store(config: &StoreConfig) -> Result<Arc<dyn Store>, OpenError> {
    Ok(match &config.url {
        StoreUrl::Memory => Arc::new(Memory::new()),
        StoreUrl::Embedded(directory) => Arc::new(Embedded::open(directory, config.durability)?),
    })
}

fn cache(config: &NodeConfig) -> Option<PathBuf> {
    match (&config.engine.cache, &config.store.url) {
        (Cache::At(directory), _) => Some(directory.clone()),
        (Cache::Auto, StoreUrl::Embedded(directory)) => Some(directory.join(CACHE_DIRECTORY)),
        (Cache::Auto, StoreUrl::Memory) | (Cache::Off, _) => None,
    }
}

fn load(engine: &Engine, bundle: &Bundle) -> Result<Arc<Component>, StartError> {
    let manifest = &bundle.manifest;
    let spec = Spec {
        name: manifest.name.clone(),
        collections: manifest.collections.clone(),
        locks: manifest.grants.locks.clone(),
        reuse: manifest.reuse,
        limits: manifest.limits.engine.clone(),
    };
    let loaded = engine.load(&bundle.wasm, spec);
    loaded.map_err(|source| StartError::Component {
        name: manifest.name.clone(),
        source,
    })
}

fn deploy(component: Arc<Component>, manifest: Manifest, config: &NodeConfig) -> Deployed {
    let node_max = config.limits.request_body;
    Deployed {
        name: manifest.name.into(),
        component,
        locks: manifest.grants.locks,
        calls: manifest.grants.calls,
        deadline: manifest.limits.deadline,
        request_body: manifest
            .limits
            .request_body
            .map_or(node_max, |it| it.min(node_max)),
        response_held: manifest.limits.response_held,
    }
}

fn listener_options(config: &NodeConfig) -> listener::Options {
    let limits = &config.limits;
    listener::Options {
        connections: limits.connections,
        headers: limits.headers,
        header_bytes: limits.header_bytes,
        patience: Patience {
            header: limits.header_timeout,
            idle: limits.idle_timeout,
            write: limits.write_timeout,
        },
        drain: limits.drain,
    }
}

impl ReadyComponent {
    fn of(manifest: &Manifest) -> Self {
        let routes = manifest.routes.iter();
        let locks = manifest.grants.locks.iter();
        Self {
            name: manifest.name.clone(),
            version: FIRST_VERSION,
            routes: routes
                .map(|it| format!("{} {}", it.methods, it.path.text()))
                .collect(),
            locks: locks.map(ToString::to_string).collect(),
            calls: manifest.grants.calls.clone(),
        }
    }
}

impl StartError {
    /// What to do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Bundle(error) => error.hint(),
            Self::Wiring(error) => error.hint(),
            Self::Store(error) => store_hint(error),
            Self::Component { source, .. } => component_hint(source),
            Self::Bind { address, source } => match source.kind() {
                io::ErrorKind::AddrInUse => Some(format!(
                    "another process listens on {address}; `--http {}:0` picks a free port",
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
