//! Names in order, kept only while somebody lists them.

use super::*;
use std::collections::BTreeSet;

const MANY: usize = 2_500;

/// A world with the locks `n0000` to `n2499`.
fn crowded() -> (World, Vec<Acquire>) {
    let mut world = World::new();
    let asks: Vec<_> = (0..MANY).map(|it| single(&[&text(it)])).collect();
    world.hold_all(&asks);
    (world, asks)
}

fn text(number: usize) -> String {
    format!("n{number:04}")
}

fn names(world: &World, prefix: &str, after: Option<&str>) -> Vec<String> {
    let after = after.map(name);
    let names = world.core.names(prefix, after.as_ref());
    names.map(|it| it.as_str().to_owned()).collect()
}

#[test]
fn names_are_put_in_order_step_by_step_while_others_come_and_go() {
    let (mut world, asks) = crowded();
    for ask in asks.iter().step_by(3) {
        world.release(ask);
    }
    world.wait(&single(&["n0001", "queue"]));
    let mut expected: BTreeSet<String> = (0..MANY).filter(|it| it % 3 != 0).map(text).collect();
    expected.insert("queue".to_owned());
    let mut steps = 0;
    while !world.core.put_in_order(700) {
        steps += 1;
        // One comes where those before have been, and one of each side goes.
        let late = format!("late{steps}");
        world.hold(&single(&[&late]));
        expected.insert(late);
        for gone in [3 * steps + 1, MANY - 3 * steps] {
            world.release(&asks[gone]);
            expected.remove(&text(gone));
        }
    }
    assert_eq!(steps, MANY / 700);
    let expected: Vec<_> = expected.into_iter().collect();
    assert_eq!(names(&world, "", None), expected);
}

#[test]
fn names_that_are_in_order_stay_so() {
    let (mut world, asks) = crowded();
    assert!(world.core.put_in_order(MANY + 1));
    world.release(&asks[7]);
    let new = single(&["n0007a"]);
    world.hold(&new);
    assert_eq!(names(&world, "n0007", None), ["n0007a"]);
    // One that is waited for is not idle, whoever holds it.
    world.wait(&single(&["n0007a"]));
    world.release(&new);
    assert_eq!(names(&world, "n0007", None), ["n0007a"]);
    assert_eq!(names(&world, "n00", Some("n0098")), ["n0099"]);
    assert_eq!(names(&world, "n2499", Some("a")), ["n2499"]);
    assert_eq!(names(&world, "n0", Some("n1")), [""; 0]);
    assert!(world.core.put_in_order(0), "nothing is left to do");
}

#[test]
fn the_order_is_forgotten_step_by_step_and_begun_anew() {
    let (mut world, asks) = crowded();
    assert!(world.core.put_in_order(usize::MAX));
    assert!(!world.core.forget_order(1_000));
    assert_eq!(
        names(&world, "", None),
        [""; 0],
        "they are not kept any more"
    );
    world.release(&asks[0]);
    // Somebody lists again before it has gone.
    assert!(world.core.put_in_order(usize::MAX));
    assert_eq!(names(&world, "", None).len(), MANY - 1);
    assert!(!world.core.forget_order(1_000));
    assert!(!world.core.forget_order(1_000), "the rest of the first");
    for _ in 0..2 {
        assert!(!world.core.forget_order(1_000));
    }
    assert!(world.core.forget_order(1_000));
    assert!(world.core.forget_order(1_000), "nothing is there");
}

#[test]
fn nothing_is_kept_in_order_that_nobody_asked_for() {
    let (world, _) = crowded();
    assert_eq!(names(&world, "", None), [""; 0]);
}
