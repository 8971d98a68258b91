//! Requests with an `Idempotency-Key`: however often one is sent, it takes effect
//! once and has one answer.

use crate::harness::{
    Answer, HeldLock, Node, Proxy, RedisServer, Request, Storage, Way, eventually, request, steps,
};
use std::sync::Arc;
use std::thread;

fn probe(storage: Storage) -> Node {
    Node::builder().guest("probe").storage(storage).start()
}

on_every_store! {
    t5_a_key_that_is_sent_a_hundred_times_at_once_takes_effect_once,
    t5_a_key_with_another_body_is_refused_and_changes_nothing,
    t5_a_key_whose_request_is_being_handled_is_refused_for_now,
    what_was_not_committed_is_run_anew,
    an_error_that_was_committed_is_answered_again,
    a_key_counts_for_its_client_path_and_method_alone,
    a_request_that_conflicts_keeps_its_key,
}

/// A request of these steps with a key.
fn keyed(key: &str, list: &[&str]) -> Request {
    steps("probe", list).header("idempotency-key", key)
}

fn send(node: &Node, key: &str, list: &[&str]) -> Answer {
    node.client().send(&keyed(key, list))
}

fn was_replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

/// Sends a request until nobody else has its key.
fn send_until_done(node: &Node, key: &str, list: &[&str]) -> Answer {
    eventually("the key is free", || {
        let answer = send(node, key, list);
        if answer.status == 409 {
            answer.expect_problem(409, "IN_PROGRESS");
            return None;
        }
        Some(answer)
    })
}

fn t5_a_key_that_is_sent_a_hundred_times_at_once_takes_effect_once(storage: Storage) {
    const CLIENTS: usize = 10;
    const SENT: usize = 10;
    let node = probe(storage);
    let list = ["add notes n 1", "header x-seen once"];
    let answers: Vec<_> = thread::scope(|scope| {
        let clients = (0..CLIENTS).map(|_| {
            scope.spawn(|| {
                (0..SENT)
                    .map(|_| send_until_done(&node, "k", &list))
                    .collect()
            })
        });
        let clients: Vec<_> = clients.collect();
        let answers = clients.into_iter().map(|it| it.join().expect("no panic"));
        answers.collect::<Vec<Vec<Answer>>>().concat()
    });
    for answer in &answers {
        assert_eq!(
            (answer.status, answer.header("x-seen")),
            (200, Some("once"))
        );
        assert_eq!(answer.text(), answers[0].text());
    }
    let replayed = answers.iter().filter(|it| was_replayed(it)).count();
    assert_eq!(replayed, CLIENTS * SENT - 1);
    assert_eq!(node.value("notes", "n").as_deref(), Some("1"));
}

fn t5_a_key_with_another_body_is_refused_and_changes_nothing(storage: Storage) {
    let node = probe(storage);
    send(&node, "k", &["add notes n 1"]).expect(200);
    let other = send(&node, "k", &["add notes n 2"]);
    other.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(node.value("notes", "n").as_deref(), Some("1"));
    assert!(was_replayed(&send(&node, "k", &["add notes n 1"])));
}

fn t5_a_key_whose_request_is_being_handled_is_refused_for_now(storage: Storage) {
    let node = probe(storage);
    let gate = HeldLock::hold(&node, "item/gate");
    let list = [
        "add notes n 1",
        "log at the gate",
        "acquire item/gate wait=9000",
    ];
    thread::scope(|scope| {
        let first = scope.spawn(|| send(&node, "k", &list));
        node.logs().wait_for("at the gate");
        let second = send(&node, "k", &list);
        assert!(second.header("retry-after").is_some());
        second.expect_problem(409, "IN_PROGRESS");
        // Another key is another request.
        send(&node, "l", &["add notes m 1"]).expect(200);
        drop(gate);
        first.join().expect("it is answered").expect(200);
    });
    let again = send_until_done(&node, "k", &list).expect(200);
    assert!(was_replayed(&again));
    assert_eq!(node.value("notes", "n").as_deref(), Some("1"));
}

fn what_was_not_committed_is_run_anew(storage: Storage) {
    let node = probe(storage);
    for ending in ["status 422", "trap"] {
        for _ in 0..2 {
            let answer = send(&node, ending, &["add notes n 1", ending]);
            assert!(answer.status >= 400 && !was_replayed(&answer));
        }
    }
    assert_eq!(node.value("notes", "n"), None);
}

fn an_error_that_was_committed_is_answered_again(storage: Storage) {
    let node = probe(storage);
    let list = ["add notes n 1", "keep", "status 402"];
    let first = send(&node, "k", &list).expect(402);
    let second = send(&node, "k", &list).expect(402);
    assert_eq!((was_replayed(&first), was_replayed(&second)), (false, true));
    assert_eq!(first.text(), second.text());
    assert_eq!(node.value("notes", "n").as_deref(), Some("1"));
}

fn a_key_counts_for_its_client_path_and_method_alone(storage: Storage) {
    let node = probe(storage);
    let list = ["add notes n 1"];
    let plain = || keyed("k", &list);
    let body = list.join("\n");
    let elsewhere = |method: &str, path: &str| {
        let request = request(method, path).header("idempotency-key", "k");
        request.body(body.clone())
    };
    let requests = [
        plain(),
        plain().header("authorization", "Bearer alice"),
        elsewhere("PATCH", "/probe"),
        elsewhere("POST", "/probe/queued/x"),
        // These are not kept, however often they are sent.
        elsewhere("PUT", "/probe"),
        elsewhere("PUT", "/probe"),
    ];
    for (count, request) in requests.iter().enumerate() {
        let answer = node.client().send(request).expect(200);
        assert!(!was_replayed(&answer));
        assert_eq!(answer.number("add"), count as u64 + 1);
    }
    let refused = node.client().send(&keyed(&"k".repeat(256), &list));
    refused.expect_problem(400, "INVALID_IDEMPOTENCY_KEY");
    let large = plain().body(vec![b' '; (1 << 20) + 1]);
    let refused = node.client().send(&large);
    refused.expect_problem(413, "BODY_TOO_LARGE");
    assert_eq!(node.value("notes", "n"), Some(requests.len().to_string()));
}

fn a_request_that_conflicts_keeps_its_key(storage: Storage) {
    let node = probe(storage);
    let gate = HeldLock::hold(&node, "item/gate");
    let list = [
        "add notes n 1",
        "log at the gate",
        "acquire item/gate wait=9000",
    ];
    thread::scope(|scope| {
        let first = scope.spawn(|| send(&node, "k", &list));
        node.logs().wait_for("at the gate");
        node.run("probe", ["add notes n 10"]).expect(200);
        drop(gate);
        let answer = first.join().expect("it is answered").expect(200);
        assert_eq!(answer.step("add"), "11", "it was run again");
    });
    let again = send_until_done(&node, "k", &list).expect(200);
    assert!(was_replayed(&again));
    assert_eq!(again.step("add"), "11");
}

#[test]
fn a_body_that_does_not_come_is_given_up_at_the_deadline() {
    let node = Node::builder().guest("tight").start();
    let mut connection = node.connect();
    let head =
        "POST /tight HTTP/1.1\r\nhost: a\r\nidempotency-key: k\r\ncontent-length: 9\r\n\r\nx";
    connection.send(head.as_bytes()).expect("the node reads");
    let answer = connection.answer_to("POST").expect("it is answered");
    answer.expect_problem(504, "DEADLINE");
}

#[test]
fn t5_an_answer_outlives_its_node() {
    let builder = Node::builder().guest("probe").storage(Storage::Embedded);
    let node = builder.start();
    let list = ["add notes n 1"];
    send(&node, "k", &list).expect(200);
    node.kill();
    let node = builder.start();
    let again = send(&node, "k", &list).expect(200);
    assert!(was_replayed(&again));
    assert_eq!(node.value("notes", "n").as_deref(), Some("1"));
}

#[test]
fn an_answer_is_kept_for_as_long_as_the_node_s_file_says() {
    let node = Node::builder()
        .guest("probe")
        .set("idempotency.keep", "1s")
        .start();
    let list = ["add notes n 1"];
    send(&node, "k", &list).expect(200);
    let anew = eventually("its time is over", || {
        let answer = send(&node, "k", &list).expect(200);
        (!was_replayed(&answer)).then_some(answer)
    });
    assert_eq!(anew.step("add"), "2");
}

/// The answer to the commit is lost, and the node cannot find out: its client is
/// told so, and sends the request again, to another node.
#[test]
fn t7_a_request_whose_outcome_is_unknown_is_sent_again_and_takes_effect_once() {
    let server = Arc::new(RedisServer::start());
    let proxy = Proxy::to(server.address());
    let builder = Node::builder().guest("probe").redis(&server, "keys");
    let other = builder.beside().start();
    let node = builder
        .set("store.timeout", "1s")
        .set("store.lease", "30s")
        .set("store.url", RedisServer::url_at(proxy.address(), "keys"))
        .start();
    // Shorter than the lease of the node, which would know by itself then.
    let list = ["add notes n 1", "log about to end", "sleep 3000"];
    thread::scope(|scope| {
        let first = scope.spawn(|| send(&node, "k", &list));
        node.logs().wait_for("about to end");
        proxy.swallow(Way::ToClient);
        let told = first.join().expect("it is answered");
        told.expect_problem(503, "OUTCOME_UNKNOWN");
    });
    let again = send_until_done(&other, "k", &list).expect(200);
    assert!(was_replayed(&again), "the commit was applied");
    assert_eq!(again.step("add"), "1");
    assert_eq!(other.value("notes", "n").as_deref(), Some("1"));
    proxy.cut_and_heal();
    eventually("the first node has the answer, too", || {
        let answer = send(&node, "k", &list);
        (answer.status == 200 && was_replayed(&answer)).then_some(())
    });
}
