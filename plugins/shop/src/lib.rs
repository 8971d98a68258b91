//! What the components of the shop have in common: money, points in time, and
//! the form of their errors.

mod failure;
mod money;
mod timestamp;

pub use failure::{Failure, LOCKED};
pub use money::{Money, ParseMoneyError};
pub use timestamp::{ParseTimestampError, Timestamp};
