//! Whether the components of a node fit together. Pure.

use crate::config::manifest::Manifest;
use crate::gateway::Route;
use crate::gateway::route::{Clash, Router};
use std::collections::HashSet;
use std::sync::Arc;

/// Why components do not fit together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WiringError {
    /// Two have the same name.
    #[error("two components are called `{0}`")]
    NameTwice(String),
    /// Two routes would take the same requests.
    #[error(
        "the routes `{path}` of `{component}` and `{other_path}` of `{other}` clash: both serve {methods}"
    )]
    Clash {
        /// The component whose route came second.
        component: String,
        /// Its route.
        path: String,
        /// The component whose route was there.
        other: String,
        /// Its route.
        other_path: String,
        /// The methods both want.
        methods: String,
    },
    /// A component may call one that is not there.
    #[error("`{caller}` is granted calls to `{callee}`, which is not loaded")]
    NoCallee {
        /// Who may call.
        caller: String,
        /// Who is not there.
        callee: String,
    },
}

/// Checks names, routes and calls of all components together.
pub(super) fn check(manifests: &[&Manifest]) -> Result<(), WiringError> {
    let mut names = HashSet::new();
    for manifest in manifests {
        if !names.insert(manifest.name.as_str()) {
            return Err(WiringError::NameTwice(manifest.name.clone()));
        }
    }
    let mut router = Router::new();
    for manifest in manifests {
        for route in &manifest.routes {
            let (path, methods) = (route.path.clone(), route.methods);
            let added = router.add(path, methods, manifest.name.as_str());
            added.map_err(|clash| clashing(&clash, |name| name))?;
        }
    }
    for manifest in manifests {
        let mut calls = manifest.grants.calls.iter();
        if let Some(callee) = calls.find(|it| !names.contains(it.as_str())) {
            return Err(WiringError::NoCallee {
                caller: manifest.name.clone(),
                callee: callee.clone(),
            });
        }
    }
    Ok(())
}

/// The error for a clash; `owner` is the component of a route.
fn clashing<'c, T>(clash: &'c Clash<T>, owner: impl Fn(&'c T) -> &'c str) -> WiringError {
    WiringError::Clash {
        component: owner(&clash.refused).to_owned(),
        path: clash.refused_path.to_string(),
        other: owner(&clash.held_by).to_owned(),
        other_path: clash.path.to_string(),
        methods: clash.methods.to_string(),
    }
}

impl WiringError {
    /// What to do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NameTwice(_) => {
                "name each component once; the name is in its manifest".to_owned()
            }
            Self::Clash { .. } => "give one of them another path, or other `methods`".to_owned(),
            Self::NoCallee { callee, .. } => {
                format!("load `{callee}` as well, or take it out of `grants.calls`")
            }
        })
    }
}

impl From<Clash<Arc<Route>>> for WiringError {
    fn from(clash: Clash<Arc<Route>>) -> Self {
        clashing(&clash, |route| route.owner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn manifest(text: &str) -> Manifest {
        let text = format!("manifest = 1\n{text}");
        Manifest::parse(Path::new("component.toml"), &text).unwrap()
    }

    fn checked(texts: &[&str]) -> Result<(), WiringError> {
        let manifests: Vec<_> = texts.iter().map(|it| manifest(it)).collect();
        check(&manifests.iter().collect::<Vec<_>>())
    }

    #[test]
    fn components_that_fit_together_pass() {
        let order = "name = \"order\"\nhttp = [{path = \"/o/{id}\", methods = [\"GET\"]}]\ngrants.calls = [\"invoice\"]";
        let invoice = "name = \"invoice\"\nhttp = [{path = \"/o/{key}\", methods = [\"POST\"]}]";
        assert_eq!(checked(&[order, invoice]), Ok(()));
        assert_eq!(checked(&[]), Ok(()));
    }

    #[test]
    fn two_components_of_one_name_are_refused() {
        let refused = checked(&["name = \"a\"", "name = \"a\""]).unwrap_err();
        assert_eq!(refused.to_string(), "two components are called `a`");
    }

    #[test]
    fn clashing_routes_are_refused_with_both_sides() {
        let refused = checked(&[
            "name = \"a\"\nhttp = [{path = \"/o/{id}\"}]",
            "name = \"b\"\nhttp = [{path = \"/o/{key}\", methods = [\"PUT\"]}]",
        ]);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "the routes `/o/{key}` of `b` and `/o/{id}` of `a` clash: both serve PUT"
        );
        let within_one = "name = \"a\"\nhttp = [{path = \"/o\"}, {path = \"/o\"}]";
        assert!(checked(&[within_one]).is_err());
    }

    #[test]
    fn a_call_that_could_never_succeed_is_refused() {
        let refused = checked(&["name = \"a\"\ngrants.calls = [\"b\"]"]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "`a` is granted calls to `b`, which is not loaded"
        );
        assert_eq!(
            refused.hint().unwrap(),
            "load `b` as well, or take it out of `grants.calls`"
        );
    }
}
