//! The composition root: builds every part of a node, binds what listens, and
//! owns the order of shutdown.
//!
//! ```text
//!   configuration --> bundles --> wiring --> secrets --> engine --> store --> gateway --> sockets
//!                     read        checked    read        compiled   opened               bound
//! ```
//!
//! Everything that can be refused is refused in [`Node::prepare`], in the order
//! of what it costs, before a single connection is accepted. Nothing is served
//! until all of it stands. Shutdown runs the other way: the sockets first (in
//! `doors.rs`), the requests under way next, the store last.

mod configuration;
mod doors;
mod error;
mod ready;
mod secret;
mod tokens;
mod wiring;

pub use configuration::{ConfigurationError, SecretError};
pub use error::StartError;
pub use ready::{Ready, ReadyComponent};
pub use tokens::TokenError;
pub use wiring::WiringError;

use crate::admin::Admin;
use crate::bundle::{Bundle, BundleError};
use crate::config::NodeConfig;
use crate::config::manifest::Manifest;
use crate::config::node::{Cache, CompatConfig, StoreUrl};
use crate::gateway::{Deployed, Gateway};
use crate::metrics::{Metrics, Sources};
use crate::outbound::grant::OutboundGrant;
use crate::outbound::{self, Door, World};
use crate::shutdown::Shutdown;
use doors::{Doors, Services};
use lockport_engine::{Component, Configuration, Engine, Spec};
use lockport_locks::{Access, Compat, LockApi};
use lockport_store::{Clock, Embedded, Memory, Redis, Store, embedded, redis};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;

/// A node that is ready to serve.
pub struct Node {
    doors: Doors,
    built: Built,
    metrics: Arc<Metrics>,
    ready: Ready,
}

/// What blocks to build.
struct Built {
    access: Access,
    store: Arc<dyn Store>,
    engine: Engine,
    gateway: Gateway,
    locks: LockApi,
    components: Vec<ReadyComponent>,
}

/// The directory for compiled code in the data directory of a store.
const CACHE_DIRECTORY: &str = "compiled";

impl Node {
    /// Builds everything and binds every socket. Serves nothing yet.
    pub async fn prepare(config: &NodeConfig) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new());
        let mut built = {
            let (config, metrics) = (config.clone(), metrics.clone());
            // Files, the store and the compiler block.
            tokio::task::spawn_blocking(move || build(&config, metrics))
                .await
                .map_err(StartError::Host)??
        };
        let doors = Doors::bind(config, &metrics).await?;
        let ready = Ready {
            version: env!("CARGO_PKG_VERSION"),
            listeners: doors.addresses(),
            components: std::mem::take(&mut built.components),
            store: built.store.summary(),
            access: ready::access(&config.tokens),
            compat: ready::compat(&config.compat),
        };
        tracing::info!(
            access = ready.access,
            compat = ready.compat,
            "the lock API is set up"
        );
        Ok(Self {
            doors,
            built,
            metrics,
            ready,
        })
    }

    /// What it says of itself.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Serves until `shutdown` says to stop and what was under way has ended.
    pub async fn run(self, shutdown: Shutdown) {
        let Built {
            access,
            store,
            engine,
            gateway,
            locks,
            ..
        } = self.built;
        let gateway = Arc::new(gateway);
        let sources = Sources {
            store: store.clone(),
            engine,
            locks: Some(locks.clone()),
        };
        let services = Services {
            gateway: gateway.clone(),
            locks,
            admin: Admin::new(access, self.metrics, sources, shutdown.clone()),
        };
        tokio::select! {
            () = self.doors.serve(services, shutdown) => {}
            () = gateway.keep_swept() => {}
        }
        drop(gateway);
        // Closing a store writes what is under way, which blocks.
        let closing = tokio::task::spawn_blocking(move || drop(store));
        if let Err(error) = closing.await {
            tracing::error!(%error, "the store was not closed");
        }
    }
}

fn build(config: &NodeConfig, metrics: Arc<Metrics>) -> Result<Built, StartError> {
    let bundles = read_all(&config.load)?;
    let manifests: Vec<_> = bundles.iter().map(|it| &it.manifest).collect();
    wiring::check(&manifests)?;
    if bundles.is_empty() {
        tracing::warn!("no component is loaded; every request will be answered 404");
    }
    let access = tokens::access(&config.tokens)?;
    let configurations = configuration::read(&manifests, &config.given)?;
    let engine = Engine::new(lockport_engine::Options {
        cache: cache(config),
        instances: config.engine.instances,
        memory: config.engine.memory,
    })
    .map_err(StartError::Engine)?;
    let world = world(config, &manifests)?;
    let components = manifests.iter().map(|it| ReadyComponent::of(it)).collect();
    let mut deployed = Vec::new();
    for (bundle, configuration) in bundles.into_iter().zip(configurations) {
        let component = load(&engine, &bundle, configuration)?;
        let routes = bundle.manifest.routes.clone();
        let door = door(&bundle.manifest, &world, &metrics);
        let component = deploy(component, bundle.manifest, door, config);
        deployed.push((Arc::new(component), routes));
    }
    // Last, as from here on leases run, and those who hold them cannot renew
    // before the node listens.
    let store = open_store(config)?;
    let keep = config.idempotency.keep;
    let gateway = Gateway::new(store.clone(), keep, deployed, metrics);
    let gateway = gateway.map_err(WiringError::from)?;
    let options = lockport_locks::Options {
        access: access.clone(),
        compat: compat(&config.compat),
        limits: lockport_locks::Limits {
            body: config.locks.body_timeout,
            ..Default::default()
        },
    };
    Ok(Built {
        access,
        locks: LockApi::new(store.clone(), options),
        store,
        engine,
        gateway,
        components,
    })
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Bundle>, BundleError> {
    paths.iter().map(|path| Bundle::read(path)).collect()
}

/// Opens the store. Blocks; to be called where that is allowed.
fn open_store(config: &NodeConfig) -> Result<Arc<dyn Store>, StartError> {
    let limits = config.locks.store;
    Ok(match &config.store.url {
        StoreUrl::Memory => Arc::new(Memory::with(limits, Clock::machine())),
        StoreUrl::Embedded(directory) => {
            let options = embedded::Options {
                durability: config.store.durability,
                limits,
                ..embedded::Options::default()
            };
            let opened = Embedded::open_with(directory, options);
            Arc::new(opened.map_err(StartError::Store)?)
        }
        StoreUrl::Redis(url) => {
            let options = redis::Options {
                lease: config.store.lease,
                patience: config.store.timeout,
                reclaim: config.store.reclaim,
                limits,
                tls: config.store.tls.clone(),
                sync: config.store.sync,
            };
            let opened = Handle::current().block_on(Redis::open_at(url.url().clone(), options));
            Arc::new(opened.map_err(|source| StartError::Redis {
                url: url.clone(),
                source,
            })?)
        }
    })
}

fn compat(config: &CompatConfig) -> Option<Compat> {
    config.enabled.then_some(Compat {
        anonymous: config.anonymous,
        lease: config.lease,
    })
}

fn cache(config: &NodeConfig) -> Option<PathBuf> {
    match (&config.engine.cache, &config.store.url) {
        (Cache::At(directory), _) => Some(directory.clone()),
        (Cache::Auto, StoreUrl::Embedded(directory)) => Some(directory.join(CACHE_DIRECTORY)),
        (Cache::Auto, StoreUrl::Memory | StoreUrl::Redis(_)) | (Cache::Off, _) => None,
    }
}

fn load(
    engine: &Engine,
    bundle: &Bundle,
    configuration: Configuration,
) -> Result<Arc<Component>, StartError> {
    let manifest = &bundle.manifest;
    let spec = Spec {
        name: manifest.name.clone(),
        collections: manifest.collections.clone(),
        locks: manifest.grants.locks.clone(),
        configuration,
        reuse: manifest.reuse,
        limits: manifest.limits.engine.clone(),
    };
    let loaded = engine.load(&bundle.wasm, spec);
    loaded.map_err(|source| StartError::Component {
        name: manifest.name.clone(),
        source,
    })
}

/// What components have in common on their way to the world outside.
fn world(config: &NodeConfig, manifests: &[&Manifest]) -> Result<World, StartError> {
    let mut grants = manifests.iter().flat_map(|it| &it.grants.outbound);
    let ca = config.outbound.ca.as_deref();
    // The authorities of the machine are many, and most nodes need none.
    let trust = match ca.is_some() || grants.any(OutboundGrant::is_secure) {
        true => Some(outbound::trusting(ca).map_err(StartError::Trust)?),
        false => None,
    };
    Ok(World {
        resolver: Arc::new(outbound::System::default()),
        trust,
    })
}

fn door(manifest: &Manifest, world: &World, metrics: &Metrics) -> Door {
    let (grants, limits) = (&manifest.grants, &manifest.limits.outbound);
    let metrics = metrics.outbound(&manifest.name, limits.connections);
    Door::new(
        grants.outbound.clone(),
        limits.clone(),
        world.clone(),
        metrics,
    )
}

fn deploy(
    component: Arc<Component>,
    manifest: Manifest,
    outbound: Door,
    config: &NodeConfig,
) -> Deployed {
    let node_max = config.limits.request_body;
    Deployed {
        may_conflict: !manifest.collections.is_empty() || !manifest.grants.calls.is_empty(),
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
        outbound,
    }
}
