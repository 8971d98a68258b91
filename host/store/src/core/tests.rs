//! Every edge of the drawings in [`core`](super), one by one.

mod deadlocks;
mod grants;
mod kept;
mod limits;
mod modes;
mod order;
mod races;
mod requests;
mod scale;
mod searches;
mod sessions;
mod watched;
mod world;

use super::*;
use crate::store::*;
use world::*;

pub(super) use world::assert_sound;
