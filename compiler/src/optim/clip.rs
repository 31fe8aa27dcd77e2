//! Bounds on gradients before an optimiser sees them.

use super::times_scalar;
use kiln_ir::{Builder, DType, Value};

/// Each element of each gradient brought into −limit … limit. NaN stays NaN. *Shapes*: any; the results are like the gradients.
pub fn clip_by_value(b: &mut Builder, gradients: &[Value], limit: f64) -> Vec<Value> {
    let clip = |gradient: &Value| {
        let (low, high) = (b.scalar(b.dtype(*gradient), -limit), b.scalar(b.dtype(*gradient), limit));
        let above = b.max(*gradient, low);
        b.min(above, high)
    };
    gradients.iter().map(clip).collect()
}

/// All gradients scaled by one factor, min(1, limit / (norm + 1e-6)), and the norm: the root of the sum of the squares of all
/// elements of all of them, as `f64[]`.
///
/// *Shapes*: any; the results are like the gradients. *Source*: Pascanu et al. 2013, algorithm 1; 1e-6 as in PyTorch's
/// `clip_grad_norm_`, where it keeps the factor finite for gradients that are 0.
pub fn clip_by_norm(b: &mut Builder, gradients: &[Value], limit: f64) -> (Vec<Value>, Value) {
    let mut total = b.scalar(DType::F64, 0.0);
    for gradient in gradients {
        let wide = b.cast(*gradient, DType::F64);
        let square = b.mul(wide, wide);
        let axes: Vec<usize> = (0..b.ty(square).rank()).collect();
        let sum = b.reduce_sum(square, &axes, false);
        total = b.add(total, sum);
    }
    let norm = b.sqrt(total);
    let (small, limit, one) = (b.scalar(DType::F64, 1e-6), b.scalar(DType::F64, limit), b.scalar(DType::F64, 1.0));
    let divisor = b.add(norm, small);
    let ratio = b.div(limit, divisor);
    let factor = b.min(ratio, one);
    (gradients.iter().map(|gradient| times_scalar(b, *gradient, factor)).collect(), norm)
}
