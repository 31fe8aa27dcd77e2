//! Recurrent layers over `[batch, time, features]`: `rnn`, `lstm`, `gru`.
//! They give the last outputs `[batch, units]`, or all `[batch, time, units]` with `return_sequences`; `bidirectional` walks both ways
//! and puts the outputs side by side. Padding of texts is not walked over. `weight: [gates·units, features]`, `recurrent: [gates·units, units]`, `bias: [2·gates·units]`,
//! gates in the order of the operators, below `forward` and `backward` where there are two directions.

use super::super::context::{Context, Weight};
use super::super::initialise::initialiser;
use super::super::tree::Mistake;
use super::Layer;
use super::dense::{ZEROS, glorot};
use kiln_ir::attr::Real;
use kiln_ir::initialiser::Initialiser;
use kiln_ir::ops::{self, Activation, Op};
use kiln_ir::{Dim, TensorType, Value};
use schemars::JsonSchema;
use serde::Deserialize;

/// An operator by its units, whether it walks backwards, and whether samples have lengths.
type Operator<'a> = &'a dyn Fn(usize, bool, bool) -> Op;

/// What the three have in common.
#[derive(Deserialize, JsonSchema)]
struct Common {
    units: u32,
    #[serde(default)]
    bidirectional: bool,
    #[serde(default)]
    return_sequences: bool,
    #[serde(default = "glorot", deserialize_with = "initialiser")]
    #[schemars(with = "String")]
    initialiser: Initialiser,
    #[serde(default = "orthogonal", deserialize_with = "initialiser")]
    #[schemars(with = "String")]
    recurrent_initialiser: Initialiser,
    /// What the forget gates of an `lstm` begin with. *Source*: Jozefowicz et al. 2015, §4; Keras.
    forget_bias: Option<f64>,
}

/// `rnn`: hₜ = tanh(W·xₜ + R·hₜ₋₁ + b).
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SimpleRecurrent(Common);

/// `lstm`: with a memory cell.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LongShortTerm(Common);

/// `gru`: gated; the reset gate applies behind the recurrent product, as in PyTorch and Keras.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct GatedRecurrent(Common);

impl Layer for SimpleRecurrent {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        self.0.build(c, x[0], 1, 1, &|hidden, reverse, has_lengths| {
            ops::Rnn {
                hidden,
                activations: vec![Activation::Tanh],
                alphas: vec![Real(0.0)],
                betas: vec![Real(0.0)],
                clip: None,
                reverse,
                has_lengths,
            }
            .into()
        })
    }
}

impl Layer for LongShortTerm {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        self.0.build(c, x[0], 4, 2, &|hidden, reverse, has_lengths| {
            ops::Lstm {
                hidden,
                activations: vec![Activation::Sigmoid, Activation::Tanh, Activation::Tanh],
                alphas: vec![Real(0.0); 3],
                betas: vec![Real(0.0); 3],
                clip: None,
                input_forget: false,
                reverse,
                has_lengths,
                has_peepholes: false,
            }
            .into()
        })
    }
}

impl Layer for GatedRecurrent {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        self.0.build(c, x[0], 3, 1, &|hidden, reverse, has_lengths| {
            ops::Gru {
                hidden,
                activations: vec![Activation::Sigmoid, Activation::Tanh],
                alphas: vec![Real(0.0); 2],
                betas: vec![Real(0.0); 2],
                clip: None,
                linear_before_reset: true,
                reverse,
                has_lengths,
            }
            .into()
        })
    }
}

impl Common {
    fn build(&self, c: &mut Context, x: Value, gates: usize, states: usize, op: Operator) -> Result<Value, Mistake> {
        c.expect(x, &["batch", "time", "features"])?;
        let forgets = states == 2;
        if self.forget_bias.is_some() && !forgets {
            return Err(Mistake::new("only an `lstm` has a `forget_bias`"));
        }
        if c.writes() && (self.bidirectional || !self.return_sequences) {
            let mistake =
                Mistake::new("a recurrent layer that walks backwards, or gives its last output alone, does not write token by token");
            return Err(mistake.help("`return_sequences = true`, and not `bidirectional`, does"));
        }
        if c.hearing().is_some() && self.bidirectional {
            return Err(Mistake::new("a recurrent layer that walks backwards needs the end of a stream first"));
        }
        let (features, batch) = (c.size(x, 2, "features")?, c.graph.ty(x).shape[0].clone());
        let (units, dtype) = (self.units as usize, c.graph.ty(x).dtype);
        let lengths = c.lengths(x);
        let steps = c.b().transpose(x, &[1, 0, 2]);
        let direction = |c: &mut Context, reverse: bool| -> Result<Value, Mistake> {
            let rows = gates * units;
            let weight = |name, columns, initialiser| Weight {
                name,
                shape: vec![rows, columns],
                initialiser,
                fans: (columns, rows),
                trainable: true,
                incoming: vec![1],
            };
            let w = c.parameter(weight("weight", features, self.initialiser))?;
            let r = c.parameter(weight("recurrent", units, self.recurrent_initialiser))?;
            // The gates are in the order of the operator: input, output, forget, cell.
            let part = Initialiser::Part { from: 2 * units, to: 3 * units, value: self.forget_bias.unwrap_or(1.0) };
            let bias = c.parameter(Weight::vector("bias", 2 * rows, if forgets { part } else { ZEROS }))?;
            let shape = [batch.clone(), Dim::from(units)];
            let names = ["hidden", "cell"].into_iter().take(states);
            let kept: Vec<(usize, Value)> = names.filter_map(|name| c.state(name, TensorType::new(dtype, shape.to_vec()))).collect();
            let first: Vec<Value> = if kept.is_empty() {
                let mut b = c.b();
                let zero = b.scalar(dtype, 0.0);
                vec![b.broadcast_to(zero, &shape); states]
            } else {
                kept.iter().map(|(_, before)| *before).collect()
            };
            // Lengths stand behind the first states.
            let operands: Vec<Value> = [steps, w, r, bias].into_iter().chain(first).chain(lengths).collect();
            let results = c.ops(op(units, reverse, lengths.is_some()), &operands)?;
            for ((at, _), last) in kept.iter().zip(&results[1..]) {
                c.keep_state(*at, *last);
            }
            Ok(if self.return_sequences { results[0] } else { results[1] })
        };
        let y = if self.bidirectional {
            let forward = c.within("forward", |c| direction(c, false))?;
            let backward = c.within("backward", |c| direction(c, true))?;
            let axis = c.graph.ty(forward).rank() - 1;
            c.b().concat(&[forward, backward], axis)
        } else {
            direction(c, false)?
        };
        Ok(if self.return_sequences { c.b().transpose(y, &[1, 0, 2]) } else { y })
    }
}

fn orthogonal() -> Initialiser {
    Initialiser::Orthogonal(1.0)
}
