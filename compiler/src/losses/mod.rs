//! Losses as graphs: functions that write the loss of predictions against targets.
//!
//! Each gives one loss per sample, element or label, as its description says, and then `None` keeps them, `Sum` adds them up and
//! `Mean` averages them ([`LossReduction`]). 16-bit predictions are computed in f32. Targets that do not broadcast to the predictions
//! panic with the caller's line, like other mistakes in code that builds graphs.

mod classes;
mod ctc;
mod elements;
mod weights;

pub use classes::{
    CrossEntropy, Scores, binary_cross_entropy, dense_cross_entropy, kl_divergence, refused_below_zero, sparse_cross_entropy,
};
pub use ctc::{Ctc, ctc_loss};
pub use elements::{hinge, huber, mean_absolute_error, mean_squared_error, smooth_l1};
pub use kiln_ir::ops::LossReduction;
pub use weights::{Penalty, weight_penalty};

use kiln_ir::ops::Mean;
use kiln_ir::{Builder, DType, Dim, Value};

/// In the type that losses are computed in.
fn widen(b: &mut Builder, x: Value) -> Value {
    match b.dtype(x) {
        DType::F16 | DType::BF16 => b.cast(x, DType::F32),
        _ => x,
    }
}

/// A constant scalar of the type of `x`.
fn number(b: &mut Builder, x: Value, value: f64) -> Value {
    b.scalar(b.dtype(x), value)
}

/// A size as a scalar of `dtype`, known at run time if it is symbolic.
fn size(b: &mut Builder, dim: &Dim, dtype: DType) -> Value {
    let sizes = b.dims(std::slice::from_ref(dim));
    let scalar = b.reshape(sizes, &[]);
    b.cast(scalar, dtype)
}

fn reduce(b: &mut Builder, losses: Value, reduction: LossReduction) -> Value {
    let axes: Vec<usize> = (0..b.ty(losses).rank()).collect();
    match reduction {
        LossReduction::None => losses,
        LossReduction::Sum => b.reduce_sum(losses, &axes, false),
        LossReduction::Mean => b.op(Mean { axes, keep: false }, &[losses]),
    }
}
