//! Decisions that every backend takes the same way: what lives where in memory, and for how long.

pub mod layout;
pub mod lifetime;
pub mod memory;
#[cfg(test)]
mod testing;
pub mod weights;
