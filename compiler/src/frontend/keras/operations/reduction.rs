//! Operations over axes.

use super::super::super::model::tree::Mistake;
use super::super::call::Call;
use super::super::layer::Layer;
use super::super::layers::Results;
use super::operand::value;
use kiln_ir::ops::{self, ArgKind, LogSumExp, Mean, ReduceKind};
use kiln_ir::{DType, Value};

/// The value, the axes (all unless the settings name some) and whether they stay.
fn over(l: &mut Layer, call: &Call) -> Result<(Value, Vec<usize>, bool), Mistake> {
    let x = value(call)?;
    let axes = match l.settings.integers("axis")? {
        None => (0..l.rank(x)).collect(),
        Some(axes) => axes.iter().map(|axis| l.axis(x, *axis)).collect::<Result<Vec<_>, _>>()?,
    };
    l.settings.refuse("initial", "start values are not known here")?;
    Ok((x, axes, l.settings.flag("keepdims", false)?))
}

fn floats(l: &mut Layer, x: Value) -> Value {
    if l.ty(x).dtype.is_float() { x } else { l.cast(x, l.dtypes.1) }
}

/// The sum, product, largest, smallest, … over `axis`.
pub fn reduce(l: &mut Layer, call: &Call, kind: ReduceKind) -> Result<Value, Mistake> {
    let (x, axes, keep) = over(l, call)?;
    let x = match kind {
        ReduceKind::And | ReduceKind::Or => l.cast(x, DType::Bool),
        _ => x,
    };
    l.op(ops::Reduce { kind, axes, keep }, &[x])
}

/// The average.
pub fn mean(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (x, axes, keep) = over(l, call)?;
    let x = floats(l, x);
    l.op(Mean { axes, keep }, &[x])
}

/// The mean square of the distances from the average.
pub fn variance(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (x, axes, keep) = over(l, call)?;
    let x = floats(l, x);
    let mean = l.op(Mean { axes: axes.clone(), keep: true }, &[x])?;
    let centred = l.broadcast_op(ops::Sub {}, &[x, mean])?;
    let square = l.op(ops::Mul {}, &[centred, centred])?;
    l.op(Mean { axes, keep }, &[square])
}

/// Its root.
pub fn deviation(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let variance = variance(l, call)?;
    l.op(ops::Sqrt {}, &[variance])
}

/// ln Σ eˣ
pub fn log_sum_exp(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (x, axes, keep) = over(l, call)?;
    let x = floats(l, x);
    l.op(LogSumExp { axes, keep }, &[x])
}

/// Where the largest or smallest stands along `axis`, in 32 bits.
pub fn arg(l: &mut Layer, call: &Call, kind: ArgKind) -> Result<Value, Mistake> {
    let x = value(call)?;
    let keep = l.settings.flag("keepdims", false)?;
    let Some(axes) = l.settings.integers("axis")?.filter(|axes| axes.len() == 1) else {
        return Err(Mistake::new("it needs an `axis`"));
    };
    let axis = l.axis(x, axes[0])?;
    let places = l.op(ops::ArgReduce { kind, axis, keep, last: false }, &[x])?;
    Ok(l.cast(places, DType::I32))
}

/// x / max(its norm of the order 2, epsilon) along `axis`.
pub fn normalize(l: &mut Layer, call: &Call) -> Result<Results, Mistake> {
    let x = value(call)?;
    let x = floats(l, x);
    if l.settings.number_or("order", 2.0)? != 2.0 {
        return Err(Mistake::new("a norm of another `order` than 2 is not supported"));
    }
    let (axis, epsilon) = (l.axis(x, l.settings.integer_or("axis", -1)?)?, l.settings.number_or("epsilon", 1e-7)?);
    let mut b = l.b();
    let square = b.mul(x, x);
    let sum = b.reduce_sum(square, &[axis], true);
    let least = b.like(sum, epsilon * epsilon);
    let sum = b.max(sum, least);
    let norm = b.sqrt(sum);
    Ok(b.div(x, norm).into())
}
