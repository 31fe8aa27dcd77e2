//! What phases of a loop need of each other: where the blocks of a cluster have to meet.
//!
//! Stores go to `row · stride + base` and some columns on. Where these are the phase's own columns, a load of the same row, and of a
//! column that is as many units away as goes, is of what the same thread stores. Everything else that is stored in the loop and loaded in
//! it is another thread's, and must be of the same row where there are several clusters.

use super::{MOST_ROWS, OwnLoad, PersistentLoop, Phase};
use crate::kernel::{Access, Axis, BufferId, BufferKind, ExprId, ExprKind, Program, Step, Store};
use crate::lower::rewrite::ranges_of;
use crate::lower::sizes_around;
use kiln_ir::{Dim, Ranges, Symbol};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Whether it is a part of the state that a product takes, before the phase does anything else.
    taken: bool,
}

/// Whether some of both have to come one after the other for all threads.
fn conflict<'a>(earlier: impl Iterator<Item = &'a Touch>, later: impl IntoIterator<Item = &'a Touch>) -> bool {
    let later: Vec<&Touch> = later.into_iter().collect();
    earlier.into_iter().any(|earlier| later.iter().any(|touch| touch.conflicts(earlier)))
}

/// Blocks meet, where one of these comes after one of what was since they met last.
fn meet<'a>(meets: &mut bool, since: &mut Vec<&'a Touch>, own: Vec<&'a Touch>) {
    *meets |= conflict(since.iter().copied(), own.iter().copied());
    if *meets {
        since.clear();
    }
    since.extend(own);
}

impl Touch {
    /// Whether the phases of both have to come one after the other for all threads.
    fn conflicts(&self, other: &Touch) -> bool {
        self.buffer == other.buffer && (self.stores || other.stores) && !(self.own && other.own)
    }
}

impl PersistentLoop {
    /// Finds before which phases blocks meet, and what stays in registers; none where rows of different clusters would need each other.
    pub(super) fn find_dependences(&mut self, step: &Step, program: &Program) -> Option<()> {
        let ranges: Vec<Ranges> =
            self.phases.iter().map(|phase| ranges_of(&phase.kernel, &sizes_around(program, &phase.loop_indices))).collect();
        let forms = self.forms(&ranges);
        let touches = self.phases.iter().zip(&ranges).map(|(phase, ranges)| self.touches(phase, &forms, ranges));
        let touches = touches.collect::<Option<Vec<Vec<Touch>>>>()?;
        self.find_groups(&touches);
        self.find_meetings(&touches);
        self.find_registers(&forms, step, program);
        Some(())
    }

    /// Finds which phases go through rows and units together: those of which none needs what another thread does in another.
    fn find_groups(&mut self, touches: &[Vec<Touch>]) {
        let kind = |phase: &Phase| (phase.column.is_some(), phase.simple_stores().is_some());
        let mut first = 0;
        for at in 0..self.phases.len() {
            let goes_on = kind(&self.phases[at]) == kind(&self.phases[first])
                && self.phases[at].simple_stores().is_some()
                && self.phases[at].product.is_none()
                && !conflict(touches[first..at].iter().flatten().filter(|touch| !touch.taken), &touches[at]);
            self.phases[at].begins = at == 0 || !goes_on;
            if self.phases[at].begins {
                first = at;
            }
        }
    }

    /// Finds where blocks meet: before a state is taken, and before what a group does at rows and units.
    fn find_meetings(&mut self, touches: &[Vec<Touch>]) {
        let mut since: Vec<&Touch> = Vec::new();
        // Once for the first turn, once for what it leaves to the next one.
        for _ in 0..2 {
            let mut rest = &mut self.phases[..];
            let mut touches = touches;
            while !rest.is_empty() {
                let length = 1 + rest[1..].iter().take_while(|phase| !phase.begins).count();
                let (group, later) = rest.split_at_mut(length);
                let (of_group, of_later) = touches.split_at(length);
                let (taken, others): (Vec<&Touch>, Vec<&Touch>) = of_group.iter().flatten().partition(|touch| touch.taken);
                if let Some(product) = &mut group[0].product {
                    meet(&mut product.meets, &mut since, taken);
                }
                meet(&mut group[0].meets, &mut since, others);
                (rest, touches) = (later, of_later);
            }
        }
    }

    /// Finds what a thread loads that it has stored in the same turn, and what needs no other place than registers therefore.
    fn find_registers(&mut self, forms: &BTreeMap<BufferId, Option<Form>>, step: &Step, program: &Program) {
        let units = self.units;
        for phase in &mut self.phases {
            let slot = |store: &&Store| phase.slot(&store.offset, forms.get(&store.buffer)?.as_ref()?, units);
            let slots: Vec<Option<i64>> = phase.kernel.stores().iter().map(slot).collect();
            let own = |id: ExprId| match &phase.kernel.exprs.get(id).kind {
                ExprKind::Load(access) if access.bounds.is_empty() => {
                    let slot = phase.slot(&access.offset, forms.get(&access.buffer)?.as_ref()?, units)?;
                    Some(OwnLoad { access: access.clone(), slot })
                }
                _ => None,
            };
            let loads = phase.kernel.live_exprs().into_iter().filter_map(own).collect();
            (phase.own_loads, phase.store_slots) = (loads, slots);
        }
        let touches = |step: &Step, found: &mut BTreeMap<BufferId, usize>| {
            step.visit_kernels(&mut |kernel| {
                let stored = kernel.stores().into_iter().map(|store| store.buffer).collect::<BTreeSet<_>>();
                kernel.loads().into_iter().chain(stored).for_each(|id| *found.entry(id).or_default() += 1);
            });
        };
        let (mut here, mut all) = (BTreeMap::new(), BTreeMap::new());
        touches(step, &mut here);
        program.prepare.iter().chain(&program.steps).for_each(|step| touches(step, &mut all));
        let is_local = |id: &BufferId| program.buffer(*id).kind == BufferKind::Temporary && here.get(id) == all.get(id);
        self.private = self.stored.iter().copied().filter(|id| is_local(id) && self.is_in_registers(*id)).collect();
    }

    /// Whether all loads of a buffer are of what the thread stored just before.
    fn is_in_registers(&self, id: BufferId) -> bool {
        let mut held: BTreeSet<i64> = BTreeSet::new();
        let mut stored = false;
        for phase in &self.phases {
            if phase.begins {
                held.clear();
            }
            for access in phase.loads_of(id) {
                let own = phase.own_loads.iter().find(|own| own.access == *access);
                if !own.is_some_and(|own| (0..phase.times).all(|time| held.contains(&(own.slot + time)))) {
                    return false;
                }
            }
            for (store, slot) in phase.kernel.stores().into_iter().zip(&phase.store_slots).filter(|(store, _)| store.buffer == id) {
                let (Some(slot), None, true) = (slot, store.combine, phase.simple_stores().is_some()) else { return false };
                held.extend((0..phase.times).map(|time| slot + time));
                stored = true;
            }
        }
        stored
    }

    /// Where stores of each buffer go, where all of them go alike.
    fn forms(&self, ranges: &[Ranges]) -> BTreeMap<BufferId, Option<Form>> {
        let mut forms: BTreeMap<BufferId, Option<Form>> = BTreeMap::new();
        for (phase, ranges) in self.phases.iter().zip(ranges) {
            for store in phase.kernel.stores() {
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
        for store in phase.kernel.stores() {
            let form = forms[&store.buffer].as_ref();
            if form.is_none() && !self.has_one_cluster() {
                return None;
            }
            touches.push(Touch { buffer: store.buffer, stores: true, own: form.is_some_and(|form| form.own), taken: false });
        }
        let reached = |ids: Vec<ExprId>| phase.kernel.exprs.reached(ids);
        let taken = reached(phase.product.iter().map(|product| product.state).collect());
        let at_points = reached(phase.kernel.stores().iter().map(|store| store.value).collect());
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
            let own = form.as_ref().is_some_and(|form| phase.slot(&access.offset, form, self.units).is_some());
            if taken.contains(&id) {
                touches.push(Touch { buffer: access.buffer, stores: false, own: false, taken: true });
            }
            if !taken.contains(&id) || at_points.contains(&id) {
                touches.push(Touch { buffer: access.buffer, stores: false, own, taken: false });
            }
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

    /// Which of its unit's columns an offset is of in the first of the phase's columns, where threads store what belongs to their units.
    fn slot(&self, offset: &Dim, form: &Form, units: i64) -> Option<i64> {
        let (step, away) = self.beyond(offset, form)?.linear_in(&self.column.as_ref()?.index)?;
        let away = away.as_const()?;
        let is_inside = away >= 0 && away + self.times * units <= form.columns.end - form.columns.start;
        (form.own && step.is(1) && is_inside && away % units == 0).then_some(away / units)
    }

    fn loads_of(&self, id: BufferId) -> Vec<&Access> {
        let live = self.kernel.live_exprs().into_iter();
        let loads = live.filter_map(|expr| match &self.kernel.exprs.get(expr).kind {
            ExprKind::Load(access) if access.buffer == id => Some(access),
            _ => None,
        });
        loads.collect()
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
