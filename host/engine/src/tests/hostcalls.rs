//! What a guest is told by the host.

use super::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The places of errors in the variants of WIT.
const ACCESS_DENIED: u8 = 0;
const STATE_CLOSED: u8 = 6;
const HTTP_REQUEST_DENIED: u8 = 15;

#[tokio::test]
async fn a_lock_that_is_not_granted_is_denied_whether_held_or_not() {
    let bench = Bench::new();
    let component = bench.load(
        "(call $acquire (i32.const 600) (i32.const 1) (i64.const 0)
           (i32.const 0) (i64.const 0) (i32.const 0))
         (i32.store8 (i32.const 256) (i32.load8_u (i32.const 0)))
         (i32.store8 (i32.const 257) (i32.load8_u offset=4 (i32.const 0)))
         (call $start (local.get $out))
         (call $write (i32.const 256) (i32.const 2))
         (call $finish)",
    );
    assert_eq!(bench.body(&component).await, [1, ACCESS_DENIED]);
    let holder = bench.transaction();
    let name = lockport_store::LockName::new("other/7").unwrap();
    holder
        .acquire_for_route(vec![name], Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(bench.body(&component).await, [1, ACCESS_DENIED]);
}

#[tokio::test]
async fn a_collection_that_is_not_granted_is_denied() {
    let bench = Bench::new();
    let component = bench.load(
        "(call $get (i32.const 560) (i32.const 6) (i32.const 512) (i32.const 7) (i32.const 0))
         (i32.store8 (i32.const 256) (i32.load8_u (i32.const 0)))
         (i32.store8 (i32.const 257) (i32.load8_u offset=8 (i32.const 0)))
         (call $start (local.get $out))
         (call $write (i32.const 256) (i32.const 2))
         (call $finish)",
    );
    assert_eq!(bench.body(&component).await, [1, ACCESS_DENIED]);
}

#[tokio::test]
async fn what_was_put_can_be_committed_once_the_head_is_there() {
    let bench = Bench::new();
    let component = bench.load("(call $answer (local.get $out) (call $put-thing (i32.const 3)))");
    let transaction = bench.transaction();
    let context = bench.context(transaction.scope(), LONG);
    let answer = component.answer(get("/"), context, Admission::Queue).await;
    assert_eq!(&answer.unwrap().body.collect(1).await.unwrap()[..], [0]);
    assert!(transaction.commit().await.unwrap().is_some());
    let things = Collection::new("guest", "things", None).unwrap();
    let key = lockport_store::Key::new("thing/7").unwrap();
    let value = bench.store.get(things, key).await.unwrap().unwrap();
    assert_eq!(value.value.len(), 3);
}

#[tokio::test]
async fn nothing_can_be_staged_or_sent_once_the_response_is_set() {
    let bench = Bench::new();
    let component = bench.load(
        "(call $start (local.get $out))
         (i32.store8 (i32.const 256) (call $put-thing (i32.const 3)))
         (i32.store8 (i32.const 257) (i32.load8_u offset=4 (i32.const 0)))
         (i32.store8 (i32.const 258) (call $receive (call $send)))
         (i32.store8 (i32.const 259) (call $acquire-thing))
         (i32.store8 (i32.const 260) (i32.load8_u offset=4 (i32.const 0)))
         (call $write (i32.const 256) (i32.const 5))
         (call $finish)",
    );
    // `internal-error` is what wasi:http has for `closed`.
    assert_eq!(bench.body(&component).await, [1, STATE_CLOSED, 39, 1, 10]);
}

#[tokio::test]
async fn a_call_that_is_not_granted_is_denied() {
    let bench = Bench::new();
    let component = bench.load("(call $answer (local.get $out) (call $receive (call $send)))");
    assert_eq!(bench.body(&component).await, [HTTP_REQUEST_DENIED + 1]);
}

/// Notes what it is asked, and answers nothing until it is dropped.
#[derive(Default)]
struct Silent {
    asked: Mutex<Option<http::Uri>>,
    dropped: Arc<AtomicBool>,
}

struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Calls for Silent {
    fn call(
        self: Arc<Self>,
        request: http::Request<Body>,
        _: Option<Duration>,
        _: Scope,
    ) -> Pin<Box<Called>> {
        *self.asked.lock().unwrap() = Some(request.uri().clone());
        let dropped = Dropped(self.dropped.clone());
        Box::pin(async move {
            let _dropped = dropped;
            std::future::pending().await
        })
    }
}

#[tokio::test]
async fn a_call_ends_with_the_request_of_its_caller() {
    let mut bench = Bench::new();
    let silent = Arc::new(Silent::default());
    bench.calls = silent.clone();
    let component = bench.load("(call $answer (local.get $out) (call $receive (call $send)))");
    let mut waiting = Box::pin(bench.ask_for(&component, 10 * LONG));
    while silent.asked.lock().unwrap().is_none() {
        assert!(pending(&mut waiting));
        tokio::task::yield_now().await;
    }
    let asked = silent.asked.lock().unwrap().clone();
    assert_eq!(asked.unwrap().host(), Some("a.internal"));
    drop(waiting);
    until(|| silent.dropped.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn a_call_ends_when_the_response_of_its_caller_is_set() {
    let mut bench = Bench::new();
    let silent = Arc::new(Silent::default());
    bench.calls = silent.clone();
    // It lets the call begin, and answers without its outcome.
    let component = bench.load(
        "(local.set $a (call $send))
         (call $pause)
         (call $start (local.get $out))
         (call $wait)",
    );
    // Its deadline must not be what ends it.
    let answer = bench.ask_for(&component, 10 * LONG).await.unwrap();
    assert!(silent.asked.lock().unwrap().is_some());
    until(|| silent.dropped.load(Ordering::SeqCst)).await;
    drop(answer);
}

#[tokio::test]
async fn a_guest_knows_its_request() {
    let bench = Bench::new();
    let component = bench.load(
        "(call $route (i32.const 0))
         (local.set $a (i32.load (i32.const 0)))
         (local.set $b (i32.load offset=4 (i32.const 0)))
         (call $start (local.get $out))
         (call $write (local.get $a) (local.get $b))
         (call $finish)",
    );
    assert_eq!(bench.body(&component).await, b"/things/{id}");
}

#[tokio::test]
async fn what_a_guest_prints_is_logged_with_its_request() {
    let log = Log::begin();
    let bench = Bench::new();
    let component = bench.load(
        "(global.set $stream (call $stdout))
         (call $write (i32.const 512) (i32.const 7))
         (call $drop-stream (global.get $stream))
         (if (i32.eq (global.get $count) (i32.const 2)) (then unreachable))
         (call $answer (local.get $out) (global.get $count))",
    );
    assert_eq!(bench.body(&component).await, [1]);
    // What it printed before it trapped too.
    assert!(matches!(
        bench.failure(&component).await,
        Failure::Trapped(_)
    ));
    let printed = " INFO guest: thing/7 component=\"guest\" request_id=\"r1\" stream=\"stdout\"";
    assert_eq!(log.lines(), [printed, printed]);
}

#[tokio::test]
async fn a_guest_has_no_network_and_no_files() {
    let bench = Bench::new();
    let component = bench.load(
        "(call $create-tcp-socket (i32.const 0) (i32.const 0))
         (i32.store8 (i32.const 256) (i32.load8_u (i32.const 0)))
         (i32.store8 (i32.const 257) (i32.load8_u offset=4 (i32.const 0)))
         (call $create-udp-socket (i32.const 0) (i32.const 0))
         (i32.store8 (i32.const 258) (i32.load8_u (i32.const 0)))
         (i32.store8 (i32.const 259) (i32.load8_u offset=4 (i32.const 0)))
         (call $directories (i32.const 0))
         (i32.store8 (i32.const 260) (i32.load offset=4 (i32.const 0)))
         (call $start (local.get $out))
         (call $write (i32.const 256) (i32.const 5))
         (call $finish)",
    );
    const SOCKET_ACCESS_DENIED: u8 = 1;
    assert_eq!(
        bench.body(&component).await,
        [1, SOCKET_ACCESS_DENIED, 1, SOCKET_ACCESS_DENIED, 0]
    );
}

#[tokio::test]
async fn a_request_without_an_authority_is_served() {
    let bench = Bench::new();
    let component = bench.load("(call $answer (local.get $out) (i32.const 7))");
    for host in [None, Some(&b"\xff"[..])] {
        let mut request = get("/");
        request.headers_mut().remove("host");
        if let Some(host) = host {
            let host = http::HeaderValue::from_bytes(host).unwrap();
            request.headers_mut().insert("host", host);
        }
        let context = bench.context(bench.transaction().scope(), LONG);
        let answer = component.answer(request, context, Admission::Queue).await;
        assert!(answer.is_ok());
    }
}
