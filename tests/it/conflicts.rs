//! Requests that read what others change at the same time: each is as if it had
//! run alone, because it is run again until it is, or refused in the end.

use crate::harness::{
    Answer, HeldLock, LockApi, Node, Speaks, Storage, acquire_waiting, request, steps,
};
use std::thread;

fn probe(storage: Storage) -> Node {
    Node::builder().guest("probe").storage(storage).start()
}

on_every_store! {
    t3_two_that_read_and_write_one_key_both_take_effect,
    a_key_that_changed_between_two_reads_is_read_again,
    t10_an_error_that_comes_of_old_reads_is_not_sent,
    t10_a_trap_that_comes_of_old_reads_is_not_sent,
    t10_two_that_list_a_range_and_insert_see_each_other,
    t3_increments_without_a_lock_all_succeed,
    t3_transfers_between_a_few_accounts_all_succeed,
    increments_under_a_lock_all_succeed,
    a_request_that_conflicts_every_time_is_refused_in_the_end,
    what_a_run_acquired_is_given_back_before_the_next,
}

fn t3_two_that_read_and_write_one_key_both_take_effect(storage: Storage) {
    let node = probe(storage);
    node.run("probe", ["put notes a 1"]).expect(200);
    let answer = interrupted(
        &node,
        &["add notes a 10"],
        "add notes a 100",
        &["put notes side 1"],
    );
    assert_eq!(answer.expect(200).step("add"), "111");
    assert_eq!(node.value("notes", "a").as_deref(), Some("111"));
    assert_eq!(node.value("notes", "side").as_deref(), Some("1"));
    assert_eq!(reruns(&node), 1);
}

fn a_key_that_changed_between_two_reads_is_read_again(storage: Storage) {
    let node = probe(storage);
    node.run("probe", ["put notes a 1"]).expect(200);
    // Whatever the guest makes of the second: not even a success is sent.
    let answer = interrupted(
        &node,
        &["get notes a"],
        "put notes a 2",
        &["try get notes a"],
    );
    let text = answer.expect(200).text();
    assert!(!text.contains("conflict"), "{text}");
    assert_eq!(text.matches(" 2\n").count(), 2, "of the second run: {text}");
    assert_eq!(reruns(&node), 1);
}

fn t10_an_error_that_comes_of_old_reads_is_not_sent(storage: Storage) {
    let node = probe(storage);
    node.run("probe", ["put notes a 1", "put notes b 1"])
        .expect(200);
    let read = ["get notes a", "get notes b"];
    let answer = interrupted(&node, &read, "put notes a 2", &["status 409"]);
    let text = answer.expect(409).text();
    assert!(text.contains(" 2\n"), "of the second run: {text}");
    assert_eq!(reruns(&node), 1);
}

fn t10_a_trap_that_comes_of_old_reads_is_not_sent(storage: Storage) {
    let node = probe(storage);
    let read = ["get notes a", "get notes b"];
    let answer = interrupted(&node, &read, "put notes a 2", &["trap"]);
    answer.expect_problem(500, "HANDLER_FAILED");
    assert_eq!(reruns(&node), 1, "it trapped twice, and the second counts");
}

fn t10_two_that_list_a_range_and_insert_see_each_other(storage: Storage) {
    let node = probe(storage);
    let answer = interrupted(
        &node,
        &["list notes 100 prefix=seat/"],
        "put notes seat/1 other",
        &["put notes seat/2 mine"],
    );
    assert_eq!(answer.expect(200).step("list"), "[seat/1=other]");
    assert_eq!(node.value("notes", "seat/1").as_deref(), Some("other"));
    assert_eq!(node.value("notes", "seat/2").as_deref(), Some("mine"));
}

fn t3_increments_without_a_lock_all_succeed(storage: Storage) {
    let node = probe(storage);
    increments(&node, &["add notes n 1"]);
    let expected = (CLIENTS * INCREMENTS).to_string();
    assert_eq!(node.value("notes", "n"), Some(expected));
}

/// Each writes two keys, in any order: those that conflict over one may have lost
/// a race for the other.
fn t3_transfers_between_a_few_accounts_all_succeed(storage: Storage) {
    const ACCOUNTS: usize = 3;
    // Sums wrap around.
    const LESS_ONE: u64 = u64::MAX;
    let node = probe(storage);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let node = &node;
            scope.spawn(move || {
                let mut connection = node.client();
                for round in 0..INCREMENTS {
                    let from = (client + round) % ACCOUNTS;
                    let to = (from + 1 + client % (ACCOUNTS - 1)) % ACCOUNTS;
                    let list = [
                        format!("add notes {from} {LESS_ONE}"),
                        format!("add notes {to} 1"),
                    ];
                    connection.send(&steps("probe", &list)).expect(200);
                }
            });
        }
    });
    let value = |it: usize| node.value("notes", &it.to_string());
    let values = (0..ACCOUNTS).map(|it| value(it).expect("it is written"));
    let values = values.map(|it| it.parse::<u64>().expect("a number"));
    let sum = values.fold(0, u64::wrapping_add);
    assert_eq!(sum, 0);
}

fn increments_under_a_lock_all_succeed(storage: Storage) {
    let node = probe(storage);
    increments(&node, &["acquire item/n wait=9000", "add items n 1"]);
    let expected = (CLIENTS * INCREMENTS).to_string();
    assert_eq!(node.value("items", "n"), Some(expected));
    assert_eq!(reruns(&node), 0);
}

/// Another key of those it reads is changed in each run, so its turns are of no
/// use to it.
fn a_request_that_conflicts_every_time_is_refused_in_the_end(storage: Storage) {
    const RUNS: usize = 4;
    let node = probe(storage);
    let api = LockApi::of(&node);
    let gate = || api.acquire(acquire_waiting(["item/gate"]));
    let mut held = gate().expect("it is free").grant;
    thread::scope(|scope| {
        let reads = (0..RUNS).map(|it| format!("get notes {it}"));
        let rest = ["acquire item/gate wait=9000", "put notes side 1"];
        let list: Vec<_> = reads.chain(rest.map(str::to_owned)).collect();
        let answer = scope.spawn(|| node.run("probe", list));
        for run in 0..RUNS {
            api.wait_until_waiting("item/gate", 1);
            node.run("probe", [format!("put notes {run} x")])
                .expect(200);
            let next = scope.spawn(gate);
            api.wait_until_waiting("item/gate", 2);
            let grant = held.take().expect("it is held").id;
            api.release(&grant).expect("it is held");
            held = next.join().expect("no panic").expect("it comes").grant;
        }
        let answer = answer.join().expect("it is answered");
        answer.expect_problem(409, "CONFLICT");
    });
    assert_eq!(node.value("notes", "side"), None);
    assert_eq!(reruns(&node), RUNS as u64 - 1);
}

fn what_a_run_acquired_is_given_back_before_the_next(storage: Storage) {
    let node = probe(storage);
    let first = ["acquire item/own", "get notes a", "get notes b"];
    let answer = interrupted(&node, &first, "put notes a 2", &["put items own 1"]);
    // It acquires without waiting: its own from before would be in its way.
    let answer = answer.expect(200);
    assert_eq!(answer.text().matches("acquire").count(), 2);
    assert_eq!(node.value("items", "own").as_deref(), Some("1"));
    node.wait_until_free("item/own");
}

/// How many clients count, and how far each.
const CLIENTS: usize = 8;
const INCREMENTS: usize = 25;

/// Sends requests from several clients at once, all of which succeed.
fn increments(node: &Node, list: &[&str]) {
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = node.client();
                for _ in 0..INCREMENTS {
                    client.send(&steps("probe", list)).expect(200);
                }
            });
        }
    });
}

/// How often the node has run a handler again.
fn reruns(node: &Node) -> u64 {
    let metrics = node.admin().send(&request("GET", "/metrics")).expect(200);
    let metrics = metrics.text();
    let value = metrics
        .lines()
        .find_map(|it| it.strip_prefix("lockport_reruns_total "));
    value
        .expect("it is counted")
        .parse()
        .expect("it is a number")
}

/// Runs `first` and `last` in one request, and `between` in another while the
/// first one waits between them; the first one's answer.
#[track_caller]
fn interrupted(node: &Node, first: &[&str], between: &str, last: &[&str]) -> Answer {
    let gate = HeldLock::hold(node, "item/gate");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let gate = ["log at the gate", "acquire item/gate wait=9000"];
            node.run("probe", [first, &gate, last].concat())
        });
        node.logs().wait_for("at the gate");
        node.run("probe", [between]).expect(200);
        drop(gate);
        waiting.join().expect("it is answered")
    })
}

#[test]
fn a_request_that_changes_nothing_is_not_refused_for_what_others_change() {
    let node = probe(Storage::Memory);
    node.run("probe", ["put notes a 1"]).expect(200);
    let answer = interrupted(&node, &["get notes a"], "put notes a 2", &[]);
    assert_eq!(answer.expect(200).step("get"), "version 1 1");
    assert_eq!(reruns(&node), 0);
}
