//! How a request ends, and that its end harms nobody else.

use super::*;

/// How often a call is tried that may be interrupted: ticks of the engine's
/// clock are 10 ms apart, so of two calls of some microseconds one is not.
const TRIES: usize = 20;

#[tokio::test]
async fn a_small_answer_is_whole_when_its_head_is() {
    let bench = Bench::new();
    let component = bench.load("(call $answer (local.get $out) (i32.const 7))");
    let mut whole = 0;
    for _ in 0..TRIES {
        let answer = bench.ask(&component).await.unwrap();
        assert_eq!(answer.head.status, 200);
        whole += u64::from(http_body::Body::size_hint(&answer.body).exact() == Some(1));
        assert_eq!(&answer.body.collect(1).await.unwrap()[..], [7]);
    }
    assert!(whole > 0);
}

#[tokio::test]
async fn a_body_that_is_larger_than_the_pipe_is_read_to_its_end() {
    let bench = Bench::new();
    let component = bench.load("(call $start (local.get $out)) (call $write-much) (call $finish)");
    for _ in 0..2 {
        assert_eq!(bench.body(&component).await.len(), 40 * 4096);
    }
}

#[tokio::test]
async fn a_body_is_collected_up_to_a_limit() {
    let bench = Bench::new();
    let component = bench.load("(call $start (local.get $out)) (call $write-much) (call $finish)");
    let body = bench.ask(&component).await.unwrap().body;
    assert!(body.collect(40 * 4096).await.is_ok());
    let body = bench.ask(&component).await.unwrap().body;
    let error = body.collect(40 * 4096 - 1).await.unwrap_err();
    assert!(matches!(error, BodyError::TooLarge { limit } if limit == 40 * 4096 - 1));
}

#[tokio::test]
async fn a_trap_is_a_failure_and_the_next_request_is_served() {
    let bench = Bench::new();
    // Every second request of an instance would trap; there is no second.
    let component = bench.load(
        "(if (i32.eq (global.get $count) (i32.const 2)) (then unreachable))
         (call $answer (local.get $out) (global.get $count))",
    );
    assert_eq!(bench.body(&component).await, [1]);
    let failure = bench.failure(&component).await;
    assert!(
        matches!(&failure, Failure::Trapped(text) if text.contains("unreachable")),
        "{failure}"
    );
    assert_eq!(bench.body(&component).await, [1]);
}

#[tokio::test]
async fn an_exit_is_a_failure_even_with_status_0() {
    let bench = Bench::new();
    let component = bench.load("(call $exit (i32.const 0))");
    assert_eq!(
        bench.failure(&component).await,
        Failure::Trapped("it exited with status 0".to_owned())
    );
}

#[tokio::test]
async fn a_trap_right_behind_the_head_leaves_no_answer() {
    let bench = Bench::new();
    let component = bench.load("(call $start (local.get $out)) unreachable");
    let mut none = 0;
    for _ in 0..TRIES {
        match bench.ask(&component).await {
            Ok(answer) => assert!(collected(answer.body).await.is_err()),
            Err(failure) => {
                assert!(matches!(failure, Failure::Trapped(_)), "{failure}");
                none += 1;
            }
        }
    }
    assert!(none > 0);
}

#[tokio::test]
async fn a_trap_in_the_middle_of_a_body_is_never_a_clean_end() {
    let bench = Bench::new();
    // Even if the body was finished before.
    for ending in ["unreachable", "(call $finish) unreachable"] {
        let component = bench.load(&format!(
            "(call $start (local.get $out)) (call $write-much) {ending}"
        ));
        let body = bench.ask(&component).await.unwrap().body;
        let failure = broke(collected(body).await.unwrap_err());
        assert!(
            matches!(failure, Failure::Trapped(_)),
            "{ending}: {failure}"
        );
    }
}

#[tokio::test]
async fn a_body_that_is_not_finished_is_never_a_clean_end() {
    let bench = Bench::new();
    let component = bench.load("(call $start (local.get $out))");
    let why = Failure::NoResponse("it returned without finishing its body".to_owned());
    assert_eq!(bench.failure(&component).await, why);

    let component = bench.load("(call $start (local.get $out)) (call $write-much)");
    let body = bench.ask(&component).await.unwrap().body;
    let failure = broke(collected(body).await.unwrap_err());
    assert!(matches!(failure, Failure::NoResponse(_)), "{failure}");
}

#[tokio::test]
async fn a_body_that_is_dropped_unfinished_is_never_a_clean_end() {
    let bench = Bench::new();
    let component = bench.load(
        "(call $start (local.get $out)) (call $drop-stream (global.get $stream))
         (call $drop-body (global.get $body))",
    );
    assert!(matches!(
        bench.failure(&component).await,
        Failure::NoResponse(_)
    ));
    let component = bench.load(
        "(call $start (local.get $out)) (call $write-much) (call $drop-stream (global.get $stream))
         (call $drop-body (global.get $body))",
    );
    let body = bench.ask(&component).await.unwrap().body;
    let failure = broke(collected(body).await.unwrap_err());
    assert!(matches!(failure, Failure::NoResponse(_)), "{failure}");
}

#[tokio::test]
async fn a_handler_that_sets_nothing_or_an_error_gives_no_response() {
    let bench = Bench::new();
    let nothing = Failure::NoResponse("it returned without one".to_owned());
    for handler in ["", "(call $drop-out (local.get $out))"] {
        assert_eq!(bench.failure(&bench.load(handler)).await, nothing);
    }
    // `internal-error` without a text is the 39th error.
    let component = bench.load(
        "(call $out-set (local.get $out) (i32.const 1) (i32.const 38) (i32.const 0)
           (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))",
    );
    let failure = bench.failure(&component).await;
    assert!(
        matches!(&failure, Failure::NoResponse(text) if text.contains("InternalError")),
        "{failure}"
    );
}

#[tokio::test]
async fn a_handler_that_waits_ends_with_its_deadline() {
    let bench = Bench::new();
    let component = bench.load("(call $wait)");
    let outcome = bench.ask_for(&component, Duration::from_millis(20)).await;
    assert_eq!(outcome.unwrap_err(), Failure::Deadline);
}

/// On one thread: the guest has to make room for the timer and the neighbour.
#[tokio::test]
async fn a_handler_that_spins_ends_with_its_deadline_and_starves_nobody() {
    let bench = Bench::new();
    let spins = bench.load("(call $spin)");
    let works = bench.load("(call $answer (local.get $out) (i32.const 7))");
    let spinning = bench.ask_for(&spins, Duration::from_millis(300));
    tokio::pin!(spinning);
    let mut served = 0;
    loop {
        tokio::select! {
            biased;
            outcome = &mut spinning => {
                assert_eq!(outcome.unwrap_err(), Failure::Deadline);
                break;
            }
            body = bench.body(&works) => {
                assert_eq!(body, [7]);
                served += 1;
            }
        }
    }
    assert!(served > 3, "only {served} were served");
}

#[tokio::test]
async fn a_handler_that_spins_or_waits_behind_its_head_ends_with_its_deadline() {
    let bench = Bench::new();
    for forever in ["(call $spin)", "(call $wait)"] {
        let component = bench.load(&format!("(call $start (local.get $out)) {forever}"));
        let outcome = bench.ask_for(&component, Duration::from_millis(50)).await;
        assert_eq!(ended(outcome).await, Failure::Deadline, "{forever}");
    }
}

#[tokio::test]
async fn nobody_has_to_read_for_a_deadline_to_end_a_body() {
    let bench = Bench::new();
    let component = bench.load_with("(call $start (local.get $out)) (call $wait)", |spec| {
        spec.limits.instances = 1;
    });
    let unread = bench
        .ask_for(&component, Duration::from_millis(300))
        .await
        .unwrap();
    // The next one gets the instance's place once the first has ended.
    assert!(bench.ask(&component).await.is_ok());
    drop(unread);
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_any_more_gives_its_place_back() {
    let bench = Bench::new();
    let component = bench.load_with(
        "(if (i64.gt_u (call $deadline) (i64.const 60000000000)) (then (call $wait)))
         (call $answer (local.get $out) (global.get $count))",
        |spec| spec.limits.instances = 1,
    );
    let mut waiting = Box::pin(bench.ask_for(&component, 10 * LONG));
    assert!(pending(&mut waiting));
    drop(waiting);
    // In a fresh instance, without waiting for the deadline of the first.
    let answer = bench.ask(&component).await;
    assert_eq!(&answer.unwrap().body.collect(1).await.unwrap()[..], [1]);
}

#[tokio::test]
async fn a_body_that_nobody_reads_any_more_ends_its_handler() {
    let bench = Bench::new();
    let component = bench.load_with("(call $start (local.get $out)) (call $wait)", |spec| {
        spec.limits.instances = 1;
    });
    for _ in 0..3 {
        let answer = bench.ask(&component).await.unwrap();
        drop(answer.body);
    }
}

#[tokio::test]
async fn a_body_that_was_read_as_far_as_it_was_announced_lets_its_handler_return() {
    let bench = Bench::new();
    let component = bench.load(
        r#"(local.set $a (call $fields))
           (i64.store (i32.const 768) (i64.const 0x2d746e65746e6f63)) ;; content-
           (i64.store (i32.const 776) (i64.const 0x0000_6874676e656c)) ;; length
           (i64.store (i32.const 784) (i64.const 0x303438333631)) ;; 163840
           (call $fields-append (local.get $a) (i32.const 768) (i32.const 14)
             (i32.const 784) (i32.const 6) (i32.const 0))
           (local.set $b (call $response (local.get $a)))
           (call $response-body (local.get $b) (i32.const 0))
           (global.set $body (i32.load offset=4 (i32.const 0)))
           (call $body-write (global.get $body) (i32.const 0))
           (global.set $stream (i32.load offset=4 (i32.const 0)))
           (call $out-set (local.get $out) (i32.const 0) (local.get $b)
             (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
           (i32.store8 (i32.const 4096) (global.get $count))
           (call $write-much)
           (call $pause)
           (call $finish)"#,
    );
    for count in 1..=3 {
        let mut body = bench.ask(&component).await.unwrap().body;
        let mut read = 0;
        let mut first = None;
        while read < 163_840 {
            let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
            first.get_or_insert(data[0]);
            read += data.len();
        }
        drop(body);
        // The same instance, if the handler was let go on.
        assert_eq!(first, Some(count));
        until(|| component.pool().idle() == 1).await;
    }
}

#[tokio::test]
async fn a_panic_below_a_handler_ends_only_its_request() {
    struct Panics;
    impl Calls for Panics {
        fn call(
            self: Arc<Self>,
            _: http::Request<Body>,
            _: Option<Duration>,
            _: Scope,
        ) -> Pin<Box<Called>> {
            panic!("a bug of ours")
        }
    }
    let mut bench = Bench::new();
    bench.calls = Arc::new(Panics);
    let component = bench.load("(call $answer (local.get $out) (call $receive (call $send)))");
    // `internal-error`, and 1.
    assert_eq!(bench.body(&component).await, [39]);
    assert_eq!(bench.body(&component).await, [39]);
}
