//! What a node says of itself when it is ready.

use crate::config::manifest::Manifest;
use crate::config::node::{CompatConfig, TokenConfig};
use crate::config::value::Show;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;

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
    /// Who may use the lock API and the administrators' listener, in one line.
    pub access: String,
    /// How the older lock-manager contract is served, in one line.
    pub compat: String,
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

/// The version of a component that was loaded from a file.
const FIRST_VERSION: u32 = 1;

/// Who may use the lock API and the administrators' listener.
pub(super) fn access(tokens: &[TokenConfig]) -> String {
    match tokens.len() {
        0 => "no token: whoever reaches them".to_owned(),
        1 => "1 token".to_owned(),
        count => format!("{count} tokens"),
    }
}

/// How the older contract is served.
pub(super) fn compat(config: &CompatConfig) -> String {
    let who = match config.anonymous {
        true => "without a token",
        false => "with a token",
    };
    match config.enabled {
        true => format!(
            "on, {who}, locks last {}",
            config.lease.show().trim_matches('"')
        ),
        false => "off".to_owned(),
    }
}

impl ReadyComponent {
    pub(super) fn of(manifest: &Manifest) -> Self {
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
