//! Packs operands of contractions: those that depend on parameters only, and those that many tasks share.
//!
//! ```text
//! y = x · w[k, n]      →      prepare { p[panel, k, lane] = w[k, 16·panel + lane] } ; y = x · p[n/16, k, n%16]
//! ```
//!
//! Right operands become panels `[batch][panel][depth][column]`, the last one padded with zeros (of half floats too, where vectors
//! of them can be loaded: a product of few rows takes the time that it takes to read its panels); left operands whose depth is not
//! contiguous become rows `[batch][row][depth]`. Equal packings are made once.
//! A right operand of run time becomes panels in a step before the loop that does not change it, or before the kernel when many
//! tasks would pack the same columns; lowering packs the others per task.
//! Needs: constant extents of the packed axes.  Keeps: every value.

use super::Enclosing;
use crate::kernel::{
    Access, Axis, Body, Bound, Buffer, BufferId, BufferKind, Contract, ExprId, ExprKind, Exprs, Kernel, Nest, Program, Stage, Step, Store,
    buffers_touched, row_major, sum_dtype, unravelled,
};
use crate::lower::{PACKED_ROW_BLOCK, VectorIsa};
use kiln_ir::{DType, Dim, Symbol};
use std::collections::{BTreeMap, BTreeSet};

/// Packs operands of one program after the other kernel.
pub(super) struct Packer<'a> {
    pub(super) program: &'a mut Program,
    pub(super) isa: &'a VectorIsa,
    /// What was packed so far, with an invalid buffer in its store, and where it went.
    known: Vec<(Nest, Exprs, BufferId)>,
    /// How many kernels read each buffer at run time.
    readers: BTreeMap<BufferId, usize>,
}

/// With fewer tasks than this, rows are split too.
const FEW_TASKS: i64 = 16;
/// Rows that are worth splitting.
const MANY_ROWS: i64 = 128;

/// Buffer id of a store before the buffer exists.
const UNPLACED: BufferId = BufferId(u32::MAX);

impl<'a> Packer<'a> {
    pub(super) fn new(program: &'a mut Program, isa: &'a VectorIsa, steps: &[Step]) -> Packer<'a> {
        let mut readers = BTreeMap::new();
        let mut count = |kernel: &Kernel| kernel.loads().into_iter().for_each(|id| *readers.entry(id).or_default() += 1);
        steps.iter().for_each(|step| step.visit_kernels(&mut count));
        Packer { program, isa, known: vec![], readers }
    }

    /// Has a kernel read packed copies. What was only made to be packed, such as weights transformed for tiles, is not kept then, and
    /// pays for nothing.
    pub(super) fn replacing<R>(&mut self, kernel: &mut Kernel, pack: impl FnOnce(&mut Self, &mut Kernel) -> R) -> R {
        let before = kernel.loads();
        let result = pack(self, kernel);
        for id in before.difference(&kernel.loads()) {
            let Some(readers) = self.readers.get_mut(id) else { continue };
            *readers -= 1;
            if *readers == 0 {
                self.program.prepare_budget.release(*id, &self.program.buffers[id.0 as usize]);
            }
        }
        result
    }

    /// Packs what should be packed of a contraction's operands inside these loops. The step to run before the kernel, if there is
    /// one, and the number of loops that it stays inside.
    pub(super) fn pack(&mut self, kernel: &mut Kernel, loops: &[Enclosing]) -> Option<(usize, Step)> {
        let Body::Contract(contract) = kernel.body.clone() else { return None };
        let rows = extent(&contract.rows);
        let mut before = None;
        // One row and a shallow sum is computed from its expressions; panels would only copy.
        let deep = extent(&contract.depth).as_const().is_none_or(|n| n >= 32);
        if deep || !rows.is(1) {
            let lists = [&contract.batch, &contract.columns, &contract.depth];
            if let Some(used) = self.packable(&kernel.exprs, contract.rhs, lists) {
                if let Some((rhs, step)) = self.panels(kernel, &contract, &used, BufferKind::Prepared) {
                    self.program.prepare.extend(step);
                    kernel.body = Body::Contract(Contract { rhs, ..contract });
                }
            } else {
                let level = level(&kernel.exprs, contract.rhs, loops);
                if (level < loops.len() || self.is_shared(kernel, &contract))
                    && has_known_panels(&contract)
                    && let Some((rhs, step)) = self.panels(kernel, &contract, &kernel.exprs.symbols(contract.rhs), BufferKind::Temporary)
                {
                    before = step.map(|step| (level, step));
                    kernel.body = Body::Contract(Contract { rhs, ..contract });
                }
            }
        }
        let Body::Contract(contract) = kernel.body.clone() else { return before };
        if rows.is(1)
            && let Some((lhs, step)) = self.side_by_side(kernel, &contract)
        {
            self.program.prepare.extend(step);
            kernel.body = Body::Contract(Contract { lhs, ..contract });
            return before;
        }
        if !rows.is(1)
            && !has_contiguous_depth(&kernel.exprs, &contract)
            && let Some((lhs, step)) = self.rows(kernel, &contract)
        {
            self.program.prepare.extend(step);
            kernel.body = Body::Contract(Contract { lhs, ..contract });
        }
        before
    }

    /// Whether many tasks would pack the same columns: products that share them, many rows, or too few tasks for all threads.
    fn is_shared(&self, kernel: &Kernel, contract: &Contract) -> bool {
        let used = kernel.exprs.symbols(contract.rhs);
        if contract.batch.iter().any(|a| !used.contains(&a.index) && !a.extent.is(1)) {
            return true;
        }
        let Some(rows) = extent(&contract.rows).as_const() else { return contract.batch.is_empty() };
        let panels =
            extent(&contract.columns).ceil_div(&Dim::from(self.isa.panel_columns(sum_dtype(kernel.exprs.get(contract.lhs).dtype))));
        // Sizes that are not known are often 1: a batch of one image.
        let tasks = extent(&contract.batch) * panels;
        let few = tasks.terms().iter().map(|t| t.coefficient).fold(0, i64::saturating_add) < FEW_TASKS;
        (few && rows >= MANY_ROWS) || rows > PACKED_ROW_BLOCK
    }

    /// The right operand as a load from packed panels.
    fn panels(
        &mut self,
        kernel: &mut Kernel,
        contract: &Contract,
        used: &BTreeSet<Symbol>,
        kind: BufferKind,
    ) -> Option<(ExprId, Option<Step>)> {
        let lanes = Dim::from(self.isa.panel_columns(sum_dtype(kernel.exprs.get(contract.lhs).dtype)));
        let own = kernel.exprs.get(contract.rhs).dtype;
        let dtype = if self.isa.loads_half_floats() { own } else { sum_dtype(own) };
        let (columns, depth) = (extent(&contract.columns), extent(&contract.depth));
        if columns.is(0) || depth.is(0) {
            return None;
        }
        let panels = columns.ceil_div(&lanes);
        let (panel, lane) = (axis("panel", &panels), axis("lane", &lanes));
        let column = at(&panel) * &lanes + at(&lane);
        let mut parts = unravelled(&column, &contract.columns);
        let bound = (columns.as_const()? % lanes.as_const()? != 0).then(|| Bound { index: column.clone(), extent: columns.clone() });
        let batch: Vec<Axis> = contract.batch.iter().filter(|a| used.contains(&a.index)).cloned().collect();
        let position = row_major(&contract.depth);
        let offset = ((row_major(&batch) * &panels + at(&panel)) * &depth + &position) * &lanes + at(&lane);
        let parallel = [batch.clone(), vec![panel], contract.depth.clone(), vec![lane]].concat();
        let shape = [batch.iter().map(|a| a.extent.clone()).collect(), vec![panels.clone(), depth.clone(), lanes.clone()]].concat();
        parts.retain(|s, _| contract.columns.iter().any(|a| a.index == *s));
        let (buffer, step) = self.store(kernel, contract.rhs, dtype, kind, parallel, offset, shape, &parts, bound)?;
        let column = row_major(&contract.columns);
        let from = ((row_major(&batch) * &panels + column.floor_div(&lanes)) * &depth + position) * &lanes + column.modulo(&lanes);
        Some((kernel.exprs.add(dtype, ExprKind::Load(Access { buffer, offset: from, bounds: vec![], otherwise: None })), step))
    }

    /// The left operand of products that have one row each, as `[depth][batch]`: a vector then holds the weights of neighbouring
    /// products, such as the channels of a depthwise convolution.
    fn side_by_side(&mut self, kernel: &mut Kernel, contract: &Contract) -> Option<(ExprId, Option<Step>)> {
        let used = self.packable(&kernel.exprs, contract.lhs, [&contract.batch, &contract.rows, &contract.depth])?;
        let dtype = sum_dtype(kernel.exprs.get(contract.rhs).dtype);
        let batch: Vec<Axis> = contract.batch.iter().filter(|a| used.contains(&a.index)).cloned().collect();
        let (products, depth) = (extent(&batch), extent(&contract.depth));
        if products.is(0) || products.is(1) || depth.is(0) || depth.is(1) {
            return None;
        }
        let offset = row_major(&contract.depth) * &products + row_major(&batch);
        let shape = contract.depth.iter().chain(&batch).map(|a| a.extent.clone()).collect();
        // The one row is an index of the operand too.
        let parallel = [contract.depth.clone(), batch, contract.rows.clone()].concat();
        let kind = BufferKind::Prepared;
        let (buffer, step) = self.store(kernel, contract.lhs, dtype, kind, parallel, offset.clone(), shape, &BTreeMap::new(), None)?;
        Some((kernel.exprs.add(dtype, ExprKind::Load(Access { buffer, offset, bounds: vec![], otherwise: None })), step))
    }

    /// The left operand as a load from packed rows.
    fn rows(&mut self, kernel: &mut Kernel, contract: &Contract) -> Option<(ExprId, Option<Step>)> {
        let dtype = sum_dtype(kernel.exprs.get(contract.rhs).dtype);
        self.packed_lines(kernel, contract, (contract.lhs, &contract.rows), dtype, BufferKind::Prepared)
    }

    fn packed_lines(
        &mut self,
        kernel: &mut Kernel,
        contract: &Contract,
        (id, own): (ExprId, &Vec<Axis>),
        dtype: DType,
        kind: BufferKind,
    ) -> Option<(ExprId, Option<Step>)> {
        let used = match kind {
            BufferKind::Prepared => self.packable(&kernel.exprs, id, [&contract.batch, own, &contract.depth])?,
            _ => kernel.exprs.symbols(id),
        };
        let (rows, depth) = (extent(own), extent(&contract.depth));
        if rows.is(0) || depth.is(0) {
            return None;
        }
        let batch: Vec<Axis> = contract.batch.iter().filter(|a| used.contains(&a.index)).cloned().collect();
        let offset = (row_major(&batch) * &rows + row_major(own)) * &depth + row_major(&contract.depth);
        let parallel = [batch.clone(), own.clone(), contract.depth.clone()].concat();
        let shape = [batch.iter().map(|a| a.extent.clone()).collect(), vec![rows, depth]].concat();
        let (buffer, step) = self.store(kernel, id, dtype, kind, parallel, offset.clone(), shape, &BTreeMap::new(), None)?;
        Some((kernel.exprs.add(dtype, ExprKind::Load(Access { buffer, offset, bounds: vec![], otherwise: None })), step))
    }

    /// Which of the operands depend on parameters only: the left, the right.
    pub(super) fn packable_sides(&self, kernel: &Kernel) -> [bool; 2] {
        let Body::Contract(contract) = &kernel.body else { return [false; 2] };
        let sides = [(contract.lhs, &contract.rows), (contract.rhs, &contract.columns)];
        sides.map(|(id, own)| self.packable(&kernel.exprs, id, [&contract.batch, own, &contract.depth]).is_some())
    }

    /// An operand of its own type as a load from packed lines `[batch][row or column][depth]`, in a buffer of that kind.
    pub(super) fn lines(
        &mut self,
        kernel: &mut Kernel,
        contract: &Contract,
        is_left: bool,
        kind: BufferKind,
    ) -> Option<(ExprId, Option<Step>)> {
        let (id, own) = if is_left { (contract.lhs, &contract.rows) } else { (contract.rhs, &contract.columns) };
        let dtype = kernel.exprs.get(id).dtype;
        self.packed_lines(kernel, contract, (id, own), dtype, kind)
    }

    /// The indices an operand uses, if it depends on parameters only and all its sizes are constants.
    fn packable(&self, exprs: &Exprs, id: ExprId, lists: [&Vec<Axis>; 3]) -> Option<BTreeSet<Symbol>> {
        let indices: Vec<&Axis> = lists.into_iter().flatten().collect();
        let mut todo = vec![id];
        let mut from_parameters = false;
        while let Some(id) = todo.pop() {
            match &exprs.get(id).kind {
                ExprKind::Load(access) => {
                    if !matches!(
                        self.program.buffer(access.buffer).kind,
                        BufferKind::Constant(_) | BufferKind::Parameter(_) | BufferKind::Prepared
                    ) {
                        return None;
                    }
                    from_parameters = true;
                }
                // A failed check is an error of the run, not of preparing it.
                ExprKind::CheckedIndex { .. } | ExprKind::Accumulator(_) => return None,
                ExprKind::Index(_)
                | ExprKind::Constant(_)
                | ExprKind::Unary(..)
                | ExprKind::Binary(..)
                | ExprKind::Compare(..)
                | ExprKind::Select(..)
                | ExprKind::Cast(_) => {}
            }
            todo.extend(exprs.operands(id));
        }
        // A size or an enclosing loop's index is not known when parameters are.
        let used = exprs.symbols(id);
        if !used.iter().all(|s| indices.iter().any(|a| a.index == *s)) {
            return None;
        }
        let [batch, own, depth] = lists;
        let constant = |a: &Axis| a.extent.as_const().is_some();
        let extents = own.iter().chain(depth).all(constant) && batch.iter().filter(|a| used.contains(&a.index)).all(constant);
        (from_parameters && extents).then_some(used)
    }

    /// The buffer that holds the operand so, and the step that makes it if it is new; nothing if preparing it exceeds the budget.
    #[allow(clippy::too_many_arguments)] // what is stored, where, over which axes
    fn store(
        &mut self,
        kernel: &Kernel,
        operand: ExprId,
        dtype: DType,
        kind: BufferKind,
        parallel: Vec<Axis>,
        offset: Dim,
        shape: Vec<Dim>,
        parts: &BTreeMap<Symbol, Dim>,
        bound: Option<Bound>,
    ) -> Option<(BufferId, Option<Step>)> {
        let (exprs, value) = operand_exprs(&kernel.exprs, operand, dtype, parts, bound.as_ref());
        let store = Store { buffer: UNPLACED, offset, value, combine: None };
        let nest = Nest { parallel, stages: vec![Stage::Sweep { axes: vec![], stores: vec![store] }], serial: false };
        let prepared = kind == BufferKind::Prepared;
        if prepared && let Some((_, _, buffer)) = self.known.iter().find(|(n, e, _)| *n == nest && *e == exprs) {
            return Some((*buffer, None));
        }
        let name = format!("{}_packed", kernel.name);
        let buffer = self.program.add_buffer(Buffer { name: name.clone(), dtype, shape, kind });
        let mut placed = nest.clone();
        for stage in &mut placed.stages {
            if let Stage::Sweep { stores, .. } = stage {
                stores.iter_mut().for_each(|s| s.buffer = buffer);
            }
        }
        let body = Body::Nest(placed);
        let step = Step::Run(Kernel { name, origins: kernel.origins.clone(), exprs: exprs.clone(), body });
        if prepared {
            let read_here_alone = |id: &BufferId| self.readers.get(id) == Some(&1);
            let replaced: Vec<BufferId> = buffers_touched(std::slice::from_ref(&step)).into_iter().filter(read_here_alone).collect();
            let mut budget = std::mem::take(&mut self.program.prepare_budget);
            let fits = budget.take(self.program, &step, &replaced);
            self.program.prepare_budget = budget;
            if !fits {
                self.program.buffers.pop();
                return None;
            }
            self.known.push((nest, exprs, buffer));
        }
        Some((buffer, Some(step)))
    }
}

/// The operand alone, in type `dtype`, with column indices replaced and loads bounded to existing columns.
fn operand_exprs(from: &Exprs, id: ExprId, dtype: DType, parts: &BTreeMap<Symbol, Dim>, bound: Option<&Bound>) -> (Exprs, ExprId) {
    let mut exprs = Exprs::default();
    let mut copies: BTreeMap<ExprId, ExprId> = BTreeMap::new();
    let value = copy(from, id, parts, bound, &mut exprs, &mut copies);
    let value = if exprs.get(value).dtype == dtype { value } else { exprs.add(dtype, ExprKind::Cast(value)) };
    (exprs, value)
}

pub(super) fn copy(
    from: &Exprs,
    id: ExprId,
    parts: &BTreeMap<Symbol, Dim>,
    bound: Option<&Bound>,
    to: &mut Exprs,
    copies: &mut BTreeMap<ExprId, ExprId>,
) -> ExprId {
    if let Some(done) = copies.get(&id) {
        return *done;
    }
    for operand in from.operands(id) {
        copy(from, operand, parts, bound, to, copies);
    }
    let expr = from.get(id).clone();
    let dim = |d: &Dim| {
        d.substitute(&|s| match ExprId::of_symbol(s) {
            Some(id) => Some(Dim::from(copies[&id].symbol())),
            None => parts.get(s).cloned(),
        })
    };
    let mut kind = expr.kind.map(&mut |e| copies[&e], &mut |d| dim(d));
    if let (ExprKind::Load(access), Some(bound)) = (&mut kind, bound) {
        access.bounds.push(bound.clone());
        if access.otherwise.is_none() {
            access.otherwise = Some(to.constant(expr.dtype, 0.0));
        }
    }
    let new = to.add(expr.dtype, kind);
    copies.insert(id, new);
    new
}

/// Whether the extents of the right operand's panels are constants.
fn has_known_panels(contract: &Contract) -> bool {
    contract.columns.iter().chain(&contract.depth).all(|a| a.extent.as_const().is_some())
}

/// How many of the loops, from the outermost on, an operand has to stay inside: those that it changes in, and all around them.
fn level(exprs: &Exprs, id: ExprId, loops: &[Enclosing]) -> usize {
    let (mut todo, mut loaded, mut checks) = (vec![id], BTreeSet::new(), false);
    while let Some(id) = todo.pop() {
        match &exprs.get(id).kind {
            ExprKind::Load(access) => {
                loaded.insert(access.buffer);
            }
            // A loop that runs no turn checks nothing.
            ExprKind::CheckedIndex { .. } => checks = true,
            _ => {}
        }
        todo.extend(exprs.operands(id));
    }
    let symbols = exprs.symbols(id);
    let changes = |around: &Enclosing| checks || symbols.contains(&around.index) || !around.stored.is_disjoint(&loaded);
    loops.iter().rposition(changes).map_or(0, |innermost| innermost + 1)
}

/// Whether the left operand is a plain load in which depth is contiguous.
pub(super) fn has_contiguous_depth(exprs: &Exprs, contract: &Contract) -> bool {
    let ExprKind::Load(access) = &exprs.get(contract.lhs).kind else { return false };
    let position = row_major(&contract.depth);
    access.bounds.is_empty()
        && contract.depth.iter().all(|a| access.offset.linear_in(&a.index).map(|l| l.0) == position.linear_in(&a.index).map(|l| l.0))
}

pub(super) fn extent(axes: &[Axis]) -> Dim {
    Dim::product(axes.iter().map(|a| &a.extent))
}

fn axis(name: &str, extent: &Dim) -> Axis {
    Axis { index: Symbol::new(&format!("${name}")), extent: extent.clone() }
}

fn at(axis: &Axis) -> Dim {
    Dim::from(axis.index.clone())
}
