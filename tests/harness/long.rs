//! Tests whose line names a size that takes too long for every run: they have
//! a short form, and a long one that is asked for.

use std::fmt;

/// `LOCKPORT_TEST_LONG=1` asks for the long forms; `cargo xtask test --long`
/// sets it.
const LONG: &str = "LOCKPORT_TEST_LONG";

/// Whether tests take as long as their lines say.
#[track_caller]
pub(crate) fn is_long() -> bool {
    match std::env::var_os(LONG) {
        None => false,
        Some(it) if it == "1" => true,
        Some(other) => panic!("{LONG} is 1 or not there, and not {}", other.display()),
    }
}

/// Prints what a test has found out besides: the runner's `--no-capture` shows
/// it.
#[expect(clippy::print_stdout, reason = "it is for whoever asked for it")]
pub(crate) fn report(what: fmt::Arguments<'_>) {
    println!("{what}");
}
