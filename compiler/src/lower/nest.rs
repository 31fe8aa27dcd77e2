//! Nests: parallel points become tasks, stages become loops.
//!
//! Tasks are the parallel points except those along the vectorised axis, which a task runs through in blocks.

use super::access::along;
use super::columns::Columns;
use super::context::Context;
use super::plan::{self, Mode, masks_rest};
use super::shared_loads::SharedLoads;
use super::tasks::for_each_task;
use super::transposed::Transposed;
use crate::kernel::{Axis, ExprId, Stage, Store};
use crate::tile::{Builder, Reg};
use crate::tuning::Asking;
use kiln_ir::{Dim, Symbol};

/// What happens at one parallel point.
pub(super) enum Work {
    /// A stage of a nest.
    Stage(Stage),
    /// The canonical sum of products of a contraction, without panels: makes the next accumulator.
    Dot { axes: Vec<Axis>, chunk: i64, lhs: ExprId, rhs: ExprId },
}

/// How a kernel is split into tasks.
pub(super) struct Tasks {
    /// How many.
    pub count: Dim,
    /// Rough scalar operations of one.
    pub work: Dim,
}

/// Elements along the vectorised axis that one task takes, where there are many: a multiple of every lane count.
const BLOCK: i64 = 2048;

/// Scalar operations that a task made of several points does at most.
const TASK_WORK: i64 = 1 << 15;
/// Tasks that are left for threads to share.
const ENOUGH_TASKS: i64 = 16;

/// Emits a nest.
pub(super) fn lower_nest(cx: &mut Context, b: &mut Builder, parallel: &[Axis], works: &[Work], serial: bool, asking: &mut Asking) -> Tasks {
    let work = Dim::sum(&works.iter().map(|w| work_of(cx, w)).collect::<Vec<_>>());
    if cx.isa.is_thread() && !serial {
        let parallel = neighbours_last(parallel, works);
        let lanes = super::blocks::neighbours::lanes(cx, &parallel, works);
        let (Some(lanes), Some((axis, others))) = (lanes, parallel.split_last()) else {
            for_each_task(cx, b, &parallel, |cx, b| run(cx, b, works, None));
            return Tasks { count: Dim::product(parallel.iter().map(|a| &a.extent)), work };
        };
        let neighbours = Axis { index: Symbol::new("#neighbours"), extent: axis.extent.ceil_div(&Dim::from(lanes)) };
        let first = Dim::from(neighbours.index.clone()) * Dim::from(lanes);
        let digits = [others, &[neighbours]].concat();
        for_each_task(cx, b, &digits, |cx, b| cx.vectored(&axis.index, first, lanes as u32, |cx| run(cx, b, works, None)));
        return Tasks { count: Dim::product(digits.iter().map(|a| &a.extent)), work: work * Dim::from(lanes) };
    }
    let lanes = lanes(cx, works);
    if serial {
        for_each_task(cx, b, &[], |cx, b| {
            super::stage::over(cx, b, parallel, &[], &mut |cx, b, _| {
                run(cx, b, works, None);
                vec![]
            });
        });
        return Tasks { count: Dim::ONE, work: Dim::product(parallel.iter().map(|a| &a.extent)) * work };
    }
    if let Some(transposed) = Transposed::of(cx, parallel, works, lanes) {
        return transposed.lower(cx, b, &work);
    }
    match plan::choose(cx, parallel, works, lanes, asking) {
        mode @ (Mode::Scalar | Mode::Inner) => {
            let lanes = (mode == Mode::Inner).then_some(lanes);
            let (digits, inner) = split(parallel, &work);
            for_each_task(cx, b, digits, |cx, b| {
                super::stage::over(cx, b, inner, &[], &mut |cx, b, _| {
                    run(cx, b, works, lanes);
                    vec![]
                });
            });
            let inside = Dim::product(inner.iter().map(|a| &a.extent));
            Tasks { count: Dim::product(digits.iter().map(|a| &a.extent)), work: work * inside }
        }
        Mode::Parallel(place) => {
            let mut others = parallel.to_vec();
            let axis = others.remove(place);
            if let Some(columns) = Columns::of(cx, &axis, works, lanes) {
                let size = Dim::from(columns.task_columns());
                let block = Axis { index: Symbol::new("#block"), extent: axis.extent.ceil_div(&size) };
                let first = Dim::from(block.index.clone()) * &size;
                let digits = [others, vec![block]].concat();
                for_each_task(cx, b, &digits, |cx, b| columns.lower(cx, b, &first));
                return Tasks { count: Dim::product(digits.iter().map(|a| &a.extent)), work: work * size };
            }
            let vectors = (lanes, works.iter().all(|work| masks_rest(cx, &work.roots(), work.stores(), &axis.index)));
            if axis.extent.as_const().is_some_and(|n| n <= 2 * BLOCK) {
                if let Some(shared) = SharedLoads::of(&others, &axis, works) {
                    return shared.lower(cx, b, vectors, &work);
                }
                let row = &work * &axis.extent;
                let (digits, inner) = split(&others, &row);
                for_each_task(cx, b, digits, |cx, b| {
                    super::stage::over(cx, b, inner, &[], &mut |cx, b, _| {
                        super::stage::along_axis(cx, b, &axis, (&Dim::ZERO, &axis.extent), vectors, &mut |cx, b| run(cx, b, works, None));
                        vec![]
                    });
                });
                let inside = Dim::product(inner.iter().map(|a| &a.extent));
                return Tasks { count: Dim::product(digits.iter().map(|a| &a.extent)), work: row * inside };
            }
            let block = Axis { index: Symbol::new("#block"), extent: axis.extent.ceil_div(&Dim::from(BLOCK)) };
            let start = Dim::from(block.index.clone()) * Dim::from(BLOCK);
            let end = (&start + Dim::from(BLOCK)).minimum(&axis.extent);
            let digits = [others, vec![block]].concat();
            for_each_task(cx, b, &digits, |cx, b| {
                super::stage::along_axis(cx, b, &axis, (&start, &end), vectors, &mut |cx, b| run(cx, b, works, None));
            });
            Tasks { count: Dim::product(digits.iter().map(|a| &a.extent)), work: work * Dim::from(BLOCK).minimum(&axis.extent) }
        }
    }
}

/// The axes so that neighbouring threads store neighbours, where an axis is known along which all stores go to the neighbour.
fn neighbours_last(parallel: &[Axis], works: &[Work]) -> Vec<Axis> {
    let stores: Vec<&Store> = works.iter().flat_map(|work| if let Work::Stage(stage) = work { stage.stores() } else { &[] }).collect();
    let near = |axis: &Axis| {
        let moves = |store: &&Store| along(&store.offset, &axis.index, &|s: &Symbol| *s == axis.index);
        stores.iter().all(|store| moves(store).is_some_and(|moves| moves.step.is(1)))
    };
    let mut axes = parallel.to_vec();
    if let Some(at) = axes.iter().rposition(near).filter(|_| !stores.is_empty()) {
        let axis = axes.remove(at);
        axes.push(axis);
    }
    axes
}

/// Splits parallel axes into those that number tasks and the last ones, which each task runs through itself: as many as keep a task
/// small, with tasks left for several threads. What depends on the outer ones is then computed once a task.
pub(super) fn split<'a>(parallel: &'a [Axis], work: &Dim) -> (&'a [Axis], &'a [Axis]) {
    let Some(mut work) = work.as_const() else { return (parallel, &[]) };
    let mut tasks = parallel.len();
    while let Some((last, others)) = parallel[..tasks].split_last() {
        // Sizes that are not known count as 1: a batch often is.
        let left = others.iter().map(|a| at_ones(&a.extent).max(1)).fold(1, i64::saturating_mul);
        let Some(extent) = last.extent.as_const().filter(|n| *n > 0) else { break };
        if work.saturating_mul(extent) > TASK_WORK || left < ENOUGH_TASKS {
            break;
        }
        work *= extent;
        tasks -= 1;
    }
    parallel.split_at(tasks)
}

/// What a polynomial is where every symbol is 1.
fn at_ones(extent: &Dim) -> i64 {
    extent.terms().iter().map(|t| t.coefficient).fold(0, i64::saturating_add)
}

/// The stages at one point (or at one point per lane).
pub(super) fn run(cx: &mut Context, b: &mut Builder, works: &[Work], lanes: Option<u32>) {
    let before = std::mem::take(&mut cx.accumulators);
    for work in works {
        super::stage::emit(cx, b, work, lanes);
        cx.next_stage();
    }
    cx.accumulators = before;
}

/// Lanes by the widest element that is loaded, stored or combined.
fn lanes(cx: &Context, works: &[Work]) -> u32 {
    let mut widest = 1;
    for work in works {
        let mut todo = work.roots();
        let mut seen = std::collections::BTreeSet::new();
        while let Some(id) = todo.pop() {
            if seen.insert(id) {
                let dtype = cx.exprs.get(id).dtype;
                widest = widest.max(super::ops::lane_of(dtype).bits().div_ceil(8));
                todo.extend(cx.exprs.operands(id));
            }
        }
    }
    cx.isa.lanes(widest)
}

fn work_of(cx: &Context, work: &Work) -> Dim {
    let each = crate::kernel::cost(&cx.exprs, &work.roots()) + work.stores().len() as i64;
    Dim::product(work.axes().iter().map(|a| &a.extent)) * Dim::from(each.max(1))
}

/// Registers of several states in a row.
pub(super) fn flat(states: &[Vec<Reg>]) -> Vec<Reg> {
    states.iter().flatten().copied().collect()
}
