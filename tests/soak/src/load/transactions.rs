//! Callers of components. Each does one kind of thing:
//!
//! | workload | what | checked by |
//! | --- | --- | --- |
//! | `counter` | adds one, under a lock or without | `sums` |
//! | `bank` | transfers between accounts, under both locks | `sums` |
//! | `audit` | lists every account | `sums` |
//! | `register` | reads some keys and writes some of them | `graph`, `versions` |
//! | `guarded` | the same under a lock that callers of the lock API take too | `versions` (fencing), `locks` |

use super::Site;
use super::script::Script;
use crate::history::Outcome;
use crate::http::Client;
use crate::random::Random;
use std::time::Duration;
use tokio::time::sleep;

/// Accounts, registers and counters of each kind.
pub(super) const ACCOUNTS: usize = 5;
/// See [`ACCOUNTS`].
pub(super) const REGISTERS: usize = 5;
/// See [`ACCOUNTS`].
pub(super) const COUNTERS: usize = 2;

/// What each account has at first.
pub(super) const BALANCE: u64 = 1_000_000;

/// How long a component waits for a lock, in milliseconds.
const WAIT: u64 = 4_000;

/// What clients do, in turn.
const WORKLOADS: [fn(&mut Random, String) -> Script; 8] = [
    register, bank, guarded, counter, register, bank, audit, guarded,
];

pub(super) async fn run(site: Site, number: usize, mut random: Random) {
    let workload = WORKLOADS[number % WORKLOADS.len()];
    let mut clients: Vec<Client> = (0..site.nodes.len()).map(|it| site.http(it)).collect();
    let mut count = 0;
    while !site.is_over() {
        count += 1;
        let node = random.below(clients.len());
        let script = workload(&mut random, format!("t-{number}-{count}"));
        let transaction = script.run(&mut clients[node], node, &site.recorder).await;
        let failed = transaction.outcome != Outcome::Ok;
        site.recorder.history().transactions.push(transaction);
        let pause = match failed {
            true => random.millis(10, 100),
            false => random.millis(0, 25),
        };
        sleep(pause).await;
    }
}

fn counter(random: &mut Random, marker: String) -> Script {
    let mut script = Script::begin("counter", marker);
    let key = format!("c{}", random.below(COUNTERS));
    // Without a lock, what conflicts is run again.
    if random.once_in(3) {
        script.add("notes", &key, 1);
    } else {
        script.acquire(&[&key], WAIT);
        script.add("items", &key, 1);
    }
    script.mark();
    script
}

fn bank(random: &mut Random, marker: String) -> Script {
    let mut script = Script::begin("bank", marker);
    let from = random.below(ACCOUNTS);
    let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
    let (from, to) = (format!("a{from}"), format!("a{to}"));
    let amount = 1 + random.below(100) as u64;
    script.acquire(&[&from, &to], WAIT);
    script.add("items", &from, amount.wrapping_neg());
    if random.once_in(10) {
        script.step("sleep 30");
    }
    script.add("items", &to, amount);
    script.mark();
    // Now and then it ends badly, and nothing of it may be there.
    if random.once_in(12) {
        let ending = *random.pick(&["status 409", "trap", "return"]);
        script.step(ending);
    }
    script
}

fn audit(_random: &mut Random, marker: String) -> Script {
    let mut script = Script::begin("audit", marker);
    script.list("items", "100 prefix=a");
    script
}

fn register(random: &mut Random, marker: String) -> Script {
    let mut script = Script::begin("register", marker);
    let first = random.below(REGISTERS);
    let count = 1 + random.below(3);
    let keys: Vec<String> = (0..count)
        .map(|it| format!("r{}", (first + it) % REGISTERS))
        .collect();
    for key in &keys {
        script.get("notes", key);
        // Now and then others have time to come in between.
        if random.once_in(12) {
            script.step("sleep 20");
        }
    }
    let writes = random.below(count + 1);
    for key in &keys[..writes] {
        script.put("notes", key);
    }
    if writes > 0 {
        script.mark();
    }
    script
}

fn guarded(random: &mut Random, marker: String) -> Script {
    let mut script = Script::begin("guarded", marker);
    let key = format!("g{}", random.below(2));
    script.acquire(&[&key], WAIT);
    script.get("items", &key);
    // A holder that stands still while others go on.
    if random.once_in(6) {
        let pause = random.millis(10, 400).as_millis();
        script.step(&format!("sleep {pause}"));
    }
    script.put("items", &key);
    script.mark();
    script
}

/// A short time before something is tried again.
pub(super) const AGAIN: Duration = Duration::from_millis(100);
