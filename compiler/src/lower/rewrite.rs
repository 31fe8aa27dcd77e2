//! Rewrites a kernel's indices before it is lowered, without changing what it computes.
//!
//! ```text
//! parallel i < 6, j < 7: y[7*i + j] = f(x[7*i + j])      →      parallel #0 < 42: y[#0] = f(x[#0])
//! ```
//!
//! [`canonical`] renames indices by position, so that equal kernels of different layers become equal programs.
//! [`merge_axes`] drops axes of extent 1 and joins neighbours that memory does not tell apart.
//! [`flatten`] joins a list of axes in any case, with `floordiv` and `mod` where memory does tell them apart.

use crate::kernel::{Axis, Body, Expr, ExprId, Exprs, Kernel, Stage, Store, unravelled};
use kiln_ir::dim::Atom;
use kiln_ir::{Dim, Ranges, Symbol};
use std::collections::{BTreeMap, BTreeSet};

/// A kernel whose indices and enclosing loop indices are named by position.
pub(super) struct Canonical {
    pub kernel: Kernel,
    /// The original name of each renamed loop index.
    pub loop_indices: BTreeMap<Symbol, Symbol>,
}

/// Renames indices to `#0`, `#1`, … in order of declaration, and the loop indices around the kernel to `#t0`, …
pub(super) fn canonical(kernel: &Kernel, sizes: &[Symbol]) -> Canonical {
    let mut kernel = kernel.clone();
    let mut names: BTreeMap<Symbol, Symbol> = BTreeMap::new();
    for axis in axes_mut(&mut kernel.body) {
        // Stages may share an index, and with it expressions.
        let next = Symbol::new(&format!("#{}", names.len()));
        axis.index = names.entry(axis.index.clone()).or_insert(next).clone();
    }
    let mut loop_indices = BTreeMap::new();
    for dim in dims(&kernel) {
        dim.visit_symbols(&mut |s| {
            let is_renamed = s.name().starts_with('#') || names.contains_key(s);
            if !is_renamed && !sizes.contains(s) && ExprId::of_symbol(s).is_none() {
                let name = Symbol::new(&format!("#t{}", loop_indices.len()));
                names.insert(s.clone(), name.clone());
                loop_indices.insert(name, s.clone());
            }
        });
    }
    let rename = |s: &Symbol| names.get(s).map(|n| Dim::from(n.clone()));
    let kernel = map_dims(&kernel, &|d| d.substitute(&rename));
    Canonical { kernel, loop_indices }
}

/// Drops axes of extent 1 and merges neighbouring axes of a list wherever every offset stays a polynomial in the merged index.
pub(super) fn merge_axes(kernel: Kernel, sizes: &Ranges) -> Kernel {
    let mut kernel = drop_units(kernel);
    let lists = axis_lists_mut(&mut kernel.body).len();
    for list in 0..lists {
        let mut outer = 0;
        while outer + 1 < axis_lists_mut(&mut kernel.body)[list].len() {
            match merged(&mut kernel, list, outer, sizes) {
                Some(smaller) => kernel = smaller,
                None => outer += 1,
            }
        }
    }
    kernel
}

/// Drops axes of extent 1.
pub(super) fn drop_units(mut kernel: Kernel) -> Kernel {
    let units: BTreeSet<Symbol> = axes_mut(&mut kernel.body).into_iter().filter(|a| a.extent.is(1)).map(|a| a.index.clone()).collect();
    if !units.is_empty() {
        for list in axis_lists_mut(&mut kernel.body) {
            list.retain(|a| !units.contains(&a.index));
        }
        kernel = map_dims(&kernel, &|d| d.substitute(&|s| units.contains(s).then_some(Dim::ZERO)));
    }
    kernel
}

/// The kernel with axes `outer` and `outer + 1` of a list merged, if offsets allow it.
fn merged(kernel: &mut Kernel, list: usize, outer: usize, sizes: &Ranges) -> Option<Kernel> {
    let (m, n) = {
        let axes = &axis_lists_mut(&mut kernel.body)[list];
        (axes[outer].clone(), axes[outer + 1].clone())
    };
    let joined = Axis { index: m.index.clone(), extent: &m.extent * &n.extent };
    // Stages may share indices: they must be neighbours wherever they are.
    let place_of = |list: &[Axis], axis: &Axis| list.iter().position(|a| a.index == axis.index);
    let neighbours = |list: &[Axis]| match (place_of(list, &m), place_of(list, &n)) {
        (None, None) => true,
        (Some(i), Some(j)) => j == i + 1,
        _ => false,
    };
    let lists: Vec<Vec<Axis>> = axis_lists_mut(&mut kernel.body).into_iter().map(|l| l.clone()).collect();
    let listed: usize = lists.iter().map(|l| l.iter().filter(|a| a.index == m.index || a.index == n.index).count()).sum();
    let all = axes_mut(&mut kernel.body).into_iter().filter(|a| a.index == m.index || a.index == n.index).count();
    if listed != all || !lists.iter().all(|l| neighbours(l)) {
        return None;
    }
    let mut ranges = ranges_of(kernel, sizes);
    ranges.set_index(joined.index.clone(), joined.extent.clone());
    let whole = Dim::from(joined.index.clone());
    let (quotient, remainder) = (whole.floor_div(&n.extent), whole.modulo(&n.extent));
    let substitute = |d: &Dim| {
        if !d.mentions(&m.index) && !d.mentions(&n.index) {
            return d.clone();
        }
        let replace = |s: &Symbol| if *s == m.index { Some(quotient.clone()) } else { (*s == n.index).then(|| remainder.clone()) };
        d.substitute(&replace).simplify(&ranges)
    };
    let is_plain = |d: &Dim| {
        let d = substitute(d);
        d.terms().iter().flat_map(|t| &t.atoms).all(|a| matches!(a, Atom::Symbol(_)) || !a.to_dim().mentions(&joined.index))
    };
    if !dims(kernel).iter().all(is_plain) {
        return None;
    }
    let mut result = map_dims(kernel, &substitute);
    for list in axis_lists_mut(&mut result.body) {
        if let Some(place) = place_of(list, &m) {
            list[place] = joined.clone();
            list.remove(place + 1);
        }
    }
    Some(result)
}

/// Joins the given axes into one named `index`; expressions see their quotients and remainders.
pub(super) fn flatten(kernel: &mut Kernel, axes: &[Axis], index: &Symbol, sizes: &Ranges) -> Axis {
    let joined = Axis { index: index.clone(), extent: Dim::product(axes.iter().map(|a| &a.extent)) };
    let mut ranges = ranges_of(kernel, sizes);
    ranges.set_index(index.clone(), joined.extent.clone());
    let parts = unravelled(&Dim::from(index.clone()), axes);
    *kernel = map_dims(kernel, &|d| {
        if !parts.keys().any(|s| d.mentions(s)) {
            return d.clone();
        }
        d.substitute(&|s| parts.get(s).cloned()).simplify(&ranges)
    });
    joined
}

/// Splits an axis into `part`, which becomes the caller's, and what is left in each part; the extent is a multiple of the parts.
pub(super) fn split(kernel: &mut Kernel, axis: &Axis, part: &Axis, sizes: &Ranges) {
    let each = axis.extent.floor_div(&part.extent);
    let mut ranges = ranges_of(kernel, sizes);
    ranges.set_index(part.index.clone(), part.extent.clone());
    ranges.set_index(axis.index.clone(), each.clone());
    let place = Dim::from(part.index.clone()) * &each + Dim::from(axis.index.clone());
    *kernel = map_dims(kernel, &|d| match d.mentions(&axis.index) {
        true => d.substitute(&|s| (*s == axis.index).then(|| place.clone())).simplify(&ranges),
        false => d.clone(),
    });
    for other in axes_mut(&mut kernel.body).into_iter().filter(|other| other.index == axis.index) {
        other.extent = each.clone();
    }
}

/// What is known of sizes and of all indices of the kernel.
pub(super) fn ranges_of(kernel: &Kernel, sizes: &Ranges) -> Ranges {
    let mut ranges = sizes.clone();
    let mut body = kernel.body.clone();
    for axis in axes_mut(&mut body) {
        ranges.set_index(axis.index.clone(), axis.extent.clone());
    }
    ranges
}

/// Every list of axes that may be merged within itself.
fn axis_lists_mut(body: &mut Body) -> Vec<&mut Vec<Axis>> {
    match body {
        Body::Nest(nest) => {
            let mut lists = vec![&mut nest.parallel];
            for stage in &mut nest.stages {
                match stage {
                    Stage::Reduce { axes, .. } | Stage::Sweep { axes, .. } => lists.push(axes),
                    Stage::Running { .. } => {}
                }
            }
            lists
        }
        Body::Contract(c) => vec![&mut c.batch, &mut c.rows, &mut c.columns, &mut c.depth],
        Body::Attention(a) => vec![&mut a.batch, &mut a.rows, &mut a.columns, &mut a.keys, &mut a.depth],
    }
}

/// Every axis in order of declaration.
fn axes_mut(body: &mut Body) -> Vec<&mut Axis> {
    match body {
        Body::Nest(nest) => {
            let mut axes: Vec<&mut Axis> = nest.parallel.iter_mut().collect();
            for stage in &mut nest.stages {
                match stage {
                    Stage::Reduce { axes: own, .. } | Stage::Sweep { axes: own, .. } => axes.extend(own),
                    Stage::Running { axis, .. } => axes.push(axis),
                }
            }
            axes
        }
        Body::Contract(c) => [&mut c.batch, &mut c.rows, &mut c.columns, &mut c.depth].into_iter().flatten().collect(),
        Body::Attention(a) => [&mut a.batch, &mut a.rows, &mut a.columns, &mut a.keys, &mut a.depth].into_iter().flatten().collect(),
    }
}

fn stores_mut(body: &mut Body) -> Vec<&mut Store> {
    match body {
        Body::Nest(nest) => nest
            .stages
            .iter_mut()
            .flat_map(|stage| match stage {
                Stage::Reduce { .. } => vec![],
                Stage::Sweep { stores, .. } => stores.iter_mut().collect(),
                Stage::Running { store, .. } => vec![store],
            })
            .collect(),
        Body::Contract(c) => c.stores.iter_mut().collect(),
        Body::Attention(a) => a.stores.iter_mut().chain(&mut a.row_stores).collect(),
    }
}

/// Dims of the body itself, beside offsets and extents, that may name expressions.
fn bounds_mut(body: &mut Body) -> Vec<&mut Dim> {
    match body {
        Body::Nest(_) | Body::Contract(_) => vec![],
        Body::Attention(a) => vec![&mut a.first, &mut a.end],
    }
}

/// Expressions that stages name.
fn values_mut(body: &mut Body) -> Vec<&mut ExprId> {
    match body {
        Body::Nest(nest) => nest
            .stages
            .iter_mut()
            .flat_map(|stage| match stage {
                Stage::Reduce { reductions, .. } => reductions.iter_mut().map(|r| &mut r.value).collect::<Vec<_>>(),
                Stage::Sweep { stores, .. } => stores.iter_mut().map(|s| &mut s.value).collect(),
                Stage::Running { reduction, store, .. } => vec![&mut reduction.value, &mut store.value],
            })
            .collect(),
        Body::Contract(c) => [&mut c.lhs, &mut c.rhs].into_iter().chain(c.stores.iter_mut().map(|s| &mut s.value)).collect(),
        Body::Attention(a) => {
            let stores = a.stores.iter_mut().chain(&mut a.row_stores).map(|s| &mut s.value);
            [&mut a.query, &mut a.key, &mut a.score, &mut a.value].into_iter().chain(stores).collect()
        }
    }
}

/// Expressions that are used, directly or by others.
fn live(kernel: &Kernel) -> Vec<bool> {
    let mut body = kernel.body.clone();
    let mut todo: Vec<ExprId> = values_mut(&mut body).into_iter().map(|v| *v).collect();
    for store in stores_mut(&mut body) {
        store.offset.visit_symbols(&mut |s| todo.extend(ExprId::of_symbol(s)));
    }
    for dim in bounds_mut(&mut body) {
        dim.visit_symbols(&mut |s| todo.extend(ExprId::of_symbol(s)));
    }
    let mut live = vec![false; kernel.exprs.iter().count()];
    while let Some(id) = todo.pop() {
        if !std::mem::replace(&mut live[id.0 as usize], true) {
            todo.extend(kernel.exprs.operands(id));
        }
    }
    live
}

/// Every dim of live expressions and of stores, in order. Extents of axes are not among them.
fn dims(kernel: &Kernel) -> Vec<Dim> {
    let live = live(kernel);
    let mut found = Vec::new();
    for (_, expr) in kernel.exprs.iter().filter(|(id, _)| live[id.0 as usize]) {
        found.extend(expr.kind.dims().into_iter().cloned());
    }
    let mut body = kernel.body.clone();
    found.extend(stores_mut(&mut body).into_iter().map(|s| s.offset.clone()));
    found.extend(bounds_mut(&mut body).into_iter().map(|dim| dim.clone()));
    found.extend(axes_mut(&mut body).into_iter().map(|a| a.extent.clone()));
    found
}

/// The kernel with `f` applied to every dim; expressions that nothing uses go.
pub(super) fn map_dims(kernel: &Kernel, f: &dyn Fn(&Dim) -> Dim) -> Kernel {
    let live = live(kernel);
    let mut exprs = Exprs::default();
    let mut ids: Vec<ExprId> = Vec::new();
    for (id, expr) in kernel.exprs.iter() {
        let new = if live[id.0 as usize] {
            let moved = map_expr(expr, &ids, f);
            exprs.add(moved.dtype, moved.kind)
        } else {
            ExprId(u32::MAX)
        };
        ids.push(new);
    }
    let mut body = kernel.body.clone();
    for value in values_mut(&mut body) {
        *value = ids[value.0 as usize];
    }
    for store in stores_mut(&mut body) {
        store.offset = f(&renumber(&store.offset, &ids));
    }
    for dim in bounds_mut(&mut body) {
        *dim = f(&renumber(dim, &ids));
    }
    for axis in axes_mut(&mut body) {
        axis.extent = f(&axis.extent);
    }
    Kernel { name: kernel.name.clone(), origins: kernel.origins.clone(), exprs, body }
}

/// The dim with expression symbols renumbered.
fn renumber(dim: &Dim, ids: &[ExprId]) -> Dim {
    dim.substitute(&|s| ExprId::of_symbol(s).map(|id| Dim::from(ids[id.0 as usize].symbol())))
}

fn map_expr(expr: &Expr, ids: &[ExprId], f: &dyn Fn(&Dim) -> Dim) -> Expr {
    Expr { dtype: expr.dtype, kind: expr.kind.map(&mut |e| ids[e.0 as usize], &mut |d| f(&renumber(d, ids))) }
}
