//! Structured kernels: what a graph is cut into, shared by all backends until they schedule it.
//!
//! A [`Program`] is a list of steps over buffers. A kernel has an iteration space of named indices and bodies that are
//! expressions: an element is loaded at an offset which is a polynomial over indices and sizes ([`Dim`]), so reshape,
//! transpose, slice, broadcast and pad are offsets and guards, never copies. Kernels say what is computed and in which
//! canonical order values are combined; tiles, vectors, packing and threads are the backend's business.
//!
//! Two kinds cover everything, and a third what would else move far more than it reads:
//! - [`Nest`]: parallel indices, then stages in order: reductions over inner indices, sweeps that store, running
//!   (prefix) combinations. Element-wise maps, reductions, softmax and norm rows, arg-max, pooling, gather, scatter.
//! - [`Contract`]: a sum of products over depth indices. Dots, batched dots, convolutions of any rank.
//! - [`Attention`]: a softmax of sums of products, applied to values, that stores no scores. For backends that keep the composite.
//!
//! [`Step::Loop`] repeats steps with a loop index in scope: recurrent scans.

mod axes;
mod cost;
pub mod eval;
mod expr;
mod prepare_budget;
mod print;
mod rename;
pub mod roofline;
mod touch;

pub use axes::{row_major, unravelled};
pub use cost::cost;
pub use expr::{Access, BinaryFn, Bound, CompareFn, Expr, ExprId, ExprKind, Exprs, Scalar, UnaryFn};
pub use prepare_budget::PrepareBudget;
pub use touch::buffers_touched;

use crate::tuning::{Decision, Tuning};
use kiln_ir::graph::{Guard, Origin};
use kiln_ir::{DType, Dim, Ranges, Symbol, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Index of a buffer in [`Program::buffers`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BufferId(pub u32);

/// Who owns a buffer's memory.
#[derive(Clone, PartialEq, Debug)]
pub enum BufferKind {
    /// The function's n-th input: the caller's, read only.
    Input(usize),
    /// The function's n-th output: the caller's, written.
    Output(usize),
    /// A constant of the program: embedded, read only.
    Constant(Tensor),
    /// A named parameter in its canonical layout: weights, read only.
    Parameter(Arc<str>),
    /// Computed from parameters alone by the `prepare` steps: weights for the main steps.
    Prepared,
    /// Scratch between steps: planned into the arena.
    Temporary,
}

/// A contiguous row-major array.
#[derive(Clone, PartialEq, Debug)]
pub struct Buffer {
    /// A readable name, from the node that made it.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Shape; the buffer holds the product of it.
    pub shape: Vec<Dim>,
    /// Who owns it.
    pub kind: BufferKind,
}

impl Buffer {
    /// Number of elements.
    pub fn elements(&self) -> Dim {
        Dim::product(&self.shape)
    }
}

/// A whole function as steps over buffers.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Program {
    /// Name of the function: `predict`.
    pub name: String,
    /// What is known of the size symbols. Only these are run-time values; indices belong to kernels and loops.
    pub symbols: Ranges,
    /// The size symbols in the order of the signature.
    pub symbol_order: Vec<Symbol>,
    /// Sizes that symbols usually have: others are right too, and take more memory than they need.
    pub usual_sizes: BTreeMap<Symbol, i64>,
    /// How questions of the compiler are answered.
    pub tuning: Tuning,
    /// What was asked before kernels were lowered.
    pub decisions: Vec<Decision>,
    /// Conditions checked before the first step, in order.
    pub guards: Vec<Guard>,
    /// All buffers.
    pub buffers: Vec<Buffer>,
    /// Name and buffer of each input.
    pub inputs: Vec<(String, BufferId)>,
    /// Name and buffer of each output.
    pub outputs: Vec<(String, BufferId)>,
    /// Steps that depend on parameters only, run once after they are known.
    pub prepare: Vec<Step>,
    /// What is left for further steps of that kind.
    pub prepare_budget: PrepareBudget,
    /// The function itself.
    pub steps: Vec<Step>,
    /// Names of the nodes that [`ExprKind::CheckedIndex`] refers to.
    pub checked_nodes: Vec<String>,
}

impl Program {
    /// The buffer of that id.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// Adds a buffer.
    pub fn add_buffer(&mut self, buffer: Buffer) -> BufferId {
        self.buffers.push(buffer);
        BufferId(self.buffers.len() as u32 - 1)
    }
}

/// One step of a program.
#[derive(Clone, PartialEq, Debug)]
#[allow(clippy::large_enum_variant)] // nearly all are kernels
pub enum Step {
    /// Run a kernel.
    Run(Kernel),
    /// Run the body for `index` = 0, 1, … `extent` − 1, one after the other; the index is a symbol for everything inside.
    Loop {
        /// The loop index.
        index: Symbol,
        /// How often.
        extent: Dim,
        /// How turns follow each other, and who takes them.
        kind: LoopKind,
        /// What is repeated.
        body: Vec<Step>,
    },
}

/// How the turns of a loop follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoopKind {
    /// One after the other, the kernels of each turn too.
    Sequential,
    /// They need nothing of each other: temporaries that only such loops touch are written anew in each turn.
    Independent,
    /// In order, all of them by one kernel of a GPU, a persistent one. So many blocks, a cluster, share the work of some rows.
    Persistent {
        /// Blocks of a cluster.
        blocks: u32,
    },
}

/// One unit of parallel work.
#[derive(Clone, PartialEq, Debug)]
pub struct Kernel {
    /// A readable name, for symbols and profiles.
    pub name: String,
    /// The nodes it computes.
    pub origins: Vec<Arc<Origin>>,
    /// Its expressions.
    pub exprs: Exprs,
    /// What it computes.
    pub body: Body,
}

/// The kinds of kernels.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    /// Maps, reductions, rows.
    Nest(Nest),
    /// Sums of products.
    Contract(Contract),
    /// Weighted sums of values.
    Attention(Attention),
}

/// A named index and how many values it takes: 0, 1, … extent − 1.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Axis {
    /// The index, unique in its kernel.
    pub index: Symbol,
    /// Its extent.
    pub extent: Dim,
}

/// For every point of `parallel` (in any order, by any thread), the stages in order.
#[derive(Clone, PartialEq, Debug)]
pub struct Nest {
    /// Independent indices, outermost first. None means one point.
    pub parallel: Vec<Axis>,
    /// What happens at each point.
    pub stages: Vec<Stage>,
    /// The points must be visited in row-major order by one thread, because stores may hit one element twice (scatter).
    pub serial: bool,
}

/// A stage of a nest. Accumulators are numbered through all stages of a nest in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Stage {
    /// Combines values over all points of `axes`, in the canonical order of SPEC.md for row-major positions; each reduction
    /// makes the next accumulator, visible to later stages.
    Reduce {
        /// Inner indices, outermost first.
        axes: Vec<Axis>,
        /// What is combined.
        reductions: Vec<Reduction>,
    },
    /// Stores values at all points of `axes` (none: once). All values of a point are computed before the first is stored.
    Sweep {
        /// Inner indices, outermost first.
        axes: Vec<Axis>,
        /// What is stored; a sweep may load what an earlier stage of the same point stored.
        stores: Vec<Store>,
    },
    /// Running combination along one axis, in ascending (or descending) order; stores at each point. Makes one accumulator,
    /// which in `store` is the combination up to this point, without it when `exclusive`.
    Running {
        /// The index that runs.
        axis: Axis,
        /// From the last to the first.
        descending: bool,
        /// The point itself takes no part.
        exclusive: bool,
        /// What is combined.
        reduction: Reduction,
        /// Where the running value goes.
        store: Store,
    },
}

/// How values combine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Combine {
    /// Sum, starting from 0; integers wrap.
    Sum,
    /// Product, starting from 1; integers wrap.
    Product,
    /// Largest, starting from −∞ or the least integer; NaN wins.
    Max,
    /// Smallest, starting from +∞ or the greatest integer; NaN wins.
    Min,
    /// Logical and, starting from true.
    And,
    /// Logical or, starting from false.
    Or,
}

/// What a reduction keeps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Keep {
    /// The combined value.
    Value,
    /// For `Max` and `Min`: the row-major position (i64) of the first extreme element; a NaN counts as extreme, the first NaN wins.
    FirstPosition,
    /// The same, of the last one.
    LastPosition,
}

/// One value combined over a stage's axes.
#[derive(Clone, PartialEq, Debug)]
pub struct Reduction {
    /// How.
    pub combine: Combine,
    /// What is kept.
    pub keep: Keep,
    /// The value at each point. f16 and bf16 are combined in f32 and rounded at the end.
    pub value: ExprId,
}

/// A value stored to one element.
#[derive(Clone, PartialEq, Debug)]
pub struct Store {
    /// Where.
    pub buffer: BufferId,
    /// Element offset in the buffer.
    pub offset: Dim,
    /// What; its dtype is the buffer's.
    pub value: ExprId,
    /// Combine with the element already there instead of replacing it (scatter-add). Only in serial nests.
    pub combine: Option<Combine>,
}

/// `accumulator(batch, row, column) = Σ over depth of lhs(batch, row, depth) · rhs(batch, column, depth)`, then the stores.
///
/// The sum is the canonical one of SPEC.md: chunks of `chunk` row-major depth points, a chain of fused multiply-adds
/// each, added in order. f16 and bf16 are multiplied and summed in f32.
#[derive(Clone, PartialEq, Debug)]
pub struct Contract {
    /// Indices of independent products.
    pub batch: Vec<Axis>,
    /// Indices of `lhs` alone.
    pub rows: Vec<Axis>,
    /// Indices of `rhs` alone; the last one runs along the output's memory where possible.
    pub columns: Vec<Axis>,
    /// Indices that are summed over.
    pub depth: Vec<Axis>,
    /// Length of the chunks in which they are summed: [`DEPTH_CHUNK`], or whole channels of a convolution.
    pub chunk: i64,
    /// Left factor, an expression over batch, rows and depth.
    pub lhs: ExprId,
    /// Right factor, an expression over batch, columns and depth.
    pub rhs: ExprId,
    /// Epilogue: stores over batch, rows and columns; `Accumulator(0)` is the sum, in `lhs`'s dtype (f32 for f16 and bf16).
    pub stores: Vec<Store>,
}

/// For every point of batch, rows and columns, the mean of values over keys, weighted by the exponentials of their scores:
///
/// ```text
/// s(key) = score, of which accumulator 0 is Σ over depth of query · key factors;    m = max s, or 0 where that is −∞
/// accumulator 0 = Σ exp(s(key) − m) · value(key) / Σ exp(s(key) − m)               over keys from `first` up to `end`
/// ```
///
/// It is 0 where there are no keys or none scores above −∞. f16 and bf16 are computed in f32. Streaming: each backend that has it meets
/// keys in an order of its own, so that only tolerances compare results.
/// *Source*: Milakov & Gimelshein 2018, "Online normalizer calculation for softmax"; Dao et al. 2022, "FlashAttention".
#[derive(Clone, PartialEq, Debug)]
pub struct Attention {
    /// Indices of independent attentions.
    pub batch: Vec<Axis>,
    /// Indices of queries.
    pub rows: Vec<Axis>,
    /// Indices of values' features.
    pub columns: Vec<Axis>,
    /// The index of keys.
    pub keys: Vec<Axis>,
    /// Indices that products are summed over, of constant extents.
    pub depth: Vec<Axis>,
    /// Left factor, an expression over batch, rows and depth.
    pub query: ExprId,
    /// Right factor, an expression over batch, keys and depth.
    pub key: ExprId,
    /// The score over batch, rows and keys; `Accumulator(0)` is the sum of products, in the dtype of sums.
    pub score: ExprId,
    /// Over batch, keys and columns.
    pub value: ExprId,
    /// The first key that a row sees; grows with the indices of rows, and may be below 0.
    pub first: Dim,
    /// One more than the last key that a row sees; grows with the indices of rows, and may be beyond the last one.
    pub end: Dim,
    /// Stores over batch, rows and columns; `Accumulator(0)` is the mean, in the dtype of sums.
    pub stores: Vec<Store>,
    /// Stores over batch and rows; `Accumulator(0)` is m + log Σ exp(s − m), −∞ where the mean is 0 for want of keys.
    pub row_stores: Vec<Store>,
}

/// Element type in which products and sums of `dtype` are kept.
pub fn sum_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        _ => dtype,
    }
}

/// Length of the chunks in which a contraction's depth is summed, or the most that whole channels of a convolution make.
pub const DEPTH_CHUNK: i64 = 512;
