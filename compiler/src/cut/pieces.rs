//! Cuts maps in pieces where bounds of their loads begin or end, so that no element asks whether it exists.
//!
//! ```text
//! y[i] = (a[i] where i < 8 else 0) + (b[i − 8] where 0 ≤ i − 8 < 8 else 0),  i < 16
//!                                →      y[i] = a[i] + 0 and y[i + 8] = 0 + b[i],  i < 8
//! ```
//!
//! Pieces of one length are one kernel, since what they load and compute is often the same: the gradient of a value that was sliced
//! is a sum of padded gradients.
//! Needs: one axis of constant extent, bounds linear in its index.  Keeps: every bit.  Skips: short or many pieces, other kernels.

use crate::kernel::{Access, Axis, BinaryFn, Body, Bound, CompareFn, ExprId, ExprKind, Exprs, Kernel, Nest, Scalar, Stage, Store};
use kiln_ir::{DType, Dim, Ranges, Symbol};
use std::collections::{BTreeMap, BTreeSet};

/// Shorter pieces than a vector are not worth a loop.
const SHORTEST: i64 = 16;
/// More pieces than this make more code than they save.
const MOST: usize = 8;

/// The kernels that do the work of `kernel`; `ranges` are of sizes and enclosing loop indices.
pub(super) fn at_bounds(kernel: Kernel, ranges: &Ranges) -> Vec<Kernel> {
    let Body::Nest(Nest { parallel, stages, serial: false }) = &kernel.body else { return vec![kernel] };
    let [Stage::Sweep { axes, stores }] = stages.as_slice() else { return vec![kernel] };
    if !axes.is_empty() {
        return vec![kernel];
    }
    for (place, axis) in parallel.iter().enumerate() {
        let ends = ends_of_pieces(&kernel, axis);
        if ends.len() < 2 || ends.len() > MOST {
            continue;
        }
        let starts: Vec<i64> = std::iter::once(0).chain(ends.iter().copied()).take(ends.len()).collect();
        let mut by_length: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (start, end) in starts.iter().zip(&ends) {
            by_length.entry(end - start).or_default().push(*start);
        }
        if by_length.keys().any(|length| *length < SHORTEST) {
            continue;
        }
        return by_length.into_iter().map(|(length, starts)| pieces(&kernel, parallel, place, length, &starts, stores, ranges)).collect();
    }
    vec![kernel]
}

/// Where pieces along the axis end, the last one with it.
fn ends_of_pieces(kernel: &Kernel, axis: &Axis) -> Vec<i64> {
    let Some(extent) = axis.extent.as_const() else { return vec![] };
    let mut ends = BTreeSet::from([extent]);
    for id in kernel.live_exprs() {
        let ExprKind::Load(access) = &kernel.exprs.get(id).kind else { continue };
        for bound in &access.bounds {
            let Some((step, first)) = bound.index.linear_in(&axis.index) else { continue };
            let (Some(step), Some(first), Some(size)) = (step.as_const(), first.as_const(), bound.extent.as_const()) else { continue };
            if step > 0 {
                // The least index whose element is not below 0, and the least whose element is not below the size.
                let begin = |at: i64| at.saturating_add(step - 1).div_euclid(step);
                ends.extend([begin(first.saturating_neg()), begin(size.saturating_sub(first))]);
            }
        }
    }
    ends.into_iter().filter(|end| (1..=extent).contains(end)).collect()
}

/// One kernel over pieces of `length` elements that start at `starts`.
fn pieces(kernel: &Kernel, parallel: &[Axis], place: usize, length: i64, starts: &[i64], stores: &[Store], ranges: &Ranges) -> Kernel {
    let mut parallel = parallel.to_vec();
    parallel[place].extent = Dim::from(length);
    let mut ranges = ranges.clone();
    for axis in &parallel {
        ranges.set_index(axis.index.clone(), axis.extent.clone());
    }
    let index = &parallel[place].index;
    let mut exprs = Exprs::default();
    let mut placed = Vec::new();
    for start in starts {
        let shifted = Dim::from(index.clone()) + Dim::from(*start);
        let mut piece = Piece { from: &kernel.exprs, index, shifted, ranges: &ranges, to: &mut exprs, copies: BTreeMap::new() };
        for store in stores {
            let value = piece.copy(store.value);
            placed.push(Store { value, offset: piece.dim(&store.offset), ..store.clone() });
        }
    }
    let stages = vec![Stage::Sweep { axes: vec![], stores: placed }];
    let body = Body::Nest(Nest { parallel, stages, serial: false });
    Kernel { name: kernel.name.clone(), origins: kernel.origins.clone(), exprs, body }
}

/// Copies expressions with one index shifted, and decides what its range decides.
struct Piece<'a> {
    from: &'a Exprs,
    index: &'a Symbol,
    shifted: Dim,
    ranges: &'a Ranges,
    to: &'a mut Exprs,
    copies: BTreeMap<ExprId, ExprId>,
}

impl Piece<'_> {
    fn copy(&mut self, id: ExprId) -> ExprId {
        if let Some(done) = self.copies.get(&id) {
            return *done;
        }
        let expr = self.from.get(id).clone();
        let kind = match expr.kind {
            ExprKind::Load(access) => match self.load(access) {
                Ok(access) => ExprKind::Load(access),
                Err(elsewhere) => return self.known(id, elsewhere),
            },
            ExprKind::Index(dim) => ExprKind::Index(self.dim(&dim)),
            ExprKind::Unary(f, a) => ExprKind::Unary(f, self.copy(a)),
            ExprKind::Binary(f @ (BinaryFn::And | BinaryFn::Or), a, b) => {
                let (a, b) = (self.copy(a), self.copy(b));
                // `and` is decided by false and keeps the other of true; `or` the other way round.
                for (one, other) in [(a, b), (b, a)] {
                    if let Some(holds) = self.truth(one) {
                        return self.known(id, if holds == (f == BinaryFn::And) { other } else { one });
                    }
                }
                ExprKind::Binary(f, a, b)
            }
            ExprKind::Binary(f, a, b) => ExprKind::Binary(f, self.copy(a), self.copy(b)),
            ExprKind::Compare(f, a, b) => {
                let (a, b) = (self.copy(a), self.copy(b));
                match self.compare(f, a, b) {
                    Some(holds) => ExprKind::Constant(Scalar::Int(i128::from(holds))),
                    None => ExprKind::Compare(f, a, b),
                }
            }
            ExprKind::Select(c, a, b) => {
                let c = self.copy(c);
                match self.truth(c) {
                    Some(holds) => {
                        let chosen = self.copy(if holds { a } else { b });
                        return self.known(id, chosen);
                    }
                    None => ExprKind::Select(c, self.copy(a), self.copy(b)),
                }
            }
            ExprKind::Cast(a) => ExprKind::Cast(self.copy(a)),
            ExprKind::CheckedIndex { index, extent, node } => {
                ExprKind::CheckedIndex { index: self.copy(index), extent: self.dim(&extent), node }
            }
            kind @ (ExprKind::Constant(_) | ExprKind::Accumulator(_)) => kind,
        };
        let copy = self.to.add(expr.dtype, kind);
        self.known(id, copy)
    }

    fn known(&mut self, id: ExprId, copy: ExprId) -> ExprId {
        self.copies.insert(id, copy);
        copy
    }

    /// The load with the bounds that are left, or the value where there is no element.
    fn load(&mut self, access: Access) -> Result<Access, ExprId> {
        let mut bounds = Vec::new();
        for bound in &access.bounds {
            let bound = Bound { index: self.dim(&bound.index), extent: self.dim(&bound.extent) };
            let beyond = self.ranges.range(&(&bound.index - &bound.extent)).min >= 0;
            if let Some(otherwise) = access.otherwise.filter(|_| beyond || self.ranges.range(&bound.index).max < 0) {
                return Err(self.copy(otherwise));
            }
            if !self.ranges.within(&bound.index, &bound.extent) {
                bounds.push(bound);
            }
        }
        let otherwise = access.otherwise.filter(|_| !bounds.is_empty()).map(|otherwise| self.copy(otherwise));
        Ok(Access { buffer: access.buffer, offset: self.dim(&access.offset), bounds, otherwise })
    }

    fn dim(&mut self, dim: &Dim) -> Dim {
        let mut values = BTreeMap::new();
        dim.visit_symbols(&mut |s| {
            if let Some(id) = ExprId::of_symbol(s) {
                values.insert(s.clone(), id);
            }
        });
        let values: BTreeMap<Symbol, Dim> = values.into_iter().map(|(s, id)| (s, Dim::from(self.copy(id).symbol()))).collect();
        let moved = |s: &Symbol| if s == self.index { Some(self.shifted.clone()) } else { values.get(s).cloned() };
        dim.substitute(&moved).simplify(self.ranges)
    }

    fn truth(&self, id: ExprId) -> Option<bool> {
        match (self.to.get(id).dtype, &self.to.get(id).kind) {
            (DType::Bool, ExprKind::Constant(Scalar::Int(value))) => Some(*value != 0),
            _ => None,
        }
    }

    /// The outcome of a comparison of positions, where their ranges decide it.
    fn compare(&self, f: CompareFn, a: ExprId, b: ExprId) -> Option<bool> {
        let position = |id: ExprId| match &self.to.get(id).kind {
            ExprKind::Index(dim) => Some(dim.clone()),
            ExprKind::Constant(Scalar::Int(value)) => i64::try_from(*value).ok().map(Dim::from),
            _ => None,
        };
        let ahead = self.ranges.range(&(position(a)? - position(b)?));
        let decided = |holds: bool, fails: bool| if holds { Some(true) } else { fails.then_some(false) };
        match f {
            CompareFn::Less => decided(ahead.max < 0, ahead.min >= 0),
            CompareFn::LessEqual => decided(ahead.max <= 0, ahead.min > 0),
            CompareFn::Greater => decided(ahead.min > 0, ahead.max <= 0),
            CompareFn::GreaterEqual => decided(ahead.min >= 0, ahead.max < 0),
            CompareFn::Equal => decided(ahead.min == 0 && ahead.max == 0, ahead.min > 0 || ahead.max < 0),
            CompareFn::NotEqual => decided(ahead.min > 0 || ahead.max < 0, ahead.min == 0 && ahead.max == 0),
        }
    }
}
