//! Things that come at the same moment, or a microsecond apart.

use super::*;

/// Numbers that look random and are the same each time.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % limit
    }
}

// L20.
#[test]
fn a_renewal_at_the_deadline_renews_or_finds_the_grant_gone_never_both() {
    let mut world = World::new();
    let mut dice = Dice(20);
    for _ in 0..100_000 {
        let ask = caller(&["a"]);
        world.hold(&ask);
        let early = dice.below(3);
        world.pass(LEASE + MICRO - MICRO * early as u32);
        // At the deadline, and after it, the grant is gone.
        let renewed = world.renew(&ask, None);
        let is_held = world.look("a").holding == 1;
        assert_eq!(renewed.is_ok(), is_held);
        assert_eq!(is_held, early == 2);
        let released = world.release(&ask);
        assert_eq!(released == Released::Released, is_held);
        world.effects.clear();
    }
    let counted = world.core.statistics();
    assert_eq!(counted.released + counted.expired, 100_000);
}

// L10, as far as the core goes: a million times, in four parts side by side.
#[test]
fn a_hand_over_that_meets_a_cancel_and_a_timeout_is_one_of_the_three_1() {
    meet(101);
}

#[test]
fn a_hand_over_that_meets_a_cancel_and_a_timeout_is_one_of_the_three_2() {
    meet(102);
}

#[test]
fn a_hand_over_that_meets_a_cancel_and_a_timeout_is_one_of_the_three_3() {
    meet(103);
}

#[test]
fn a_hand_over_that_meets_a_cancel_and_a_timeout_is_one_of_the_three_4() {
    meet(104);
}

fn meet(seed: u64) {
    let mut world = World::new();
    let mut dice = Dice(seed);
    let mut outcomes = [0; 3];
    let (mut holder, mut waiter) = (caller(&["a"]), waiting(SECOND, caller(&["a"])));
    for round in 0..250_000 {
        holder.id = GrantId::from_u128(2 * round);
        waiter.id = GrantId::from_u128(2 * round + 1);
        world.hold(&holder);
        world.wait(&waiter);
        world.effects.clear();
        world.pass(SECOND - MICRO + MICRO * dice.below(2) as u32);
        let mut cancelled = None;
        let mut order = [0, 1, 2];
        order.swap(0, dice.below(3));
        order.swap(1, 1 + dice.below(2));
        for what in order {
            match what {
                0 => assert_eq!(world.release(&holder), Released::Released),
                1 => cancelled = Some(world.cancel(&waiter)),
                _ => world.tick(),
            }
        }
        let told = world.told();
        let [end] = &told[..] else {
            panic!("it is told once: {told:?}");
        };
        let expected = match end {
            Effect::Granted(..) => (0, Cancelled::Granted),
            Effect::Cancelled(_) => (1, Cancelled::Cancelled),
            // A cancel that comes after the end finds nothing to end.
            Effect::TimedOut(_) => (2, Cancelled::Cancelled),
            other => panic!("{other:?}"),
        };
        assert_eq!(cancelled, Some(expected.1));
        outcomes[expected.0] += 1;
        assert_eq!(
            world.look("a").holding,
            0,
            "whatever was granted is given back"
        );
        if round % 1_000 == 0 {
            assert!(world.core.table.is_empty());
        }
    }
    assert!(outcomes.iter().all(|it| *it > 25_000), "{outcomes:?}");
}
