//! How a node ends: nothing that was begun is lost, and nobody waits forever.

use crate::harness::{Builder, Client, HeldLock, Node, Storage, eventually, new_order, request};
use serde_json::Value;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Clients that send requests while the node is told to end.
const CLIENTS: usize = 8;

#[test]
fn an_idle_node_ends_with_0_when_it_is_told_to() {
    let node = Node::builder().shop().start();
    assert_eq!(node.terminate().code(), Some(0));
}

#[test]
fn a_node_that_is_told_to_end_under_load_loses_no_request() {
    let builder = Node::builder().shop().storage(Storage::Embedded);
    let mut node = builder.start();
    let served = AtomicUsize::new(0);
    let counts: Vec<(Value, usize)> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let client = node.client();
                scope.spawn(|| create_until_it_ends(client, &served))
            })
            .collect();
        eventually("the load runs", || {
            (served.load(Ordering::Relaxed) > 20 * CLIENTS).then_some(())
        });
        node.signal_term();
        let join = |client: thread::ScopedJoinHandle<_>| client.join().expect("no answer is odd");
        clients.into_iter().map(join).collect()
    });
    assert_eq!(node.wait().code(), Some(0));

    // What was applied is what was answered, one for one.
    let node = builder.start();
    for (user, count) in counts {
        assert_eq!(node.orders_of(&user).len(), count);
    }
}

#[test]
fn a_request_that_is_at_work_is_finished_first() {
    let mut node = patient().start();
    let mut connection = node.connect();
    let hold = HeldLock::request("item/drain", 500);
    connection.send(&hold.to_bytes()).expect("the node reads");
    node.wait_until_held("item/drain");
    node.signal_term();
    connection
        .answer_to("POST")
        .expect("it is finished")
        .expect(200);
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn a_node_that_ends_takes_no_new_connection() {
    let mut node = patient().start();
    let mut connection = node.connect();
    let hold = HeldLock::request("item/drain", 2_000);
    connection.send(&hold.to_bytes()).expect("the node reads");
    node.wait_until_held("item/drain");
    node.signal_term();
    eventually("new connections are refused", || {
        std::net::TcpStream::connect(node.address())
            .is_err()
            .then_some(())
    });
    connection
        .answer_to("POST")
        .expect("it is finished")
        .expect(200);
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_node_at_once() {
    let mut node = patient().start();
    let mut connection = node.connect();
    let hold = HeldLock::request("item/drain", 25_000);
    connection.send(&hold.to_bytes()).expect("the node reads");
    node.wait_until_held("item/drain");
    node.signal_term();
    eventually("it has heard the first one", || {
        std::net::TcpStream::connect(node.address())
            .is_err()
            .then_some(())
    });
    node.signal_term();
    let asked = std::time::Instant::now();
    node.wait();
    // The request would have taken 25 s.
    assert!(
        asked.elapsed().as_secs() < 15,
        "it waited for {:?}",
        asked.elapsed()
    );
}

#[test]
fn a_request_that_does_not_end_is_cut_at_the_drain_deadline() {
    let mut node = patient().set("limits.drain", "300ms").start();
    let mut connection = node.connect();
    let hold = HeldLock::request("item/drain", 25_000);
    connection.send(&hold.to_bytes()).expect("the node reads");
    node.wait_until_held("item/drain");
    node.signal_term();
    let asked = std::time::Instant::now();
    assert_eq!(node.wait().code(), Some(0));
    assert!(
        asked.elapsed().as_secs() < 15,
        "it waited for {:?}",
        asked.elapsed()
    );
}

/// A node whose probe may take longer than any of these tests.
fn patient() -> Builder {
    Node::builder().patient_probe()
}

/// Creates orders of one user until the node takes no more; gives the user and
/// how many creations were acknowledged.
fn create_until_it_ends(mut client: Client, served: &AtomicUsize) -> (Value, usize) {
    let body = new_order(1, 10);
    let create = request("POST", "/orders").json(body.clone());
    for count in 0.. {
        match client.try_send(&create) {
            Ok(answer) if answer.status == 201 => served.fetch_add(1, Ordering::Relaxed),
            // A node that ends may say so.
            Ok(answer) if answer.status == 503 => return (body["user_id"].clone(), count),
            Ok(answer) => panic!("{} {}", answer.status, answer.text()),
            Err(error) => {
                // Not taken at all: a new connection is refused, or an idle one
                // was closed before the request came.
                assert_not_taken(error.kind());
                return (body["user_id"].clone(), count);
            }
        };
    }
    unreachable!("the node ends before the numbers do");
}

#[track_caller]
fn assert_not_taken(kind: ErrorKind) {
    assert!(
        matches!(
            kind,
            ErrorKind::ConnectionRefused
                | ErrorKind::ConnectionReset
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof
        ),
        "{kind:?}",
    );
}
