//! A Python client with nothing of ours uses the lock API: grpcio, and what the
//! server says of itself by reflection.

use crate::harness::{LockApi, Node, Speaks, Storage, address_of, python};

on_every_store! {
    a_python_client_with_reflection_alone_uses_everything_there_is,
}

fn a_python_client_with_reflection_alone_uses_everything_there_is(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let address = address_of(&node).to_string();
    python("locks.py", [address]).expect_success();
    let left = LockApi::of(&node).list("", 100);
    assert!(left.is_empty(), "something is still held: {left:?}");
}
