//! Ten thousand hostile requests, after which the host is as it was.

use crate::harness::{BodyEnd, Footprint, Node, Storage, eventually, steps};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How much the host may grow by ten thousand hostile requests, in bytes. What
/// leaked per request would be far above it: 10 000 times 4 KiB is 40 MiB.
const GROWTH: u64 = 24 << 20;

/// Hostile requests before the host is measured, so that its pools are full.
const WARM_UP: usize = 2_000;

/// Hostile requests that it has to stand without growing.
const HOSTILE: usize = 10_000;

/// Clients that send them.
const CLIENTS: usize = 4;

on_every_store! {
    ten_thousand_hostile_requests_leave_the_host_as_it_was,
}

#[expect(clippy::print_stdout, reason = "how much it grew is worth seeing")]
fn ten_thousand_hostile_requests_leave_the_host_as_it_was(storage: Storage) {
    let mut node = Node::builder().guest("probe").storage(storage).start();
    hostile_requests(&node, WARM_UP);
    let before = Footprint::of(&node);
    hostile_requests(&node, HOSTILE);
    let after = Footprint::of(&node);
    println!("before {before:?}, after {HOSTILE} hostile requests {after:?}");
    assert!(
        after.resident <= before.resident + GROWTH,
        "the host grew: {before:?} -> {after:?}",
    );
    eventually("the host has as many files open as before", || {
        (Footprint::of(&node).files <= before.files).then_some(())
    });
    assert!(
        after.threads <= before.threads + 2,
        "{before:?} -> {after:?}"
    );
    assert!(node.try_lock("item/a").is_some(), "the lock is still held");
    assert_eq!(node.value("items", "a"), None);
    assert!(node.is_running());
}

/// Sends `count` hostile requests of many kinds, and sees to it that honest
/// ones between them are served.
fn hostile_requests(node: &Node, count: usize) {
    let kinds: [&[&str]; 13] = [
        &["trap"],
        &["acquire item/a wait=9000", "trap"],
        &["acquire item/a wait=9000", "forget", "status 500"],
        &["acquire item/a wait=9000", "drop-twice"],
        &["acquire item/a wait=9000", "stash"],
        &["acquire item/a wait=9000", "put items a 1", "exit 1"],
        &["forge 4711"],
        &["return"],
        &["head", "trap"],
        &["head", "write 5000", "abandon"],
        &["twice"],
        &["recurse"],
        &["leak 1000", "put notes a 1", "status 500"],
    ];
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = node.client();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let kind = kinds[number % kinds.len()];
                    let answer = client.send_to_hostile(&steps("probe", kind));
                    let failed = match answer {
                        None => kind.contains(&"head"),
                        Some(answer) => answer.status == 500 || answer.end == BodyEnd::Cut,
                    };
                    assert!(failed || kind.ends_with(&["stash"]), "{kind:?}");
                    if number.is_multiple_of(100) {
                        client.send(&steps("probe", ["get notes a"])).expect(200);
                    }
                }
            });
        }
    });
}
