//! What `rnn`, `gru` and `lstm` share: operand checks, the loop over time and the activation functions of their cells.
//!
//! `eval` walks each sample's own steps; `expand` projects the inputs of all steps in one `dot` and scans over time, with masks
//! where a sample has ended. A reversed scan that skips steps beyond the length starts at the last valid step, so masks
//! serve both directions.

use super::expansion::{scaled, shifted, widen};
use super::shape::{floating, operands, same_dtype};
use super::{Dot, Elu, Facts, HardSigmoid, LeakyRelu, Relu, Scan, Sigmoid, Softplus, Softsign, TypeError};
use crate::attr::Real;
use crate::{Builder, DType, Dim, Graph, Tensor, TensorType, Value};
use std::sync::Arc;

crate::mode! {
    /// An activation function of a recurrent cell, with the parameters alpha and beta where it has them.
    pub enum Activation {
        /// 1 / (1 + exp(−x))
        Sigmoid = "sigmoid",
        /// tanh x
        Tanh = "tanh",
        /// max(x, 0)
        Relu = "relu",
        /// alpha·x + beta
        Affine = "affine",
        /// x if x ≥ 0, else alpha·x
        LeakyRelu = "leaky_relu",
        /// x if x ≥ alpha, else 0
        ThresholdedRelu = "thresholded_relu",
        /// alpha·tanh(beta·x)
        ScaledTanh = "scaled_tanh",
        /// max(0, min(1, alpha·x + beta))
        HardSigmoid = "hard_sigmoid",
        /// x if x ≥ 0, else alpha·(exp(x) − 1)
        Elu = "elu",
        /// x / (1 + |x|)
        Softsign = "softsign",
        /// log(1 + exp(x))
        Softplus = "softplus",
    }
}

impl Activation {
    /// ONNX's alpha and beta where a model gives none.
    pub const fn default_parameters(self) -> (f64, f64) {
        match self {
            Activation::Affine => (1.0, 0.0),
            Activation::LeakyRelu => (0.01, 0.0),
            Activation::ThresholdedRelu | Activation::Elu => (1.0, 0.0),
            Activation::ScaledTanh => (1.0, 1.0),
            Activation::HardSigmoid => (0.2, 0.5),
            Activation::Sigmoid | Activation::Tanh | Activation::Relu | Activation::Softsign | Activation::Softplus => (0.0, 0.0),
        }
    }

    fn value(self, alpha: f64, beta: f64, v: f64) -> f64 {
        match self {
            Activation::Sigmoid => 1.0 / (1.0 + (-v).exp()),
            Activation::Tanh => v.tanh(),
            Activation::Relu => {
                if v < 0.0 {
                    0.0
                } else {
                    v
                }
            }
            Activation::Affine => alpha * v + beta,
            Activation::LeakyRelu => {
                if v < 0.0 {
                    alpha * v
                } else {
                    v
                }
            }
            Activation::ThresholdedRelu => {
                if v < alpha {
                    0.0
                } else {
                    v
                }
            }
            Activation::ScaledTanh => alpha * (beta * v).tanh(),
            Activation::HardSigmoid => {
                if v.is_nan() {
                    v
                } else {
                    (alpha * v + beta).clamp(0.0, 1.0)
                }
            }
            Activation::Elu => {
                if v < 0.0 {
                    alpha * v.exp_m1()
                } else {
                    v
                }
            }
            Activation::Softsign => v / (1.0 + v.abs()),
            Activation::Softplus => {
                if v.is_nan() {
                    v
                } else {
                    v.max(0.0) + (-v.abs()).exp().ln_1p()
                }
            }
        }
    }

    fn build(self, b: &mut Builder, alpha: Real, beta: Real, x: Value) -> Value {
        match self {
            Activation::Sigmoid => b.op(Sigmoid {}, &[x]),
            Activation::Tanh => b.tanh(x),
            Activation::Relu => b.op(Relu {}, &[x]),
            Activation::Affine => {
                let slope = scaled(b, x, alpha.0);
                shifted(b, slope, beta.0)
            }
            Activation::LeakyRelu => b.op(LeakyRelu { alpha }, &[x]),
            Activation::ThresholdedRelu => {
                // Unlike the operator of that name it keeps the threshold itself.
                let (threshold, zero) = (b.like(x, alpha.0), b.like(x, 0.0));
                let off = b.less(x, threshold);
                b.select(off, zero, x)
            }
            Activation::ScaledTanh => {
                let steep = scaled(b, x, beta.0);
                let bounded = b.tanh(steep);
                scaled(b, bounded, alpha.0)
            }
            Activation::HardSigmoid => b.op(HardSigmoid { alpha, beta }, &[x]),
            Activation::Elu => b.op(Elu { alpha }, &[x]),
            Activation::Softsign => b.op(Softsign {}, &[x]),
            Activation::Softplus => b.op(Softplus {}, &[x]),
        }
    }
}

/// A recurrent layer in one direction: `gates` stacked matrices, `states` tensors carried from step to step, the first of them
/// the output. Operands: x, w, r, bias, the initial states, then lengths and peepholes where there are any.
pub(super) struct Layer<'a> {
    pub gates: usize,
    pub states: usize,
    pub hidden: usize,
    /// Places in the cell where an activation function stands.
    pub places: usize,
    pub activations: &'a [Activation],
    pub alphas: &'a [Real],
    pub betas: &'a [Real],
    pub clip: Option<Real>,
    /// How many of the places `clip` concerns, from the first on.
    pub clipped: usize,
    pub reverse: bool,
    pub has_lengths: bool,
    pub has_peepholes: bool,
}

/// A cell in the expansion: the step's projected input, the states and what is captured give the new states.
type Cell<'a> = dyn Fn(&mut Builder, Value, &[Value], &[Value]) -> Vec<Value> + 'a;

impl Layer<'_> {
    fn lengths_operand(&self) -> usize {
        4 + self.states
    }

    /// Position of the peepholes among the operands.
    pub fn peepholes_operand(&self) -> usize {
        self.lengths_operand() + usize::from(self.has_lengths)
    }

    /// Checks operands by labels (C0)–(C4); the types of the results.
    pub fn check(&self, x: &[TensorType], facts: &mut Facts, labels: [&'static str; 5]) -> Result<Vec<TensorType>, TypeError> {
        operands(x, self.peepholes_operand() + usize::from(self.has_peepholes), labels[0])?;
        floating(&x[0], labels[1])?;
        for (position, operand) in x.iter().enumerate() {
            if self.has_lengths && position == self.lengths_operand() {
                if !operand.dtype.is_int() {
                    return Err(TypeError::new(labels[1], format!("lengths are integers, got {operand}")));
                }
            } else {
                same_dtype(&x[0], operand, labels[1])?;
            }
        }
        if x[0].rank() != 3 {
            return Err(TypeError::new(labels[2], format!("expected x: [time, batch, features], got {}", x[0])));
        }
        let (time, batch, features) = (&x[0].shape[0], &x[0].shape[1], &x[0].shape[2]);
        let (hidden, rows) = (Dim::from(self.hidden), Dim::from(self.gates * self.hidden));
        let state = vec![batch.clone(), hidden.clone()];
        let mut expected = vec![
            ("w", vec![rows.clone(), features.clone()]),
            ("r", vec![rows.clone(), hidden.clone()]),
            ("bias", vec![&rows * Dim::from(2)]),
        ];
        expected.extend((0..self.states).map(|_| ("initial state", state.clone())));
        expected.extend(self.has_lengths.then(|| ("lengths", vec![batch.clone()])));
        expected.extend(self.has_peepholes.then(|| ("peepholes", vec![&hidden * Dim::from(3)])));
        for ((name, shape), operand) in expected.iter().zip(&x[1..]) {
            if operand.rank() != shape.len() {
                return Err(TypeError::new(labels[2], format!("expected {name} of {} axes, got {operand}", shape.len())));
            }
            for (want, have) in shape.iter().zip(&operand.shape) {
                facts.equal(want, have, labels[3], format_args!("{name} is {operand}, expected {shape:?}"))?;
            }
        }
        if [self.activations.len(), self.alphas.len(), self.betas.len()] != [self.places; 3] {
            return Err(TypeError::new(labels[4], format!("needs {} activation functions, each with alpha and beta", self.places)));
        }
        if self.clip.is_some_and(|c| c.0.is_nan() || c.0 <= 0.0) {
            return Err(TypeError::new(labels[4], "the clip threshold is not positive"));
        }
        let outputs = x[0].with_shape(vec![time.clone(), batch.clone(), hidden.clone()]);
        Ok([outputs].into_iter().chain((0..self.states).map(|_| x[0].with_shape(state.clone()))).collect())
    }

    /// The activation function at a place of the cell, after clipping.
    pub fn activate(&self, place: usize, v: f64) -> f64 {
        let v = match self.clip {
            Some(c) if place < self.clipped && !v.is_nan() => v.clamp(-c.0, c.0),
            _ => v,
        };
        self.activations[place].value(self.alphas[place].0, self.betas[place].0, v)
    }

    /// The same in the expansion.
    pub fn build_activation(&self, b: &mut Builder, place: usize, x: Value) -> Value {
        let clipped = self.clip.filter(|_| place < self.clipped).map_or(x, |c| {
            let (low, high) = (b.like(x, -c.0), b.like(x, c.0));
            let above = b.max(x, low);
            b.min(above, high)
        });
        self.activations[place].build(b, self.alphas[place], self.betas[place], clipped)
    }

    /// Walks the steps of each sample: `cell` gets the step's input and replaces the states.
    pub fn evaluate(&self, x: &[Tensor], cell: impl Fn(&[f64], &mut [Vec<f64>])) -> Vec<Tensor> {
        let [time, batch, features] = [0, 1, 2].map(|a| x[0].shape()[a]);
        let hidden = self.hidden;
        let input = x[0].floats();
        let mut states: Vec<Vec<f64>> = x[4..4 + self.states].iter().map(Tensor::floats).collect();
        let mut outputs = vec![0.0; time * batch * hidden];
        for sample in 0..batch {
            let given = if self.has_lengths { x[self.lengths_operand()].ints()[sample] } else { time as i128 };
            let length = given.clamp(0, time as i128) as usize;
            let mut own: Vec<Vec<f64>> = states.iter().map(|s| s[sample * hidden..][..hidden].to_vec()).collect();
            for step in 0..length {
                let t = if self.reverse { length - 1 - step } else { step };
                cell(&input[(t * batch + sample) * features..][..features], &mut own);
                outputs[(t * batch + sample) * hidden..][..hidden].copy_from_slice(&own[0]);
            }
            states.iter_mut().zip(&own).for_each(|(all, own)| all[sample * hidden..][..hidden].copy_from_slice(own));
        }
        let dtype = x[0].dtype();
        let finals = states.into_iter().map(|s| Tensor::from_floats(dtype, vec![batch, hidden], s));
        [Tensor::from_floats(dtype, vec![time, batch, hidden], outputs)].into_iter().chain(finals).collect()
    }

    /// The scan. `outside` is a bias `[gates·hidden]` added to all projected inputs at once; `captured` is what the cell reads besides.
    pub fn expand(&self, b: &mut Builder, x: &[Value], outside: Value, captured: &[Value], cell: &Cell) -> Vec<Value> {
        let dtype = b.dtype(x[0]);
        let wide = widen(b, x[0]);
        let [time, batch, features]: [Dim; 3] = std::array::from_fn(|a| b.shape(wide)[a].clone());
        let (hidden, rows) = (Dim::from(self.hidden), Dim::from(self.gates * self.hidden));
        let w = widen(b, x[1]);
        let w = b.reshape(w, &[rows, features]);
        let project = Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![2], b_contract: vec![1] };
        let products = b.op(project, &[wide, w]);
        let projected = b.add(products, outside);

        let state = [batch.clone(), hidden];
        let mut operands: Vec<Value> = Vec::new();
        for initial in &x[4..4 + self.states] {
            let initial = widen(b, *initial);
            operands.push(b.reshape(initial, &state));
        }
        operands.push(projected);
        if self.has_lengths {
            operands.push(b.iota(DType::I64, &[time], 0));
        }
        let scanned = operands.len() - self.states;
        operands.extend_from_slice(captured);
        if self.has_lengths {
            let lengths = b.cast(x[self.lengths_operand()], DType::I64);
            operands.push(b.reshape(lengths, &[batch, Dim::ONE]));
        }

        let mut body = Graph::new();
        let mut inputs = Vec::new();
        for (position, operand) in operands.iter().enumerate() {
            let mut ty = b.ty(*operand);
            if (self.states..self.states + scanned).contains(&position) {
                ty.shape.remove(0);
            }
            inputs.push(body.add_input(format!("x{position}"), ty));
        }
        let inner = &mut b.region(&mut body);
        let (states, rest) = inputs.split_at(self.states);
        let (slices, rest) = rest.split_at(scanned);
        let mut next = cell(inner, slices[0], states, rest);
        let mut output = next[0];
        if self.has_lengths {
            let active = inner.less(slices[1], rest[captured.len()]);
            let active = inner.broadcast_to(active, &state);
            let zero = inner.like(output, 0.0);
            output = inner.select(active, output, zero);
            next.iter_mut().zip(states).for_each(|(new, old)| *new = inner.select(active, *new, *old));
        }
        for (position, value) in next.into_iter().chain([output]).enumerate() {
            body.add_output(format!("y{position}"), value);
        }
        let scan = Scan { body: Arc::new(body), carried: self.states, scanned, reverse: self.reverse };
        let mut results = b.ops(scan, &operands);
        // The outputs of all steps first, then the final states.
        results.rotate_right(1);
        results.into_iter().map(|v| b.cast(v, dtype)).collect()
    }
}

/// `count` of the parts of `size` rows (axis `axis`) of a tensor, from part `first` on.
pub(super) fn parts(b: &mut Builder, x: Value, axis: usize, size: usize, first: usize, count: usize) -> Value {
    b.slice_axis(x, axis, &Dim::from(first * size), &Dim::from(count * size))
}

/// The product of each row of `[n, k]` with each of `[m, k]`: `[n, m]`.
pub(super) fn rows_by_rows(b: &mut Builder, x: Value, y: Value) -> Value {
    b.op(Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![1], b_contract: vec![1] }, &[x, y])
}

/// The product of a row of a matrix with a vector.
pub(super) fn row_product(matrix: &[f64], row: usize, vector: &[f64]) -> f64 {
    matrix[row * vector.len()..][..vector.len()].iter().zip(vector).map(|(a, b)| a * b).sum()
}
