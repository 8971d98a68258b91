//! Clocks that leap: that of the server, by hours and days, forward and back;
//! and that of a node.

use super::direct::Direct;
use super::*;
use crate::clock::ManualClock;
use crate::contract::{guarded, key};
use crate::core::Acquired;
use crate::redis::codec::Arguments;
use crate::redis::library::Library;
use crate::store::{CommitError, Released, Store, Token};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// How far the clock of the server is from the right time, in seconds, after
/// each leap.
const LEAPS: [i64; 8] = [HOUR, 0, -HOUR, 0, DAY, -DAY, 2 * DAY, HOUR];

/// Sets the clock of a server whose library goes by [`Library::Leaping`].
fn set_clock(server: &Server, seconds: i64) {
    let mut set = cmd("SET");
    set.arg("wall_clock_is_set_by").arg(seconds * 1_000_000);
    tell(server, &set);
}

/// The time of the store.
fn now(node: &mut Direct) -> Time {
    node.call(&Arguments::look([&name("nobody")])).reached.now
}

fn granted(node: &mut Direct, request: &Acquire) -> Option<Granted> {
    match node.acquire(request).acquired().unwrap().0 {
        Acquired::Granted(granted) => Some(granted),
        Acquired::Refused(AcquireError::Held(_)) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn l19_a_leap_of_the_server_s_clock_costs_a_lease_a_second_at_most() {
    let server = Server::start();
    let mut node = Direct::new(&server, Library::Leaping);
    let clock = Clock::machine();
    let by = caller().principal;
    let mut token: Token = 0;
    for seconds in LEAPS {
        let request = of_caller(&["a"]);
        let held = granted(&mut node, &request).unwrap();
        assert!(held.tokens[0].1 > token, "{seconds}");
        token = held.tokens[0].1;
        let (began, before) = (clock.now(), now(&mut node));
        set_clock(&server, seconds);
        let after = now(&mut node);
        assert!(after >= before, "{seconds}");
        let most = clock.now().since(began) + SECOND;
        assert!(
            after.since(before) <= most,
            "{seconds}: {:?}",
            after.since(before)
        );
        assert_eq!(granted(&mut node, &of_caller(&["a"])), None, "{seconds}");
        // It goes on from there at once, not only when the clock is where it was.
        while now(&mut node).since(after) < SECOND / 100 {}
        let renewed = node.call(&Arguments::renew(request.id, &by, None));
        assert!(renewed.renewed().unwrap().is_ok(), "{seconds}");
        let released = node.call(&Arguments::release(request.id, &by)).released();
        assert_eq!(released, Ok(Ok(Released::Released)), "{seconds}");
    }
}

#[test]
fn l19_a_lease_lasts_its_time_in_the_store_however_the_server_s_clock_leaps() {
    let server = Server::start();
    let mut node = Direct::new(&server, Library::Leaping);
    let clock = Clock::machine();
    let lease = 4 * SECOND;
    let first = granted(
        &mut node,
        &Acquire {
            lease: Some(lease),
            ..of_caller(&["a"])
        },
    );
    let (first, began) = (first.unwrap(), clock.now());
    let mut leaps = 0;
    let second = loop {
        leaps += 1;
        set_clock(&server, leaps * HOUR);
        if let Some(second) = granted(&mut node, &of_caller(&["a"])) {
            break second;
        }
    };
    assert!(second.since >= first.since + lease, "no two at once");
    assert!(second.tokens[0].1 > first.tokens[0].1);
    let lasted = clock.now().since(began) + SECOND * u32::try_from(leaps).unwrap();
    assert!(
        lasted >= lease,
        "a second for each leap at most: {lasted:?}"
    );
}

/// A store whose server has a clock that leaps, or whose own does.
async fn open(server: &Server, library: Library, clock: Clock, lease: Duration) -> Redis {
    let opening = Opening {
        url: server.url().parse().unwrap(),
        options: Options {
            lease,
            ..Options::default()
        },
        library,
        clock,
        by_hand: None,
    };
    opening.open().await.unwrap()
}

/// Writes what the holder's lock guards.
async fn write(store: &Redis, holder: &Acquire, value: &str) -> Result<u64, CommitError> {
    let commit = Commit {
        id: CommitId::mint(store.now()),
        transaction: transaction_of(holder),
        began: Time::default(),
        guards: vec![guarding(holder)],
        reads: vec![],
        ranges: vec![],
        writes: vec![put(&guarded(), "k", value)],
    };
    store.commit(commit).await.map(|it| it.number)
}

async fn value(store: &Redis) -> String {
    let got = store.get(guarded(), key("k")).await.unwrap();
    String::from_utf8(got.unwrap().value.to_vec()).unwrap()
}

#[test]
fn l19_no_fenced_write_slips_through_when_the_server_s_clock_leaps() {
    let server = Server::start();
    block_on(async {
        let (one, other) = (
            open(&server, Library::Leaping, Clock::machine(), LONG).await,
            open(&server, Library::Leaping, Clock::machine(), LONG).await,
        );
        let mut token = 0;
        for seconds in LEAPS {
            let holder = of(TransactionId::mint(), &["order/k"]);
            let granted = one.acquire(holder.clone()).await.unwrap();
            set_clock(&server, seconds);
            let refused = other.acquire(of(TransactionId::mint(), &["order/k"])).await;
            assert!(
                matches!(refused, Err(AcquireError::Held(_))),
                "{seconds}: {refused:?}"
            );
            write(&one, &holder, "kept").await.unwrap();
            assert!(granted.tokens[0].1 > token, "{seconds}");

            // One whose lease runs out meanwhile, whenever that is.
            let late = Acquire {
                lease: Some(SECOND / 2),
                ..of(TransactionId::mint(), &["order/k"])
            };
            one.acquire(late.clone()).await.unwrap();
            set_clock(&server, -seconds);
            let next = patient("order/k");
            token = other.acquire(next.clone()).await.unwrap().tokens[0].1;
            let refused = write(&one, &late, "late").await;
            assert!(
                matches!(refused, Err(CommitError::Fenced { .. })),
                "{seconds}: {refused:?}"
            );
            write(&other, &next, "next").await.unwrap();
            assert_eq!(value(&one).await, "next", "{seconds}");
            one.end(transaction_of(&late));
        }
    });
}

#[test]
fn l19_a_node_whose_clock_leaps_writes_nothing_and_comes_anew() {
    let server = Server::start();
    block_on(async {
        let clock = ManualClock::new(Clock::machine().now());
        let leaps = open(&server, Library::Server, clock.clone().into(), SHORT).await;
        let other = node(&server).await;
        let holder = of(TransactionId::mint(), &["order/k"]);
        let first = leaps.acquire(holder.clone()).await.unwrap();
        for seconds in [HOUR, DAY] {
            clock.advance(SECOND * u32::try_from(seconds).unwrap());
            let refused = write(&leaps, &holder, "late").await;
            assert!(
                matches!(refused, Err(CommitError::Fenced { .. })),
                "{refused:?}"
            );
        }
        // In the store it is over in its time.
        let next = patient("order/k");
        let granted = other.acquire(next.clone()).await.unwrap();
        assert!(granted.tokens[0].1 > first.tokens[0].1);
        assert!(granted.since >= first.since + SHORT / 2);
        write(&other, &next, "next").await.unwrap();
        let again = patient("order/k");
        acquire_again(&leaps, &again).await;
        assert_eq!(value(&other).await, "next");
    });
}
