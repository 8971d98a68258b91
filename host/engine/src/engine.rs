//! How wasmtime is set up, and what all components share.

use crate::admission;
use crate::cache::Cache;
use crate::clock::{self, Clock};
use crate::component::Component;
use crate::failure::Failure;
use crate::limits::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX};
use crate::linker::Linkers;
use crate::load::{self, LoadError};
use crate::pool::Pool;
use crate::spec::Spec;
use crate::statistics::Statistics;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where compiled code is cached; `None` compiles anew each time. The
    /// directory is created with mode 0700.
    pub cache: Option<PathBuf>,
    /// How many instances the node may keep at once, at work or idle, over all
    /// components. Requests beyond wait in the queues of their components.
    /// Default 1 000.
    pub instances: u32,
    /// The most linear memory that any component's manifest may ask for, in
    /// bytes. Default 256 MiB.
    pub memory: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache: None,
            instances: 1_000,
            memory: 256 << 20,
        }
    }
}

/// Stack that a guest may use, in bytes. What is left of [`FIBRE_STACK`] is
/// for host functions, which run on the same stack.
const WASM_STACK: usize = 512 << 10;
/// Stack of a call, in bytes. An overflow by the host aborts the process.
const FIBRE_STACK: usize = 2 << 20;

/// Memories and tables that the pool has room for, per instance on average.
/// Single components may have more, up to [`MEMORIES_MAX`] and [`TABLES_MAX`].
const MEMORIES_PER_INSTANCE: u32 = 2;
const TABLES_PER_INSTANCE: u32 = 4;

/// Memory of a slot that is cleared by hand instead of given back to the
/// system, in bytes, which saves page faults: where the kernel can say which
/// pages were touched (`PAGEMAP_SCAN`), and where it cannot.
const KEEP_RESIDENT_SCANNED: usize = 2 << 20;
const KEEP_RESIDENT_BLIND: usize = 64 << 10;

/// Compiles components and runs their clocks. Cheap to clone; the clock stops
/// when the last clone and the last [`Component`] are dropped.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

/// What all components of an engine share.
pub(crate) struct Inner {
    pub(crate) wasmtime: wasmtime::Engine,
    linkers: Linkers,
    cache: Option<Cache>,
    /// One permit per instance that exists. The pooling allocator has room for
    /// exactly so many.
    slots: Arc<Semaphore>,
    /// How many requests wait for a slot.
    waiting: AtomicUsize,
    /// The pools of the components that are loaded.
    pools: Mutex<Vec<Weak<Pool>>>,
    components: Mutex<Vec<Weak<Component>>>,
    instances_max: u32,
    memory: u64,
    _clock: Clock,
}

impl Engine {
    /// Sets up the engine and starts its clock.
    ///
    /// If the pooling allocator cannot reserve its address space, instances
    /// are allocated on demand, which is slower; a warning says so. A cache
    /// that cannot be opened is done without, with a warning.
    pub fn new(options: Options) -> Result<Self, LoadError> {
        let wasmtime = new_wasmtime(&options)?;
        let linkers = Linkers::new(&wasmtime).map_err(|error| LoadError::compile(&error))?;
        let (clock, ticks) = clock::new();
        let inner = Arc::new(Inner {
            cache: options
                .cache
                .and_then(|directory| Cache::open(directory, &wasmtime)),
            wasmtime,
            linkers,
            slots: Arc::new(Semaphore::new(options.instances as usize)),
            waiting: AtomicUsize::new(0),
            pools: Mutex::default(),
            components: Mutex::default(),
            instances_max: options.instances,
            memory: options.memory,
            _clock: clock,
        });
        ticks
            .start(Arc::downgrade(&inner))
            .map_err(|error| LoadError::Compile(format!("its clock cannot be started: {error}")))?;
        Ok(Self(inner))
    }

    /// Compiles (or takes from the cache), links and pre-instantiates.
    /// Blocks for the time that takes; call it off the request path.
    ///
    /// Refuses what is not a component, what imports something this host does
    /// not have (all of it named), what exports no handler, and limits that
    /// the engine or the component cannot keep.
    pub fn load(&self, wasm: &[u8], spec: Spec) -> Result<Arc<Component>, LoadError> {
        load::check(wasm)?;
        load::check_limits(&spec.limits, self.0.memory)?;
        let code = match &self.0.cache {
            Some(cache) => cache.compile(&self.0.wasmtime, wasm),
            None => wasmtime::component::Component::from_binary(&self.0.wasmtime, wasm),
        };
        let code = code.map_err(|error| LoadError::compile(&error))?;
        load::check_needs(&code, &spec.limits)?;
        // Made now, or the first request would have to wait for it.
        code.initialize_copy_on_write_image()
            .map_err(|error| LoadError::compile(&error))?;
        let pre = self.0.linkers.link(&code)?;
        let component = Arc::new(Component::new(self.0.clone(), pre, spec));
        self.0.add(&component);
        Ok(component)
    }

    /// How it stands.
    pub fn statistics(&self) -> Statistics {
        let components = lock(&self.0.components);
        let components = components.iter().filter_map(Weak::upgrade);
        Statistics {
            instances_max: self.0.instances_max.into(),
            components: components.map(|it| it.statistics()).collect(),
        }
    }

    /// What its components share.
    #[cfg(test)]
    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Inner {
    /// A slot for one more instance. If there is none, an idle instance of any
    /// component is given up for it; `None` if every instance is at work.
    pub(crate) fn slot(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(slot) = self.slots.clone().try_acquire_owned() {
                return Some(slot);
            }
            if !self.pools().iter().any(|pool| pool.give_up_one()) {
                return None;
            }
        }
    }

    /// Waits for a slot until the deadline, first come first served.
    pub(crate) async fn wait_for_slot(
        &self,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, Failure> {
        let _waiting = Waiting::begin(&self.waiting);
        // An instance may have become idle while nobody was waiting yet. The
        // lock of its pool orders the two: either it is found here, or whoever
        // put it there sees that somebody waits.
        if let Some(slot) = self.slot() {
            return Ok(slot);
        }
        admission::acquire(&self.slots, deadline).await
    }

    /// To be told after an instance was put into `pool`. If requests wait for
    /// a slot, which may be of any component, it is given up for them.
    pub(crate) fn became_idle(&self, pool: &Pool) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            pool.give_up_one();
        }
    }

    /// Drops the instances that have been idle since the last sweep.
    pub(crate) fn sweep(&self) {
        for pool in self.pools() {
            pool.sweep();
        }
    }

    fn add(&self, component: &Arc<Component>) {
        let mut pools = lock(&self.pools);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(component.pool()));
        let mut components = lock(&self.components);
        components.retain(|it| it.strong_count() > 0);
        components.push(Arc::downgrade(component));
    }

    /// The pools there are. The lock is not held while instances are dropped.
    fn pools(&self) -> Vec<Arc<Pool>> {
        let pools = lock(&self.pools);
        pools.iter().filter_map(Weak::upgrade).collect()
    }
}

/// Counts one request that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Lists of what is loaded are whole at every point where something could
/// panic.
fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

fn new_wasmtime(options: &Options) -> Result<wasmtime::Engine, LoadError> {
    let mut config = base_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(options)));
    wasmtime::Engine::new(&config).or_else(|error| {
        tracing::warn!(
            error = format!("{error:#}"),
            instances = options.instances,
            "the pooling allocator cannot be set up; instances are allocated on demand, which is slower"
        );
        wasmtime::Engine::new(&base_config()).map_err(|error| LoadError::compile(&error))
    })
}

/// An engine for WASI 0.2: its components need no concurrency in the engine,
/// which makes their calls cheaper.
fn base_config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(false)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBRE_STACK)
        .wasm_backtrace_max_frames(None)
        .memory_init_cow(true)
        .parallel_compilation(true);
    config
}

fn pooling(options: &Options) -> PoolingAllocationConfig {
    let scan = PoolingAllocationConfig::is_pagemap_scan_available();
    let keep = if scan {
        KEEP_RESIDENT_SCANNED
    } else {
        KEEP_RESIDENT_BLIND
    };
    let instances = options.instances;
    let mut pooling = PoolingAllocationConfig::new();
    pooling
        .total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_MAX))
        .total_memories(instances.saturating_mul(MEMORIES_PER_INSTANCE))
        .total_tables(instances.saturating_mul(TABLES_PER_INSTANCE))
        .total_stacks(instances)
        .total_gc_heaps(instances)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_memory_size(usize::try_from(options.memory).unwrap_or(usize::MAX))
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(keep)
        .table_keep_resident(keep)
        .pagemap_scan(if scan { Enabled::Yes } else { Enabled::No });
    pooling
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Log;

    #[test]
    fn the_default_engine_has_a_pool() {
        let engine = Engine::new(Options::default()).unwrap();
        assert!(engine.0.wasmtime.pooling_allocator_metrics().is_some());
    }

    #[test]
    fn an_engine_whose_pool_cannot_be_reserved_does_without_and_says_so() {
        let log = Log::begin();
        let options = Options {
            instances: 10_000_000,
            ..Options::default()
        };
        let engine = Engine::new(options).unwrap();
        assert!(engine.0.wasmtime.pooling_allocator_metrics().is_none());
        let lines = log.lines();
        assert!(
            lines[0].contains("instances are allocated on demand"),
            "{lines:?}"
        );
    }
}
