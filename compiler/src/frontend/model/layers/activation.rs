//! Activation functions, as layers and as a setting of others (`activation = "relu"`).

use super::super::context::Context;
use super::super::tree::Mistake;
use super::Layer;
use kiln_ir::Value;
use kiln_ir::attr::Real;
use kiln_ir::ops::{self, GeluKind, Op};
use schemars::JsonSchema;
use serde::Deserialize;

/// A function without settings.
#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x
    Linear,
    /// max(x, 0)
    Relu,
    /// x, or x/100 below 0.
    LeakyRelu,
    /// x, or eˣ − 1 below 0.
    Elu,
    /// The scaled ELU that keeps variances.
    Selu,
    /// x·Φ(x)
    Gelu,
    /// Its approximation by tanh.
    GeluTanh,
    /// x·sigmoid(x)
    Silu,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// tanh x
    Tanh,
    /// log(1 + eˣ)
    Softplus,
    /// x / (1 + |x|)
    Softsign,
    /// x · min(max(x + 3, 0), 6) / 6
    HardSwish,
    /// min(max(x/6 + ½, 0), 1)
    HardSigmoid,
    /// x · tanh(softplus(x))
    Mish,
    /// Shares along the last axis.
    Softmax,
}

impl Activation {
    /// Writes the function into the graph. Errors: the value has no axis for softmax.
    pub fn apply(self, c: &mut Context, x: Value) -> Result<Value, Mistake> {
        let op: Op = match self {
            Activation::Linear => return Ok(x),
            Activation::Relu => ops::Relu {}.into(),
            Activation::LeakyRelu => ops::LeakyRelu { alpha: Real(0.01) }.into(),
            Activation::Elu => ops::Elu { alpha: Real(1.0) }.into(),
            // Klambauer et al. 2017, appendix A1.
            Activation::Selu => ops::Selu { alpha: Real(1.6732632423543772), gamma: Real(1.0507009873554805) }.into(),
            Activation::Gelu => ops::Gelu { approximate: GeluKind::Erf }.into(),
            Activation::GeluTanh => ops::Gelu { approximate: GeluKind::Tanh }.into(),
            Activation::Silu => ops::Silu {}.into(),
            Activation::Sigmoid => ops::Sigmoid {}.into(),
            Activation::Tanh => ops::Tanh {}.into(),
            Activation::Softplus => ops::Softplus {}.into(),
            Activation::Softsign => ops::Softsign {}.into(),
            Activation::HardSwish => ops::HardSwish {}.into(),
            Activation::HardSigmoid => ops::HardSigmoid { alpha: Real(1.0 / 6.0), beta: Real(0.5) }.into(),
            Activation::Mish => ops::Mish {}.into(),
            Activation::Softmax => ops::Softmax { axis: last_axis(c, x)? }.into(),
        };
        c.op(op, &[x])
    }
}

fn last_axis(c: &mut Context, x: Value) -> Result<usize, Mistake> {
    let axis = c.graph.ty(x).rank().checked_sub(1).ok_or_else(|| Mistake::new("a single number has no axis to share out along"))?;
    c.expect_not_time(x, axis)?;
    Ok(axis)
}

/// `activation`: a function by name.
#[derive(Deserialize, JsonSchema)]
pub struct ActivationLayer {
    function: Activation,
}

impl Layer for ActivationLayer {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        c.expect_floats(x[0])?;
        self.function.apply(c, x[0])
    }
}

/// `leaky_relu`: with a slope of choice.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
pub struct LeakyRelu {
    slope: f64,
}

impl Default for LeakyRelu {
    fn default() -> LeakyRelu {
        LeakyRelu { slope: 0.01 }
    }
}

impl Layer for LeakyRelu {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        c.op(ops::LeakyRelu { alpha: Real(self.slope) }, x)
    }
}

/// `elu`: with a bound of choice.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
pub struct Elu {
    alpha: f64,
}

impl Default for Elu {
    fn default() -> Elu {
        Elu { alpha: 1.0 }
    }
}

impl Layer for Elu {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        c.op(ops::Elu { alpha: Real(self.alpha) }, x)
    }
}

/// `softmax`: along an axis; −1 is the last, 0 the batch.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
pub struct Softmax {
    axis: i64,
}

/// `log_softmax`: its logarithm.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogSoftmax {
    axis: i64,
}

impl Default for Softmax {
    fn default() -> Softmax {
        Softmax { axis: -1 }
    }
}

impl Default for LogSoftmax {
    fn default() -> LogSoftmax {
        LogSoftmax { axis: -1 }
    }
}

impl Layer for Softmax {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let axis = features_axis(c, x[0], self.axis)?;
        c.op(ops::Softmax { axis }, x)
    }
}

impl Layer for LogSoftmax {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let axis = features_axis(c, x[0], self.axis)?;
        c.op(ops::LogSoftmax { axis }, x)
    }
}

/// The same of a layer that, where a text is written token by token, looks at one token alone. Errors: another axis than its features.
fn features_axis(c: &mut Context, x: Value, axis: i64) -> Result<usize, Mistake> {
    let found = axis_of(c, x, axis)?;
    c.expect_not_time(x, found)?;
    if c.writes() && found + 1 != c.graph.ty(x).rank() {
        return Err(Mistake::new("a softmax along another axis than the last does not write token by token"));
    }
    Ok(found)
}

/// An axis, counted from the end if negative. Errors: there is none.
pub(super) fn axis_of(c: &Context, x: Value, axis: i64) -> Result<usize, Mistake> {
    let ty = c.graph.ty(x);
    let rank = ty.rank() as i64;
    let counted = if axis < 0 { axis + rank } else { axis };
    if (0..rank).contains(&counted) { Ok(counted as usize) } else { Err(Mistake::new(format!("{ty} has no axis {axis}"))) }
}
