//! Pooling over the spatial axes of `[batch, spatial.., channels]`, or `[batch, channels, spatial..]`.

use super::super::super::model::tree::Mistake;
use super::super::call::Call;
use super::super::layer::Layer;
use super::convolution::{channels_back, channels_first, padding};
use kiln_ir::ops::{AvgPool, Mean, Reduce, ReduceKind, WindowKind, WindowReduce};
use kiln_ir::{Dim, Value};

/// `MaxPooling1D` … `MaxPooling3D`.
pub fn max<const RANK: usize>(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    pool::<RANK>(l, call, |l, x, window, strides, low, high| {
        let dilations = vec![1; RANK];
        l.op(WindowReduce { kind: WindowKind::Max, window, strides, dilations, low, high }, &[x])
    })
}

/// `AveragePooling1D` … `AveragePooling3D`; padding does not count.
pub fn average<const RANK: usize>(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    pool::<RANK>(l, call, |l, x, window, strides, low, high| {
        let (dilations, overhang) = (vec![1; RANK], vec![Dim::ZERO; RANK]);
        l.op(AvgPool { window, strides, dilations, low, high, overhang, count_padding: false }, &[x])
    })
}

type Pool = fn(&mut Layer, Value, Vec<usize>, Vec<usize>, Vec<Dim>, Vec<Dim>) -> Result<Value, Mistake>;

fn pool<const RANK: usize>(l: &mut Layer, call: &Call, pool: Pool) -> Result<Value, Mistake> {
    let (x, last) = (call.value()?, l.settings.channels_last()?);
    let x = channels_first::<RANK>(l, x, last)?;
    let window = l.settings.per_axis("pool_size", RANK)?;
    let strides = if l.settings.get("strides").is_some() { l.settings.per_axis("strides", RANK)? } else { window.clone() };
    let (low, high) = padding(l, x, &window, &strides, &[1; RANK])?;
    let y = pool(l, x, window, strides, low, high)?;
    channels_back::<RANK>(l, y, last)
}

/// `GlobalMaxPooling1D` … `GlobalMaxPooling3D`.
pub fn global_max<const RANK: usize>(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (x, axes, keep) = global::<RANK>(l, call)?;
    l.op(Reduce { kind: ReduceKind::Max, axes, keep }, &[x])
}

/// `GlobalAveragePooling1D` … `GlobalAveragePooling3D`.
pub fn global_average<const RANK: usize>(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let (x, axes, keep) = global::<RANK>(l, call)?;
    l.op(Mean { axes, keep }, &[x])
}

/// What is pooled, over which axes, and whether they stay with size 1.
fn global<const RANK: usize>(l: &mut Layer, call: &Call) -> Result<(Value, Vec<usize>, bool), Mistake> {
    let (x, last, keep) = (call.value()?, l.settings.channels_last()?, l.settings.flag("keepdims", false)?);
    // Only to check the axes.
    channels_first::<RANK>(l, x, false)?;
    let first = if last { 1 } else { 2 };
    Ok((x, (first..first + RANK).collect(), keep))
}
