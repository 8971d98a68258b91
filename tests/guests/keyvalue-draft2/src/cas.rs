//! The steps with `cas`.

use crate::atomics::{self, Cas, CasError};
use crate::run::{Outcome, Words, ok, open, text, told};
use std::cell::RefCell;

thread_local! {
    /// A `cas` that is kept from step to step, and from request to request.
    static KEPT: RefCell<Option<Cas>> = const { RefCell::new(None) };
}

/// A step that only this guest has.
pub(crate) fn own_step(name: &str, words: &mut Words<'_>) -> Option<Outcome> {
    let step = match name {
        "cas-new" => new,
        "cas-current" => current,
        "cas-swap" => swap,
        "cas-add" => add,
        _ => return None,
    };
    Some(step(words))
}

/// `cas-new BUCKET KEY`: what is there.
fn new(words: &mut Words<'_>) -> Outcome {
    let cas = Cas::new(&open(words.text()?)?, words.text()?).map_err(told)?;
    KEPT.set(Some(cas));
    ok()
}

/// `cas-current`: what is there now.
fn current(_: &mut Words<'_>) -> Outcome {
    KEPT.with_borrow(|cas| match cas {
        Some(cas) => shown(cas),
        None => Ok("no cas".to_owned()),
    })
}

/// `cas-swap VALUE`: if what was there is there no more, a new `cas` takes the
/// place of the old one.
fn swap(words: &mut Words<'_>) -> Outcome {
    let Some(cas) = KEPT.take() else {
        return Ok("no cas".to_owned());
    };
    match atomics::swap(cas, words.text()?.as_bytes()) {
        Ok(()) => ok(),
        Err(CasError::CasFailed(cas)) => {
            let now = shown(&cas)?;
            KEPT.set(Some(cas));
            Ok(format!("failed, now {now}"))
        }
        Err(CasError::StoreError(error)) => Err(told(error)),
    }
}

/// `cas-add BUCKET KEY NUMBER`: a counter by hand.
fn add(words: &mut Words<'_>) -> Outcome {
    let cas = Cas::new(&open(words.text()?)?, words.text()?).map_err(told)?;
    let now = cas
        .current()
        .map_err(told)?
        .unwrap_or_else(|| b"0".to_vec());
    let now: i64 = text(&now)
        .parse()
        .map_err(|_| "no number is there".to_owned())?;
    let sum = now + words.number::<i64>()?;
    match atomics::swap(cas, sum.to_string().as_bytes()) {
        Ok(()) => Ok(sum.to_string()),
        Err(CasError::CasFailed(_)) => Err("failed".to_owned()),
        Err(CasError::StoreError(error)) => Err(told(error)),
    }
}

fn shown(cas: &Cas) -> Outcome {
    let found = cas.current().map_err(told)?;
    Ok(found.map_or_else(|| "none".to_owned(), |value| text(&value)))
}
