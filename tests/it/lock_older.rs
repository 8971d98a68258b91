//! The older lock-manager contract, kept for its clients: each row of its table,
//! by gRPC and by HTTP, and that a lock taken there is a lock like every other.

use crate::harness::{
    Answer, Builder, HeldLock, JsonApi, LockApi, Node, Speaks, Storage, acquire, encoded,
    eventually, request, secret_of, uuid, wait_for,
};
use lockport_proto::lock_manager::lock_manager_service_client::LockManagerServiceClient;
use lockport_proto::lock_manager::{LockReq, UnlockReq};
use serde_json::json;
use tonic::{Code, Status};

on_every_store! {
    every_row_of_the_older_contract_is_kept,
    a_lock_of_the_older_contract_excludes_native_holders_and_the_reverse,
    a_lock_of_the_older_contract_excludes_components_and_the_reverse,
    a_lock_of_the_older_contract_ends_with_the_lease_it_is_given,
    anything_else_is_an_internal_error,
}

/// One way of speaking the older contract. An error is its string, after its
/// code or status was compared with the table.
trait Older {
    fn lock(&self, id: &str) -> Result<String, String>;
    fn unlock(&self, id: &str, token: &str) -> Result<(), String>;
}

/// The strings of the contract: the gRPC code and the HTTP status of each.
const ERRORS: &[(&str, Code, u16)] = &[
    ("INVALID_RESOURCE_ID", Code::InvalidArgument, 400),
    ("INVALID_TOKEN", Code::InvalidArgument, 400),
    ("TOKEN_DOES_NOT_FIT", Code::InvalidArgument, 400),
    ("LOCK_ALREADY_EXISTS", Code::AlreadyExists, 409),
    ("LOCK_NOT_FOUND", Code::NotFound, 404),
    ("INTERNAL_ERROR", Code::Internal, 500),
];

struct Grpc(LockApi);

/// Names in the path, as a client that encodes writes them.
struct Http(JsonApi);

fn both(node: &Node) -> (Grpc, Http) {
    (Grpc(LockApi::of(node)), Http(JsonApi::of(node)))
}

fn every_row_of_the_older_contract_is_kept(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let (grpc, http) = both(&node);
    for (by, other) in [(&grpc as &dyn Older, &http as &dyn Older), (&http, &grpc)] {
        for name in [
            "a",
            "dir/a b",
            "dir//{*}",
            "\u{e9}%2F?&=#+",
            "../..",
            ":acquire",
        ] {
            let token = by.lock(name).expect("it is free");
            assert_is_uuid4(&token);
            // Whichever way it was taken, it is the same lock.
            for by in [by, other] {
                assert_eq!(
                    by.lock(name).expect_err("it is refused"),
                    "LOCK_ALREADY_EXISTS"
                );
                for stranger in [&uuid(), &token.replace(&token[..8], "00000000")] {
                    let fits = by.unlock(name, stranger).expect_err("it is refused");
                    assert_eq!(fits, "TOKEN_DOES_NOT_FIT");
                }
                for nonsense in ["", "token", &token[1..], &not_version_4(&token)] {
                    let read = by.unlock(name, nonsense).expect_err("it is refused");
                    assert_eq!(read, "INVALID_TOKEN", "{nonsense}");
                }
            }
            other.unlock(name, &token).expect("it is held");
            for by in [by, other] {
                assert_eq!(
                    by.unlock(name, &token).expect_err("it is refused"),
                    "LOCK_NOT_FOUND"
                );
            }
        }
        for refused in ["", "a\nb", &"x".repeat(513)] {
            assert_eq!(
                by.lock(refused).expect_err("it is refused"),
                "INVALID_RESOURCE_ID"
            );
            assert_eq!(
                by.unlock(refused, &uuid()).expect_err("it is refused"),
                "INVALID_RESOURCE_ID"
            );
        }
        assert_eq!(
            by.unlock("never", &uuid()).expect_err("it is refused"),
            "LOCK_NOT_FOUND"
        );
    }
    let api = LockApi::of(&node);
    assert!(api.list("", 100).is_empty(), "something is still held");
}

fn a_lock_of_the_older_contract_excludes_native_holders_and_the_reverse(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let (grpc, http) = both(&node);
    let api = LockApi::of(&node);
    for by in [&grpc as &dyn Older, &http] {
        let grant = api.grant(acquire(["order/1"]));
        assert_eq!(
            by.lock("order/1").expect_err("it is refused"),
            "LOCK_ALREADY_EXISTS"
        );
        let fits = by.unlock("order/1", &uuid()).expect_err("it is refused");
        assert_eq!(fits, "TOKEN_DOES_NOT_FIT", "it is held, by somebody else");
        assert_eq!(api.look("order/1").holder_count, 1, "and still is");
        api.release(&grant.id).expect("it is held");

        let token = by.lock("order/1").expect("it is free");
        let refused = api
            .acquire(acquire(["order/1"]))
            .expect_err("it is refused");
        assert_eq!(refused.reason, "HELD");
        let lock = api.look("order/1");
        assert!(lock.last_fencing_token > grant.fencing_token);
        assert!(
            lock.holders[0].remaining.expect("it has a lease").seconds > 23 * 3_600,
            "it has the longest lease there is: {lock:?}",
        );
        // An operator may take it away, and then nobody holds it.
        api.force_release("order/1").expect("it may");
        assert_eq!(
            by.unlock("order/1", &token).expect_err("it is refused"),
            "LOCK_NOT_FOUND"
        );
    }
}

fn a_lock_of_the_older_contract_excludes_components_and_the_reverse(storage: Storage) {
    let node = Node::builder().guest("probe").storage(storage).start();
    let (grpc, http) = both(&node);
    for by in [&grpc as &dyn Older, &http] {
        let token = by.lock("item/a").expect("it is free");
        node.run("probe/locked/a", ["put items a 1"])
            .expect_problem(423, "HELD");
        let tried = node.run("probe", ["acquire item/a"]).expect(423);
        assert_eq!(tried.step("acquire"), "error held");
        by.unlock("item/a", &token).expect("it is held");
        node.run("probe/locked/a", ["put items a 1"]).expect(200);

        let held = HeldLock::hold(&node, "item/a");
        assert_eq!(
            by.lock("item/a").expect_err("it is refused"),
            "LOCK_ALREADY_EXISTS"
        );
        held.give_back(&node);
    }
}

fn a_lock_of_the_older_contract_ends_with_the_lease_it_is_given(storage: Storage) {
    let node = Node::builder()
        .storage(storage)
        .set("compat.lease", "1s")
        .start();
    let (grpc, http) = both(&node);
    let api = LockApi::of(&node);
    let old = eventually("a lock is told of in time", || http.lock("a").ok());
    api.wait_until_idle("a");
    assert_eq!(
        grpc.unlock("a", &old).expect_err("it is refused"),
        "LOCK_NOT_FOUND"
    );
    // A native holder, because its lease is longer than this test.
    api.grant(acquire(["a"]));
    assert_eq!(
        http.unlock("a", &old).expect_err("it is refused"),
        "TOKEN_DOES_NOT_FIT"
    );
}

fn anything_else_is_an_internal_error(storage: Storage) {
    let node = Node::builder()
        .storage(storage)
        .set("locks.locks_per_principal", 1)
        .start();
    let (grpc, http) = both(&node);
    let token = grpc.lock("a").expect("it is the first");
    assert_eq!(grpc.lock("b").expect_err("it is refused"), "INTERNAL_ERROR");
    assert_eq!(http.lock("b").expect_err("it is refused"), "INTERNAL_ERROR");
    http.unlock("a", &token).expect("it is held");
}

#[test]
fn a_lock_of_the_older_contract_survives_a_kill_of_its_node() {
    let builder = Node::builder().storage(Storage::Embedded);
    let node = builder.start();
    let (grpc, http) = both(&node);
    let first = grpc.lock("dir/a").expect("it is free");
    let second = http.lock("dir/b").expect("it is free");
    node.kill();

    let node = builder.start();
    let (grpc, http) = both(&node);
    for name in ["dir/a", "dir/b"] {
        assert_eq!(
            grpc.lock(name).expect_err("it is refused"),
            "LOCK_ALREADY_EXISTS"
        );
        assert_eq!(
            http.lock(name).expect_err("it is refused"),
            "LOCK_ALREADY_EXISTS"
        );
    }
    http.unlock("dir/a", &first).expect("it is still held");
    grpc.unlock("dir/b", &second).expect("it is still held");
}

#[test]
fn the_published_form_names_the_lock_in_the_query() {
    let node = Node::builder().start();
    let (grpc, http) = both(&node);
    let token = http.token_of(
        http.0
            .send(request("POST", "/api/v1/locks?resource_id=dir%2Fa+b")),
    );
    assert_eq!(
        grpc.lock("dir/a b").expect_err("it is refused"),
        "LOCK_ALREADY_EXISTS"
    );
    http.unlock("dir/a b", &token).expect("it is held");
    let answer = http.0.send(request("POST", "/api/v1/locks?resource_id="));
    assert_eq!(error_of(&answer), "INVALID_RESOURCE_ID");
    let answer = http.0.send(request("POST", "/api/v1/locks"));
    assert_eq!(error_of(&answer), "INVALID_RESOURCE_ID");
}

#[test]
fn the_older_contract_is_open_or_closed_as_the_configuration_says() {
    let with_tokens = |anonymous| {
        Node::builder()
            .token("alice", false, &["**"])
            .set("compat.anonymous", anonymous)
            .start()
    };
    let node = with_tokens(true);
    let (grpc, http) = both(&node);
    let token = grpc.lock("a").expect("it is served to anybody");
    http.unlock("a", &token).expect("it is served to anybody");

    let node = with_tokens(false);
    let (grpc, http) = both(&node);
    let code = grpc.try_lock("a").expect_err("it is refused").code();
    assert_eq!(code, Code::Unauthenticated);
    let answer = http.0.send(request("POST", "/api/v1/locks/a"));
    assert_eq!(answer.status, 401, "{}", answer.text());
    let token = secret_of("alice");
    let api = LockApi::of(&node).with_token(&token);
    let known = Grpc(api.clone()).lock("a").expect("alice may");
    let http = Http(http.0.with_token(&token));
    http.unlock("a", &known).expect("alice may");

    let off: Builder = Node::builder().set("compat.enabled", false);
    let node = off.start();
    let (grpc, http) = both(&node);
    let code = grpc.try_lock("a").expect_err("it is refused").code();
    assert_eq!(code, Code::Unimplemented);
    let answer = http.0.send(request("POST", "/api/v1/locks/a"));
    assert_eq!(answer.status, 404, "{}", answer.text());
}

// === impl Older ===

impl Grpc {
    fn try_lock(&self, id: &str) -> Result<String, Status> {
        let request = LockReq {
            resource_id: (!id.is_empty()).then(|| id.to_owned()),
        };
        let mut client = LockManagerServiceClient::new(self.0.channel());
        let asked = client.lock(self.0.request(request));
        let answer = wait_for("an answer", asked)?.into_inner();
        Ok(answer.token.expect("there is a token in the answer"))
    }
}

impl Older for Grpc {
    fn lock(&self, id: &str) -> Result<String, String> {
        self.try_lock(id).map_err(|status| string_of(&status))
    }

    fn unlock(&self, id: &str, token: &str) -> Result<(), String> {
        let request = UnlockReq {
            resource_id: (!id.is_empty()).then(|| id.to_owned()),
            token: (!token.is_empty()).then(|| token.to_owned()),
        };
        let mut client = LockManagerServiceClient::new(self.0.channel());
        let asked = client.unlock(self.0.request(request));
        match wait_for("an answer", asked) {
            Ok(answer) => {
                let response = answer.into_inner().response;
                assert!(response.is_some(), "there is a `response` in the answer");
                Ok(())
            }
            Err(status) => Err(string_of(&status)),
        }
    }
}

impl Http {
    /// The token in the answer to a lock; and what the link in it says.
    #[track_caller]
    fn token_of(&self, answer: Answer) -> String {
        let body = answer.expect(201).json();
        let token = body["token"].as_str().expect("it is text").to_owned();
        let unlock = &body["_links"]["unlock"];
        assert_eq!(unlock["type"], "delete", "{body}");
        let href = unlock["href"].as_str().expect("it is text");
        assert!(href.ends_with(&format!("?token={token}")), "{body}");
        assert!(href.contains("/api/v1/locks/"), "{body}");
        assert_eq!(body.as_object().map(|it| it.len()), Some(2), "{body}");
        token
    }
}

impl Older for Http {
    fn lock(&self, id: &str) -> Result<String, String> {
        let target = format!("/api/v1/locks/{}", encoded(id));
        let answer = self.0.send(request("POST", &target));
        match answer.status {
            201 => Ok(self.token_of(answer)),
            _ => Err(error_of(&answer)),
        }
    }

    fn unlock(&self, id: &str, token: &str) -> Result<(), String> {
        let query = match token {
            "" => String::new(),
            token => format!("?token={}", encoded(token)),
        };
        let target = format!("/api/v1/locks/{}{query}", encoded(id));
        let answer = self.0.delete(&target);
        match answer.status {
            200 => Ok(()),
            _ => Err(error_of(&answer)),
        }
    }
}

/// The error's string, if the code is the one of the table.
#[track_caller]
fn string_of(status: &Status) -> String {
    let row = ERRORS.iter().find(|(name, ..)| *name == status.message());
    let (name, code, _) = row.unwrap_or_else(|| panic!("{status:?}"));
    assert_eq!(status.code(), *code, "{status:?}");
    (*name).to_owned()
}

/// The error's string, if the status is the one of the table.
#[track_caller]
fn error_of(answer: &Answer) -> String {
    let body = answer.json();
    let row = ERRORS
        .iter()
        .find(|(name, ..)| body == json!({"error": name}));
    let (name, _, status) = row.unwrap_or_else(|| panic!("{} {body}", answer.status));
    assert_eq!(answer.status, *status, "{body}");
    let content_type = answer.header("content-type").unwrap_or_default();
    assert!(
        content_type.starts_with("application/json"),
        "{content_type}"
    );
    (*name).to_owned()
}

#[track_caller]
fn assert_is_uuid4(text: &str) {
    let shape: Vec<usize> = text.split('-').map(str::len).collect();
    assert_eq!(shape, [8, 4, 4, 4, 12], "{text}");
    let digits = text.bytes().filter(|byte| *byte != b'-');
    assert!(
        digits.clone().all(|byte| byte.is_ascii_hexdigit()),
        "{text}"
    );
    assert_eq!(&text[14..15], "4", "{text}");
    assert!("89ab".contains(&text[19..20]), "{text}");
}

/// The same UUID, if it were of version 1.
fn not_version_4(token: &str) -> String {
    format!("{}1{}", &token[..14], &token[15..])
}
