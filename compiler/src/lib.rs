//! Kiln.

pub mod frontend;

pub mod backend;
