//! Operations element by element.

use super::super::super::model::tree::Mistake;
use super::super::call::Call;
use super::super::config::element_type;
use super::super::layer::Layer;
use super::super::layers::activation;
use super::operand::{Operand, constant, operand, together, value};
use kiln_ir::attr::Real;
use kiln_ir::ops::{self, GeluKind, Op};
use kiln_ir::{DType, Value};

/// What comes in.
pub fn same(_: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    value(call)
}

/// An operator of one operand.
pub fn unary(l: &mut Layer, call: &Call, op: impl Into<Op>) -> Result<Value, Mistake> {
    let x = value(call)?;
    l.op(op, &[x])
}

/// The only value, in floats.
fn float(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    Ok(if l.ty(x).dtype.is_float() { x } else { l.cast(x, l.dtypes.1) })
}

/// An operator of one operand of floats.
pub fn float_unary(l: &mut Layer, call: &Call, op: impl Into<Op>) -> Result<Value, Mistake> {
    let x = float(l, call)?;
    l.op(op, &[x])
}

/// 1 / √x
pub fn rsqrt(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = float(l, call)?;
    let mut b = l.b();
    let root = b.sqrt(x);
    Ok(b.reciprocal(root))
}

/// x²
pub fn square(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    l.op(ops::Mul {}, &[x, x])
}

/// The same in another element type.
pub fn cast(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    let dtype = element_type(l.settings.word("dtype", "float32")?)?;
    Ok(l.cast(x, dtype))
}

/// x between `x_min` and `x_max`.
pub fn clip(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let mut x = value(call)?;
    for (name, op) in [("x_min", Op::from(ops::Max {})), ("x_max", Op::from(ops::Min {}))] {
        if let Some(bound) = l.settings.number(name)? {
            let dtype = l.ty(x).dtype;
            let bound = constant(l, dtype, vec![], &[bound]);
            x = l.broadcast_op(op, &[x, bound])?;
        }
    }
    Ok(x)
}

/// A constant of its shape.
pub fn like(l: &mut Layer, call: &Call, number: f64) -> Result<Value, Mistake> {
    let x = value(call)?;
    let dtype = match l.settings.get("dtype").and_then(|node| node.text()) {
        Some(name) => element_type(name)?,
        None => l.ty(x).dtype,
    };
    let (scalar, shape) = (constant(l, dtype, vec![], &[number]), l.shape(x));
    Ok(l.b().broadcast_to(scalar, &shape))
}

/// A function of Keras by its name.
pub fn function(l: &mut Layer, call: &Call, name: &str) -> Result<Value, Mistake> {
    let x = float(l, call)?;
    activation::function(l, name, x)
}

/// x, or `negative_slope`·x below 0.
pub fn leaky_relu(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let alpha = Real(l.settings.number_or("negative_slope", 0.2)?);
    float_unary(l, call, ops::LeakyRelu { alpha })
}

/// x, or `alpha`·(eˣ − 1) below 0.
pub fn elu(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let alpha = Real(l.settings.number_or("alpha", 1.0)?);
    float_unary(l, call, ops::Elu { alpha })
}

/// The same with a continuous slope.
pub fn celu(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let alpha = Real(l.settings.number_or("alpha", 1.0)?);
    float_unary(l, call, ops::Celu { alpha })
}

/// x·Φ(x), `approximate` or not.
pub fn gelu(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let approximate = if l.settings.flag("approximate", true)? { GeluKind::Tanh } else { GeluKind::Erf };
    float_unary(l, call, ops::Gelu { approximate })
}

/// Shares along `axis`.
pub fn softmax(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = float(l, call)?;
    let axis = l.axis(x, l.settings.integer_or("axis", -1)?)?;
    l.op(ops::Softmax { axis }, &[x])
}

/// Their logarithms.
pub fn log_softmax(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = float(l, call)?;
    let axis = l.axis(x, l.settings.integer_or("axis", -1)?)?;
    l.op(ops::LogSoftmax { axis }, &[x])
}

fn both(l: &mut Layer, call: &Call) -> Result<[Value; 2], Mistake> {
    let (a, b) = (operand(call, 0, "x1")?, operand(call, 1, "x2")?);
    together(l, a, b)
}

/// An operator of two operands that broadcast.
pub fn binary(l: &mut Layer, call: &Call, op: impl Into<Op>) -> Result<Value, Mistake> {
    let both = both(l, call)?;
    l.broadcast_op(op, &both)
}

/// The same on floats, whatever comes in.
pub fn float_binary(l: &mut Layer, call: &Call, op: impl Into<Op>) -> Result<Value, Mistake> {
    let both = both(l, call)?;
    let both = both.map(|x| if l.ty(x).dtype.is_float() { x } else { l.cast(x, l.dtypes.1) });
    l.broadcast_op(op, &both)
}

/// ⌊a / b⌋
pub fn floor_divide(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let both = both(l, call)?;
    if !l.ty(both[0]).dtype.is_float() {
        return Err(Mistake::new("division of whole numbers is not supported").help("cast them to floats"));
    }
    let ratio = l.broadcast_op(ops::Div {}, &both)?;
    Ok(l.b().floor(ratio))
}

/// What is left of a / b, with the sign of b.
pub fn modulo(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let [a, b] = both(l, call)?;
    let rest = l.broadcast_op(ops::Rem {}, &[a, b])?;
    // The remainder has the sign of a: where that is the other one, b is added.
    let dtype = l.ty(rest).dtype;
    let zero = constant(l, dtype, vec![], &[0.0]);
    let shape = l.shape(rest);
    let zero = l.b().broadcast_to(zero, &shape);
    let (low, negative) = (l.broadcast_op(ops::Less {}, &[rest, zero])?, l.broadcast_op(ops::Less {}, &[b, zero])?);
    let (other, some) = (l.op(ops::Xor {}, &[low, negative])?, l.op(ops::NotEqual {}, &[rest, zero])?);
    let wrong = l.op(ops::And {}, &[other, some])?;
    let sum = l.broadcast_op(ops::Add {}, &[rest, b])?;
    l.op(ops::Select {}, &[wrong, sum, rest])
}

/// An operator on truth values; other values are true unless they are 0.
pub fn logical(l: &mut Layer, call: &Call, op: impl Into<Op>) -> Result<Value, Mistake> {
    let both = both(l, call)?.map(|x| l.cast(x, DType::Bool));
    l.broadcast_op(op, &both)
}

/// Whether it is false.
pub fn logical_not(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    let x = l.cast(x, DType::Bool);
    l.op(ops::Not {}, &[x])
}

/// One of two by a condition.
pub fn choose(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let Operand::Value(condition) = operand(call, 0, "condition")? else { return Err(Mistake::new("its condition is a number")) };
    let condition = l.cast(condition, DType::Bool);
    let (a, b) = (operand(call, 1, "x1")?, operand(call, 2, "x2")?);
    let both = match (&a, &b) {
        (Operand::Numbers { .. }, Operand::Numbers { .. }) => {
            let dtype = l.dtypes.1;
            let number = |l: &mut Layer, operand: Operand| match operand {
                Operand::Numbers { numbers, shape, .. } => constant(l, dtype, shape, &numbers),
                Operand::Value(value) => value,
            };
            [number(l, a), number(l, b)]
        }
        _ => together(l, a, b)?,
    };
    l.broadcast_op(ops::Select {}, &[condition, both[0], both[1]])
}
