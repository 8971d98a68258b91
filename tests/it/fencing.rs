//! A lock owns its data: a write by anyone who does not hold the lock now is
//! refused in the same step that would have written it, and so is everything
//! else of its transaction.

use crate::harness::{Answer, HeldLock, Node, Storage};
use std::thread;

on_every_store! {
    a_handler_that_forgets_the_lock_is_refused,
    a_handler_that_holds_the_lock_of_another_key_is_refused,
    a_handler_that_gave_the_lock_back_is_refused,
    a_handler_whose_lease_ran_out_is_refused_after_another_wrote,
    a_handler_whose_lease_ran_out_is_refused_though_nobody_else_came,
    a_lost_guard_refuses_writes_that_need_none,
    a_call_that_forgets_the_lock_takes_its_caller_with_it,
    a_new_key_may_be_written_without_its_lock_if_nobody_holds_it,
    a_new_key_whose_absence_was_not_read_is_refused,
    a_new_key_is_refused_while_somebody_else_holds_its_lock,
    tokens_of_a_lock_rise,
    a_lock_of_the_route_covers_the_handler_s_writes,
    a_lock_of_the_route_that_is_held_is_423,
    a_lock_of_the_route_is_waited_for_as_long_as_it_says,
    a_call_under_its_caller_s_guard_is_covered_by_it,
}

/// A node with `items/a` = `old`.
fn node(storage: Storage) -> Node {
    let node = Node::builder().guest("probe").storage(storage).start();
    node.run("probe", ["acquire item/a", "put items a old"])
        .expect(200);
    node
}

/// Fails unless the request was refused for this reason, nothing of it is
/// visible, and its lock is free.
#[track_caller]
fn assert_refused(node: &Node, answer: Answer, reason: &str, value: &str) {
    let answer = answer.expect_problem(409, reason);
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains("item/a"), "the lock is not named: {detail}");
    assert_eq!(node.value("items", "a").as_deref(), Some(value));
    assert_eq!(
        node.value("notes", "side"),
        None,
        "a part of the transaction is visible"
    );
    assert!(node.try_lock("item/a").is_some(), "the lock is free");
}

fn a_handler_that_forgets_the_lock_is_refused(storage: Storage) {
    let node = node(storage);
    for write in ["put items a new", "delete items a"] {
        let answer = node.run("probe", ["put notes side 1", write]);
        assert_refused(&node, answer, "UNGUARDED", "old");
        // Having read the value is no licence.
        let answer = node.run("probe", ["get items a", "put notes side 1", write]);
        assert_refused(&node, answer, "UNGUARDED", "old");
    }
}

fn a_handler_that_holds_the_lock_of_another_key_is_refused(storage: Storage) {
    let node = node(storage);
    for other in ["item/b", "item/A", "item/a.", "many/a"] {
        let acquire = format!("acquire {other}");
        let answer = node.run("probe", [&acquire, "put notes side 1", "put items a new"]);
        assert_refused(&node, answer, "UNGUARDED", "old");
    }
}

fn a_handler_that_gave_the_lock_back_is_refused(storage: Storage) {
    let node = node(storage);
    let answer = node.run(
        "probe",
        [
            "acquire item/a",
            "release",
            "put notes side 1",
            "put items a new",
        ],
    );
    assert_refused(&node, answer, "UNGUARDED", "old");
}

fn a_handler_whose_lease_ran_out_is_refused_after_another_wrote(storage: Storage) {
    let node = node(storage);
    let answer = after_its_lease(&node, "put items a stale", || {
        // Waits until the lease has run out, and is not in a hurry about it.
        node.run("probe", ["acquire item/a wait=9000", "put items a new"])
            .expect(200);
    });
    assert_refused(&node, answer, "FENCED", "new");
}

fn a_handler_whose_lease_ran_out_is_refused_though_nobody_else_came(storage: Storage) {
    let node = node(storage);
    let answer = after_its_lease(&node, "put items a stale", || {
        node.wait_until_free("item/a");
    });
    assert_refused(&node, answer, "FENCED", "old");
}

fn a_lost_guard_refuses_writes_that_need_none(storage: Storage) {
    let node = node(storage);
    let answer = after_its_lease(&node, "put notes unguarded 1", || {
        node.wait_until_free("item/a");
    });
    assert_refused(&node, answer, "FENCED", "old");
    assert_eq!(node.value("notes", "unguarded"), None);
}

fn a_call_that_forgets_the_lock_takes_its_caller_with_it(storage: Storage) {
    let node = node(storage);
    let answer = node.run(
        "probe",
        ["put notes side 1", "call POST probe /probe put items a new"],
    );
    assert_refused(&node, answer, "UNGUARDED", "old");
}

fn a_new_key_may_be_written_without_its_lock_if_nobody_holds_it(storage: Storage) {
    let node = node(storage);
    node.run("probe", ["get items fresh", "put items fresh 1"])
        .expect(200);
    assert_eq!(node.value("items", "fresh").as_deref(), Some("1"));
    // It is not new any more.
    let again = node.run("probe", ["get items fresh", "put items fresh 2"]);
    again.expect_problem(409, "UNGUARDED");
}

fn a_new_key_whose_absence_was_not_read_is_refused(storage: Storage) {
    let node = node(storage);
    node.run("probe", ["put items fresh 1"])
        .expect_problem(409, "UNGUARDED");
    assert_eq!(node.value("items", "fresh"), None);
}

fn a_new_key_is_refused_while_somebody_else_holds_its_lock(storage: Storage) {
    let node = node(storage);
    let held = HeldLock::hold(&node, "item/fresh");
    let answer = node.run("probe", ["get items fresh", "put items fresh 1"]);
    answer.expect_problem(409, "UNGUARDED");
    held.give_back(&node);
    node.run("probe", ["get items fresh", "put items fresh 1"])
        .expect(200);
}

fn tokens_of_a_lock_rise(storage: Storage) {
    let node = node(storage);
    let mut last = 0;
    for _ in 0..50 {
        let token = node.try_lock("item/a").expect("nobody holds it");
        assert!(token > last, "{token} after {last}");
        assert!(token < 1 << 53, "{token} is exact in JSON");
        last = token;
    }
}

fn a_lock_of_the_route_covers_the_handler_s_writes(storage: Storage) {
    let node = node(storage);
    let answer = node
        .run("probe/locked/a", ["inherited", "put items a new"])
        .expect(200);
    assert!(
        answer.step("inherited").starts_with("[item/a="),
        "{}",
        answer.text()
    );
    assert_eq!(node.value("items", "a").as_deref(), Some("new"));
    assert!(node.try_lock("item/a").is_some(), "the lock is free");
}

fn a_lock_of_the_route_that_is_held_is_423(storage: Storage) {
    let node = node(storage);
    let held = HeldLock::hold(&node, "item/a");
    let answer = node.run("probe/locked/a", ["put items a new"]);
    let answer = answer.expect_problem(423, "HELD");
    let after: u64 = answer
        .header("retry-after")
        .and_then(|text| text.parse().ok())
        .expect("it says when to come again");
    assert!(after <= 60, "{after}");
    // Another name on the same route is another lock.
    node.run("probe/locked/b", ["get items b", "put items b 1"])
        .expect(200);
    held.give_back(&node);
    node.run("probe/locked/a", ["put items a new"]).expect(200);
}

fn a_lock_of_the_route_is_waited_for_as_long_as_it_says(storage: Storage) {
    let node = node(storage);
    let held = HeldLock::hold(&node, "item/a");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| node.run("probe/queued/a", ["put items a new"]));
        // A later one without patience is refused: the queue is in front of it.
        node.run("probe/locked/a", ["put items a late"]).expect(423);
        drop(held);
        waiting.join().expect("it is answered").expect(200);
    });
    assert_eq!(node.value("items", "a").as_deref(), Some("new"));
}

fn a_call_under_its_caller_s_guard_is_covered_by_it(storage: Storage) {
    let node = node(storage);
    let call = "call POST probe /probe?do=inherited;put+items+a+new";
    let answer = node.run("probe", ["acquire item/a", call]).expect(200);
    assert!(answer.step("call").contains("item/a="), "{}", answer.text());
    assert_eq!(node.value("items", "a").as_deref(), Some("new"));
}

/// Has a request acquire `item/a` with a short lease and then wait; runs
/// `meanwhile`, which has to see to it that the lease has run out; lets the
/// request go on and write.
#[track_caller]
fn after_its_lease(node: &Node, write: &str, meanwhile: impl FnOnce()) -> Answer {
    let gate = HeldLock::hold(node, "item/gate");
    thread::scope(|scope| {
        let stale = scope.spawn(|| {
            node.run(
                "probe",
                [
                    "acquire item/a lease=200",
                    "put notes side 1",
                    "log holds it",
                    "acquire item/gate wait=9000",
                    write,
                ],
            )
        });
        node.logs().wait_for("holds it");
        meanwhile();
        drop(gate);
        stale.join().expect("it is answered")
    })
}

#[test]
fn a_guard_that_is_lost_says_so_to_its_holder() {
    let node = node(Storage::Memory);
    let gate = HeldLock::hold(&node, "item/gate");
    let answer = thread::scope(|scope| {
        let stale = scope.spawn(|| {
            node.run(
                "probe",
                [
                    "acquire item/a lease=200",
                    "log holds it",
                    "try acquire item/gate wait=9000",
                    "drop",
                    "remaining",
                    "try renew 1000",
                ],
            )
        });
        node.logs().wait_for("holds it");
        node.wait_until_free("item/a");
        drop(gate);
        stale.join().expect("it is answered")
    });
    let answer = answer.expect(200);
    assert_eq!(answer.number("remaining"), 0);
    assert_eq!(answer.step("renew"), "error lost");
}

#[test]
fn a_renewed_lease_lasts_and_is_never_shortened() {
    let node = node(Storage::Memory);
    let answer = node.run(
        "probe",
        [
            "acquire item/a lease=1000",
            "renew 8000",
            "renew 100",
            "remaining",
            "put items a new",
        ],
    );
    let answer = answer.expect(200);
    assert!(answer.number("remaining") > 1_000, "{}", answer.text());
    assert_eq!(node.value("items", "a").as_deref(), Some("new"));
}

#[test]
fn a_lock_cannot_be_given_back_from_under_a_write() {
    let node = node(Storage::Memory);
    let answer = node.run(
        "probe",
        ["acquire item/a", "put items a new", "try release"],
    );
    assert_eq!(answer.expect(200).step("release"), "error in-use");
    assert_eq!(node.value("items", "a").as_deref(), Some("new"));
}

#[test]
fn names_and_durations_that_are_not_allowed_are_refused() {
    let node = node(Storage::Memory);
    let long = format!("acquire item/{}", "x".repeat(600));
    for acquire in [
        long.as_str(),
        "acquire item/a item/a lease=1",
        "acquire",
        "acquire item/a lease=0",
    ] {
        let answer = node.run("probe", [format!("try {acquire}")]).expect(200);
        let outcome = answer.step("acquire");
        assert!(
            outcome.starts_with("error invalid-argument") || outcome == "error access-denied",
            "{acquire}: {outcome}",
        );
    }
}
