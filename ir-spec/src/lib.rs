//! Kiln.

pub mod artifact;
pub mod dtype;
