//! The sums of a thread: pieces of the matrix that it asks for together, times what each row has there.

use super::{StreamContract, Way};
use crate::kernel::ExprId;
use crate::lower::context::{Context, Value};
use crate::lower::contract::operand;
use crate::lower::dot::{multiply_add, zero};
use crate::lower::stage::has_rest;
use crate::tile::{Builder, Reg};
use kiln_ir::{Dim, Symbol};

impl StreamContract {
    /// Whether no turn reaches beyond depth.
    pub(super) fn is_whole(&self) -> bool {
        let turn = self.step() * self.at_once;
        self.depth.extent.terms().iter().all(|term| term.coefficient % turn == 0)
    }

    /// The sums of all pieces that a thread takes. `piece` gives the elements of the matrix from a point of depth on, and whether there
    /// are any where that is not certain.
    #[allow(clippy::type_complexity)] // a callback
    pub(super) fn turns(
        &self,
        cx: &mut Context,
        b: &mut Builder,
        start: &[Reg],
        piece: &dyn Fn(&mut Context, &mut Builder, &Dim) -> (Reg, Option<Reg>),
    ) -> Vec<Reg> {
        let own = match self.way {
            Way::Across { .. } => Dim::symbol("#y"),
            Way::Along { .. } => Dim::symbol("#x") * Dim::from(self.lanes),
        };
        let turn = self.step() * self.at_once;
        let (first, end) = (cx.index(b, &Dim::ZERO), cx.index(b, &self.depth.extent));
        let from = Symbol::new("#from");
        cx.ranges.set_index(from.clone(), self.depth.extent.clone());
        cx.counted(b, &from, first, end, turn, start, |cx, b, sums| {
            let mut sums = sums.to_vec();
            let places: Vec<Dim> = (0..self.at_once).map(|at| Dim::from(from.clone()) + &own + Dim::from(at * self.step())).collect();
            // What memory gives is asked for before the first of it is used.
            let pieces: Vec<(Reg, Option<Reg>)> = places.iter().map(|place| piece(cx, b, place)).collect();
            for (place, (values, exists)) in places.iter().zip(pieces) {
                for (row, sum) in sums.iter_mut().enumerate() {
                    let held = self.held(cx, b, row as i64, place, exists);
                    *sum = multiply_add(b, held, values, *sum);
                }
            }
            sums
        })
    }

    /// A point of depth, or the last one that is as good.
    pub(super) fn inside(&self, place: &Dim) -> Dim {
        if self.is_whole() {
            return place.clone();
        }
        let count = if matches!(self.way, Way::Along { .. }) { self.lanes } else { 1 };
        place.minimum(&(&self.depth.extent - Dim::from(count)).maximum(&Dim::ZERO))
    }

    /// Whether a point of depth exists, where that is not certain.
    pub(super) fn exists(&self, cx: &mut Context, b: &mut Builder, place: &Dim) -> Option<Reg> {
        (!self.is_whole()).then(|| {
            let (place, end) = (cx.index(b, place), cx.index(b, &self.depth.extent));
            b.lt(place, end)
        })
    }

    /// A value, or zeros where it does not exist.
    pub(super) fn or_zero(&self, b: &mut Builder, value: Reg, exists: Option<Reg>) -> Reg {
        let Some(exists) = exists else { return value };
        let none = zero(b, value.ty);
        let exists = if value.ty.is_scalar() { exists } else { b.splat(exists, value.ty.lanes) };
        b.select(exists, value, none)
    }

    /// A value of an operand in all lanes.
    pub(super) fn value(&self, cx: &mut Context, b: &mut Builder, id: ExprId) -> Reg {
        let reg = operand(cx, b, id, self.dtype);
        let level = cx.top();
        cx.widened(b, Value { reg, level }, self.lanes as u32)
    }

    /// An operand with lanes along an index, from `first` on.
    pub(super) fn vector(&self, cx: &mut Context, b: &mut Builder, index: &Symbol, first: Dim, id: ExprId) -> Reg {
        match self.lanes {
            1 => cx.replaced(index, first, |cx| self.value(cx, b, id)),
            lanes => cx.vectored(index, first, lanes as u32, |cx| self.value(cx, b, id)),
        }
    }

    /// What a row multiplies the matrix by.
    pub(super) fn held(&self, cx: &mut Context, b: &mut Builder, row: i64, place: &Dim, exists: Option<Reg>) -> Reg {
        let row = self.number_of_row(cx, row);
        let place = self.inside(place);
        cx.replaced(&self.row.index, row, |cx| match self.way {
            Way::Across { .. } => {
                let value = cx.replaced(&self.depth.index, place, |cx| operand(cx, b, self.held, self.dtype));
                let value = self.or_zero(b, value, exists);
                if self.lanes == 1 { value } else { b.splat(value, self.lanes as u32) }
            }
            Way::Along { .. } => {
                let value = self.vector(cx, b, &self.depth.index, place, self.held);
                self.or_zero(b, value, exists)
            }
        })
    }

    /// The n-th row of the block, or the last one.
    pub(super) fn number_of_row(&self, cx: &Context, row: i64) -> Dim {
        let row = Dim::symbol("#row_tile") * Dim::from(self.rows) + Dim::from(row);
        let is_certain = !has_rest(cx, &self.row.extent, self.rows as u32);
        if is_certain { row } else { row.minimum(&(&self.row.extent - Dim::ONE).maximum(&Dim::ZERO)) }
    }

    /// The matrix from a point of depth on, at the thread's columns or at its column.
    pub(super) fn piece(&self, cx: &mut Context, b: &mut Builder, place: &Dim) -> (Reg, Option<Reg>) {
        let exists = self.exists(cx, b, place);
        let depth = self.inside(place);
        let tile = Dim::symbol("#column_tile") * Dim::from(self.width());
        let last = |count: i64| (&self.column.extent - Dim::from(count)).maximum(&Dim::ZERO);
        let is_certain = !has_rest(cx, &self.column.extent, self.width() as u32);
        let bounded = |column: Dim, count: i64| if is_certain { column } else { column.minimum(&last(count)) };
        let value = match self.way {
            Way::Across { .. } => {
                let column = bounded(tile + Dim::symbol("#x") * Dim::from(self.lanes), self.lanes);
                cx.replaced(&self.depth.index, depth, |cx| self.vector(cx, b, &self.column.index, column, self.matrix))
            }
            Way::Along { .. } => {
                let column = bounded(tile + Dim::symbol("#y"), 1);
                cx.replaced(&self.column.index, column, |cx| self.vector(cx, b, &self.depth.index, depth, self.matrix))
            }
        };
        (self.or_zero(b, value, exists), exists)
    }
}
