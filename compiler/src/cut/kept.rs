//! Costly values that a row needs twice are kept where its result will be.
//!
//! ```text
//! sum[i] = Σⱼ exp x[i, j] ; y[i, j] = exp x[i, j] / sum[i]      →      y[i, j] = exp x[i, j] ; sum[i] = Σⱼ y[i, j] ; y[i, j] = y[i, j] / sum[i]
//! ```
//!
//! Needs: one value summed, then one store along an axis as long, of the value's type.  Keeps: every bit.  Skips: cheap values.

use crate::kernel::{Access, Body, ExprId, ExprKind, Exprs, Keep, Kernel, Nest, Reduction, Stage, Step, Store, cost};
use kiln_ir::{DType, Dim, Symbol};
use std::collections::BTreeMap;

/// Scalar operations from which on a store and two loads, in the first-level cache mostly, cost less.
const COSTLY: i64 = 10;

/// Keeps such values in all kernels of the steps.
pub(super) fn keep(steps: &mut [Step]) {
    for step in steps {
        match step {
            Step::Run(kernel) => {
                if let Some(better) = with_value_kept(kernel) {
                    *kernel = better;
                }
            }
            Step::Loop { body, .. } => keep(body),
        }
    }
}

fn with_value_kept(kernel: &Kernel) -> Option<Kernel> {
    let Body::Nest(Nest { parallel, stages, serial: false }) = &kernel.body else { return None };
    let [before @ .., Stage::Reduce { axes: summed, reductions }, Stage::Sweep { axes: stored, stores }] = stages.as_slice() else {
        return None;
    };
    let ([from], [reduction @ Reduction { keep: Keep::Value, value, .. }]) = (summed.as_slice(), reductions.as_slice()) else {
        return None;
    };
    let ([to], [store @ Store { combine: None, .. }]) = (stored.as_slice(), stores.as_slice()) else { return None };
    let mut exprs = kernel.exprs.clone();
    let dtype = exprs.get(*value).dtype;
    // Narrower floats would be rounded on the way.
    let fits = matches!(dtype, DType::F32 | DType::F64) && dtype == exprs.get(store.value).dtype && from.extent == to.extent;
    let is_plain = store.offset.mentions(&to.index) && store.offset.symbols().iter().all(|s| ExprId::of_symbol(s).is_none());
    if !fits || !is_plain || cost(&exprs, &[*value]) < COSTLY || kernel.loads().contains(&store.buffer) {
        return None;
    }
    // The value as the sweep names it, if the sweep needs it.
    let mut copies = BTreeMap::new();
    let name = Dim::from(to.index.clone());
    copied(&mut exprs, *value, &mut copies, &|s| (*s == from.index).then(|| name.clone()));
    let again = copies[value];
    let load = |exprs: &mut Exprs, offset: Dim| {
        exprs.add(dtype, ExprKind::Load(Access { buffer: store.buffer, offset, bounds: Vec::new(), otherwise: None }))
    };
    let kept = load(&mut exprs, store.offset.clone());
    let mut copies = BTreeMap::from([(again, kept)]);
    copied(&mut exprs, store.value, &mut copies, &|_| None);
    let result = copies[&store.value];
    if result == store.value {
        return None;
    }
    let name = Dim::from(from.index.clone());
    let kept = load(&mut exprs, store.offset.substitute(&|s: &Symbol| (*s == to.index).then(|| name.clone())));
    let first = Stage::Sweep { axes: stored.clone(), stores: vec![Store { value: again, ..store.clone() }] };
    let sum = Stage::Reduce { axes: summed.clone(), reductions: vec![Reduction { value: kept, ..reduction.clone() }] };
    let last = Stage::Sweep { axes: stored.clone(), stores: vec![Store { value: result, ..store.clone() }] };
    let stages = [before, &[first, sum, last]].concat();
    let body = Body::Nest(Nest { parallel: parallel.clone(), stages, serial: false });
    Some(Kernel { name: kernel.name.clone(), origins: kernel.origins.clone(), exprs, body })
}

/// Makes `copies[id]`: the same expression of what `copies` has already, with indices as `index` says.
fn copied(exprs: &mut Exprs, id: ExprId, copies: &mut BTreeMap<ExprId, ExprId>, index: &dyn Fn(&Symbol) -> Option<Dim>) {
    if copies.contains_key(&id) {
        return;
    }
    for operand in exprs.operands(id) {
        copied(exprs, operand, copies, index);
    }
    let expr = exprs.get(id).clone();
    let dim = |d: &Dim| {
        d.substitute(&|s| match ExprId::of_symbol(s) {
            Some(id) => Some(Dim::from(copies[&id].symbol())),
            None => index(s),
        })
    };
    let kind = expr.kind.map(&mut |e| copies[&e], &mut |d| dim(d));
    let copy = exprs.add(expr.dtype, kind);
    copies.insert(id, copy);
}
