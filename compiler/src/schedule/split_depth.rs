//! Deep sums of few results are split by their chunks, so that there is work for a whole GPU.
//!
//! ```text
//! y = f(Σₖ l·r)      →      p[c] = Σₖ in chunk c l·r ;   y = f(((p[0] + p[1]) + p[2]) + …)
//! ```
//!
//! Chunks are those of the canonical order, and are added in it: no bit changes.
//! Needs: depth known when compiling.  Skips: sums of one chunk, of very many, and those with results enough.

use crate::kernel::{
    Axis, BinaryFn, Body, Bound, Buffer, BufferId, BufferKind, Contract, Expr, ExprId, ExprKind, Exprs, Kernel, Nest, Program, Scalar,
    Stage, Step, Store, row_major, sum_dtype,
};
use kiln_ir::{DType, Dim, Symbol};

/// Results of a block of threads, about.
const BLOCK_RESULTS: i64 = 32 * 32;
/// Blocks that keep half of a GPU busy.
const ENOUGH_BLOCKS: i64 = 66;
/// Chunks that one expression adds.
const MOST_CHUNKS: i64 = 32;

/// Splits what gains from it.
pub fn split_depth(program: &mut Program) {
    let steps = std::mem::take(&mut program.steps);
    program.steps = split_steps(program, steps);
}

fn split_steps(program: &mut Program, steps: Vec<Step>) -> Vec<Step> {
    let mut result = Vec::with_capacity(steps.len());
    for step in steps {
        match step {
            Step::Run(kernel) => match split(program, &kernel) {
                Some(kernels) => result.extend(kernels.map(Step::Run)),
                None => result.push(Step::Run(kernel)),
            },
            Step::Loop { index, extent, body } => result.push(Step::Loop { index, extent, body: split_steps(program, body) }),
        }
    }
    result
}

fn split(program: &mut Program, kernel: &Kernel) -> Option<[Kernel; 2]> {
    let Body::Contract(contract) = &kernel.body else { return None };
    let (first, taps) = contract.depth.split_first()?;
    let taps = Dim::product(taps.iter().map(|axis| &axis.extent)).as_const().filter(|taps| *taps > 0 && contract.chunk % taps == 0)?;
    let (length, extent) = (contract.chunk / taps, first.extent.as_const()?);
    let chunks = (extent + length - 1) / length;
    let results: Vec<&Axis> = [&contract.batch, &contract.rows, &contract.columns].into_iter().flatten().collect();
    let usual = |symbol: &Symbol| Some(program.usual_sizes.get(symbol).copied().unwrap_or(1));
    let count = results.iter().map(|axis| axis.extent.evaluate(&usual).unwrap_or(1)).fold(1, i64::saturating_mul);
    if !(2..=MOST_CHUNKS).contains(&chunks) || count >= ENOUGH_BLOCKS * BLOCK_RESULTS {
        return None;
    }
    let dtype = sum_dtype(kernel.exprs.get(contract.lhs).dtype);
    let chunk = Axis { index: Symbol::new("chunk of depth"), extent: Dim::from(chunks) };
    let inside = Axis { index: Symbol::new("depth in chunk"), extent: Dim::from(length) };
    let depth = Dim::from(chunk.index.clone()) * &inside.extent + Dim::from(inside.index.clone());
    let bound = (extent % length != 0).then(|| Bound { index: depth.clone(), extent: first.extent.clone() });
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
    Some([sums, added(kernel, contract, partial, (&chunk, &axes), dtype)])
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
fn copied(from: &Exprs, mut exprs: Exprs, total: Option<ExprId>, change: &dyn Fn(&Dim) -> Dim) -> (Exprs, Vec<ExprId>) {
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
