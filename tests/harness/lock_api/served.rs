//! Who of many waiters is served when, through as many ways as there are.

use super::{LockApi, Speaks, acquire, acquire_waiting};
use std::sync::Mutex;
use std::thread;

/// Lets so many wait for one lock, through these APIs in turn, one after the
/// other; they have to be granted it in the order in which they came, with
/// rising fencing tokens.
#[track_caller]
pub(crate) fn assert_served_in_order(apis: &[LockApi], waiters: u32) {
    let (first, last) = (&apis[0], &apis[apis.len() - 1]);
    let order = Mutex::new(Vec::new());
    let holder = first.grant(acquire(["a"]));
    thread::scope(|scope| {
        for waiter in 0..waiters {
            let by = &apis[waiter as usize % apis.len()];
            let order = &order;
            scope.spawn(move || {
                let grant = by.grant(acquire_waiting(["a"]));
                // In the order of the grants, because it still holds the lock.
                let mut order = order.lock().expect("no waiter panics");
                order.push((waiter, grant.fencing_token));
                drop(order);
                by.release(&grant.id).expect("it is held");
            });
            first.wait_until_waiting("a", waiter + 1);
        }
        assert_eq!(first.look("a").waiters.len(), waiters as usize);
        last.release(&holder.id).expect("it is held");
    });
    let order = order.into_inner().expect("no waiter panics");
    let came: Vec<u32> = order.iter().map(|(waiter, _)| *waiter).collect();
    assert_eq!(came, (0..waiters).collect::<Vec<_>>());
    assert!(order.is_sorted_by_key(|(_, token)| *token), "{order:?}");
}
