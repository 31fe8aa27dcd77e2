//! Attentions of few queries to many keys are split by their keys, so that there is work for a whole GPU.
//!
//! ```text
//! y = f(mean of v by exp(s))      →      p[c], l[c] = mean, log of the sum of exp(s) over keys of part c ;
//!                                        y = f(Σ_c exp(l[c] − max l) · p[c] / Σ_c exp(l[c] − max l))
//! ```
//!
//! The length of parts follows from usual sizes, so a result does not depend on the batch, the heads or the queries of a run.
//! Skips: attentions that fill a GPU as they are.   *Source*: Dao et al. 2023, "Flash-Decoding for long-context inference".

use super::split::in_two;
use super::split_depth::copied;
use crate::kernel::{
    Access, Attention, Axis, BinaryFn, Body, Buffer, BufferId, BufferKind, Combine, CompareFn, ExprId, ExprKind, Exprs, Keep, Kernel, Nest,
    Program, Reduction, Scalar, Stage, Store, UnaryFn, row_major, sum_dtype,
};
use kiln_ir::{DType, Dim, Symbol};

/// A part is a multiple of so many keys, those of a tile where queries are few.
const TILE: i64 = 64;
/// Fewer keys than this are not worth a second kernel.
const LEAST_KEYS: i64 = 256;
/// Blocks that keep a GPU busy.
const ENOUGH_BLOCKS: i64 = 132;
/// Blocks that keep its memory busy, too.
const WANTED_BLOCKS: i64 = 2 * ENOUGH_BLOCKS;
/// Queries that a block computes together.
const BLOCK_ROWS: i64 = 16;

/// Splits what gains from it.
pub fn split_keys(program: &mut Program) {
    in_two(program, &mut split);
}

fn split(program: &mut Program, kernel: &Kernel) -> Option<[Kernel; 2]> {
    let Body::Attention(attention) = &kernel.body else { return None };
    let [keys] = &attention.keys[..] else { return None };
    let usual = |symbol: &Symbol| Some(program.usual_sizes.get(symbol).copied().unwrap_or(1));
    let size = |axis: &Axis| axis.extent.evaluate(&usual).unwrap_or(1).max(1);
    let key_symbols = kernel.exprs.symbols(attention.key);
    let own_keys = attention.batch.iter().filter(|axis| key_symbols.contains(&axis.index)).map(size).fold(1, i64::saturating_mul);
    let all = attention.batch.iter().chain(&attention.rows).map(size).fold(1, i64::saturating_mul);
    let tiles = own_keys.saturating_mul((all / own_keys + BLOCK_ROWS - 1) / BLOCK_ROWS);
    if tiles >= ENOUGH_BLOCKS || attention.rows.iter().map(size).product::<i64>() >= BLOCK_ROWS || size(keys) < LEAST_KEYS {
        return None;
    }
    let wanted = (WANTED_BLOCKS + tiles - 1) / tiles;
    let length = Dim::from((size(keys) / wanted + TILE - 1) / TILE * TILE).maximum(&Dim::from(TILE));
    let dtype = sum_dtype(kernel.exprs.get(attention.query).dtype);
    let part = Axis { index: Symbol::new("$part"), extent: keys.extent.ceil_div(&length) };
    let row_axes = [std::slice::from_ref(&part), &attention.batch, &attention.rows].concat();
    let axes = [&row_axes[..], &attention.columns].concat();
    let mut buffer = |what: &str, axes: &[Axis]| {
        let shape = axes.iter().map(|axis| axis.extent.clone()).collect();
        program.add_buffer(Buffer { name: format!("{}, {what}", kernel.name), dtype, shape, kind: BufferKind::Temporary })
    };
    let parts = [buffer("means of its parts", &axes), buffer("logarithms of its parts", &row_axes)];
    let mut exprs = kernel.exprs.clone();
    let value = exprs.add(dtype, ExprKind::Accumulator(0));
    let store = |buffer: BufferId, axes: &[Axis]| vec![Store { buffer, offset: row_major(axes), value, combine: None }];
    let begin = Dim::from(part.index.clone()) * &length;
    let partial = Attention {
        batch: [std::slice::from_ref(&part), &attention.batch].concat(),
        first: attention.first.maximum(&begin),
        end: attention.end.minimum(&(begin + length)),
        stores: store(parts[0], &axes),
        row_stores: store(parts[1], &row_axes),
        ..attention.clone()
    };
    let partial = Kernel { name: format!("{}, parts of its keys", kernel.name), exprs, body: Body::Attention(partial), ..kernel.clone() };
    Some([partial, merged(kernel, attention, parts, &part, dtype)])
}

/// The kernel that takes the mean of means, and stores what the attention did.
fn merged(kernel: &Kernel, attention: &Attention, parts: [BufferId; 2], part: &Axis, dtype: DType) -> Kernel {
    let points = [&attention.batch[..], &attention.rows, &attention.columns].concat();
    let mut exprs = Exprs::default();
    let mut load = |buffer: BufferId, axes: &[&[Axis]]| {
        let offset = row_major(&[std::slice::from_ref(part), &axes.concat()].concat());
        exprs.add(dtype, ExprKind::Load(Access { buffer, offset, bounds: vec![], otherwise: None }))
    };
    let mean = load(parts[0], &[&points]);
    let log = load(parts[1], &[&attention.batch, &attention.rows]);
    let [largest, weights, sum] = [0, 1, 2].map(|at| exprs.add(dtype, ExprKind::Accumulator(at)));
    let constant = |exprs: &mut Exprs, value: f64| exprs.add(dtype, ExprKind::Constant(Scalar::Float(value.to_bits())));
    let (zero, never) = (constant(&mut exprs, 0.0), constant(&mut exprs, f64::NEG_INFINITY));
    let blind = exprs.add(DType::Bool, ExprKind::Compare(CompareFn::Equal, largest, never));
    let finite = exprs.add(dtype, ExprKind::Select(blind, zero, largest));
    let difference = exprs.add(dtype, ExprKind::Binary(BinaryFn::Sub, log, finite));
    let weight = exprs.add(dtype, ExprKind::Unary(UnaryFn::Exp, difference));
    let weighted = exprs.add(dtype, ExprKind::Binary(BinaryFn::Mul, weight, mean));
    let quotient = exprs.add(dtype, ExprKind::Binary(BinaryFn::Div, sum, weights));
    let total = exprs.add(dtype, ExprKind::Select(blind, zero, quotient));
    let (exprs, ids) = copied(&kernel.exprs, exprs, Some(total), &Dim::clone);
    let renumbered = |dim: &Dim| dim.substitute(&|s| ExprId::of_symbol(s).map(|id| Dim::from(ids[id.0 as usize].symbol())));
    let stores = attention.stores.iter();
    let stores =
        stores.map(|store| Store { offset: renumbered(&store.offset), value: ids[store.value.0 as usize], ..store.clone() }).collect();
    let reduce = |combine: Combine, value: ExprId| Stage::Reduce {
        axes: vec![part.clone()],
        reductions: vec![Reduction { combine, keep: Keep::Value, value }],
    };
    let sums = [reduce(Combine::Max, log), reduce(Combine::Sum, weight), reduce(Combine::Sum, weighted)];
    let stages = sums.into_iter().chain([Stage::Sweep { axes: vec![], stores }]).collect();
    Kernel { exprs, body: Body::Nest(Nest { parallel: points, stages, serial: false }), ..kernel.clone() }
}
