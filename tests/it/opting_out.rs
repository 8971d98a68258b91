//! Calls that have nothing to do with their caller's transaction:
//! `Lockport-Transaction: none`.

use crate::harness::{HeldLock, Node, Storage, guest_dir, steps};

on_every_store! {
    what_a_call_did_that_opted_out_stays_whatever_becomes_of_its_caller,
    a_call_that_opts_out_sees_and_holds_nothing_of_its_caller_s,
    a_call_that_opts_out_and_answers_an_error_leaves_nothing,
    a_call_that_opts_out_and_waits_for_its_caller_s_lock_is_told_at_once,
    a_circle_through_a_call_that_opted_out_is_found,
}

/// What comes before a call that opts out.
const OUT: &str = "with lockport-transaction none";

fn probe(storage: Storage) -> Node {
    Node::builder().patient_probe().storage(storage).start()
}

fn what_a_call_did_that_opted_out_stays_whatever_becomes_of_its_caller(storage: Storage) {
    let node = probe(storage);
    for (at, end) in ["status 409", "trap", "status 200"].iter().enumerate() {
        let call = format!("call POST probe /probe put notes its-{at} 1");
        let list = [&format!("put notes mine-{at} 1"), OUT, &call, end];
        let answer = node.run("probe", list);
        if *end != "trap" {
            assert_eq!(answer.step("call").trim_end(), "200 put: ok");
        }
        assert_eq!(
            node.value("notes", &format!("its-{at}")).as_deref(),
            Some("1")
        );
        let mine = node.value("notes", &format!("mine-{at}"));
        assert_eq!(mine.is_some(), *end == "status 200", "{end}");
    }
}

fn a_call_that_opts_out_sees_and_holds_nothing_of_its_caller_s(storage: Storage) {
    let node = probe(storage);
    let answer = node.run(
        "probe",
        [
            "acquire item/a",
            "put notes a 1",
            OUT,
            "call POST probe /probe?do=get+notes+a;inherited;try+acquire+item/a",
            "call POST probe /probe?do=get+notes+a;inherited",
        ],
    );
    let text = answer.expect(200).text();
    assert!(
        text.contains("call: 200 get: none\ninherited: []\nacquire: error held\n"),
        "{text}"
    );
    assert!(
        text.contains("get: version 0 1\ninherited: [item/a="),
        "{text}"
    );
}

fn a_call_that_opts_out_and_answers_an_error_leaves_nothing(storage: Storage) {
    let node = probe(storage);
    for (at, end) in ["status+409", "trap"].iter().enumerate() {
        let call = format!("call POST probe /probe?do=acquire+item/b;put+notes+its-{at}+1;{end}");
        let list = ["put notes mine 1", OUT, &call, "acquire item/b"];
        let answer = node.run("probe", list).expect(200);
        let status = answer.step("call");
        assert!(
            status.starts_with("409") || status.starts_with("500"),
            "{status}"
        );
        assert_eq!(node.value("notes", &format!("its-{at}")), None);
        assert_eq!(node.value("notes", "mine").as_deref(), Some("1"));
    }
}

fn a_call_that_opts_out_and_waits_for_its_caller_s_lock_is_told_at_once(storage: Storage) {
    let node = probe(storage);
    let answer = node.run(
        "probe",
        [
            "acquire item/a",
            OUT,
            "call POST probe /probe acquire item/a wait=600000",
            OUT,
            "call GET probe /probe/queued/a",
        ],
    );
    let text = answer.expect(200).text();
    assert!(text.contains("call: 423 acquire: error deadlock"), "{text}");
    assert!(text.contains("\"reason\":\"DEADLOCK\""), "{text}");
    // The lock of a route is held by its caller, too.
    let list = format!("{OUT}\ncall POST probe /probe acquire item/a wait=600000");
    let locked = crate::harness::request("POST", "/probe/locked/a").body(list);
    let answer = node.client().send(&locked).expect(200);
    assert_eq!(
        answer.step("call").trim_end(),
        "423 acquire: error deadlock"
    );
}

fn a_circle_through_a_call_that_opted_out_is_found(storage: Storage) {
    let node = probe(storage);
    let gate = HeldLock::hold(&node, "item/gate");
    let send = |list: &[&str]| {
        let mut connection = node.connect();
        let request = steps("probe", list).to_bytes();
        connection.send(&request).expect("the node reads");
        connection
    };
    // The caller holds a, the other holds b and waits for a.
    let mut caller = send(&[
        "acquire item/a",
        "log has a",
        "acquire item/gate wait=600000",
        OUT,
        "call POST probe /probe try acquire item/b wait=600000",
    ]);
    node.logs().wait_for("has a");
    let mut other = send(&["acquire item/b", "log has b", "acquire item/a wait=600000"]);
    node.logs().wait_for("has b");
    // Whoever of them begins to wait last is told.
    gate.give_back(&node);
    let called = caller
        .answer_to("POST")
        .expect("it is answered")
        .expect(200);
    let other = other.answer_to("POST").expect("it is answered");
    let told = [called.text(), other.text()];
    let deadlocks = told.iter().filter(|it| it.contains("error deadlock"));
    assert_eq!(deadlocks.count(), 1, "{told:?}");
}

#[test]
fn a_header_that_says_anything_else_is_refused_by_reason() {
    let node = probe(Storage::Memory);
    for value in ["new", "None", "none, none", ""] {
        let with = format!("with lockport-transaction {value}");
        let call = "call POST probe /probe put notes a 1";
        let answer = node.run("probe", [&with, call]).expect(200);
        assert!(
            answer.step("call").starts_with("400 "),
            "{value}: {}",
            answer.text()
        );
        assert!(answer.text().contains("\"reason\":\"INVALID_TRANSACTION\""));
        assert_eq!(node.value("notes", "a"), None);
    }
}

#[test]
fn bodies_of_calls_that_opt_out_stream() {
    let node = probe(Storage::Memory);
    let call = "call POST probe /probe?do=head;write+2000000";
    let answer = node.run("probe", [OUT, call]).expect(200);
    let outcome = answer.step("call");
    assert!(outcome.starts_with("200 "), "{:.100}", outcome);
    assert!(answer.body.len() > 2_000_000);
}

#[test]
fn an_answer_that_is_cut_is_cut_for_its_caller() {
    let node = probe(Storage::Memory);
    for end in ["sleep+100;trap", "abandon"] {
        let call = format!("try call POST probe /probe?do=put+notes+a+1;head;write+10;{end}");
        let answer = node.run("probe", [OUT, &call]).expect(200);
        let outcome = answer.step("call");
        // One that fails before its head is out has no answer at all.
        let whole = outcome.starts_with("200 ");
        assert!(!whole, "{end}: {outcome}");
    }
}

#[test]
fn calls_that_opt_out_count_as_calls_do() {
    let node = probe(Storage::Memory);
    let nested = |depth: usize| {
        let call = "with lockport-transaction none;call POST probe /probe?do=";
        let mut steps = "about".to_owned();
        for _ in 0..depth {
            let inner = steps
                .replace('%', "%25")
                .replace(';', "%3B")
                .replace(' ', "%20");
            let inner = inner
                .replace('?', "%3F")
                .replace('&', "%26")
                .replace('=', "%3D");
            steps = format!("{call}{inner}");
        }
        steps.replace(';', "\n")
    };
    let answer = node.run("probe", nested(2).lines()).expect(200);
    assert!(answer.text().contains("about: route="), "{}", answer.text());
    let answer = node.run("probe", nested(9).lines()).expect(200);
    assert!(
        answer.text().contains("\"reason\":\"LOOP\""),
        "{}",
        answer.text()
    );
}

// T12.
#[test]
fn a_call_that_opts_out_gets_through_to_a_component_whose_instances_all_wait() {
    let node = Node::builder()
        .changed(&guest_dir("probe"), |manifest| {
            manifest["limits"]["deadline"] = "1h".into();
            let limits = manifest["limits"].as_table_mut().expect("it is a table");
            limits.insert("instances".to_owned(), 1.into());
        })
        .changed(&guest_dir("holder"), |manifest| {
            let grants = "locks = [\"item/*\"]\ncalls = [\"probe\"]";
            manifest["grants"] = toml::Value::Table(grants.parse().expect("it is TOML"));
            manifest["limits"]["deadline"] = "1h".into();
        })
        .changed(&guest_dir("other"), |manifest| {
            let grants = "locks = [\"item/*\"]";
            let grants = toml::Value::Table(grants.parse().expect("it is TOML"));
            manifest.insert("grants".to_owned(), grants);
            manifest["limits"]["deadline"] = "1h".into();
        })
        .start();
    let send = |component: &str, list: &[&str]| {
        let mut connection = node.connect();
        let request = steps(component, list).to_bytes();
        connection.send(&request).expect("the node reads");
        connection
    };
    let gate = send(
        "other",
        &["acquire item/gate", "log has the gate", "sleep 600000"],
    );
    node.logs().wait_for("has the gate");
    let mut caller = send(
        "holder",
        &[
            "acquire item/a",
            "log has the lock",
            "acquire item/gate wait=600000",
            OUT,
            "call POST probe /probe about",
        ],
    );
    node.logs().wait_for("has the lock");
    let mut waiter = send("probe", &["log waits", "acquire item/a wait=600000"]);
    node.logs().wait_for("waits");
    drop(gate);
    let answer = caller
        .answer_to("POST")
        .expect("it is answered")
        .expect(200);
    assert!(answer.step("call").starts_with("200 "), "{}", answer.text());
    waiter
        .answer_to("POST")
        .expect("it is answered")
        .expect(200);
}
