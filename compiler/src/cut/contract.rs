//! Contractions: dots and convolutions as sums of products.

use super::nest::{dims, position};
use super::value::{Failure, KernelBuilder};
use super::{Place, Region};
use crate::kernel::{Axis, Body, Bound, Contract, DEPTH_CHUNK, Kernel, Store};
use kiln_ir::ops::{Conv, Dot};
use kiln_ir::{DType, Dim, Value};

type Built = Result<(Kernel, Vec<String>), Failure>;

/// The dtype sums are kept in.
fn accumulator_dtype(dtype: DType) -> DType {
    if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype }
}

/// Binds the sum to `head` at `index`, rounded to the head's dtype, and stores the end of the epilogue.
fn epilogue(
    b: &mut KernelBuilder,
    region: &Region,
    head: Value,
    index: Vec<Dim>,
    value: Value,
    place: &Place,
) -> Result<Vec<Store>, Failure> {
    let dtype = region.graph.ty(head).dtype;
    b.bind_sum(head, index.clone(), dtype, accumulator_dtype(dtype));
    let element = b.element(value, &index)?;
    Ok(vec![Store { buffer: place.buffer, offset: place.offset(&index), value: element, combine: None }])
}

pub fn dot(region: &Region, head: Value, op: &Dot, value: Value, place: &Place, checked: usize) -> Built {
    let x = &region.graph.node(head.node).inputs;
    let (a, c) = (region.graph.ty(x[0]).shape.clone(), region.graph.ty(x[1]).shape.clone());
    let a_free = Dot::free_axes(a.len(), &op.a_batch, &op.a_contract);
    let c_free = Dot::free_axes(c.len(), &op.b_batch, &op.b_contract);
    let mut b = KernelBuilder::new(region, checked);
    let pick = |shape: &[Dim], axes: &[usize]| axes.iter().map(|&i| shape[i].clone()).collect::<Vec<_>>();
    let batch = b.axes(&pick(&a, &op.a_batch));
    let rows = b.axes(&pick(&a, &a_free));
    let columns = b.axes(&pick(&c, &c_free));
    let depth = b.axes(&pick(&a, &op.a_contract));
    let mut put = |rank: usize, groups: [(&[usize], &[Axis]); 3], operand: Value| {
        let mut index = vec![Dim::ZERO; rank];
        for (axes, values) in groups {
            for (&axis, value) in axes.iter().zip(values) {
                index[axis] = position(value);
            }
        }
        b.element(operand, &index)
    };
    let lhs = put(a.len(), [(&op.a_batch, &batch), (&a_free, &rows), (&op.a_contract, &depth)], x[0])?;
    let rhs = put(c.len(), [(&op.b_batch, &batch), (&c_free, &columns), (&op.b_contract, &depth)], x[1])?;
    let index = dims(&[batch.as_slice(), &rows, &columns].concat());
    let stores = epilogue(&mut b, region, head, index, value, place)?;
    Ok(b.finish(value, Body::Contract(Contract { batch, rows, columns, depth, chunk: DEPTH_CHUNK, lhs, rhs, stores })))
}

/// Depth points of as many whole channels as a chunk holds, at least one, so that no chunk ends between the taps of a channel.
fn whole_channels(taps: &[Dim]) -> i64 {
    match Dim::product(taps).as_const() {
        Some(taps) if taps > 0 => (DEPTH_CHUNK / taps).max(1) * taps,
        _ => DEPTH_CHUNK,
    }
}

pub fn conv(region: &Region, head: Value, op: &Conv, value: Value, place: &Place, checked: usize) -> Built {
    let x = &region.graph.node(head.node).inputs;
    let (input, weight) = (region.graph.ty(x[0]).clone(), region.graph.ty(x[1]).shape.clone());
    let output = region.graph.ty(head).shape.clone();
    let mut b = KernelBuilder::new(region, checked);
    let image = b.axis(&output[0]);
    let groups = Dim::from(op.groups);
    let (group_channels, group_outputs) = (weight[1].clone(), weight[0].floor_div(&groups));
    let group = (op.groups > 1).then(|| b.axis(&groups));
    let row = b.axis(&group_outputs);
    let columns = b.axes(&output[2..]);
    let channel = b.axis(&group_channels);
    let taps = b.axes(&weight[2..]);

    let g = group.as_ref().map_or(Dim::ZERO, position);
    let out_channel = &g * &group_outputs + position(&row);
    let in_channel = &g * &group_channels + position(&channel);
    let mut weight_index = vec![out_channel.clone(), position(&channel)];
    weight_index.extend(dims(&taps));
    let lhs = b.element(x[1], &weight_index)?;

    let (mut input_index, mut bounds) = (vec![position(&image), in_channel], Vec::new());
    for (axis, (column, tap)) in columns.iter().zip(&taps).enumerate() {
        let (stride, dilation) = (Dim::from(op.strides[axis]), Dim::from(op.dilations[axis]));
        let mut position = position(column) * stride + position(tap) * dilation - &op.low[axis];
        let extent = &input.shape[2 + axis];
        let step = op.lhs_dilations[axis];
        if step > 1 {
            // Only every step-th position holds an element; the others are zeros put in between.
            let step = Dim::from(step);
            bounds.push(Bound { index: position.modulo(&step).simplify(&b.ranges), extent: Dim::ONE });
            position = position.floor_div(&step).simplify(&b.ranges);
        }
        if !b.ranges.within(&position, extent) {
            bounds.push(Bound { index: position.clone(), extent: extent.clone() });
        }
        input_index.push(position);
    }
    let rhs = if bounds.is_empty() {
        b.element(x[0], &input_index)?
    } else {
        let zero = b.exprs.constant(input.dtype, 0.0);
        b.guarded(x[0], &input_index, &[], bounds, zero)?
    };

    let mut index = vec![position(&image), out_channel];
    index.extend(dims(&columns));
    let stores = epilogue(&mut b, region, head, index, value, place)?;
    let batch = [Some(image), group].into_iter().flatten().collect();
    let depth = [vec![channel], taps].concat();
    Ok(b.finish(
        value,
        Body::Contract(Contract { batch, rows: vec![row], columns, depth, chunk: whole_channels(&weight[2..]), lhs, rhs, stores }),
    ))
}
