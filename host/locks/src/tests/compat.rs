//! Every row of the older contract, over gRPC and HTTP, on both stores.

use super::caller::{granted, of_grpc, one, with};
use super::node::{ALICE, BOB, Node, Reply, Setup, request, tokens};
use crate::Compat;
use crate::percent;
use http::Method;
use lockport_proto::lock as proto;
use lockport_proto::lock_manager::lock_manager_service_client::LockManagerServiceClient;
use lockport_proto::lock_manager::{LockReq, UnlockReq};
use std::time::Duration;
use tonic::{Code, Status};

/// How an answer looks: a status and an error string.
type Refused = (u16, String);

/// One client of the contract.
enum Old<'a> {
    Grpc(LockManagerServiceClient<tonic::transport::Channel>),
    Http(&'a Node),
}

impl Old<'_> {
    async fn lock(&mut self, id: &str) -> Result<String, Refused> {
        match self {
            Self::Grpc(client) => {
                let request = LockReq {
                    resource_id: Some(id.into()),
                };
                let answer = client.lock(request).await.map_err(of_status)?;
                Ok(answer.into_inner().token.unwrap())
            }
            Self::Http(node) => {
                let path = format!("/api/v1/locks/{}", percent::encode(id));
                let reply = node.send(request(Method::POST, &path, "")).await;
                if reply.status != 201 {
                    return Err(of_reply(&reply));
                }
                let body = reply.json();
                let token = body["token"].as_str().unwrap().to_owned();
                let link = &body["_links"]["unlock"];
                assert_eq!(link["href"], format!("{path}?token={token}"));
                assert_eq!(link["type"], "delete");
                Ok(token)
            }
        }
    }

    async fn unlock(&mut self, id: &str, token: &str) -> Result<(), Refused> {
        match self {
            Self::Grpc(client) => {
                let request = UnlockReq {
                    resource_id: Some(id.into()),
                    token: Some(token.into()),
                };
                let answer = client.unlock(request).await.map_err(of_status)?;
                assert!(answer.into_inner().response.is_some());
                Ok(())
            }
            Self::Http(node) => {
                let path = format!("/api/v1/locks/{}?token={token}", percent::encode(id));
                let reply = node.send(request(Method::DELETE, &path, "")).await;
                match reply.status.as_u16() {
                    200 => Ok(()),
                    _ => Err(of_reply(&reply)),
                }
            }
        }
    }
}

/// The status over gRPC as the contract pairs it with one over HTTP.
fn of_status(status: Status) -> Refused {
    let number = match status.code() {
        Code::InvalidArgument => 400,
        Code::NotFound => 404,
        Code::AlreadyExists => 409,
        Code::Internal => 500,
        other => panic!("{other:?}"),
    };
    (number, status.message().to_owned())
}

fn of_reply(reply: &Reply) -> Refused {
    let error = reply.json()["error"].as_str().unwrap().to_owned();
    (reply.status.as_u16(), error)
}

fn refused<T>(status: u16, error: &str) -> Result<T, Refused> {
    Err((status, error.to_owned()))
}

async fn grpc(node: &Node) -> Old<'static> {
    Old::Grpc(LockManagerServiceClient::new(node.channel().await))
}

#[tokio::test]
async fn every_row_of_the_contract_holds_over_both_transports_on_both_stores() {
    for directory in [None, Some(tempfile::tempdir().unwrap())] {
        let node = match &directory {
            None => Node::start().await,
            Some(directory) => Node::in_directory(directory.path(), Setup::default()).await,
        };
        for mut old in [grpc(&node).await, Old::Http(&node)] {
            rows(&node, &mut old).await;
        }
        node.stop().await;
    }
}

async fn rows(node: &Node, old: &mut Old<'_>) {
    let id = "door/1 \u{fc}";
    let other = "9f1b4a52-3c6d-4e7f-8a9b-0c1d2e3f4a5b";
    for bad in ["", &"x".repeat(513), "a\nb"] {
        assert_eq!(old.lock(bad).await, refused(400, "INVALID_RESOURCE_ID"));
        let answer = old.unlock(bad, other).await;
        assert_eq!(answer, refused(400, "INVALID_RESOURCE_ID"));
    }
    assert_eq!(old.unlock(id, other).await, refused(404, "LOCK_NOT_FOUND"));
    let token = old.lock(id).await.unwrap();
    assert_eq!(old.lock(id).await, refused(409, "LOCK_ALREADY_EXISTS"));
    for bad in ["", "x", "9f1b4a52-3c6d-1e7f-8a9b-0c1d2e3f4a5b"] {
        assert_eq!(old.unlock(id, bad).await, refused(400, "INVALID_TOKEN"));
    }
    let answer = old.unlock(id, other).await;
    assert_eq!(answer, refused(400, "TOKEN_DOES_NOT_FIT"));
    let elsewhere = old.lock("another").await.unwrap();
    let answer = old.unlock(id, &elsewhere).await;
    assert_eq!(answer, refused(400, "TOKEN_DOES_NOT_FIT"));
    old.unlock("another", &elsewhere).await.unwrap();

    // It excludes whoever speaks our own contract, and the other way round.
    let mut native = node.grpc().await;
    let answer = of_grpc(native.acquire(one(id)).await);
    assert_eq!(answer, Err(lockport_proto::Reason::Held));
    old.unlock(id, &token).await.unwrap();
    assert_eq!(old.unlock(id, &token).await, refused(404, "LOCK_NOT_FOUND"));
    let grant = granted(of_grpc(native.acquire(one(id)).await));
    assert_eq!(old.lock(id).await, refused(409, "LOCK_ALREADY_EXISTS"));
    let answer = old.unlock(id, &token).await;
    assert_eq!(answer, refused(400, "TOKEN_DOES_NOT_FIT"));
    let release = proto::ReleaseRequest { grant: grant.id };
    native.release(release).await.unwrap();

    // And its lock ends, in the end.
    let token = old.lock(id).await.unwrap();
    node.clock.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(old.unlock(id, &token).await, refused(404, "LOCK_NOT_FOUND"));
}

#[tokio::test]
async fn whatever_else_goes_wrong_is_an_internal_error() {
    let mut setup = Setup::default();
    setup.limits.locks_per_principal = 1;
    let node = Node::with(setup).await;
    for mut old in [grpc(&node).await, Old::Http(&node)] {
        let token = old.lock("a").await.unwrap();
        assert_eq!(old.lock("b").await, refused(500, "INTERNAL_ERROR"));
        old.unlock("a", &token).await.unwrap();
    }
    let statistics = node.api.statistics();
    assert_eq!(
        (statistics.compat_locked, statistics.compat_unlocked),
        (2, 2)
    );
    node.api.drain();
    for mut old in [grpc(&node).await, Old::Http(&node)] {
        let token = old.lock("a").await.unwrap();
        old.unlock("a", &token).await.unwrap();
    }
    node.api.end();
    for mut old in [grpc(&node).await, Old::Http(&node)] {
        assert_eq!(old.lock("a").await, refused(500, "INTERNAL_ERROR"));
    }
}

#[tokio::test]
async fn a_lock_can_be_given_back_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::in_directory(directory.path(), Setup::default()).await;
    let token = Old::Http(&node).lock("a").await.unwrap();
    node.stop().await;
    let node = Node::in_directory(directory.path(), Setup::default()).await;
    let mut old = grpc(&node).await;
    assert_eq!(old.lock("a").await, refused(409, "LOCK_ALREADY_EXISTS"));
    old.unlock("a", &token).await.unwrap();
    node.stop().await;
}

#[tokio::test]
async fn the_lease_is_what_the_node_says() {
    let mut setup = Setup::default();
    setup.options.compat = Some(Compat {
        lease: Duration::from_secs(60),
        ..Compat::default()
    });
    let node = Node::with(setup).await;
    let mut old = grpc(&node).await;
    old.lock("a").await.unwrap();
    node.clock.advance(Duration::from_secs(59));
    assert_eq!(old.lock("a").await, refused(409, "LOCK_ALREADY_EXISTS"));
    node.clock.advance(Duration::from_secs(1));
    old.lock("a").await.unwrap();
}

#[tokio::test]
async fn the_published_form_and_plain_slashes_are_served_and_other_methods_are_not() {
    let node = Node::start().await;
    let path = "/api/v1/locks?resource_id=a%2Fb";
    let reply = node.send(request(Method::POST, path, "")).await;
    assert_eq!(reply.status, 201);
    let href = reply.json()["_links"]["unlock"]["href"].clone();
    let href = href.as_str().unwrap();
    assert!(href.starts_with("/api/v1/locks/a%2Fb?token="), "{href}");
    let reply = node
        .send(request(Method::POST, "/api/v1/locks/a/b", ""))
        .await;
    assert_eq!(of_reply(&reply), (409, "LOCK_ALREADY_EXISTS".into()));
    let reply = node.send(request(Method::DELETE, href, "")).await;
    assert_eq!(reply.status, 200);

    let reply = node.send(request(Method::POST, "/api/v1/locks", "")).await;
    assert_eq!(of_reply(&reply), (400, "INVALID_RESOURCE_ID".into()));
    let reply = node
        .send(request(Method::POST, "/api/v1/locks/%ff", ""))
        .await;
    assert_eq!(of_reply(&reply), (400, "INVALID_RESOURCE_ID".into()));
    for (path, allow) in [
        ("/api/v1/locks", "POST"),
        ("/api/v1/locks/a", "POST, DELETE"),
    ] {
        let reply = node.send(request(Method::GET, path, "")).await;
        assert_eq!(reply.status, 405);
        assert_eq!(reply.headers["allow"], allow);
    }
}

#[tokio::test]
async fn tokens_are_asked_for_unless_it_is_anonymous_and_off_means_off() {
    let lock = || LockReq {
        resource_id: Some("shared/a".into()),
    };
    let mut setup = Setup::default();
    setup.options.access = tokens();
    let node = Node::with(setup).await;
    let mut old = grpc(&node).await;
    let token = old.lock("shared/a").await.unwrap();
    let seen = proto::GetRequest {
        name: "shared/a".into(),
    };
    let mut native = node.grpc().await;
    let seen = native.get(with(Some(ALICE), seen)).await.unwrap();
    let lock_seen = seen.into_inner().lock.unwrap();
    assert_eq!(lock_seen.holders[0].principal, "legacy");
    old.unlock("shared/a", &token).await.unwrap();
    // Who brings a token is who it says.
    let mut client = LockManagerServiceClient::new(node.channel().await);
    client.lock(with(Some(BOB), lock())).await.unwrap();
    let wrong = client.lock(with(Some("wrong"), lock())).await.unwrap_err();
    assert_eq!(wrong.code(), Code::Unauthenticated);

    let mut setup = Setup::default();
    setup.options.access = tokens();
    setup.options.compat = Some(Compat {
        anonymous: false,
        ..Compat::default()
    });
    let node = Node::with(setup).await;
    let mut client = LockManagerServiceClient::new(node.channel().await);
    let refused = client.lock(lock()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let reply = node
        .send(request(Method::POST, "/api/v1/locks/a", ""))
        .await;
    assert_eq!(reply.status, 401);
    client.lock(with(Some(BOB), lock())).await.unwrap();

    let mut setup = Setup::default();
    setup.options.compat = None;
    let node = Node::with(setup).await;
    let mut client = LockManagerServiceClient::new(node.channel().await);
    let refused = client.lock(lock()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    let reply = node
        .send(request(Method::POST, "/api/v1/locks/a", ""))
        .await;
    assert_eq!(reply.status, 404);
}
