//! From flags to a configuration, and to how it is logged.

use super::exit::Report;
use super::{Color, Global, NodeArgs};
use crate::config::sources::{Flag, Sources};
use crate::config::{NodeConfig, environment};
use crate::telemetry::{self, LogFormat};

/// The configuration that is in force.
pub(super) fn config(global: &Global, node: &NodeArgs) -> Result<NodeConfig, Report> {
    Ok(NodeConfig::load(&Sources {
        file: node.config.clone(),
        directory: "".into(),
        variables: environment::variables(),
        flags: flags(global, node),
    })?)
}

/// How to log under this configuration.
pub(super) fn telemetry(global: &Global, config: &NodeConfig) -> telemetry::Options {
    telemetry::Options {
        level: config.log.level.clone(),
        format: config.log.format,
        color: match global.color {
            Color::Auto => None,
            Color::Always => Some(true),
            Color::Never => Some(false),
        },
    }
}

fn flags(global: &Global, node: &NodeArgs) -> Vec<Flag> {
    let mut flags = Vec::new();
    if !node.components.is_empty() {
        let paths = node.components.iter();
        flags.push(Flag {
            name: "DIR|FILE",
            section: "components",
            key: "load",
            values: paths.map(|it| it.to_string_lossy().into_owned()).collect(),
        });
    }
    if let Some(url) = &node.store {
        flags.push(Flag::one("--store", "store", "url", url));
    }
    for (name, key, address) in [
        ("--http", "http", &node.http),
        ("--lock", "lock", &node.lock),
        ("--admin", "admin", &node.admin),
    ] {
        if let Some(address) = address {
            flags.push(Flag::one(name, "listen", key, address));
        }
    }
    if let Some(lines) = node.log_format {
        let word = match LogFormat::from(lines) {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        flags.push(Flag::one("--log-format", "log", "format", word));
    }
    match (global.quiet, global.verbose) {
        (true, _) => flags.push(Flag::one("--quiet", "log", "level", "warn")),
        (false, 0) => {}
        (false, 1) => flags.push(Flag::one(
            "--verbose",
            "log",
            "level",
            "info,lockport=debug",
        )),
        (false, _) => flags.push(Flag::one("--verbose", "log", "level", "debug")),
    }
    flags
}
