//! The CPU backend.

pub mod lower;
pub mod schedule;
pub mod tile;
