//! Where a node listens, and where it refuses to.

use crate::harness::{Builder, Finished, Node, eventually, lockport, request};
use std::net::TcpListener;

/// A configuration is wrong.
const CONFIG: i32 = 3;
/// An address cannot be bound.
const ADDRESS: i32 = 5;

/// Starts what cannot start, by `serve` and by `check`.
#[track_caller]
fn refused(builder: &Builder, code: i32, parts: &[&str]) -> Finished {
    let config = builder.write_config().display().to_string();
    let check = lockport(["check", "--config", &config]).run();
    check.expect_code(code).expect_stderr(parts);
    let serve = lockport(["serve", "--config", &config]).run();
    assert_eq!(serve.stdout, "", "it said that it was ready");
    serve.expect_code(code).expect_stderr(parts)
}

#[test]
fn what_others_can_reach_needs_a_token() {
    for listener in ["lock", "admin"] {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let key = format!("listen.{listener}");
            let open = Node::builder().set(&key, address);
            refused(&open, CONFIG, &[&key, address, "token", "hint: "]);
        }
        let closed = Node::builder()
            .set(&format!("listen.{listener}"), "0.0.0.0:0")
            .token("ops", true, &["**"]);
        closed.start();
    }
}

#[test]
fn listeners_that_are_off_are_not_there() {
    let node = Node::builder()
        .shop()
        .set("listen.lock", "off")
        .set("listen.admin", "off")
        .start();
    for name in ["lock", "admin"] {
        assert!(node.ready().get(name).is_none(), "{}", node.ready());
    }
    node.create_order();
    assert_eq!(node.terminate().code(), Some(0));
}

#[test]
fn an_address_in_use_is_refused_by_the_flag_that_gives_another() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    for listener in ["http", "lock", "admin"] {
        let builder = Node::builder().set(&format!("listen.{listener}"), address.as_str());
        let flag = format!("--{listener} 127.0.0.1:0");
        refused(&builder, ADDRESS, &["error: ", &address, &flag]);
    }
}

#[test]
fn keys_and_values_that_are_none_are_refused_with_their_place() {
    for (key, value, parts) in [
        ("listen.lokc", "127.0.0.1:0", ["listen.lokc", "`lock`"]),
        ("listen.lock", "localhost", ["listen.lock", "off"]),
        (
            "compat.anonymus",
            "true",
            ["compat.anonymus", "`anonymous`"],
        ),
        ("compat.lease", "25h", ["compat.lease", "24h"]),
        ("compat.enabled", "yes", ["compat.enabled", "true or false"]),
        ("locks.watcher", "1", ["locks.watcher", "`watchers`"]),
        ("locks.watchers", "many", ["locks.watchers", "a number"]),
    ] {
        refused(&Node::builder().set(key, value), CONFIG, &parts);
    }
}

#[test]
fn tokens_that_cannot_work_are_refused() {
    let tokens = |text: &str| {
        let builder = Node::builder();
        let config = builder.write_config();
        let with = std::fs::read_to_string(&config).expect("it was written") + text;
        std::fs::write(&config, with).expect("the directory is ours");
        let config = config.display().to_string();
        let finished = lockport(["serve", "--config", &config]).run();
        drop(builder);
        finished.expect_code(CONFIG)
    };
    tokens("\n[[tokens]]\nfile = \"a\"\n").expect_stderr(&["tokens[0].principal", "missing"]);
    tokens("\n[[tokens]]\nprincipal = \"a\"\n").expect_stderr(&["tokens[0].file", "missing"]);
    tokens("\n[[tokens]]\nprincipal = \"a\"\nfile = \"none\"\n")
        .expect_stderr(&["`a`", "none", "hint: "]);
    tokens("\n[[tokens]]\nprincipal = \"a\"\nfile = \"lockport.toml\"\n")
        .expect_stderr(&["`a`", "hint: "]);
    tokens("\n[[tokens]]\nprincipal = \"a\"\nfile = \"a\"\nsecret = \"b\"\n")
        .expect_stderr(&["unknown key `tokens[0].secret`"]);
}

#[test]
fn a_secret_that_others_can_read_is_used_with_a_warning() {
    let builder = Node::builder().token("ops", true, &["**"]);
    let config = builder.write_config();
    let secret = config.with_file_name("ops.token");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&secret, mode).expect("it is ours");
    let node = builder.start();
    let line = node.logs().wait_for("others can read");
    assert!(line.contains("ops.token"), "{line}");
    node.admin().send(&request("GET", "/metrics")).expect(401);
}

#[test]
fn flags_say_where_the_listeners_are() {
    let builder = Node::builder()
        .set("listen.lock", "127.0.0.1:1")
        .set("listen.admin", "127.0.0.1:1");
    let config = builder.write_config().display().to_string();
    let flags = ["--lock", "127.0.0.1:0", "--admin", "off"];
    let running = lockport(["serve", "--config", &config].into_iter().chain(flags)).start();
    eventually("it serves", || {
        running.stdout.text().contains("lock ").then_some(())
    });
    let said = running.stdout.text();
    assert!(!said.contains("admin "), "{said}");
    assert!(!said.contains("127.0.0.1:1\n"), "{said}");
}

#[test]
fn check_says_what_is_open_where() {
    let builder = Node::builder().shop();
    let config = builder.write_config().display().to_string();
    let finished = lockport(["check", "--config", &config])
        .run()
        .expect_code(0);
    for part in ["http ", "lock ", "admin ", "access ", "compat "] {
        assert!(finished.stdout.contains(part), "{}", finished.stdout);
    }
    let builder = builder
        .token("ops", true, &["**"])
        .set("compat.enabled", false);
    let config = builder.write_config().display().to_string();
    let finished = lockport(["check", "--config", &config])
        .run()
        .expect_code(0);
    for part in ["1 token", "off"] {
        assert!(finished.stdout.contains(part), "{}", finished.stdout);
    }
}
