//! What Kiln programs mean: types, operators, text form, verifier and reference interpreter.
//!
//! Read in this order: [`dtype`], [`dim`], [`types`], [`tensor`] (values); [`graph`], [`builder`] (programs);
//! [`ops`] (the operator table); [`eval`] (what they compute); [`gradient`] (their slopes). This crate does no input or output.
//!
//! Without the feature `programs` only [`artifact`] and what it needs is left: this much every compiled program
//! carries, so none of them can contain the interpreter.

pub mod artifact;
#[cfg(feature = "programs")]
pub mod attr;
#[cfg(feature = "programs")]
pub mod builder;
pub mod diagnostic;
#[cfg(feature = "programs")]
pub mod dim;
pub mod dtype;
#[cfg(feature = "programs")]
pub mod eval;
#[cfg(feature = "programs")]
pub mod gradient;
#[cfg(feature = "programs")]
pub mod graph;
pub mod initialiser;
#[cfg(feature = "programs")]
pub mod ops;
pub mod random;
#[cfg(feature = "programs")]
pub mod tensor;
#[cfg(feature = "programs")]
pub mod text;
#[cfg(feature = "programs")]
pub mod types;
#[cfg(feature = "programs")]
pub mod verify;

#[cfg(feature = "programs")]
pub use builder::Builder;
pub use diagnostic::{Diagnostic, Label};
#[cfg(feature = "programs")]
pub use dim::{Dim, Proof, Ranges, Symbol};
pub use dtype::DType;
#[cfg(feature = "programs")]
pub use graph::{Graph, Module, Node, NodeId, NodeKind, Origin, Value};
#[cfg(feature = "programs")]
pub use ops::{Op, Operator};
#[cfg(feature = "programs")]
pub use tensor::Tensor;
#[cfg(feature = "programs")]
pub use types::TensorType;
