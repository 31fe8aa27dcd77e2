//! `trilu`: one triangle of each matrix, 0 elsewhere.   upper: y[i, j] = x[i, j] if j ≥ i + k, else 0; lower: if j ≤ i + k
//!
//! Shapes: `x: [.., rows, columns]`, `k: i64[]` → that of `x`.   Any element type; 0 is false.
//! Constraints: (C0) two operands. (C1) `x` has two axes or more. (C2) `k` is an i64 scalar.
//! Source: ONNX Trilu-14.

use super::shape::operands;
use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::op;
use crate::{Builder, DType, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Trilu {
        /// Whether the upper triangle stays.
        pub upper: bool,
    }
}

impl Operator for Trilu {
    fn infer(&self, x: &[TensorType], _: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        operands(x, 2, "trilu_c0")?;
        if x[0].rank() < 2 {
            return Err(TypeError::new("trilu_c1", format!("{} holds no matrices", x[0])));
        }
        if x[1].dtype != DType::I64 || x[1].rank() != 0 {
            return Err(TypeError::new("trilu_c2", format!("the diagonal is i64[], got {}", x[1])));
        }
        Ok(vec![x[0].clone()])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (shape, k, item) = (x[0].shape(), x[1].ints()[0], x[0].dtype().size_bytes());
        let mut bytes = x[0].bytes().to_vec();
        for (position, element) in bytes.chunks_exact_mut(item).enumerate() {
            let index = x[0].index_of(position);
            let (i, j) = (index[shape.len() - 2] as i128, index[shape.len() - 1] as i128);
            if if self.upper { j < i + k } else { j > i + k } {
                element.fill(0);
            }
        }
        Ok(vec![Tensor::from_vec(x[0].dtype(), shape.to_vec(), bytes)])
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let shape = b.shape(x[0]);
        let matrix = &shape[shape.len() - 2..];
        let [i, j] = [0, 1].map(|axis| b.iota(DType::I64, matrix, axis));
        // j − i and k rather than i + k, which may overflow.
        let diagonal = b.sub(j, i);
        let k = b.broadcast_to(x[1], matrix);
        let stays = if self.upper { b.greater_equal(diagonal, k) } else { b.less_equal(diagonal, k) };
        let stays = b.broadcast_to(stays, &shape);
        let zero = b.like(x[0], 0.0);
        Meaning::Composite(vec![b.select(stays, x[0], zero)])
    }

    fn examples() -> Vec<Example> {
        let (upper, lower) = (|| Trilu { upper: true }, || Trilu { upper: false });
        vec![
            Example::accepted(upper(), &["f32[2, 3, 4]", "i64[]"]).with_values(1, -3.0, 3.0),
            Example::accepted(lower(), &["i32[4, 3]", "i64[]"]).with_values(1, -3.0, 3.0),
            Example::accepted(upper(), &["bool[n, m]", "i64[]"]).with_values(0, 0.0, 1.0).with_values(1, -2.0, 2.0),
            Example::accepted(lower(), &["f64[0, 3]", "i64[]"]),
            Example::rejected("trilu_c0", upper(), &["f32[2, 2]"]),
            Example::rejected("trilu_c1", upper(), &["f32[2]", "i64[]"]),
            Example::rejected("trilu_c2", upper(), &["f32[2, 2]", "i32[]"]),
            Example::rejected("trilu_c2", upper(), &["f32[2, 2]", "i64[1]"]),
        ]
    }
}
