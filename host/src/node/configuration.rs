//! What each component may read of the configuration: what its manifest grants
//! and its operator gives.
//!
//! A key of configuration that nobody gives is absent, which a component can
//! live with. A secret that is not there is a mistake that would be noticed
//! late, so the node does not start; and neither does it if a component is
//! given what it is not granted, which is likely a slip of the pen.

use super::secret;
use crate::config::manifest::Manifest;
use crate::config::node::{ByComponent, Given, Secret, VALUE_BYTES_MAX};
use crate::config::section::nearest;
use crate::config::{Origin, environment};
use lockport_engine::Configuration;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// Why a component cannot be given its configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// It is given what its manifest does not grant.
    #[error(
        "{origin}: `{section}.{component}.{key}` is not in `grants.{section}` of `{component}`"
    )]
    NotGranted {
        /// Where it is given.
        origin: Origin,
        /// `config` or `secrets`.
        section: &'static str,
        /// The component.
        component: String,
        /// The key.
        key: String,
        /// What was probably meant.
        meant: Option<String>,
    },
    /// It is granted a secret that it is not given.
    #[error("the component `{component}` needs the secret `{key}`, which the node does not have")]
    NotGiven {
        /// The component.
        component: String,
        /// The secret's key.
        key: String,
    },
    /// The place that is named for a secret has none.
    #[error("{origin}: the secret `{key}` of `{component}` cannot be used")]
    Secret {
        /// Where the place is named.
        origin: Origin,
        /// The component.
        component: String,
        /// The secret's key.
        key: String,
        /// Why.
        source: SecretError,
    },
}

/// Why a place has no secret that can be used. Says nothing of what is there.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set.
    #[error("the variable {0} is not set")]
    NotSet(String),
    /// The variable is no text.
    #[error("the variable {0} is not text in UTF-8")]
    NotText(String),
    /// The file cannot be read.
    #[error("`{}` cannot be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is too long.
    #[error("it is longer than {VALUE_BYTES_MAX} bytes")]
    TooLong,
}

/// What each of the components may read, in their order. Blocks.
pub(super) fn read(
    manifests: &[&Manifest],
    given: &Given,
) -> Result<Vec<Configuration>, ConfigurationError> {
    for component in given.config.keys().chain(given.secrets.keys()) {
        if !manifests.iter().any(|it| it.name == *component) {
            tracing::warn!(
                component,
                "the configuration has values for a component that is not loaded"
            );
        }
    }
    manifests.iter().map(|it| read_one(it, given)).collect()
}

fn read_one(manifest: &Manifest, given: &Given) -> Result<Configuration, ConfigurationError> {
    let name = manifest.name.as_str();
    let grants = &manifest.grants;
    check_granted("config", name, &given.config, &grants.config)?;
    check_granted("secrets", name, &given.secrets, &grants.secrets)?;
    let config = given.config.get(name).into_iter().flatten();
    let secrets = grants.secrets.iter();
    Ok(Configuration {
        config: config
            .map(|(key, placed)| (key.clone(), placed.value.clone()))
            .collect(),
        secrets: secrets
            .map(|key| Ok((key.clone(), read_secret(name, key, &given.secrets)?)))
            .collect::<Result<_, _>>()?,
    })
}

/// Refuses what the component is given and not granted.
fn check_granted<T>(
    section: &'static str,
    component: &str,
    given: &ByComponent<T>,
    granted: &[String],
) -> Result<(), ConfigurationError> {
    let mut given = given.get(component).into_iter().flatten();
    match given.find(|(key, _)| !granted.contains(key)) {
        None => Ok(()),
        Some((key, placed)) => Err(ConfigurationError::NotGranted {
            origin: placed.origin.clone(),
            section,
            component: component.to_owned(),
            key: key.clone(),
            meant: nearest(key, granted.iter().map(String::as_str)).map(str::to_owned),
        }),
    }
}

fn read_secret(
    component: &str,
    key: &str,
    given: &ByComponent<Secret>,
) -> Result<String, ConfigurationError> {
    let placed = given
        .get(component)
        .and_then(|it: &BTreeMap<_, _>| it.get(key));
    let placed = placed.ok_or_else(|| ConfigurationError::NotGiven {
        component: component.to_owned(),
        key: key.to_owned(),
    })?;
    secret_at(&placed.value).map_err(|source| ConfigurationError::Secret {
        origin: placed.origin.clone(),
        component: component.to_owned(),
        key: key.to_owned(),
        source,
    })
}

fn secret_at(place: &Secret) -> Result<String, SecretError> {
    let secret = match place {
        Secret::Variable(name) => environment::secret(name)
            .ok_or_else(|| SecretError::NotSet(name.clone()))?
            .map_err(|_| SecretError::NotText(name.clone()))?,
        Secret::File(file) => secret::read(file, VALUE_BYTES_MAX).map_err(|source| {
            let file = file.clone();
            SecretError::Unreadable { file, source }
        })?,
    };
    match secret.len() {
        0 => Err(SecretError::Empty),
        1..=VALUE_BYTES_MAX => Ok(secret),
        _ => Err(SecretError::TooLong),
    }
}

impl ConfigurationError {
    /// What to do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotGranted {
                meant: Some(meant), ..
            } => Some(format!("did you mean `{meant}`?")),
            Self::NotGranted { section, .. } => Some(format!(
                "take it out, or add it to `grants.{section}` in the component.toml"
            )),
            Self::NotGiven { component, key } => Some(format!(
                "say where it is in lockport.toml, under [secrets.{component}]: \
                 {key} = {{ env = \"{}\" }}",
                variable(component, key)
            )),
            Self::Secret { source, .. } => match source {
                SecretError::NotSet(name) => Some(format!("set {name} for the node")),
                SecretError::Unreadable { .. } => Some(
                    "put the secret into that file, readable by the node's user only".to_owned(),
                ),
                SecretError::NotText(_) | SecretError::Empty | SecretError::TooLong => None,
            },
        }
    }
}

/// A variable for a secret, for an example: `ORDER_API_KEY`.
fn variable(component: &str, key: &str) -> String {
    let name = format!("{component}_{key}").to_ascii_uppercase();
    name.replace(|it: char| !it.is_ascii_alphanumeric(), "_")
}

#[cfg(test)]
mod tests;
