//! What an instance keeps from one request to the next, and what it does not.

use super::*;

const COUNTS: &str = "(call $answer (local.get $out) (global.get $count))";

#[tokio::test]
async fn an_instance_serves_as_many_requests_as_the_manifest_says() {
    let bench = Bench::new();
    for (reuse, served) in [
        (Reuse::Never, [1, 1, 1, 1]),
        (Reuse::Requests(2), [1, 2, 1, 2]),
        (Reuse::Requests(1_000), [1, 2, 3, 4]),
    ] {
        let component = bench.load_with(COUNTS, |spec| spec.reuse = reuse);
        for count in served {
            assert_eq!(bench.body(&component).await, [count], "{reuse:?}");
        }
    }
}

#[tokio::test]
async fn an_instance_that_leaves_more_open_than_after_its_first_request_is_replaced() {
    let bench = Bench::new();
    // It keeps the fields it made, from its second request on.
    let component = bench.load(
        "(drop (call $fields))
         (if (i32.eq (global.get $count) (i32.const 1)) (then (call $drop-fields (call $fields))))
         (call $answer (local.get $out) (global.get $count))",
    );
    assert_eq!(bench.body(&component).await, [1]);
    assert_eq!(bench.body(&component).await, [2]);
    assert_eq!(bench.body(&component).await, [1]);
}

#[tokio::test]
async fn an_instance_that_forgot_a_body_is_replaced_even_after_its_first_request() {
    let bench = Bench::new();
    let forgets = "(local.set $a (call $response (call $fields)))
        (call $response-body (local.get $a) (i32.const 0))";
    let component = bench.load(&format!("{forgets} {COUNTS}"));
    assert_eq!(bench.body(&component).await, [1]);
    assert_eq!(bench.body(&component).await, [1]);
}

#[tokio::test]
async fn a_place_for_a_response_that_was_kept_cannot_answer_the_next_request() {
    let bench = Bench::new();
    let component = bench.load(
        "(if (i32.eq (global.get $count) (i32.const 1))
           (then (global.set $kept (local.get $out)))
           (else (call $answer (global.get $kept) (global.get $count))))",
    );
    for _ in 0..2 {
        assert!(matches!(
            bench.failure(&component).await,
            Failure::NoResponse(_)
        ));
        assert_eq!(component.pool().idle(), 0);
    }
}

#[tokio::test]
async fn an_idle_instance_holds_nothing_of_its_last_request() {
    let bench = Bench::new();
    let component = bench.load(COUNTS);
    let transaction = bench.transaction();
    let context = bench.context(transaction.scope(), LONG);
    let answer = component.answer(get("/"), context, Admission::Queue).await;
    answer.unwrap().body.collect(MUCH).await.unwrap();
    assert_eq!(component.pool().idle(), 1);
    assert_eq!(Arc::strong_count(&transaction), 1);
    assert_eq!(Arc::strong_count(&bench.calls), 1);
}

#[tokio::test]
async fn a_guard_that_was_kept_is_dead_in_the_next_request() {
    let bench = Bench::new();
    // It answers five bytes: how acquiring went, then of the guard the length
    // of the first name, whether there is a token, whether there is time left,
    // and how renewing went and why not.
    let component = bench.load(
        "(if (i32.eq (global.get $count) (i32.const 1)) (then
           (i32.store8 (i32.const 256) (call $acquire-thing))
           (global.set $kept (i32.load offset=4 (i32.const 0)))))
         (call $guard-names (global.get $kept) (i32.const 0))
         (i32.store8 (i32.const 257) (i32.load offset=4 (i32.load (i32.const 0))))
         (i32.store8 (i32.const 258) (i64.ne (i64.const 0)
           (call $guard-token (global.get $kept) (i32.const 512) (i32.const 7))))
         (i32.store8 (i32.const 259) (i64.ne (i64.const 0)
           (call $guard-remaining (global.get $kept))))
         (call $guard-renew (global.get $kept) (i64.const 60000000000) (i32.const 0))
         (i32.store8 (i32.const 260) (i32.load8_u (i32.const 0)))
         (i32.store8 (i32.const 261) (i32.load8_u offset=4 (i32.const 0)))
         (call $start (local.get $out))
         (call $write (i32.const 256) (i32.const 6))
         (call $finish)",
    );
    let alive = bench.body(&component).await;
    assert_eq!(alive[..5], [0, 7, 1, 1, 0]);
    // `closed` is the 11th error.
    let dead = bench.body(&component).await;
    assert_eq!(dead[1..], [7, 0, 0, 1, 10]);
}

#[tokio::test]
async fn a_guard_that_was_kept_cannot_be_released_in_the_next_request() {
    let bench = Bench::new();
    let component = bench.load(
        "(if (i32.eq (global.get $count) (i32.const 1))
           (then
             (drop (call $acquire-thing))
             (global.set $kept (i32.load offset=4 (i32.const 0)))
             (call $answer (local.get $out) (i32.const 0)))
           (else
             (call $guard-release (global.get $kept) (i32.const 0))
             (call $answer (local.get $out) (i32.load8_u offset=4 (i32.const 0)))))",
    );
    assert_eq!(bench.body(&component).await, [0]);
    assert_eq!(bench.body(&component).await, [10]);
}

#[tokio::test]
async fn a_guard_that_was_kept_does_not_hold_the_lock() {
    let bench = Bench::new();
    let component = bench.load("(call $answer (local.get $out) (call $acquire-thing))");
    // Each request has a transaction of its own; none meets the other's lock.
    for _ in 0..3 {
        assert_eq!(bench.body(&component).await, [0]);
    }
}

#[tokio::test]
async fn idle_instances_make_room_for_another_component() {
    let bench = Bench::with_instances(1);
    let one = bench.load(COUNTS);
    let other = bench.load(COUNTS);
    assert_eq!(bench.body(&one).await, [1]);
    assert_eq!(bench.body(&one).await, [2]);
    assert_eq!(bench.body(&other).await, [1]);
    assert_eq!(bench.body(&one).await, [1]);
}

#[tokio::test]
async fn idle_instances_are_swept_out() {
    let bench = Bench::new();
    let component = bench.load(COUNTS);
    assert_eq!(bench.body(&component).await, [1]);
    component.pool().sweep();
    assert_eq!(component.pool().idle(), 1);
    component.pool().sweep();
    assert_eq!(component.pool().idle(), 0);
    assert_eq!(bench.body(&component).await, [1]);
}
