//! Rows far from each other, which no hardware foresees, are asked for before they are needed.
//!
//! What the epilogue of a tile reads and writes is asked for while sums are computed, else each tile would wait at its end. One row
//! at a time, since what is asked for all at once holds up what the sums read; and at twice the pace of the tile, so that a tile's
//! second half asks for what the next one needs.

use super::context::{Base, Context};
use super::offsets::{Address, times};
use super::tile::Tile;
use crate::kernel::{BufferId, ExprId, ExprKind};
use crate::tile::{Builder, Reg, Type};
use kiln_ir::{Dim, Symbol};
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

/// Where rows lie: an offset that mentions the index of rows, and that of columns without a factor.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    buffer: BufferId,
    offset: Dim,
    is_stored: bool,
}

impl Place {
    fn of(buffer: BufferId, offset: &Dim, row: &Symbol, column: &Symbol, is_stored: bool) -> Option<Place> {
        let gathers = offset.symbols().iter().any(|s| ExprId::of_symbol(s).is_some());
        let step = offset.linear_in(column).map(|(step, _)| step);
        let is_row = !gathers && offset.mentions(row) && step.is_some_and(|step| step.is(1));
        is_row.then(|| Place { buffer, offset: offset.clone(), is_stored })
    }
}

/// The rows that values are made of.
fn rows_read(cx: &Context, values: impl Iterator<Item = ExprId>, row: &Symbol, column: &Symbol) -> BTreeSet<Place> {
    let place = |id| match &cx.exprs.get(id).kind {
        ExprKind::Load(access) if access.bounds.is_empty() => Place::of(access.buffer, &access.offset, row, column, false),
        _ => None,
    };
    cx.exprs.reached(values).into_iter().filter_map(place).collect()
}

/// Asks for `columns` columns, from the one that `column` stands for, of the rows that the value is made of and that are at
/// `rows` of the index `row`.
pub(super) fn ask_for_rows(
    cx: &mut Context,
    b: &mut Builder,
    value: ExprId,
    (row, rows): (&Symbol, &[Dim]),
    (column, columns): (&Symbol, i64),
) {
    for Place { buffer, offset, is_stored } in rows_read(cx, std::iter::once(value), row, column) {
        let size = cx.program.buffer(buffer).dtype.size_bytes();
        for at in rows {
            cx.replaced(row, at.clone(), |cx| {
                let first = cx.resolve(&offset);
                let first = cx.address(b, Base::Buffer(buffer), &first, size as u32);
                for line in 0..lines(columns, size) {
                    b.prefetch(first.reg, first.offset + (line * LINE_BYTES) as i32, is_stored);
                }
            });
        }
    }
}

fn lines(columns: i64, size: usize) -> i64 {
    (columns * size as i64 + LINE_BYTES - 1) / LINE_BYTES
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
            Some(Row { first, stride, lines: lines(self.columns, size), is_stored })
        });
        Ahead { rows: rows_ahead.collect(), rate: 2 * ((rows as i64) << DIGITS) / steps }
    }

    /// Rows of the epilogue that differ from one row of the tile to the next.
    fn places_of_rows(&self, cx: &Context) -> BTreeSet<Place> {
        let e = &self.epilogue;
        let (row, column) = (&e.row.index, &e.column.index);
        let mut rows = rows_read(cx, e.stores.iter().map(|store| store.value), row, column);
        rows.extend(e.stores.iter().filter_map(|store| Place::of(store.buffer, &store.offset, row, column, true)));
        rows
    }
}
