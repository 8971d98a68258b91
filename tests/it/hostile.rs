//! Guests that misbehave in every way the probe knows: the request ends as it
//! should, its lock is free at once, and nobody else notices.

use crate::harness::{Answer, BodyEnd, Builder, HeldLock, Node, eventually, steps};
use std::time::Instant;

fn node() -> Node {
    Node::builder().guest("probe").guest("tight").start()
}

/// Fails unless `item/a` is free right now. The answer that came before this is
/// the end of the request; prints how long after it the lock was had.
#[track_caller]
#[expect(
    clippy::print_stdout,
    reason = "the figure is asked for, and no test depends on it"
)]
fn assert_free_at_once(node: &Node, after: &str) {
    let asked = Instant::now();
    assert!(
        node.try_lock("item/a").is_some(),
        "after `{after}` the lock is still held"
    );
    println!(
        "after `{after}`: the lock was acquired within {:?}",
        asked.elapsed()
    );
}

/// Fails if the answer looks like a success. A handler that fails behind its
/// head is cut there; one that fails before the host has done with the head is
/// refused as a whole. True if it was cut.
#[track_caller]
fn was_cut(answer: Option<Answer>, how: &str) -> bool {
    let Some(answer) = answer else {
        return true;
    };
    if answer.status == 500 {
        answer.expect_problem(500, "HANDLER_FAILED");
        return false;
    }
    assert_eq!(answer.status, 200, "{how}: {}", answer.text());
    assert_eq!(answer.end, BodyEnd::Cut, "`{how}` looks like a success");
    true
}

#[test]
fn a_handler_that_fails_before_its_answer_is_500() {
    let node = node();
    for end in [
        "trap",
        "panic on purpose",
        "exit 0",
        "exit 1",
        "return",
        "recurse",
        "fill",
        "handles 100000",
        "random 4000000000",
        "drop-twice",
        "forge 4711",
    ] {
        let answer = node.run("probe", ["acquire item/a", "put items a 1", end]);
        let answer = answer.expect_problem(500, "HANDLER_FAILED");
        for internal in ["wasm", "unreachable", "backtrace", "on purpose", ".rs"] {
            assert!(
                !answer.text().contains(internal),
                "{end}: {}",
                answer.text()
            );
        }
        assert_free_at_once(&node, end);
    }
    assert_eq!(node.value("items", "a"), None);
}

#[test]
fn a_handler_that_fails_behind_its_head_never_looks_like_a_success() {
    let node = node();
    for end in [
        "trap",
        "panic late",
        "write 100\ntrap",
        "write 100000\nexit 0",
        "abandon",
        "write 10\nabandon",
    ] {
        let key = &end.replace(['\n', ' '], "-");
        let list = format!("acquire item/a item/{key}\nput items {key} 1\nhead\n{end}");
        let answer = node.client().send_to_hostile(&steps("probe", list.lines()));
        let cut = was_cut(answer, end);
        assert_free_at_once(&node, end);
        // The commit comes before the head leaves, and stands if it did.
        let value = node.value("items", key);
        assert_eq!(value.is_some(), cut, "`{end}`");
    }
}

#[test]
fn a_handler_that_answers_twice_is_cut_or_refused() {
    let node = node();
    let list = steps("probe", ["acquire item/a", "twice"]);
    was_cut(node.client().send_to_hostile(&list), "twice");
    assert_free_at_once(&node, "twice");
}

#[test]
fn a_handler_that_reads_none_of_its_answers_gets_only_so_many() {
    let node = node();
    let list = ["hoard 100 GET probe /probe", "call GET probe /probe"];
    let answer = node.run("probe", list).expect(200);
    assert_eq!(answer.step("hoard"), "16 InternalError");
    // And no fewer once it has dropped them, or read them.
    assert_eq!(answer.step("call").trim_end(), "200");
    let many = node.run("probe", ["call GET probe /probe"; 50]).expect(200);
    assert_eq!(many.steps("call").len(), 50);
}

#[test]
fn a_handler_that_does_not_end_is_504_at_its_deadline() {
    let node = node();
    for end in [
        "spin",
        "spin-calling",
        "sleep 60000",
        "acquire item/gate wait=60000",
    ] {
        let gate = HeldLock::hold(&node, "item/gate");
        let answer = node.run("tight", ["acquire item/a", "put items a 1", end]);
        answer.expect_problem(504, "DEADLINE");
        assert_free_at_once(&node, end);
        gate.give_back(&node);
    }
    assert_eq!(node.value("items", "a"), None);
}

#[test]
fn a_handler_that_answers_and_then_does_not_end_is_cut_at_its_deadline() {
    let node = node();
    for end in ["spin", "spin-calling", "sleep 60000"] {
        let list = steps("tight", ["acquire item/a", "head", "write 10", end]);
        let answer = node.client().send_to_hostile(&list);
        assert!(was_cut(answer, end), "`{end}` took the answer back");
        assert_free_at_once(&node, end);
    }
}

#[test]
fn an_instance_that_does_not_come_up_is_504_at_its_deadline() {
    let node = Node::builder().guest("startspin").guest("probe").start();
    node.get("/startspin").expect_problem(504, "DEADLINE");
    node.run("probe", ["get notes a"]).expect(200);
}

#[test]
fn memory_ends_where_the_manifest_says() {
    let node = node();
    let pages = node.run("tight", ["grow"]).expect(200).number("grow");
    // 16 MiB are 256 pages, some of which it had from the beginning.
    assert!((200..256).contains(&pages), "{pages} pages");
    node.run("tight", ["fill"])
        .expect_problem(500, "HANDLER_FAILED");
    node.run("tight", ["get notes a"]).expect(200);
}

#[test]
fn a_million_calls_of_the_host_harm_nobody() {
    let node = node();
    let status = node
        .run("probe", ["acquire item/a", "host-calls 1000000"])
        .status;
    assert!([200, 504].contains(&status), "{status}");
    assert_free_at_once(&node, "host-calls 1000000");
}

#[test]
fn handles_that_are_leaked_do_not_add_up_over_requests() {
    let node = node();
    let mut client = node.client();
    for _ in 0..100 {
        client.send(&steps("probe", ["leak 1000"])).expect(200);
    }
}

#[test]
fn a_guard_that_is_forgotten_is_free_when_its_request_ends() {
    let node = node();
    for end in ["forget", "drop", "stash"] {
        for status in [200, 400] {
            let list = ["acquire item/a", end, &format!("status {status}")];
            node.run("probe", list).expect(status);
            assert_free_at_once(&node, end);
        }
    }
    node.run("probe", ["acquire item/a", "drop", "put items a 1"])
        .expect(200);
    assert_eq!(
        node.value("items", "a").as_deref(),
        Some("1"),
        "dropping releases nothing"
    );
}

#[test]
fn a_guard_kept_past_its_request_is_dead() {
    let node = node();
    node.run("probe", ["acquire item/a", "put items a old"])
        .expect(200);
    for _ in 0..10 {
        node.run("probe", ["acquire item/a", "stash"]).expect(200);
        let answer = node.run(
            "probe",
            [
                "unstash",
                "try token item/a",
                "try remaining",
                "try renew 1000",
                "put items a new",
            ],
        );
        answer.clone().expect_problem(409, "UNGUARDED");
        assert_free_at_once(&node, "unstash");
    }
    let answer = node.run(
        "probe",
        [
            "unstash",
            "try token item/a",
            "try renew 1000",
            "try release",
        ],
    );
    let answer = answer.expect(200);
    // An instance with a guard left in it may or may not be used again.
    if answer.step("unstash") == "ok" {
        assert_eq!(answer.step("token"), "0");
        assert_eq!(answer.step("renew"), "error closed");
        assert_eq!(answer.step("release"), "error closed");
    }
    assert_eq!(node.value("items", "a").as_deref(), Some("old"));
}

#[test]
fn guards_are_limited_per_transaction() {
    let node = node();
    let answer = node.run("probe", ["acquire-many 1000"]).expect(423);
    let outcome = answer.step("acquire-many");
    assert!(outcome.starts_with("error after 64: quota"), "{outcome}");
    node.run("probe", ["acquire-many 64"]).expect(200);
}

#[test]
fn a_client_that_goes_away_ends_its_request_and_frees_its_lock() {
    let node = patient().start();
    for end in [
        "spin",
        "sleep 60000",
        "acquire item/gate wait=60000",
        "head\nwrite 100000000",
        "head\nsleep 60000",
    ] {
        let gate = HeldLock::hold(&node, "item/gate");
        let list = format!(
            "acquire item/a wait=5000\nput items a 1\nlog {}\n{end}",
            "under way"
        );
        let mut connection = node.connect();
        connection
            .send(&steps("probe", list.lines()).to_bytes())
            .expect("the node reads");
        if end.starts_with("head") {
            // What is committed with the head releases its lock with it.
            connection.head().expect("the head comes");
        } else {
            node.wait_until_held("item/a");
        }
        drop(connection);
        let gone = Instant::now();
        node.wait_until_free("item/a");
        println!(
            "`{end}`: the lock was free {:?} after the client had gone",
            gone.elapsed()
        );
        gate.give_back(&node);
        node.run("probe", ["get notes a"]).expect(200);
    }
}

#[test]
fn guests_that_spin_do_not_starve_others() {
    let node = patient().guest("hello12").start();
    let spinning: Vec<_> = (0..4)
        .map(|_| {
            let mut connection = node.connect();
            connection
                .send(&steps("probe", ["log spins", "spin"]).to_bytes())
                .expect("the node reads");
            connection
        })
        .collect();
    eventually("all of them spin", || {
        let lines = node.logs().lines();
        (lines.iter().filter(|line| line.contains("spins")).count() >= 4).then_some(())
    });
    let slowest = (0..100)
        .map(|_| {
            let asked = Instant::now();
            node.get("/hello").expect(200);
            asked.elapsed()
        })
        .max();
    println!("the slowest of 100 requests beside 4 that spin: {slowest:?}");
    drop(spinning);
}

/// A node whose probe may take longer than any of these tests.
fn patient() -> Builder {
    Node::builder().patient_probe()
}
