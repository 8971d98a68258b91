//! What is somebody else's (adversarial L9): refused, and nothing changes.

use super::*;
use crate::store::{Attachment, Cancelled, RenewError, SessionError};

contract!(
    Narrow:
    a_grant_is_its_principal_s_alone,
    a_wait_is_its_principal_s_alone,
    a_session_is_its_principal_s_alone,
    the_node_may_do_everything,
    what_was_never_given_out_is_not_there,
);

fn stranger() -> Principal {
    Principal::new("a stranger")
}

async fn a_grant_is_its_principal_s_alone(world: Arc<World>) {
    let request = repeatable(of_caller(&["a"]));
    let token = world.hold(&request).await.tokens[0].1;
    let store = &world.store;
    let renewal = store.renew(request.id, stranger(), Some(60 * SECOND)).await;
    assert_eq!(renewal, Err(RenewError::NotHolder));
    let release = store.release(request.id, stranger()).await;
    assert_eq!(release, Err(ReleaseError::NotHolder));
    let cancel = store.cancel(request.id, stranger()).await;
    assert_eq!(cancel, Err(ReleaseError::NotHolder));
    assert_eq!(world.holder("a").await, Some(token));
    world.clock.advance(10 * SECOND);
    assert_eq!(world.holder("a").await, None, "its lease is what it was");
}

async fn a_wait_is_its_principal_s_alone(world: Arc<World>) {
    let holder = of_caller(&["a"]);
    world.hold(&holder).await;
    let request = repeatable(waiting(SECOND, of_caller(&["a"])));
    let queued = world.queue(&request).await;
    let cancel = world.store.cancel(request.id, stranger()).await;
    assert_eq!(cancel, Err(ReleaseError::NotHolder));
    let release = world.store.release(request.id, stranger()).await;
    assert_eq!(release, Err(ReleaseError::NotHolder));
    world.release(&holder).await.unwrap();
    assert!(queued.await.is_ok());
}

async fn a_session_is_its_principal_s_alone(world: Arc<World>) {
    let (session, attached) = world.attached().await;
    let grant = of_session(session, &["a"]);
    let token = world.hold(&grant).await.tokens[0].1;
    let attach = world.store.attach(session, stranger()).await;
    assert_eq!(attach.err(), Some(SessionError::NotHolder));
    let close = world.store.close_session(session, stranger()).await;
    assert_eq!(close, Err(SessionError::NotHolder));
    let theirs = Acquire {
        party: Party {
            principal: stranger(),
            ..caller()
        },
        ..of_session(session, &["b"])
    };
    assert_eq!(world.refusal(&theirs).await, AcquireError::NotHolder);
    let wrong = Attachment(attached.attachment.0 + 1);
    let beat = world.store.beat(session, wrong);
    assert_eq!(beat, Err(SessionError::Elsewhere));
    world.store.detach(session, wrong);
    assert_eq!(world.store.beat(session, attached.attachment), Ok(()));
    assert_eq!(world.holder("a").await, Some(token));
}

async fn the_node_may_do_everything(world: Arc<World>) {
    let (renewed, released, cancelled) = (
        of_caller(&["a"]),
        of_caller(&["b"]),
        repeatable(of_caller(&["c"])),
    );
    for request in [&renewed, &released, &cancelled] {
        world.hold(request).await;
    }
    let (store, node) = (&world.store, Principal::node);
    let renewal = store.renew(renewed.id, node(), Some(20 * SECOND)).await;
    assert_eq!(renewal.unwrap().remaining, Some(20 * SECOND));
    let release = store.release(released.id, node()).await;
    assert_eq!(release, Ok(Released::Released));
    let cancel = store.cancel(cancelled.id, node()).await;
    assert_eq!(cancel, Ok(Cancelled::Granted));
    let (session, _attached) = world.attached().await;
    assert_eq!(store.close_session(session, node()).await, Ok(()));
}

async fn what_was_never_given_out_is_not_there(world: Arc<World>) {
    let request = of_caller(&["a"]);
    let token = world.hold(&request).await.tokens[0].1;
    let number = request.id.to_u128();
    for number in [number + 1, number - 1, 0, u128::from(token), u128::MAX] {
        let id = GrantId::from_u128(number);
        let principal = caller().principal;
        let renewal = world.store.renew(id, principal.clone(), Some(SECOND)).await;
        assert_eq!(renewal, Err(RenewError::Lost));
        let release = world.store.release(id, principal.clone()).await;
        assert_eq!(release, Ok(Released::Already));
        let session = SessionId::from_u128(number);
        let attach = world.store.attach(session, principal).await;
        assert_eq!(attach.err(), Some(SessionError::Lost));
    }
    assert_eq!(world.holder("a").await, Some(token));
}
