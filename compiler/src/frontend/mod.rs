//! Frontends: what a user has (a model file) becomes a module of the graph IR.

pub mod keras;
pub mod model;
pub mod onnx;
