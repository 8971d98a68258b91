//! Very many who wait for one lock: what one call costs does not depend on them.

use super::direct::{Direct, Done};
use super::*;
use crate::core::Acquired;
use crate::redis::codec::{Arguments, Beaten, Claimed};
use crate::redis::library::Library;

/// How many wait: as many as the line says, or so many.
const WAITERS: (usize, usize) = (100_000, 10_000);

/// How many commands one call runs at most.
const COMMANDS_MAX: u64 = 32;

/// How often the node says that it is there, in calls.
const BEAT_EVERY: usize = 500;

/// What the calls of a kind have cost.
#[derive(Default)]
struct Costs {
    micros: Vec<u64>,
    most: Done,
}

impl Costs {
    fn add(&mut self, done: Done) {
        self.micros.push(done.micros);
        if done.count() > self.most.count() {
            self.most = done;
        }
    }

    /// Says what they were, and fails if one was too expensive.
    #[track_caller]
    fn check(mut self, what: &str) {
        self.micros.sort_unstable();
        let at = |share: usize| self.micros[(self.micros.len() - 1) * share / 1_000];
        println!(
            "L16 {what}: {} calls, at most {} commands; {} us in the server in the middle, {} us \
             at p99.9, {} us at most",
            self.micros.len(),
            self.most.count(),
            at(500),
            at(999),
            at(1_000),
        );
        let is_bounded = self.most.count() <= COMMANDS_MAX;
        assert!(is_bounded, "{what}: {:?}", self.most);
    }
}

#[test]
fn l16_what_a_call_costs_does_not_depend_on_how_many_wait_for_the_lock() {
    let count = if in_full() { WAITERS.0 } else { WAITERS.1 };
    let server = Server::start();
    let mut node = Direct::new(&server, Library::Server);
    let by = caller().principal;
    let held = Acquire {
        lease: Some(super::direct::LEASE),
        ..of_caller(&["a"])
    };
    node.acquire(&held);

    let before = node.memory("used_memory");
    let (mut queue, mut waiters) = (Costs::default(), Vec::new());
    for _ in 0..count {
        let request = Acquire {
            lease: Some(LONG),
            ..waiting(LONG * 60, of_caller(&["a"]))
        };
        let (reply, done) = node.call_counted(&node.acquiring(&request));
        assert!(matches!(reply.acquired(), Ok((Acquired::Waiting, _))));
        queue.add(done);
        waiters.push(request.id);
    }
    let taken = node.memory("used_memory").saturating_sub(before);
    println!(
        "L16: {} bytes in the server for each of {count} who wait",
        taken / count as u64
    );
    for (key, bytes) in node.memory_of_keys() {
        println!("L16: {} of them in `{key}`", bytes / count as u64);
    }
    queue.check("acquire that waits");

    let (mut hand_over, mut claims) = (Costs::default(), Costs::default());
    let (mut holder, mut token, mut sent) = (held.id, 0, 0);
    for (at, next) in waiters.into_iter().enumerate() {
        let (reply, done) = node.call_counted(&Arguments::release(holder, &by));
        hand_over.add(done);
        // The next in the order in which they came, with a higher token.
        assert!(reply.reached.token > token);
        token = reply.reached.token;
        let (reply, done) = node.call_counted(&Arguments::claim(next, token));
        assert_eq!(node.waiting as usize, count - 1 - at, "none is lost");
        let claimed = reply.claimed().unwrap();
        assert!(matches!(claimed, Claimed::Held(_)), "{at}: {claimed:?}");
        claims.add(done);
        holder = next;
        if at % BEAT_EVERY == 0 {
            let beat = node.beat(sent);
            if let Beaten::Lives { sent: number, .. } = node.call(&beat).node_beaten().unwrap() {
                sent = number;
            }
        }
    }
    hand_over.check("release that hands over");
    claims.check("claim");
}
