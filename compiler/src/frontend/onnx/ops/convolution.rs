//! Convolutions and transposed convolutions of any spatial rank.

use super::window::{AutoPad, Window, positive};
use crate::frontend::onnx::context::Context;
use crate::frontend::onnx::registry::{Results, Row, row};
use kiln_ir::ops;
use kiln_ir::{Diagnostic, Dim, Value};

/// The operators.
pub const ROWS: &[Row] = &[row("Conv", 1, (2, 3), conv), row("ConvTranspose", 1, (2, 3), conv_transpose)];

/// Operand and weight with their shapes and the number of spatial axes.
struct Operands {
    x: Value,
    w: Value,
    x_shape: Vec<Dim>,
    w_shape: Vec<Dim>,
    groups: usize,
}

impl Operands {
    fn read(cx: &mut Context) -> Result<Operands, Diagnostic> {
        let (x, w) = (cx.input(0)?, cx.input(1)?);
        let (x_shape, w_shape) = (cx.shape(x), cx.shape(w));
        if x_shape.len() < 3 || x_shape.len() != w_shape.len() {
            let what =
                format!("{} takes [N, C, spatial..] and a weight of the same rank, got {} and {}", cx.node.op_type, cx.ty(x), cx.ty(w));
            return Err(cx.error("onnx_rank", what));
        }
        let groups = cx.attributes.int_or("group", 1)?;
        let Some(groups) = usize::try_from(groups).ok().filter(|&g| g > 0 && g < 1 << 31) else {
            return Err(cx.attributes.refuse("group", format!("is {groups}, must be positive")));
        };
        if let Some(kernel) = positive(cx, "kernel_shape", w_shape.len() - 2)? {
            for (declared, actual) in kernel.iter().zip(&w_shape[2..]) {
                cx.require_equal(&Dim::from(*declared), actual, "kernel_shape is the weight's")?;
            }
        }
        Ok(Operands { x, w, x_shape, w_shape, groups })
    }

    fn spatial(&self) -> usize {
        self.x_shape.len() - 2
    }
}

/// A convolution with its bias: operands x, weight, bias.
pub fn conv(cx: &mut Context) -> Results {
    let o = Operands::read(cx)?;
    let window = Window::read(cx, o.spatial())?;
    let (low, high) = window.margins(&o.x_shape[2..], &o.w_shape[2..]);
    let Window { strides, dilations, .. } = window;
    let op = ops::Conv { lhs_dilations: vec![1; o.spatial()], strides, dilations, low, high, groups: o.groups };
    let y = cx.op(op, &[o.x, o.w])?;
    Ok(vec![add_bias(cx, y)?])
}

/// A convolution over the operand with zeros between its elements, by the mirrored weight with its channels exchanged.
fn conv_transpose(cx: &mut Context) -> Results {
    let o = Operands::read(cx)?;
    let spatial = o.spatial();
    let window = Window::read(cx, spatial)?;
    let extra: Vec<Dim> = match cx.attributes.ints("output_padding")? {
        Some(extra) if extra.len() != spatial || extra.iter().any(|&e| e < 0) => {
            return Err(cx.attributes.refuse("output_padding", format!("is {extra:?}, must have {spatial} entries of 0 or more")));
        }
        Some(extra) => extra.iter().map(|&e| Dim::from(e)).collect(),
        None => vec![Dim::ZERO; spatial],
    };
    let output: Option<Vec<Dim>> = match positive(cx, "output_shape", spatial)? {
        Some(sizes) => Some(sizes.into_iter().map(Dim::from).collect()),
        None if matches!(window.auto, AutoPad::SameUpper | AutoPad::SameLower) => {
            Some((0..spatial).map(|a| &o.x_shape[2 + a] * Dim::from(window.strides[a])).collect())
        }
        None => None,
    };
    // The size without margins.
    let full = |axis: usize, reach: &Dim| (&o.x_shape[2 + axis] - Dim::ONE) * Dim::from(window.strides[axis]) + &extra[axis] + reach;
    let (mut low, mut high) = (Vec::new(), Vec::new());
    for (axis, extra) in extra.iter().enumerate() {
        let reach = window.reach(axis, &o.w_shape[2 + axis]);
        let (before, after) = match &output {
            None => (window.low[axis].clone(), window.high[axis].clone()),
            Some(output) => window.auto.divide(&Dim::maximum(&(full(axis, &reach) - &output[axis]), &Dim::ZERO)),
        };
        // A size that the margins alone do not reach is filled up after the data.
        let missing = match &output {
            Some(output) => Dim::maximum(&(&output[axis] - full(axis, &reach)), &Dim::ZERO),
            None => Dim::ZERO,
        };
        low.push(&reach - Dim::ONE - before);
        high.push(&reach - Dim::ONE - after + extra + missing);
    }
    let w = mirrored(cx, &o)?;
    let op =
        ops::Conv { strides: vec![1; spatial], dilations: window.dilations, lhs_dilations: window.strides, low, high, groups: o.groups };
    let y = cx.op(op, &[o.x, w])?;
    Ok(vec![add_bias(cx, y)?])
}

/// [C, M/g, k..] → [M, C/g, k..], each kernel turned end for end.
fn mirrored(cx: &mut Context, o: &Operands) -> Result<Value, Diagnostic> {
    let groups = Dim::from(o.groups);
    let (c, m) = (&o.w_shape[0], &o.w_shape[1]);
    let kernel = &o.w_shape[2..];
    let rank = o.w_shape.len();
    let per_group = c.floor_div(&groups);
    cx.require_equal(&(&per_group * &groups), c, "the channels of a transposed convolution divide into its groups")?;
    let mut w = o.w;
    if o.groups == 1 {
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(0, 1);
        w = cx.transpose(w, &perm)?;
    } else {
        let mut split = vec![groups.clone(), per_group.clone(), m.clone()];
        split.extend_from_slice(kernel);
        w = cx.reshape(w, &split)?;
        let mut perm: Vec<usize> = (0..split.len()).collect();
        perm.swap(1, 2);
        w = cx.transpose(w, &perm)?;
        let mut merged = vec![m * &groups, per_group];
        merged.extend_from_slice(kernel);
        w = cx.reshape(w, &merged)?;
    }
    let sizes = cx.shape(w);
    let mut op = ops::Slice { starts: vec![Dim::ZERO; rank], steps: vec![1; rank], sizes };
    for axis in (2..rank).filter(|&a| !op.sizes[a].is(1)).collect::<Vec<_>>() {
        op.starts[axis] = &op.sizes[axis] - Dim::ONE;
        op.steps[axis] = -1;
    }
    if op.steps.iter().all(|&s| s == 1) { Ok(w) } else { cx.op(op, &[w]) }
}

/// Adds operand 2, one number per channel.
fn add_bias(cx: &mut Context, y: Value) -> Result<Value, Diagnostic> {
    let Some(bias) = cx.optional(2)? else { return Ok(y) };
    let shape = cx.shape(y);
    if cx.rank(bias) != 1 {
        return Err(cx.error("onnx_rank", format!("the bias of {} is one number per channel, got {}", cx.node.op_type, cx.ty(bias))));
    }
    let mut column = cx.shape(bias);
    column.extend(std::iter::repeat_n(Dim::ONE, shape.len() - 2));
    let bias = cx.reshape(bias, &column)?;
    let bias = cx.broadcast_to(bias, &shape)?;
    cx.op(ops::Add {}, &[y, bias])
}
