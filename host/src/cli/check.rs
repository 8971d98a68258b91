//! `check`: everything `serve` does before it listens, then a report.

use super::exit::Report;
use super::output::Output;
use super::{Check, Global, serve, sources};
use crate::node::Node;
use crate::telemetry;

/// Builds a node and lets it go again. What `serve` would refuse is refused
/// here in the same way, so the store is opened and the addresses are bound
/// for a moment.
pub(super) fn run(global: &Global, check: &Check, output: &Output) -> Result<(), Report> {
    let config = sources::config(global, &check.node)?;
    if check.print_config {
        output.settings(&config);
    }
    let _flush = telemetry::start(&sources::telemetry(global, &config));
    serve::runtime()?.block_on(async {
        let node = Node::prepare(&config).await?;
        if !check.print_config {
            output.checked(node.ready(), &config);
        }
        Ok(())
    })
}
