//! Conformance cases as ONNX lays them out, and how far results are from what they must be.

pub mod agreement;
pub mod cases;
