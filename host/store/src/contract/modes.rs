//! Who may hold a lock together with whom, and in which order they come.

use super::*;
use std::num::NonZeroU32;

contract!(
    Narrow:
    readers_hold_a_lock_together,
    a_mode_excludes_the_others,
    no_more_hold_a_lock_than_there_are_permits,
    a_reader_never_overtakes_a_writer_that_waits,
    readers_at_the_head_are_served_together,
    a_permit_is_handed_to_the_first_in_the_queue,
    a_reader_s_lock_does_not_cover_a_guarded_write,
    several_names_are_acquired_in_one_mode,
);

fn permits(permits: u32) -> Mode {
    Mode::Permits(NonZeroU32::new(permits).unwrap())
}

fn shared(names: &[&str]) -> Acquire {
    in_mode(Mode::Shared, of_caller(names))
}

async fn readers_hold_a_lock_together(world: Arc<World>) {
    let (first, second) = (shared(&["a"]), shared(&["a"]));
    let tokens = [
        world.hold(&first).await.tokens[0].1,
        world.hold(&second).await.tokens[0].1,
    ];
    assert!(tokens[0] < tokens[1], "each has its own");
    assert_eq!(world.holders("a").await, tokens);
    world.release(&first).await.unwrap();
    assert_eq!(world.holders("a").await, tokens[1..]);
    world.release(&second).await.unwrap();
    assert_eq!(world.holders("a").await, []);
}

async fn a_mode_excludes_the_others(world: Arc<World>) {
    let modes = [Mode::Exclusive, Mode::Shared, permits(2)];
    for held in modes {
        let holder = in_mode(held, of_caller(&["a"]));
        world.hold(&holder).await;
        let others = modes.iter().filter(|it| **it != held);
        for asked in others.chain([&Mode::Exclusive]) {
            let refusal = world.refusal(&in_mode(*asked, of_caller(&["a"]))).await;
            assert_eq!(refusal, AcquireError::Held(name("a")), "{held:?} {asked:?}");
        }
        world.release(&holder).await.unwrap();
    }
}

async fn no_more_hold_a_lock_than_there_are_permits(world: Arc<World>) {
    let request = || in_mode(permits(2), of_caller(&["a"]));
    let first = request();
    world.hold(&first).await;
    world.hold(&request()).await;
    let refusal = world.refusal(&request()).await;
    assert_eq!(refusal, AcquireError::Held(name("a")));
    world.release(&first).await.unwrap();
    world.hold(&request()).await;
    assert_eq!(world.holders("a").await.len(), 2);
}

async fn a_reader_never_overtakes_a_writer_that_waits(world: Arc<World>) {
    let first = shared(&["a"]);
    world.hold(&first).await;
    let writer = waiting(SECOND, of_caller(&["a"]));
    let writes = world.queue(&writer).await;
    let mut reads = world.queue(&waiting(SECOND, shared(&["a"]))).await;
    // Neither does one that would not wait.
    let refusal = world.refusal(&shared(&["a"])).await;
    assert_eq!(refusal, AcquireError::Held(name("a")));
    world.release(&first).await.unwrap();
    let token = writes.await.unwrap().tokens[0].1;
    assert_eq!(world.holders("a").await, [token]);
    assert!(poll_once(&mut reads).await.is_none());
    world.release(&writer).await.unwrap();
    assert!(reads.await.unwrap().tokens[0].1 > token);
}

async fn readers_at_the_head_are_served_together(world: Arc<World>) {
    let holder = of_caller(&["a"]);
    world.hold(&holder).await;
    let first = world.queue(&waiting(SECOND, shared(&["a"]))).await;
    let second = world.queue(&waiting(SECOND, shared(&["a"]))).await;
    let _behind = world.queue(&waiting(SECOND, of_caller(&["a"]))).await;
    world.release(&holder).await.unwrap();
    let tokens = [first.await.unwrap(), second.await.unwrap()].map(|it| it.tokens[0].1);
    assert_eq!(world.holders("a").await, tokens);
    assert_eq!(world.waiting("a").await, 1);
}

async fn a_permit_is_handed_to_the_first_in_the_queue(world: Arc<World>) {
    let request = |wait| waiting(wait, in_mode(permits(2), of_caller(&["a"])));
    let (first, second) = (request(NO_WAIT), request(NO_WAIT));
    world.hold(&first).await;
    world.hold(&second).await;
    let third = world.queue(&request(SECOND)).await;
    let mut fourth = world.queue(&request(SECOND)).await;
    world.release(&second).await.unwrap();
    third.await.unwrap();
    assert!(poll_once(&mut fourth).await.is_none());
    world.release(&first).await.unwrap();
    fourth.await.unwrap();
}

async fn a_reader_s_lock_does_not_cover_a_guarded_write(world: Arc<World>) {
    let own = TransactionId::mint();
    let lock = in_mode(Mode::Shared, of(own, &["order/1"]));
    world.hold(&lock).await;
    let mut commit = world.commit_of(own);
    commit.guards.push(guarding(&lock));
    commit.writes.push(put(&guarded(), "1", "x"));
    let refused = world.apply(commit).await;
    let name = name("order/1");
    assert_eq!(refused, Err(CommitError::Unguarded { name }));
}

async fn several_names_are_acquired_in_one_mode(world: Arc<World>) {
    let writer = of_caller(&["b"]);
    world.hold(&writer).await;
    let both = world.queue(&waiting(SECOND, shared(&["a", "b"]))).await;
    // It is queued for the free one as well: a writer comes behind it.
    let refusal = world.refusal(&of_caller(&["a"])).await;
    assert_eq!(refusal, AcquireError::Held(name("a")));
    world.release(&writer).await.unwrap();
    let token = both.await.unwrap().tokens[0].1;
    assert_eq!(world.holders("a").await, [token]);
    world.hold(&shared(&["b"])).await;
    assert_eq!(world.holders("b").await.len(), 2);
}
