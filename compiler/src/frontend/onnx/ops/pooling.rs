//! Poolings.

use super::window::{Window, positive};
use crate::frontend::onnx::context::Context;
use crate::frontend::onnx::registry::{Results, Row, row};
use kiln_ir::ops::{self, ReduceKind, WindowKind};
use kiln_ir::{DType, Diagnostic, Dim, Value};

/// The operators.
pub const ROWS: &[Row] = &[
    row("AveragePool", 1, (1, 1), average_pool),
    row("GlobalAveragePool", 1, (1, 1), |cx| {
        let (x, axes) = spatial_axes(cx)?;
        Ok(vec![cx.op(ops::Mean { axes, keep: true }, &[x])?])
    }),
    row("GlobalLpPool", 2, (1, 1), global_lp_pool),
    row("GlobalMaxPool", 1, (1, 1), |cx| {
        let (x, axes) = spatial_axes(cx)?;
        Ok(vec![cx.op(ops::Reduce { kind: ReduceKind::Max, axes, keep: true }, &[x])?])
    }),
    row("LpPool", 2, (1, 1), lp_pool),
    row("MaxPool", 1, (1, 1), max_pool),
];

fn spatial_axes(cx: &mut Context) -> Result<(Value, Vec<usize>), Diagnostic> {
    let x = cx.input(0)?;
    match cx.rank(x) {
        rank if rank >= 2 => Ok((x, (2..rank).collect())),
        _ => Err(cx.error("onnx_rank", format!("{} takes [N, C, spatial..], got {}", cx.node.op_type, cx.ty(x)))),
    }
}

/// A pooling with all margins worked out.
struct Pool {
    x: Value,
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    low: Vec<Dim>,
    /// The margins that belong to the picture.
    high: Vec<Dim>,
    /// What rounding the size up adds behind them, so that the last window fits.
    overhang: Vec<Dim>,
}

impl Pool {
    fn read(cx: &mut Context) -> Result<Pool, Diagnostic> {
        let (x, axes) = spatial_axes(cx)?;
        let Some(kernel) = positive(cx, "kernel_shape", axes.len())? else {
            return Err(cx.attributes.refuse("kernel_shape", "is missing".to_string()));
        };
        let window = Window::read(cx, axes.len())?;
        let round_up = cx.attributes.flag_or("ceil_mode", false)?;
        let sizes = cx.shape(x)[2..].to_vec();
        let kernel_dims: Vec<Dim> = kernel.iter().map(|&k| Dim::from(k)).collect();
        let (low, high) = window.margins(&sizes, &kernel_dims);
        let (mut high, mut overhang) = (high, vec![Dim::ZERO; axes.len()]);
        for axis in 0..axes.len() {
            let reach = window.reach(axis, &kernel_dims[axis]);
            let padded = &low[axis] + &sizes[axis] + &high[axis];
            cx.require_at_most(&reach, &padded, "a pooling window fits its operand")?;
            if round_up {
                let stride = Dim::from(window.strides[axis]);
                let data = &low[axis] + &sizes[axis];
                // Windows that would start behind the data and the first margin are left out.
                let count = Dim::minimum(&((&padded - &reach).ceil_div(&stride) + Dim::ONE), &data.ceil_div(&stride));
                let behind = Dim::maximum(&((count - Dim::ONE) * stride + reach - data), &Dim::ZERO);
                high[axis] = Dim::minimum(&high[axis], &behind).simplify(cx.ranges());
                overhang[axis] = (behind - &high[axis]).simplify(cx.ranges());
            }
        }
        let Window { strides, dilations, .. } = window;
        Ok(Pool { x, kernel, strides, dilations, low, high, overhang })
    }

    fn whole_high(&self) -> Vec<Dim> {
        self.high.iter().zip(&self.overhang).map(|(h, b)| h + b).collect()
    }

    fn reduce(&self, cx: &mut Context, x: Value, kind: WindowKind) -> Result<Value, Diagnostic> {
        let op = ops::WindowReduce {
            kind,
            window: self.kernel.clone(),
            strides: self.strides.clone(),
            dilations: self.dilations.clone(),
            low: self.low.clone(),
            high: self.whole_high(),
        };
        cx.op(op, &[x])
    }
}

fn average_pool(cx: &mut Context) -> Results {
    let count_padding = cx.attributes.flag_or("count_include_pad", false)?;
    let Pool { x, kernel, strides, dilations, low, high, overhang } = Pool::read(cx)?;
    let op = ops::AvgPool { window: kernel, strides, dilations, low, high, overhang, count_padding };
    Ok(vec![cx.op(op, &[x])?])
}

fn max_pool(cx: &mut Context) -> Results {
    let column_major = cx.attributes.flag_or("storage_order", false)?;
    let pool = Pool::read(cx)?;
    let mut results = vec![pool.reduce(cx, pool.x, WindowKind::Max)?];
    if cx.wants(1) {
        let op = ops::WindowArgMax {
            window: pool.kernel.clone(),
            strides: pool.strides.clone(),
            dilations: pool.dilations.clone(),
            low: pool.low.clone(),
            high: pool.whole_high(),
        };
        let position = cx.op(op, &[pool.x])?;
        results.push(whole_tensor_position(cx, position, pool.x, column_major)?);
    }
    Ok(results)
}

/// A position inside a picture, row-major → the position in the whole tensor, where a picture may be stored by columns.
fn whole_tensor_position(cx: &mut Context, position: Value, x: Value, column_major: bool) -> Result<Value, Diagnostic> {
    let (shape, result) = (cx.shape(x), cx.shape(position));
    let spatial = &shape[2..];
    let mut inside = position;
    if column_major {
        let (mut rest, mut stride) = (position, Dim::ONE);
        let mut index = Vec::new();
        for size in spatial.iter().rev() {
            let size = cx.dim_scalar(size, DType::I64)?;
            index.push(cx.broadcast_op(ops::Rem {}, &[rest, size])?);
            rest = cx.broadcast_op(ops::Div {}, &[rest, size])?;
        }
        // The first spatial axis now runs fastest.
        inside = cx.like(position, 0.0)?;
        for (size, index) in spatial.iter().zip(index.into_iter().rev()) {
            let step = cx.dim_scalar(&stride, DType::I64)?;
            let part = cx.broadcast_op(ops::Mul {}, &[index, step])?;
            inside = cx.op(ops::Add {}, &[inside, part])?;
            stride = stride * size;
        }
    }
    let pictures = &shape[0] * &shape[1];
    let number = cx.op(ops::Iota { shape: vec![pictures], axis: 0, dtype: DType::I64 }, &[])?;
    let mut column = vec![shape[0].clone(), shape[1].clone()];
    column.resize(result.len(), Dim::ONE);
    let number = cx.reshape(number, &column)?;
    let area = cx.dim_scalar(&Dim::product(spatial), DType::I64)?;
    let offset = cx.broadcast_op(ops::Mul {}, &[number, area])?;
    cx.broadcast_op(ops::Add {}, &[inside, offset])
}

fn exponent(cx: &Context) -> Result<i64, Diagnostic> {
    match cx.attributes.int_or("p", 2)? {
        p if p > 0 => Ok(p),
        p => Err(cx.attributes.refuse("p", format!("is {p}, must be positive"))),
    }
}

/// (Σ |x|ᵖ)^(1/p), summed by `sum`.
fn norm(cx: &mut Context, x: Value, p: i64, sum: impl Fn(&mut Context, Value) -> Result<Value, Diagnostic>) -> Result<Value, Diagnostic> {
    let magnitude = cx.op(ops::Abs {}, &[x])?;
    if p == 1 {
        return sum(cx, magnitude);
    }
    let power = if p == 2 {
        cx.op(ops::Mul {}, &[x, x])?
    } else {
        let p = cx.like(x, p as f64)?;
        cx.op(ops::Pow {}, &[magnitude, p])?
    };
    let total = sum(cx, power)?;
    if p == 2 {
        return cx.op(ops::Sqrt {}, &[total]);
    }
    let root = cx.like(total, 1.0 / p as f64)?;
    cx.op(ops::Pow {}, &[total, root])
}

fn lp_pool(cx: &mut Context) -> Results {
    let p = exponent(cx)?;
    let pool = Pool::read(cx)?;
    Ok(vec![norm(cx, pool.x, p, |cx, x| pool.reduce(cx, x, WindowKind::Sum))?])
}

fn global_lp_pool(cx: &mut Context) -> Results {
    let p = exponent(cx)?;
    let (x, axes) = spatial_axes(cx)?;
    Ok(vec![norm(cx, x, p, |cx, x| cx.op(ops::Reduce { kind: ReduceKind::Sum, axes: axes.clone(), keep: true }, &[x]))?])
}
