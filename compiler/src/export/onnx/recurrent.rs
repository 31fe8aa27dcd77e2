//! Recurrent layers, one direction each.

use super::Spelled;
use super::writer::{Operand, Writer, float, floats, int, text, texts};
use crate::frontend::onnx::proto::AttributeProto;
use crate::frontend::onnx::tensor::data_type;
use kiln_ir::attr::Real;
use kiln_ir::ops::{Activation, Op};
use kiln_ir::{DType, Diagnostic, Dim, TensorType};

/// What the three have in common.
struct Layer<'o> {
    name: &'static str,
    hidden: usize,
    activations: &'o [Activation],
    alphas: &'o [Real],
    betas: &'o [Real],
    clip: Option<Real>,
    reverse: bool,
    has_lengths: bool,
    /// States behind the outputs: h, and c of an LSTM.
    states: usize,
    has_peepholes: bool,
    more: Vec<AttributeProto>,
}

/// Writes the operator if it is one of these.
pub fn spell(w: &mut Writer, op: &Op, x: &[Operand], types: &[TensorType]) -> Spelled {
    let layer = match op {
        Op::Rnn(op) => Layer {
            name: "RNN",
            hidden: op.hidden,
            activations: &op.activations,
            alphas: &op.alphas,
            betas: &op.betas,
            clip: op.clip,
            reverse: op.reverse,
            has_lengths: op.has_lengths,
            states: 1,
            has_peepholes: false,
            more: vec![],
        },
        Op::Gru(op) => Layer {
            name: "GRU",
            hidden: op.hidden,
            activations: &op.activations,
            alphas: &op.alphas,
            betas: &op.betas,
            clip: op.clip,
            reverse: op.reverse,
            has_lengths: op.has_lengths,
            states: 1,
            has_peepholes: false,
            more: vec![int("linear_before_reset", i64::from(op.linear_before_reset))],
        },
        Op::Lstm(op) => Layer {
            name: "LSTM",
            hidden: op.hidden,
            activations: &op.activations,
            alphas: &op.alphas,
            betas: &op.betas,
            clip: op.clip,
            reverse: op.reverse,
            has_lengths: op.has_lengths,
            states: 2,
            has_peepholes: op.has_peepholes,
            more: vec![int("input_forget", i64::from(op.input_forget))],
        },
        _ => return Ok(None),
    };
    layer.write(w, x, types).map(Some)
}

impl Layer<'_> {
    fn write(self, w: &mut Writer, x: &[Operand], types: &[TensorType]) -> Result<Vec<Operand>, Diagnostic> {
        let mut inputs = vec![w.name(x[0])?];
        // ONNX puts an axis for directions in front of weights and states.
        for weight in &x[1..4] {
            inputs.push(with_direction(w, *weight)?);
        }
        let mut rest = x[4 + self.states..].iter();
        inputs.push(match rest.next().filter(|_| self.has_lengths) {
            Some(lengths) => {
                let lengths = w.name(*lengths)?;
                w.node("Cast", &[lengths], vec![int("to", i64::from(data_type(DType::I32)))])
            }
            None => String::new(),
        });
        for state in &x[4..4 + self.states] {
            // States that begin at 0 need not be said.
            let zero = w.repeats(*state).and_then(|source| w.tensor(source)).is_some_and(|source| source.floats() == [0.0]);
            inputs.push(if zero {
                String::new()
            } else {
                let (state, axes) = (w.name(*state)?, w.integers(&[0]));
                w.node("Unsqueeze", &[state, axes], vec![])
            });
        }
        if self.has_peepholes {
            let peepholes = x[x.len() - 1];
            inputs.push(with_direction(w, peepholes)?);
        }
        while inputs.last().is_some_and(String::is_empty) {
            inputs.pop();
        }
        let mut attributes = vec![int("hidden_size", self.hidden as i64)];
        attributes.push(text("direction", if self.reverse { "reverse" } else { "forward" }));
        attributes.push(texts("activations", self.activations.iter().map(|activation| name(*activation))));
        let parameters = |of: &[Real], has: fn(Activation) -> bool| {
            let own = self.activations.iter().zip(of).filter(|(activation, _)| has(**activation));
            own.map(|(_, value)| value.0).collect::<Vec<f64>>()
        };
        let lists = [("activation_alpha", parameters(self.alphas, has_alpha)), ("activation_beta", parameters(self.betas, has_beta))];
        attributes.extend(lists.into_iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| floats(name, list)));
        attributes.extend(self.clip.map(|clip| float("clip", clip.0)));
        attributes.extend(self.more);
        // Outputs are [time, directions, batch, hidden], states [directions, batch, hidden].
        let axis = |at: usize| usize::from(at == 0);
        let declared = types.iter().enumerate().map(|(at, ty)| {
            let mut shape = ty.shape.clone();
            shape.insert(axis(at), Dim::ONE);
            TensorType::new(ty.dtype, shape)
        });
        let declared: Vec<TensorType> = declared.collect();
        let mut results = Vec::new();
        for (at, result) in w.results(self.name, inputs, attributes, &declared).into_iter().enumerate() {
            let (result, axes) = (w.name(result)?, w.integers(&[axis(at) as i64]));
            results.extend(w.results("Squeeze", vec![result, axes], vec![], &types[at..=at]));
        }
        Ok(results)
    }
}

fn with_direction(w: &mut Writer, x: Operand) -> Result<String, Diagnostic> {
    let shape = w.ty(x).shape.clone();
    let sizes = [1].into_iter().chain(shape.iter().map(|dim| dim.as_const().unwrap_or(-1)));
    w.reshaped(x, &sizes.collect::<Vec<i64>>())
}

fn name(activation: Activation) -> &'static str {
    match activation {
        Activation::Sigmoid => "Sigmoid",
        Activation::Tanh => "Tanh",
        Activation::Relu => "Relu",
        Activation::Affine => "Affine",
        Activation::LeakyRelu => "LeakyRelu",
        Activation::ThresholdedRelu => "ThresholdedRelu",
        Activation::ScaledTanh => "ScaledTanh",
        Activation::HardSigmoid => "HardSigmoid",
        Activation::Elu => "Elu",
        Activation::Softsign => "Softsign",
        Activation::Softplus => "Softplus",
    }
}

fn has_alpha(activation: Activation) -> bool {
    use Activation::{Affine, Elu, HardSigmoid, LeakyRelu, ScaledTanh, ThresholdedRelu};
    matches!(activation, Affine | LeakyRelu | ThresholdedRelu | ScaledTanh | HardSigmoid | Elu)
}

fn has_beta(activation: Activation) -> bool {
    matches!(activation, Activation::Affine | Activation::ScaledTanh | Activation::HardSigmoid)
}
