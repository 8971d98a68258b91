//! The steps, by kind.

mod answers;
mod calls;
mod guards;
mod hunger;
mod values;

use crate::run::Step;

/// The step of this name.
pub(crate) fn find(name: &str) -> Option<Step> {
    [
        answers::STEPS,
        calls::STEPS,
        guards::STEPS,
        hunger::STEPS,
        values::STEPS,
    ]
    .into_iter()
    .flatten()
    .find_map(|(known, step)| (*known == name).then_some(*step))
}
