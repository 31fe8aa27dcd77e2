//! Joins maps over the same points into one kernel, so that what one makes for the other need not go through memory.
//!
//! ```text
//! m'[i] = 0.9·m[i] + 0.1·g[i] ; v'[i] = v[i] + g[i]²; w'[i] = w[i] − m'[i]/√v'[i]      →      one kernel with three stores
//! ```
//!
//! A later map moves up to an earlier one if nothing in between concerns it. Temporaries that are then only stored are stored no more.
//! Needs: whatever both touch is touched at the same point.  Keeps: every bit.  Skips: maps that have nothing in common, outside loops.

use crate::kernel::{Axis, Body, BufferId, BufferKind, ExprId, ExprKind, Kernel, Nest, Program, Stage, Step, Store, buffers_touched};
use kiln_ir::{Dim, Symbol};
use std::collections::{BTreeMap, BTreeSet};

/// How many steps a map moves up at most.
const REACH: usize = 24;
/// Stores of one kernel: more streams of memory than this do not help each other.
const MOST_STORES: usize = 12;
/// Expressions of one kernel.
const MOST_EXPRS: usize = 256;

/// Joins maps in the steps of a program, and drops what is then never loaded.
pub(super) fn join(program: &mut Program) {
    let steps = std::mem::take(&mut program.steps);
    program.steps = joined(steps, false);
    let mut loaded = BTreeSet::new();
    for step in program.prepare.iter().chain(&program.steps) {
        step.visit_kernels(&mut |kernel| loaded.extend(kernel.loads()));
    }
    let steps = std::mem::take(&mut program.steps);
    let is_needed = |store: &Store| program.buffer(store.buffer).kind != BufferKind::Temporary || loaded.contains(&store.buffer);
    program.steps = needed(steps, &is_needed);
}

fn joined(steps: Vec<Step>, in_loop: bool) -> Vec<Step> {
    let mut done: Vec<Step> = Vec::new();
    for step in steps {
        match step {
            Step::Loop { index, extent, kind, body } => {
                done.push(Step::Loop { index, extent, kind, body: joined(body, true) });
            }
            Step::Run(kernel) => match partner(&done, &kernel, in_loop) {
                Some((place, both)) => done[place] = Step::Run(both),
                None => done.push(Step::Run(kernel)),
            },
        }
    }
    done
}

/// The earlier map that this one is best joined with, and both as one.
fn partner(done: &[Step], kernel: &Kernel, in_loop: bool) -> Option<(usize, Kernel)> {
    let later = Map::of(kernel)?;
    let mut found = None;
    for (place, step) in done.iter().enumerate().rev().take(REACH) {
        if let Step::Run(candidate) = step
            && let Some(earlier) = Map::of(candidate)
            && let Some(both) = earlier.joined(&later)
        {
            if !earlier.stored.is_disjoint(&later.loaded) {
                return Some((place, both));
            }
            if found.is_none() && (in_loop || !earlier.loaded.is_disjoint(&later.loaded)) {
                found = Some((place, both));
            }
        }
        let mut stored = BTreeSet::new();
        step.visit_kernels(&mut |kernel| stored.extend(kernel.stores().iter().map(|s| s.buffer)));
        let touched = buffers_touched(std::slice::from_ref(step));
        if !touched.is_disjoint(&later.stored) || !stored.is_disjoint(&later.loaded) {
            break;
        }
    }
    found
}

/// A kernel that stores values at each point, and nothing else.
struct Map<'a> {
    kernel: &'a Kernel,
    parallel: &'a [Axis],
    stores: &'a [Store],
    loaded: BTreeSet<BufferId>,
    stored: BTreeSet<BufferId>,
}

impl Map<'_> {
    fn of(kernel: &Kernel) -> Option<Map<'_>> {
        let Body::Nest(Nest { parallel, stages, serial: false }) = &kernel.body else { return None };
        let [Stage::Sweep { axes, stores }] = stages.as_slice() else { return None };
        let is_plain = |s: &Store| s.combine.is_none() && s.offset.symbols().iter().all(|s| ExprId::of_symbol(s).is_none());
        if !axes.is_empty() || !stores.iter().all(is_plain) {
            return None;
        }
        let stored = stores.iter().map(|s| s.buffer).collect();
        Some(Map { kernel, parallel, stores, loaded: kernel.loads(), stored })
    }

    /// The axes along which every store moves by one element: what a vector may run along.
    fn contiguous(&self) -> Vec<bool> {
        let along = |axis: &Axis| self.stores.iter().all(|s| s.offset.linear_in(&axis.index).is_some_and(|(step, _)| step.is(1)));
        self.parallel.iter().map(along).collect()
    }

    /// This map and a later one as one kernel, if whatever both touch is touched at the same point.
    fn joined(&self, later: &Map) -> Option<Kernel> {
        let extents = |map: &Map| map.parallel.iter().map(|a| a.extent.clone()).collect::<Vec<_>>();
        if extents(self) != extents(later)
            || self.stores.len() + later.stores.len() > MOST_STORES
            || self.kernel.exprs.iter().count() + later.kernel.exprs.iter().count() > MOST_EXPRS
            || self.contiguous() != later.contiguous()
            || !self.stored.is_disjoint(&later.stored)
        {
            return None;
        }
        let indices: BTreeMap<Symbol, Dim> =
            later.parallel.iter().zip(self.parallel).map(|(l, e)| (l.index.clone(), Dim::from(e.index.clone()))).collect();
        let renamed = |dim: &Dim| dim.substitute(&|s| indices.get(s).cloned());
        // What is overwritten later must have been read at the point that overwrites it.
        for id in self.kernel.live_exprs() {
            if let ExprKind::Load(access) = &self.kernel.exprs.get(id).kind
                && later.stored.contains(&access.buffer)
                && !(access.bounds.is_empty()
                    && later.stores.iter().any(|s| s.buffer == access.buffer && renamed(&s.offset) == access.offset))
            {
                return None;
            }
        }
        let mut exprs = self.kernel.exprs.clone();
        let mut copies: BTreeMap<ExprId, ExprId> = BTreeMap::new();
        for id in later.kernel.live_exprs() {
            let expr = later.kernel.exprs.get(id);
            let dim = |d: &Dim| {
                d.substitute(&|s| match ExprId::of_symbol(s) {
                    Some(id) => Some(Dim::from(copies[&id].symbol())),
                    None => indices.get(s).cloned(),
                })
            };
            if let ExprKind::Load(access) = &expr.kind
                && self.stored.contains(&access.buffer)
            {
                let offset = dim(&access.offset);
                let made = self.stores.iter().find(|s| s.buffer == access.buffer && s.offset == offset);
                copies.insert(id, made.filter(|_| access.bounds.is_empty())?.value);
                continue;
            }
            let kind = expr.kind.map(&mut |e| copies[&e], &mut |d| dim(d));
            copies.insert(id, exprs.add(expr.dtype, kind));
        }
        let moved = later.stores.iter().map(|s| Store { offset: renamed(&s.offset), value: copies[&s.value], ..s.clone() });
        let stores = self.stores.iter().cloned().chain(moved).collect();
        let mut origins = self.kernel.origins.clone();
        origins.extend(later.kernel.origins.iter().filter(|o| !self.kernel.origins.contains(o)).cloned());
        let stages = vec![Stage::Sweep { axes: vec![], stores }];
        let body = Body::Nest(Nest { parallel: self.parallel.to_vec(), stages, serial: false });
        Some(Kernel { name: self.kernel.name.clone(), origins, exprs, body })
    }
}

/// The steps without stores that are not needed, and without maps that then store nothing.
fn needed(steps: Vec<Step>, is_needed: &dyn Fn(&Store) -> bool) -> Vec<Step> {
    let kept = |step: Step| match step {
        Step::Loop { index, extent, kind, body } => Some(Step::Loop { index, extent, kind, body: needed(body, is_needed) }),
        Step::Run(mut kernel) => {
            if Map::of(&kernel).is_some()
                && let Body::Nest(nest) = &mut kernel.body
                && let [Stage::Sweep { stores, .. }] = nest.stages.as_mut_slice()
            {
                stores.retain(is_needed);
                if stores.is_empty() {
                    return None;
                }
            }
            Some(Step::Run(kernel))
        }
    };
    steps.into_iter().filter_map(kept).collect()
}
