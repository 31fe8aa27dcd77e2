//! Decisions that every backend takes the same way: what lives where in memory, and for how long.

pub mod choices;
pub mod in_place;
pub mod layout;
pub mod lifetime;
pub mod memory;
pub mod rematerialise;
mod rows;
#[cfg(test)]
mod testing;
pub mod weights;
pub mod winograd;
