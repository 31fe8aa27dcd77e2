//! One register tile of a contraction: `rows × columns` sums in registers over the whole depth, then the epilogue.
//!
//! sums[i][j] ← Σₖ left(row + i, k) · panel[k][j], chunk by chunk, each chunk a chain of multiply-adds in ascending k.
//! Shapes: the left operand by row address and depth step; the panel `[depth][panel_columns]`, contiguous.
//! Alignment: any.   Rounding: that of the canonical sum, on every ISA with fused multiply-add.

use super::ahead::{Ahead, Panels};
use super::context::{Base, Context, Value};
use super::dot::{multiply_add, neutral, zero};
use super::isa::DEPTH_UNROLL;
use super::offsets::{Address, times};
use super::ops::{cast, lane_of, memory_of};
use crate::kernel::{Axis, Store};
use crate::tile::{Builder, Reg, Type};
use kiln_ir::{DType, Dim, Symbol};

/// The left operand: element (row, k) is Σ `step` · index elements after `offset`, which mentions the row's index. Over one depth
/// axis k is its index; over several, a channel and taps, k is their row-major position.
pub(super) struct Left {
    pub base: Base,
    pub offset: Dim,
    pub steps: Vec<(Axis, Dim)>,
    /// Type in memory.
    pub dtype: DType,
}

/// What happens to the sums.
#[derive(Clone)]
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
#[derive(Clone)]
pub(super) struct Tile<'a> {
    /// Type of the sums.
    pub dtype: DType,
    /// Type of the panel in memory.
    pub panel_dtype: DType,
    pub panel_columns: i64,
    /// Columns that are computed, from the panel's first: whole registers, of it alone or of it and whole panels behind it.
    pub columns: i64,
    /// How many of these the result has, where that is known.
    pub result_columns: Option<i64>,
    pub lanes: u32,
    /// Length of the sums.
    pub points: Dim,
    /// Rows of the largest tile.
    pub height: i64,
    /// Whether all rows are known and lie anywhere: tiles are written out one after the other.
    pub written_out: bool,
    /// Length of their chunks: a multiple of what the depth axes behind the first have together.
    pub chunk: i64,
    pub left: &'a Left,
    pub right: Address,
    /// How the panels lie, if they were packed beforehand.
    pub panels: Option<Panels>,
    pub epilogue: Epilogue<'a>,
}

/// A part of the work of a tile whose chunks of depth are not all done at once.
pub(super) enum Part {
    /// Sums begin.
    Begin,
    /// One more chunk is added: `from..to` of the first depth axis, against a panel as if it began at depth 0.
    Chunk { right: Address, from: Reg, to: Reg },
    /// The epilogue.
    End,
}

/// Where sums wait between chunks: those of a row, which `offset` mentions, beside each other.
pub(super) struct Waiting {
    pub base: Base,
    pub offset: Dim,
}

/// Taps of a convolution written out in a row at most.
const UNROLLED_TAPS: i64 = 16;

/// What happens in each tile: its first row, how many, scratch for its sums.
type TileBody<'a> = dyn FnMut(&mut Context, &mut Builder, &Dim, usize, Base) + 'a;

/// What is done with a tile's sums: its first row, how many, and what they are, row by row.
pub(super) type TakeSums<'a> = dyn FnMut(&mut Context, &mut Builder, &Dim, usize, &[Reg]) + 'a;

/// What one turn of a loop over depth moves an address by, in bytes.
enum Step {
    Constant(i64),
    Register(Reg),
}

/// What one turn of a loop over depth moves both operands by.
struct Moves {
    left: Step,
    panel: i64,
}

impl Tile<'_> {
    /// Tiles for all rows of a block.
    pub(super) fn rows(&self, cx: &mut Context, b: &mut Builder, first: &Dim, end: &Dim) {
        self.each_tile(cx, b, first, end, &mut |cx, b, row, rows, memory| self.tile(cx, b, row, rows, memory));
    }

    /// The sums of all rows of a block over a part of depth, whose length or a multiple of it may be known: `take` gets a tile's first
    /// row, how many it has, and their sums.
    #[allow(clippy::too_many_arguments)] // what a part of a product is
    pub(super) fn sums_of_rows(
        &self,
        cx: &mut Context,
        b: &mut Builder,
        (first, end): (&Dim, &Dim),
        [from, to]: [Reg; 2],
        known: Option<i64>,
        take: &mut TakeSums,
    ) {
        self.each_tile(cx, b, first, end, &mut |cx, b, row, rows, _| {
            let left = self.left_rows(cx, b, row, rows);
            let sums = self.chain(cx, b, &left, from, to, known, &Ahead::default());
            take(cx, b, row, rows, &sums);
        });
    }

    /// A part of the work of tiles for all rows of a block.
    pub(super) fn parts_of_rows(&self, cx: &mut Context, b: &mut Builder, first: &Dim, end: &Dim, part: &Part, waiting: &Waiting) {
        self.each_tile(cx, b, first, end, &mut |cx, b, row, rows, memory| {
            let places: Vec<Address> = (0..rows * self.vectors())
                .map(|at| {
                    let (i, j) = (at / self.vectors(), at % self.vectors());
                    cx.replaced(&self.epilogue.row.index, row + Dim::from(i), |cx| {
                        let offset = cx.resolve(&(&waiting.offset + Dim::from(j as i64 * i64::from(self.lanes))));
                        cx.address(b, waiting.base, &offset, self.dtype.size_bytes() as u32)
                    })
                })
                .collect();
            match part {
                Part::Begin => {
                    let none = neutral(b, self.ty());
                    places.iter().for_each(|at| b.store(memory_of(self.dtype), none, at.reg, at.offset));
                }
                Part::Chunk { right, from, to } => {
                    let left = self.left_rows(cx, b, row, rows);
                    let sums =
                        Tile { right: *right, ..self.clone() }.chain(cx, b, &left, *from, *to, self.known_chunk(), &Ahead::default());
                    self.add_to(b, &places, sums);
                }
                Part::End => {
                    let sums: Vec<Reg> = places.iter().map(|at| b.load(memory_of(self.dtype), self.ty(), at.reg, at.offset)).collect();
                    self.epilogue(cx, b, row, rows, &sums, memory);
                }
            }
        });
    }

    /// Runs `body` for tiles of all rows of a block: as many rows at a time as fit, then fewer. It gets the first row, how many,
    /// and scratch for their sums.
    fn each_tile(&self, cx: &mut Context, b: &mut Builder, first: &Dim, end: &Dim, body: &mut TileBody) {
        let most = self.height;
        // Of known rows it is known how many are left to the last tile.
        let rests = match self.epilogue.row.extent.as_const() {
            Some(rows) => vec![rows % most],
            None => vec![8, 4, 2, 1],
        };
        let memory = b.scratch((most * self.columns) as u32 * self.dtype.size_bytes() as u32, 64);
        let level = cx.top();
        if self.written_out {
            let end = end.as_const().expect("lower: rows that are written out are known");
            for start in (0..end).step_by(most as usize) {
                body(cx, b, &Dim::from(start), most.min(end - start) as usize, Base::Own(memory, level));
            }
            return;
        }
        let mut start = cx.index(b, first);
        let last = cx.index(b, end);
        // Blocks begin at multiples of the largest tile.
        for rows in std::iter::once(most).chain(rests.into_iter().filter(|rows| (1..most).contains(rows))) {
            let stop = if rows == 1 { last } else { b.add_int(last, 1 - rows) };
            let index = Symbol::new(&format!("#row{rows}"));
            cx.ranges.set_index(index.clone(), self.epilogue.row.extent.clone());
            start = cx.counted(b, &index, start, stop, rows, &[start], |cx, b, next| {
                body(cx, b, &Dim::from(index.clone()), rows as usize, Base::Own(memory, level));
                vec![b.add_int(next[0], rows)]
            })[0];
        }
    }

    fn vectors(&self) -> usize {
        (self.columns / i64::from(self.lanes)) as usize
    }

    /// Panels beside each other.
    pub(super) fn panels_beside(&self) -> i64 {
        (self.columns / self.panel_columns).max(1)
    }

    /// From the panel's first column to the j-th register of columns.
    fn column_bytes(&self, j: usize) -> i32 {
        let register = i64::from(self.lanes) * self.panel_dtype.size_bytes() as i64;
        let in_panel = self.panel_columns / i64::from(self.lanes);
        let (panel, j) = (j as i64 / in_panel, j as i64 % in_panel);
        (panel * self.panels.as_ref().map_or(0, Panels::known_bytes) + j * register) as i32
    }

    fn ty(&self) -> Type {
        Type::scalar(lane_of(self.dtype)).times(self.lanes)
    }

    /// The addresses of a tile's rows.
    fn left_rows(&self, cx: &mut Context, b: &mut Builder, row: &Dim, rows: usize) -> Vec<Address> {
        (0..rows)
            .map(|i| {
                cx.replaced(&self.epilogue.row.index, row + Dim::from(i), |cx| {
                    let offset = cx.resolve(&self.left.offset);
                    cx.address(b, self.left.base, &offset, self.left.dtype.size_bytes() as u32)
                })
            })
            .collect()
    }

    /// The tile whose first row is `row`; `memory` is scratch for its sums.
    fn tile(&self, cx: &mut Context, b: &mut Builder, row: &Dim, rows: usize, memory: Base) {
        let left = self.left_rows(cx, b, row, rows);
        let ahead = self.ahead(cx, b, row, rows);
        let begin = cx.index(b, &Dim::ZERO);
        let sums = match self.points.as_const() {
            Some(points) if points <= self.chunk => {
                let end = cx.index(b, &self.left.steps[0].0.extent);
                self.chain(cx, b, &left, begin, end, Some(points), &ahead)
            }
            _ => self.chunks(cx, b, &left, memory, &ahead),
        };
        self.epilogue(cx, b, row, rows, &sums, memory);
    }

    /// The sums over more than one chunk: chunk sums are added in `memory`.
    fn chunks(&self, cx: &mut Context, b: &mut Builder, left: &[Address], memory: Base, ahead: &Ahead) -> Vec<Reg> {
        let places: Vec<Address> = (0..left.len() * self.vectors()).map(|at| self.place(cx, b, memory, at)).collect();
        let none = neutral(b, self.ty());
        for at in &places {
            b.store(memory_of(self.dtype), none, at.reg, at.offset);
        }
        // In units of the first depth axis: channels of a convolution, else single steps.
        let length = &self.left.steps[0].0.extent;
        let step = self.chunk / self.taps();
        let (begin, end) = (cx.index(b, &Dim::ZERO), cx.index(b, &length.maximum(&Dim::ONE)));
        let chunk = Symbol::new("#chunk");
        cx.ranges.set_index(chunk.clone(), length.maximum(&Dim::ONE));
        cx.counted(b, &chunk, begin, end, step, &[], |cx, b, _| {
            let from = cx.index(b, &Dim::from(chunk.clone()));
            let to = cx.index(b, &(Dim::from(chunk.clone()) + Dim::from(step)).minimum(length));
            let sums = self.chain(cx, b, left, from, to, self.known_chunk(), ahead);
            self.add_to(b, &places, sums);
            vec![]
        });
        places.iter().map(|at| b.load(memory_of(self.dtype), self.ty(), at.reg, at.offset)).collect()
    }

    /// What is known of the length of every chunk: a multiple of it.
    fn known_chunk(&self) -> Option<i64> {
        self.points.as_const().filter(|n| n % DEPTH_UNROLL == 0 && self.chunk % DEPTH_UNROLL == 0).map(|_| self.chunk)
    }

    /// Adds the sums of a chunk to those in memory.
    fn add_to(&self, b: &mut Builder, places: &[Address], sums: Vec<Reg>) {
        for (sum, at) in sums.into_iter().zip(places) {
            let before = b.load(memory_of(self.dtype), self.ty(), at.reg, at.offset);
            let total = b.add(before, sum);
            b.store(memory_of(self.dtype), total, at.reg, at.offset);
        }
    }

    /// Points of the depth axes behind the first.
    pub(super) fn taps(&self) -> i64 {
        self.left.steps[1..].iter().map(|(axis, _)| axis.extent.as_const().expect("lower: taps are known")).product()
    }

    /// The n-th register of sums in scratch.
    fn place(&self, cx: &mut Context, b: &mut Builder, memory: Base, n: usize) -> Address {
        cx.address(b, memory, &(Dim::from(n) * Dim::from(i64::from(self.lanes))), self.dtype.size_bytes() as u32)
    }

    /// One chain of multiply-adds per sum for k in `begin..end`, row by row. `known` is the length or a multiple of the unrolled
    /// steps that the length is.
    #[allow(clippy::too_many_arguments)] // what a loop over depth needs
    fn chain(
        &self,
        cx: &mut Context,
        b: &mut Builder,
        left: &[Address],
        begin: Reg,
        end: Reg,
        known: Option<i64>,
        ahead: &Ahead,
    ) -> Vec<Reg> {
        // A zero of its own for each sum: one shared by all ties their registers together and costs spills in the loop.
        let mut sums: Vec<Reg> = (0..left.len() * self.vectors()).map(|_| zero(b, self.ty())).collect();
        if self.left.steps.len() > 1 {
            return self.chain_of_taps(cx, b, left, begin, end, sums, ahead);
        }
        let step_bytes = &self.left.steps[0].1 * Dim::from(self.left.dtype.size_bytes());
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
                ahead.ask(b, k);
                let panel_step = self.panel_step();
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
                    let column = |b: &mut Builder, j: usize| self.panel_vector(b, panel, step * panel_step, j);
                    self.multiply_all(b, left.len(), &mut sums, element, column);
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

    /// One step of depth for all sums.
    fn multiply_all(
        &self,
        b: &mut Builder,
        rows: usize,
        sums: &mut [Reg],
        element: impl Fn(&mut Builder, usize) -> Reg,
        column: impl Fn(&mut Builder, usize) -> Reg,
    ) {
        // Few registers live besides the sums: either all elements of the left operand and one vector of columns at a time, or all
        // vectors of columns and one element, whatever is less.
        if rows <= self.vectors() {
            let values: Vec<Reg> = (0..rows).map(|i| element(b, i)).collect();
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
            for i in 0..rows {
                let value = element(b, i);
                for (j, column) in columns.iter().enumerate() {
                    let at = i * self.vectors() + j;
                    sums[at] = multiply_add(b, *column, value, sums[at]);
                }
            }
        }
    }

    /// As [`Tile::chain`] over channels and taps: loops over channels and outer taps, the last taps written out.
    #[allow(clippy::too_many_arguments)] // as for one axis
    fn chain_of_taps(
        &self,
        cx: &mut Context,
        b: &mut Builder,
        left: &[Address],
        begin: Reg,
        end: Reg,
        sums: Vec<Reg>,
        ahead: &Ahead,
    ) -> Vec<Reg> {
        let size = self.left.dtype.size_bytes() as i64;
        let extent = |at: usize| self.left.steps[at].0.extent.as_const().expect("lower: taps are known");
        let mut written_out = self.left.steps.len();
        let mut points = 1;
        while written_out > 1 && points * extent(written_out - 1) <= UNROLLED_TAPS {
            written_out -= 1;
            points *= extent(written_out);
        }
        let shape: Vec<usize> = (written_out..self.left.steps.len()).map(|at| extent(at) as usize).collect();
        // Where each written-out tap lies from the first: a constant, or a value made before the loops.
        let taps: Vec<(i64, Option<Reg>)> = kiln_ir::tensor::indices(&shape)
            .map(|index| {
                let steps = self.left.steps[written_out..].iter().zip(&index);
                let ahead = steps.fold(Dim::ZERO, |sum, ((_, step), i)| sum + step * Dim::from(*i)) * Dim::from(size);
                match ahead.as_const() {
                    Some(bytes) => (bytes, None),
                    None => (0, Some(cx.index(b, &ahead))),
                }
            })
            .collect();
        // Loops from the outside: the bytes that one turn moves each operand by.
        let panel_step = self.panel_step();
        let loops: Vec<(Reg, Reg, Moves)> = (0..written_out)
            .map(|at| {
                let behind: i64 = (at + 1..self.left.steps.len()).map(extent).product();
                let step = &self.left.steps[at].1 * Dim::from(size);
                let left = match step.as_const() {
                    Some(bytes) => Step::Constant(bytes),
                    None => Step::Register(cx.index(b, &step)),
                };
                let (from, to) = if at == 0 { (begin, end) } else { (cx.index(b, &Dim::ZERO), cx.index(b, &self.left.steps[at].0.extent)) };
                (from, to, Moves { left, panel: behind * panel_step })
            })
            .collect();
        self.turns(b, left, &loops, &taps, None, self.right.reg, sums, ahead)
    }

    /// The loops of [`Tile::chain_of_taps`] that are left; `moved` is how far the left operand's addresses have moved.
    #[allow(clippy::too_many_arguments)] // what the recursion passes on
    fn turns(
        &self,
        b: &mut Builder,
        left: &[Address],
        loops: &[(Reg, Reg, Moves)],
        taps: &[(i64, Option<Reg>)],
        moved: Option<Reg>,
        panel: Reg,
        sums: Vec<Reg>,
        ahead: &Ahead,
    ) -> Vec<Reg> {
        let Some(((from, to, moves), rest)) = loops.split_first() else {
            return self.written_out_taps(b, left, taps, moved, panel, sums);
        };
        b.loop_carrying(*from, *to, 1, &sums, |b, turn, sums| {
            ahead.ask(b, turn);
            let here = match moves.left {
                Step::Constant(bytes) => times(b, turn, bytes),
                Step::Register(bytes) => b.mul(turn, bytes),
            };
            let moved = match moved {
                Some(before) => b.add(before, here),
                None => here,
            };
            let skipped = times(b, turn, moves.panel);
            let panel = b.add(panel, skipped);
            // The first axis alone is counted.
            self.turns(b, left, rest, taps, Some(moved), panel, sums.to_vec(), &Ahead::default())
        })
    }

    fn written_out_taps(
        &self,
        b: &mut Builder,
        left: &[Address],
        taps: &[(i64, Option<Reg>)],
        moved: Option<Reg>,
        panel: Reg,
        mut sums: Vec<Reg>,
    ) -> Vec<Reg> {
        let panel_step = self.panel_step();
        for (tap, (ahead, far)) in taps.iter().enumerate() {
            let moved = match (moved, far) {
                (Some(moved), Some(far)) => Some(b.add(moved, *far)),
                (moved, far) => moved.or(*far),
            };
            let element = |b: &mut Builder, i: usize| {
                let row = match moved {
                    Some(moved) => b.add(left[i].reg, moved),
                    None => left[i].reg,
                };
                self.left_element(b, row, i64::from(left[i].offset) + ahead)
            };
            let column = |b: &mut Builder, j: usize| self.panel_vector(b, panel, tap as i64 * panel_step, j);
            self.multiply_all(b, left.len(), &mut sums, element, column);
        }
        sums
    }

    /// Bytes from one depth index of the panel to the next.
    pub(super) fn panel_step(&self) -> i64 {
        self.panel_columns * self.panel_dtype.size_bytes() as i64
    }

    /// The register of columns number `j`, `ahead` bytes on.
    fn panel_vector(&self, b: &mut Builder, panel: Reg, ahead: i64, j: usize) -> Reg {
        b.load(memory_of(self.panel_dtype), self.ty(), panel, self.right.offset + self.column_bytes(j) + ahead as i32)
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
            if let Some(n) = self.result_columns {
                return self.store_columns(cx, b, row, rows, &Dim::from(n), sums, memory);
            }
            let there = &e.column.extent - &e.first_column;
            let left = cx.index(b, &there);
            let all = cx.index(b, &Dim::from(self.columns));
            let whole = b.ge(left, all);
            let put = |cx: &mut Context, b: &mut Builder, columns: &Dim| {
                self.store_columns(cx, b, row, rows, columns, sums, memory);
                vec![]
            };
            cx.branch(b, whole, false, |cx, b| put(cx, b, &Dim::from(self.columns)), |cx, b| put(cx, b, &there));
        });
    }

    /// Stores the sums of the first `columns` columns.
    #[allow(clippy::too_many_arguments)] // what a tile's end needs
    fn store_columns(&self, cx: &mut Context, b: &mut Builder, row: &Dim, rows: usize, columns: &Dim, sums: &[Reg], memory: Base) {
        let e = &self.epilogue;
        if !e.is_cheap {
            self.sums_to_memory(cx, b, sums, memory);
            return self.stores_from_memory(cx, b, row, rows, columns, memory);
        }
        let before = |j: usize| Dim::from(j as i64 * i64::from(e.lanes));
        let store = |cx: &mut Context, b: &mut Builder, i: usize, j: usize| {
            let (sum, column) = (sums[i * self.vectors() + j], &e.first_column + before(j));
            cx.replaced(&e.row.index, row + Dim::from(i), |cx| {
                cx.vectored(&e.column.index, column, e.lanes, |cx| self.store_all(cx, b, sum));
            });
        };
        if let Some(n) = columns.as_const() {
            let vectors = (0..self.vectors()).filter(|j| before(*j).as_const().is_some_and(|before| before < n));
            let active: Vec<_> = vectors.map(|j| cx.first_lanes(b, &(Dim::from(n) - before(j)), e.lanes)).collect();
            for i in 0..rows {
                for (j, active) in active.iter().enumerate() {
                    cx.with_active(*active, |cx| store(cx, b, i, j));
                }
            }
            return;
        }
        for j in 0..self.vectors() {
            let left = columns - before(j);
            let (count, zero) = (cx.index(b, &left), cx.index(b, &Dim::ZERO));
            let is_there = b.gt(count, zero);
            let put = |cx: &mut Context, b: &mut Builder| {
                let active = cx.first_lanes(b, &left, e.lanes);
                cx.with_active(active, |cx| (0..rows).for_each(|i| store(cx, b, i, j)));
                vec![]
            };
            cx.branch(b, is_there, false, put, |_, _| vec![]);
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
        let lane = Axis { index: Symbol::new("#tile_column"), extent: Dim::from(self.columns) };
        cx.ranges.set_index(lane.index.clone(), lane.extent.clone());
        // Long chains of operations wait for each other: two registers at a time, where columns fill them.
        let twice = 2 * e.lanes;
        let lanes = if columns.as_const().is_some_and(|n| n % i64::from(twice) == 0) { twice } else { e.lanes };
        cx.counted(b, &inner, begin, end, 1, &[], |cx, b, _| {
            cx.replaced(&e.row.index, row + Dim::from(inner.clone()), |cx| {
                let put = |cx: &mut Context, b: &mut Builder, first: Dim| {
                    let sum = self.load_sum(cx, b, memory, &inner, &first, lanes);
                    cx.vectored(&e.column.index, &e.first_column + first, lanes, |cx| self.store_all(cx, b, sum));
                    vec![]
                };
                let whole = super::stage::whole_vectors(cx, b, columns, lanes);
                if columns.as_const().is_none_or(|n| n >= i64::from(lanes)) {
                    cx.counted(b, &lane.index, begin, whole, i64::from(lanes), &[], |cx, b, _| put(cx, b, Dim::from(lane.index.clone())));
                }
                super::stage::rest(cx, b, &lane.index, columns, lanes, &[], &mut |cx, b, first, _| put(cx, b, first));
            });
            vec![]
        });
    }

    fn load_sum(&self, cx: &mut Context, b: &mut Builder, memory: Base, row: &Symbol, column: &Dim, lanes: u32) -> Reg {
        let place = Dim::from(row.clone()) * Dim::from(self.columns) + column;
        let at = cx.address(b, memory, &place, self.dtype.size_bytes() as u32);
        b.load(memory_of(self.dtype), Type::scalar(lane_of(self.dtype)).times(lanes), at.reg, at.offset)
    }
}
