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
use crate::kernel::{Axis, Body, ExprId, Kernel, Program};
use crate::lower::VectorIsa;
use crate::lower::attention::{Flat, Sight, finite, flat};
use crate::lower::context::Context;
use crate::lower::nest::Tasks;
use crate::lower::rewrite::merge_axes;
use crate::tile::{Builder, MatrixElement};
use crate::tuning::Asking;
use kiln_ir::{DType, Ranges};
use lanes::Lanes;
use matrices::Matrices;

/// Static shared memory of a block.
const SHARED_BYTES: i64 = 48 << 10;
/// Queries fewer than this are computed together with those of other heads of the same keys, and keys by several streams.
const FEW_ROWS: i64 = 16;

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
