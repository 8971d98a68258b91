//! Holders that lose their locks, by an operator's hand or by their own
//! slowness, and strangers that would like to have them.

use crate::harness::{
    Answer, IsRefused, JsonApi, LockApi, Node, Speaks, Storage, acquire, acquire_waiting,
    brief_grant, eventually, millis, secret_of,
};
use lockport_proto::lock::release_response::Outcome;
use lockport_proto::lock::{HolderKind, OpenSession};
use std::thread;

on_every_store! {
    l2_a_guest_whose_lock_was_forced_away_is_fenced_and_the_other_s_value_stands,
    l2_a_guest_whose_lease_ran_out_is_fenced_and_the_other_s_value_stands,
    l2_a_native_holder_that_was_overtaken_hears_that_it_lost,
    l9_strangers_are_refused_and_nothing_is_changed,
    l9_strangers_cannot_attach_a_session,
}

fn l2_a_guest_whose_lock_was_forced_away_is_fenced_and_the_other_s_value_stands(storage: Storage) {
    overtake(storage, "acquire item/a", |api, _| {
        let lock = api.look("item/a");
        assert_eq!(lock.holders[0].kind(), HolderKind::Transaction, "{lock:?}");
        assert_eq!(lock.holders[0].principal, "node", "{lock:?}");
        let taken = api.force_release("item/a").expect("it may").taken;
        assert_eq!(taken.len(), 1, "{taken:?}");
        assert_eq!(taken[0].names, ["item/a"]);
        assert_eq!(taken[0].fencing_token, lock.last_fencing_token);
        let again = api.force_release("item/a").expect("it may").taken;
        assert!(again.is_empty(), "nobody holds it any more: {again:?}");
    });
}

fn l2_a_guest_whose_lease_ran_out_is_fenced_and_the_other_s_value_stands(storage: Storage) {
    overtake(storage, "acquire item/a lease=200", |api, _| {
        // One that waits gets it as soon as the lease is over.
        let grant = api.grant(acquire_waiting(["item/a"]));
        api.release(&grant.id).expect("it is held");
    });
}

/// Has a guest hold `item/a` by `hold` and wait; has `take` take the lock from
/// it; has another write; and lets the first go on and write.
#[track_caller]
fn overtake(storage: Storage, hold: &str, take: impl FnOnce(&LockApi, &Node)) {
    let node = Node::builder().guest("probe").storage(storage).start();
    let api = LockApi::of(&node);
    let write = |value: &str| {
        let put = format!("put items a {value}");
        node.run("probe", ["acquire item/a", &put]).expect(200)
    };
    write("old");
    let gate = api.grant(acquire(["item/gate"]));
    let stale: Answer = thread::scope(|scope| {
        let stale = scope.spawn(|| {
            let steps = [
                hold,
                "put notes side 1",
                "log holds it",
                "acquire item/gate wait=9000",
                "put items a stale",
            ];
            node.run("probe", steps)
        });
        node.logs().wait_for("holds it");
        take(&api, &node);
        let overtaken = write("new");
        assert!(overtaken.number("acquire") > 0);
        api.release(&gate.id).expect("it is held");
        stale.join().expect("it is answered")
    });
    let stale = stale.expect_problem(409, "FENCED");
    assert!(stale.text().contains("item/a"), "{}", stale.text());
    assert_eq!(node.value("items", "a").as_deref(), Some("new"));
    assert_eq!(node.value("notes", "side"), None, "half of it was written");
}

fn l2_a_native_holder_that_was_overtaken_hears_that_it_lost(storage: Storage) {
    let node = Node::builder().guest("probe").storage(storage).start();
    let api = LockApi::of(&node);
    let json = JsonApi::of(&node);
    let write = |value: &str| {
        let put = format!("put items a {value}");
        let steps = ["acquire item/a wait=9000", &put];
        node.run("probe", steps).expect(200).number("acquire")
    };

    // By slowness.
    let slow = brief_grant(&api, "item/a", 200);
    assert!(write("first") > slow.fencing_token);
    // By force, as a caller and as a session.
    let forced = api.grant(acquire(["item/a", "item/b"]));
    api.force_release("item/b").expect("it may");
    assert!(write("second") > forced.fencing_token);
    let session = api.session(OpenSession::default());
    let (stream, _) = session.expect("a session is opened");
    let hung = stream.grant(acquire(["item/a"]));
    api.force_release("item/a").expect("it may");
    assert!(write("third") > hung.fencing_token);

    for (by, grant) in [
        (&api as &dyn Speaks, &slow),
        (&json, &forced),
        (&stream, &hung),
    ] {
        for _ in 0..2 {
            let lost = by.renew(&grant.id, millis(1_000)).expect_err("it is lost");
            assert_eq!(lost.reason, "LOST", "{lost:?}");
        }
        let outcome = by.release(&grant.id).expect("it may say so");
        assert_eq!(outcome, Outcome::Already);
    }
    // A session is told without asking.
    let lost = eventually("the session is told", || {
        let lost = stream.lost();
        (!lost.is_empty()).then_some(lost)
    });
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(lost[0].fencing_token, hung.fencing_token);
    assert_eq!(lost[0].names, ["item/a"]);
    assert_eq!(node.value("items", "a").as_deref(), Some("third"));
    stream.close();
}

fn l9_strangers_are_refused_and_nothing_is_changed(storage: Storage) {
    let node = Node::builder()
        .storage(storage)
        .token("alice", false, &["**"])
        .token("bob", false, &["**"])
        .start();
    let of = |principal| LockApi::of(&node).with_token(&secret_of(principal));
    let (alice, bob) = (of("alice"), of("bob"));
    let json = JsonApi::of(&node).with_token(&secret_of("bob"));
    let held = alice.grant(acquire(["a"]));
    let other = alice.grant(acquire(["b"]));
    let session = alice.session(OpenSession::default());
    let (stream, opened) = session.expect("a session is opened");
    stream.grant(acquire(["c"]));
    let before = (alice.look("a"), alice.look("b"), alice.look("c"));

    for by in [&bob as &dyn Speaks, &json] {
        // A grant that is real, and somebody else's.
        let refused = by.renew(&held.id, millis(60_000)).expect_refused();
        assert_eq!(refused.reason, "NOT_HOLDER");
        assert_eq!(by.release(&held.id).expect_refused().reason, "NOT_HOLDER");
        assert_eq!(
            by.force_release("a").expect_refused().reason,
            "ACCESS_DENIED"
        );
        // Grants that were never given: by anybody's guess.
        let guessed = (0..held.id.len()).map(|at| with_digit_changed(&held.id, at));
        let tokens = [
            held.fencing_token - 1,
            held.fencing_token,
            held.fencing_token + 1,
            other.fencing_token,
            (1 << 53) + 1,
        ];
        let odd = [
            opened.session.clone(),
            held.id.to_uppercase(),
            "0".repeat(48),
        ];
        let numbers = tokens.iter().map(u64::to_string);
        for stranger in guessed.chain(numbers).chain(odd) {
            if stranger == held.id {
                continue;
            }
            let refused = by.renew(&stranger, millis(60_000)).expect_refused();
            assert_eq!(refused.reason, "UNKNOWN_GRANT", "{stranger}");
            let refused = by.release(&stranger).expect_refused();
            assert_eq!(refused.reason, "UNKNOWN_GRANT", "{stranger}");
        }
        // Another's request id stands for nothing of theirs.
        by.cancel("a").expect("it is their own");
    }
    stream.beat().expect("it is still alice's");
    for (before, name) in [(&before.0, "a"), (&before.1, "b"), (&before.2, "c")] {
        let now = alice.look(name);
        assert_eq!(now.holder_count, 1, "{now:?}");
        let (now, before) = (&now.holders[0], &before.holders[0]);
        assert_eq!(now.fencing_token, before.fencing_token);
        if name != "c" {
            // Nobody has made it last longer.
            let left = |it: &lockport_proto::lock::Holder| crate::harness::duration(it.remaining);
            assert!(left(now) <= left(before), "{now:?} {before:?}");
        }
    }
    assert_eq!(alice.release(&held.id), Ok(Outcome::Released));
    stream.close();
}

fn l9_strangers_cannot_attach_a_session(storage: Storage) {
    let node = Node::builder()
        .storage(storage)
        .token("alice", false, &["**"])
        .token("bob", false, &["**"])
        .start();
    let of = |principal| LockApi::of(&node).with_token(&secret_of(principal));
    let (alice, bob) = (of("alice"), of("bob"));
    let session = alice.session(OpenSession::default());
    let (stream, opened) = session.expect("a session is opened");
    let held = stream.grant(acquire(["a"]));
    // Another's session cannot be attached, nor one that never was.
    for (secret, reason) in [
        (&opened.session, "NOT_HOLDER"),
        (&with_digit_changed(&opened.session, 0), "UNKNOWN_SESSION"),
        (&held.id, "UNKNOWN_SESSION"),
    ] {
        let attach = OpenSession {
            session: secret.clone(),
            ..OpenSession::default()
        };
        let refused = bob.session(attach).map(|_| ()).expect_refused();
        assert_eq!(refused.reason, reason);
    }
    stream.beat().expect("it is still alice's");
    assert_eq!(stream.release(&held.id), Ok(Outcome::Released));
    stream.close();
}

fn with_digit_changed(text: &str, at: usize) -> String {
    let digit = match &text[at..=at] {
        "0" => "1",
        _ => "0",
    };
    format!("{}{digit}{}", &text[..at], &text[at + 1..])
}
