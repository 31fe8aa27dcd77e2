//! Deep sums of few results are split by their chunks, so that there is work for a whole GPU.
//!
//! ```text
//! y = f(Σₖ l·r)      →      p[c] = Σₖ in chunk c l·r ;   y = f(((p[0] + p[1]) + p[2]) + …)
//! ```
//!
//! Chunks are those of the canonical order, and are added in it: no bit changes. Where their number is open or large they are added by a
//! loop that begins at +0, and a sum may be that where all of its chunks are −0: only where `keeps_zeros` does not forbid it.
//! Skips: sums of one chunk, those with results enough, and those whose chunks would take very much memory.

use super::split::in_two;
use crate::kernel::{
    Axis, BinaryFn, Body, Bound, Buffer, BufferId, BufferKind, Contract, Expr, ExprId, ExprKind, Exprs, Kernel, Nest, Program, Scalar,
    Stage, Store, row_major, sum_dtype,
};
use crate::lower::is_stream;
use kiln_ir::{DType, Dim, Symbol};

/// Results of a block of threads, about.
const BLOCK_RESULTS: i64 = 32 * 32;
/// Blocks that keep half of a GPU busy.
const ENOUGH_BLOCKS: i64 = 66;
/// Chunks that one expression adds.
const MOST_CHUNKS: i64 = 32;
/// Bytes that all chunks of a sum may take.
const MOST_BYTES: i64 = 64 << 20;
/// The length of a chunk that all sums fit into.
const ALL_IN_ORDER: i64 = 1 << 40;

/// Splits what gains from it. With `is_exact` no bit changes, not even the sign of a zero; without it, products of few rows that a kernel
/// reads at the speed of memory stay whole.
pub fn split_depth(program: &mut Program, is_exact: bool) {
    in_two(program, &mut |program, kernel| match !is_exact && is_stream(kernel, program) {
        true => None,
        false => split(program, kernel, is_exact),
    });
}

fn split(program: &mut Program, kernel: &Kernel, keeps_zeros: bool) -> Option<[Kernel; 2]> {
    let Body::Contract(contract) = &kernel.body else { return None };
    let (first, taps) = contract.depth.split_first()?;
    let taps = Dim::product(taps.iter().map(|axis| &axis.extent)).as_const().filter(|taps| *taps > 0 && contract.chunk % taps == 0)?;
    let length = contract.chunk / taps;
    let chunks = first.extent.ceil_div(&Dim::from(length));
    let results: Vec<&Axis> = [&contract.batch, &contract.rows, &contract.columns].into_iter().flatten().collect();
    let usual = |symbol: &Symbol| Some(program.usual_sizes.get(symbol).copied().unwrap_or(1));
    let count = results.iter().map(|axis| axis.extent.evaluate(&usual).unwrap_or(1)).fold(1, i64::saturating_mul);
    let dtype = sum_dtype(kernel.exprs.get(contract.lhs).dtype);
    let usual_chunks = chunks.evaluate(&usual).unwrap_or(1);
    let bytes = usual_chunks.saturating_mul(count).saturating_mul(dtype.size_bytes() as i64);
    let in_one_expression = chunks.as_const().is_some_and(|chunks| chunks <= MOST_CHUNKS);
    if usual_chunks < 2 || count >= ENOUGH_BLOCKS * BLOCK_RESULTS || (!in_one_expression && (keeps_zeros || bytes > MOST_BYTES)) {
        return None;
    }
    let chunk = Axis { index: Symbol::new("chunk of depth"), extent: chunks };
    let inside = Axis { index: Symbol::new("depth in chunk"), extent: Dim::from(length) };
    let depth = Dim::from(chunk.index.clone()) * &inside.extent + Dim::from(inside.index.clone());
    let is_whole = first.extent.terms().iter().all(|term| term.coefficient % length == 0);
    let bound = (!is_whole).then(|| Bound { index: depth.clone(), extent: first.extent.clone() });
    let (mut exprs, ids) =
        copied(&kernel.exprs, Exprs::default(), None, &|dim| dim.substitute(&|s| (*s == first.index).then(|| depth.clone())));
    let [mut lhs, mut rhs] = [contract.lhs, contract.rhs].map(|id| ids[id.0 as usize]);
    if let Some(bound) = &bound {
        [lhs, rhs] = bounded(&mut exprs, [lhs, rhs], bound)?;
    }
    let mut axes = vec![chunk.clone()];
    axes.extend(results.iter().map(|axis| (*axis).clone()));
    let partial = program.add_buffer(Buffer {
        name: format!("{}, chunks of its depth", kernel.name),
        dtype,
        shape: axes.iter().map(|axis| axis.extent.clone()).collect(),
        kind: BufferKind::Temporary,
    });
    let value = exprs.add(dtype, ExprKind::Accumulator(0));
    let sums = Contract {
        batch: [std::slice::from_ref(&chunk), &contract.batch[..]].concat(),
        depth: [&[inside], &contract.depth[1..]].concat(),
        lhs,
        rhs,
        stores: vec![Store { buffer: partial, offset: row_major(&axes), value, combine: None }],
        ..contract.clone()
    };
    let sums = Kernel { name: format!("{}, chunks of its depth", kernel.name), exprs, body: Body::Contract(sums), ..kernel.clone() };
    Some([
        sums,
        if in_one_expression {
            added(kernel, contract, partial, (&chunk, &axes), dtype)
        } else {
            summed(kernel, contract, partial, (&chunk, &axes), dtype)
        },
    ])
}

/// The kernel that adds any number of chunks in order, and stores what the contraction did.
fn summed(kernel: &Kernel, contract: &Contract, partial: BufferId, (chunk, axes): (&Axis, &[Axis]), dtype: DType) -> Kernel {
    let mut exprs = kernel.exprs.clone();
    let access = crate::kernel::Access { buffer: partial, offset: row_major(axes), bounds: vec![], otherwise: None };
    let rhs = exprs.add(dtype, ExprKind::Load(access));
    // A chain of 1 · c + sum.
    let lhs = exprs.constant(dtype, 1.0);
    let (batch, depth) = (axes[1..].to_vec(), vec![chunk.clone()]);
    let sum = Contract { batch, rows: vec![], columns: vec![], depth, chunk: ALL_IN_ORDER, lhs, rhs, stores: contract.stores.clone() };
    Kernel { exprs, body: Body::Contract(sum), ..kernel.clone() }
}

/// The kernel that adds chunks in order, and stores what the contraction did.
fn added(kernel: &Kernel, contract: &Contract, partial: BufferId, (chunk, axes): (&Axis, &[Axis]), dtype: DType) -> Kernel {
    let mut exprs = Exprs::default();
    let mut total: Option<ExprId> = None;
    for at in 0..chunk.extent.as_const().unwrap_or(0) {
        let offset = row_major(axes).substitute(&|s| (*s == chunk.index).then(|| Dim::from(at)));
        let access = crate::kernel::Access { buffer: partial, offset, bounds: vec![], otherwise: None };
        let this = exprs.add(dtype, ExprKind::Load(access));
        total = Some(total.map_or(this, |sum| exprs.add(dtype, ExprKind::Binary(BinaryFn::Add, sum, this))));
    }
    let (exprs, ids) = copied(&kernel.exprs, exprs, total, &Dim::clone);
    let renumbered = |dim: &Dim| dim.substitute(&|s| ExprId::of_symbol(s).map(|id| Dim::from(ids[id.0 as usize].symbol())));
    let stores = contract.stores.iter();
    let stores =
        stores.map(|store| Store { offset: renumbered(&store.offset), value: ids[store.value.0 as usize], ..store.clone() }).collect();
    let nest = Nest { parallel: axes[1..].to_vec(), stages: vec![Stage::Sweep { axes: vec![], stores }], serial: false };
    Kernel { exprs, body: Body::Nest(nest), ..kernel.clone() }
}

/// All expressions with their dims changed, after those of `exprs`, and the new id of each; the sum is `total`, where that is given.
pub(super) fn copied(from: &Exprs, mut exprs: Exprs, total: Option<ExprId>, change: &dyn Fn(&Dim) -> Dim) -> (Exprs, Vec<ExprId>) {
    let mut ids: Vec<ExprId> = Vec::new();
    for (_, Expr { dtype, kind }) in from.iter() {
        let id = match (kind, total) {
            (ExprKind::Accumulator(_), Some(total)) => total,
            _ => {
                let renumbered = |dim: &Dim| dim.substitute(&|s| ExprId::of_symbol(s).map(|id| Dim::from(ids[id.0 as usize].symbol())));
                let kind = kind.map(&mut |id| ids[id.0 as usize], &mut |dim| change(&renumbered(dim)));
                exprs.add(*dtype, kind)
            }
        };
        ids.push(id);
    }
    (exprs, ids)
}

/// Both factors with nothing loaded beyond the bound: there the product is −0, which changes no sum. None where they are no plain loads.
fn bounded(exprs: &mut Exprs, factors: [ExprId; 2], bound: &Bound) -> Option<[ExprId; 2]> {
    let is_zero = |exprs: &Exprs, id: ExprId| match exprs.get(id).kind {
        ExprKind::Constant(Scalar::Float(bits)) => bits == 0,
        ExprKind::Constant(Scalar::Int(value)) => value == 0,
        _ => false,
    };
    let mut loads = Vec::new();
    for id in factors {
        let Expr { dtype, kind: ExprKind::Load(access) } = exprs.get(id).clone() else { return None };
        if access.otherwise.is_some_and(|otherwise| !is_zero(exprs, otherwise)) {
            return None;
        }
        loads.push((dtype, access));
    }
    // One factor is −0: one that is nowhere a zero of its own.
    let negative = loads.iter().position(|(_, access)| access.otherwise.is_none())?;
    let mut results = factors;
    for (at, (dtype, mut access)) in loads.into_iter().enumerate() {
        access.bounds.push(bound.clone());
        if access.otherwise.is_none() {
            access.otherwise = Some(exprs.constant(dtype, if at == negative { -0.0 } else { 0.0 }));
        }
        results[at] = exprs.add(dtype, ExprKind::Load(access));
    }
    Some(results)
}
