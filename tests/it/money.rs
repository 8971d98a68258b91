//! The money test: random transfers between accounts, by clients that also
//! fail, trap and go away. The sum never changes, and every transfer that was
//! acknowledged is there exactly once.

use crate::harness::{Client, Node, Random, Storage, eventually, steps};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Accounts, each guarded by a lock of its own.
const ACCOUNTS: usize = 6;

/// What each of them has at first.
const BALANCE: u64 = 1_000_000;

/// Clients that transfer.
const CLIENTS: u64 = 6;

/// Transfers that each client asks for.
const TRANSFERS: usize = 60;

/// How often the node is killed in the test that kills it.
const KILLS: usize = 4;

on_every_store! {
    transfers_that_fail_in_every_way_never_change_the_sum,
}

/// What the balances have to be by what was acknowledged; they wrap around, as
/// the probe's sums do.
type Balances = [u64; ACCOUNTS];

fn transfers_that_fail_in_every_way_never_change_the_sum(storage: Storage) {
    let random = Random::seeded();
    let node = open(&Node::builder().guest("probe").storage(storage));
    let over = AtomicBool::new(false);
    let expected = thread::scope(|scope| {
        let auditor = scope.spawn(|| audit_until(&node, &over));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let random = random.fork(number);
                let client = node.client();
                scope.spawn(move || transfer(client, random, TRANSFERS, &AtomicUsize::new(0)))
            })
            .collect();
        let mut expected = [BALANCE; ACCOUNTS];
        for client in clients {
            let (moved, unknown) = client.join().expect("no answer is odd");
            assert!(unknown.is_none(), "every request was answered");
            for (balance, moved) in expected.iter_mut().zip(moved) {
                *balance = balance.wrapping_add(moved);
            }
        }
        over.store(true, Ordering::Relaxed);
        assert!(auditor.join().expect("the sum was always right") > 0);
        expected
    });
    assert_eq!(balances(&mut node.client()), expected);
    assert_ne!(expected, [BALANCE; ACCOUNTS], "nothing was transferred");
}

#[test]
fn kills_under_transfers_never_change_the_sum_nor_lose_one_that_was_acknowledged() {
    let random = Random::seeded();
    let builder = Node::builder().guest("probe").storage(Storage::Embedded);
    let mut node = open(&builder);
    let mut expected = [BALANCE; ACCOUNTS];
    for kill in 0..KILLS {
        let done = AtomicUsize::new(0);
        let mut told = Vec::new();
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let random = random.fork(kill as u64 * CLIENTS + number);
                    let client = node.client();
                    scope.spawn(|| transfer(client, random, usize::MAX, &done))
                })
                .collect();
            eventually("the load runs", || {
                (done.load(Ordering::Relaxed) >= 60 + kill * 13).then_some(())
            });
            node.kill();
            told.extend(
                clients
                    .into_iter()
                    .map(|client| client.join().expect("no answer is odd")),
            );
        });
        node = builder.start();
        let there = balances(&mut node.client());
        expected = explained(expected, &told, there);
    }
}

/// Starts the node and fills the accounts.
fn open(builder: &crate::harness::Builder) -> Node {
    let node = builder.start();
    for account in 0..ACCOUNTS {
        let put = format!("put items {account} {BALANCE}");
        let acquire = format!("acquire item/{account}");
        node.run("probe", [acquire, put]).expect(200);
    }
    node
}

/// Asks for so many random transfers, or until the node is gone; what was
/// acknowledged, and the one whose outcome is unknown.
fn transfer(
    mut client: Client,
    mut random: Random,
    count: usize,
    done: &AtomicUsize,
) -> (Balances, Option<Balances>) {
    let mut moved: Balances = [0; ACCOUNTS];
    for _ in 0..count {
        let from = random.below(ACCOUNTS);
        let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
        let amount = 1 + random.below(100) as u64;
        let mut list = vec![
            format!("acquire item/{from} item/{to} wait=9000"),
            format!("add items {from} {}", amount.wrapping_neg()),
            format!("add items {to} {amount}"),
        ];
        let ending = ["", "", "", "status 409", "trap", "return", "keep"][random.below(7)];
        if !ending.is_empty() {
            list.push(ending.to_owned());
        }
        if random.below(10) == 0 {
            // Forgets the locks: refused, unless it ends badly by itself.
            list.remove(0);
        }
        let mut after: Balances = [0; ACCOUNTS];
        after[from] = amount.wrapping_neg();
        after[to] = amount;
        match client.try_send(&steps("probe", &list)) {
            Ok(answer) if answer.status == 200 => {
                assert!(list[0].starts_with("acquire"), "written without its locks");
                for (moved, after) in moved.iter_mut().zip(after) {
                    *moved = moved.wrapping_add(after);
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => assert!([409, 500].contains(&answer.status), "{}", answer.text()),
            Err(_) => return (moved, Some(after)),
        }
    }
    (moved, None)
}

/// Fails unless `there` is what was expected and acknowledged, with some of
/// the transfers whose outcome is unknown; gives `there`.
#[track_caller]
fn explained(
    mut expected: Balances,
    told: &[(Balances, Option<Balances>)],
    there: Balances,
) -> Balances {
    let add = |to: &mut Balances, moved: &Balances| {
        for (balance, moved) in to.iter_mut().zip(moved) {
            *balance = balance.wrapping_add(*moved);
        }
    };
    for (moved, _) in told {
        add(&mut expected, moved);
    }
    let unknown: Vec<&Balances> = told
        .iter()
        .filter_map(|(_, unknown)| unknown.as_ref())
        .collect();
    let is_explained = (0..1_u32 << unknown.len()).any(|subset| {
        let mut guess = expected;
        for (bit, moved) in unknown.iter().enumerate() {
            if subset & (1 << bit) != 0 {
                add(&mut guess, moved);
            }
        }
        guess == there
    });
    assert!(
        is_explained,
        "{there:?} is not {expected:?} with some of {unknown:?}"
    );
    there
}

/// Looks at all accounts at once, again and again; how often.
fn audit_until(node: &Node, over: &AtomicBool) -> usize {
    let mut client = node.client();
    let mut looks = 0;
    while !over.load(Ordering::Relaxed) {
        balances(&mut client);
        looks += 1;
    }
    looks
}

/// Every balance, as one listing has them. Fails unless their sum is right.
#[track_caller]
fn balances(client: &mut Client) -> Balances {
    let answer = client.send(&steps("probe", ["list items 100"])).expect(200);
    let listing = answer.step("list");
    let mut balances: Balances = [0; ACCOUNTS];
    for entry in listing.trim_matches(['[', ']']).split(',') {
        let (account, balance) = entry.split_once('=').expect("it is key=value");
        let account: usize = account.parse().expect("it is a number");
        balances[account] = balance.parse().expect("it is a number");
    }
    let sum = balances
        .iter()
        .fold(0_u64, |sum, balance| sum.wrapping_add(*balance));
    assert_eq!(sum, BALANCE * ACCOUNTS as u64, "{listing}");
    balances
}
