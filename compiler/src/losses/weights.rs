//! What large weights cost.

use super::number;
use kiln_ir::{Builder, Value};

/// Factors of the penalty on the weights of a layer.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Penalty {
    /// Of the sum of their sizes.
    pub l1: f64,
    /// Of the sum of their squares.
    pub l2: f64,
}

/// l1·Σ|w| + l2·Σw², to be added to the loss. *Shapes*: `weights: [..]` → `[]`. *Source*: Keras `L1L2`; PyTorch's `weight_decay` is
/// half of its l2, and passes by the loss.
pub fn weight_penalty(b: &mut Builder, weights: Value, penalty: Penalty) -> Value {
    let axes: Vec<usize> = (0..b.ty(weights).rank()).collect();
    let (sizes, squares) = (b.abs(weights), b.mul(weights, weights));
    let (sizes, squares) = (b.reduce_sum(sizes, &axes, false), b.reduce_sum(squares, &axes, false));
    let (l1, l2) = (number(b, weights, penalty.l1), number(b, weights, penalty.l2));
    let (first, second) = (b.mul(sizes, l1), b.mul(squares, l2));
    b.add(first, second)
}
