//! Steps about locks: acquiring them, and everything that may be done to a
//! guard.

use std::cell::RefCell;

use crate::lockport::host::locks::{self, Error, Guard, Options};
use crate::run::{Outcome, Run, Step, Stop, Words};

pub(crate) const STEPS: &[(&str, Step)] = &[
    ("acquire", acquire),
    ("acquire-many", acquire_many),
    ("inherited", inherited),
    ("names", names),
    ("token", token),
    ("remaining", remaining),
    ("renew", renew),
    ("release", release),
    ("drop", discard),
    ("forget", forget),
    ("drop-twice", drop_twice),
    ("forge", forge),
    ("stash", stash),
    ("unstash", unstash),
];

thread_local! {
    /// Guards that outlive their request, in an instance that is used again.
    static STASH: RefCell<Vec<Guard>> = const { RefCell::new(Vec::new()) };
}

/// `acquire NAME... [wait=MS] [lease=MS]`: the tokens, in the order of the
/// names.
fn acquire(run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let mut names = Vec::new();
    let mut options = Options {
        wait: 0,
        lease: None,
    };
    while let Some(word) = words.next() {
        if let Some(wait) = word.strip_prefix("wait=") {
            options.wait = nanoseconds(wait)?;
        } else if let Some(lease) = word.strip_prefix("lease=") {
            options.lease = Some(nanoseconds(lease)?);
        } else {
            names.push(word.to_owned());
        }
    }
    let guard = locks::acquire(&names, options).map_err(failed)?;
    let tokens: Vec<String> = names
        .iter()
        .map(|name| guard.token(name).to_string())
        .collect();
    run.guards.push(guard);
    Ok(format!("token {}", tokens.join(" ")))
}

/// `acquire-many COUNT`: acquires `many/0`, `many/1`, ..., each by itself.
fn acquire_many(run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let count = words.number("count")?;
    for index in 0..count {
        let options = Options {
            wait: 0,
            lease: None,
        };
        match locks::acquire(&[format!("many/{index}")], options) {
            Ok(guard) => run.guards.push(guard),
            Err(error) => {
                return Err(Stop::Failed(
                    423,
                    format!("after {index}: {}", text(&error)),
                ));
            }
        }
    }
    Ok(format!("{count}"))
}

/// `inherited`: the names and tokens of the guards of the route and of the
/// caller.
fn inherited(run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    let guards = locks::inherited();
    let lines: Vec<String> = guards
        .iter()
        .flat_map(|guard| {
            guard
                .names()
                .into_iter()
                .map(|name| (guard.token(&name), name))
        })
        .map(|(token, name)| format!("{name}={token}"))
        .collect();
    run.guards.extend(guards);
    Ok(format!("[{}]", lines.join(",")))
}

/// `names`: of the latest guard.
fn names(run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    Ok(format!("[{}]", latest(run)?.names().join(",")))
}

/// `token NAME`: of the latest guard.
fn token(run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let name = words.text("name")?;
    Ok(latest(run)?.token(name).to_string())
}

/// `remaining`: milliseconds that the latest guard still has.
fn remaining(run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    Ok((latest(run)?.remaining() / 1_000_000).to_string())
}

/// `renew MS`: renews the latest guard.
fn renew(run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let lease = nanoseconds(words.text("lease")?)?;
    latest(run)?.renew(lease).map_err(failed)?;
    Ok("ok".to_owned())
}

/// `release`: releases the latest guard.
fn release(run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    Guard::release(take(run)?).map_err(failed)?;
    Ok("ok".to_owned())
}

/// `drop`: drops the handle of the latest guard, which releases nothing.
fn discard(run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    drop(take(run)?);
    Ok("ok".to_owned())
}

/// `forget`: leaks the handle of the latest guard.
fn forget(run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    std::mem::forget(take(run)?);
    Ok("ok".to_owned())
}

/// `drop-twice`: drops the handle of the latest guard a second time. Traps.
fn drop_twice(run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    let handle = latest(run)?.handle();
    drop(take(run)?);
    // SAFETY: there is none: the host must notice that the handle is not ours.
    drop(unsafe { Guard::from_handle(handle) });
    Ok("the host dropped a guard twice".to_owned())
}

/// `forge HANDLE`: uses a handle that nobody has given. Traps.
fn forge(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let handle = u32::try_from(words.number("handle")?).unwrap_or(u32::MAX);
    // SAFETY: there is none: the host must notice that the handle is not ours.
    let guard = unsafe { Guard::from_handle(handle) };
    Ok(format!("the host knows {}", guard.names().join(",")))
}

/// `stash`: keeps the latest guard past the end of the request.
fn stash(run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    let guard = take(run)?;
    Ok(STASH.with_borrow_mut(|stash| {
        stash.push(guard);
        stash.len().to_string()
    }))
}

/// `unstash`: makes the guard that was stashed last the latest one; `none` if
/// this instance has none.
fn unstash(run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    let Some(guard) = STASH.with_borrow_mut(Vec::pop) else {
        return Ok("none".to_owned());
    };
    run.guards.push(guard);
    Ok("ok".to_owned())
}

// === helpers ===

fn latest(run: &Run) -> Result<&Guard, Stop> {
    run.guards
        .last()
        .ok_or_else(|| Stop::usage("there is no guard"))
}

fn take(run: &mut Run) -> Result<Guard, Stop> {
    run.guards
        .pop()
        .ok_or_else(|| Stop::usage("there is no guard"))
}

fn nanoseconds(milliseconds: &str) -> Result<u64, Stop> {
    let milliseconds: u64 = milliseconds
        .parse()
        .map_err(|_| Stop::usage("a duration is no number"))?;
    Ok(milliseconds.saturating_mul(1_000_000))
}

fn failed(error: Error) -> Stop {
    Stop::Failed(423, text(&error))
}

/// The case as the WIT names it, and its text.
fn text(error: &Error) -> String {
    match error {
        Error::AccessDenied => "access-denied".to_owned(),
        Error::InvalidArgument(text) => format!("invalid-argument {text}"),
        Error::Held => "held".to_owned(),
        Error::TimedOut => "timed-out".to_owned(),
        Error::Deadlock => "deadlock".to_owned(),
        Error::Lost => "lost".to_owned(),
        Error::InUse => "in-use".to_owned(),
        Error::Quota(text) => format!("quota {text}"),
        Error::Recovering => "recovering".to_owned(),
        Error::Unavailable(text) => format!("unavailable {text}"),
        Error::Closed => "closed".to_owned(),
    }
}
