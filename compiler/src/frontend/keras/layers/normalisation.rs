//! Normalisations.   `gamma` and `beta` (and `moving_mean`, `moving_variance` of `BatchNormalization`): one number a feature.

use super::super::super::model::context::{Weight, product};
use super::super::super::model::layers::normalisation::batch_statistics;
use super::super::super::model::tree::{Mistake, Node};
use super::super::call::Call;
use super::super::layer::Layer;
use super::dense::ZEROS;
use kiln_ir::attr::Real;
use kiln_ir::initialiser::Initialiser;
use kiln_ir::ops::{self, BatchNorm, GroupNorm, LayerNorm, Mean, RmsNorm};
use kiln_ir::{Dim, Tensor, Value};

const ONES: Initialiser = Initialiser::Constant(1.0);

/// The scale and shift of a normalisation over `shape`; ones and zeros where the layer has none.
fn scale_and_shift(l: &mut Layer, shape: &[usize]) -> Result<(Value, Value), Mistake> {
    let weight = |name, initialiser| Weight { name, shape: shape.to_vec(), ..Weight::vector(name, 1, initialiser) };
    let gamma = match l.settings.flag("scale", true)? {
        true => l.parameter("gamma", weight("gamma", ONES))?,
        false => l.uniform(shape, 1.0),
    };
    let beta = match l.settings.flag("center", true)? {
        true => l.parameter("beta", weight("beta", ZEROS))?,
        false => l.uniform(shape, 0.0),
    };
    Ok((gamma, beta))
}

/// The only axis that a setting names.
fn one_axis(l: &Layer, x: Value) -> Result<usize, Mistake> {
    match l.settings.integers("axis")?.unwrap_or_else(|| vec![-1])[..] {
        [axis] => l.axis(x, axis),
        _ => Err(Mistake::new("`axis` names several axes; one is supported")),
    }
}

/// Puts an axis second; gives the permutation that undoes it.
fn second(l: &mut Layer, x: Value, axis: usize) -> Result<(Value, Vec<usize>), Mistake> {
    let rank = l.rank(x);
    let perm: Vec<usize> = [0, axis].into_iter().chain((1..rank).filter(|other| *other != axis)).collect();
    let back = ops::Transpose::inverse(&perm);
    Ok((l.transpose(x, &perm)?, back))
}

/// `BatchNormalization`: features by their running statistics; in training by those of the batch, of which each step keeps the part
/// 1 − `momentum`. Unlike PyTorch's, running variances are those of the batch as they are.
pub fn batch(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = call.value()?;
    l.settings.refuse("renorm", "make the layer without it")?;
    l.settings.ignore(&["renorm_clipping", "renorm_momentum", "fused", "adjustment"]);
    let momentum = l.settings.number_or("momentum", 0.99)?;
    let (axis, epsilon) = (one_axis(l, x)?, l.settings.number_or("epsilon", 1e-3)?);
    if axis == 0 {
        return Err(Mistake::new("`axis` is the batch"));
    }
    let features = l.size(x, axis, "features")?;
    let (gamma, beta) = scale_and_shift(l, &[features])?;
    let running = |name, initialiser| Weight { trainable: false, ..Weight::vector(name, features, initialiser) };
    let mean = l.parameter("moving_mean", running("moving_mean", ZEROS))?;
    let variance = l.parameter("moving_variance", running("moving_variance", ONES))?;
    let (x, back) = second(l, x, axis)?;
    // A layer that is not trained keeps to its running statistics in training too.
    let (mut mean, mut variance) = (mean, variance);
    if l.import.training.is_some() && !l.is_held()? {
        let path = l.path.clone();
        let mut context = l.context();
        let [batch_mean, batch_variance, _] = batch_statistics(&mut context, x);
        context.update_named_statistic(format!("{path}/moving_mean"), mean, batch_mean, momentum);
        context.update_named_statistic(format!("{path}/moving_variance"), variance, batch_variance, momentum);
        (mean, variance) = (batch_mean, batch_variance);
    }
    let y = l.op(BatchNorm { epsilon: Real(epsilon) }, &[x, gamma, beta, mean, variance])?;
    l.transpose(y, &back)
}

/// Axes that a setting names put last; gives their sizes and the permutation that undoes it.
fn last(l: &mut Layer, x: Value) -> Result<(Value, Vec<usize>, Vec<usize>), Mistake> {
    let named = l.settings.integers("axis")?.unwrap_or_else(|| vec![-1]);
    let mut axes = named.iter().map(|axis| l.axis(x, *axis)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    axes.dedup();
    let rank = l.rank(x);
    let perm: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).chain(axes.iter().copied()).collect();
    let sizes = axes.iter().map(|axis| l.size(x, *axis, "features")).collect::<Result<Vec<_>, _>>()?;
    Ok((l.transpose(x, &perm)?, sizes, ops::Transpose::inverse(&perm)))
}

/// `LayerNormalization`: over `axis`; with `rms_scaling` the mean stays where it is.
pub fn layer(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = call.value()?;
    l.context().expect_floats(x)?;
    let (by_root, epsilon) = (l.settings.flag("rms_scaling", false)?, l.settings.number_or("epsilon", 1e-3)?);
    let (x, sizes, back) = last(l, x)?;
    let from = l.rank(x) - sizes.len();
    let y = if by_root {
        let gamma = l.parameter("gamma", Weight { shape: sizes, ..Weight::vector("gamma", 1, ONES) })?;
        // By the deviation about the mean, which is not subtracted.
        let axes: Vec<usize> = (from..l.rank(x)).collect();
        let mean = l.op(Mean { axes: axes.clone(), keep: true }, &[x])?;
        let mut b = l.b();
        let centred = b.sub(x, mean);
        let square = b.mul(centred, centred);
        let variance = b.op(Mean { axes, keep: true }, &[square]);
        let epsilon = b.like(variance, epsilon);
        let sum = b.add(variance, epsilon);
        let deviation = b.sqrt(sum);
        let scaled = b.div(x, deviation);
        l.broadcast_op(ops::Mul {}, &[scaled, gamma])?
    } else {
        let (gamma, beta) = scale_and_shift(l, &sizes)?;
        l.op(LayerNorm { axes_from: from, epsilon: Real(epsilon) }, &[x, gamma, beta])?
    };
    l.transpose(y, &back)
}

/// `RMSNormalization`: by the root of the mean square over `axis`.   `scale`
pub fn rms(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (x, epsilon) = (call.value()?, l.settings.number_or("epsilon", 1e-6)?);
    l.context().expect_floats(x)?;
    let (x, sizes, back) = last(l, x)?;
    let from = l.rank(x) - sizes.len();
    let scale = l.parameter("scale", Weight { shape: sizes, ..Weight::vector("scale", 1, ONES) })?;
    let y = l.op(RmsNorm { axes_from: from, epsilon: Real(epsilon) }, &[x, scale])?;
    l.transpose(y, &back)
}

/// `GroupNormalization`: groups of features of a sample; −1 is as many groups as features.
pub fn group(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (x, epsilon) = (call.value()?, l.settings.number_or("epsilon", 1e-3)?);
    l.context().expect_floats(x)?;
    let axis = one_axis(l, x)?;
    if axis == 0 {
        return Err(Mistake::new("`axis` is the batch"));
    }
    let features = l.size(x, axis, "features")?;
    let groups = match l.settings.integer_or("groups", 32)? {
        -1 => features,
        groups => usize::try_from(groups).map_err(|_| Mistake::new(format!("{groups} groups are none")))?,
    };
    let (gamma, beta) = scale_and_shift(l, &[features])?;
    let (x, back) = second(l, x, axis)?;
    let y = l.op(GroupNorm { groups, epsilon: Real(epsilon) }, &[x, gamma, beta])?;
    l.transpose(y, &back)
}

/// `UnitNormalization`: length 1 over `axis`.
pub fn unit(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = call.value()?;
    let axes = l.settings.integers("axis")?.unwrap_or_else(|| vec![-1]);
    let mut axes = axes.iter().map(|axis| l.axis(x, *axis)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    axes.dedup();
    unit_length(l, x, &axes)
}

/// x / √max(Σx², 10⁻¹²) over axes. Errors: x holds no floats.
pub fn unit_length(l: &mut Layer, x: Value, axes: &[usize]) -> Result<Value, Mistake> {
    l.context().expect_floats(x)?;
    let mut b = l.b();
    let square = b.mul(x, x);
    let sum = b.reduce_sum(square, axes, true);
    let least = b.like(sum, 1e-12);
    let sum = b.max(sum, least);
    let length = b.sqrt(sum);
    Ok(b.div(x, length))
}

/// `Normalization`: (x − mean) / max(√variance, 10⁻⁷) along `axis`, by the statistics that its config or the file holds.
pub fn by_statistics(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = call.value()?;
    let x = l.cast(x, l.dtypes.1);
    l.settings.ignore(&["input_mean", "input_variance"]);
    let named = l.settings.integers("axis")?.unwrap_or_default();
    let mut axes = named.iter().map(|axis| l.axis(x, *axis)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    let sizes = axes.iter().map(|axis| l.size(x, *axis, "features")).collect::<Result<Vec<_>, _>>()?;
    let mut aligned = vec![Dim::ONE; l.rank(x)];
    axes.iter().zip(&sizes).for_each(|(axis, size)| aligned[*axis] = Dim::from(*size));
    let mut statistic = |name: &'static str, initialiser: Initialiser| -> Result<Value, Mistake> {
        let value = match l.settings.get(name) {
            Some(node) => {
                let mut numbers = Vec::new();
                flatten(node, &mut numbers).ok_or_else(|| Mistake::new(format!("`{name}` holds something that is no number")))?;
                let count = product(&sizes);
                if numbers.len() != count && numbers.len() != 1 {
                    return Err(Mistake::new(format!("`{name}` holds {} numbers for {count} features", numbers.len())));
                }
                let shape = if numbers.len() == count { sizes.clone() } else { vec![1; sizes.len()] };
                let (dtype, tensor) = (l.dtypes.1, shape);
                l.b().constant(Tensor::from_floats(dtype, tensor, numbers))
            }
            None => {
                let weight = Weight { name, shape: sizes.clone(), trainable: false, ..Weight::vector(name, 1, initialiser) };
                l.parameter(name, weight)?
            }
        };
        let elements = l.ty(value).elements();
        let shape = if elements.is(1) { vec![Dim::ONE; aligned.len()] } else { aligned.clone() };
        l.op(ops::Reshape { shape }, &[value])
    };
    let (mean, variance) = (statistic("mean", ZEROS)?, statistic("variance", ONES)?);
    let invert = l.settings.flag("invert", false)?;
    let mut b = l.b();
    let deviation = b.sqrt(variance);
    let least = b.like(deviation, 1e-7);
    let deviation = b.max(deviation, least);
    Ok(if invert {
        let spread = b.mul(x, deviation);
        b.add(spread, mean)
    } else {
        let centred = b.sub(x, mean);
        b.div(centred, deviation)
    })
}

/// The numbers of lists in lists, in order; `None` if there is something else.
fn flatten(node: &Node, out: &mut Vec<f64>) -> Option<()> {
    match node.list() {
        Some(items) => items.iter().try_for_each(|item| flatten(item, out)),
        None => {
            out.push(node.number()?);
            Some(())
        }
    }
}

/// `Rescaling`: x·scale + offset, each a number or one for each feature.
pub fn rescaling(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = call.value()?;
    let x = l.cast(x, l.dtypes.1);
    let dtype = l.dtypes.1;
    let mut y = x;
    for (name, op) in [("scale", ops::Op::from(ops::Mul {})), ("offset", ops::Op::from(ops::Add {}))] {
        let Some(node) = l.settings.get(name) else { continue };
        let mut numbers = Vec::new();
        flatten(node, &mut numbers).ok_or_else(|| Mistake::new(format!("`{name}` holds something that is no number")))?;
        if numbers == [if name == "scale" { 1.0 } else { 0.0 }] {
            continue;
        }
        let shape = if node.list().is_some() { vec![numbers.len()] } else { vec![] };
        let constant = l.b().constant(Tensor::from_floats(dtype, shape, numbers));
        y = l.broadcast_op(op, &[y, constant])?;
    }
    Ok(y)
}
