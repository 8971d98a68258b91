//! `lockport locks`: the lock API from a shell, with exit codes.

use crate::harness::{
    Finished, LockApi, Node, Speaks, acquire, address_of, eventually, lockport, secret_of,
};
use serde_json::{Value, json};

/// Runs `lockport locks` against a node.
#[track_caller]
fn locks(node: &Node, arguments: &[&str]) -> Finished {
    let server = address_of(node).to_string();
    lockport([&["locks"], arguments].concat())
        .env("LOCKPORT_LOCK_ADDR", &server)
        .run()
}

/// The same, for a program.
#[track_caller]
fn locks_json(node: &Node, arguments: &[&str]) -> Value {
    let finished = locks(node, &[arguments, &["--format", "json"]].concat()).expect_code(0);
    assert_eq!(finished.stdout.lines().count(), 1, "{}", finished.stdout);
    finished.json()
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().expect("it is text")
}

#[test]
fn a_lock_is_acquired_renewed_and_released() {
    let node = Node::builder().start();
    let answer = locks_json(&node, &["acquire", "a", "b", "--lease", "1m"]);
    let grant = &answer["grant"];
    assert_eq!(grant["names"], json!(["a", "b"]), "{answer}");
    assert_eq!(grant["mode"], "MODE_EXCLUSIVE");
    let id = text(&grant["id"]);

    let renewed = locks_json(&node, &["renew", id, "--lease", "2m"]);
    assert_eq!(renewed["grant"]["fencingToken"], grant["fencingToken"]);
    let remaining = text(&renewed["grant"]["remaining"]);
    let seconds = remaining.strip_suffix('s').and_then(|it| it.parse().ok());
    assert!(seconds.is_some_and(|it: f64| it > 60.0), "{remaining}");

    let released = locks_json(&node, &["release", id]);
    assert_eq!(released["outcome"], "OUTCOME_RELEASED");
    let again = locks(&node, &["release", id]).expect_code(0);
    assert_eq!(again.stdout, "it had ended before");
    locks(&node, &["renew", id])
        .expect_code(76)
        .expect_stderr(&["error: "]);
}

#[test]
fn a_grant_is_printed_for_people_too() {
    let node = Node::builder().start();
    let finished = locks(&node, &["acquire", "order/1", "--shared"]).expect_code(0);
    for part in ["grant    ", "names    order/1\n", "mode     shared\n"] {
        assert!(finished.stdout.contains(part), "{}", finished.stdout);
    }
    assert_eq!(finished.stderr, "");
}

#[test]
fn what_is_held_and_waited_for_is_listed_without_secrets() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    let answer = locks_json(&node, &["acquire", "p/a", "--holder", "a shell"]);
    let id = text(&answer["grant"]["id"]);
    let server = address_of(&node).to_string();
    let waiting = [
        "locks", "acquire", "p/a", "--wait", "1m", "--server", &server,
    ];
    let _waiting = lockport(waiting).start();
    api.wait_until_waiting("p/a", 1);
    api.grant(acquire(["q"]));

    let listed = locks(&node, &["ls", "p/"]).expect_code(0).stdout;
    let rows: Vec<&str> = listed.lines().collect();
    assert_eq!(rows.len(), 2, "{listed}");
    assert!(rows[0].starts_with("NAME "), "{listed}");
    assert!(rows[1].starts_with("p/a ") && rows[1].ends_with("a shell"));
    let all = locks_json(&node, &["ls"]);
    assert_eq!(all["locks"].as_array().map(Vec::len), Some(2), "{all}");

    let shown = locks(&node, &["get", "p/a"]).expect_code(0).stdout;
    assert!(shown.contains("waiting  1\n"), "{shown}");
    let lock = locks_json(&node, &["get", "p/a"]);
    assert_eq!(lock["lock"]["holders"][0]["holder"], "a shell", "{lock}");
    for told in [listed, shown, all.to_string(), lock.to_string()] {
        assert!(
            !told.contains(id),
            "whoever sees it could release it: {told}"
        );
    }
    let free = locks(&node, &["get", "nobody's"]).expect_code(0).stdout;
    assert!(free.contains("mode     free"), "{free}");
}

#[test]
fn a_list_longer_than_a_page_is_whole() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    for chunk in 0..25 {
        api.grant(acquire((0..50).map(|at| format!("n/{chunk}/{at}"))));
    }
    let all = locks_json(&node, &["ls", "n/"]);
    assert_eq!(all["locks"].as_array().map(Vec::len), Some(1_250));
}

#[test]
fn what_is_not_obtained_ends_with_75() {
    let node = Node::builder().start();
    LockApi::of(&node).grant(acquire(["a"]));
    locks(&node, &["acquire", "a"])
        .expect_code(75)
        .expect_stderr(&["error: ", "hint: ", "--wait"]);
    locks(&node, &["acquire", "a", "--wait", "50ms"]).expect_code(75);
    let finished = locks(&node, &["acquire", "a", "--format", "json"]).expect_code(75);
    let error: Value = serde_json::from_str(finished.stderr.trim()).expect("it is JSON");
    assert_eq!(error["exit_code"], 75, "{error}");
    assert_eq!(finished.stdout, "");
}

#[test]
fn locks_are_shared_and_have_permits() {
    let node = Node::builder().start();
    for _ in 0..2 {
        locks(&node, &["acquire", "a", "--shared"]).expect_code(0);
        locks(&node, &["acquire", "b", "--permits", "2"]).expect_code(0);
    }
    locks(&node, &["acquire", "a"]).expect_code(75);
    locks(&node, &["acquire", "b", "--permits", "2"]).expect_code(75);
    let lock = locks_json(&node, &["get", "b"]);
    assert_eq!(lock["lock"]["permits"], 2, "{lock}");
    assert_eq!(lock["lock"]["holderCount"], 2, "{lock}");
}

#[test]
fn a_request_id_makes_it_safe_to_repeat() {
    let node = Node::builder().start();
    let ask = || locks_json(&node, &["acquire", "a", "--request-id", "r-1"]);
    let (first, second) = (ask(), ask());
    assert_eq!(first["grant"]["id"], second["grant"]["id"]);
}

#[test]
fn a_lock_that_is_taken_away_is_lost_to_its_holder() {
    let node = Node::builder().start();
    let answer = locks_json(&node, &["acquire", "a", "b", "--holder", "a shell"]);
    locks(&node, &["force-release", "a"]).expect_code(2);
    let forced = locks(&node, &["force-release", "a", "--reason", "a test"]).expect_code(0);
    for part in ["a, b", "a shell"] {
        assert!(forced.stdout.contains(part), "{}", forced.stdout);
    }
    locks(&node, &["renew", text(&answer["grant"]["id"])]).expect_code(76);
    let again = locks(&node, &["force-release", "a", "--reason", "again"]).expect_code(0);
    assert_eq!(again.stdout, "a was free");
}

#[test]
fn each_refusal_has_its_exit_code() {
    let node = Node::builder().token("worker", false, &["mine/**"]).start();
    let server = address_of(&node).to_string();
    let run = |arguments: &[&str], token: &str| {
        lockport([&["locks", "--server", &server], arguments].concat())
            .env("LOCKPORT_API_TOKEN", token)
            .run()
    };
    let worker = secret_of("worker");
    run(&["get", "mine/a"], &worker).expect_code(0);
    run(&["get", "mine/a"], "wrong-0123456789abcdef")
        .expect_code(9)
        .expect_stderr(&["--token-file"]);
    run(&["acquire", "other"], &worker).expect_code(9);
    run(&["force-release", "mine/a", "--reason", "a test"], &worker).expect_code(9);
    run(&["acquire", ""], &worker).expect_code(10);
    run(&["acquire", "mine/a", "--lease", "1ms"], &worker).expect_code(10);
    run(&["renew", "nonsense"], &worker).expect_code(76);
    for usage in [
        &["acquire"][..],
        &["acquire", "mine/a", "--wait", "soon"],
        &["acquire", "mine/a", "--shared", "--permits", "2"],
        &["acquire", "mine/a", "--permits", "0"],
        &["get", "mine/a", "--token-file", "no-such-file"],
        &[],
    ] {
        run(usage, &worker).expect_code(2);
    }
}

#[test]
fn a_token_is_read_from_a_file() {
    let builder = Node::builder().token("worker", false, &["**"]);
    let node = builder.start();
    let file = builder.write_config().with_file_name("worker.token");
    let file = file.display().to_string();
    locks(&node, &["get", "a", "--token-file", &file]).expect_code(0);
    locks(&node, &["get", "a"]).expect_code(9);

    let token = std::fs::read_to_string(&file).expect("it was written");
    let padded = |bytes: usize| {
        let blanks = " ".repeat(bytes - token.len());
        std::fs::write(&file, format!("{token}{blanks}")).expect("it is ours");
    };
    padded(4096);
    locks(&node, &["get", "a", "--token-file", &file]).expect_code(0);
    padded(4097);
    locks(&node, &["get", "a", "--token-file", &file])
        .expect_code(2)
        .expect_stderr(&[&file, "more than 4096 bytes"]);
}

#[test]
fn without_a_node_it_says_so_and_what_to_do() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    drop(listener);
    lockport(["locks", "ls", "--server", &address])
        .run()
        .expect_code(8)
        .expect_stderr(&[&address, "cannot be reached", "caused by: ", "hint: "]);
    lockport(["locks", "ls", "--server", "https://example.com"])
        .run()
        .expect_code(10)
        .expect_stderr(&["say `host:port`"]);
}

#[test]
fn what_happens_is_told_as_it_happens() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    let server = address_of(&node).to_string();
    let watch = |more: &[&str]| {
        let arguments = ["locks", "watch", "p/", "--server", &server];
        lockport([&arguments, more].concat()).start()
    };
    let people = watch(&[]);
    // It may take a moment to begin, and may do so between a grant and its
    // release: what happens before is not told.
    eventually("it tells of a grant", || {
        let grant = api.grant(acquire(["p/a"]));
        api.release(&grant.id).expect("it is held");
        people.stdout.text().contains(" granted ").then_some(())
    });
    let line = people.stdout.wait_for(" granted ");
    assert!(line.contains("p/a token "), "{line}");
    let line = people.stdout.wait_for(" released ");
    let revision = line.split(' ').next().expect("it begins with a revision");

    let grant = api.grant(acquire(["p/b"]));
    let program = watch(&["--from", revision, "--format", "json"]);
    let line = program.stdout.wait_for("p/b");
    let told: Value = serde_json::from_str(&line).expect("it is JSON");
    assert_eq!(told["event"]["kind"], "KIND_GRANTED", "{told}");
    assert_eq!(
        told["event"]["fencingToken"],
        grant.fencing_token.to_string()
    );
}
