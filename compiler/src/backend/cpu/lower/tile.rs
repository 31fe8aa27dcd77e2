//! One register tile of a contraction: `rows × panel_columns` sums in registers over the whole depth, then the epilogue.
//!
//! sums[i][j] ← Σₖ left(row + i, k) · panel[k][j], chunk by chunk, each chunk a chain of multiply-adds in ascending k.
//! Shapes: the left operand by row address and depth step; the panel `[depth][panel_columns]`, contiguous.
//! Alignment: any.   Rounding: that of the canonical sum, on every ISA with fused multiply-add.

use super::context::{Base, Context, Value};
use super::dot::{multiply_add, neutral, zero};
use super::isa::DEPTH_UNROLL;
use super::offsets::{Address, times};
use super::ops::{cast, lane_of, memory_of};
use crate::backend::cpu::tile::{Builder, Reg, Type};
use crate::kernel::{Axis, DEPTH_CHUNK, Store};
use kiln_ir::{DType, Dim, Symbol};

/// The left operand: element (row, k) is `step · k` elements after `offset`, which mentions the row's index.
pub(super) struct Left {
    pub base: Base,
    pub offset: Dim,
    pub step: Dim,
    /// Type in memory.
    pub dtype: DType,
}

/// What happens to the sums.
pub(super) struct Epilogue<'a> {
    pub stores: &'a [Store],
    pub row: &'a Axis,
    pub column: &'a Axis,
    /// The panel's first column.
    pub first_column: Dim,
    pub lanes: u32,
    /// Few enough operations to be written out for each register.
    pub is_cheap: bool,
}

/// Everything tiles of one panel share.
pub(super) struct Tile<'a> {
    /// Type of the sums and of the panel.
    pub dtype: DType,
    pub panel_columns: i64,
    pub lanes: u32,
    /// Length of the sums.
    pub points: Dim,
    pub left: &'a Left,
    pub right: Address,
    pub epilogue: Epilogue<'a>,
}

impl Tile<'_> {
    /// Tiles for all rows of a block: as many rows at a time as fit, then fewer.
    pub(super) fn rows(&self, cx: &mut Context, b: &mut Builder, first: &Dim, end: &Dim) {
        let most = cx.isa.tile_rows();
        let known = self.epilogue.row.extent.as_const();
        let memory = b.scratch((most * self.panel_columns) as u32 * self.dtype.size_bytes() as u32, 64);
        let level = cx.top();
        let mut start = cx.index(b, first);
        let last = cx.index(b, end);
        for rows in std::iter::once(most).chain([8, 4, 2, 1].into_iter().filter(|rows| *rows < most)) {
            // Blocks begin at multiples of the largest tile, so a known remainder is that of the whole.
            let is_needed = known.is_none_or(|n| if rows == most { n >= rows } else { n % most & rows != 0 });
            if !is_needed {
                continue;
            }
            let stop = if rows == 1 { last } else { b.add_int(last, 1 - rows) };
            let index = Symbol::new(&format!("#row{rows}"));
            cx.ranges.set_index(index.clone(), self.epilogue.row.extent.clone());
            start = cx.counted(b, &index, start, stop, rows, &[start], |cx, b, next| {
                self.tile(cx, b, &Dim::from(index.clone()), rows as usize, Base::Own(memory, level));
                vec![b.add_int(next[0], rows)]
            })[0];
        }
    }

    fn vectors(&self) -> usize {
        (self.panel_columns / i64::from(self.lanes)) as usize
    }

    fn ty(&self) -> Type {
        Type::scalar(lane_of(self.dtype)).times(self.lanes)
    }

    /// The tile whose first row is `row`; `memory` is scratch for its sums.
    fn tile(&self, cx: &mut Context, b: &mut Builder, row: &Dim, rows: usize, memory: Base) {
        let left: Vec<Address> = (0..rows)
            .map(|i| {
                cx.replaced(&self.epilogue.row.index, row + Dim::from(i), |cx| {
                    let offset = cx.resolve(&self.left.offset);
                    cx.address(b, self.left.base, &offset, self.left.dtype.size_bytes() as u32)
                })
            })
            .collect();
        let begin = cx.index(b, &Dim::ZERO);
        let sums = match self.points.as_const() {
            Some(points) if points <= DEPTH_CHUNK => {
                let end = cx.index(b, &self.points);
                self.chain(cx, b, &left, begin, end, Some(points))
            }
            _ => self.chunks(cx, b, &left, memory),
        };
        self.epilogue(cx, b, row, rows, &sums, memory);
    }

    /// The sums over more than one chunk: chunk sums are added in `memory`.
    fn chunks(&self, cx: &mut Context, b: &mut Builder, left: &[Address], memory: Base) -> Vec<Reg> {
        let places: Vec<Address> = (0..left.len() * self.vectors()).map(|at| self.place(cx, b, memory, at)).collect();
        let none = neutral(b, self.ty());
        for at in &places {
            b.store(memory_of(self.dtype), none, at.reg, at.offset);
        }
        let (begin, end) = (cx.index(b, &Dim::ZERO), cx.index(b, &self.points.maximum(&Dim::ONE)));
        let chunk = Symbol::new("#chunk");
        cx.ranges.set_index(chunk.clone(), self.points.maximum(&Dim::ONE));
        cx.counted(b, &chunk, begin, end, DEPTH_CHUNK, &[], |cx, b, _| {
            let from = cx.index(b, &Dim::from(chunk.clone()));
            let to = cx.index(b, &(Dim::from(chunk.clone()) + Dim::from(DEPTH_CHUNK)).minimum(&self.points));
            let known = self.points.as_const().filter(|n| n % DEPTH_UNROLL == 0).map(|_| DEPTH_CHUNK);
            let sums = self.chain(cx, b, left, from, to, known);
            for (sum, at) in sums.into_iter().zip(&places) {
                let before = b.load(memory_of(self.dtype), self.ty(), at.reg, at.offset);
                let total = b.add(before, sum);
                b.store(memory_of(self.dtype), total, at.reg, at.offset);
            }
            vec![]
        });
        places.iter().map(|at| b.load(memory_of(self.dtype), self.ty(), at.reg, at.offset)).collect()
    }

    /// The n-th register of sums in scratch.
    fn place(&self, cx: &mut Context, b: &mut Builder, memory: Base, n: usize) -> Address {
        cx.address(b, memory, &(Dim::from(n) * Dim::from(i64::from(self.lanes))), self.dtype.size_bytes() as u32)
    }

    /// One chain of multiply-adds per sum for k in `begin..end`, row by row. `known` is the length or a multiple of the unrolled
    /// steps that the length is.
    fn chain(&self, cx: &mut Context, b: &mut Builder, left: &[Address], begin: Reg, end: Reg, known: Option<i64>) -> Vec<Reg> {
        // A zero of its own for each sum: one shared by all ties their registers together and costs spills in the loop.
        let mut sums: Vec<Reg> = (0..left.len() * self.vectors()).map(|_| zero(b, self.ty())).collect();
        let step_bytes = &self.left.step * Dim::from(self.left.dtype.size_bytes());
        let mut from = begin;
        for unroll in [DEPTH_UNROLL, 1] {
            let needed = match known {
                Some(n) if unroll == 1 => n % DEPTH_UNROLL != 0,
                Some(n) => n >= unroll,
                None => true,
            };
            if !needed {
                continue;
            }
            let stop = if unroll == 1 {
                end
            } else {
                let count = b.sub(end, from);
                let mask = b.index(-unroll);
                let whole = b.and(count, mask);
                b.add(from, whole)
            };
            let stride = match step_bytes.as_const() {
                Some(_) => None,
                None => Some(cx.index(b, &step_bytes)),
            };
            sums = b.loop_carrying(from, stop, unroll, &sums, |b, k, sums| {
                let panel_step = self.panel_columns * self.dtype.size_bytes() as i64;
                let panel = {
                    let at = times(b, k, panel_step);
                    b.add(self.right.reg, at)
                };
                let moved = match (step_bytes.as_const(), stride) {
                    (Some(c), _) => times(b, k, c),
                    (None, Some(stride)) => b.mul(k, stride),
                    (None, None) => panic!("lower: a stride without a register"),
                };
                let mut rows: Vec<Reg> = left.iter().map(|at| b.add(at.reg, moved)).collect();
                let mut sums = sums.to_vec();
                for step in 0..unroll {
                    let element = |b: &mut Builder, i: usize| {
                        let ahead = step_bytes.as_const().map_or(0, |c| step * c);
                        self.left_element(b, rows[i], i64::from(left[i].offset) + ahead)
                    };
                    let column = |b: &mut Builder, j: usize| {
                        let ahead = step * panel_step + (j as i64) * i64::from(self.lanes) * self.dtype.size_bytes() as i64;
                        b.load(memory_of(self.dtype), self.ty(), panel, (i64::from(self.right.offset) + ahead) as i32)
                    };
                    // Few registers live besides the sums: either all elements of the left operand and one vector of columns at a
                    // time, or all vectors of columns and one element, whatever is less.
                    if left.len() <= self.vectors() {
                        let values: Vec<Reg> = (0..left.len()).map(|i| element(b, i)).collect();
                        for j in 0..self.vectors() {
                            let column = column(b, j);
                            for (i, value) in values.iter().enumerate() {
                                let at = i * self.vectors() + j;
                                // x86's multiply-add, where it overwrites a factor, overwrites it at its last use.
                                sums[at] = multiply_add(b, column, *value, sums[at]);
                            }
                        }
                    } else {
                        let columns: Vec<Reg> = (0..self.vectors()).map(|j| column(b, j)).collect();
                        for i in 0..left.len() {
                            let value = element(b, i);
                            for (j, column) in columns.iter().enumerate() {
                                let at = i * self.vectors() + j;
                                sums[at] = multiply_add(b, *column, value, sums[at]);
                            }
                        }
                    }
                    if let Some(stride) = stride {
                        rows = rows.iter().map(|row| b.add(*row, stride)).collect();
                    }
                }
                sums
            });
            from = stop;
        }
        sums
    }

    /// An element of the left operand in all lanes.
    fn left_element(&self, b: &mut Builder, row: Reg, offset: i64) -> Reg {
        // Offsets beyond an instruction's reach only come from huge constant strides.
        let (row, offset) = match i32::try_from(offset) {
            Ok(offset) => (row, offset),
            Err(_) => {
                let far = b.index(offset);
                (b.add(row, far), 0)
            }
        };
        let scalar = b.load(memory_of(self.left.dtype), Type::scalar(lane_of(self.left.dtype)), row, offset);
        let scalar = if lane_of(self.left.dtype) == lane_of(self.dtype) { scalar } else { cast(b, self.left.dtype, self.dtype, scalar) };
        b.splat(scalar, self.lanes)
    }

    /// Stores all sums of the tile.
    fn epilogue(&self, cx: &mut Context, b: &mut Builder, row: &Dim, rows: usize, sums: &[Reg], memory: Base) {
        let e = &self.epilogue;
        // Loads stay here: what they load should not live in registers through the sums.
        cx.scoped(b, super::context::Leaves::Arithmetic, |cx, b| {
            if e.column.extent.as_const().is_some_and(|n| n % self.panel_columns == 0) {
                return self.whole_panel(cx, b, row, rows, sums, memory);
            }
            let left = cx.index(b, &(&e.column.extent - &e.first_column));
            let all = cx.index(b, &Dim::from(self.panel_columns));
            let whole = b.ge(left, all);
            cx.branch(
                b,
                whole,
                false,
                |cx, b| {
                    self.whole_panel(cx, b, row, rows, sums, memory);
                    vec![]
                },
                |cx, b| {
                    self.sums_to_memory(cx, b, sums, memory);
                    self.stores_from_memory(cx, b, row, rows, &(&e.column.extent - &e.first_column), memory);
                    vec![]
                },
            );
        });
    }

    fn whole_panel(&self, cx: &mut Context, b: &mut Builder, row: &Dim, rows: usize, sums: &[Reg], memory: Base) {
        let e = &self.epilogue;
        if !e.is_cheap {
            self.sums_to_memory(cx, b, sums, memory);
            return self.stores_from_memory(cx, b, row, rows, &Dim::from(self.panel_columns), memory);
        }
        for i in 0..rows {
            for j in 0..self.vectors() {
                let sum = sums[i * self.vectors() + j];
                let column = &e.first_column + Dim::from(j as i64 * i64::from(e.lanes));
                cx.replaced(&e.row.index, row + Dim::from(i), |cx| {
                    cx.vectored(&e.column.index, column, e.lanes, |cx| self.store_all(cx, b, sum));
                });
            }
        }
    }

    fn store_all(&self, cx: &mut Context, b: &mut Builder, sum: Reg) {
        let level = cx.top();
        let before = std::mem::replace(&mut cx.accumulators, vec![Value { reg: sum, level }]);
        for store in self.epilogue.stores {
            cx.store(b, store);
        }
        cx.accumulators = before;
    }

    fn sums_to_memory(&self, cx: &mut Context, b: &mut Builder, sums: &[Reg], memory: Base) {
        for (n, sum) in sums.iter().enumerate() {
            let at = self.place(cx, b, memory, n);
            b.store(memory_of(self.dtype), *sum, at.reg, at.offset);
        }
    }

    /// The epilogue as loops over rows and the first `columns` columns of the panel, sums coming from memory.
    fn stores_from_memory(&self, cx: &mut Context, b: &mut Builder, row: &Dim, rows: usize, columns: &Dim, memory: Base) {
        let e = &self.epilogue;
        let inner = Symbol::new("#tile_row");
        cx.ranges.set_index(inner.clone(), Dim::from(rows));
        let (begin, end) = (cx.index(b, &Dim::ZERO), cx.index(b, &Dim::from(rows)));
        let lane = Axis { index: Symbol::new("#tile_column"), extent: Dim::from(self.panel_columns) };
        cx.ranges.set_index(lane.index.clone(), lane.extent.clone());
        cx.counted(b, &inner, begin, end, 1, &[], |cx, b, _| {
            cx.replaced(&e.row.index, row + Dim::from(inner.clone()), |cx| {
                let whole = super::stage::whole_vectors(cx, b, columns, e.lanes);
                cx.counted(b, &lane.index, begin, whole, i64::from(e.lanes), &[], |cx, b, _| {
                    let sum = self.load_sum(cx, b, memory, &inner, &lane.index, e.lanes);
                    let column = &e.first_column + Dim::from(lane.index.clone());
                    cx.vectored(&e.column.index, column, e.lanes, |cx| self.store_all(cx, b, sum));
                    vec![]
                });
                if columns.as_const().is_some_and(|n| n % i64::from(e.lanes) == 0) {
                    return;
                }
                let last = cx.index(b, columns);
                cx.counted(b, &lane.index, whole, last, 1, &[], |cx, b, _| {
                    let sum = self.load_sum(cx, b, memory, &inner, &lane.index, 1);
                    let column = &e.first_column + Dim::from(lane.index.clone());
                    cx.replaced(&e.column.index, column, |cx| self.store_all(cx, b, sum));
                    vec![]
                });
            });
            vec![]
        });
    }

    fn load_sum(&self, cx: &mut Context, b: &mut Builder, memory: Base, row: &Symbol, column: &Symbol, lanes: u32) -> Reg {
        let place = Dim::from(row.clone()) * Dim::from(self.panel_columns) + Dim::from(column.clone());
        let at = cx.address(b, memory, &place, self.dtype.size_bytes() as u32);
        b.load(memory_of(self.dtype), Type::scalar(lane_of(self.dtype)).times(lanes), at.reg, at.offset)
    }
}
