//! What operations cost the server, in commands: so that a change of it is seen.
//! The table in `ARCHITECTURE.md` says the same.

use super::direct::Direct;
use super::*;
use crate::contract::guarded;
use crate::redis::codec::{Arguments, Claimed};
use crate::redis::library::Library;

/// The calls that are counted, in the order in which they are made, and how many
/// commands each runs within its function.
const COSTS: [(&str, u64); 10] = [
    ("acquire", 10),
    ("renew", 6),
    ("release", 9),
    ("acquire for a transaction", 10),
    ("commit of one guarded write", 23),
    ("acquire that waits", 16),
    ("release that hands over here", 22),
    ("release that hands over to another node", 24),
    ("claim", 7),
    ("beat of a node", 8),
];

#[test]
fn what_operations_cost_in_commands_is_known() {
    let server = Server::start();
    let mut node = Direct::new(&server, Library::Server);
    let mut costs = Vec::new();
    let mut cost = |node: &mut Direct, what: &'static str, arguments: &Arguments| {
        let (reply, done) = node.call_counted(arguments);
        println!("{what}: {} {:?}", done.count(), done.commands);
        costs.push((what, done.count()));
        reply
    };
    let by = caller().principal;

    let held = of_caller(&["a"]);
    let acquire = node.acquiring(&held);
    cost(&mut node, "acquire", &acquire);
    let renew = Arguments::renew(held.id, &by, None);
    let renewed = cost(&mut node, "renew", &renew).renewed().unwrap();
    assert!(renewed.is_ok());
    let release = Arguments::release(held.id, &by);
    let released = cost(&mut node, "release", &release).released();
    assert_eq!(released, Ok(Ok(crate::store::Released::Released)));

    let holder = of(TransactionId::mint(), &["order/k"]);
    let acquire = node.acquiring(&holder);
    let now = cost(&mut node, "acquire for a transaction", &acquire)
        .reached
        .now;
    let commit = Commit {
        id: CommitId::mint(now),
        transaction: transaction_of(&holder),
        began: now,
        guards: vec![guarding(&holder)],
        reads: vec![(guarded(), crate::contract::key("k"), 0)],
        ranges: vec![],
        writes: vec![put(&guarded(), "k", "v")],
    };
    let commit = Arguments::commit(&commit, node.node);
    let committed = cost(&mut node, "commit of one guarded write", &commit).committed();
    assert!(committed.unwrap().is_ok());

    let requests = [(); 3].map(|()| waiting(LONG, of_caller(&["a"])));
    let [held, next, last] = requests.each_ref().map(|it| it.id);
    node.acquire(&requests[0]);
    let acquire = node.acquiring(&requests[1]);
    cost(&mut node, "acquire that waits", &acquire);
    let release = Arguments::release(held, &by);
    cost(&mut node, "release that hands over here", &release);

    node.acquire(&requests[2]);
    let (release, here) = (Arguments::release(next, &by), node.node);
    node.go_as_another();
    let released = cost(
        &mut node,
        "release that hands over to another node",
        &release,
    );
    node.node = here;
    let claim = Arguments::claim(last, released.reached.token);
    let claimed = cost(&mut node, "claim", &claim).claimed().unwrap();
    assert!(matches!(claimed, Claimed::Held(_)), "{claimed:?}");
    let beat = node.beat(1);
    cost(&mut node, "beat of a node", &beat);
    assert_eq!(costs, COSTS);
}
