//! What phases of a loop need of each other: where the blocks of a cluster have to meet.
//!
//! Stores go to `row · stride + base` and some columns on. Where these are the phase's own columns, a load of the same row, and of a
//! column that is as many units away as goes, is of what the same thread stores. Everything else that is stored in the loop and loaded in
//! it is another thread's, and must be of the same row where there are several clusters.

use super::{MOST_ROWS, PersistentLoop, Phase};
use crate::kernel::{Axis, BufferId, ExprId, ExprKind, Program, Store};
use crate::lower::rewrite::ranges_of;
use crate::lower::sizes_around;
use kiln_ir::{Dim, Ranges, Symbol};
use std::collections::BTreeMap;
use std::ops::Range;

/// Where all stores to a buffer go.
#[derive(Clone)]
struct Form {
    stride: Dim,
    /// Without a constant.
    base: Dim,
    /// Columns of a row, counted from the base.
    columns: Range<i64>,
    /// Whether each thread stores what belongs to its units.
    own: bool,
}

impl Form {
    /// Where both go.
    fn and(&self, other: &Form, units: i64) -> Option<Form> {
        let (ours, theirs) = (&self.columns, &other.columns);
        let own = self.own && other.own && (ours.start - theirs.start) % units == 0;
        let columns = ours.start.min(theirs.start)..ours.end.max(theirs.end);
        (self.stride == other.stride && self.base == other.base).then(|| Form { columns, own, ..self.clone() })
    }

    fn has_rows_apart(&self) -> bool {
        self.stride.as_const().is_some_and(|stride| stride >= self.columns.end - self.columns.start)
    }
}

/// One phase's loads or stores of a buffer that the loop writes.
struct Touch {
    buffer: BufferId,
    stores: bool,
    /// Whether it is of what the same thread stores.
    own: bool,
}

impl Touch {
    /// Whether the phases of both have to come one after the other for all threads.
    fn conflicts(&self, other: &Touch) -> bool {
        self.buffer == other.buffer && (self.stores || other.stores) && !(self.own && other.own)
    }
}

impl PersistentLoop {
    /// Finds before which phases blocks meet; none where rows of different clusters would need each other.
    pub(super) fn find_meetings(&mut self, program: &Program) -> Option<()> {
        let ranges: Vec<Ranges> =
            self.phases.iter().map(|phase| ranges_of(&phase.kernel, &sizes_around(program, &phase.loop_indices))).collect();
        let forms = self.forms(&ranges);
        let touches = self.phases.iter().zip(&ranges).map(|(phase, ranges)| self.touches(phase, &forms, ranges));
        let touches = touches.collect::<Option<Vec<Vec<Touch>>>>()?;
        // Once for the first turn, once for what it leaves to the next one.
        let mut since: Vec<&Touch> = Vec::new();
        for _ in 0..2 {
            for (phase, touches) in self.phases.iter_mut().zip(&touches) {
                phase.meets |= touches.iter().any(|touch| since.iter().any(|earlier| touch.conflicts(earlier)));
                if phase.meets {
                    since.clear();
                }
                since.extend(touches);
            }
        }
        Some(())
    }

    /// Where stores of each buffer go, where all of them go alike.
    fn forms(&self, ranges: &[Ranges]) -> BTreeMap<BufferId, Option<Form>> {
        let mut forms: BTreeMap<BufferId, Option<Form>> = BTreeMap::new();
        for (phase, ranges) in self.phases.iter().zip(ranges) {
            for store in phase.stores() {
                let form = phase.form(store, ranges);
                let known = forms.entry(store.buffer).or_insert_with(|| form.clone());
                *known = known.as_ref().zip(form).and_then(|(known, form)| known.and(&form, self.units));
            }
        }
        for form in forms.values_mut() {
            *form = form.take().filter(|form| self.rows.is(1) || form.has_rows_apart());
        }
        forms
    }

    fn touches(&self, phase: &Phase, forms: &BTreeMap<BufferId, Option<Form>>, ranges: &Ranges) -> Option<Vec<Touch>> {
        let mut touches = Vec::new();
        for store in phase.stores() {
            let form = forms[&store.buffer].as_ref();
            if form.is_none() && !self.has_one_cluster() {
                return None;
            }
            touches.push(Touch { buffer: store.buffer, stores: true, own: form.is_some_and(|form| form.own) });
        }
        for id in phase.kernel.live_exprs() {
            let ExprKind::Load(access) = &phase.kernel.exprs.get(id).kind else { continue };
            let Some(form) = forms.get(&access.buffer) else { continue };
            let found = form.as_ref().and_then(|form| Some((form, phase.beyond(&access.offset, form)?)));
            let is_in_row = found.as_ref().is_some_and(|(form, distance)| {
                let range = ranges.range(distance);
                range.min >= 0 && range.max < form.columns.end - form.columns.start
            });
            if !is_in_row && !self.has_one_cluster() {
                return None;
            }
            let own = found.is_some_and(|(form, distance)| form.own && self.is_own(phase, &distance, form));
            touches.push(Touch { buffer: access.buffer, stores: false, own });
        }
        let weights = phase.product.as_ref().map(|product| phase.kernel.exprs.reached([product.weights]));
        for id in weights.into_iter().flatten() {
            // What stays may not change from turn to turn, nor from row to row.
            let expr = phase.kernel.exprs.get(id);
            let changes = expr.kind.dims().iter().any(|dim| {
                let of_row = phase.row.as_ref().is_some_and(|row| dim.mentions(&row.index));
                of_row || phase.by_program(dim).mentions(&self.index)
            });
            if changes || matches!(&expr.kind, ExprKind::Load(access) if self.stored.contains(&access.buffer)) {
                return None;
            }
        }
        Some(touches)
    }

    /// Whether no row is another cluster's.
    fn has_one_cluster(&self) -> bool {
        self.rows.as_const().is_some_and(|rows| rows <= MOST_ROWS)
    }

    /// Whether a load so far from the base is of what the thread itself stores.
    fn is_own(&self, phase: &Phase, distance: &Dim, form: &Form) -> bool {
        let Some(column) = &phase.column else { return false };
        let units = distance.linear_in(&column.index).filter(|(step, _)| step.is(1)).and_then(|(_, distance)| distance.as_const());
        units.is_some_and(|away| {
            away >= 0 && away % self.units == 0 && away + phase.times * self.units <= form.columns.end - form.columns.start
        })
    }
}

impl Phase {
    fn form(&self, store: &Store, ranges: &Ranges) -> Option<Form> {
        let (stride, rest) = self.parts(&store.offset)?;
        let axes: Vec<&Axis> = self.kernel.axes();
        let without = |dim: &Dim, is_gone: &dyn Fn(&Symbol) -> bool| dim.substitute(&|symbol| is_gone(symbol).then_some(Dim::ZERO));
        let begin = without(&rest, &|symbol| axes.iter().any(|axis| axis.index == *symbol));
        let columns = rest - &begin;
        let first = without(&begin, &|_| true).as_const()?;
        let names_values = begin.symbols().iter().chain(&columns.symbols()).any(|symbol| ExprId::of_symbol(symbol).is_some());
        let range = ranges.range(&columns);
        if names_values || store.combine.is_some() || range.min < 0 || range.max == i64::MAX {
            return None;
        }
        let own = self.column.as_ref().is_some_and(|column| columns == Dim::from(column.index.clone()));
        Some(Form { stride, base: begin - Dim::from(first), columns: first..first + range.max + 1, own })
    }

    /// What a row adds to an offset, and the rest, by the names of the program's loops.
    fn parts(&self, offset: &Dim) -> Option<(Dim, Dim)> {
        let offset = self.by_program(offset);
        match &self.row {
            Some(row) => offset.linear_in(&row.index),
            None => Some((Dim::ZERO, offset)),
        }
    }

    /// How far a load is from where the stores of its row begin; none where rows lie otherwise.
    fn beyond(&self, offset: &Dim, form: &Form) -> Option<Dim> {
        let (stride, rest) = self.parts(offset)?;
        (stride == form.stride).then(|| rest - &form.base - Dim::from(form.columns.start))
    }
}
