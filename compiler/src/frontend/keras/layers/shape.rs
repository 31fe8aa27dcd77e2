//! Layers that change the shape of what they get.

use super::super::super::model::tree::{Mistake, Node};
use super::super::call::Call;
use super::super::layer::Layer;
use super::super::settings::integers;
use super::convolution::{channels_back, channels_first};
use kiln_ir::attr::Real;
use kiln_ir::ops::{self, CoordinateMode, NearestMode, Reshape, Resize, ResizeMode};
use kiln_ir::{Dim, Proof, Value};

/// `Identity`: what comes in.
pub fn identity(_: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    call.value()
}

/// `Flatten`: `[batch, ..]` → `[batch, features]`, channels last.
pub fn flatten(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (mut x, last) = (call.value()?, l.settings.channels_last()?);
    let rank = l.rank(x);
    if !last && rank > 2 {
        let perm: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
        x = l.transpose(x, &perm)?;
    }
    let shape = l.shape(x);
    let (batch, rest) = shape.split_first().ok_or_else(|| Mistake::new("a single number has no batch"))?;
    l.op(Reshape { shape: vec![batch.clone(), Dim::product(rest)] }, &[x])
}

/// `Reshape`: each sample as `target_shape`.
pub fn reshape(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = call.value()?;
    let target = l.settings.integers("target_shape")?.ok_or_else(|| Mistake::new("the setting `target_shape` is missing"))?;
    let shape = l.shape(x);
    let (batch, rest) = shape.split_first().ok_or_else(|| Mistake::new("a single number has no batch"))?;
    let mut made = fitted(l, rest, &target)?;
    made.insert(0, batch.clone());
    l.op(Reshape { shape: made }, &[x])
}

/// Sizes of which one may be −1: what the others leave of `from`. Errors: they do not make as many elements.
pub fn fitted(l: &Layer, from: &[Dim], target: &[i64]) -> Result<Vec<Dim>, Mistake> {
    if target.iter().any(|size| *size < -1) || target.iter().filter(|size| **size == -1).count() > 1 {
        return Err(Mistake::new(format!("{target:?} is no shape: sizes from 0 on, and -1 once")));
    }
    let mut made: Vec<Dim> = target.iter().map(|size| Dim::from(*size)).collect();
    if let Some(open) = target.iter().position(|size| *size == -1) {
        let known = Dim::product(made.iter().filter(|dim| !dim.is(-1)));
        if known.is(0) {
            return Err(Mistake::new("nothing says how large the axis of size -1 is: another one is 0"));
        }
        made[open] = Dim::product(from).floor_div(&known);
    }
    let (had, has) = (Dim::product(from), Dim::product(&made));
    if l.import.graph.symbols.provably_equal(&had, &has) == Proof::No {
        return Err(Mistake::new(format!("{had} elements do not make {has}")));
    }
    Ok(made)
}

/// `Permute`: the axes in another order; `dims` lists them from 1 on, the batch stays.
pub fn permute(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = call.value()?;
    let order = l.settings.integers("dims")?.unwrap_or_default();
    let perm = [0].into_iter().chain(order).map(|axis| usize::try_from(axis).unwrap_or(usize::MAX)).collect();
    l.op(ops::Transpose { perm }, &[x])
}

/// `RepeatVector`: `[batch, features]` → `[batch, n, features]`.
pub fn repeat_vector(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (x, n) = (call.value()?, l.settings.size("n")?);
    if l.rank(x) != 2 {
        return Err(Mistake::new(format!("takes [batch, features], but what comes in is {}", l.ty(x))));
    }
    let shape = l.shape(x);
    let mut b = l.b();
    let x = b.unsqueeze(x, &[1]);
    Ok(b.broadcast_to(x, &[shape[0].clone(), Dim::from(n), shape[1].clone()]))
}

/// Amounts before and after each spatial axis: a number for all, one for each axis, or two for each.
fn amounts<const RANK: usize>(l: &Layer, name: &str) -> Result<Vec<(usize, usize)>, Mistake> {
    let wrong = || Mistake::new(format!("`{name}` is no amount for each end of {RANK} axes"));
    let node = l.settings.get(name).ok_or_else(wrong)?;
    let pair = |node: &Node| -> Result<(usize, usize), Mistake> {
        let sizes = integers(node, name)?.into_iter().map(|n| usize::try_from(n).map_err(|_| wrong())).collect::<Result<Vec<_>, _>>()?;
        match sizes[..] {
            [both] => Ok((both, both)),
            [low, high] => Ok((low, high)),
            _ => Err(wrong()),
        }
    };
    match node.list() {
        None => Ok(vec![pair(node)?; RANK]),
        // Two numbers on one axis are its ends.
        Some(_) if RANK == 1 && node.list().is_some_and(|items| items.iter().all(|item| item.list().is_none())) => Ok(vec![pair(node)?]),
        Some(items) if items.len() == RANK => items.iter().map(pair).collect(),
        Some(_) => Err(wrong()),
    }
}

/// `ZeroPadding1D` … `ZeroPadding3D`.
pub fn zero_padding<const RANK: usize>(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (x, last) = (call.value()?, l.settings.channels_last()?);
    let amounts = amounts::<RANK>(l, "padding")?;
    let x = channels_first::<RANK>(l, x, last)?;
    let ends = |end: fn(&(usize, usize)) -> usize| -> Vec<Dim> {
        [Dim::ZERO, Dim::ZERO].into_iter().chain(amounts.iter().map(|pair| Dim::from(end(pair)))).collect()
    };
    let (low, high) = (ends(|pair| pair.0), ends(|pair| pair.1));
    let dtype = l.ty(x).dtype;
    let zero = l.b().scalar(dtype, 0.0);
    let y = l.op(ops::Pad { low, high, mode: ops::PadMode::Constant }, &[x, zero])?;
    channels_back::<RANK>(l, y, last)
}

/// `Cropping1D` … `Cropping3D`.
pub fn cropping<const RANK: usize>(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (x, last) = (call.value()?, l.settings.channels_last()?);
    let amounts = amounts::<RANK>(l, "cropping")?;
    let x = channels_first::<RANK>(l, x, last)?;
    let (mut starts, mut sizes) = (vec![Dim::ZERO; 2], l.shape(x));
    for (size, (low, high)) in sizes[2..].iter_mut().zip(&amounts) {
        starts.push(Dim::from(*low));
        *size = &*size - Dim::from(*low) - Dim::from(*high);
    }
    let y = l.op(ops::Slice { starts, sizes, steps: vec![1; RANK + 2] }, &[x])?;
    channels_back::<RANK>(l, y, last)
}

/// `UpSampling1D` … `UpSampling3D`: elements repeated; in two dimensions also between neighbours, by "bilinear".
pub fn up_sampling<const RANK: usize>(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (x, last) = (call.value()?, l.settings.channels_last()?);
    let factors = l.settings.per_axis("size", RANK)?;
    if factors.contains(&0) {
        return Err(Mistake::new("`size` is 0"));
    }
    let x = channels_first::<RANK>(l, x, last)?;
    let y = match l.settings.word("interpolation", "nearest")? {
        "nearest" => (0..RANK).try_fold(x, |x, axis| repeat(l, x, axis + 2, factors[axis])),
        "bilinear" => {
            let mut sizes = l.shape(x);
            sizes[2..].iter_mut().zip(&factors).for_each(|(size, factor)| *size = &*size * Dim::from(*factor));
            let resize = Resize {
                mode: ResizeMode::Linear,
                coordinates: CoordinateMode::HalfPixel,
                nearest: NearestMode::Floor,
                cubic_a: Real(-0.75),
                exclude_outside: false,
                sizes,
                scales: None,
            };
            l.op(resize, &[x])
        }
        other => Err(Mistake::new(format!("the interpolation `{other}` is not supported: nearest and bilinear are"))),
    }?;
    channels_back::<RANK>(l, y, last)
}

/// Every element of an axis `count` times in a row. Errors: there are more than can be counted.
pub fn repeat(l: &mut Layer, x: Value, axis: usize, count: usize) -> Result<Value, Mistake> {
    if count == 1 {
        return Ok(x);
    }
    let mut shape = l.shape(x);
    let size = shape[axis].clone();
    shape.insert(axis + 1, Dim::from(count));
    let spread = l.b().unsqueeze(x, &[axis + 1]);
    let spread = l.op(ops::Broadcast { shape: shape.clone() }, &[spread])?;
    shape.remove(axis + 1);
    shape[axis] = size * Dim::from(count);
    l.op(Reshape { shape }, &[spread])
}
