//! Kiln.

pub mod frontend;
pub mod kernel;

pub mod backend;
