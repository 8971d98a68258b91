//! Watching locks: everything in order, from where the watcher left off, and an
//! honest gap where that cannot be.

use crate::harness::{
    IsRefused, JsonApi, LockApi, Node, Speaks, Storage, acquire, acquire_waiting, eventually,
    millis,
};
use lockport_proto::lock::event::Kind;
use lockport_proto::lock::watch_response::Item;
use lockport_proto::lock::{AcquireRequest, Event, OpenSession, WatchRequest};
use std::thread;

on_every_store! {
    a_watch_tells_everything_in_order_and_only_what_it_was_asked_for,
    a_watch_resumes_behind_the_revision_it_names,
    server_sent_events_resume_behind_the_last_event_id,
    a_watcher_that_is_behind_by_more_than_is_remembered_is_told_of_a_gap,
    a_watcher_that_reads_too_slowly_is_told_of_a_gap_and_goes_on,
    a_watch_on_a_session_s_stream_tells_the_same,
}

fn a_watch_tells_everything_in_order_and_only_what_it_was_asked_for(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let api = LockApi::of(&node);
    let mut all = api.watch(of("")).expect("it may");
    let mut some = api.watch(of("a/")).expect("it may");
    live(&node, &api);
    let told = all.events_until_kind(Kind::Released, "end");
    let kinds: Vec<(Kind, &str)> = told
        .iter()
        .map(|event| (event.kind(), event.names[0].as_str()))
        .collect();
    let expected = [
        (Kind::Granted, "a/1"),
        (Kind::Queued, "a/1"),
        (Kind::Released, "a/1"),
        (Kind::Granted, "a/1"),
        (Kind::Forced, "a/1"),
        (Kind::Granted, "b"),
        (Kind::Queued, "b"),
        (Kind::Left, "b"),
        (Kind::Released, "b"),
        (Kind::Granted, "a/2"),
        (Kind::Expired, "a/2"),
        (Kind::Granted, "end"),
        (Kind::Released, "end"),
    ];
    assert_eq!(kinds, expected, "{told:#?}");
    assert!(told.is_sorted_by(|one, next| one.revision < next.revision));
    assert!(told[0].revision > all.began);
    let granted = told.iter().filter(|event| event.kind() == Kind::Granted);
    assert!(granted.is_sorted_by_key(|event| event.fencing_token));
    assert_eq!(told[0].holder, "first");
    assert!(told.iter().all(|event| event.event_time.is_some()));
    // Two that watch see the same.
    let expected: Vec<&Event> = told
        .iter()
        .filter(|it| it.names[0].starts_with("a/"))
        .collect();
    for event in expected {
        assert_eq!(some.next_event(), *event);
    }
}

/// One of everything that can happen while the node runs; ends with a grant of
/// `end`, which is released.
fn live(node: &Node, api: &LockApi) {
    let first = api.grant(AcquireRequest {
        holder: "first".to_owned(),
        ..acquire(["a/1", "a/10"])
    });
    thread::scope(|scope| {
        let second = scope.spawn(|| api.grant(acquire_waiting(["a/1"])));
        api.wait_until_waiting("a/1", 1);
        api.release(&first.id).expect("it is held");
        second.join().expect("it is granted");
    });
    api.force_release("a/1").expect("it may");
    let b = api.grant(acquire(["b"]));
    let timed_out = JsonApi::of(node).acquire(AcquireRequest {
        wait: millis(20),
        ..acquire(["b"])
    });
    assert_eq!(timed_out.expect_refused().reason, "TIMED_OUT");
    api.release(&b.id).expect("it is held");
    // It may be over before it is told of: the events are the same.
    drop(api.acquire(AcquireRequest {
        lease: millis(100),
        ..acquire(["a/2"])
    }));
    api.wait_until_idle("a/2");
    pass(api, "end");
}

/// Takes a lock and gives it back: two events.
#[track_caller]
fn pass(api: &LockApi, name: &str) {
    let grant = api.grant(acquire([name]));
    api.release(&grant.id).expect("it is held");
}

fn a_watch_resumes_behind_the_revision_it_names(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let api = LockApi::of(&node);
    let mut first = api.watch(of("")).expect("it may");
    for round in 0..10 {
        pass(&api, &format!("a/{round}"));
    }
    let mut told = first.events_until_kind(Kind::Released, "a/9");
    for at in [0, 1, 7, told.len() - 1] {
        let mut again = LockApi::of(&node)
            .watch(WatchRequest {
                prefix: "a/".to_owned(),
                from_revision: told[at].revision,
            })
            .expect("it may");
        // What has happened, and then what happens.
        let name = format!("a/now/{at}");
        pass(&api, &name);
        told.extend(first.events_until_kind(Kind::Released, &name));
        for event in &told[at + 1..] {
            assert_eq!(again.next_event(), *event);
        }
    }
    // Where a watch began is where another may resume, and misses nothing.
    let began = api.watch(of("")).expect("it may").began;
    pass(&api, "late");
    let mut again = api
        .watch(WatchRequest {
            from_revision: began,
            ..of("")
        })
        .expect("it may");
    assert_eq!(again.next_event().names, ["late"]);
}

fn server_sent_events_resume_behind_the_last_event_id(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let (api, json) = (LockApi::of(&node), JsonApi::of(&node));
    let mut events = json.watch("/v1/locks:watch?prefix=a%2F", None);
    let progress = events.next_any();
    assert_eq!(progress.event, "progress", "{progress:?}");
    for round in 0..4 {
        pass(&api, &format!("a/{round}"));
        pass(&api, "another");
    }
    let told: Vec<_> = (0..8).map(|_| events.next_event()).collect();
    for (at, event) in told.iter().enumerate() {
        let inner = &event.data["event"];
        let kind = ["granted", "released"][at % 2];
        assert_eq!(event.event, kind, "{event:?}");
        assert_eq!(inner["kind"], format!("KIND_{}", kind.to_uppercase()));
        assert_eq!(inner["revision"], event.id.to_string());
        assert_eq!(inner["names"][0], format!("a/{}", at / 2));
    }
    drop(events);
    let target = "/v1/locks:watch?prefix=a%2F";
    let mut again = json.watch(target, Some(told[2].id));
    let query = format!("{target}&fromRevision={}", told[2].id);
    let mut by_query = json.watch(&query, None);
    for event in &told[3..] {
        assert_eq!(again.next_event(), *event);
        assert_eq!(by_query.next_event(), *event);
    }
}

fn a_watcher_that_is_behind_by_more_than_is_remembered_is_told_of_a_gap(storage: Storage) {
    let builder = Node::builder().storage(storage).set("locks.events", 8);
    let node = builder.start();
    let (api, json) = (LockApi::of(&node), JsonApi::of(&node));
    let began = api.watch(of("")).expect("it may").began;
    for round in 0..10 {
        pass(&api, &format!("a/{round}"));
    }
    let from = |revision| WatchRequest {
        from_revision: revision,
        ..of("")
    };
    let assert_gap = |api: &LockApi, revision| {
        let mut late = api.watch(from(revision)).expect("it may");
        let gap = loop {
            match late.next_item().expect("the watch goes on") {
                Item::Gap(gap) => break gap,
                Item::Progress(_) => {}
                Item::Event(event) => panic!("{event:?} instead of a gap"),
            }
        };
        assert!(gap.revision > revision);
        (late, gap.revision)
    };
    let (mut late, gap) = assert_gap(&api, began);
    let next = late.next_event();
    assert!(next.revision > gap, "{next:?} behind {gap}");
    let mut events = json.watch("/v1/locks:watch", Some(began));
    assert_eq!(events.next_event().event, "gap");
    if storage == Storage::Memory {
        return;
    }
    let last = late.events_until_kind(Kind::Released, "a/9");
    let last = last.last().expect("there is one").revision;
    node.kill();
    let node = builder.start();
    let api = LockApi::of(&node);
    let (mut late, last) = match storage {
        // The server remembers what happened, whichever node is told of it.
        Storage::Redis => (api.watch(from(last)).expect("it may"), last),
        // After a restart, what happened before it is not remembered.
        _ => {
            let (late, gap) = assert_gap(&api, last);
            assert!(gap > last, "revisions rise over restarts");
            (late, gap)
        }
    };
    pass(&api, "after");
    let next = late.next_event();
    assert_eq!(next.names, ["after"]);
    assert!(next.revision > last, "revisions rise over restarts");
}

fn a_watcher_that_reads_too_slowly_is_told_of_a_gap_and_goes_on(storage: Storage) {
    let node = Node::builder()
        .storage(storage)
        .set("locks.events", 16)
        .start();
    let api = LockApi::of(&node);
    let slow = LockApi::of(&node);
    let mut watching = slow.watch(of("")).expect("it may");
    // Long names, so that what the connection holds for it is soon full.
    let (stream, _) = api.session(OpenSession::default()).expect("it may");
    let mut passed = 0;
    let gap = eventually("the watcher is too far behind", || {
        for _ in 0..200 {
            let names = (0..16).map(|at| format!("{passed:04}/{at:02}/{}", "x".repeat(490)));
            let grant = stream.grant(acquire(names));
            stream.release(&grant.id).expect("it is held");
            passed += 1;
        }
        let mut last = watching.began;
        // Nothing is left out but where it says so.
        for _ in 0..100 {
            match watching.next_item().expect("the watch goes on") {
                Item::Event(event) => {
                    assert!(event.revision > last);
                    last = event.revision;
                }
                Item::Gap(gap) => {
                    assert!(gap.revision > last);
                    return Some(gap.revision);
                }
                Item::Progress(_) => {}
            }
        }
        None
    });
    // From there on it is complete again.
    let next = watching.next_event();
    assert!(next.revision > gap, "{next:?} behind {gap}");
    stream.close();
}

fn a_watch_on_a_session_s_stream_tells_the_same(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let api = LockApi::of(&node);
    let (stream, _) = api.session(OpenSession::default()).expect("it may");
    let watching = stream.watch(of("a/"));
    assert!(matches!(watching.next(), Item::Progress(_)));
    let mut other = api.watch(of("a/")).expect("it may");
    let grant = stream.grant(acquire(["a/1"]));
    pass(&api, "b");
    stream.release(&grant.id).expect("it is held");
    for _ in 0..2 {
        let event = other.next_event();
        assert_eq!(watching.next_event(), event);
    }
    stream.close();
}

fn of(prefix: &str) -> WatchRequest {
    WatchRequest {
        prefix: prefix.to_owned(),
        from_revision: 0,
    }
}
