//! What phases of a loop need of each other: where the blocks of a cluster have to meet.
//!
//! Stores go to `row · stride + column + base`. A load of the same row, and of a column that is as many units away as goes, is of what the
//! same thread stores. Everything else that is stored in the loop and loaded in it is another thread's, and must be of the same row where
//! there are several clusters.

use super::{MOST_ROWS, PersistentLoop, Phase};
use crate::kernel::{BufferId, ExprId, ExprKind, Program, Store};
use crate::lower::rewrite::ranges_of;
use crate::lower::sizes_around;
use kiln_ir::{Dim, Ranges};
use std::collections::BTreeMap;

/// Where all stores to a buffer go.
#[derive(Clone, PartialEq)]
struct Form {
    stride: Dim,
    base: Dim,
    columns: i64,
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
        let forms = self.forms();
        let touches = self.phases.iter().map(|phase| self.touches(phase, &forms, program)).collect::<Option<Vec<Vec<Touch>>>>()?;
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
    fn forms(&self) -> BTreeMap<BufferId, Option<Form>> {
        let mut forms: BTreeMap<BufferId, Option<Form>> = BTreeMap::new();
        for phase in &self.phases {
            for store in phase.stores() {
                let form = self.form(phase, store);
                let known = forms.entry(store.buffer).or_insert_with(|| form.clone());
                if *known != form {
                    *known = None;
                }
            }
        }
        forms
    }

    fn form(&self, phase: &Phase, store: &Store) -> Option<Form> {
        let (stride, base) = self.parts(phase, &store.offset)?;
        let (columns, base) = match &phase.column {
            Some(column) => (phase.times * self.units, base.linear_in(&column.index).filter(|(step, _)| step.is(1))?.1),
            None => (1, base),
        };
        let is_fixed = base.symbols().iter().all(|symbol| ExprId::of_symbol(symbol).is_none())
            && !phase.kernel.axes().iter().any(|axis| base.mentions(&axis.index));
        (is_fixed && store.combine.is_none()).then_some(Form { stride, base, columns })
    }

    /// What a row adds to an offset, and the rest, by the names of the program's loops.
    fn parts(&self, phase: &Phase, offset: &Dim) -> Option<(Dim, Dim)> {
        let offset = phase.by_program(offset);
        match &phase.row {
            Some(row) => offset.linear_in(&row.index),
            None => Some((Dim::ZERO, offset)),
        }
    }

    fn touches(&self, phase: &Phase, forms: &BTreeMap<BufferId, Option<Form>>, program: &Program) -> Option<Vec<Touch>> {
        let mut touches = Vec::new();
        for store in phase.stores() {
            let own = forms[&store.buffer].is_some();
            if !own && !self.has_one_cluster() {
                return None;
            }
            touches.push(Touch { buffer: store.buffer, stores: true, own });
        }
        let ranges = ranges_of(&phase.kernel, &sizes_around(program, &phase.loop_indices));
        for id in phase.kernel.live_exprs() {
            let ExprKind::Load(access) = &phase.kernel.exprs.get(id).kind else { continue };
            let Some(form) = forms.get(&access.buffer) else { continue };
            let rest = form.as_ref().and_then(|form| self.beyond(phase, &access.offset, form));
            let own = rest.as_ref().is_some_and(|rest| self.is_own(phase, rest, form.as_ref()));
            let in_row = rest.is_some_and(|rest| is_in_row(&rest, form.as_ref(), &ranges));
            if !in_row && !self.has_one_cluster() {
                return None;
            }
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

    /// How far a load is from where the stores of row and column 0 go, without its row; none where rows lie otherwise.
    fn beyond(&self, phase: &Phase, offset: &Dim, form: &Form) -> Option<Dim> {
        let (stride, rest) = self.parts(phase, offset)?;
        (stride == form.stride).then(|| rest - &form.base)
    }

    /// Whether a load so far away is of what the thread itself stores.
    fn is_own(&self, phase: &Phase, rest: &Dim, form: Option<&Form>) -> bool {
        let (Some(form), Some(column)) = (form, &phase.column) else { return false };
        let own = rest.linear_in(&column.index).filter(|(step, _)| step.is(1)).and_then(|(_, distance)| distance.as_const());
        own.is_some_and(|distance| distance >= 0 && distance % self.units == 0 && distance + phase.times * self.units <= form.columns)
    }
}

/// Whether a load so far away is of the same row's.
fn is_in_row(rest: &Dim, form: Option<&Form>, ranges: &Ranges) -> bool {
    let range = ranges.range(rest);
    form.is_some_and(|form| range.min >= 0 && range.max < form.columns)
}
