//! What parameters must obey after each step.

use super::plus;
use kiln_ir::{Builder, Value};

/// Added to norms before something is divided by them. *Source*: Keras `backend.epsilon()`.
const EPSILON: f64 = 1e-7;

/// A condition on a weight matrix; norms are those of the weights that one output sums its inputs with.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Constraint {
    /// Norms of at most this. *Source*: Srivastava et al. 2014, §5.1.
    MaxNorm(f64),
    /// Norms of 1.
    UnitNorm,
    /// No element below 0.
    NonNegative,
}

impl Constraint {
    /// Writes the nearest matrix that obeys. *Shapes*: any; `incoming` are the axes along which the weights of one output lie.
    pub fn apply(self, b: &mut Builder, weights: Value, incoming: &[usize]) -> Value {
        let dtype = b.dtype(weights);
        if self == Constraint::NonNegative {
            let zero = b.scalar(dtype, 0.0);
            return b.max(weights, zero);
        }
        let squares = b.mul(weights, weights);
        let sums = b.reduce_sum(squares, incoming, true);
        let norms = b.sqrt(sums);
        let divisor = plus(b, norms, EPSILON);
        let wanted = match self {
            Constraint::MaxNorm(limit) => {
                let limit = b.scalar(dtype, limit);
                b.min(norms, limit)
            }
            Constraint::UnitNorm | Constraint::NonNegative => b.scalar(dtype, 1.0),
        };
        let factors = b.div(wanted, divisor);
        b.mul(weights, factors)
    }
}
