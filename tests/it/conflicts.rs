//! Requests that read what others change at the same time: either is as if it
//! had run alone, or it is refused and nothing of it is there.

use crate::harness::{Answer, HeldLock, Node, Storage, steps};
use std::thread;

fn probe(storage: Storage) -> Node {
    Node::builder().guest("probe").storage(storage).start()
}

on_every_store! {
    two_that_read_and_write_one_key_do_not_both_succeed,
    a_key_that_changed_between_two_reads_ends_the_request,
    an_error_that_may_come_of_a_conflict_is_answered_as_one,
    two_that_list_a_range_and_insert_do_not_both_succeed,
    increments_without_a_lock_are_never_lost,
    increments_under_a_lock_all_succeed,
}

fn two_that_read_and_write_one_key_do_not_both_succeed(storage: Storage) {
    let node = probe(storage);
    node.run("probe", ["put notes a 1"]).expect(200);
    let answer = interrupted(
        &node,
        "add notes a 10",
        "add notes a 100",
        "put notes side 1",
    );
    answer.expect_problem(409, "CONFLICT");
    assert_eq!(node.value("notes", "a").as_deref(), Some("101"));
    assert_eq!(node.value("notes", "side"), None);
}

fn a_key_that_changed_between_two_reads_ends_the_request(storage: Storage) {
    let node = probe(storage);
    node.run("probe", ["put notes a 1"]).expect(200);
    // Whatever the guest makes of it: even a success is not sent.
    let answer = interrupted(&node, "get notes a", "put notes a 2", "try get notes a");
    answer.expect_problem(409, "CONFLICT");
}

fn an_error_that_may_come_of_a_conflict_is_answered_as_one(storage: Storage) {
    let node = probe(storage);
    node.run("probe", ["put notes a 1"]).expect(200);
    let answer = interrupted(&node, "get notes a", "put notes a 2", "get notes a");
    answer.expect_problem(409, "CONFLICT");
}

fn two_that_list_a_range_and_insert_do_not_both_succeed(storage: Storage) {
    let node = probe(storage);
    let answer = interrupted(
        &node,
        "list notes 100 prefix=seat/",
        "put notes seat/1 other",
        "put notes seat/2 mine",
    );
    answer.expect_problem(409, "CONFLICT");
    assert_eq!(node.value("notes", "seat/1").as_deref(), Some("other"));
    assert_eq!(node.value("notes", "seat/2"), None);
}

fn increments_without_a_lock_are_never_lost(storage: Storage) {
    let node = probe(storage);
    let applied = increments(&node, &["add notes n 1"], |status| {
        [200, 409].contains(&status)
    });
    assert!(applied > 0, "none got through");
    assert_eq!(node.value("notes", "n"), Some(applied.to_string()));
}

fn increments_under_a_lock_all_succeed(storage: Storage) {
    let node = probe(storage);
    let applied = increments(
        &node,
        &["acquire item/n wait=9000", "add items n 1"],
        |status| status == 200,
    );
    assert_eq!(applied, 8 * 25);
    assert_eq!(node.value("items", "n"), Some(applied.to_string()));
}

/// Sends 25 requests from each of 8 clients; how many were answered 200.
fn increments(node: &Node, list: &[&str], allowed: impl Fn(u16) -> bool + Sync) -> usize {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = node.client();
                    let sent = (0..25).map(|_| client.send(&steps("probe", list)));
                    sent.filter(|answer| {
                        assert!(
                            allowed(answer.status),
                            "{} {}",
                            answer.status,
                            answer.text()
                        );
                        answer.status == 200
                    })
                    .count()
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("no answer is odd"))
            .sum()
    })
}

/// Runs `first` and `last` in one request, and `between` in another while the
/// first one waits between them; the first one's answer.
#[track_caller]
fn interrupted(node: &Node, first: &str, between: &str, last: &str) -> Answer {
    let gate = HeldLock::hold(node, "item/gate");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            node.run(
                "probe",
                [
                    first,
                    "log at the gate",
                    "acquire item/gate wait=9000",
                    last,
                ],
            )
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
    let answer = interrupted(&node, "get notes a", "put notes a 2", "get notes b");
    assert_eq!(answer.expect(200).step("get"), "version 1 1");
}
