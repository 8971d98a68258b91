//! Limits, each run into.

use super::*;

const ANSWERS: &str = "(call $answer (local.get $out) (i32.const 7))";

async fn trapped(bench: &Bench, component: &Arc<Component>, why: &str) {
    let failure = bench.failure(component).await;
    assert!(
        matches!(&failure, Failure::Trapped(text) if text.contains(why)),
        "{failure}"
    );
}

#[tokio::test]
async fn memory_beyond_the_limit_is_refused_and_the_guest_may_go_on() {
    let bench = Bench::new();
    // It has 2 pages.
    let grows = "(local.set $a (memory.grow (i32.const 1)))
        (local.set $b (memory.grow (i32.const 1)))
        (call $answer (local.get $out)
          (i32.or (i32.eq (local.get $a) (i32.const 2))
            (i32.shl (i32.eq (local.get $b) (i32.const -1)) (i32.const 1))))";
    let component = bench.load_with(grows, |spec| spec.limits.memory = 3 << 16);
    assert_eq!(bench.body(&component).await, [3]);
}

#[tokio::test]
async fn too_many_handles_are_a_trap() {
    let bench = Bench::new();
    let component = bench.load_with("(loop $again (drop (call $fields)) (br $again))", |spec| {
        spec.limits.handles = 100;
    });
    trapped(&bench, &component, "table").await;
}

#[tokio::test]
async fn the_node_has_so_many_instances_and_the_next_request_waits_for_one() {
    let bench = Bench::with_instances(1);
    let waits = bench.load("(call $wait)");
    let works = bench.load_with(ANSWERS, |spec| spec.limits.queue = 1);
    let mut waiting = Box::pin(bench.ask(&waits));
    assert!(pending(&mut waiting));
    let mut next = Box::pin(bench.body(&works));
    assert!(pending(&mut next));
    // It has its place in the queue of its component.
    assert_eq!(bench.failure(&works).await, Failure::Overloaded);
    drop(waiting);
    assert_eq!(next.await, [7]);
    assert_eq!(bench.body(&works).await, [7]);
}

#[tokio::test]
async fn who_waits_for_an_instance_of_the_node_waits_until_its_deadline() {
    let bench = Bench::with_instances(1);
    let waits = bench.load("(call $wait)");
    let works = bench.load_with(ANSWERS, |spec| spec.limits.queue = 1);
    let mut waiting = Box::pin(bench.ask(&waits));
    assert!(pending(&mut waiting));
    for _ in 0..2 {
        let soon = bench.ask_for(&works, Duration::from_millis(5));
        assert_eq!(ended(soon.await).await, Failure::Deadline);
    }
    // Those that gave up are not waited for.
    drop(waiting);
    assert_eq!(bench.body(&works).await, [7]);
    assert_eq!(works.pool().idle(), 1);
}

#[tokio::test]
async fn an_instance_that_becomes_idle_makes_room_for_those_that_wait() {
    let bench = Bench::with_instances(1);
    let pauses = bench.load("(call $pause) (call $answer (local.get $out) (i32.const 1))");
    let works = bench.load(ANSWERS);
    let mut first = Box::pin(bench.body(&pauses));
    assert!(pending(&mut first));
    let mut others = Box::pin(futures_util::future::join3(
        bench.body(&works),
        bench.body(&pauses),
        bench.body(&works),
    ));
    assert!(pending(&mut others));
    assert_eq!(first.await, [1]);
    let (one, two, three) = others.await;
    assert_eq!([one, two, three], [[7], [1], [7]]);
}

#[tokio::test]
async fn a_component_has_so_many_instances_at_work_and_so_many_requests_in_its_queue() {
    let bench = Bench::new();
    let component = bench.load_with("(call $wait)", |spec| {
        spec.limits.instances = 1;
        spec.limits.queue = 1;
    });
    let mut first = Box::pin(bench.ask(&component));
    assert!(pending(&mut first));
    let mut second = Box::pin(bench.ask(&component));
    assert!(pending(&mut second));
    assert_eq!(bench.failure(&component).await, Failure::Overloaded);
}

#[tokio::test]
async fn a_call_goes_in_beyond_its_components_limit_but_not_beyond_the_nodes() {
    let bench = Bench::with_instances(2);
    let component = bench.load_with("(call $wait)", |spec| spec.limits.instances = 1);
    let mut first = Box::pin(bench.ask(&component));
    assert!(pending(&mut first));
    let call = || {
        let context = bench.context(bench.transaction().scope(), LONG);
        Box::pin(component.answer(get("/"), context, Admission::AtOnce))
    };
    let mut second = call();
    assert!(pending(&mut second));
    assert_eq!(call().await.unwrap_err(), Failure::Overloaded);
}

#[tokio::test]
async fn what_one_call_to_the_host_may_copy_is_bounded() {
    let bench = Bench::new();
    let puts = |len: u32| {
        format!(
            "(drop (memory.grow (i32.const 100)))
             (call $answer (local.get $out) (call $put-thing (i32.const {len})))"
        )
    };
    // 2 MiB reach the transaction, which refuses them.
    assert_eq!(bench.body(&bench.load(&puts(2 << 20))).await, [1]);
    trapped(&bench, &bench.load(&puts(5 << 20)), "fuel").await;
}

#[tokio::test]
async fn what_one_write_may_print_is_bounded() {
    let bench = Bench::new();
    let writes = |len: u32| {
        format!(
            "(call $stream-write-now (call $stdout) (i32.const 4096) (i32.const {len}) (i32.const 0))
             (call $answer (local.get $out) (i32.const 7))"
        )
    };
    assert_eq!(bench.body(&bench.load(&writes(64 << 10))).await, [7]);
    trapped(&bench, &bench.load(&writes((64 << 10) + 1)), "check-write").await;
}

#[tokio::test]
async fn randomness_is_given_in_bounded_pieces() {
    let bench = Bench::new();
    let asks = |len: u32| {
        format!(
            "(drop (memory.grow (i32.const 100)))
             (call $random (i64.const {len}) (i32.const 0))
             (call $answer (local.get $out) (i32.const 7))"
        )
    };
    assert_eq!(bench.body(&bench.load(&asks(1 << 20))).await, [7]);
    trapped(
        &bench,
        &bench.load(&asks((1 << 20) + 1)),
        "exceeds limit 1048576",
    )
    .await;
}

#[tokio::test]
async fn header_fields_are_bounded() {
    let bench = Bench::new();
    // Each of them counts for some 47 bytes.
    let appends = |fields: u32| {
        format!(
            "(local.set $a (call $fields))
             (local.set $b (i32.const {fields}))
             (loop $again
               (call $fields-append (local.get $a) (i32.const 544) (i32.const 6)
                 (i32.const 512) (i32.const 7) (i32.const 0))
               (local.set $b (i32.sub (local.get $b) (i32.const 1)))
               (br_if $again (local.get $b)))
             (call $drop-fields (local.get $a))
             (call $answer (local.get $out) (i32.const 7))"
        )
    };
    assert_eq!(bench.body(&bench.load(&appends(1_000))).await, [7]);
    trapped(&bench, &bench.load(&appends(2_000)), "size").await;
}

#[tokio::test]
async fn a_guest_s_stack_is_bounded() {
    let bench = Bench::new();
    // It calls its own helper until there is no stack left.
    let component = bench.load("(call $recurse)) (func $recurse (call $recurse) (call $recurse)");
    trapped(&bench, &component, "call stack exhausted").await;
}
