//! Operations on shapes.

use super::super::super::model::tree::{Mistake, Node};
use super::super::call::{Argument, Call};
use super::super::layer::Layer;
use super::super::layers::Results;
use super::super::layers::shape::{fitted, repeat as repeat_elements};
use super::super::settings::integers;
use super::operand::value;
use kiln_ir::ops::{self, Slice};
use kiln_ir::{Dim, Value};

/// The same elements as `newshape`, of which one size may be −1.
pub fn reshape(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    let target = l.settings.integers("newshape")?.ok_or_else(|| Mistake::new("the setting `newshape` is missing"))?;
    let from = l.shape(x);
    let shape = fitted(l, &from, &target)?;
    l.op(ops::Reshape { shape }, &[x])
}

/// The axes in the order `axes`, reversed without it.
pub fn transpose(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    let perm = match l.settings.integers("axes")? {
        None => (0..l.rank(x)).rev().collect(),
        Some(axes) => axes.iter().map(|axis| l.axis(x, *axis)).collect::<Result<Vec<_>, _>>()?,
    };
    l.op(ops::Transpose { perm }, &[x])
}

/// Two axes in each other's place.
pub fn swap_axes(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    let (a, b) = (l.axis(x, l.settings.integer_or("axis1", 0)?)?, l.axis(x, l.settings.integer_or("axis2", 0)?)?);
    let mut perm: Vec<usize> = (0..l.rank(x)).collect();
    perm.swap(a, b);
    l.transpose(x, &perm)
}

/// One axis in another place.
pub fn move_axis(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    let one = |l: &Layer, name: &str| match l.settings.integers(name)?.as_deref() {
        Some([axis]) => l.axis(x, *axis),
        _ => Err(Mistake::new(format!("`{name}` is not one axis"))),
    };
    let (from, to) = (one(l, "source")?, one(l, "destination")?);
    let mut perm: Vec<usize> = (0..l.rank(x)).filter(|axis| *axis != from).collect();
    perm.insert(to, from);
    l.transpose(x, &perm)
}

/// An axis of size 1 more.
pub fn expand_dims(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    let mut shape = l.shape(x);
    let mut axes = l.settings.integers("axis")?.ok_or_else(|| Mistake::new("the setting `axis` is missing"))?;
    let rank = (shape.len() + axes.len()) as i64;
    axes.iter_mut().filter(|axis| **axis < 0).for_each(|axis| *axis += rank);
    axes.sort_unstable();
    for axis in axes {
        let at = usize::try_from(axis).ok().filter(|at| *at <= shape.len());
        shape.insert(at.ok_or_else(|| Mistake::new(format!("there is no place for an axis {axis}")))?, Dim::ONE);
    }
    l.op(ops::Reshape { shape }, &[x])
}

/// An axis of size 1 fewer; without `axis`, all of them.
pub fn squeeze(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    let shape = l.shape(x);
    let axes = match l.settings.integers("axis")? {
        None => (0..shape.len()).filter(|axis| shape[*axis].is(1)).collect(),
        Some(axes) => axes.iter().map(|axis| l.axis(x, *axis)).collect::<Result<Vec<_>, _>>()?,
    };
    let shape = shape.into_iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, size)| size).collect();
    l.op(ops::Reshape { shape }, &[x])
}

fn several(call: &Call) -> Result<Vec<Value>, Mistake> {
    let values = call.argument(0, "xs").or_else(|| call.argument(0, "x")).map(Argument::values).unwrap_or_default();
    if values.is_empty() { Err(Mistake::new("it is called with nothing")) } else { Ok(values) }
}

/// One behind the other along `axis`.
pub fn concatenate(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let values = several(call)?;
    let axis = l.axis(values[0], l.settings.integer_or("axis", -1)?)?;
    l.op(ops::Concat { axis }, &values)
}

/// One behind the other along a new axis.
pub fn stack(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let values = several(call)?;
    let axis = l.settings.integer_or("axis", 0)?;
    let rank = l.rank(values[0]) as i64 + 1;
    let axis = if axis < 0 { axis + rank } else { axis };
    let at =
        usize::try_from(axis).ok().filter(|_| axis < rank).ok_or_else(|| Mistake::new(format!("there is no place for an axis {axis}")))?;
    let mut taller = Vec::new();
    for value in values {
        if l.rank(value) < at {
            return Err(Mistake::new("its values have different numbers of axes"));
        }
        taller.push(l.b().unsqueeze(value, &[at]));
    }
    l.op(ops::Concat { axis: at }, &taller)
}

/// Parts of an axis: as many of equal size, or those that begin at `indices_or_sections`.
pub fn split(l: &mut Layer, call: &Call) -> Result<Results, Mistake> {
    let x = value(call)?;
    let axis = l.axis(x, l.settings.integer_or("axis", 0)?)?;
    let size = l.size(x, axis, "elements")? as i64;
    let node = l.settings.get("indices_or_sections").ok_or_else(|| Mistake::new("the setting `indices_or_sections` is missing"))?;
    let numbers = integers(node, "indices_or_sections")?;
    let bounds: Vec<i64> = if node.list().is_some() {
        [&[0][..], &numbers, &[size]].concat()
    } else {
        let count = numbers[0];
        if !(1..=1024).contains(&count) || size % count != 0 {
            return Err(Mistake::new(format!("{count} parts do not divide {size} elements, or are more than 1024")));
        }
        (0..=count).map(|n| n * (size / count)).collect()
    };
    if bounds.windows(2).any(|pair| pair[1] < pair[0]) {
        return Err(Mistake::new(format!("{numbers:?} are no places between 0 and {size}")));
    }
    let mut parts = Vec::new();
    for pair in bounds.windows(2) {
        let (mut starts, mut sizes) = (vec![Dim::ZERO; l.rank(x)], l.shape(x));
        (starts[axis], sizes[axis]) = (Dim::from(pair[0]), Dim::from(pair[1] - pair[0]));
        let steps = vec![1; sizes.len()];
        parts.push(l.op(Slice { starts, sizes, steps }, &[x])?);
    }
    Ok(parts.into())
}

/// Axes from their ends.
pub fn flip(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    let axes = match l.settings.integers("axis")? {
        None => (0..l.rank(x)).collect(),
        Some(axes) => axes.iter().map(|axis| l.axis(x, *axis)).collect::<Result<Vec<_>, _>>()?,
    };
    let sizes = l.shape(x);
    let (mut starts, mut steps) = (vec![Dim::ZERO; sizes.len()], vec![1; sizes.len()]);
    for axis in axes {
        (starts[axis], steps[axis]) = (&sizes[axis] - Dim::ONE, -1);
    }
    l.op(Slice { starts, sizes, steps }, &[x])
}

/// Every element of `axis` as often.
pub fn repeat(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    let count = l.settings.size("repeats")?;
    let axis = match l.settings.integers("axis")?.as_deref() {
        Some([axis]) => l.axis(x, *axis)?,
        _ => return Err(Mistake::new("it needs an `axis`")),
    };
    repeat_elements(l, x, axis, count)
}

/// The whole as often along each axis.
pub fn tile(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let mut x = value(call)?;
    let repeats = l.settings.integers("repeats")?.unwrap_or_default();
    let rank = l.rank(x);
    let missing = rank.checked_sub(repeats.len()).ok_or_else(|| Mistake::new("`repeats` names more axes than there are"))?;
    for (axis, count) in repeats.iter().enumerate().map(|(at, count)| (at + missing, *count)) {
        match count {
            1 => {}
            2..=1024 => x = l.op(ops::Concat { axis }, &vec![x; count as usize])?,
            _ => return Err(Mistake::new(format!("{count} repetitions are not supported: 1 to 1024 are"))),
        }
    }
    Ok(x)
}

/// Constant elements, or others of its own, before and after each axis.
pub fn pad(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    let mode = match l.settings.word("mode", "constant")? {
        "constant" => ops::PadMode::Constant,
        "edge" => ops::PadMode::Edge,
        "reflect" => ops::PadMode::Reflect,
        "wrap" => ops::PadMode::Wrap,
        other => return Err(Mistake::new(format!("the mode `{other}` is not supported: constant, edge, reflect and wrap are"))),
    };
    let number = match call.argument(1, "constant_values") {
        None => 0.0,
        Some(Argument::Setting(node)) => node.number().ok_or_else(|| Mistake::new("`constant_values` is no number"))?,
        Some(_) => return Err(Mistake::new("`constant_values` is no number")),
    };
    let widths = l.settings.get("pad_width").ok_or_else(|| Mistake::new("the setting `pad_width` is missing"))?;
    let wrong = || Mistake::new("`pad_width` is no pair for each axis");
    let pair = |node: &Node| match integers(node, "pad_width")?[..] {
        [low, high] if low >= 0 && high >= 0 => Ok((Dim::from(low), Dim::from(high))),
        _ => Err(wrong()),
    };
    let pairs = widths.list().ok_or_else(wrong)?.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    let (low, high) = pairs.into_iter().unzip();
    let dtype = l.ty(x).dtype;
    let number = super::operand::constant(l, dtype, vec![], &[number]);
    l.op(ops::Pad { low, high, mode }, &[x, number])
}

/// The same in a larger shape.
pub fn broadcast_to(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    let shape = l.settings.integers("shape")?.ok_or_else(|| Mistake::new("the setting `shape` is missing"))?;
    l.op(ops::Broadcast { shape: shape.into_iter().map(Dim::from).collect() }, &[x])
}
