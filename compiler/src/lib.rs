//! Kiln.

pub mod cut;
pub mod frontend;
pub mod kernel;

pub mod backend;

pub mod runtime_object;
