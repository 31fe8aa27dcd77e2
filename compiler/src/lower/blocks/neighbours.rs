//! Maps by threads of their own: a thread takes neighbouring points, as many as 16 bytes hold, where memory runs along them.
//!
//! Bits do not depend on it. Few points stay with a thread each, so that more threads wait for memory at the same time.

use super::strides::{Moves, moves};
use super::tiles::usual;
use crate::kernel::{Axis, ExprId, ExprKind, Stage};
use crate::lower::access::along;
use crate::lower::context::Context;
use crate::lower::nest::Work;
use kiln_ir::{DType, Dim, Symbol};

/// Bytes that a thread takes at once.
const BYTES: i64 = 16;
/// Neighbours of a thread, at most.
const MOST_LANES: i64 = 8;
/// Fewer points have a thread each.
const MANY_POINTS: i64 = 1 << 15;
/// Expressions of all lanes: more would not stay in registers.
const MOST_VALUES: i64 = 256;

/// How many neighbours along the last axis a thread takes; none where it takes one point.
pub(in crate::lower) fn lanes(cx: &Context, parallel: &[Axis], works: &[Work]) -> Option<i64> {
    let last = parallel.last()?;
    let points = parallel.iter().map(|axis| usual(&axis.extent, cx.program)).fold(1, i64::saturating_mul);
    if points < MANY_POINTS {
        return None;
    }
    let roots: Vec<ExprId> = works.iter().flat_map(Work::roots).collect();
    let reached = cx.exprs.reached(roots.iter().copied());
    let size = |dtype: DType| dtype.size_bytes() as i64;
    let varies = |s: &Symbol| *s == last.index || ExprId::of_symbol(s).is_some_and(|id| cx.exprs.symbols(id).contains(&last.index));
    let (mut largest, mut offsets) = (1, vec![&last.extent]);
    for work in works {
        // Each point of a window is read for all neighbours before the next one.
        let Work::Stage(Stage::Sweep { .. } | Stage::Reduce { .. }) = work else { return None };
        for store in work.stores() {
            let straight = along(&store.offset, &last.index, &varies).filter(|moves| moves.step.is(1) && moves.splits.is_empty());
            if straight.is_none() || store.combine.is_some() {
                return None;
            }
            largest = largest.max(size(cx.program.buffer(store.buffer).dtype));
            offsets.push(&store.offset);
        }
    }
    for id in &reached {
        let ExprKind::Load(access) = &cx.exprs.get(*id).kind else { continue };
        if !cx.exprs.symbols(*id).contains(&last.index) {
            continue;
        }
        match moves(&cx.exprs, *id, &last.index) {
            Moves::Straight => offsets.push(&access.offset),
            // One by one, which still computes once where the first one is.
            Moves::Near => {}
            Moves::Apart => return None,
        }
        largest = largest.max(size(cx.program.buffer(access.buffer).dtype));
    }
    let mut lanes = (BYTES / largest).min(MOST_LANES);
    // Neighbours begin at multiples of their number, in memory too.
    let begins = |lanes: i64| {
        let first = |dim: &Dim| dim.substitute(&|s| (*s == last.index).then_some(Dim::ZERO));
        offsets.iter().all(|dim| first(dim).terms().iter().all(|term| term.coefficient % lanes == 0))
    };
    while lanes > 1 && (lanes * reached.len() as i64 > MOST_VALUES || !begins(lanes)) {
        lanes /= 2;
    }
    (lanes > 1).then_some(lanes)
}
