//! Kiln.

pub mod artifact;
pub mod diagnostic;
pub mod dtype;

pub use diagnostic::{Diagnostic, Label};
pub use dtype::DType;
