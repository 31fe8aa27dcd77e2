//! The ONNX frontend: file → messages → tensors and attributes → graph.
//!
//! Reading order: [`wire_scan`] (is the file well formed and of sane size), [`proto`] (the messages), [`load`] (open,
//! map, decode), [`external`] and [`tensor`] (weights as bytes), [`attributes`] (typed access to node attributes);
//! then [`import`] (walks the graph), [`inputs`], [`order`], [`functions`], [`operand`] and [`symbolic`] (what is known
//! of a value), `regions`, `loops` and `counting` (bodies of loops, and how often they run), `sizes` (which are equal), [`context`] (what an operator's import sees), [`registry`] and [`ops`] (the operators, by subject);
//! [`head`] and [`trainable`] (models that are trained on).
//!
//! Nothing here trusts the file: every size is checked before it is used, and every refusal is a
//! [`Diagnostic`](kiln_ir::Diagnostic) that names the place.

pub mod attributes;
pub mod context;
mod counting;
pub mod external;
pub mod functions;
pub mod head;
pub mod import;
pub mod inputs;
pub mod load;
mod loops;
pub mod operand;
pub mod ops;
pub mod order;
pub mod proto;
mod regions;
pub mod registry;
mod sizes;
pub mod symbolic;
pub mod tensor;
pub mod trainable;
pub mod wire_scan;

#[cfg(test)]
mod tests;

pub use attributes::Attributes;
pub use import::{Mode, Options, import, import_model};
pub use load::{Model, load};
pub use tensor::TensorData;
