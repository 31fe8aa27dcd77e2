//! The ONNX frontend: file → messages → tensors and attributes.
//!
//! Reading order: [`wire_scan`] (is the file well formed and of sane size), [`proto`] (the messages), [`load`] (open,
//! map, decode), [`external`] and [`tensor`] (weights as bytes), [`attributes`] (typed access to node attributes).
//!
//! Nothing here trusts the file: every size is checked before it is used, and every refusal is a
//! [`Diagnostic`](kiln_ir::Diagnostic) that names the place.

pub mod attributes;
pub mod external;
pub mod load;
pub mod proto;
pub mod tensor;
pub mod wire_scan;

pub use attributes::Attributes;
pub use load::{Model, load};
pub use tensor::TensorData;
