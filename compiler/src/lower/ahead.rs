//! What no hardware foresees, or foresees too late, is asked for before it is needed.
//!
//! What the epilogue of a tile reads and writes is asked for while sums are computed, else each tile would wait at its end. One row
//! at a time, since what is asked for all at once holds up what the sums read; and at twice the pace of the tile, so that a tile's
//! second half asks for what the next one needs.
//!
//! The tiles of one panel ask together for the next panel, each for as much of it as it has of the rows, so that a matrix of weights
//! comes from memory at an even pace beside the products; the first tile of a panel would else wait for all of it. Where a panel has
//! one tile, memory is what takes the time, and what is asked for is near: the hardware's own streams go on.
//!
//! The next panel is asked for into the second-level cache, or into the first where that answers sooner. Measured on a Zen 5: panels of
//! 32 KiB that tiles of 25 rows multiply come late to the second level, and the product takes 1.4 times as long.

use super::context::{Base, Context};
use super::isa::DEPTH_UNROLL;
use super::offsets::{Address, times};
use super::tile::Tile;
use crate::kernel::{BufferId, ExprId, ExprKind};
use crate::tile::{Builder, Reg, Type, Wanted};
use kiln_ir::{Dim, Symbol};
use std::collections::BTreeSet;

/// Sums of fewer steps are over before memory answers.
const LEAST_POINTS: i64 = 64;
/// Bytes of a cache line.
const LINE_BYTES: i64 = 64;
/// Binary digits of the number of rows that one step of depth asks for.
const DIGITS: i64 = 20;

/// How far ahead a panel of one tile is asked for: measured, 512 to 2048 bytes are alike, and a page's end is a border.
const NEAR_BYTES: i64 = 1024;
/// With more rows, waiting for a panel is little beside what is done with it.
const MANY_ROWS: i64 = 1024;
/// Matrices that stay in the second-level cache beside everything else.
const SMALL_BYTES: i64 = 1 << 17;
/// Matrices that may stay in caches: measured, asking for what is near then takes 6 % more time than it saves.
const MEDIUM_BYTES: i64 = 1 << 21;

/// Rows to ask for, spread over the steps of the first depth axis, and a part of the next panel.
#[derive(Default)]
pub(super) struct Ahead {
    rows: Vec<Row>,
    /// Rows per step, in units of 2 to the power of −[`DIGITS`].
    rate: i64,
    panel: Option<Share>,
}

/// What panels lie like, and which part of its panel a tile is.
#[derive(Clone)]
pub(super) struct Panels {
    /// From one panel to the next, in bytes.
    pub(super) bytes: Dim,
    /// Of all panels.
    pub(super) total_bytes: Dim,
    /// Rows that are taken while one panel is in use.
    pub(super) rows: Dim,
    /// Of these, the rows before the tile's: mentions the index of rows.
    pub(super) before: Dim,
}

impl Panels {
    /// From one panel to the next where that is known, as it is where several are taken beside each other.
    pub(super) fn known_bytes(&self) -> i64 {
        self.bytes.as_const().unwrap_or(0)
    }
}

/// A part of a panel, or of panels beside each other.
struct Share {
    firsts: Vec<Reg>,
    /// Bytes for each step of depth, in units of 2 to the power of −[`DIGITS`].
    rate: Reg,
    /// Lines to ask for at a time.
    lines: i64,
    wanted: Wanted,
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
                    b.prefetch(first.reg, first.offset + (line * LINE_BYTES) as i32, wanted(is_stored));
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
        if !self.rows.is_empty() {
            let scaled = times(b, step, self.rate);
            let digits = b.int(Type::I64, DIGITS);
            let row = b.shr_u(scaled, digits);
            for Row { first, stride, lines, is_stored } in &self.rows {
                let moved = b.mul(row, *stride);
                let at = b.add(first.reg, moved);
                for line in 0..*lines {
                    b.prefetch(at, first.offset + (line * LINE_BYTES) as i32, wanted(*is_stored));
                }
            }
        }
        if let Some(Share { firsts, rate, lines, wanted }) = &self.panel {
            let scaled = b.mul(step, *rate);
            let digits = b.int(Type::I64, DIGITS);
            let moved = b.shr_u(scaled, digits);
            for first in firsts {
                let at = b.add(*first, moved);
                for line in 0..*lines {
                    b.prefetch(at, (line * LINE_BYTES) as i32, *wanted);
                }
            }
        }
    }
}

fn wanted(is_stored: bool) -> Wanted {
    if is_stored { Wanted::ToWrite } else { Wanted::ToRead }
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
        let panel = self.panels.as_ref().and_then(|panels| self.share(cx, b, panels, row, rows as i64, steps));
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
        Ahead { rows: rows_ahead.collect(), rate: 2 * ((rows as i64) << DIGITS) / steps, panel }
    }

    /// The part of the next panel that `rows` rows from `row` on ask for in `steps` steps of depth.
    fn share(&self, cx: &mut Context, b: &mut Builder, panels: &Panels, row: &Dim, rows: i64, steps: i64) -> Option<Share> {
        let is_small = panels.total_bytes.as_const().is_some_and(|bytes| bytes <= SMALL_BYTES);
        if is_small || panels.rows.as_const().is_some_and(|all| all > MANY_ROWS) {
            return None;
        }
        let unroll = if self.left.steps.len() > 1 { 1 } else { DEPTH_UNROLL };
        let step_bytes = self.points.as_const()? / steps * self.panel_step();
        let right = b.add_int(self.right.reg, i64::from(self.right.offset));
        if panels.rows.as_const().is_some_and(|all| all <= rows) {
            if panels.total_bytes.as_const().is_some_and(|bytes| bytes <= MEDIUM_BYTES) {
                return None;
            }
            let rate = b.index(step_bytes << DIGITS);
            let firsts = (0..self.panels_beside()).map(|panel| b.add_int(right, NEAR_BYTES + panel * panels.known_bytes())).collect();
            return Some(Share { firsts, rate, lines: step_bytes * unroll / LINE_BYTES, wanted: Wanted::ToRead });
        }
        let bytes = &panels.bytes * Dim::from(self.panels_beside());
        let row_bytes = bytes.ceil_div(&panels.rows.maximum(&Dim::ONE));
        let begin = cx.replaced(&self.epilogue.row.index, row.clone(), |cx| cx.resolve(&(&bytes + &panels.before * &row_bytes)));
        let begin = cx.index(b, &begin);
        let rate = cx.resolve(&(&row_bytes * Dim::from((rows << DIGITS) / steps)));
        let lines = match row_bytes.as_const() {
            Some(bytes) => (bytes * rows * unroll / steps + LINE_BYTES - 1) / LINE_BYTES,
            None => 1,
        };
        let wanted = if cx.isa.asks_first_level { Wanted::ToRead } else { Wanted::ToReadLater };
        Some(Share { firsts: vec![b.add(right, begin)], rate: cx.index(b, &rate), lines, wanted })
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
