//! Small guests, from text.
//!
//! A guest is a core module with the imports and helpers below around the body
//! of its handler, made into a component of the world `lockport:host/handler`.
//! Its handler has the locals `$request` and `$out`, and `$a` to `$c` to use.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The world, with what only these tests import.
const WORLD: &str = "
    package test:guest;

    world guest {
        include lockport:host/handler@0.1.0;
        import wasi:cli/exit@0.2.12;
        import wasi:filesystem/preopens@0.2.12;
        import wasi:sockets/tcp-create-socket@0.2.12;
        import wasi:sockets/udp-create-socket@0.2.12;
        import wasi:random/random@0.2.12;
    }
";

/// What is imported, with the signatures of the canonical ABI; memory, and an
/// allocator that only ever gives; helpers.
const AROUND: &str = r#"
(module
  (import "wasi:http/types@0.2.12" "[constructor]fields"
    (func $fields (result i32)))
  (import "wasi:http/types@0.2.12" "[method]fields.append"
    (func $fields-append (param i32 i32 i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.12" "[resource-drop]fields"
    (func $drop-fields (param i32)))
  (import "wasi:http/types@0.2.12" "[constructor]outgoing-response"
    (func $response (param i32) (result i32)))
  (import "wasi:http/types@0.2.12" "[method]outgoing-response.body"
    (func $response-body (param i32 i32)))
  (import "wasi:http/types@0.2.12" "[method]outgoing-body.write"
    (func $body-write (param i32 i32)))
  (import "wasi:http/types@0.2.12" "[static]outgoing-body.finish"
    (func $body-finish (param i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.12" "[resource-drop]outgoing-body"
    (func $drop-body (param i32)))
  (import "wasi:http/types@0.2.12" "[static]response-outparam.set"
    (func $out-set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.12" "[resource-drop]response-outparam"
    (func $drop-out (param i32)))
  (import "wasi:http/types@0.2.12" "[resource-drop]incoming-request"
    (func $drop-request (param i32)))
  (import "wasi:http/types@0.2.12" "[constructor]outgoing-request"
    (func $outgoing-request (param i32) (result i32)))
  (import "wasi:http/types@0.2.12" "[method]outgoing-request.set-authority"
    (func $set-authority (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.12" "[method]outgoing-request.set-path-with-query"
    (func $set-path (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.12" "[method]future-incoming-response.subscribe"
    (func $future-subscribe (param i32) (result i32)))
  (import "wasi:http/types@0.2.12" "[method]future-incoming-response.get"
    (func $future-get (param i32 i32)))
  (import "wasi:http/types@0.2.12" "[resource-drop]future-incoming-response"
    (func $drop-future (param i32)))
  (import "wasi:http/outgoing-handler@0.2.12" "handle"
    (func $handle-outgoing (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.12" "[method]output-stream.blocking-write-and-flush"
    (func $stream-write (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.12" "[method]output-stream.write"
    (func $stream-write-now (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.12" "[resource-drop]output-stream"
    (func $drop-stream (param i32)))
  (import "wasi:io/poll@0.2.12" "[method]pollable.block"
    (func $block (param i32)))
  (import "wasi:io/poll@0.2.12" "[resource-drop]pollable"
    (func $drop-pollable (param i32)))
  (import "wasi:clocks/monotonic-clock@0.2.12" "subscribe-duration"
    (func $subscribe-duration (param i64) (result i32)))
  (import "wasi:cli/exit@0.2.12" "exit"
    (func $exit (param i32)))
  (import "wasi:cli/stdout@0.2.12" "get-stdout"
    (func $stdout (result i32)))
  (import "wasi:filesystem/preopens@0.2.12" "get-directories"
    (func $directories (param i32)))
  (import "wasi:sockets/tcp-create-socket@0.2.12" "create-tcp-socket"
    (func $create-tcp-socket (param i32 i32)))
  (import "wasi:sockets/udp-create-socket@0.2.12" "create-udp-socket"
    (func $create-udp-socket (param i32 i32)))
  (import "wasi:random/random@0.2.12" "get-random-bytes"
    (func $random (param i64 i32)))
  (import "lockport:host/locks@0.1.0" "acquire"
    (func $acquire (param i32 i32 i64 i32 i64 i32)))
  (import "lockport:host/locks@0.1.0" "[method]guard.names"
    (func $guard-names (param i32 i32)))
  (import "lockport:host/locks@0.1.0" "[method]guard.token"
    (func $guard-token (param i32 i32 i32) (result i64)))
  (import "lockport:host/locks@0.1.0" "[method]guard.remaining"
    (func $guard-remaining (param i32) (result i64)))
  (import "lockport:host/locks@0.1.0" "[method]guard.renew"
    (func $guard-renew (param i32 i64 i32)))
  (import "lockport:host/locks@0.1.0" "[static]guard.release"
    (func $guard-release (param i32 i32)))
  (import "lockport:host/locks@0.1.0" "[resource-drop]guard"
    (func $drop-guard (param i32)))
  (import "lockport:host/state@0.1.0" "put"
    (func $put (param i32 i32 i32 i32 i32 i32 i32)))
  (import "lockport:host/state@0.1.0" "get"
    (func $get (param i32 i32 i32 i32 i32)))
  (import "lockport:host/request@0.1.0" "route"
    (func $route (param i32)))
  (import "lockport:host/request@0.1.0" "deadline"
    (func $deadline (result i64)))

  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  ;; What lives from request to request.
  (global $count (mut i32) (i32.const 0))
  (global $kept (mut i32) (i32.const 0))
  (global $body (mut i32) (i32.const 0))
  (global $stream (mut i32) (i32.const 0))

  ;; 0: where results go. 256: a byte to answer. 512: names.
  (data (i32.const 512) "thing/7")
  (data (i32.const 528) "other/7")
  (data (i32.const 544) "things")
  (data (i32.const 560) "others")
  (data (i32.const 576) "a.internal/")
  ;; 592: a list of one name, `thing/7`; 600: of one name, `other/7`.
  (data (i32.const 592) "\00\02\00\00\07\00\00\00\10\02\00\00\07\00\00\00")

  (func (export "cabi_realloc") (param $old i32) (param $old-size i32)
      (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and
      (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (local.get $at))

  ;; Sets a response with a body that is still open.
  (func $start (param $out i32)
    (local $response i32)
    (local.set $response (call $response (call $fields)))
    (call $response-body (local.get $response) (i32.const 0))
    (global.set $body (i32.load offset=4 (i32.const 0)))
    (call $body-write (global.get $body) (i32.const 0))
    (global.set $stream (i32.load offset=4 (i32.const 0)))
    (call $out-set (local.get $out) (i32.const 0) (local.get $response)
      (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))

  (func $write (param $at i32) (param $len i32)
    (call $stream-write (global.get $stream) (local.get $at) (local.get $len) (i32.const 0)))

  (func $finish
    (call $drop-stream (global.get $stream))
    (call $body-finish (global.get $body) (i32.const 0) (i32.const 0) (i32.const 0)))

  ;; Answers one byte, and is done.
  (func $answer (param $out i32) (param $byte i32)
    (i32.store8 (i32.const 256) (local.get $byte))
    (call $start (local.get $out))
    (call $write (i32.const 256) (i32.const 1))
    (call $finish))

  ;; Writes more than the host buffers: 40 chunks of 4096 bytes.
  (func $write-much
    (local $left i32)
    (local.set $left (i32.const 40))
    (loop $again
      (call $write (i32.const 4096) (i32.const 4096))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $again (local.get $left))))

  (func $spin (loop $again (br $again)))

  ;; Waits for about an hour.
  (func $wait
    (call $block (call $subscribe-duration (i64.const 3600000000000))))

  ;; Waits for 20 ms.
  (func $pause
    (local $pollable i32)
    (local.set $pollable (call $subscribe-duration (i64.const 20000000)))
    (call $block (local.get $pollable))
    (call $drop-pollable (local.get $pollable)))

  ;; Acquires `thing/7` until the request ends; the discriminant of the result.
  (func $acquire-thing (result i32)
    (call $acquire (i32.const 592) (i32.const 1) (i64.const 0)
      (i32.const 0) (i64.const 0) (i32.const 0))
    (i32.load8_u (i32.const 0)))

  ;; Puts so many bytes as `thing/7` into `things`; the discriminant.
  (func $put-thing (param $len i32) (result i32)
    (call $put (i32.const 544) (i32.const 6) (i32.const 512) (i32.const 7)
      (i32.const 4096) (local.get $len) (i32.const 0))
    (i32.load8_u (i32.const 0)))

  ;; Sends a request to `a.internal/`; the handle of its future.
  (func $send (result i32)
    (local $request i32)
    (local.set $request (call $outgoing-request (call $fields)))
    (drop (call $set-authority (local.get $request) (i32.const 1) (i32.const 576) (i32.const 10)))
    (drop (call $set-path (local.get $request) (i32.const 1) (i32.const 586) (i32.const 1)))
    (call $handle-outgoing (local.get $request) (i32.const 0) (i32.const 0) (i32.const 0))
    (i32.load offset=8 (i32.const 0)))

  ;; Waits for the answer: 0 if there is one, else the error code and 1.
  (func $receive (param $future i32) (result i32)
    (local $pollable i32)
    (local.set $pollable (call $future-subscribe (local.get $future)))
    (call $block (local.get $pollable))
    (call $drop-pollable (local.get $pollable))
    (call $future-get (local.get $future) (i32.const 0))
    (call $drop-future (local.get $future))
    (if (result i32) (i32.load8_u offset=16 (i32.const 0))
      (then (i32.add (i32.const 1) (i32.load8_u offset=24 (i32.const 0))))
      (else (i32.const 0))))

  (func (export "wasi:http/incoming-handler@0.2.12#handle") (param $request i32) (param $out i32)
    (local $a i32) (local $b i32) (local $c i32)
    (global.set $heap (i32.const 65536))
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (call $drop-request (local.get $request))
"#;

/// The component whose handler is `body`.
pub(super) fn component(body: &str) -> Vec<u8> {
    let mut module = wat::parse_str(format!("{AROUND}\n{body}\n))")).expect("the text is a module");
    let mut resolve = Resolve::default();
    let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
    resolve.push_path(wit).expect("the interfaces can be read");
    let package = resolve
        .push_str("guest.wit", WORLD)
        .expect("the world is one");
    let world = resolve
        .select_world(&[package], Some("guest"))
        .expect("the world is there");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("the world can be embedded");
    ComponentEncoder::default()
        .module(&module)
        .expect("the module fits its world")
        .validate(true)
        .encode()
        .expect("the module is a component")
}
