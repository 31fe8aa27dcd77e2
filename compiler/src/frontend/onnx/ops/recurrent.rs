//! Recurrent layers: directions run one by one and are joined.

use crate::frontend::onnx::context::Context;
use crate::frontend::onnx::registry::{Results, Row, row};
use kiln_ir::attr::Real;
use kiln_ir::ops::{self, Activation, Op};
use kiln_ir::{Diagnostic, Dim, Value};

/// The operators.
pub const ROWS: &[Row] = &[
    row("GRU", 3, (3, 6), |cx| recurrent(cx, Kind::Gru)),
    row("LSTM", 1, (3, 8), |cx| recurrent(cx, Kind::Lstm)),
    row("RNN", 1, (3, 6), |cx| recurrent(cx, Kind::Rnn)),
];

/// Sizes of a state that can be meant; larger ones overflow the sizes of weights.
const STATE_SIZES: std::ops::Range<usize> = 1..1 << 31;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rnn,
    Gru,
    Lstm,
}

impl Kind {
    /// The activation functions of one direction.
    fn activations(self) -> &'static [&'static str] {
        match self {
            Kind::Rnn => &["Tanh"],
            Kind::Gru => &["Sigmoid", "Tanh"],
            Kind::Lstm => &["Sigmoid", "Tanh", "Tanh"],
        }
    }

    fn gates(self) -> i64 {
        match self {
            Kind::Rnn => 1,
            Kind::Gru => 3,
            Kind::Lstm => 4,
        }
    }

    fn states(self) -> usize {
        if self == Kind::Lstm { 2 } else { 1 }
    }
}

/// The node's attributes, the activation functions of all directions one after the other.
struct Attributes {
    hidden: usize,
    /// True for each direction that walks backwards.
    directions: Vec<bool>,
    batch_first: bool,
    activations: Vec<Activation>,
    alphas: Vec<Real>,
    betas: Vec<Real>,
    clip: Option<Real>,
    linear_before_reset: bool,
    input_forget: bool,
}

impl Attributes {
    fn read(cx: &Context, kind: Kind, r: Value) -> Result<Attributes, Diagnostic> {
        // What the first operator set had to say which results are wanted.
        cx.attributes.ignore(&["output_sequence"]);
        let directions = match cx.attributes.string_or("direction", "forward")? {
            "forward" => vec![false],
            "reverse" => vec![true],
            "bidirectional" => vec![false, true],
            other => return Err(cx.attributes.refuse("direction", format!("is {other:?}, must be forward, reverse or bidirectional"))),
        };
        let from_weight = || cx.shape(r).last().and_then(Dim::as_const);
        let Some(hidden) = cx
            .attributes
            .int("hidden_size")?
            .or_else(from_weight)
            .and_then(|h| usize::try_from(h).ok())
            .filter(|h| STATE_SIZES.contains(h))
        else {
            return Err(cx.attributes.refuse("hidden_size", "is missing, not positive or too large".to_string()));
        };
        let names = match cx.attributes.strings("activations")? {
            Some(names) if names.len() != kind.activations().len() * directions.len() => {
                let wanted = kind.activations().len() * directions.len();
                return Err(cx.attributes.refuse("activations", format!("has {} entries, must have {wanted}", names.len())));
            }
            Some(names) => names,
            None => kind.activations().repeat(directions.len()),
        };
        let activations = names.iter().map(|name| activation(cx, name)).collect::<Result<Vec<_>, _>>()?;
        let (alphas, betas) = parameters(cx, &activations)?;
        let clip = cx.attributes.float("clip")?.map(|c| Real(f64::from(c)));
        let only = |kind_with: Kind, name: &str| if kind == kind_with { cx.attributes.flag_or(name, false) } else { Ok(false) };
        Ok(Attributes {
            hidden,
            directions,
            batch_first: cx.attributes.flag_or("layout", false)?,
            activations,
            alphas,
            betas,
            clip,
            linear_before_reset: only(Kind::Gru, "linear_before_reset")?,
            input_forget: only(Kind::Lstm, "input_forget")?,
        })
    }

    /// The operator of one direction.
    fn op(&self, kind: Kind, direction: usize, has_lengths: bool, has_peepholes: bool) -> Op {
        let count = kind.activations().len();
        let range = direction * count..(direction + 1) * count;
        let (hidden, clip, reverse) = (self.hidden, self.clip, self.directions[direction]);
        let activations = self.activations[range.clone()].to_vec();
        let (alphas, betas) = (self.alphas[range.clone()].to_vec(), self.betas[range].to_vec());
        match kind {
            Kind::Rnn => ops::Rnn { hidden, activations, alphas, betas, clip, reverse, has_lengths }.into(),
            Kind::Gru => {
                let linear_before_reset = self.linear_before_reset;
                ops::Gru { hidden, activations, alphas, betas, clip, linear_before_reset, reverse, has_lengths }.into()
            }
            Kind::Lstm => {
                let input_forget = self.input_forget;
                ops::Lstm { hidden, activations, alphas, betas, clip, input_forget, reverse, has_lengths, has_peepholes }.into()
            }
        }
    }
}

fn activation(cx: &Context, name: &str) -> Result<Activation, Diagnostic> {
    // Upper and lower case are the same, says the specification.
    Ok(match name.to_ascii_lowercase().as_str() {
        "sigmoid" => Activation::Sigmoid,
        "tanh" => Activation::Tanh,
        "relu" => Activation::Relu,
        "affine" => Activation::Affine,
        "leakyrelu" => Activation::LeakyRelu,
        "thresholdedrelu" => Activation::ThresholdedRelu,
        "scaledtanh" => Activation::ScaledTanh,
        "hardsigmoid" => Activation::HardSigmoid,
        "elu" => Activation::Elu,
        "softsign" => Activation::Softsign,
        "softplus" => Activation::Softplus,
        _ => return Err(cx.attributes.refuse("activations", format!("has {name:?}, which is no activation function of recurrent layers"))),
    })
}

/// alpha and beta of each function. Lists in the file hold entries only for functions that have the parameter.
fn parameters(cx: &Context, activations: &[Activation]) -> Result<(Vec<Real>, Vec<Real>), Diagnostic> {
    let mut given_alphas = cx.attributes.floats("activation_alpha")?.unwrap_or_default().iter();
    let mut given_betas = cx.attributes.floats("activation_beta")?.unwrap_or_default().iter();
    let (mut alphas, mut betas) = (Vec::new(), Vec::new());
    for function in activations {
        let (has_alpha, has_beta) = match function {
            Activation::Affine | Activation::ScaledTanh | Activation::HardSigmoid => (true, true),
            Activation::LeakyRelu | Activation::ThresholdedRelu | Activation::Elu => (true, false),
            Activation::Sigmoid | Activation::Tanh | Activation::Relu | Activation::Softsign | Activation::Softplus => (false, false),
        };
        let (alpha, beta) = function.default_parameters();
        let next = |has: bool, list: &mut std::slice::Iter<f32>, default: f64| {
            Real(if has { list.next().map_or(default, |&v| f64::from(v)) } else { default })
        };
        alphas.push(next(has_alpha, &mut given_alphas, alpha));
        betas.push(next(has_beta, &mut given_betas, beta));
    }
    Ok((alphas, betas))
}

fn recurrent(cx: &mut Context, kind: Kind) -> Results {
    let (mut x, w, r) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    if [cx.rank(x), cx.rank(w), cx.rank(r)] != [3; 3] {
        let what = format!("{} takes x, W and R of 3 axes, got {}, {} and {}", cx.node.op_type, cx.ty(x), cx.ty(w), cx.ty(r));
        return Err(cx.error("onnx_rank", what));
    }
    let attributes = Attributes::read(cx, kind, r)?;
    let (bias, lengths) = (cx.optional(3)?, cx.optional(4)?);
    let mut initial = vec![cx.optional(5)?];
    if kind == Kind::Lstm {
        initial.push(cx.optional(6)?);
    }
    let peepholes = if kind == Kind::Lstm { cx.optional(7)? } else { None };
    if attributes.batch_first {
        x = cx.transpose(x, &[1, 0, 2])?;
        for state in initial.iter_mut().flatten() {
            *state = checked_transpose(cx, *state)?;
        }
    }
    let (dtype, batch) = (cx.dtype(x), cx.shape(x)[1].clone());
    let hidden = Dim::from(attributes.hidden);
    let mut outputs: Vec<Vec<Value>> = Vec::new();
    for direction in 0..attributes.directions.len() {
        let mut operands = vec![x, part(cx, w, direction)?, part(cx, r, direction)?];
        operands.push(match bias {
            Some(bias) => part(cx, bias, direction)?,
            None => cx.filled(dtype, &[&hidden * Dim::from(2 * kind.gates())], 0.0)?,
        });
        for state in &initial {
            operands.push(match state {
                Some(state) => part(cx, *state, direction)?,
                None => cx.filled(dtype, &[batch.clone(), hidden.clone()], 0.0)?,
            });
        }
        operands.extend(lengths);
        if let Some(peepholes) = peepholes {
            operands.push(part(cx, peepholes, direction)?);
        }
        let op = attributes.op(kind, direction, lengths.is_some(), peepholes.is_some());
        outputs.push(cx.ops(op, &operands)?);
    }
    join(cx, &outputs, kind.states(), attributes.batch_first)
}

/// Entry `index` of the first axis.
fn part(cx: &mut Context, x: Value, index: usize) -> Result<Value, Diagnostic> {
    let shape = cx.shape(x);
    if shape.is_empty() {
        return Err(cx.error("onnx_rank", format!("an operand of {} is a scalar", cx.node.op_type)));
    }
    let one = cx.slice_axis(x, 0, Dim::from(index), Dim::ONE)?;
    cx.reshape(one, &shape[1..])
}

fn checked_transpose(cx: &mut Context, x: Value) -> Result<Value, Diagnostic> {
    if cx.rank(x) != 3 {
        return Err(cx.error("onnx_rank", format!("initial states have 3 axes, got {}", cx.ty(x))));
    }
    cx.transpose(x, &[1, 0, 2])
}

/// Outputs [T, B, H] of each direction → [T, D, B, H], states [B, H] → [D, B, H]; the batch first if `batch_first`.
fn join(cx: &mut Context, directions: &[Vec<Value>], states: usize, batch_first: bool) -> Results {
    let mut stacked = Vec::new();
    for result in 0..=states {
        let axis = usize::from(result == 0);
        let mut parts = Vec::new();
        for direction in directions {
            let mut shape = cx.shape(direction[result]);
            shape.insert(axis, Dim::ONE);
            parts.push(cx.reshape(direction[result], &shape)?);
        }
        let joined = cx.concat(&parts, axis)?;
        stacked.push(match (batch_first, result) {
            (false, _) => joined,
            (true, 0) => cx.transpose(joined, &[2, 0, 1, 3])?,
            (true, _) => cx.transpose(joined, &[1, 0, 2])?,
        });
    }
    Ok(stacked)
}
