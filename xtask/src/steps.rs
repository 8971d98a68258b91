//! What the commands print: the step they are at, and why they stopped.
#![expect(clippy::print_stderr, reason = "this file is where xtask speaks")]

use std::fmt;

/// Why a command stopped, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    hint: Option<String>,
}

/// What every step returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says of what it is a failure.
    pub(crate) fn within(mut self, of: &str) -> Self {
        self.what = format!("{of}: {}", self.what);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Announces a step.
pub(crate) fn say(step: &str) {
    eprintln!("==> {step}");
}

/// Says why the command stops.
pub(crate) fn say_failure(failure: &Failure) {
    eprintln!("error: {failure}");
    if let Some(hint) = &failure.hint {
        eprintln!("\nhint: {hint}");
    }
}
