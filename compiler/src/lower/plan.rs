//! Chooses the index along which a nest is vectorised.
//!
//! Either all stages run along one parallel index (a vector holds neighbouring points), or each stage runs along an inner
//! index of its own (a vector holds neighbouring elements of one row). Bits are the same; memory access decides.

use super::access::along;
use super::context::Context;
use super::nest::Work;
use crate::kernel::cost;
use crate::kernel::{Axis, Bound, BufferId, ExprId, ExprKind, Stage, Store};
use crate::tuning::{Asking, HOPELESS, Subject};
use kiln_ir::{Dim, Symbol};
use std::collections::BTreeSet;

/// How a nest uses vectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// Not at all.
    Scalar,
    /// All stages along this parallel axis.
    Parallel(usize),
    /// Each stage along an inner axis, where that pays.
    Inner,
}

/// Extents that are not known count as this many.
const USUAL_EXTENT: i64 = 64;

/// The mode for these stages: the cheapest, or what tuning says.
pub(super) fn choose(cx: &Context, parallel: &[Axis], works: &[Work], lanes: u32, asking: &mut Asking) -> Mode {
    let modes = modes(cx, parallel, works, lanes);
    let cheapest = modes.iter().fold(modes[0], |best, mode| if mode.0 < best.0 { *mode } else { best });
    let others = || modes.iter().filter(|(cost, _)| *cost < HOPELESS * cheapest.0).map(|(_, mode)| *mode).collect();
    asking.choose(Subject::Axis, cheapest.1, others, |mode| format!("{mode:?}"))
}

/// All modes with what they cost; of equals, the first is best.
fn modes(cx: &Context, parallel: &[Axis], works: &[Work], lanes: u32) -> Vec<(f64, Mode)> {
    let scalar: f64 = works.iter().map(|w| points(w) * scalar_cost(cx, w)).sum();
    let inner = works
        .iter()
        .map(|work| match inner_axis(cx, work, lanes) {
            Some((_, cost)) => points(work) * cost,
            None => points(work) * scalar_cost(cx, work),
        })
        .sum();
    let mut modes = vec![(scalar, Mode::Scalar), (inner, Mode::Inner)];
    // Later axes first: of equals, the one that runs along memory.
    for (place, axis) in parallel.iter().enumerate().rev() {
        let stores_vary = works.iter().all(|w| w.stores().iter().all(|s| varies_along(cx, &s.offset, &axis.index)));
        if !stores_vary {
            continue;
        }
        let total = works.iter().map(|w| points(w) * axis_cost(cx, w, axis, lanes, true) + order_cost(w)).sum();
        modes.push((total, Mode::Parallel(place)));
    }
    modes
}

/// The inner axis along which a stage is best vectorised and its cost per element, if that beats scalar code.
pub(super) fn inner_axis(cx: &Context, work: &Work, lanes: u32) -> Option<(usize, f64)> {
    let candidates: Vec<(usize, &Axis)> = match work {
        // Virtual lanes are consecutive row-major positions: they must run along the last axis without a break.
        Work::Stage(Stage::Reduce { axes, .. }) => {
            let aligned = axes.last().and_then(|a| a.extent.as_const()).is_some_and(|n| n % 16 == 0);
            let last = axes.len().checked_sub(1)?;
            if axes.len() > 1 && !aligned && work.is_ordered(cx) { vec![] } else { vec![(last, &axes[last])] }
        }
        Work::Stage(Stage::Sweep { axes, .. }) => axes.iter().enumerate().rev().collect(),
        Work::Stage(Stage::Running { .. }) | Work::Dot { .. } => vec![],
    };
    let mut best: Option<(usize, f64)> = None;
    for (place, axis) in candidates {
        let cost = axis_cost(cx, work, axis, lanes, false);
        if cost < scalar_cost(cx, work) && best.is_none_or(|(_, least)| cost < least) {
            best = Some((place, cost));
        }
    }
    best
}

/// How often a stage evaluates its expressions for one parallel point.
fn points(work: &Work) -> f64 {
    work.axes().iter().map(|a| a.extent.as_const().unwrap_or(USUAL_EXTENT) as f64).product()
}

/// Ordered sums along a parallel axis keep 16 partial sums a lane in memory.
fn order_cost(work: &Work) -> f64 {
    match work {
        Work::Stage(Stage::Reduce { .. }) if points(work) > 16.0 => 0.5 * points(work),
        _ => 0.0,
    }
}

fn scalar_cost(cx: &Context, work: &Work) -> f64 {
    cost(&cx.exprs, &work.roots()) as f64 + work.stores().len() as f64
}

/// Cost per element of running a stage along an axis.
fn axis_cost(cx: &Context, work: &Work, axis: &Axis, lanes: u32, accumulators_vary: bool) -> f64 {
    let per_vector = vector_cost(cx, work, &axis.index, lanes, accumulators_vary);
    let width = f64::from(lanes);
    match axis.extent.as_const() {
        None if cx.ranges.range(&axis.extent).min >= USUAL_EXTENT => per_vector / width,
        // It may well be 1: a batch often is.
        None => 0.75 * per_vector / width + 0.25 * scalar_cost(cx, work),
        Some(n) => {
            let (whole, rest) = (n / i64::from(lanes), n % i64::from(lanes));
            let is_reduced = matches!(work, Work::Stage(Stage::Reduce { .. })) && !accumulators_vary;
            let of_rest = match rest {
                0 => 0.0,
                _ if is_reduced || masks_rest(cx, &work.roots(), work.stores(), &axis.index) => per_vector,
                _ => rest as f64 * scalar_cost(cx, work),
            };
            (whole as f64 * per_vector + of_rest) / (n.max(1) as f64)
        }
    }
}

/// Whether what vectors along `index` leave over is taken by a vector some of whose lanes are left out: all that is loaded and stored
/// lies side by side, or is the same for all lanes.
pub(super) fn masks_rest(cx: &Context, roots: &[ExprId], stores: &[Store], index: &Symbol) -> bool {
    let is_straight = |offset: &Dim, buffer: BufferId, or_same: bool| {
        let moves = along(offset, index, &|s| varies_along(cx, &Dim::from(s.clone()), index)).filter(|moves| moves.splits.is_empty());
        let step = moves.and_then(|moves| moves.step.as_const());
        match step {
            Some(0) => or_same,
            step => step == Some(1) && cx.isa.masks(cx.program.buffer(buffer).dtype.size_bytes()),
        }
    };
    let is_simple = |id: ExprId| match &cx.exprs.get(id).kind {
        ExprKind::Load(access) => {
            let is_free = |dim: &Dim| !varies_along(cx, dim, index);
            // Lanes beyond a bound that moves with them are left out as well.
            let moves = access.bounds.iter().any(|bound| !is_free(&bound.index));
            let fits = |bound: &Bound| is_free(&bound.extent) && (is_free(&bound.index) || is_straight(&bound.index, access.buffer, false));
            access.bounds.iter().all(fits) && is_straight(&access.offset, access.buffer, !moves)
        }
        ExprKind::CheckedIndex { .. } => !cx.needs(id).symbols.contains(index),
        _ => true,
    };
    let stored = |store: &Store| store.combine.is_none() && is_straight(&store.offset, store.buffer, false);
    cx.exprs.reached(roots.iter().copied()).into_iter().all(is_simple) && stores.iter().all(stored)
}

fn vector_cost(cx: &Context, work: &Work, index: &Symbol, lanes: u32, accumulators_vary: bool) -> f64 {
    let mut seen = BTreeSet::new();
    let mut todo: Vec<ExprId> = work.roots();
    let mut total = 0.0;
    while let Some(id) = todo.pop() {
        let needs = cx.needs(id);
        let varies = needs.symbols.contains(index) || (accumulators_vary && !needs.accumulators.is_empty());
        if !varies || !seen.insert(id) {
            continue;
        }
        todo.extend(cx.exprs.operands(id));
        total += match &cx.exprs.get(id).kind {
            ExprKind::Load(access) => {
                let mut load = access_cost(cx, &access.offset, index, lanes);
                for bound in &access.bounds {
                    if varies_along(cx, &bound.index, index) {
                        load += access_cost(cx, &bound.index, index, lanes).max(1.0);
                    }
                }
                load
            }
            _ => cost_of_node(cx, id),
        };
    }
    total + work.stores().iter().map(|s| access_cost(cx, &s.offset, index, lanes)).sum::<f64>()
}

/// The node without its operands.
fn cost_of_node(cx: &Context, id: ExprId) -> f64 {
    let operands: BTreeSet<ExprId> = cx.exprs.operands(id).into_iter().collect();
    let below: Vec<ExprId> = operands.into_iter().collect();
    (cost(&cx.exprs, &[id]) - cost(&cx.exprs, &below)) as f64
}

fn access_cost(cx: &Context, offset: &Dim, index: &Symbol, lanes: u32) -> f64 {
    let width = f64::from(lanes);
    let one_by_one = 2.0 * width;
    let Some(moving) = along(offset, index, &|s| varies_along(cx, &Dim::from(s.clone()), index)) else { return one_by_one };
    let broken = moving.splits.iter().any(|(_, d)| d.as_const().is_some_and(|d| d < i64::from(lanes)));
    if broken {
        return one_by_one;
    }
    let split = if moving.splits.is_empty() { 0.0 } else { 1.0 };
    split
        + match moving.step.as_const() {
            Some(0) => 0.3,
            Some(1) => 1.0,
            _ => 1.2 * width,
        }
}

fn varies_along(cx: &Context, dim: &Dim, index: &Symbol) -> bool {
    let mut found = false;
    dim.visit_symbols(&mut |s| {
        found |= s == index || ExprId::of_symbol(s).is_some_and(|id| cx.needs(id).symbols.contains(index));
    });
    found
}

impl Work {
    /// The inner axes.
    pub(super) fn axes(&self) -> &[Axis] {
        match self {
            Work::Stage(Stage::Reduce { axes, .. } | Stage::Sweep { axes, .. }) | Work::Dot { axes, .. } => axes,
            Work::Stage(Stage::Running { axis, .. }) => std::slice::from_ref(axis),
        }
    }

    /// What it stores.
    pub(super) fn stores(&self) -> &[Store] {
        match self {
            Work::Stage(Stage::Sweep { stores, .. }) => stores,
            Work::Stage(Stage::Running { store, .. }) => std::slice::from_ref(store),
            Work::Stage(Stage::Reduce { .. }) | Work::Dot { .. } => &[],
        }
    }

    /// The expressions it evaluates.
    pub(super) fn roots(&self) -> Vec<ExprId> {
        let mut roots: Vec<ExprId> = match self {
            Work::Stage(Stage::Reduce { reductions, .. }) => reductions.iter().map(|r| r.value).collect(),
            Work::Stage(Stage::Running { reduction, .. }) => vec![reduction.value],
            Work::Stage(Stage::Sweep { .. }) => vec![],
            Work::Dot { lhs, rhs, .. } => vec![*lhs, *rhs],
        };
        for store in self.stores() {
            roots.push(store.value);
            store.offset.visit_symbols(&mut |s| roots.extend(ExprId::of_symbol(s)));
        }
        roots
    }

    /// Whether the order of combination matters.
    pub(super) fn is_ordered(&self, cx: &Context) -> bool {
        match self {
            Work::Stage(Stage::Reduce { reductions, .. }) => {
                reductions.iter().any(|r| super::fold::Fold::new(r, cx.exprs.get(r.value).dtype).is_ordered())
            }
            Work::Stage(Stage::Running { .. }) | Work::Dot { .. } => true,
            Work::Stage(Stage::Sweep { .. }) => false,
        }
    }
}
