//! The HTTP contenders: handlers behind gateways, and without one.

use super::contender::{Contender, Load};
use super::orders::Order;
use super::server::Program;
use super::suite::{Aim, Figure, Ratio, Suite};
use super::tools;
use super::wrk::{self, Shape};
use crate::guests;
use crate::process::{cargo, root, run};
use crate::serve::{Profile, host};
use crate::steps::{Outcome, say};
use std::path::Path;

const AXUM: &str = "plain axum, 12 bytes";
const SHIPPED: &str = "wasmtime serve as shipped, 12 bytes";
const REUSE: &str = "wasmtime serve tuned with reuse, 12 bytes";
const HELLO: &str = "lockport, 12 bytes";

/// Builds and installs what the contenders need.
pub(super) fn suite(shape: Shape) -> Outcome<Suite> {
    guests::target()?;
    guests::plugins()?;
    guests::test_guests()?;
    tools::wrk()?;
    let wasmtime = tools::wasmtime()?;
    say("Building the reference");
    run(
        cargo("tests/bench/reference").args(["build", "--release", "--locked"]),
        "building the reference",
    )?;
    let lockport = host(Profile::Release)?;
    Ok(Suite {
        name: "http",
        counted: "requests/s",
        reference: Some(AXUM),
        contenders: contenders(&lockport, &wasmtime, shape),
        ratios: ratios(),
    })
}

fn ratios() -> Vec<Ratio> {
    let rate = |of: &str, to: &str, aim| Ratio::new(Figure::Rate, of, to, Some(Aim::AtLeast(aim)));
    vec![
        rate(HELLO, AXUM, 0.45),
        rate(HELLO, REUSE, 1.2),
        rate(HELLO, SHIPPED, 5.0),
    ]
}

/// Every contender, the reference first.
fn contenders(lockport: &Path, wasmtime: &Path, shape: Shape) -> Vec<Contender> {
    let contender = |name: &str, path: &Path, arguments: Vec<String>, load| Contender {
        name: name.to_owned(),
        server: Some(Program::new(path, arguments)),
        load: Load::Http(load, shape),
    };
    let reference = root().join("tests/bench/reference/target/release/reference");
    let address = vec!["{address}".to_owned()];
    let wasmtime = |name: &str, tuning: &[&str]| {
        contender(name, wasmtime, wasmtime_serve(tuning), wrk::Load::Hello)
    };
    let lockport = |name: &str, components: &[&str], load| {
        contender(name, lockport, lockport_serve(components), load)
    };
    let tuned = [
        "-O",
        "pooling-allocator=y",
        "-O",
        "pooling-pagemap-scan=y",
        "-O",
        "pooling-memory-keep-resident=1048576",
        "-O",
        "pooling-table-keep-resident=65536",
    ];
    // What is kept resident only slows it down if instances are used again.
    let reuse = [
        "-O",
        "pooling-allocator=y",
        "--max-instance-reuse-count",
        "1000",
    ];
    let shop = ["plugins/order", "plugins/invoice"];
    let orders = wrk::Load::Orders;
    vec![
        contender(AXUM, &reference, address, wrk::Load::Hello),
        wasmtime(SHIPPED, &[]),
        wasmtime("wasmtime serve tuned, 12 bytes", &tuned),
        wasmtime(REUSE, &reuse),
        lockport(HELLO, &["tests/guests/hello12"], wrk::Load::Hello),
        lockport("lockport, order: GET", &shop, orders(Order::Read)),
        lockport("lockport, order: PATCH", &shop, orders(Order::Update)),
    ]
}

/// The arguments with which `wasmtime serve` serves the 12 bytes.
fn wasmtime_serve(tuning: &[&str]) -> Vec<String> {
    let hello = root().join("tests/guests/target/wasm32-wasip2/release/hello12.wasm");
    let mut arguments = vec!["serve", "--addr", "{address}"];
    arguments.extend(tuning);
    let mut arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
    arguments.push(hello.to_string_lossy().into_owned());
    arguments
}

/// The arguments with which a node serves components.
fn lockport_serve(components: &[&str]) -> Vec<String> {
    let mut arguments = [
        "serve",
        "--http",
        "{address}",
        "--lock",
        "off",
        "--admin",
        "off",
        "--store",
        "memory:",
    ]
    .map(str::to_owned)
    .to_vec();
    let folders = components.iter().map(|it| root().join(it));
    arguments.extend(folders.map(|it| it.to_string_lossy().into_owned()));
    arguments
}
