//! What a handler learns of the request that it serves, and what the gateway
//! keeps from it.

use crate::harness::{Client, Node, guest_dir, request, steps};

fn probe() -> Node {
    Node::builder().guest("probe").start()
}

#[test]
fn a_handler_learns_its_route_its_parameters_and_its_request() {
    let node = probe();
    let answer = node.run("probe/locked/a%20b", ["about"]).expect(200);
    let about = answer.step("about");
    assert!(about.contains("route=/probe/locked/{name} "), "{about}");
    assert!(about.contains("params=[name=a b]"), "{about}");
    let id = answer.header("x-request-id").expect("it is there");
    assert!(about.contains(&format!("id={id} ")), "{about}");
    let deadline = answer.number_after("about", "deadline_ms=");
    assert!((1..=10_000).contains(&deadline), "{about}");
}

#[test]
fn a_parameter_is_decoded_once_and_not_twice() {
    let answer = probe().run("probe/locked/a%252Fb", ["about"]).expect(200);
    let about = answer.step("about");
    assert!(about.contains("params=[name=a%2Fb]"), "{about}");
}

#[test]
fn a_parameter_that_makes_no_lock_name_is_400() {
    let node = probe();
    // A slash would make a name of three segments, which is not granted.
    for segment in ["%00", "a%0ab", "a%2Fb", &"x".repeat(600)] {
        let answer = node.run(&format!("probe/locked/{segment}"), ["about"]);
        answer.expect_problem(400, "INVALID_LOCK_NAME");
    }
}

#[test]
fn a_call_has_its_caller_s_identity_and_no_more_time() {
    let node = probe();
    let answer = node
        .run("probe", ["about", "call POST probe /probe about"])
        .expect(200);
    let id = answer
        .header("x-request-id")
        .expect("it is there")
        .to_owned();
    let call = answer.step("call");
    assert!(call.contains(&format!("id={id} ")), "{call}");
    assert!(call.contains("route=/probe "), "{call}");
    assert!(
        answer.number_after("call", "deadline_ms=") <= answer.number_after("about", "deadline_ms="),
        "{}",
        answer.text(),
    );
}

#[test]
fn headers_that_are_the_gateway_s_do_not_reach_a_handler() {
    let node = probe();
    let names = [
        "lockport-anything",
        "lockport-transaction",
        "keep-alive",
        "te",
        "proxy-authorization",
    ];
    let list = names.map(|name| format!("incoming {name}"));
    let mut asked = steps("probe", &list);
    for name in names {
        asked = asked.header(name, "from-outside");
    }
    let answer = node.client().send(&asked).expect(200);
    assert_eq!(answer.steps("incoming"), ["[]"; 5], "{}", answer.text());

    let asked = steps("probe", ["incoming x-mine"])
        .header("x-mine", "a")
        .header("x-mine", "b");
    let answer = node.client().send(&asked).expect(200);
    assert_eq!(answer.step("incoming"), "[a,b]");
}

#[test]
fn a_guard_that_is_lent_to_a_request_is_not_passed_over() {
    let node = probe();
    let asked = steps("probe", ["put notes a 1"]).header("lockport-grant", "from-outside");
    let answer = node.client().send(&asked);
    answer.expect_problem(501, "NOT_SERVED");
    assert_eq!(
        node.value("notes", "a"),
        None,
        "nothing was done without it"
    );
}

#[test]
fn one_guard_covers_every_name_that_was_asked_for() {
    let node = probe();
    let answer = node.run(
        "probe",
        [
            "acquire item/b item/a",
            "names",
            "token item/a",
            "token item/c",
        ],
    );
    let answer = answer.expect(200);
    assert_eq!(answer.step("names"), "[item/b,item/a]");
    let tokens = answer.steps("token");
    assert_ne!(tokens[0], "0");
    assert_eq!(tokens[1], "0", "a name that it does not cover has no token");
}

#[test]
fn all_names_are_acquired_or_none() {
    let node = probe();
    let held = crate::harness::HeldLock::hold(&node, "item/b");
    let answer = node
        .run("probe", ["try acquire item/a item/b", "put notes a 1"])
        .expect(200);
    assert_eq!(answer.step("acquire"), "error held");
    assert!(node.try_lock("item/a").is_some(), "none was acquired");
    held.give_back(&node);
    node.run("probe", ["acquire item/a item/b"]).expect(200);
}

#[test]
fn names_that_are_held_already_are_not_waited_for() {
    let node = probe();
    let answer = node
        .run(
            "probe",
            ["acquire item/a", "acquire item/a item/b", "names"],
        )
        .expect(200);
    let tokens = answer.steps("acquire");
    let first = tokens[0].split(' ').nth(1);
    assert_eq!(
        first,
        tokens[1].split(' ').nth(1),
        "the same grant: {tokens:?}"
    );
}

#[test]
fn a_handler_that_computes_for_a_while_is_served_beside_others() {
    let node = probe();
    let mut busy = node.connect();
    let list = ["acquire item/busy wait=5000", "spin-for 1500"];
    busy.send(&steps("probe", list).to_bytes())
        .expect("the node reads");
    node.wait_until_held("item/busy");
    for _ in 0..20 {
        node.run("probe", ["get notes a"]).expect(200);
    }
    busy.answer_to("POST").expect("it is answered").expect(200);
}

#[test]
fn more_requests_than_instances_wait_for_one() {
    let node = Node::builder()
        .changed(&guest_dir("probe"), |manifest| {
            limit(manifest, "instances", 1);
        })
        .start();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let mut client: Client = node.client();
                scope.spawn(move || client.send(&steps("probe", ["sleep 50"])).expect(200))
            })
            .collect();
        for client in clients {
            client.join().expect("everyone is served");
        }
    });
}

#[test]
fn more_requests_than_may_wait_are_503_with_retry_after() {
    let node = Node::builder()
        .changed(&guest_dir("probe"), |manifest| {
            limit(manifest, "instances", 1);
            limit(manifest, "queue", 0);
        })
        .guest("tight")
        .start();
    let mut busy = node.connect();
    busy.send(&steps("probe", ["log at work", "sleep 9000"]).to_bytes())
        .expect("the node reads");
    node.logs().wait_for("at work");
    let answer = node
        .run("probe", ["get notes a"])
        .expect_problem(503, "OVERLOADED");
    assert!(answer.header("retry-after").is_some());
    // Another component is not overloaded.
    node.run("tight", ["about"]).expect(200);
}

#[test]
fn a_call_never_waits_for_an_instance_that_its_caller_holds() {
    let node = Node::builder()
        .changed(&guest_dir("probe"), |manifest| {
            limit(manifest, "instances", 1);
        })
        .start();
    let answer = node.run("probe", ["call POST probe /probe put notes a 1"]);
    assert_eq!(answer.expect(200).step("call"), "200 put: ok");
}

#[test]
fn a_call_without_a_slot_of_the_node_is_503_at_once() {
    let node = Node::builder()
        .guest("probe")
        .set("engine.instances", 1)
        .start();
    let answer = node
        .run("probe", ["call POST probe /probe about"])
        .expect(200);
    assert!(answer.step("call").starts_with("503 "), "{}", answer.text());
}

#[test]
fn a_call_gets_through_to_a_component_whose_instances_all_wait_for_its_caller() {
    let node = Node::builder()
        .changed(&guest_dir("probe"), |manifest| {
            limit(manifest, "instances", 2);
        })
        .changed(&guest_dir("holder"), |manifest| {
            let grants = "locks = [\"item/*\"]\ncalls = [\"probe\"]";
            manifest["grants"] = toml::Value::Table(grants.parse().expect("it is TOML"));
        })
        .changed(&guest_dir("other"), |manifest| {
            let grants = "locks = [\"item/*\"]";
            let grants = toml::Value::Table(grants.parse().expect("it is TOML"));
            manifest.insert("grants".to_owned(), grants);
        })
        .start();
    let send = |component: &str, list: &[&str]| {
        let mut connection = node.connect();
        connection
            .send(&steps(component, list).to_bytes())
            .expect("the node reads");
        connection
    };
    let gate = send(
        "other",
        &["acquire item/gate", "log has the gate", "sleep 9000"],
    );
    node.logs().wait_for("has the gate");
    let mut caller = send(
        "holder",
        &[
            "acquire item/a",
            "log has the lock",
            "acquire item/gate wait=9000",
            "call POST probe /probe about",
        ],
    );
    node.logs().wait_for("has the lock");
    let mut waiters = ["one waits", "two waits"].map(|log| {
        let waiter = send(
            "probe",
            &[&format!("log {log}"), "acquire item/a wait=9000"],
        );
        node.logs().wait_for(log);
        waiter
    });
    drop(gate);
    let answer = caller
        .answer_to("POST")
        .expect("it is answered")
        .expect(200);
    assert!(answer.step("call").starts_with("200 "), "{}", answer.text());
    for waiter in &mut waiters {
        waiter
            .answer_to("POST")
            .expect("it is answered")
            .expect(200);
    }
}

#[test]
fn an_answer_of_a_call_that_is_too_large_is_refused() {
    let node = probe();
    let call = "call POST probe /probe?do=head;write+2000000";
    let answer = node
        .run("probe", [&format!("try {call}"), "put notes a 1"])
        .expect(200);
    let outcome = answer.step("call");
    assert!(
        outcome.starts_with("500 ") || outcome.starts_with("502 ") || outcome.starts_with("error "),
        "{}",
        &outcome[..outcome.len().min(200)],
    );
}

#[test]
fn a_large_answer_streams_to_its_end() {
    let node = probe();
    let answer = node
        .client()
        .send(&steps("probe", ["head", "write 20000000"]))
        .expect(200);
    assert!(answer.body.len() >= 20_000_000, "{}", answer.body.len());
    assert_eq!(answer.end, crate::harness::BodyEnd::Clean);
    // The connection is still good for another request.
    let mut client = node.client();
    client
        .send(&steps("probe", ["head", "write 100000"]))
        .expect(200);
    client.send(&request("GET", "/nowhere")).expect(404);
}

fn limit(manifest: &mut toml::Table, key: &str, value: i64) {
    let limits = manifest["limits"].as_table_mut().expect("it has limits");
    limits.insert(key.to_owned(), value.into());
}
