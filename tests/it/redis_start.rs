//! A node whose store is in Redis, as it starts: what it says of the store, what
//! it refuses, and that it never shows a password.

use crate::harness::{Finished, Node, RedisServer, lockport, request};
use std::net::TcpListener;
use std::sync::Arc;

/// The password of a server that wants one.
const PASSWORD: &str = "a-password-that-nobody-shall-see";

/// A run of `check` on this store.
#[track_caller]
fn check(url: &str) -> Finished {
    lockport(["check", "--http", "127.0.0.1:0", "--lock", "127.0.0.1:0"])
        .env("LOCKPORT_LISTEN__ADMIN", "127.0.0.1:0")
        .env("LOCKPORT_STORE__URL", url)
        .run()
}

#[track_caller]
fn assert_hides_the_password(finished: &Finished) {
    for text in [&finished.stdout, &finished.stderr] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
}

#[test]
fn a_server_is_reached_by_its_port_and_by_its_socket() {
    let server = RedisServer::start();
    for url in [server.url("a"), server.socket_url("a")] {
        let finished = check(&url).expect_code(0);
        assert!(finished.stdout.contains("store      redis at "), "{url}");
    }
    assert!(server.ask("EXISTS {lp:a}:m").starts_with(":1"));
}

#[test]
fn a_server_that_is_not_there_is_exit_code_6_and_says_how_to_start_one() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = nobody.local_addr().expect("it is bound");
    drop(nobody);
    check(&RedisServer::url_at(address, "a"))
        .expect_code(6)
        .expect_stderr(&[
            &format!("error: the store at redis://{address}?space=a cannot be opened"),
            "refused",
            "hint: start a server there, Redis 7.0 or newer, or name another",
        ]);
}

#[test]
fn a_server_that_might_forget_a_lock_is_exit_code_6_and_says_what_to_set() {
    let server = RedisServer::with(&["--maxmemory-policy", "allkeys-lru"]);
    check(&server.url("a")).expect_code(6).expect_stderr(&[
        "`maxmemory-policy` is `allkeys-lru`, and has to be `noeviction`",
        "hint: on the server: CONFIG SET maxmemory-policy noeviction",
    ]);
    // As it says, so it is.
    server.ask("CONFIG SET maxmemory-policy noeviction");
    check(&server.url("a")).expect_code(0);
}

#[test]
fn a_server_that_follows_another_is_exit_code_6() {
    let (leader, follower) = (RedisServer::start(), RedisServer::start());
    let port = leader.address().port();
    follower.ask(&format!("REPLICAOF 127.0.0.1 {port}"));
    check(&follower.url("a")).expect_code(6).expect_stderr(&[
        "the server is a replica",
        "hint: name the server that it follows",
    ]);
}

#[test]
fn a_password_opens_the_server_and_is_shown_to_nobody() {
    let server = RedisServer::with(&["--requirepass", PASSWORD]);
    let address = server.address();
    let none = check(&server.url("a")).expect_code(6);
    none.expect_stderr(&["NOAUTH", "hint: name a user and a password"]);
    let wrong = check(&format!("redis://:{PASSWORD}-not@{address}")).expect_code(6);
    assert_hides_the_password(&wrong);
    wrong.expect_stderr(&["hint: name a user and a password"]);

    let url = format!("redis://default:{PASSWORD}@{address}?space=a");
    let good = check(&url).expect_code(0);
    assert_hides_the_password(&good);
    let printed = lockport(["check", "--print-config"])
        .env("LOCKPORT_STORE__URL", &url)
        .env("LOCKPORT_LISTEN__HTTP", "127.0.0.1:0")
        .env("LOCKPORT_LISTEN__LOCK", "off")
        .env("LOCKPORT_LISTEN__ADMIN", "off")
        .run()
        .expect_code(0);
    assert_hides_the_password(&printed);
    let shown = format!("url = \"redis://default:***@{address}?space=a\"");
    assert!(printed.stdout.contains(&shown), "{}", printed.stdout);

    let node = Node::builder().set("store.url", url.as_str()).start();
    assert_eq!(
        node.ready()["store"],
        format!("redis at {address}, space a")
    );
    let ready = node.admin().send(&request("GET", "/readyz")).expect(200);
    assert!(!ready.text().contains(PASSWORD));
    let logs = node.logs().clone();
    assert_eq!(node.terminate().code(), Some(0));
    assert!(!logs.text().contains(PASSWORD), "{}", logs.text());
}

#[test]
fn a_node_says_which_promise_a_server_that_writes_nothing_down_weakens() {
    let server = Arc::new(RedisServer::start());
    let node = Node::builder().redis(&server, "a").start();
    node.logs().wait_for("append-only file");
}

#[test]
fn spaces_of_one_server_have_nothing_to_do_with_each_other() {
    let server = Arc::new(RedisServer::start());
    let of = |space| Node::builder().guest("probe").redis(&server, space).start();
    let (a, b, too) = (of("a"), of("b"), of("a"));
    a.run("probe", ["acquire item/1", "put items 1 mine"])
        .expect(200);
    assert_eq!(b.value("items", "1"), None);
    assert_eq!(too.value("items", "1").as_deref(), Some("mine"));
}
