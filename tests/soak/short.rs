//! Short rounds of the soak, as tests: `cargo xtask soak` runs the long ones.
//!
//! A round that fails has printed its seed and where its history is;
//! `SEED=<number>` runs it with the same one.

#![expect(clippy::print_stdout, reason = "a round says what it does")]

use lockport_soak::report;
use lockport_soak::round::{LoadSize, Places, Plan};
use lockport_soak::schedule::{Fault, Shape, Storage};
use std::path::Path;
use std::time::Duration;

/// How long the load of a round runs: longer than a recovery lasts.
const LOAD: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_an_embedded_store_keeps_every_promise_under_faults() {
    keeps_every_promise(Storage::Embedded, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_redis_keeps_every_promise_under_faults() {
    keeps_every_promise(Storage::Redis, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_on_one_redis_keep_every_promise_under_faults() {
    keeps_every_promise(Storage::Redis, 2).await;
}

/// Runs a round, and fails unless nothing is wrong with its history.
async fn keeps_every_promise(storage: Storage, nodes: usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let asked = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let plan = Plan {
        seed: asked.unwrap_or_else(rand::random),
        shape: Shape {
            storage,
            nodes,
            load: LOAD,
        },
        faults: Fault::defaults(),
        size: LoadSize::DEFAULT,
        places: Places {
            lockport: env!("CARGO_BIN_EXE_lockport").into(),
            probe: root.join("tests/guests/probe"),
            cache: scratch.join("compiled"),
        },
    };
    println!("{}", report::plan(&plan));
    let round = plan.run().await.expect("the system starts");
    println!("{}", report::verdict(&plan, &round));
    if !round.violations.is_empty() {
        let path = report::write(&scratch.join("soak"), &plan, &round).expect("there is room");
        panic!("a promise was broken; the history is in {}", path.display());
    }
}
