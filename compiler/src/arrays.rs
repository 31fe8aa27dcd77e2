//! Between arrays of the runtime and tensors of the reference interpreter.

use kiln_ir::{Diagnostic, Tensor};
use kiln_runtime::arrays::Array;

/// The array as a tensor of the interpreter.
pub fn to_tensor(array: &Array) -> Tensor {
    Tensor::from_vec(array.dtype(), array.shape().to_vec(), array.bytes().to_vec())
}

/// The tensor as an array of the runtime. Errors: `memory`.
pub fn to_array(tensor: &Tensor) -> Result<Array, Diagnostic> {
    Array::from_bytes(tensor.dtype(), tensor.shape().to_vec(), tensor.bytes())
}
