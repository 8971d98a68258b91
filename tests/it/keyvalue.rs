//! `wasi:keyvalue` in both of its drafts: components that know nothing of
//! Lockport have the same state, transactions and limits.

use crate::harness::{Answer, HeldLock, Node, Storage};
use std::thread;

/// The guests: one for each draft, both with collections of the same names.
const DRAFTS: [&str; 2] = ["keyvalue-draft", "keyvalue-draft2"];

/// The guest of the draft that has `cas`.
const SECOND: &str = "keyvalue-draft2";

on_every_store! {
    what_is_set_is_read_back_and_committed,
    an_error_answer_takes_back_what_was_set,
    a_batch_does_the_same_for_many,
    increments_of_many_clients_are_all_counted,
    swaps_of_many_clients_are_all_counted,
    a_swap_does_not_overwrite_what_came_meanwhile,
    a_component_that_was_built_for_spin_runs_unchanged,
    keys_are_listed_page_by_page,
}

fn node(storage: Storage) -> Node {
    Node::builder()
        .guest("keyvalue-draft")
        .guest("keyvalue-draft2")
        .guest("keyvalue-spin")
        .guest("probe")
        .storage(storage)
        .start()
}

/// What came of the one step `step`.
#[track_caller]
fn one(node: &Node, guest: &str, step: &str) -> String {
    let name = step.split(' ').next().unwrap_or_default();
    node.run(guest, [step]).expect(200).step(name)
}

/// Why the one step `step` failed.
#[track_caller]
fn refused(node: &Node, guest: &str, step: &str) -> String {
    let name = step.split(' ').next().unwrap_or_default();
    let outcome = node.run(guest, [step]).expect(422).step(name);
    let why = outcome.strip_prefix("error ");
    why.unwrap_or_else(|| panic!("{outcome}")).to_owned()
}

/// Sends the step until it is not refused for a conflict.
#[track_caller]
fn until_committed(node: &Node, guest: &str, step: &str) -> Answer {
    let mut client = node.client();
    loop {
        let answer = client.send(&crate::harness::steps(guest, [step]));
        match answer.status {
            409 => answer.expect_problem(409, "CONFLICT"),
            _ => return answer.expect(200),
        };
    }
}

/// Has 4 clients send the step 10 times each.
fn from_many_clients(node: &Node, guest: &str, step: &str) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    until_committed(node, guest, step);
                }
            });
        }
    });
}

fn what_is_set_is_read_back_and_committed(storage: Storage) {
    let node = node(storage);
    for guest in DRAFTS {
        let answer = node.run(
            guest,
            [
                "get things a",
                "exists things a",
                "set things a 1",
                "get things a",
                "exists things a",
                "set things b 2",
                "delete things b",
                "get things b",
                "keys things",
            ],
        );
        let answer = answer.expect(200);
        assert_eq!(answer.steps("get"), ["none", "1", "none"], "{guest}");
        assert_eq!(answer.steps("exists"), ["false", "true"], "{guest}");
        assert_eq!(answer.step("keys"), "[a]", "{guest}");
        assert_eq!(one(&node, guest, "get things a"), "1", "{guest}");
        assert_eq!(one(&node, guest, "get things b"), "none", "{guest}");
    }
}

fn an_error_answer_takes_back_what_was_set(storage: Storage) {
    let node = node(storage);
    for guest in DRAFTS {
        node.run(guest, ["set things a old", "add things n 1"])
            .expect(200);
        let answer = node.run(
            guest,
            [
                "set things a new",
                "add things n 1",
                "set-many things b=1 c=1",
                "status 409",
            ],
        );
        assert_eq!(answer.status, 409);
        let found = one(&node, guest, "get-many things a n b c");
        assert_eq!(found, "[a=old,n=1,none,none]", "{guest}");
    }
}

fn a_batch_does_the_same_for_many(storage: Storage) {
    let node = node(storage);
    for guest in DRAFTS {
        let answer = node.run(
            guest,
            [
                "set-many things a=1 b=2 c=3",
                "delete-many things b none",
                "get-many things c b a",
            ],
        );
        assert_eq!(answer.expect(200).step("get-many"), "[c=3,none,a=1]");
        assert_eq!(one(&node, guest, "get-many things a b c"), "[a=1,none,c=3]");
    }
}

fn increments_of_many_clients_are_all_counted(storage: Storage) {
    let node = node(storage);
    for guest in DRAFTS {
        from_many_clients(&node, guest, "add things n 3");
        assert_eq!(one(&node, guest, "get things n"), "120", "{guest}");
    }
}

fn swaps_of_many_clients_are_all_counted(storage: Storage) {
    let node = node(storage);
    from_many_clients(&node, SECOND, "cas-add things n 3");
    assert_eq!(one(&node, SECOND, "get things n"), "120");
}

fn a_swap_does_not_overwrite_what_came_meanwhile(storage: Storage) {
    let node = node(storage);
    one(&node, SECOND, "set things a old");
    let gate = HeldLock::hold(&node, "item/gate");
    let wait =
        "call POST http://probe.internal/probe?do=log+at+the+gate;acquire+item/gate+wait=9000";
    let answer = thread::scope(|scope| {
        let waiting =
            scope.spawn(|| node.run(SECOND, ["cas-new things a", wait, "try cas-swap mine"]));
        node.logs().wait_for("at the gate");
        one(&node, SECOND, "set things a theirs");
        drop(gate);
        waiting.join().expect("it is answered")
    });
    // It is refused, or it was run again and has seen what came.
    let expected = match answer.status {
        409 => "theirs",
        _ => {
            assert_eq!(answer.expect(200).step("cas-swap"), "ok");
            "mine"
        }
    };
    assert_eq!(one(&node, SECOND, "get things a"), expected);
}

fn a_component_that_was_built_for_spin_runs_unchanged(storage: Storage) {
    let node = node(storage);
    let guest = "keyvalue-spin";
    let answer = node.run(
        guest,
        [
            "set-many things a=1 b=2 c=3",
            "delete-many things b",
            "get-many things c b a",
            "add things n -7",
            "cas-add things n 10",
        ],
    );
    let answer = answer.expect(200);
    assert_eq!(answer.step("get-many"), "[c=3,none,a=1]");
    assert_eq!(answer.step("cas-add"), "3");
    let found = one(&node, guest, "get-many things n b a");
    assert_eq!(found, "[n=3,none,a=1]");
    let why = refused(
        &node,
        guest,
        &format!("get-many things {}", "k".repeat(401)),
    );
    assert_eq!(why, "the key has 401 bytes; at most 400 are allowed");
}

fn keys_are_listed_page_by_page(storage: Storage) {
    let node = node(storage);
    for (guest, first, second) in [
        (DRAFTS[0], "1000", "2000"),
        (DRAFTS[1], "k000999", "k001999"),
    ] {
        for from in [0, 700, 1400] {
            one(&node, guest, &format!("fill things {from} {}", from + 700));
        }
        let all = format!(
            "1000 from k000000 to k000999 more {first}, \
             1000 from k001000 to k001999 more {second}, \
             100 from k002000 to k002099"
        );
        assert_eq!(one(&node, guest, "pages things"), all);
        // A cursor is as good in another request.
        let next = one(&node, guest, &format!("keys things {first}"));
        assert_eq!(next, format!("1000 from k001000 to k001999 more {second}"));
        // What is staged counts.
        let steps = ["set things k002100 v", &format!("keys things {second}")];
        let listed = node.run(guest, steps).expect(200).step("keys");
        assert_eq!(listed, "101 from k002000 to k002100");
    }
    // Behind the end there is nothing.
    assert_eq!(one(&node, DRAFTS[0], "keys things 2102"), "[]");
    assert_eq!(one(&node, DRAFTS[0], "keys things 2101"), "[]");
    assert_eq!(one(&node, DRAFTS[0], "keys things 2100"), "[k002100]");
    let end = "keys things 18446744073709551615";
    assert_eq!(one(&node, DRAFTS[0], end), "[]");
    assert_eq!(one(&node, DRAFTS[1], "keys things z"), "[]");
}

#[test]
fn a_swap_fails_once_the_value_is_another() {
    let node = node(Storage::Memory);
    let answer = node.run(
        SECOND,
        [
            "cas-new things a",
            "set things a 1",
            "cas-swap 2",
            "cas-current",
            "cas-swap 3",
            "get things a",
            "cas-swap 4",
        ],
    );
    let answer = answer.expect(200);
    assert_eq!(answer.steps("cas-swap"), ["failed, now 1", "ok", "no cas"]);
    assert_eq!(answer.step("cas-current"), "1");
    assert_eq!(answer.step("get"), "3");
    // What was there and is deleted is another, too.
    let answer = node.run(
        SECOND,
        ["cas-new things a", "delete things a", "cas-swap 5"],
    );
    assert_eq!(answer.expect(200).step("cas-swap"), "failed, now none");
}

#[test]
fn a_bucket_outlives_its_request_and_a_cas_does_not() {
    let node = node(Storage::Memory);
    for guest in DRAFTS {
        node.run(guest, ["set things a 1", "keep-bucket things"])
            .expect(200);
        assert_eq!(one(&node, guest, "get-kept a"), "1", "{guest}");
    }
    let node = self::node(Storage::Memory);
    node.run(SECOND, ["set things a 1", "cas-new things a"])
        .expect(200);
    let over = "the response has been set, or the request is over";
    assert_eq!(refused(&node, SECOND, "cas-current"), over);
    assert_eq!(refused(&node, SECOND, "cas-swap 2"), over);
    assert_eq!(one(&node, SECOND, "get things a"), "1");
}

#[test]
fn once_the_response_is_set_nothing_more_is_done() {
    let node = node(Storage::Memory);
    for guest in DRAFTS {
        let answer = node.run(
            guest,
            [
                "set things a 1",
                "head",
                "try set things a 2",
                "try get things a",
            ],
        );
        let answer = answer.expect(200);
        let over = "error the response has been set, or the request is over";
        assert_eq!(answer.steps("set"), ["ok", over], "{guest}");
        assert_eq!(answer.step("get"), over, "{guest}");
        assert_eq!(one(&node, guest, "get things a"), "1", "{guest}");
    }
}

#[test]
fn c10_a_bucket_of_others_is_denied_like_one_that_nobody_has() {
    let node = node(Storage::Memory);
    node.run("probe", ["put notes a 1"]).expect(200);
    for guest in DRAFTS {
        for name in ["notes", "items", "probe/notes", "nowhere", "default"] {
            let why = refused(&node, guest, &format!("open {name}"));
            assert_eq!(why, "access-denied", "{guest} {name}");
        }
        one(&node, guest, &format!("set things who {guest}"));
    }
    // Collections of the same name are each component's own.
    for guest in DRAFTS {
        assert_eq!(one(&node, guest, "get things who"), guest);
    }
}

#[test]
fn a_guarded_collection_keeps_its_rule() {
    let node = node(Storage::Memory);
    for guest in DRAFTS {
        // A new key, whose absence was read.
        node.run(guest, ["add guarded n 1"]).expect(200);
        let answer = node.run(guest, ["add guarded n 1"]);
        answer.expect_problem(409, "UNGUARDED");
        assert_eq!(one(&node, guest, "get guarded n"), "1", "{guest}");
    }
}

#[test]
fn keys_and_values_have_the_limits_of_state() {
    let node = node(Storage::Memory);
    for guest in DRAFTS {
        one(&node, guest, "set-size things 400 1048576");
        for (step, why) in [
            ("set-size things 0 1", "the key is empty"),
            (
                "set-size things 401 1",
                "the key has 401 bytes; at most 400 are allowed",
            ),
            (
                "set-size things 1 1048577",
                "a value has at most 1048576 bytes",
            ),
            (
                "fill things 0 1001",
                "a transaction takes at most 1000 operations",
            ),
        ] {
            assert_eq!(refused(&node, guest, step), why, "{guest}");
        }
        // A batch that reads more than a page of a list has is refused.
        let keys: Vec<String> = (1..10).map(|it| "k".repeat(it)).collect();
        for (at, _) in keys.iter().enumerate() {
            one(&node, guest, &format!("set-size things {} 1048576", at + 1));
        }
        let why = refused(&node, guest, &format!("get-many things {}", keys.join(" ")));
        assert_eq!(why, "a batch reads at most 8388608 bytes", "{guest}");
    }
    assert_eq!(
        refused(&node, SECOND, &format!("keys things {}", "k".repeat(401))),
        "the cursor is none of a list"
    );
}

#[test]
fn a_batch_with_a_key_that_is_none_does_nothing() {
    let node = node(Storage::Memory);
    let long = "k".repeat(401);
    for guest in DRAFTS {
        let set = format!("try set-many things a=1 {long}=1");
        let delete = format!("try delete-many things b {long}");
        let steps = ["set things b 1", &set, &delete, "get-many things a b"];
        let answer = node.run(guest, steps).expect(200);
        assert!(answer.step("set-many").starts_with("error the key has"));
        assert!(answer.step("delete-many").starts_with("error the key has"));
        assert_eq!(answer.step("get-many"), "[none,b=1]", "{guest}");
    }
}

#[test]
fn only_numbers_within_their_range_are_added_to() {
    let node = node(Storage::Memory);
    for guest in DRAFTS {
        node.run(guest, ["set things word one", "set things n 7"])
            .expect(200);
        assert_eq!(
            refused(&node, guest, "add things word 1"),
            "the value is not a number in decimal digits"
        );
        assert_eq!(one(&node, guest, "add things n 8"), "15");
        one(&node, guest, "set things n 18446744073709551615");
        let over = refused(&node, guest, "add things n 1");
        assert_eq!(over, "the sum is out of range");
        let kept = one(&node, guest, "get things n");
        assert_eq!(kept, "18446744073709551615", "{guest}");
    }
    assert_eq!(one(&node, SECOND, "add things m -5"), "-5");
    assert_eq!(one(&node, SECOND, "add things m 3"), "-2");
}

#[test]
fn buckets_count_as_handles() {
    let node = node(Storage::Memory);
    for guest in DRAFTS {
        assert_eq!(one(&node, guest, "buckets things 200"), "200", "{guest}");
        let answer = node.run(guest, ["buckets things 256"]);
        answer.expect_problem(500, "HANDLER_FAILED");
        // The next request has an instance of its own.
        assert_eq!(one(&node, guest, "buckets things 200"), "200", "{guest}");
    }
}
