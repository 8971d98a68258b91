//! Whether the node can serve.
//!
//! Three things are looked at, and each is named in the report: whether the
//! store answers, whether the components are loaded, and whether the node is
//! about to end. A store that does not answer in time counts as one that does
//! not answer: whoever asks has a deadline of their own.

use crate::shutdown::{Phase, Shutdown};
use lockport_engine::Engine;
use lockport_store::{Collection, Key, LockName, Store};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// How long the store may take to answer before the node counts as not ready.
pub const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// Looks at the node.
pub(super) struct Readiness {
    store: Arc<dyn Store>,
    shutdown: Shutdown,
}

/// What was seen.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether every check is good.
    pub(super) ready: bool,
    checks: [Check; 3],
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

/// What is asked for in the store. Nobody ever has it.
const NAME: &str = "lockport-readiness";

impl Readiness {
    pub(super) fn new(store: Arc<dyn Store>, shutdown: Shutdown) -> Self {
        Self { store, shutdown }
    }

    /// Looks now.
    pub(super) async fn check(&self, engine: &Engine) -> Report {
        let asked = tokio::time::timeout(STORE_TIMEOUT, ask(&*self.store)).await;
        let store = match asked {
            Ok(Ok(())) => Check::good("store", self.store.summary()),
            Ok(Err(why)) => {
                tracing::warn!(why, "the store is not ready");
                // The reason may name files, which is the log's business.
                Check::bad("store", "it is not available")
            }
            Err(_) => Check::bad("store", "it does not answer"),
        };
        let loaded = engine.statistics().components.len();
        let components = Check::good("components", format!("{loaded} loaded"));
        let serving = match self.shutdown.phase() {
            Phase::Running => Check::good("serving", "since the start".to_owned()),
            Phase::Draining | Phase::Aborting => Check::bad("serving", "the node is ending"),
        };
        let checks = [store, components, serving];
        Report {
            ready: checks.iter().all(|it| it.ok),
            checks,
        }
    }
}

/// One look at the locks and one at the state: the two halves of a store.
async fn ask(store: &dyn Store) -> Result<(), String> {
    let name = LockName::new(NAME).map_err(|error| error.to_string())?;
    let collection = Collection::new(NAME, NAME, None).map_err(|error| error.to_string())?;
    let key = Key::new(NAME).map_err(|error| error.to_string())?;
    let looked = store.lock(name).await;
    looked.map_err(|error| error.to_string())?;
    let read = store.get(collection, key).await;
    read.map(drop).map_err(|error| error.to_string())
}

impl Report {
    pub(super) fn to_json(&self) -> String {
        // Words and booleans always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Check {
    fn good(name: &'static str, detail: String) -> Self {
        Self {
            name,
            ok: true,
            detail,
        }
    }

    fn bad(name: &'static str, detail: &str) -> Self {
        Self {
            name,
            ok: false,
            detail: detail.to_owned(),
        }
    }
}
