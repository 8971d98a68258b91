//! A store that cannot answer and a node that is about to end: whoever asks is
//! told so, and nothing is granted that is not kept.

use crate::harness::{
    JsonApi, LockApi, Node, Refused, Speaks, Storage, acquire, acquire_waiting, eventually,
};
use lockport_proto::lock::release_response::Outcome;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::{AcquireRequest, OpenSession};
use std::thread;
use tonic::Code;

#[test]
fn a_disk_that_refuses_is_unavailable_and_the_same_request_succeeds_when_it_does_not() {
    let builder = Node::builder().storage(Storage::Embedded).disk_can_refuse();
    let node = builder.start();
    let (api, json) = (LockApi::of(&node), JsonApi::of(&node));
    let session = api.session(OpenSession::default());
    let (stream, _) = session.expect("a session is opened");
    let held = api.grant(acquire(["held"]));

    node.limit_file_size(Some(0));
    let of = |id: &str| AcquireRequest {
        request_id: id.to_owned(),
        ..acquire([id])
    };
    let ways: [(&str, &dyn Speaks); 3] = [("gRPC", &api), ("JSON", &json), ("stream", &stream)];
    for (id, by) in ways {
        let refused = by.acquire(of(id)).expect_err("it cannot be kept");
        assert_eq!(refused.reason, "STORE_UNAVAILABLE", "{refused:?}");
        match refused.status {
            Some(status) => assert_eq!(status, 503),
            None => assert_eq!(refused.code, Some(Code::Unavailable)),
        }
    }

    node.limit_file_size(None);
    for (id, by) in ways {
        let grant = eventually("the disk is written to again", || by.acquire(of(id)).ok());
        let grant = grant.grant.expect("there is a grant");
        assert_eq!(by.release(&grant.id), Ok(Outcome::Released));
    }
    api.renew(&held.id, None).expect("it was held all the time");
    node.kill();

    // What was acknowledged, before and behind it, is what there is.
    let node = builder.start();
    let names = LockApi::of(&node).list("", 10).into_iter();
    let names: Vec<String> = names.map(|it| it.name).collect();
    assert_eq!(names, ["held"]);
}

#[test]
fn a_node_that_drains_ends_what_waits_and_begins_nothing() {
    let node = Node::builder().start();
    let (api, json) = (LockApi::of(&node), JsonApi::of(&node));
    api.grant(acquire(["a"]));
    let session = api.session(OpenSession::default());
    let (stream, _) = session.expect("a session is opened");
    thread::scope(|scope| {
        let waits = [
            scope.spawn(|| api.acquire(acquire_waiting(["a"]))),
            scope.spawn(|| json.acquire(acquire_waiting(["a"]))),
        ];
        let operation = Operation::Acquire(acquire_waiting(["a"]));
        drop(stream.send(operation));
        api.wait_until_waiting("a", 3);
        node.signal_term();
        for wait in waits {
            let refused = wait.join().expect("it is told").expect_err("it is held");
            assert_eq!(refused.reason, "DRAINING", "{refused:?}");
        }
        // A stream ends with all that is under way on it.
        let status = stream.wait_for_end().expect("it does not just end");
        assert_eq!(Refused::of_status(&status).reason, "DRAINING");
    });
    assert_eq!(node.terminate().code(), Some(0));
}
