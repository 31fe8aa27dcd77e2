//! The CPU backend.

pub mod lower;
pub mod tile;
