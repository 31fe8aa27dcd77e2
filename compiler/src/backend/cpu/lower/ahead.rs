//! What the epilogue of a tile will need, asked for while its sums are computed: rows far from each other, which no hardware
//! foresees, would else be waited for at the end of each tile. One row at a time, since what is asked for all at once holds up what
//! the sums read.

use super::context::{Base, Context};
use super::offsets::{Address, times};
use super::tile::Tile;
use crate::backend::cpu::tile::{Builder, Reg, Type};
use crate::kernel::{BufferId, ExprId, ExprKind};
use kiln_ir::Dim;
use std::collections::BTreeSet;

/// Sums of fewer steps are over before memory answers.
const LEAST_POINTS: i64 = 64;
/// Bytes of a cache line.
const LINE_BYTES: i64 = 64;
/// Binary digits of the number of rows that one step of depth asks for.
const DIGITS: i64 = 20;

/// Rows to ask for, spread over the steps of the first depth axis.
#[derive(Default)]
pub(super) struct Ahead {
    rows: Vec<Row>,
    /// Rows per step, in units of 2 to the power of −[`DIGITS`].
    rate: i64,
}

/// Rows of elements side by side, a stride apart.
struct Row {
    first: Address,
    stride: Reg,
    lines: i64,
    is_stored: bool,
}

/// Where a row begins: an offset that mentions the tile's row and column.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    buffer: BufferId,
    offset: Dim,
    is_stored: bool,
}

impl Ahead {
    /// Asks for the row whose turn it is at that step.
    pub(super) fn ask(&self, b: &mut Builder, step: Reg) {
        if self.rows.is_empty() {
            return;
        }
        let scaled = times(b, step, self.rate);
        let digits = b.int(Type::I64, DIGITS);
        let row = b.shr_u(scaled, digits);
        for Row { first, stride, lines, is_stored } in &self.rows {
            let moved = b.mul(row, *stride);
            let at = b.add(first.reg, moved);
            for line in 0..*lines {
                b.prefetch(at, first.offset + (line * LINE_BYTES) as i32, *is_stored);
            }
        }
    }
}

impl Tile<'_> {
    /// What the epilogue of `rows` rows from `row` on will read and write.
    pub(super) fn ahead(&self, cx: &mut Context, b: &mut Builder, row: &Dim, rows: usize) -> Ahead {
        let (Some(points), Some(steps)) = (self.points.as_const(), self.left.steps[0].0.extent.as_const()) else {
            return Ahead::default();
        };
        if points < LEAST_POINTS {
            return Ahead::default();
        }
        let e = &self.epilogue;
        let places = self.places_of_rows(cx);
        let rows_ahead = places.into_iter().filter_map(|Place { buffer, offset, is_stored }| {
            let size = cx.program.buffer(buffer).dtype.size_bytes();
            let (stride, _) = offset.linear_in(&e.row.index)?;
            let stride = cx.resolve(&(stride * Dim::from(size)));
            let stride = cx.index(b, &stride);
            let first = cx.replaced(&e.row.index, row.clone(), |cx| {
                cx.replaced(&e.column.index, e.first_column.clone(), |cx| {
                    let offset = cx.resolve(&offset);
                    cx.address(b, Base::Buffer(buffer), &offset, size as u32)
                })
            });
            let lines = (self.columns * size as i64 + LINE_BYTES - 1) / LINE_BYTES;
            Some(Row { first, stride, lines, is_stored })
        });
        Ahead { rows: rows_ahead.collect(), rate: ((rows as i64) << DIGITS) / steps }
    }

    /// Rows of the epilogue that differ from one row of the tile to the next.
    fn places_of_rows(&self, cx: &Context) -> BTreeSet<Place> {
        let e = &self.epilogue;
        let along_columns = |offset: &Dim| {
            let gathers = offset.symbols().iter().any(|s| ExprId::of_symbol(s).is_some());
            let step = offset.linear_in(&e.column.index).map(|(step, _)| step);
            !gathers && offset.mentions(&e.row.index) && step.is_some_and(|step| step.is(1))
        };
        let mut rows = BTreeSet::new();
        let mut waiting: Vec<ExprId> = e.stores.iter().map(|store| store.value).collect();
        while let Some(id) = waiting.pop() {
            waiting.extend(cx.exprs.operands(id));
            let ExprKind::Load(access) = &cx.exprs.get(id).kind else { continue };
            if access.bounds.is_empty() && along_columns(&access.offset) {
                rows.insert(Place { buffer: access.buffer, offset: access.offset.clone(), is_stored: false });
            }
        }
        for store in e.stores.iter().filter(|store| along_columns(&store.offset)) {
            rows.insert(Place { buffer: store.buffer, offset: store.offset.clone(), is_stored: true });
        }
        rows
    }
}
