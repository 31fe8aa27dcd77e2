//! `rnn`: a simple recurrent layer in one direction.   hₜ = f(W·xₜ + Wb + R·hₜ₋₁ + Rb)
//!
//! Shapes: `x: [time, batch, features]`, `w: [hidden, features]`, `r: [hidden, hidden]`, `bias: [2·hidden]` = Wb, Rb,
//! `h0: [batch, hidden]`, `lengths: [batch]` integers if `has_lengths` → outputs `[time, batch, hidden]`, last h `[batch, hidden]`.
//! A sample takes part in its first `lengths` steps (clamped to 0..time); beyond them outputs are 0 and the state stays. `reverse`
//! walks those steps backwards, each output standing at its input's step. `clip` bounds what enters the activation function.
//! 16-bit floats are computed in f32.
//! Constraints: (C0) five operands, six with lengths. (C1) one floating element type, `lengths` are integers. (C2) the ranks above.
//! (C3) the sizes above. (C4) one activation function with its alpha and beta; `clip` is positive.
//! Source: ONNX RNN-22.

use super::expansion::widen;
use super::recurrent::{Layer, parts, row_product, rows_by_rows};
use super::{Activation, Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::attr::Real;
use crate::op;
use crate::{Builder, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Rnn {
        /// Number of features of the state.
        pub hidden: usize,
        /// f.
        pub activations: Vec<Activation>,
        /// Its alpha.
        pub alphas: Vec<Real>,
        /// Its beta.
        pub betas: Vec<Real>,
        /// Bound of what enters an activation function.
        pub clip: Option<Real>,
        /// Whether steps are walked backwards.
        pub reverse: bool,
        /// Whether samples have lengths.
        pub has_lengths: bool,
    }
}

impl Rnn {
    fn layer(&self) -> Layer<'_> {
        Layer {
            gates: 1,
            states: 1,
            hidden: self.hidden,
            places: 1,
            activations: &self.activations,
            alphas: &self.alphas,
            betas: &self.betas,
            clip: self.clip,
            clipped: 1,
            reverse: self.reverse,
            has_lengths: self.has_lengths,
            has_peepholes: false,
        }
    }
}

impl Operator for Rnn {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        self.layer().check(x, facts, ["rnn_c0", "rnn_c1", "rnn_c2", "rnn_c3", "rnn_c4"])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let layer = self.layer();
        let (w, r, bias) = (x[1].floats(), x[2].floats(), x[3].floats());
        Ok(layer.evaluate(x, |input, states| {
            let unit = |j: usize| row_product(&w, j, input) + row_product(&r, j, &states[0]) + bias[j] + bias[self.hidden + j];
            states[0] = (0..self.hidden).map(|j| layer.activate(0, unit(j))).collect();
        }))
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let layer = self.layer();
        let h = self.hidden;
        let (r, bias) = (widen(b, x[2]), widen(b, x[3]));
        let r = b.reshape(r, &[Dim::from(h), Dim::from(h)]);
        let (input_bias, state_bias) = (parts(b, bias, 0, h, 0, 1), parts(b, bias, 0, h, 1, 1));
        let outside = b.add(input_bias, state_bias);
        Meaning::Composite(layer.expand(b, x, outside, &[r], &|b, projected, states, captured| {
            let product = rows_by_rows(b, states[0], captured[0]);
            let sum = b.add(projected, product);
            vec![layer.build_activation(b, 0, sum)]
        }))
    }

    fn examples() -> Vec<Example> {
        let with = |activation: Activation| {
            let (alpha, beta) = activation.default_parameters();
            Rnn { hidden: 3, activations: vec![activation], alphas: vec![Real(alpha)], betas: vec![Real(beta)], clip: None, reverse: false, has_lengths: false }
        };
        let tanh = || with(Activation::Tanh);
        let accepted = |op: Rnn, t: &str| {
            let lengths = op.has_lengths;
            let inputs = [t, "f32[3, 2]", "f32[3, 3]", "f32[6]", if t.contains("b,") { "f32[b, 3]" } else { "f32[2, 3]" }, if t.contains("b,") { "i64[b]" } else { "i32[2]" }];
            let mut example = Example::accepted(op, &inputs[..5 + usize::from(lengths)]);
            (0..5).for_each(|p| example.values[p] = Some((-1.0, 1.0)));
            if lengths { example.with_values(5, 0.0, 5.0) } else { example }
        };
        let good = ["f32[4, 2, 2]", "f32[3, 2]", "f32[3, 3]", "f32[6]", "f32[2, 3]"];
        let but = |position: usize, ty: &'static str| {
            let mut inputs = good;
            inputs[position] = ty;
            inputs
        };
        let mut examples: Vec<Example> = Activation::ALL.iter().map(|a| accepted(with(*a), "f32[4, 2, 2]")).collect();
        examples.extend([
            accepted(Rnn { reverse: true, clip: Some(Real(0.5)), ..tanh() }, "f32[t, b, 2]"),
            accepted(Rnn { has_lengths: true, ..tanh() }, "f32[4, 2, 2]"),
            accepted(Rnn { has_lengths: true, reverse: true, ..tanh() }, "f32[t, b, 2]"),
            accepted(tanh(), "f32[0, 2, 2]"),
            Example::rejected("rnn_c0", Rnn { has_lengths: true, ..tanh() }, &good),
            Example::rejected("rnn_c1", tanh(), &but(1, "f64[3, 2]")),
            Example::rejected("rnn_c2", tanh(), &but(0, "f32[2, 2]")),
            Example::rejected("rnn_c2", tanh(), &but(3, "f32[1, 6]")),
            Example::rejected("rnn_c3", tanh(), &but(2, "f32[3, 4]")),
            Example::rejected("rnn_c4", Rnn { alphas: vec![], ..tanh() }, &good),
            Example::rejected("rnn_c4", Rnn { clip: Some(Real(-1.0)), ..tanh() }, &good),
        ]);
        examples
    }
}
