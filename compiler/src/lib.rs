//! Kiln.

pub mod cut;
pub mod frontend;
pub mod kernel;
pub mod passes;
pub mod pipeline;

pub mod backend;

pub mod runtime_object;
