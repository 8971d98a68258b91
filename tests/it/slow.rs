//! Clients that are slow, on purpose or not, and floods of them: each is cut at
//! a limit with a name, and others are served meanwhile.

use crate::harness::{Client, Connection, Footprint, Node, eventually, request, steps};
use std::io::ErrorKind;

fn shop() -> Node {
    Node::builder().shop().start()
}

#[test]
fn a_head_that_does_not_come_does_not_hold_the_connection() {
    let node = Node::builder()
        .shop()
        .set("limits.header_timeout", "200ms")
        .start();
    let mut connection = node.connect();
    connection
        .send(b"GET /ping HTTP/1.1\r\nhost: a.te")
        .expect("the node reads");
    // Ends by the node's timeout, else by the bound of the read.
    match connection.answer_to("GET") {
        Ok(answer) => assert_eq!(answer.status, 408),
        Err(error) => assert!(
            !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            "the connection was held: {error}",
        ),
    }
    node.get("/ping").expect(200);
}

#[test]
fn connections_beyond_the_limit_wait_and_are_served_when_others_close() {
    let node = Node::builder().shop().set("limits.connections", 4).start();
    let mut idle: Vec<Client> = (0..4).map(|_| node.client()).collect();
    for client in &mut idle {
        client.send(&request("GET", "/ping")).expect(200);
    }
    let mut late = node.connect();
    late.send(&request("GET", "/ping").to_bytes())
        .expect("the kernel takes it");
    drop(idle);
    late.answer_to("GET").expect("it is served now").expect(200);
}

#[test]
fn many_idle_connections_do_not_keep_others_out() {
    let node = shop();
    let idle: Vec<_> = (0..500).map(|_| node.connect()).collect();
    for _ in 0..20 {
        node.get("/ping").expect(200);
    }
    drop(idle);
    node.get("/ping").expect(200);
}

#[test]
fn a_body_that_does_not_come_ends_with_the_handler_s_deadline() {
    let node = Node::builder().guest("tight").guest("probe").start();
    let mut connection = node.connect();
    let head = "POST /tight HTTP/1.1\r\nhost: a.test\r\ncontent-length: 100\r\n\r\nabout";
    connection.send(head.as_bytes()).expect("the node reads");
    node.run("probe", ["get notes a"]).expect(200);
    let answer = connection
        .answer_to("POST")
        .expect("it does not wait for the body");
    answer.expect_problem(504, "DEADLINE");
}

#[test]
fn an_idle_connection_is_closed_after_a_while() {
    let node = Node::builder()
        .shop()
        .set("limits.idle_timeout", "200ms")
        .start();
    let mut connection = node.connect();
    connection
        .send(&request("GET", "/ping").to_bytes())
        .expect("the node reads");
    connection.answer_to("GET").expect("it answers").expect(200);
    assert!(connection.is_closed_silently(), "it was held");
}

#[test]
fn a_client_that_does_not_read_its_answer_is_cut() {
    let node = Node::builder()
        .guest("probe")
        .set("limits.write_timeout", "300ms")
        .set("log.level", "debug")
        .start();
    let mut connection = node.connect();
    let large = steps("probe", ["head", "write 200000000"]);
    connection.send(&large.to_bytes()).expect("the node reads");
    connection.head().expect("the head comes");
    node.logs().wait_for("does not read its answer");
    node.run("probe", ["get notes a"]).expect(200);
    // What was on its way is there, and then nothing.
    while let Ok(bytes) = connection.some_bytes() {
        if bytes.is_empty() {
            break;
        }
    }
}

#[test]
fn a_node_that_runs_out_of_files_goes_on_when_it_has_some_again() {
    let node = shop();
    node.get("/ping").expect(200);
    let few = Footprint::of(&node).files as u64 + 8;
    node.limit_files(few);
    let flood: Vec<Connection> = (0..64).map(|_| node.connect()).collect();
    eventually("there are no files left", || {
        (Footprint::of(&node).files as u64 >= few - 1).then_some(())
    });
    drop(flood);
    node.get("/ping").expect(200);
}

#[test]
fn a_body_that_does_not_come_does_not_hold_the_lock_api() {
    let node = Node::builder().set("locks.body_timeout", "200ms").start();
    let mut connection = Connection::open(node.listener("lock")).expect("the node listens");
    let head = "POST /v1/locks:acquire HTTP/1.1\r\nhost: a.test\r\ncontent-length: 100\r\n\r\n{";
    connection.send(head.as_bytes()).expect("the node reads");
    let answer = connection.answer_to("POST").expect("it does not wait");
    answer.expect_problem(408, "TOO_SLOW");
}
