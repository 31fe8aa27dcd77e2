//! `lstm`: a recurrent layer with a memory cell, in one direction.   Gates in the order i, o, f, c; h = hₜ₋₁, c = cₜ₋₁:
//! i = f(Wi·xₜ + Wbi + Ri·h + Rbi + Pi·c)    f = f(Wf·xₜ + Wbf + Rf·h + Rbf + Pf·c), or 1 − i if `input_forget`
//! cₜ = f·c + i·g(Wc·xₜ + Wbc + Rc·h + Rbc)    o = f(Wo·xₜ + Wbo + Ro·h + Rbo + Po·cₜ)    hₜ = o·h(cₜ)
//!
//! Shapes: `x: [time, batch, features]`, `w: [4·hidden, features]`, `r: [4·hidden, hidden]`, `bias: [8·hidden]` = Wb, Rb,
//! `h0` and `c0: [batch, hidden]`, `lengths: [batch]` integers if `has_lengths`, `peepholes: [3·hidden]` = Pi, Po, Pf if
//! `has_peepholes` (0 otherwise) → outputs `[time, batch, hidden]`, last h and last c `[batch, hidden]`.
//! Lengths, `reverse`, `clip` and 16-bit floats as in `rnn`; `clip` bounds what enters f and g, not h, as in ONNX Runtime.
//! Constraints: (C0) six operands and those the attributes announce. (C1) one floating element type, `lengths` are integers.
//! (C2) the ranks above. (C3) the sizes above. (C4) three activation functions f, g, h with their alpha and beta; `clip` is positive.
//! Source: Hochreiter & Schmidhuber 1997, Gers & Schmidhuber 2000 (peepholes); ONNX LSTM-22.

use super::expansion::widen;
use super::recurrent::{Layer, parts, row_product, rows_by_rows};
use super::{Activation, Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::attr::Real;
use crate::op;
use crate::{Builder, Dim, Tensor, TensorType, Value};

op! {
    /// See the head of this file.
    pub struct Lstm {
        /// Number of features of the state.
        pub hidden: usize,
        /// f, g, h.
        pub activations: Vec<Activation>,
        /// Their alphas.
        pub alphas: Vec<Real>,
        /// Their betas.
        pub betas: Vec<Real>,
        /// Bound of what enters f and g.
        pub clip: Option<Real>,
        /// Whether the forget gate is what the input gate leaves.
        pub input_forget: bool,
        /// Whether steps are walked backwards.
        pub reverse: bool,
        /// Whether samples have lengths.
        pub has_lengths: bool,
        /// Whether gates see the memory cell.
        pub has_peepholes: bool,
    }
}

impl Lstm {
    fn layer(&self) -> Layer<'_> {
        Layer {
            gates: 4,
            states: 2,
            hidden: self.hidden,
            places: 3,
            activations: &self.activations,
            alphas: &self.alphas,
            betas: &self.betas,
            clip: self.clip,
            clipped: 2,
            reverse: self.reverse,
            has_lengths: self.has_lengths,
            has_peepholes: self.has_peepholes,
        }
    }
}

impl Operator for Lstm {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        self.layer().check(x, facts, ["lstm_c0", "lstm_c1", "lstm_c2", "lstm_c3", "lstm_c4"])
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (layer, hidden) = (self.layer(), self.hidden);
        let (w, r, bias) = (x[1].floats(), x[2].floats(), x[3].floats());
        let peepholes = if self.has_peepholes { x[layer.peepholes_operand()].floats() } else { vec![0.0; 3 * hidden] };
        Ok(layer.evaluate(x, |input, states| {
            let (h, c) = (states[0].clone(), states[1].clone());
            for j in 0..hidden {
                let sum = |gate: usize| {
                    let row = gate * hidden + j;
                    row_product(&w, row, input) + row_product(&r, row, &h) + bias[row] + bias[4 * hidden + row]
                };
                let peep = |gate: usize, cell: f64| peepholes[gate * hidden + j] * cell;
                let i = layer.activate(0, sum(0) + peep(0, c[j]));
                let f = if self.input_forget { 1.0 - i } else { layer.activate(0, sum(2) + peep(2, c[j])) };
                let cell = f * c[j] + i * layer.activate(1, sum(3));
                let o = layer.activate(0, sum(1) + peep(1, cell));
                states[1][j] = cell;
                states[0][j] = o * layer.activate(2, cell);
            }
        }))
    }

    fn vjp(&self, _: &mut Builder, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Gradient {
        Gradient::ThroughExpansion
    }

    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
        let (layer, h) = (self.layer(), self.hidden);
        let (r, bias) = (widen(b, x[2]), widen(b, x[3]));
        let r = b.reshape(r, &[Dim::from(4 * h), Dim::from(h)]);
        let (input_bias, state_bias) = (parts(b, bias, 0, 4 * h, 0, 1), parts(b, bias, 0, 4 * h, 1, 1));
        let outside = b.add(input_bias, state_bias);
        let mut captured = vec![r];
        if self.has_peepholes {
            let peepholes = widen(b, x[layer.peepholes_operand()]);
            captured.extend([0, 1, 2].map(|gate| parts(b, peepholes, 0, h, gate, 1)));
        }
        Meaning::Composite(layer.expand(b, x, outside, &captured, &|b, projected, states, captured| {
            let cell = states[1];
            let product = rows_by_rows(b, states[0], captured[0]);
            let sums = b.add(projected, product);
            // Gates that do not see the cell are computed together.
            let together = (!self.has_peepholes).then(|| {
                let sums = parts(b, sums, 1, h, 0, 3);
                layer.build_activation(b, 0, sums)
            });
            let gate = |b: &mut Builder, gate: usize, cell: Value| match together {
                Some(gates) => parts(b, gates, 1, h, gate, 1),
                None => {
                    let sum = parts(b, sums, 1, h, gate, 1);
                    let peep = b.mul(cell, captured[1 + gate]);
                    let sum = b.add(sum, peep);
                    layer.build_activation(b, 0, sum)
                }
            };
            let i = gate(b, 0, cell);
            let f = if self.input_forget {
                let one = b.like(i, 1.0);
                b.sub(one, i)
            } else {
                gate(b, 2, cell)
            };
            let sum = parts(b, sums, 1, h, 3, 1);
            let candidate = layer.build_activation(b, 1, sum);
            let (old, new) = (b.mul(f, cell), b.mul(i, candidate));
            let cell = b.add(old, new);
            let o = gate(b, 1, cell);
            let shown = layer.build_activation(b, 2, cell);
            vec![b.mul(o, shown), cell]
        }))
    }

    fn examples() -> Vec<Example> {
        let plain = || Lstm {
            hidden: 3,
            activations: vec![Activation::Sigmoid, Activation::Tanh, Activation::Tanh],
            alphas: vec![Real(0.0); 3],
            betas: vec![Real(0.0); 3],
            clip: None,
            input_forget: false,
            reverse: false,
            has_lengths: false,
            has_peepholes: false,
        };
        let accepted = |op: Lstm, inputs: &[&str]| {
            let lengths = op.has_lengths;
            let mut example = Example::accepted(op, inputs);
            example.values.iter_mut().for_each(|v| *v = Some((-1.0, 1.0)));
            if lengths { example.with_values(6, 0.0, 5.0) } else { example }
        };
        let good = ["f32[4, 2, 2]", "f32[12, 2]", "f32[12, 3]", "f32[24]", "f32[2, 3]", "f32[2, 3]"];
        let open = ["f32[t, b, 2]", "f32[12, 2]", "f32[12, 3]", "f32[24]", "f32[b, 3]", "f32[b, 3]", "i64[b]", "f32[9]"];
        let but = |position: usize, ty: &'static str| {
            let mut inputs = good;
            inputs[position] = ty;
            inputs
        };
        vec![
            accepted(plain(), &good),
            accepted(Lstm { input_forget: true, clip: Some(Real(0.4)), ..plain() }, &open[..6]),
            accepted(Lstm { reverse: true, ..plain() }, &open[..6]),
            accepted(Lstm { has_lengths: true, ..plain() }, &open[..7]),
            accepted(Lstm { has_lengths: true, reverse: true, has_peepholes: true, ..plain() }, &open),
            accepted(Lstm { has_peepholes: true, ..plain() }, &["f64[4, 2, 2]", "f64[12, 2]", "f64[12, 3]", "f64[24]", "f64[2, 3]", "f64[2, 3]", "f64[9]"]),
            accepted(plain(), &["bf16[1, 2, 2]", "bf16[12, 2]", "bf16[12, 3]", "bf16[24]", "bf16[2, 3]", "bf16[2, 3]"]),
            Example::rejected("lstm_c0", plain(), &open[..7]),
            Example::rejected("lstm_c1", plain(), &but(2, "f64[12, 3]")),
            Example::rejected("lstm_c1", Lstm { has_lengths: true, ..plain() }, &["f32[4, 2, 2]", "f32[12, 2]", "f32[12, 3]", "f32[24]", "f32[2, 3]", "f32[2, 3]", "f32[2]"]),
            Example::rejected("lstm_c2", plain(), &but(5, "f32[1, 2, 3]")),
            Example::rejected("lstm_c3", plain(), &but(5, "f32[3, 3]")),
            Example::rejected("lstm_c4", Lstm { betas: vec![], ..plain() }, &good),
        ]
    }
}
