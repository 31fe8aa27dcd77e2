//! Rows that are brought to shared memory once, from where every stage reads them: rows so long that registers for them would leave
//! room for a block or two on a multiprocessor, which then waits for memory in every stage.
//!
//! Memory is copied in pieces of 16 bytes, in the background, wherever a row begins: what lies before it in its first piece comes along.

use super::strides::is_multiple;
use super::teams::TeamStage;
use crate::kernel::{Access, Axis, ExprId, ExprKind, Kernel, Program};
use crate::lower::context::{Base, Context, Elsewhere};
use crate::tile::{Builder, CooperativeStmt, Lane, Reg};
use kiln_ir::{DType, Dim, Symbol};
use std::collections::BTreeSet;

/// Bytes of a piece.
const PIECE: i64 = 16;
/// Bytes of shared memory for rows: so that a multiprocessor has room for at least two blocks.
const MOST_BYTES: i64 = 100 << 10;

/// A row of a buffer along an axis of known extent.
pub(super) struct CopiedRow {
    access: Access,
    axis: Axis,
    dtype: DType,
    /// Offset of its first element.
    first: Dim,
    elements: i64,
}

/// The rows that differ from point to point and that stages read along their only axis; none where they are too long.
pub(super) fn rows(kernel: &Kernel, program: &Program, parallel: &[Axis], stages: &[TeamStage]) -> Vec<CopiedRow> {
    let axes: Vec<&Axis> = stages
        .iter()
        .filter_map(|stage| match stage {
            TeamStage::Reduce { axis, .. } => Some(axis),
            TeamStage::Sweep { axis, .. } => axis.as_ref(),
        })
        .collect();
    let Some((axis, others)) = axes.split_first() else { return vec![] };
    let Some(elements) = axis.extent.as_const().filter(|_| others.iter().all(|other| other.index == axis.index)) else { return vec![] };
    let stored: BTreeSet<_> = kernel.stores().iter().map(|store| store.buffer).collect();
    let mut rows: Vec<CopiedRow> = Vec::new();
    for (_, expr) in kernel.exprs.iter() {
        let ExprKind::Load(access) = &expr.kind else { continue };
        let Some((step, first)) = access.offset.linear_in(&axis.index) else { continue };
        let differs = parallel.iter().any(|axis| first.mentions(&axis.index));
        let depends_on_data = first.symbols().iter().any(|symbol| ExprId::of_symbol(symbol).is_some());
        let is_known = stored.contains(&access.buffer) || rows.iter().any(|row| row.access == *access);
        if step.is(1) && differs && !depends_on_data && !is_known && access.bounds.is_empty() {
            let dtype = program.buffer(access.buffer).dtype;
            rows.push(CopiedRow { access: access.clone(), axis: (*axis).clone(), dtype, first, elements });
        }
    }
    let fits = rows.iter().map(CopiedRow::bytes).fold(0, i64::saturating_add) <= MOST_BYTES;
    if fits { rows } else { vec![] }
}

impl CopiedRow {
    fn is_aligned(&self) -> bool {
        is_multiple(&self.first, PIECE / self.dtype.size_bytes() as i64)
    }

    fn length(&self) -> i64 {
        self.elements.saturating_mul(self.dtype.size_bytes() as i64)
    }

    /// Pieces of it, at most.
    fn pieces(&self) -> i64 {
        let before = if self.is_aligned() { 0 } else { PIECE - 1 };
        self.length().saturating_add(before + PIECE - 1) / PIECE
    }

    /// Bytes of shared memory.
    fn bytes(&self) -> i64 {
        self.pieces().saturating_mul(PIECE)
    }

    /// Where it is read.
    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// Begins to copy it by as many threads as `threads` says, which have `#x` as their numbers; gives where its elements will be.
    pub(super) fn begin(&self, cx: &mut Context, b: &mut Builder, threads: i64) -> Elsewhere {
        let place = cx.at_level(b, 0, |_, b| b.shared(self.bytes() as u32, PIECE as u32));
        let first = cx.resolve(&self.first);
        let from = cx.address(b, Base::Buffer(self.access.buffer), &first, self.dtype.size_bytes() as u32);
        let from = b.add_int(from.reg, i64::from(from.offset));
        let low = b.index(PIECE - 1);
        let before = (!self.is_aligned()).then(|| b.and(from, low));
        let begin = before.map_or(from, |before| b.sub(from, before));
        let length = b.index(self.length());
        let end = before.map_or(length, |before| b.add(before, length));
        let is_whole = self.is_aligned() && self.length() % PIECE == 0;
        let piece = Symbol::new("#piece");
        cx.ranges.set_index(piece.clone(), Dim::from(self.pieces()));
        let (own, pieces) = (cx.index(b, &Dim::symbol("#x")), b.index(self.pieces()));
        cx.counted(b, &piece, own, pieces, threads, &[], |cx, b, _| {
            let skipped = cx.index(b, &(Dim::from(piece.clone()) * Dim::from(PIECE)));
            let (to, from) = (b.add(place, skipped), b.add(begin, skipped));
            let bytes = (!is_whole).then(|| {
                let left = b.sub(end, skipped);
                let (none, all) = (b.index(0), b.index(PIECE));
                let left = b.max_s(left, none);
                let left = b.min_s(left, all);
                b.wrap(left, Lane::I32)
            });
            b.together(CooperativeStmt::Copy { to, to_offset: 0, from, from_offset: 0, bytes });
            vec![]
        });
        let reg: Reg = before.map_or(place, |before| b.add(place, before));
        Elsewhere { access: self.access.clone(), base: Base::Own(reg, cx.top()), offset: Dim::from(self.axis.index.clone()) }
    }
}
