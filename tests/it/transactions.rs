//! One request, one commit: what a request changes is applied together or not
//! at all, in its own component and in those it calls.

use crate::harness::{Node, Storage};

on_every_store! {
    what_a_request_wrote_is_there_when_it_is_answered,
    a_request_reads_what_it_has_written,
    an_error_answer_takes_everything_back,
    an_error_answer_that_keeps_takes_nothing_back,
    a_handler_that_fails_leaves_nothing,
    a_call_that_succeeds_is_committed_with_its_caller,
    a_call_reads_what_its_caller_wrote_and_the_other_way_round,
    a_call_that_answers_an_error_is_rolled_back_alone,
    a_call_that_fails_is_rolled_back_alone,
    a_caller_that_fails_takes_its_calls_with_it,
    a_callee_cannot_keep_what_its_caller_discards,
}

fn probe(storage: Storage) -> Node {
    Node::builder()
        .guest("probe")
        .guest("other")
        .storage(storage)
        .start()
}

fn what_a_request_wrote_is_there_when_it_is_answered(storage: Storage) {
    let node = probe(storage);
    node.run(
        "probe",
        ["put notes a 1", "put notes b 2", "delete notes c"],
    )
    .expect(200);
    assert_eq!(node.value("notes", "a").as_deref(), Some("1"));
    assert_eq!(node.value("notes", "b").as_deref(), Some("2"));
    node.run("probe", ["delete notes a", "put notes b 3"])
        .expect(200);
    assert_eq!(node.value("notes", "a"), None);
    assert_eq!(node.value("notes", "b").as_deref(), Some("3"));
}

fn a_request_reads_what_it_has_written(storage: Storage) {
    let node = probe(storage);
    node.run("probe", ["put notes a old", "put notes c old"])
        .expect(200);
    let answer = node.run(
        "probe",
        [
            "put notes a new",
            "put notes b new",
            "delete notes c",
            "get notes a",
            "get notes c",
            "list notes 10",
            "list-back notes 1",
        ],
    );
    let answer = answer.expect(200);
    assert_eq!(answer.steps("get"), ["version 0 new", "none"]);
    assert_eq!(answer.step("list"), "[a=new,b=new]");
    assert_eq!(answer.step("list-back"), "[b=new] more");
}

fn an_error_answer_takes_everything_back(storage: Storage) {
    let node = probe(storage);
    for status in [400, 404, 409, 422, 500, 503] {
        let answer = node.run(
            "probe",
            [
                "put notes a 1",
                "put notes b 1",
                &format!("status {status}"),
            ],
        );
        assert_eq!(
            answer.status, status,
            "what the handler answers is what is sent"
        );
        assert_eq!(node.value("notes", "a"), None, "{status}");
        assert_eq!(node.value("notes", "b"), None, "{status}");
    }
    for status in [200, 201, 204, 302, 399] {
        let key = format!("s{status}");
        node.run(
            "probe",
            [format!("put notes {key} 1"), format!("status {status}")],
        );
        assert_eq!(node.value("notes", &key).as_deref(), Some("1"), "{status}");
    }
}

fn an_error_answer_that_keeps_takes_nothing_back(storage: Storage) {
    let node = probe(storage);
    node.run("probe", ["put notes a 1", "keep", "status 412"])
        .expect(412);
    assert_eq!(node.value("notes", "a").as_deref(), Some("1"));
}

fn a_handler_that_fails_leaves_nothing(storage: Storage) {
    let node = probe(storage);
    for end in ["trap", "panic on purpose", "exit 0", "return", "recurse"] {
        let answer = node.run("probe", ["put notes a 1", "keep", end]);
        answer.expect_problem(500, "HANDLER_FAILED");
        assert_eq!(node.value("notes", "a"), None, "{end}");
    }
}

fn a_call_that_succeeds_is_committed_with_its_caller(storage: Storage) {
    let node = probe(storage);
    let answer = node.run(
        "probe",
        ["put notes a 1", "call POST probe /probe put notes b 2"],
    );
    assert_eq!(answer.expect(200).step("call"), "200 put: ok");
    assert_eq!(node.value("notes", "a").as_deref(), Some("1"));
    assert_eq!(node.value("notes", "b").as_deref(), Some("2"));
}

fn a_call_reads_what_its_caller_wrote_and_the_other_way_round(storage: Storage) {
    let node = probe(storage);
    let answer = node.run(
        "probe",
        [
            "put notes a 1",
            "call POST probe /probe add notes a 10",
            "get notes a",
        ],
    );
    assert_eq!(answer.expect(200).step("get"), "version 0 11");
    assert_eq!(node.value("notes", "a").as_deref(), Some("11"));
}

fn a_call_that_answers_an_error_is_rolled_back_alone(storage: Storage) {
    let node = probe(storage);
    let answer = node.run(
        "probe",
        [
            "put notes a mine",
            "call POST probe /probe?do=put+notes+a+its;put+notes+b+its;delete+notes+c;status+409",
            "get notes a",
            "get notes b",
            "put notes d mine",
        ],
    );
    let answer = answer.expect(200);
    assert!(answer.step("call").starts_with("409 "), "{}", answer.text());
    assert_eq!(answer.steps("get"), ["version 0 mine", "none"]);
    assert_eq!(node.value("notes", "a").as_deref(), Some("mine"));
    assert_eq!(node.value("notes", "b"), None);
    assert_eq!(node.value("notes", "d").as_deref(), Some("mine"));
}

fn a_call_that_fails_is_rolled_back_alone(storage: Storage) {
    let node = probe(storage);
    for end in ["trap", "return", "head;trap", "head;abandon"] {
        let call = format!(
            "call POST probe /probe?do=put+notes+b+its;{}",
            end.replace(' ', "+")
        );
        let answer = node.run(
            "probe",
            ["put notes a mine", &format!("try {call}"), "get notes b"],
        );
        let answer = answer.expect(200);
        let outcome = answer.step("call");
        assert!(
            outcome.starts_with("500 ")
                || outcome.starts_with("502 ")
                || outcome.starts_with("error "),
            "{end}: {outcome}",
        );
        assert_eq!(answer.step("get"), "none", "{end}");
        assert_eq!(node.value("notes", "a").as_deref(), Some("mine"), "{end}");
        assert_eq!(node.value("notes", "b"), None, "{end}");
    }
}

fn a_caller_that_fails_takes_its_calls_with_it(storage: Storage) {
    let node = probe(storage);
    for end in ["status 422", "trap", "return"] {
        node.run("probe", ["call POST probe /probe put notes b 1", end]);
        assert_eq!(node.value("notes", "b"), None, "{end}");
    }
}

fn a_callee_cannot_keep_what_its_caller_discards(storage: Storage) {
    let node = probe(storage);
    let call = "call POST probe /probe?do=put+notes+b+1;keep;status+409";
    node.run("probe", ["put notes a 1", call]).expect(200);
    assert_eq!(
        node.value("notes", "b"),
        None,
        "its own error answer discards it"
    );
    assert_eq!(node.value("notes", "a").as_deref(), Some("1"));

    let call = "call POST probe /probe?do=put+notes+c+1;keep";
    node.run("probe", [call, "status 409"]).expect(409);
    assert_eq!(
        node.value("notes", "c"),
        None,
        "its caller's error answer discards it"
    );
}

#[test]
fn after_the_response_is_set_the_transaction_takes_nothing_more() {
    let node = probe(Storage::Memory);
    let answer = node.run(
        "probe",
        [
            "put notes a 1",
            "head",
            "try put notes b 1",
            "try delete notes a",
            "try acquire item/a",
            "try call POST probe /probe put notes c 1",
        ],
    );
    let answer = answer.expect(200);
    assert_eq!(answer.steps("put"), ["ok", "error closed"]);
    assert_eq!(answer.step("delete"), "error closed");
    assert_eq!(answer.step("acquire"), "error closed");
    assert!(
        answer.step("call").starts_with("error "),
        "{}",
        answer.text()
    );
    assert_eq!(node.value("notes", "a").as_deref(), Some("1"));
    assert_eq!(node.value("notes", "b"), None);
    assert_eq!(node.value("notes", "c"), None);
}

#[test]
fn calls_nest_8_deep_and_no_deeper() {
    let node = probe(Storage::Memory);
    let nested = |depth: usize| {
        let call = "call POST probe /probe ".repeat(depth);
        node.run("probe", [format!("{call}put notes deep {depth}")])
            .expect(200)
    };
    assert!(!nested(8).text().contains(": 508"), "8 are allowed");
    assert_eq!(node.value("notes", "deep").as_deref(), Some("8"));
    let answer = nested(9);
    assert!(answer.text().contains("call: 508"), "{}", answer.text());
    assert_eq!(
        node.value("notes", "deep").as_deref(),
        Some("8"),
        "the ninth did nothing"
    );
}

#[test]
fn what_belongs_to_another_component_is_denied_whether_it_exists_or_not() {
    let node = probe(Storage::Memory);
    node.run("probe", ["get items a", "put items a 1", "put notes a 1"])
        .expect(200);
    let answer = node.run(
        "other",
        [
            "try get notes a",
            "try get no-such a",
            "try put items a 2",
            "try list notes 10",
            "try acquire item/a",
            "try acquire nobody/a",
            "try call GET probe /probe",
            "try call GET no-such /",
            "try fetch GET http://127.0.0.1:9/",
        ],
    );
    let answer = answer.expect(200);
    assert_eq!(answer.steps("get"), ["error access-denied"; 2]);
    assert_eq!(answer.step("put"), "error access-denied");
    assert_eq!(answer.step("list"), "error access-denied");
    assert_eq!(answer.steps("acquire"), ["error access-denied"; 2]);
    let calls = answer.steps("call");
    assert_eq!(
        calls[0], calls[1],
        "the answer discloses which component exists"
    );
    assert!(calls[0].starts_with("error "), "{calls:?}");
    assert!(
        answer.step("fetch").starts_with("error "),
        "{}",
        answer.text()
    );
    assert_eq!(node.value("items", "a").as_deref(), Some("1"));
}

#[test]
fn collections_of_one_name_in_two_components_are_two() {
    let node = probe(Storage::Memory);
    let twin = Node::builder()
        .guest("probe")
        .changed(&crate::harness::guest_dir("other"), |manifest| {
            manifest["collections"] = toml::Value::Table("notes = {}".parse().expect("TOML"));
        })
        .start();
    drop(node);
    twin.run("probe", ["put notes a 1"]).expect(200);
    let answer = twin
        .run("other", ["get notes a", "put notes a 2"])
        .expect(200);
    assert_eq!(answer.step("get"), "none");
    assert_eq!(twin.value("notes", "a").as_deref(), Some("1"));
}

#[test]
fn what_is_too_much_for_one_transaction_is_refused_by_name() {
    let node = probe(Storage::Memory);
    let mebibyte = 1 << 20;
    let answer = node.run("probe", [format!("put-size notes a {mebibyte}")]);
    answer.expect(200);
    for (list, limit) in [
        (vec![format!("put-size notes a {}", mebibyte + 1)], "value"),
        (vec![format!("put notes {} 1", "k".repeat(401))], "key"),
        (
            (0..10)
                .map(|key| format!("put-size notes {key} {mebibyte}"))
                .collect(),
            "quota",
        ),
        (
            (0..1_001).map(|key| format!("get notes {key}")).collect(),
            "quota",
        ),
    ] {
        let answer = node.run("probe", &list).expect(422);
        let last = answer.text();
        let last = last.lines().last().unwrap_or_default();
        assert!(
            last.contains("error invalid-argument") || last.contains("error quota"),
            "{limit}: {last}",
        );
        assert!(last.contains(limit), "`{limit}` is not named: {last}");
    }
}
