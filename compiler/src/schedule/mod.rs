//! Decisions that every backend takes the same way: how operands are laid out, what lives where in memory and for how long, what is launched.

pub mod choices;
pub mod contractions;
pub mod in_place;
pub mod launches;
pub mod layout;
pub mod lifetime;
pub mod memory;
pub mod persistent;
pub mod plan;
pub mod rematerialise;
mod rows;
mod split;
pub mod split_depth;
pub mod split_keys;
pub mod split_sums;
#[cfg(test)]
mod testing;
mod turns;
pub mod weights;
pub mod winograd;
