//! Names that mean something elsewhere, names that are not allowed, and very
//! many of them: served or refused by rule, and no other lock is touched.

use crate::harness::{
    Ask, IsRefused, JsonApi, LockApi, Node, Speaks, Storage, acquire, is_long, millis, report,
};
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::{AcquireRequest, Grant, OpenSession};
use std::collections::BTreeSet;
use std::time::Instant;

on_every_store! {
    l27_odd_names_mean_themselves_and_nothing_else,
    l27_names_that_are_not_allowed_are_refused_in_every_way_of_asking,
    l27_very_many_names_are_held_listed_and_given_back,
}

/// Names that a store, a shell, a path or a pattern would make something of.
fn odd_names() -> Vec<String> {
    let mut names: Vec<String> = [
        " ",
        ".",
        "..",
        "../a",
        "/",
        "//",
        "a/",
        "/a",
        "a//b",
        "a",
        "A",
        "a ",
        "{}",
        "{a}",
        "{lp:x}",
        "*",
        "**",
        "?",
        "[a]",
        "%",
        "%00",
        "%2F",
        "%41",
        "a%2Fb",
        "+",
        "&b=c",
        "#",
        ";",
        "\\",
        "'",
        "\"",
        "`",
        "$(a)",
        "locks:acquire",
        ":watch",
        "nil",
        "null",
        "0",
        "-1",
        "\u{e4}",
        "a\u{308}",
        "\u{212b}",
        "\u{c5}",
        "\u{200b}",
        "\u{202e}a",
        "\u{1f512}",
        "\u{fffd}",
        "\u{feff}",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("x".repeat(512));
    names.push("\u{e4}".repeat(256));
    names.push("/".repeat(512));
    names
}

fn l27_odd_names_mean_themselves_and_nothing_else(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let (api, json) = (LockApi::of(&node), JsonApi::of(&node));
    let (stream, _) = api
        .session(OpenSession::default())
        .expect("a session is opened");
    let names = odd_names();
    let ways: [&dyn Speaks; 3] = [&api, &json, &stream];
    // Each is free, whatever else is held; so none of them is another.
    let grants: Vec<Grant> = names
        .iter()
        .enumerate()
        .map(|(at, name)| ways[at % 3].grant(acquire([name])))
        .collect();
    for by in ways {
        for (name, grant) in names.iter().zip(&grants) {
            assert_eq!(by.acquire(acquire([name])).expect_refused().reason, "HELD");
            let lock = by.look(name);
            assert_eq!(lock.name, *name);
            assert_eq!(lock.last_fencing_token, grant.fencing_token, "{name:?}");
        }
        let listed: Vec<String> = by.list("", 7).into_iter().map(|it| it.name).collect();
        assert!(listed.is_sorted(), "by name, byte by byte: {listed:?}");
        assert_eq!(
            listed.iter().collect::<BTreeSet<_>>(),
            names.iter().collect(),
        );
        for prefix in ["a", "%", "*", "{", "/", "\u{e4}"] {
            let begun = names.iter().filter(|name| name.starts_with(prefix));
            assert_eq!(by.list(prefix, 5).len(), begun.count(), "{prefix}");
        }
    }
    let half = grants.len() / 2;
    for (at, grant) in grants[..half].iter().enumerate() {
        ways[(at + 1) % 3].release(&grant.id).expect("it is held");
    }
    for (at, name) in names.iter().enumerate() {
        let holders = api.look(name).holder_count;
        assert_eq!(holders, u32::from(at >= half), "{name:?}");
    }
    // The session's end frees its own and nobody else's.
    stream.close();
    for (at, name) in names.iter().enumerate() {
        let holders = api.look(name).holder_count;
        assert_eq!(holders, u32::from(at >= half && at % 3 != 2), "{name:?}");
    }
}

fn l27_names_that_are_not_allowed_are_refused_in_every_way_of_asking(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let (api, json) = (LockApi::of(&node), JsonApi::of(&node));
    let (stream, _) = api
        .session(OpenSession::default())
        .expect("a session is opened");
    let held = api.grant(acquire(["a", "x"]));
    let long = "x".repeat(513);
    let long_in_bytes = "\u{e4}".repeat(257);
    let refused = [
        "",
        "\0",
        "a\0",
        "\n",
        "a\tb",
        "\u{7f}",
        "\u{85}",
        &long,
        &long_in_bytes,
    ];
    for by in [&api as &dyn Speaks, &json, &stream] {
        for name in refused {
            for names in [vec![name], vec!["free", name]] {
                let error = by.acquire(acquire(names)).expect_refused();
                assert_eq!(error.reason, "INVALID_NAME", "{name:?}");
                assert!(error.message.len() < 2_000, "{}", error.message.len());
                assert!(!error.message.contains('\0'), "{error:?}");
            }
            let error = by.force_release(name).expect_refused();
            assert_eq!(error.reason, "INVALID_NAME", "{name:?}");
        }
    }
    // What is no UTF-8 cannot even be said in a message; in a path it can.
    for path in ["%FF", "a%C3", "%ED%A0%80"] {
        let answer = json.get(&format!("/v1/locks/{path}"));
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
    }
    for broken in ["%", "%4", "%zz"] {
        let answer = json.get(&format!("/v1/locks/{broken}"));
        assert_eq!(answer.status, 400, "{broken}: {}", answer.text());
    }
    // Texts that are far too long are refused, and not kept.
    let megabyte = AcquireRequest {
        holder: "x".repeat(1 << 20),
        ..acquire(["free"])
    };
    let status = api.ask_for_status(Ask::Acquire(megabyte.clone()));
    let code = status.expect_err("it is too long").code();
    assert_eq!(code, tonic::Code::ResourceExhausted);
    let answer = json.send_ask(&Ask::Acquire(megabyte));
    assert_eq!(answer.status, 413, "{}", answer.text());

    assert!(api.list("free", 10).is_empty());
    api.renew(&held.id, None).expect("nothing has touched it");
    stream.beat().expect("the stream goes on");
}

/// Names of one acquire: as many as it may have.
const NAMES: usize = 64;

fn l27_very_many_names_are_held_listed_and_given_back(storage: Storage) {
    // A million names, or a tenth of that.
    let grants: usize = if is_long() { 15_625 } else { 1_600 };
    let limit = |count: usize| i64::try_from(count).expect("it is small");
    let node = Node::builder()
        .storage(storage)
        .set("locks.locks_per_principal", limit(grants * NAMES + 1))
        .set("locks.grants_per_session", limit(grants))
        .start();
    let api = LockApi::of(&node);
    // Both outlast the test on any machine; nobody renews and nobody beats.
    let other = api.grant(AcquireRequest {
        lease: millis(3_600_000),
        ..acquire(["others"])
    });
    let session = api.session(OpenSession {
        ttl: millis(3_600_000),
        ..OpenSession::default()
    });
    let (stream, _) = session.expect("a session is opened");
    let name = |grant: usize, at: usize| format!("many/{:06}", grant * NAMES + at);
    let start = Instant::now();
    // As many in flight as there are: the stream is not read further than the
    // node likes.
    let asked: Vec<_> = (0..grants)
        .map(|grant| {
            let names = (0..NAMES).map(|at| name(grant, at));
            stream.send(Operation::Acquire(acquire(names)))
        })
        .collect();
    for pending in asked {
        pending.answer().expect("they are free");
    }
    let held = start.elapsed();
    let listed = api.list("many/", 1_000);
    assert_eq!(listed.len(), grants * NAMES);
    let names = listed.iter().map(|it| it.name.as_str());
    assert!(
        names.eq((0..grants * NAMES).map(|at| name(0, at))),
        "in order"
    );
    let listed = start.elapsed();
    stream.close();
    let given_back = start.elapsed();
    assert!(api.list("many/", 1_000).is_empty());
    api.renew(&other.id, None).expect("nothing has touched it");
    report(format_args!(
        "{storage:?}: {} names were held in {held:?}, listed in {:?}, given back in {:?}",
        grants * NAMES,
        listed - held,
        given_back - listed,
    ));
}
