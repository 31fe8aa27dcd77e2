//! Contractions: panels of the right operand against rows of the left one, in register tiles.
//!
//! ```text
//! task (batch, panel, block of rows):   pack what cannot be read in place;   for each tile of rows:   sums ← Σ lhs · panel;   epilogue
//! ```
//!
//! Columns are flattened to one index. A *panel* is `panel_columns` neighbouring columns as `[depth][column]`: a prepared buffer
//! already holds it, anything else is packed into the worker's scratch by evaluating its expression. Rows are read where they lie
//! when each depth index is a plain stride: those of a dot, and the pixels of an image under each tap of a convolution, of which a
//! tile takes neighbours along the last row index. Otherwise rows are flattened and packed.
//!
//! Panels of half floats stay 16 bits in memory and are widened as they are loaded, a vector at a time. Rows of half floats would be
//! widened one element at a time, again for each panel, so those of a dot are packed as F32.
//!
//! Where a task packs columns of a sum of many chunks, chunks are the outer loop, so that what is packed and read stays in the cache;
//! sums then wait in scratch.
//!
//! Which tile an element falls into never changes its bits: each is one chain of multiply-adds per chunk of depth.

use super::ahead::Panels;
use super::blocks::{self, contract::BlockContract, matrices::MatrixContract, streams::StreamContract, warpgroups::WarpgroupContract};
use super::context::{Base, Context};
use super::dot::zero;
use super::nest::{self, Tasks};
use super::operands::{Direct, Plain, direct_rows, joined_lines, panels_in_place, plain_rows};
use super::ops::{cast, lane_of, memory_of};
use super::parts;
use super::rewrite::{flatten, merge_axes};
use super::stage::over;
use super::tasks::{for_each_number, for_each_task};
use super::tile::{Epilogue, Left, Part, Tile, Waiting};
use super::{Arg, VectorIsa};
use crate::kernel::cost;
use crate::kernel::{Axis, Body, Contract, ExprId, Kernel, Program, Stage, row_major, sum_dtype};
use crate::tile::{Builder, Reg, Type};
use crate::tuning::{Asking, Subject};
use kiln_ir::{DType, Dim, Ranges, Symbol};

/// Rows that one task takes where there are more, or some more: enough to pay for packing, few enough to stay in the second-level
/// cache. A multiple of every vector unit's tile, where rows are not known.
const ROW_BLOCK: i64 = 60;
/// Other numbers of rows that tuning tries.
const ROW_BLOCKS: [i64; 4] = [30, 120, 240, 480];
/// As [`ROW_BLOCK`], where each task packs its own panel.
pub const PACKED_ROW_BLOCK: i64 = PACKED_ROW_BLOCKS * ROW_BLOCK;
/// How many times as many rows pay for packing.
const PACKED_ROW_BLOCKS: i64 = 4;
/// Panels that one task takes where it packs its rows.
const PANEL_GROUP: i64 = 8;

/// Panels that are further apart are not taken beside each other, so that one address serves them.
const FAR_BYTES: i64 = 1 << 27;

/// A contraction in the form that is emitted.
pub(super) enum Form {
    /// Without panels: for operands that are used once.
    Nest { parallel: Vec<Axis>, works: Vec<nest::Work> },
    /// With panels.
    Tiles(Box<Tiles>),
    /// By blocks of threads.
    Blocks(Box<BlockContract>),
    /// By blocks of threads with matrix units.
    Matrices(Box<MatrixContract>),
    /// By blocks of threads, four warps of which multiply together.
    Warpgroups(Box<WarpgroupContract>),
    /// By blocks of threads that read a matrix once.
    Stream(Box<StreamContract>),
}

/// A contraction by panels and rows.
pub(super) struct Tiles {
    batch: Vec<Axis>,
    /// Row indices that tiles do not run along.
    outer_rows: Vec<Axis>,
    row: Axis,
    column: Axis,
    depth: Vec<Axis>,
    chunk: i64,
    lhs: ExprId,
    rhs: ExprId,
    stores: Vec<crate::kernel::Store>,
    dtype: DType,
    panel_columns: i64,
    /// Panels that tiles of few rows take beside each other.
    panels_beside: i64,
    /// Rows of the largest tile.
    height: i64,
    /// Whether all rows of a task are known and lie anywhere: its tiles are written out one after the other.
    written_out: bool,
    /// Rows of one task, where tasks do not pack.
    block: i64,
    rhs_in_place: Option<Plain>,
    lhs_in_place: Option<Direct>,
}

/// Chooses the form and brings the kernel into it. The kernel's expressions and ranges are then those to emit with.
pub(super) fn form(kernel: &mut Kernel, program: &Program, isa: &VectorIsa, sizes: &Ranges, asking: &mut Asking) -> Form {
    let Body::Contract(contract) = kernel.body.clone() else { panic!("lower: not a contraction") };
    if isa.warpgroups
        && let Some(warpgroups) = blocks::warpgroups::form(kernel, program, isa, sizes, asking)
    {
        return Form::Warpgroups(Box::new(warpgroups));
    }
    if isa.matrices
        && let Some(stream) = blocks::streams::form(kernel, program, sizes)
    {
        return Form::Stream(Box::new(stream));
    }
    if isa.matrices
        && let Some(matrices) = blocks::matrices::form(kernel, program, isa.tf32, sizes, asking)
    {
        return Form::Matrices(Box::new(matrices));
    }
    if isa.is_thread() {
        return match blocks::contract::form(kernel, program, sizes, asking) {
            Some(blocks) => Form::Blocks(Box::new(blocks)),
            None => nest_form(kernel, contract, sizes),
        };
    }
    let rows = Dim::product(contract.rows.iter().map(|a| &a.extent));
    let dtype = sum_dtype(kernel.exprs.get(contract.lhs).dtype);
    let panel_columns = isa.panel_columns(dtype);
    let unflattened = kernel.clone();
    let column = flattened(kernel, |c| &mut c.columns, "#column", sizes);
    let rhs_in_place = panels_in_place(kernel, program, body_mut(&mut kernel.clone()), &column, panel_columns, sizes);
    if rows.is(1) && rhs_in_place.is_none() {
        *kernel = unflattened;
        return nest_form(kernel, contract, sizes);
    }
    // Packing would repeat a pixel for each of its taps, and a task that packs its columns has room for a chunk of them, not for
    // rows as deep as they are.
    let is_widened = |direct: &Direct| {
        let is_half = matches!(program.buffer(direct.access.buffer).dtype, DType::F16 | DType::BF16);
        is_half && isa.loads_half_floats() && direct.steps.len() == 1 && rhs_in_place.is_some()
    };
    let direct = match direct_rows(kernel, sizes).filter(|(_, _, direct)| !is_widened(direct)) {
        Some((outer, row, _)) if rhs_in_place.is_some() && parts::cut(kernel, &outer, &row, sizes) => direct_rows(kernel, sizes),
        direct => direct,
    };
    let is_cut = body_mut(kernel).batch.len() > contract.batch.len();
    let joined = match rhs_in_place.is_some() && !is_cut {
        true => joined_lines(kernel, &column, direct.is_some(), &|direct| !is_widened(direct), isa, dtype, sizes, asking),
        false => None,
    };
    let written_out = joined.is_some();
    let (outer_rows, row, lhs_in_place) = match (joined, direct) {
        (Some((row, direct)), _) => (vec![], row, Some(direct)),
        (None, Some((outer, row, direct))) => (outer, row, Some(direct)),
        (None, None) => {
            let row = flattened(kernel, |c| &mut c.rows, "#row", sizes);
            let direct = plain_rows(kernel, &body_mut(&mut kernel.clone()).clone(), sizes).filter(|direct| !is_widened(direct));
            (vec![], row, direct)
        }
    };
    let contract = body_mut(kernel).clone();
    let rows = row.extent.as_const();
    let near = rhs_in_place.as_ref().and_then(Plain::panel_elements).and_then(|n| n.as_const());
    let near = near.is_some_and(|n| n * dtype.size_bytes() as i64 <= FAR_BYTES);
    let usual = (rows.map_or(isa.tile_rows(), |rows| isa.tile_rows_of(rows)), if near { isa.panels_beside(rows.unwrap_or(1)) } else { 1 });
    let tiles = || isa.tiles_of(rows).filter(|(_, beside)| near || *beside == 1).collect();
    let (height, panels_beside) =
        asking.choose(Subject::Tile, usual, tiles, |(height, beside)| format!("{height} rows of {beside} panels"));
    let is_split = !written_out && rows.is_none_or(|rows| rows > ROW_BLOCKS[0]);
    let blocks = || if is_split { ROW_BLOCKS.to_vec() } else { vec![] };
    let block = asking.choose(Subject::TaskRows, ROW_BLOCK, blocks, i64::to_string);
    Form::Tiles(Box::new(Tiles {
        batch: contract.batch,
        outer_rows,
        row,
        column,
        depth: contract.depth,
        chunk: contract.chunk,
        lhs: contract.lhs,
        rhs: contract.rhs,
        stores: contract.stores,
        dtype,
        panel_columns,
        panels_beside,
        height,
        written_out,
        block,
        rhs_in_place,
        lhs_in_place,
    }))
}

pub(super) fn body_mut(kernel: &mut Kernel) -> &mut Contract {
    match &mut kernel.body {
        Body::Contract(contract) => contract,
        Body::Nest(_) | Body::Attention(_) => panic!("lower: not a contraction"),
    }
}

/// Each output element on its own, along whatever axis suits memory.
fn nest_form(kernel: &mut Kernel, contract: Contract, sizes: &Ranges) -> Form {
    let points = Dim::product(contract.depth.iter().map(|a| &a.extent));
    if contract.depth.len() > 1 && points.as_const().is_none_or(|n| n > contract.chunk) {
        flattened(kernel, |c| &mut c.depth, "#depth", sizes);
    }
    let contract = body_mut(kernel).clone();
    // As one list, rows of a batch may merge with columns.
    let parallel = [contract.batch.clone(), contract.rows.clone(), contract.columns.clone()].concat();
    let merged = Contract { batch: parallel, rows: vec![], columns: vec![], ..contract };
    kernel.body = Body::Contract(merged);
    *kernel = merge_axes(kernel.clone(), sizes);
    let Contract { batch: parallel, depth: axes, chunk, lhs, rhs, stores, .. } = body_mut(kernel).clone();
    let works = vec![nest::Work::Dot { axes, chunk, lhs, rhs }, nest::Work::Stage(Stage::Sweep { axes: vec![], stores })];
    Form::Nest { parallel, works }
}

/// Whether blocks of threads compute a contraction of few rows in one kernel, however deep it is.
pub fn is_stream(kernel: &Kernel, program: &Program) -> bool {
    blocks::streams::form(&mut kernel.clone(), program, &program.symbols).is_some()
}

/// Joins a list of the contraction's axes into one.
pub(super) fn flattened(kernel: &mut Kernel, list: impl Fn(&mut Contract) -> &mut Vec<Axis>, name: &str, sizes: &Ranges) -> Axis {
    let axes = list(body_mut(kernel)).clone();
    let index = Symbol::new(name);
    let joined = flatten(kernel, &axes, &index, sizes);
    *list(body_mut(kernel)) = vec![joined.clone()];
    joined
}

/// The scratch of one worker, as it is laid out.
struct Scratch {
    /// Element offset of the packed rows, or of the sums that wait for the next chunk.
    rows_at: Dim,
    bytes: Dim,
}

/// Where one worker's part of the scratch begins, and what the rows of a task are.
#[derive(Clone, Copy)]
struct Work<'a> {
    memory: Option<Reg>,
    /// Row indices that tiles do not run along and that the task does not fix.
    outer_rows: &'a [Axis],
    first_row: &'a Dim,
    end_row: &'a Dim,
}

impl Tiles {
    fn panels(&self) -> Dim {
        self.column.extent.ceil_div(&Dim::from(self.panel_columns))
    }

    fn points(&self) -> Dim {
        Dim::product(self.depth.iter().map(|a| &a.extent))
    }

    /// Rows of one task, when they are split.
    fn row_block(&self) -> Option<i64> {
        let known = self.row.extent.as_const();
        if self.rhs_in_place.is_some() {
            return (!self.written_out && known.is_none_or(|n| n > self.block)).then_some(self.tiles_of(self.block));
        }
        // Each task packs its panel again: many rows pay for it, but a few tasks are needed to share.
        let others = Dim::product(self.batch.iter().map(|a| &a.extent)) * self.panels();
        if !self.outer_rows.is_empty() {
            return None;
        }
        let packed = PACKED_ROW_BLOCKS * self.block;
        let Some(rows) = known else { return Some(self.tiles_of(packed)) };
        if rows >= 2 * self.block && others.as_const().is_some_and(|others| others < 8) {
            return Some(self.tiles_of(self.block));
        }
        // Blocks alike: a small one at the end would pack as much as the others.
        let blocks = (rows + packed / 2) / packed;
        (blocks > 1).then(|| self.tiles_of((rows + blocks - 1) / blocks))
    }

    /// So many rows or a few more: whole tiles.
    fn tiles_of(&self, rows: i64) -> i64 {
        (rows + self.height - 1) / self.height * self.height
    }

    /// Type of panels in memory: what is packed by a task is what is summed.
    fn panel_dtype(&self, program: &Program) -> DType {
        self.rhs_in_place.as_ref().map_or(self.dtype, |plain| program.buffer(plain.access.buffer).dtype)
    }

    /// Whether chunks of depth are the outer loop of a task.
    fn is_chunked(&self) -> bool {
        self.rhs_in_place.is_none() && self.lhs_in_place.is_some() && self.points().as_const().is_none_or(|n| n > self.chunk)
    }

    /// Rows of one task.
    fn task_rows(&self) -> Dim {
        self.row_block().map_or(self.row.extent.clone(), |block| self.row.extent.minimum(&Dim::from(block)))
    }

    fn scratch(&self) -> Scratch {
        let columns = Dim::from(self.panel_columns);
        let (panel, rows) = if self.is_chunked() {
            let outer = Dim::product(self.outer_rows.iter().map(|a| &a.extent));
            (Dim::from(self.chunk) * &columns, self.task_rows() * outer * &columns)
        } else {
            let panel = if self.rhs_in_place.is_some() { Dim::ZERO } else { self.points() * columns };
            (panel, if self.lhs_in_place.is_some() { Dim::ZERO } else { self.points() * self.task_rows() })
        };
        let bytes = (&panel + rows) * Dim::from(self.dtype.size_bytes());
        Scratch { rows_at: panel, bytes }
    }

    /// Bytes of scratch that one worker needs.
    pub(super) fn scratch_bytes(&self) -> Dim {
        self.scratch().bytes
    }

    /// Emits the kernel.
    pub(super) fn lower(&self, cx: &mut Context, b: &mut Builder) -> Tasks {
        let [_, worker, _, _] = b.params();
        let scratch = self.scratch();
        let memory = (!scratch.bytes.is(0)).then(|| {
            let all = cx.argument(b, Arg::WorkerScratch);
            let bytes = cx.index(b, &(scratch.bytes.ceil_div(&Dim::from(64)) * Dim::from(64)));
            let skipped = b.mul(worker, bytes);
            b.add(all, skipped)
        });
        let (panel, block, group) = (Symbol::new("#panel"), Symbol::new("#rows"), Symbol::new("#panels"));
        cx.ranges.set_index(panel.clone(), self.panels());
        cx.ranges.set_index(self.column.index.clone(), self.panels() * Dim::from(self.panel_columns));
        let rows = self.row_block();
        let task_panels = if self.lhs_in_place.is_none() { PANEL_GROUP } else { self.panels_beside };
        let mut digits = self.batch.clone();
        if task_panels > 1 {
            digits.push(Axis { index: group.clone(), extent: self.panels().ceil_div(&Dim::from(task_panels)) });
        } else {
            digits.push(Axis { index: panel.clone(), extent: self.panels() });
        }
        // A task that packs its panel uses it for all rows.
        let (split_rows, inner_rows) =
            if self.rhs_in_place.is_some() { (&self.outer_rows[..], &[][..]) } else { (&[][..], &self.outer_rows[..]) };
        digits.extend_from_slice(split_rows);
        if let Some(block_rows) = rows {
            digits.push(Axis { index: block.clone(), extent: self.row.extent.ceil_div(&Dim::from(block_rows)) });
        }
        let (first_row, end_row) = match rows {
            None => (Dim::ZERO, self.row.extent.clone()),
            Some(n) => {
                let first = Dim::from(block) * Dim::from(n);
                (first.clone(), (first + Dim::from(n)).minimum(&self.row.extent))
            }
        };
        for_each_task(cx, b, &digits, |cx, b| {
            let left = match &self.lhs_in_place {
                Some(direct) => Left {
                    base: Base::Buffer(direct.access.buffer),
                    offset: direct.offset.clone(),
                    steps: direct.steps.clone(),
                    dtype: cx.program.buffer(direct.access.buffer).dtype,
                },
                None => self.pack_rows(cx, b, memory, &scratch, &first_row, &end_row),
            };
            let work = Work { memory, outer_rows: inner_rows, first_row: &first_row, end_row: &end_row };
            if task_panels == 1 {
                return self.panel(cx, b, &left, work);
            }
            let first = Dim::from(group.clone()) * Dim::from(task_panels);
            let start = cx.index(b, &first);
            let end = cx.index(b, &(first + Dim::from(task_panels)).minimum(&self.panels()));
            let start = self.panels_together(cx, b, &left, work, start, end);
            cx.counted(b, &panel, start, end, 1, &[], |cx, b, _| {
                self.panel(cx, b, &left, work);
                vec![]
            });
        });
        let task_rows = self.task_rows() * Dim::product(inner_rows.iter().map(|a| &a.extent));
        let task_panels = self.panels().minimum(&Dim::from(task_panels));
        Tasks {
            count: Dim::product(digits.iter().map(|a| &a.extent)),
            work: task_rows * task_panels * self.points().maximum(&Dim::ONE) * Dim::from(self.panel_columns),
        }
    }

    /// Copies the task's rows to scratch as `[row][depth]`.
    fn pack_rows(&self, cx: &mut Context, b: &mut Builder, memory: Option<Reg>, scratch: &Scratch, first: &Dim, end: &Dim) -> Left {
        let Some(memory) = memory else {
            // No depth or no rows: nothing is ever read.
            return Left { base: Base::Own(b.scratch(64, 64), cx.top()), offset: Dim::ZERO, steps: self.packed_steps(), dtype: self.dtype };
        };
        let base = Base::Own(memory, 0);
        let offset = (Dim::from(self.row.index.clone()) - first) * self.points() + &scratch.rows_at;
        let (start, stop) = (cx.index(b, first), cx.index(b, end));
        let Some((axis, outer)) = self.depth.split_last() else {
            cx.counted(b, &self.row.index, start, stop, 1, &[], |cx, b, _| {
                self.pack_one(cx, b, base, &offset);
                vec![]
            });
            return Left { base, offset, steps: self.packed_steps(), dtype: self.dtype };
        };
        let lanes = cx.isa.lanes(4);
        let to = &offset + row_major(&self.depth);
        let vectors = (lanes, super::plan::masks_rest(cx, &[self.lhs], &[], &axis.index));
        cx.counted(b, &self.row.index, start, stop, 1, &[], |cx, b, _| {
            over(cx, b, outer, &[], &mut |cx, b, _| {
                super::stage::along_axis(cx, b, axis, (&Dim::ZERO, &axis.extent), vectors, &mut |cx, b| self.pack_one(cx, b, base, &to));
                vec![]
            })
        });
        Left { base, offset, steps: self.packed_steps(), dtype: self.dtype }
    }

    /// Packed rows are contiguous along all of depth.
    fn packed_steps(&self) -> Vec<(Axis, Dim)> {
        vec![(Axis { index: Symbol::new("#depth"), extent: self.points() }, Dim::ONE)]
    }

    fn pack_one(&self, cx: &mut Context, b: &mut Builder, base: Base, to: &Dim) {
        store_operand(cx, b, self.lhs, self.dtype, base, to);
    }

    /// An operand's value in the type of the sums.
    fn operand(&self, cx: &mut Context, b: &mut Builder, id: ExprId) -> Reg {
        operand(cx, b, id, self.dtype)
    }

    /// Panels from `start` on against the task's rows, several at a time, as far as whole ones go; from where it goes on. Where the
    /// number of rows shows when it runs, only one is taken so.
    fn panels_together(&self, cx: &mut Context, b: &mut Builder, left: &Left, work: Work, start: Reg, end: Reg) -> Reg {
        let beside = self.panels_beside;
        if beside == 1 {
            return start;
        }
        let panel = Symbol::new("#panel");
        let together = |cx: &mut Context, b: &mut Builder| {
            let whole = cx.index(b, &(self.column.extent.floor_div(&Dim::from(self.panel_columns))));
            let is_last = b.lt(whole, end);
            let stop = b.select(is_last, whole, end);
            let stop = b.add_int(stop, 1 - beside);
            cx.counted(b, &panel, start, stop, beside, &[start], |cx, b, next| {
                let tile = self.tile(cx, b, left, work);
                let panels = tile.panels.map(|panels| Panels { rows: self.row.extent.as_const().map_or(Dim::ONE, Dim::from), ..panels });
                let height = self.row.extent.as_const().map_or(1, |_| self.height);
                let tile = Tile {
                    columns: beside * self.panel_columns,
                    result_columns: Some(beside * self.panel_columns),
                    panels,
                    height,
                    ..tile
                };
                over(cx, b, work.outer_rows, &[], &mut |cx, b, _| {
                    tile.rows(cx, b, work.first_row, work.end_row);
                    vec![]
                });
                vec![b.add_int(next[0], beside)]
            })
        };
        if self.row.extent.as_const().is_some() {
            return together(cx, b)[0];
        }
        let rows = cx.index(b, &(work.end_row - work.first_row));
        let one = b.index(1);
        let is_one = b.eq(rows, one);
        cx.branch(b, is_one, false, together, |_, _| vec![start])[0]
    }

    /// What tiles of one panel share.
    fn tile<'a>(&'a self, cx: &mut Context, b: &mut Builder, left: &'a Left, work: Work) -> Tile<'a> {
        let panel_dtype = self.panel_dtype(cx.program);
        let right = match (&self.rhs_in_place, work.memory) {
            (Some(plain), _) => {
                let offset = cx.resolve(&plain.offset);
                cx.address(b, Base::Buffer(plain.access.buffer), &offset, panel_dtype.size_bytes() as u32)
            }
            (None, Some(memory)) => {
                if !self.is_chunked() {
                    self.pack_panel(cx, b, memory);
                }
                cx.address(b, Base::Own(memory, 0), &Dim::ZERO, 1)
            }
            (None, None) => super::offsets::Address { reg: b.scratch(64, 64), offset: 0 },
        };
        let sum_lanes = cx.isa.sum_lanes(self.dtype);
        let epilogue = Epilogue {
            stores: &self.stores,
            row: &self.row,
            column: &self.column,
            first_column: Dim::symbol("#panel") * Dim::from(self.panel_columns),
            lanes: sum_lanes,
            is_cheap: cost(&cx.exprs, &self.stores.iter().map(|s| s.value).collect::<Vec<_>>()) <= 12,
        };
        Tile {
            dtype: self.dtype,
            panel_dtype,
            panel_columns: self.panel_columns,
            columns: self.panel_columns,
            result_columns: self.column.extent.as_const().filter(|n| n % self.panel_columns == 0).map(|_| self.panel_columns),
            lanes: sum_lanes,
            points: self.points(),
            height: self.height,
            written_out: self.written_out,
            chunk: self.chunk,
            left,
            right,
            panels: self.rhs_in_place.as_ref().and_then(|plain| self.panels_in_use(cx, plain, work)),
            epilogue,
        }
    }

    /// One panel against the task's rows.
    fn panel(&self, cx: &mut Context, b: &mut Builder, left: &Left, work: Work) {
        let tile = self.tile(cx, b, left, work);
        let sum_lanes = tile.lanes;
        let rows = |cx: &mut Context, b: &mut Builder, tile: &Tile| match work.memory {
            Some(memory) if self.is_chunked() => self.chunks(cx, b, tile, memory, work),
            _ => {
                over(cx, b, work.outer_rows, &[], &mut |cx, b, _| {
                    tile.rows(cx, b, work.first_row, work.end_row);
                    vec![]
                });
            }
        };
        // The last panel may need fewer registers of columns.
        let rest = self.column.extent.as_const().map_or(0, |n| n % self.panel_columns);
        let narrow = (rest + i64::from(sum_lanes) - 1) / i64::from(sum_lanes) * i64::from(sum_lanes);
        if rest == 0 {
            return rows(cx, b, &tile);
        }
        let narrow = Tile { columns: narrow, result_columns: Some(rest), ..tile.clone() };
        let tile = Tile { result_columns: Some(self.panel_columns), ..tile };
        if self.panels().is(1) {
            return rows(cx, b, &narrow);
        }
        let panel = cx.index(b, &Dim::symbol("#panel"));
        let last = cx.index(b, &(self.panels() - Dim::ONE));
        let is_whole = b.lt(panel, last);
        cx.branch(
            b,
            is_whole,
            false,
            |cx, b| {
                rows(cx, b, &tile);
                vec![]
            },
            |cx, b| {
                rows(cx, b, &narrow);
                vec![]
            },
        );
    }

    /// How panels lie that are read in place, and what a tile's rows are of those that are taken with each.
    fn panels_in_use(&self, cx: &Context, plain: &Plain, work: Work) -> Option<Panels> {
        let size = Dim::from(self.panel_dtype(cx.program).size_bytes());
        let step = plain.panel_elements()?;
        let total_bytes = cx.program.buffer(plain.access.buffer).elements() * &size;
        let row = Dim::from(self.row.index.clone());
        // A task of several panels takes one after the other.
        let (rows, before) = if self.lhs_in_place.is_none() || self.panels_beside > 1 {
            (self.task_rows(), row - work.first_row)
        } else {
            let outer = Dim::product(self.outer_rows.iter().map(|a| &a.extent));
            (outer * &self.row.extent, row_major(&self.outer_rows) * &self.row.extent + row)
        };
        Some(Panels { bytes: step * size, total_bytes, rows, before })
    }

    /// The tiles of all rows for one chunk of depth after the other, then their epilogues.
    fn chunks(&self, cx: &mut Context, b: &mut Builder, tile: &Tile, memory: Reg, work: Work) {
        let place = row_major(work.outer_rows) * self.task_rows() - work.first_row + Dim::from(self.row.index.clone());
        let waiting = Waiting { base: Base::Own(memory, 0), offset: &self.scratch().rows_at + place * Dim::from(tile.columns) };
        let each = |cx: &mut Context, b: &mut Builder, part: &Part| {
            over(cx, b, work.outer_rows, &[], &mut |cx, b, _| {
                tile.parts_of_rows(cx, b, work.first_row, work.end_row, part, &waiting);
                vec![]
            });
        };
        // In units of the first axis by which the left operand moves: single points, or images and channels of a convolution.
        let length = &tile.left.steps[0].0.extent;
        let taps = tile.taps();
        let step = self.chunk / taps;
        // The first chunk may be empty: it begins the sums.
        let (begin, end) = (cx.index(b, &Dim::ZERO), cx.index(b, &length.maximum(&Dim::ONE)));
        let chunk = Symbol::new("#chunk");
        cx.ranges.set_index(chunk.clone(), length.maximum(&Dim::ONE));
        each(cx, b, &Part::Begin);
        cx.counted(b, &chunk, begin, end, step, &[], |cx, b, _| {
            let from = cx.index(b, &Dim::from(chunk.clone()));
            let to = cx.index(b, &(Dim::from(chunk.clone()) + Dim::from(step)).minimum(length));
            let skipped = Dim::from(chunk.clone()) * Dim::from(taps * self.panel_columns);
            self.pack_chunk(cx, b, memory, (from, to), taps, &skipped);
            // As if the panel began at the first point of depth.
            let skipped = cx.index(b, &(skipped * Dim::from(self.dtype.size_bytes())));
            let right = super::offsets::Address { reg: b.sub(tile.right.reg, skipped), ..tile.right };
            each(cx, b, &Part::Chunk { right, from, to });
            vec![]
        });
        each(cx, b, &Part::End);
    }

    /// Evaluates the panel's columns into scratch as `[depth][column]`.
    fn pack_panel(&self, cx: &mut Context, b: &mut Builder, memory: Reg) {
        let to = row_major(&self.depth) * Dim::from(self.panel_columns);
        self.with_columns(cx, b, &|cx, b, columns| {
            over(cx, b, &self.depth, &[], &mut |cx, b, _| {
                self.pack_columns(cx, b, memory, &to, columns);
                vec![]
            });
        });
    }

    /// Runs `body` with how many columns the panel has.
    fn with_columns(&self, cx: &mut Context, b: &mut Builder, body: &dyn Fn(&mut Context, &mut Builder, &Dim)) {
        let (known, all) = (self.column.extent.as_const(), self.panel_columns);
        match known.map(|n| (n, n % all)) {
            Some((_, 0)) => return body(cx, b, &Dim::from(all)),
            Some((n, _)) if n < all => return body(cx, b, &Dim::from(n)),
            _ => {}
        }
        let left = &self.column.extent - Dim::symbol("#panel") * Dim::from(all);
        let (count, whole) = (cx.index(b, &left), cx.index(b, &Dim::from(all)));
        let is_whole = b.ge(count, whole);
        let last = known.map_or(left, |n| Dim::from(n % all));
        let branch = |cx: &mut Context, b: &mut Builder, columns: &Dim| {
            body(cx, b, columns);
            vec![]
        };
        cx.branch(b, is_whole, false, |cx, b| branch(cx, b, &Dim::from(all)), |cx, b| branch(cx, b, &last));
    }

    /// The same for one chunk of depth, in units of `taps` points; `skipped` is what lies before it.
    fn pack_chunk(&self, cx: &mut Context, b: &mut Builder, memory: Reg, (from, to): (Reg, Reg), taps: i64, skipped: &Dim) {
        let points = Dim::product(self.depth.iter().map(|a| &a.extent));
        let place = row_major(&self.depth) * Dim::from(self.panel_columns) - skipped;
        cx.when_nonempty(b, &points, &[], |cx, b| {
            let [from, to] = [from, to].map(|at| super::offsets::times(b, at, taps));
            self.with_columns(cx, b, &|cx, b, columns| {
                for_each_number(cx, b, &self.depth, from, to, |cx, b| self.pack_columns(cx, b, memory, &place, columns));
            });
            vec![]
        });
    }

    /// One point of depth of the panel's columns, of which there are so many. Vectors of which nothing is there stay as they are where
    /// that is known, as no tile reads them.
    fn pack_columns(&self, cx: &mut Context, b: &mut Builder, memory: Reg, place: &Dim, columns: &Dim) {
        let lanes = cx.isa.lanes(4);
        let first = Dim::symbol("#panel") * Dim::from(self.panel_columns);
        for start in (0..self.panel_columns).step_by(lanes as usize) {
            let left = columns - Dim::from(start);
            let value = |cx: &mut Context, b: &mut Builder| {
                let active = cx.first_lanes(b, &left, lanes);
                cx.with_active(active, |cx| {
                    cx.vectored(&self.column.index, &first + Dim::from(start), lanes, |cx| {
                        let value = self.operand(cx, b, self.rhs);
                        cx.widened(b, super::context::Value { reg: value, level: cx.top() }, lanes)
                    })
                })
            };
            let value = match left.as_const() {
                Some(n) if n <= 0 => continue,
                Some(_) => value(cx, b),
                None => {
                    let (count, none) = (cx.index(b, &left), cx.index(b, &Dim::ZERO));
                    let is_there = b.gt(count, none);
                    let zero = zero(b, Type::scalar(lane_of(self.dtype)).times(lanes));
                    cx.branch(b, is_there, false, |cx, b| vec![value(cx, b)], |_, _| vec![zero])[0]
                }
            };
            let to = cx.resolve(&(place + Dim::from(start)));
            let at = cx.address(b, Base::Own(memory, 0), &to, self.dtype.size_bytes() as u32);
            b.store(memory_of(self.dtype), value, at.reg, at.offset);
        }
    }
}

/// The value of an operand in the type of the sums.
pub(super) fn operand(cx: &mut Context, b: &mut Builder, id: ExprId, sum: DType) -> Reg {
    let dtype = cx.exprs.get(id).dtype;
    let value = cx.eval(b, id).reg;
    if lane_of(dtype) == lane_of(sum) { value } else { cast(b, dtype, sum, value) }
}

/// Stores that value at this point, or in all lanes, from element `to` on.
pub(super) fn store_operand(cx: &mut Context, b: &mut Builder, id: ExprId, sum: DType, base: Base, to: &Dim) {
    let value = operand(cx, b, id, sum);
    match cx.lanes.clone() {
        Some((_, lanes)) => {
            let value = cx.widened(b, super::context::Value { reg: value, level: cx.top() }, lanes);
            cx.store_vector(b, base, sum, to, &Dim::ONE, value);
        }
        None => {
            let to = cx.resolve(to);
            let at = cx.address(b, base, &to, sum.size_bytes() as u32);
            b.store(memory_of(sum), value, at.reg, at.offset);
        }
    }
}

/// Emits a contraction in any form.
pub(super) fn lower_contract(form: &Form, cx: &mut Context, b: &mut Builder, asking: &mut Asking) -> Tasks {
    match form {
        Form::Nest { parallel, works } => nest::lower_nest(cx, b, parallel, works, false, asking),
        Form::Tiles(tiles) => tiles.lower(cx, b),
        Form::Blocks(blocks) => blocks.lower(cx, b),
        Form::Matrices(matrices) => matrices.lower(cx, b),
        Form::Warpgroups(warpgroups) => warpgroups.lower(cx, b),
        Form::Stream(stream) => stream.lower(cx, b),
    }
}
