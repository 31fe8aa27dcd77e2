//! What Kiln programs mean: types, operators, text form, verifier and reference interpreter.
//!
//! Read in this order: [`dtype`], [`dim`], [`types`], [`tensor`] (values); [`graph`], [`builder`] (programs);
//! [`ops`] (the operator table); [`eval`] (what they compute). This crate does no input or output.

pub mod artifact;
pub mod attr;
pub mod builder;
pub mod diagnostic;
pub mod dim;
pub mod dtype;
pub mod eval;
pub mod graph;
pub mod ops;
pub mod tensor;
pub mod text;
pub mod types;
pub mod verify;

pub use builder::Builder;
pub use diagnostic::{Diagnostic, Label};
pub use dim::{Dim, Proof, Ranges, Symbol};
pub use dtype::DType;
pub use graph::{Graph, Module, Node, NodeId, NodeKind, Origin, Value};
pub use ops::{Op, Operator};
pub use tensor::Tensor;
pub use types::TensorType;
