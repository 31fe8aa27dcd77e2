//! Layers that make one value of several.

use super::super::super::model::tree::Mistake;
use super::super::call::Call;
use super::super::layer::Layer;
use super::normalisation::unit_length;
use kiln_ir::ops::{self, Dot, Op};
use kiln_ir::{Dim, Value};

/// `Add`: the sum.
pub fn add(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    all(l, ops::Add {}, call)
}

/// `Subtract`: the first without the second.
pub fn subtract(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let count = call.values().len();
    if count == 2 { all(l, ops::Sub {}, call) } else { Err(Mistake::new(format!("it takes two values and is called with {count}"))) }
}

/// `Multiply`: the product.
pub fn multiply(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    all(l, ops::Mul {}, call)
}

/// `Maximum`: the larger.
pub fn maximum(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    all(l, ops::Max {}, call)
}

/// `Minimum`: the smaller.
pub fn minimum(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    all(l, ops::Min {}, call)
}

/// `Average`: the sum by their number.
pub fn average(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let sum = all(l, ops::Add {}, call)?;
    let count = call.values().len() as f64;
    l.context().expect_floats(sum)?;
    let mut b = l.b();
    let count = b.like(sum, count);
    Ok(b.div(sum, count))
}

/// One after the other; a value with fewer axes gets more behind the batch.
fn all(l: &mut Layer, op: impl Into<Op>, call: &Call) -> Result<Value, Mistake> {
    let (values, op) = (call.values(), op.into());
    let rank = values.iter().map(|value| l.rank(*value)).max().unwrap_or(0);
    let mut result: Option<Value> = None;
    for value in values {
        let missing = rank - l.rank(value);
        let value = if missing == 0 || l.rank(value) == 0 {
            value
        } else {
            let axes: Vec<usize> = (1..=missing).collect();
            l.b().unsqueeze(value, &axes)
        };
        result = Some(match result {
            None => value,
            Some(sum) => l.broadcast_op(op.clone(), &[sum, value])?,
        });
    }
    result.ok_or_else(|| Mistake::new("it is called with nothing"))
}

/// `Concatenate`: one behind the other along `axis`.
pub fn concatenate(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let values = call.values();
    let first = *values.first().ok_or_else(|| Mistake::new("it is called with nothing"))?;
    let axis = l.axis(first, l.settings.integer_or("axis", -1)?)?;
    l.op(ops::Concat { axis }, &values)
}

/// `Dot`: products of two values along one axis of each, sample by sample; of unit length there if `normalize`.
pub fn dot(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let [mut a, mut b] = call.values()[..] else { return Err(Mistake::new("it takes two values")) };
    let axes = l.settings.integers("axes")?.unwrap_or_else(|| vec![-1]);
    let (of_a, of_b) = match axes[..] {
        [axis] => (axis, axis),
        [of_a, of_b] => (of_a, of_b),
        _ => return Err(Mistake::new("`axes` names one axis of each value")),
    };
    let (of_a, of_b) = (l.axis(a, of_a)?, l.axis(b, of_b)?);
    if of_a == 0 || of_b == 0 {
        return Err(Mistake::new("`axes` names the batch"));
    }
    if l.settings.flag("normalize", false)? {
        a = unit_length(l, a, &[of_a])?;
        b = unit_length(l, b, &[of_b])?;
    }
    let y = l.op(Dot { a_batch: vec![0], b_batch: vec![0], a_contract: vec![of_a], b_contract: vec![of_b] }, &[a, b])?;
    let shape = l.shape(y);
    if shape.len() > 1 { Ok(y) } else { l.op(ops::Reshape { shape: vec![shape[0].clone(), Dim::ONE] }, &[y]) }
}
