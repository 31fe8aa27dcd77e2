//! Differentiation of functions: [`differentiate`] makes the function of a function's gradients.
//!
//! What gradients are is said by the operators, and the sweep over a graph is [`kiln_ir::gradient`]; here it gets its names, its
//! checks and its answers to what cannot be differentiated.

mod differentiate;
mod obstacle;

pub use differentiate::{Variable, differentiate};
