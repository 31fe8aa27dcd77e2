//! `gru`: a gated recurrent layer in one direction.
//! z = f(Wz·xₜ + Wbz + Rz·h + Rbz)    r = f(Wr·xₜ + Wbr + Rr·h + Rbr)    hₜ = (1 − z)·n + z·h    where h = hₜ₋₁ and
//! n = g(Wh·xₜ + Wbh + Rh·(r·h) + Rbh), or g(Wh·xₜ + Wbh + r·(Rh·h + Rbh)) if `linear_before_reset`
//!
//! Shapes: `x: [time, batch, features]`, `w: [3·hidden, features]`, `r: [3·hidden, hidden]` (gates z, r, h),
//! `bias: [6·hidden]` = Wb, Rb, `h0: [batch, hidden]`, `lengths: [batch]` integers if `has_lengths`
//! → outputs `[time, batch, hidden]`, last h `[batch, hidden]`. Lengths, `reverse`, `clip` and 16-bit floats as in `rnn`.
//! Constraints: (C0) five operands, six with lengths. (C1) one floating element type, `lengths` are integers. (C2) the ranks above.
//! (C3) the sizes above. (C4) two activation functions f, g with their alpha and beta; `clip` is positive.
//! Source: Cho et al. 2014; ONNX GRU-22.

use super::expansion::widen;
use super::recurrent::{Layer, parts, row_product, rows_by_rows};
use super::{Activation, Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::attr::Real;
use crate::op;
use crate::{Builder, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Gru {
        /// Number of features of the state.
        pub hidden: usize,
        /// f, g.
        pub activations: Vec<Activation>,
        /// Their alphas.
        pub alphas: Vec<Real>,
        /// Their betas.
        pub betas: Vec<Real>,
        /// Bound of what enters an activation function.
        pub clip: Option<Real>,
        /// Whether the reset gate acts after the product with Rh.
        pub linear_before_reset: bool,
        /// Whether steps are walked backwards.
        pub reverse: bool,
        /// Whether samples have lengths.
        pub has_lengths: bool,
    }
}

impl Gru {
    fn layer(&self) -> Layer<'_> {
        Layer {
            gates: 3,
            states: 1,
            hidden: self.hidden,
            places: 2,
            activations: &self.activations,
            alphas: &self.alphas,
            betas: &self.betas,
            clip: self.clip,
            clipped: 2,
            reverse: self.reverse,
            has_lengths: self.has_lengths,
            has_peepholes: false,
        }
    }
}

impl Operator for Gru {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        self.layer().check(x, facts, ["gru_c0", "gru_c1", "gru_c2", "gru_c3", "gru_c4"])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (layer, hidden) = (self.layer(), self.hidden);
        let (w, r, bias) = (x[1].floats(), x[2].floats(), x[3].floats());
        let (input_bias, state_bias) = bias.split_at(3 * hidden);
        Ok(layer.evaluate(x, |input, states| {
            let h = states[0].clone();
            let from_input = |row: usize| row_product(&w, row, input) + input_bias[row];
            let from_state = |row: usize, h: &[f64]| row_product(&r, row, h) + state_bias[row];
            let gate = |g: usize, j: usize| layer.activate(0, from_input(g * hidden + j) + from_state(g * hidden + j, &h));
            let reset: Vec<f64> = (0..hidden).map(|j| gate(1, j)).collect();
            let kept: Vec<f64> = reset.iter().zip(&h).map(|(r, h)| r * h).collect();
            for j in 0..hidden {
                let (z, row) = (gate(0, j), 2 * hidden + j);
                let past = if self.linear_before_reset { reset[j] * from_state(row, &h) } else { from_state(row, &kept) };
                states[0][j] = (1.0 - z) * layer.activate(1, from_input(row) + past) + z * h[j];
            }
        }))
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let (layer, h) = (self.layer(), self.hidden);
        let (r, bias) = (widen(b, x[2]), widen(b, x[3]));
        let r = b.reshape(r, &[Dim::from(3 * h), Dim::from(h)]);
        let (input_bias, state_bias) = (parts(b, bias, 0, 3 * h, 0, 1), parts(b, bias, 0, 3 * h, 1, 1));
        // With linear_before_reset the reset gate acts on Rbh too, so that one stays inside.
        let inside = parts(b, state_bias, 0, h, 2, 1);
        let outside = if self.linear_before_reset {
            let gates = parts(b, state_bias, 0, h, 0, 2);
            let none = b.like(inside, 0.0);
            let state_bias = b.concat(&[gates, none], 0);
            b.add(input_bias, state_bias)
        } else {
            b.add(input_bias, state_bias)
        };
        let (gates, candidate) = (parts(b, r, 0, h, 0, 2), parts(b, r, 0, h, 2, 1));
        Meaning::Composite(layer.expand(b, x, outside, &[gates, candidate, inside], &|b, projected, states, captured| {
            let state = states[0];
            let product = rows_by_rows(b, state, captured[0]);
            let input = parts(b, projected, 1, h, 0, 2);
            let sum = b.add(input, product);
            let gates = layer.build_activation(b, 0, sum);
            let (z, reset) = (parts(b, gates, 1, h, 0, 1), parts(b, gates, 1, h, 1, 1));
            let past = if self.linear_before_reset {
                let product = rows_by_rows(b, state, captured[1]);
                let sum = b.add(product, captured[2]);
                b.mul(reset, sum)
            } else {
                let kept = b.mul(reset, state);
                rows_by_rows(b, kept, captured[1])
            };
            let input = parts(b, projected, 1, h, 2, 1);
            let sum = b.add(input, past);
            let candidate = layer.build_activation(b, 1, sum);
            let one = b.like(z, 1.0);
            let rest = b.sub(one, z);
            let (new, old) = (b.mul(rest, candidate), b.mul(z, state));
            vec![b.add(new, old)]
        }))
    }

    fn examples() -> Vec<Example> {
        let plain = || Gru {
            hidden: 3,
            activations: vec![Activation::Sigmoid, Activation::Tanh],
            alphas: vec![Real(0.0); 2],
            betas: vec![Real(0.0); 2],
            clip: None,
            linear_before_reset: false,
            reverse: false,
            has_lengths: false,
        };
        let accepted = |op: Gru, inputs: &[&str]| {
            let mut example = Example::accepted(op, inputs);
            (0..5).for_each(|p| example.values[p] = Some((-1.0, 1.0)));
            if inputs.len() == 6 { example.with_values(5, 0.0, 5.0) } else { example }
        };
        let good = ["f32[4, 2, 2]", "f32[9, 2]", "f32[9, 3]", "f32[18]", "f32[2, 3]"];
        let open = ["f32[t, b, 2]", "f32[9, 2]", "f32[9, 3]", "f32[18]", "f32[b, 3]", "i32[b]"];
        let but = |position: usize, ty: &'static str| {
            let mut inputs = good;
            inputs[position] = ty;
            inputs
        };
        vec![
            accepted(plain(), &good),
            accepted(Gru { linear_before_reset: true, ..plain() }, &open[..5]),
            accepted(Gru { reverse: true, clip: Some(Real(0.4)), ..plain() }, &open[..5]),
            accepted(Gru { has_lengths: true, ..plain() }, &open),
            accepted(Gru { has_lengths: true, reverse: true, linear_before_reset: true, ..plain() }, &open),
            accepted(plain(), &["f16[2, 1, 2]", "f16[9, 2]", "f16[9, 3]", "f16[18]", "f16[1, 3]"]),
            Example::rejected("gru_c0", plain(), &open),
            Example::rejected("gru_c1", plain(), &but(4, "f64[2, 3]")),
            Example::rejected("gru_c2", plain(), &but(1, "f32[1, 9, 2]")),
            Example::rejected("gru_c3", plain(), &but(1, "f32[12, 2]")),
            Example::rejected("gru_c4", Gru { activations: vec![Activation::Tanh], ..plain() }, &good),
        ]
    }
}
