//! The stages of a nest at one point: sweeps, running combinations, and loops over inner axes.
//!
//! What whole vectors leave over of an axis is one more vector, some lanes of which are left out, where all that is read and written
//! lies side by side ([`masks_rest`]); else vectors of fewer lanes, then element by element.

use super::context::Context;
use super::fold::Fold;
use super::nest::Work;
use super::plan::{inner_axis, masks_rest};
use super::reduce;
use crate::kernel::{Axis, Stage, Store};
use crate::tile::{Builder, Reg};
use kiln_ir::{Dim, Symbol};

/// Emits one stage; `lanes` when it may use an inner axis for vectors of so many lanes.
pub(super) fn emit(cx: &mut Context, b: &mut Builder, work: &Work, lanes: Option<u32>) {
    let inner = lanes.and_then(|lanes| Some((inner_axis(cx, work, lanes)?.0, lanes)));
    match work {
        Work::Stage(Stage::Sweep { axes, stores }) => sweep(cx, b, axes, stores, inner),
        Work::Stage(Stage::Reduce { axes, reductions }) => match inner {
            Some((_, lanes)) => reduce::along_last(cx, b, axes, reductions, lanes),
            None => reduce::point_by_point(cx, b, axes, reductions),
        },
        Work::Stage(Stage::Running { axis, descending, exclusive, reduction, store }) => {
            let fold = Fold::new(reduction, cx.exprs.get(reduction.value).dtype);
            running(cx, b, axis, (*descending, *exclusive), fold, reduction.value, store);
        }
        Work::Dot { axes, chunk, lhs, rhs } => super::dot::dot(cx, b, axes, *chunk, *lhs, *rhs),
    }
}

fn sweep(cx: &mut Context, b: &mut Builder, axes: &[Axis], stores: &[Store], inner: Option<(usize, u32)>) {
    let store_all = |cx: &mut Context, b: &mut Builder| {
        // A store may overwrite what the value of another is made of.
        for store in stores {
            cx.eval(b, store.value);
        }
        for store in stores {
            cx.store(b, store);
        }
    };
    let Some((place, lanes)) = inner else {
        over(cx, b, axes, &[], &mut |cx, b, _| {
            store_all(cx, b);
            vec![]
        });
        return;
    };
    let mut others = axes.to_vec();
    let axis = others.remove(place);
    over(cx, b, &others, &[], &mut |cx, b, _| {
        let masks = masks_rest(cx, &stores.iter().map(|s| s.value).collect::<Vec<_>>(), stores, &axis.index);
        along_axis(cx, b, &axis, (&Dim::ZERO, &axis.extent), (lanes, masks), &mut |cx, b| store_all(cx, b));
        vec![]
    });
}

/// What a loop does in each turn: carried values to those of the next turn.
pub(super) type LoopBody<'a> = dyn FnMut(&mut Context, &mut Builder, &[Reg]) -> Vec<Reg> + 'a;

/// Loops over all points of `axes`, the last one innermost, carrying values.
pub(super) fn over(cx: &mut Context, b: &mut Builder, axes: &[Axis], init: &[Reg], body: &mut LoopBody) -> Vec<Reg> {
    let [axis, rest @ ..] = axes else { return body(cx, b, init) };
    cx.when_nonempty(b, &axis.extent, init, |cx, b| {
        let (start, end) = (cx.index(b, &Dim::ZERO), cx.index(b, &axis.extent));
        cx.counted(b, &axis.index, start, end, 1, init, |cx, b, carried| over(cx, b, rest, carried, body))
    })
}

/// The fewest lanes that vectors for the rest of an axis have: 128 bits of 32-bit lanes, which every unit computes at once.
const FEWEST_LANES: u32 = 4;

/// Lanes of the vectors that take what is left behind vectors of `lanes`: each half of the one before, so that each is met at most once.
fn narrower(lanes: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(lanes / 2), |lanes| Some(lanes / 2)).take_while(|lanes| *lanes >= FEWEST_LANES)
}

/// Whether a vector of so many lanes may fit into what vectors of `behind` lanes leave over of an axis.
fn fits_rest(cx: &Context, extent: &Dim, behind: u32, lanes: u32) -> bool {
    match cx.resolve(extent).as_const() {
        Some(n) => n % i64::from(behind) >= i64::from(lanes),
        None => has_rest(cx, extent, behind),
    }
}

/// Runs `body` over `start..end` of an axis: with lanes while whole vectors fit, then once with the lanes that are left if it is to
/// mask them; else with fewer lanes while those fit, then once per element. `start` is a multiple of the lanes.
pub(super) fn along_axis(
    cx: &mut Context,
    b: &mut Builder,
    axis: &Axis,
    (start, end): (&Dim, &Dim),
    (lanes, masks): (u32, bool),
    body: &mut dyn FnMut(&mut Context, &mut Builder),
) {
    cx.when_nonempty(b, &axis.extent, &[], |cx, b| {
        let (first, last) = (cx.index(b, start), cx.index(b, end));
        let whole = whole_vectors(cx, b, end, lanes);
        let vectors = Symbol::new(&format!("{}v", axis.index));
        cx.ranges.set_index(vectors.clone(), axis.extent.clone());
        if end.as_const().is_none_or(|n| n >= i64::from(lanes)) {
            cx.counted(b, &vectors, first, whole, i64::from(lanes), &[], |cx, b, _| {
                cx.vectored(&axis.index, Dim::from(vectors.clone()), lanes, |cx| body(cx, b));
                vec![]
            });
        }
        if masks {
            if has_rest(cx, &axis.extent, lanes) {
                let index = Symbol::new(&format!("{}r", axis.index));
                cx.ranges.set_index(index.clone(), axis.extent.clone());
                rest(cx, b, &index, end, lanes, &[], &mut |cx, b, first, _| {
                    cx.vectored(&axis.index, first, lanes, |cx| body(cx, b));
                    vec![]
                });
            }
            return vec![];
        }
        let mut done = whole;
        for fewer in narrower(lanes) {
            if fits_rest(cx, &axis.extent, 2 * fewer, fewer) {
                let index = Symbol::new(&format!("{}v{fewer}", axis.index));
                cx.ranges.set_index(index.clone(), axis.extent.clone());
                let next = whole_vectors(cx, b, end, fewer);
                cx.counted(b, &index, done, next, i64::from(fewer), &[], |cx, b, _| {
                    cx.vectored(&axis.index, Dim::from(index.clone()), fewer, |cx| body(cx, b));
                    vec![]
                });
                done = next;
            }
        }
        if has_rest(cx, &axis.extent, lanes.min(FEWEST_LANES)) {
            cx.counted(b, &axis.index, done, last, 1, &[], |cx, b, _| {
                body(cx, b);
                vec![]
            });
        }
        vec![]
    });
}

/// What happens to the rest of an axis: its first element and the carried values are given.
pub(super) type RestBody<'a> = dyn FnMut(&mut Context, &mut Builder, Dim, &[Reg]) -> Vec<Reg> + 'a;

/// Runs `body` once for what whole vectors of `lanes` leave over of an axis up to `end`, with the lanes that there are, if there is
/// any. `index` is a name for the first element.
pub(super) fn rest(
    cx: &mut Context,
    b: &mut Builder,
    index: &Symbol,
    end: &Dim,
    lanes: u32,
    init: &[Reg],
    body: &mut RestBody,
) -> Vec<Reg> {
    let end = cx.resolve(end);
    match end.as_const().map(|n| (n, n % i64::from(lanes))) {
        Some((_, 0)) => init.to_vec(),
        Some((n, left)) => {
            let active = cx.first_lanes(b, &Dim::from(left), lanes);
            cx.with_active(active, |cx| body(cx, b, Dim::from(n - left), init))
        }
        None => {
            let (whole, last) = (whole_vectors(cx, b, &end, lanes), cx.index_value(b, &end).reg);
            cx.counted(b, index, whole, last, i64::from(lanes), init, |cx, b, carried| {
                let first = Dim::from(index.clone());
                let active = cx.first_lanes(b, &(&end - &first), lanes);
                cx.with_active(active, |cx| body(cx, b, first, carried))
            })
        }
    }
}

/// `end` without what is left over after whole vectors.
pub(super) fn whole_vectors(cx: &mut Context, b: &mut Builder, end: &Dim, lanes: u32) -> Reg {
    let lanes = i64::from(lanes);
    let end = cx.resolve(end);
    match end.as_const() {
        Some(n) => cx.index(b, &Dim::from(n - n % lanes)),
        None => {
            let end = cx.index_value(b, &end).reg;
            let mask = b.index(-lanes);
            b.and(end, mask)
        }
    }
}

/// Whether elements may be left over after whole vectors.
pub(super) fn has_rest(cx: &Context, extent: &Dim, lanes: u32) -> bool {
    let lanes = i64::from(lanes);
    !cx.resolve(extent).terms().iter().all(|t| t.coefficient % lanes == 0)
}

fn running(
    cx: &mut Context,
    b: &mut Builder,
    axis: &Axis,
    (descending, exclusive): (bool, bool),
    fold: Fold,
    value: crate::kernel::ExprId,
    store: &Store,
) {
    let lanes = cx.lanes.as_ref().map_or(1, |l| l.1);
    let init = fold.identity(b, lanes);
    let turn = Symbol::new(&format!("{}t", axis.index));
    cx.ranges.set_index(turn.clone(), axis.extent.clone());
    let step = Dim::from(turn.clone());
    let place = if descending { &axis.extent - Dim::ONE - step } else { step };
    let state = cx.when_nonempty(b, &axis.extent, &init, |cx, b| {
        let (start, end) = (cx.index(b, &Dim::ZERO), cx.index(b, &axis.extent));
        cx.counted(b, &turn, start, end, 1, &init, |cx, b, state| {
            cx.replaced(&axis.index, place, |cx| {
                let new = reduce::stepped(cx, b, fold, value, state, &Dim::from(axis.index.clone()), lanes);
                let seen = fold.finish(b, if exclusive { state } else { &new });
                let level = cx.top();
                cx.accumulators.push(super::context::Value { reg: seen, level });
                cx.store(b, store);
                cx.accumulators.pop();
                new
            })
        })
    });
    let total = fold.finish(b, &state);
    let level = cx.top();
    cx.accumulators.push(super::context::Value { reg: total, level });
}
