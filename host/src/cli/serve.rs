//! `serve`: read the configuration, build the node, run it until a signal.

use super::exit::Report;
use super::output::Output;
use super::{Global, NodeArgs, sources};
use crate::config::NodeConfig;
use crate::{descriptors, node, shutdown, telemetry};
use tokio::runtime::Runtime;

/// Runs a node. Returns when it has been told to stop and has stopped.
pub(super) fn run(global: &Global, flags: &NodeArgs, output: &Output) -> Result<(), Report> {
    let config = sources::config(global, flags)?;
    // Last to go, so that the last lines are written.
    let _flush = telemetry::start(&sources::telemetry(global, &config));
    note_few_descriptors(&config);
    let runtime = runtime()?;
    let end = runtime.block_on(serve(&config, output));
    wind_up(runtime, end?);
    Ok(())
}

/// How a node came to its end.
enum End {
    /// It has served, and everything that was under way has ended.
    Served,
    /// It was stopped while it loaded.
    Unloaded,
}

async fn serve(config: &NodeConfig, output: &Output) -> Result<End, Report> {
    let (trigger, shutdown) = shutdown::channel();
    // From the start: whoever stops a node that is still loading means it.
    shutdown::on_signals(trigger).map_err(|error| Report::fault(&error))?;
    let mut stop = shutdown.clone();
    let node = tokio::select! {
        biased;
        () = stop.reached(shutdown::Phase::Draining) => return Ok(End::Unloaded),
        node = node::Node::prepare(config) => node?,
    };
    output.ready(node.ready(), config);
    node.run(shutdown).await;
    Ok(End::Served)
}

/// Ends the threads. A compiler that is still at work has nothing to lose and
/// cannot be told to stop, so nobody waits for it.
fn wind_up(runtime: Runtime, end: End) {
    match end {
        End::Served => drop(runtime),
        End::Unloaded => runtime.shutdown_background(),
    }
}

/// Says so if the system gives fewer descriptors than connections are allowed:
/// then it is the system's limit that counts.
fn note_few_descriptors(config: &NodeConfig) {
    let wanted = config.limits.connections;
    if let Some(limit) = descriptors::raise()
        && limit < wanted as u64
    {
        tracing::info!(
            limit,
            connections = wanted,
            "the system allows fewer open files than `limits.connections`"
        );
    }
}

/// Every thread of a node: one per core for what must not block.
pub(super) fn runtime() -> Result<Runtime, Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| Report::fault(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::mpsc;

    #[test]
    fn a_node_that_is_stopped_while_it_loads_does_not_wait_for_the_compiler() {
        let (_compiler, compiled) = mpsc::channel::<Infallible>();
        let runtime = runtime().unwrap();
        drop(runtime.spawn_blocking(move || compiled.recv()));
        // If it waited, it would wait for ever.
        wind_up(runtime, End::Unloaded);
    }
}
