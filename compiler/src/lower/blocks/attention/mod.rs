//! Attention by blocks of threads: a tile of queries against tiles of keys and values that come through shared memory, one after the other.
//!
//! ```text
//! task (batch, tile of queries, tile of features):   m ← −∞, l ← 0, y ← 0;   ask for the first keys;
//!   for each tile of keys that a query of the tile sees:
//!     wait for keys;   ask for their values;         s ← query · key, scored;   m' ← max(m, max s)
//!                                                     p ← exp(s − m');   l, y ← l, y · exp(m − m');   l ← l + Σ p
//!     wait for values;   ask for the next keys;      y ← y + p · value
//!   y / l to each result
//! ```
//!
//! Where queries are few, as when a text is written, *streams* share the keys of each tile, and what they found is merged at the end, one
//! after the other. Tiles of keys begin at multiples of their length, so a query's result does not depend on which others it is computed
//! with. *Source*: Milakov & Gimelshein 2018; Dao 2023, "FlashAttention-2".

mod lanes;
mod matrices;
mod merge;
mod overlapped;
mod shapes;

use super::tiles::usual;
use crate::kernel::{Attention, Axis, Body, ExprId, Kernel, Program, Stage, Store, sum_dtype};
use crate::lower::VectorIsa;
use crate::lower::context::{Context, Value};
use crate::lower::nest::{Tasks, Work};
use crate::lower::rewrite::{flatten, merge_axes};
use crate::lower::stage;
use crate::tile::{Builder, MatrixElement, Reg, math};
use crate::tuning::Asking;
use kiln_ir::{DType, Dim, Ranges, Symbol};
use lanes::Lanes;
use matrices::Matrices;

/// Static shared memory of a block.
const SHARED_BYTES: i64 = 48 << 10;
/// Queries fewer than this are computed together with those of other heads of the same keys, and keys by several streams.
const FEW_ROWS: i64 = 16;

/// An attention with each list of indices joined.
struct Flat {
    batch: Vec<Axis>,
    row: Axis,
    column: Axis,
    keys: Axis,
    depth: Axis,
    query: ExprId,
    key: ExprId,
    score: ExprId,
    value: ExprId,
    /// The keys that a row sees, by its index.
    seen: [Dim; 2],
    /// The first key that any row sees, the first of the last row, the end of the first row, and the end of all: where rows are a tile of
    /// one index, by the indices `#lowest` and `#highest`.
    tile_seen: [Dim; 4],
    stores: Vec<Store>,
    row_stores: Vec<Store>,
    /// Type of scores and sums.
    dtype: DType,
}

/// Sizes that an attention usually has.
#[derive(Clone, Copy)]
struct Usual {
    batch: i64,
    rows: i64,
    keys: i64,
}

/// An attention that blocks compute.
pub(in crate::lower) enum BlockAttention {
    /// On the units of threads.
    Lanes(Lanes),
    /// On matrix units.
    Matrices(Matrices),
}

/// Brings an attention into the form that blocks compute. The kernel's expressions are then those to emit with.
pub(in crate::lower) fn form(
    kernel: &mut Kernel,
    program: &Program,
    isa: &VectorIsa,
    sizes: &Ranges,
    asking: &mut Asking,
) -> Option<BlockAttention> {
    let Body::Attention(attention) = &kernel.body else { return None };
    let size = |axes: &[Axis]| axes.iter().map(|axis| usual(&axis.extent, program)).product::<i64>();
    if size(&attention.rows) < FEW_ROWS {
        share_keys(kernel);
    }
    *kernel = merge_axes(kernel.clone(), sizes);
    let Body::Attention(attention) = &kernel.body else { return None };
    let usual = Usual { batch: size(&attention.batch), rows: size(&attention.rows), keys: size(&attention.keys) };
    let half = match kernel.exprs.get(attention.query).dtype {
        DType::F16 => Some(MatrixElement::F16),
        DType::BF16 => Some(MatrixElement::BF16),
        _ => None,
    };
    let flat = flat(kernel, sizes)?;
    Some(match half {
        Some(half) => BlockAttention::Matrices(Matrices::new(flat, half, usual, isa.warpgroups, asking)),
        None => BlockAttention::Lanes(Lanes::new(flat, usual)),
    })
}

/// Moves the last indices of batch that keys and values do not depend on to rows.
fn share_keys(kernel: &mut Kernel) {
    let Body::Attention(attention) = &mut kernel.body else { return };
    while let Some(axis) = attention.batch.last() {
        let bounds = [&attention.first, &attention.end];
        let matters = |id: &ExprId| kernel.exprs.symbols(*id).contains(&axis.index);
        if [attention.key, attention.value].iter().any(matters) || bounds.iter().any(|dim| dim.mentions(&axis.index)) {
            break;
        }
        attention.rows.splice(0..0, attention.batch.pop());
    }
}

fn flat(kernel: &mut Kernel, sizes: &Ranges) -> Option<Flat> {
    let Body::Attention(attention) = &kernel.body else { return None };
    let (rows, first, end) = (attention.rows.clone(), attention.first.clone(), attention.end.clone());
    let bound = |dim: &Dim, last: bool| {
        dim.substitute(&|s| {
            let axis = rows.iter().find(|axis| axis.index == *s)?;
            Some(match rows.len() {
                1 => Dim::symbol(if last { "#highest" } else { "#lowest" }),
                _ if last => &axis.extent - Dim::ONE,
                _ => Dim::ZERO,
            })
        })
    };
    let bounds = [bound(&first, false), bound(&first, true), bound(&end, false), bound(&end, true)];
    let mut joined = |list: fn(&mut Attention) -> &mut Vec<Axis>, name: &str| {
        let Body::Attention(attention) = &mut kernel.body else { return None };
        let axes = list(attention).clone();
        let axis = flatten(kernel, &axes, &Symbol::new(name), sizes);
        Some(axis)
    };
    let row = joined(|a| &mut a.rows, "#row")?;
    let column = joined(|a| &mut a.columns, "#column")?;
    let keys = joined(|a| &mut a.keys, "#key")?;
    let depth = joined(|a| &mut a.depth, "#depth")?;
    let Body::Attention(Attention { batch, query, key, score, value, first, end, stores, row_stores, .. }) = kernel.body.clone() else {
        return None;
    };
    let dtype = sum_dtype(kernel.exprs.get(query).dtype);
    Some(Flat {
        batch,
        row,
        column,
        keys,
        depth,
        query,
        key,
        score,
        value,
        seen: [first, end],
        tile_seen: bounds,
        stores,
        row_stores,
        dtype,
    })
}

impl BlockAttention {
    /// Threads of a block.
    pub(in crate::lower) fn threads(&self) -> u32 {
        match self {
            BlockAttention::Lanes(lanes) => lanes.threads() as u32,
            BlockAttention::Matrices(matrices) => matrices.threads() as u32,
        }
    }

    /// Emits the kernel.
    pub(in crate::lower) fn lower(&self, cx: &mut Context, b: &mut Builder) -> Tasks {
        match self {
            BlockAttention::Lanes(lanes) => lanes.lower(cx, b),
            BlockAttention::Matrices(matrices) => matrices.lower(cx, b),
        }
    }
}

/// The keys that rows of a task's tile see.
struct Sight {
    /// The first tile of keys, and one more than the last.
    tiles: [Reg; 2],
    /// All rows see the keys between these.
    common: [Reg; 2],
}

impl Flat {
    /// The keys that `rows` rows from `first` on see, `length` keys a tile.
    fn sight(&self, cx: &mut Context, b: &mut Builder, first: &Dim, rows: i64, length: i64) -> Sight {
        let last = (first + Dim::from(rows - 1)).minimum(&(&self.row.extent - Dim::ONE));
        let [lowest, highest] = [first, &last].map(|dim| cx.index(b, dim));
        let [names_lowest, names_highest] = ["#lowest", "#highest"].map(Symbol::new);
        for name in [&names_lowest, &names_highest] {
            cx.ranges.set_index(name.clone(), self.row.extent.clone());
        }
        let [first, first_of_last, end_of_first, end] = self
            .tile_seen
            .clone()
            .map(|dim| cx.bound(&names_lowest, lowest, |cx| cx.bound(&names_highest, highest, |cx| cx.index(b, &dim))));
        let (none, keys) = (b.index(0), cx.index(b, &self.keys.extent));
        let (from, to) = (b.max_s(first, none), b.min_s(end, keys));
        let length = b.index(length);
        let begin = b.div_u(from, length);
        let above = b.add(to, length);
        let above = b.add_int(above, -1);
        // An end below 0 is that of no tile.
        let above = b.max_s(above, none);
        let end = b.div_u(above, length);
        Sight { tiles: [begin, end], common: [first_of_last, end_of_first] }
    }

    /// The first key that a row sees and one more than the last, at this point.
    fn seen(&self, cx: &mut Context, b: &mut Builder) -> [Reg; 2] {
        let keys = cx.index(b, &self.keys.extent);
        let [first, end] = self.seen.clone().map(|dim| cx.index(b, &dim));
        [first, b.min_s(end, keys)]
    }

    /// The score of a sum of products at a row and a key, which may be beyond the last ones.
    fn score(&self, cx: &mut Context, b: &mut Builder, (row, key): (&Dim, &Dim), sum: Reg) -> Reg {
        let level = cx.top();
        let before = std::mem::replace(&mut cx.accumulators, vec![Value { reg: sum, level }]);
        let within = |place: &Dim, axis: &Axis| place.minimum(&(&axis.extent - Dim::ONE));
        let (row, key) = (within(row, &self.row), within(key, &self.keys));
        let score = cx.replaced(&self.row.index, row, |cx| cx.replaced(&self.keys.index, key, |cx| cx.eval(b, self.score).reg));
        cx.accumulators = before;
        score
    }
}

impl Flat {
    /// Stores what there is once a row, where `leads` is 0.
    fn store_row(&self, cx: &mut Context, b: &mut Builder, (row, leads): (&Dim, &Dim), largest: Reg, sum: Reg) {
        if self.row_stores.is_empty() {
            return;
        }
        let (at, rows, leads, none) = (cx.index(b, row), cx.index(b, &self.row.extent), cx.index(b, leads), b.index(0));
        let (exists, is_first) = (b.lt(at, rows), b.eq(leads, none));
        let stores_it = b.and(exists, is_first);
        let store = |cx: &mut Context, b: &mut Builder| {
            let never = b.float(largest.ty, f64::NEG_INFINITY);
            let blind = b.eq(largest, never);
            let log = math::log(b, sum);
            let log = b.add(largest, log);
            let (reg, level) = (b.select(blind, never, log), cx.top());
            let before = std::mem::replace(&mut cx.accumulators, vec![Value { reg, level }]);
            let work = Work::Stage(Stage::Sweep { axes: vec![], stores: self.row_stores.clone() });
            cx.replaced(&self.row.index, row.clone(), |cx| stage::emit(cx, b, &work, None));
            cx.accumulators = before;
            vec![]
        };
        cx.branch(b, stores_it, false, store, |_, _| vec![]);
    }
}

/// What scores are taken from before their exponentials: their largest, or 0 where nothing is seen.
fn finite(b: &mut Builder, largest: Reg) -> Reg {
    let never = b.float(largest.ty, f64::NEG_INFINITY);
    let blind = b.eq(largest, never);
    let zero = b.float(largest.ty, 0.0);
    b.select(blind, zero, largest)
}
