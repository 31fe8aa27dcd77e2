//! Kiln.

pub mod backend;
