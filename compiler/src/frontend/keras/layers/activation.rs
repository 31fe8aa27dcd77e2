//! Activation functions: by name, as a setting of layers, and as layers.

use super::super::super::model::context::Weight;
use super::super::super::model::tree::{Mistake, Node};
use super::super::call::Call;
use super::super::config::Object;
use super::super::layer::{Layer, Release};
use super::super::network::{Place, apply};
use super::super::settings::{Settings, integers};
use super::Results;
use kiln_ir::attr::Real;
use kiln_ir::diagnostic::nearest;
use kiln_ir::initialiser::Initialiser;
use kiln_ir::ops::{self, GeluKind, Op};
use kiln_ir::{Dim, Value};

/// A function that a layer applies.
#[derive(Clone, Copy)]
pub enum Activation<'t> {
    /// One of Keras's, by name.
    Named(&'t str),
    /// A layer, such as LeakyReLU.
    Layer(&'t Node),
}

/// The names of functions, apart from `linear`.
pub const NAMES: &[&str] = &[
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "gelu",
    "silu",
    "swish",
    "sigmoid",
    "tanh",
    "softplus",
    "softsign",
    "exponential",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "hard_shrink",
    "soft_shrink",
    "tanh_shrink",
    "threshold",
    "squareplus",
    "sparse_plus",
    "sparse_sigmoid",
    "log_sigmoid",
    "mish",
    "glu",
    "softmax",
    "log_softmax",
];

impl<'t> Activation<'t> {
    /// The function that a setting holds, `linear` if it is missing. Errors: something that is none.
    pub fn read(settings: &Settings<'t>, name: &str, default: &'t str) -> Result<Activation<'t>, Mistake> {
        let Some(node) = settings.get(name) else { return Ok(Activation::Named(default)) };
        if let Some(word) = node.text() {
            return Ok(Activation::Named(word));
        }
        let object = Object::read(node)?;
        match (object.class, object.config.text()) {
            ("function", Some(word)) => Ok(Activation::Named(word)),
            _ => Ok(Activation::Layer(node)),
        }
    }

    /// Whether it treats every element alike, so that the order of axes does not matter.
    pub fn is_elementwise(self) -> bool {
        matches!(self, Activation::Named(name) if !["softmax", "log_softmax", "glu"].contains(&name))
    }

    /// The operator of recurrent cells, with its parameters; `None` if they have no such one.
    pub fn of_cell(self, release: Release) -> Option<(ops::Activation, f64, f64)> {
        let Activation::Named(name) = self else { return None };
        Some(match name {
            "linear" => (ops::Activation::Affine, 1.0, 0.0),
            "tanh" => (ops::Activation::Tanh, 0.0, 0.0),
            "sigmoid" => (ops::Activation::Sigmoid, 0.0, 0.0),
            "relu" => (ops::Activation::Relu, 0.0, 0.0),
            "leaky_relu" => (ops::Activation::LeakyRelu, 0.2, 0.0),
            "elu" => (ops::Activation::Elu, 1.0, 0.0),
            "softplus" => (ops::Activation::Softplus, 0.0, 0.0),
            "softsign" => (ops::Activation::Softsign, 0.0, 0.0),
            "hard_sigmoid" => (ops::Activation::HardSigmoid, hard_sigmoid_slope(release), 0.5),
            _ => return None,
        })
    }

    /// The name, for messages.
    pub fn name(self) -> &'t str {
        match self {
            Activation::Named(name) => name,
            Activation::Layer(_) => "a layer",
        }
    }

    /// Applies it. Errors: no such function, or the value does not fit.
    pub fn apply(self, layer: &mut Layer<'_, 't>, x: Value) -> Result<Value, Mistake> {
        match self {
            Activation::Named(name) => function(layer, name, x),
            Activation::Layer(node) => {
                let object = Object::read(node)?;
                let place = Place {
                    path: format!("{}/{}", layer.path, object.name()),
                    group: format!("{}/activation", layer.group),
                    owners: layer.owners.clone(),
                    dtypes: layer.dtypes,
                };
                let results = apply(layer.import, &object, &Call::of(&[x]), &place)?;
                results.first().copied().ok_or_else(|| Mistake::new("its activation function gives nothing"))
            }
        }
    }
}

/// Keras 2 writes the slope of the original definition, Keras 3 that of PyTorch.
fn hard_sigmoid_slope(release: Release) -> f64 {
    if release == Release::Two { 0.2 } else { 1.0 / 6.0 }
}

/// Applies a function of Keras by its name. *Source*: keras/src/activations/activations.py.
pub fn function(l: &mut Layer, name: &str, x: Value) -> Result<Value, Mistake> {
    l.context().expect_floats(x)?;
    let op: Op = match name {
        "linear" => return Ok(x),
        "relu" => ops::Relu {}.into(),
        "leaky_relu" => ops::LeakyRelu { alpha: Real(0.2) }.into(),
        "elu" => ops::Elu { alpha: Real(1.0) }.into(),
        // Klambauer et al. 2017, appendix A1.
        "selu" => ops::Selu { alpha: Real(1.6732632423543772), gamma: Real(1.0507009873554805) }.into(),
        "celu" => ops::Celu { alpha: Real(1.0) }.into(),
        "gelu" => ops::Gelu { approximate: GeluKind::Erf }.into(),
        "silu" | "swish" => ops::Silu {}.into(),
        "sigmoid" => ops::Sigmoid {}.into(),
        "tanh" => ops::Tanh {}.into(),
        "softplus" => ops::Softplus {}.into(),
        "softsign" => ops::Softsign {}.into(),
        "exponential" => ops::Exp {}.into(),
        "hard_sigmoid" => ops::HardSigmoid { alpha: Real(hard_sigmoid_slope(l.import.release)), beta: Real(0.5) }.into(),
        "hard_silu" | "hard_swish" => ops::HardSwish {}.into(),
        "sparse_sigmoid" => ops::HardSigmoid { alpha: Real(0.5), beta: Real(0.5) }.into(),
        "mish" => ops::Mish {}.into(),
        "softmax" => return along(l, x, &[-1], false),
        "log_softmax" => return along(l, x, &[-1], true),
        _ => return composed(l, name, x),
    };
    l.op(op, &[x])
}

/// Functions that are no operator of their own.
fn composed(l: &mut Layer, name: &str, x: Value) -> Result<Value, Mistake> {
    if name == "glu" {
        let last = l.axis(x, -1)?;
        let size = l.shape(x)[last].clone();
        let half = size.floor_div(&Dim::from(2));
        let mut b = l.b();
        let gate = b.slice_axis(x, last, &half, &half);
        let value = b.slice_axis(x, last, &Dim::ZERO, &half);
        let gate = b.op(ops::Sigmoid {}, &[gate]);
        return Ok(b.mul(value, gate));
    }
    let mut b = l.b();
    let zero = b.like(x, 0.0);
    let between = |b: &mut kiln_ir::Builder, low: f64, high: f64| {
        let (low, high) = (b.like(x, low), b.like(x, high));
        let above = b.max(x, low);
        b.min(above, high)
    };
    Ok(match name {
        "relu6" => between(&mut b, 0.0, 6.0),
        "hard_tanh" => between(&mut b, -1.0, 1.0),
        "hard_shrink" | "threshold" => {
            // The first keeps what is far from 0, the second what lies above 0.
            let (value, bound) = if name == "threshold" { (x, b.like(x, 0.0)) } else { (b.abs(x), b.like(x, 0.5)) };
            let kept = b.greater(value, bound);
            b.select(kept, x, zero)
        }
        "soft_shrink" => {
            let near = between(&mut b, -0.5, 0.5);
            b.sub(x, near)
        }
        "tanh_shrink" => {
            let bent = b.tanh(x);
            b.sub(x, bent)
        }
        "squareplus" => {
            let (four, half) = (b.like(x, 4.0), b.like(x, 0.5));
            let square = b.mul(x, x);
            let sum = b.add(square, four);
            let root = b.sqrt(sum);
            let sum = b.add(x, root);
            b.mul(sum, half)
        }
        "sparse_plus" => {
            // 0 up to −1, x from 1 on, (x + 1)²/4 between: (t²)/4 for t = x + 1 within 0..2, and what x exceeds 1 by.
            let (one, quarter) = (b.like(x, 1.0), b.like(x, 0.25));
            let inside = between(&mut b, -1.0, 1.0);
            let t = b.add(inside, one);
            let square = b.mul(t, t);
            let bent = b.mul(square, quarter);
            let beyond = b.sub(x, one);
            let beyond = b.max(beyond, zero);
            b.add(bent, beyond)
        }
        "log_sigmoid" => {
            let negative = b.neg(x);
            let sum = b.op(ops::Softplus {}, &[negative]);
            b.neg(sum)
        }
        _ => {
            let mistake = Mistake::new(format!("the activation function `{name}` is not supported"));
            let near = nearest(name, NAMES.iter().copied());
            return Err(
                mistake.help(near.map_or_else(|| "compiler/KERAS.md lists what is".into(), |near| format!("did you mean `{near}`?")))
            );
        }
    })
}

/// A softmax, or its logarithm, along one axis or over several together.
fn along(l: &mut Layer, x: Value, axes: &[i64], logarithm: bool) -> Result<Value, Mistake> {
    let axes = axes.iter().map(|axis| l.axis(x, *axis)).collect::<Result<Vec<_>, _>>()?;
    match axes[..] {
        [axis] if logarithm => l.op(ops::LogSoftmax { axis }, &[x]),
        [axis] => l.op(ops::Softmax { axis }, &[x]),
        _ => {
            let total = l.op(ops::LogSumExp { axes, keep: true }, &[x])?;
            let mut b = l.b();
            let shares = b.sub(x, total);
            Ok(if logarithm { shares } else { b.exp(shares) })
        }
    }
}

/// `Activation`: a function by name.
pub fn activation_layer<'t>(l: &mut Layer<'_, 't>, call: &Call<'t>) -> Result<Value, Mistake> {
    let x = call.value()?;
    Activation::read(&l.settings, "activation", "linear")?.apply(l, x)
}

/// `ReLU`: `max_value` from there on, x from `threshold` on, else `negative_slope`·(x − `threshold`).
pub fn relu_layer(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = call.value()?;
    let slope = match l.settings.number("negative_slope")? {
        Some(slope) => slope,
        None => l.settings.number_or("alpha", 0.0)?,
    };
    let (most, threshold) = (l.settings.number("max_value")?, l.settings.number_or("threshold", 0.0)?);
    relu(l, x, slope, most, threshold)
}

/// The same with its numbers.
pub fn relu(l: &mut Layer, x: Value, slope: f64, most: Option<f64>, threshold: f64) -> Result<Value, Mistake> {
    l.context().expect_floats(x)?;
    let kept = match (slope == 0.0, threshold == 0.0) {
        (true, true) => l.op(ops::Relu {}, &[x])?,
        (false, true) => l.op(ops::LeakyRelu { alpha: Real(slope) }, &[x])?,
        _ => {
            let mut b = l.b();
            let (bound, factor) = (b.like(x, threshold), b.like(x, slope));
            let (above, rest) = (b.greater_equal(x, bound), b.sub(x, bound));
            let below = b.mul(factor, rest);
            b.select(above, x, below)
        }
    };
    let Some(most) = most else { return Ok(kept) };
    let mut b = l.b();
    let most = b.like(x, most);
    Ok(b.min(kept, most))
}

/// `LeakyReLU`: x, or `negative_slope`·x below 0; Keras 2 calls it `alpha`.
pub fn leaky_relu_layer(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let slope = match l.settings.number("negative_slope")? {
        Some(slope) => slope,
        None => l.settings.number_or("alpha", 0.3)?,
    };
    let x = call.value()?;
    l.op(ops::LeakyRelu { alpha: Real(slope) }, &[x])
}

/// `ELU`: x, or `alpha`·(eˣ − 1) below 0.
pub fn elu_layer(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let alpha = l.settings.number_or("alpha", 1.0)?;
    let x = call.value()?;
    l.op(ops::Elu { alpha: Real(alpha) }, &[x])
}

/// `ThresholdedReLU`: x above `theta`, else 0.
pub fn thresholded_relu_layer(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let alpha = l.settings.number_or("theta", 1.0)?;
    let x = call.value()?;
    l.op(ops::ThresholdedRelu { alpha: Real(alpha) }, &[x])
}

/// `PReLU`: x, or `alpha`·x below 0.   `alpha`: the shape of a sample, 1 on the axes `shared_axes`.
pub fn prelu_layer(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = call.value()?;
    let shared = l.settings.integers("shared_axes")?.unwrap_or_default();
    let mut shape = Vec::new();
    for axis in 1..l.rank(x) {
        shape.push(if shared.contains(&(axis as i64)) { 1 } else { l.size(x, axis, "slopes")? });
    }
    let alpha = Weight { name: "alpha", shape, initialiser: Initialiser::Constant(0.0), fans: (1, 1), trainable: true, incoming: vec![] };
    let alpha = l.parameter("alpha", alpha)?;
    l.broadcast_op(ops::Prelu {}, &[x, alpha])
}

/// `Softmax`: shares along `axis`, or over several.
pub fn softmax_layer(l: &mut Layer, call: &Call) -> Result<Results, Mistake> {
    let axes = l.settings.get("axis").map_or(Ok(vec![-1]), |node| integers(node, "axis"))?;
    let x = call.value()?;
    Ok(along(l, x, &axes, false)?.into())
}
