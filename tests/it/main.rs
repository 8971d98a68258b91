//! What Lockport does, seen from outside: every test starts real processes.
//!
//! One binary for all of them, so that it is linked once and its tests run in
//! parallel. Each module is about one subject; the words they are written in
//! are in `tests/harness`.

#[path = "../harness/mod.rs"]
mod harness;

/// Makes one test per store of each function that takes a
/// [`harness::Storage`].
macro_rules! on_every_store {
    ($($test:ident,)+) => {
        mod memory {
            $(#[test]
            fn $test() {
                super::$test(crate::harness::Storage::Memory);
            })+
        }
        mod embedded {
            $(#[test]
            fn $test() {
                super::$test(crate::harness::Storage::Embedded);
            })+
        }
        mod redis {
            $(#[test]
            fn $test() {
                super::$test(crate::harness::Storage::Redis);
            })+
        }
    };
}

mod admin;
mod answers;
mod bad_bodies;
mod bad_input;
mod cache;
mod cli;
mod component_config;
mod concurrency;
mod conflicts;
mod contract_invoice;
mod contract_order;
mod contract_order_changes;
mod crash;
mod examples;
mod fencing;
mod gateway;
mod growth;
mod h2c;
mod hostile;
mod idempotency;
mod keyvalue;
mod listen_config;
mod lock_broken;
mod lock_client;
mod lock_command;
mod lock_crowd;
mod lock_ending;
mod lock_frames;
mod lock_histories;
mod lock_json;
mod lock_many_held;
mod lock_names;
mod lock_older;
mod lock_outcomes;
mod lock_overtaken;
mod lock_python;
mod lock_queues;
mod lock_races;
mod lock_restarts;
mod lock_spinning;
mod lock_unavailable;
mod lock_watch;
mod locks_cli;
mod malformed;
mod money;
mod opting_out;
mod outbound;
mod outbound_broken;
mod redis_away;
mod redis_start;
mod requests;
mod shutdown;
mod slow;
mod tidy;
mod transactions;
mod two_nodes;
mod two_nodes_cut_off;
mod two_nodes_killed;
