//! Packs operands of contractions that depend on parameters only.
//!
//! ```text
//! y = x · w[k, n]      →      prepare { p[panel, k, lane] = w[k, 16·panel + lane] } ; y = x · p[n/16, k, n%16]
//! ```
//!
//! Right operands become panels `[batch][panel][depth][column]`, the last one padded with zeros; left operands whose depth is not
//! contiguous become rows `[batch][row][depth]`. Equal packings are made once.
//! Needs: constant extents of the packed axes.  Keeps: every value.  Skips: operands of run time, which lowering packs per task.

use crate::backend::cpu::lower::VectorIsa;
use crate::kernel::{
    Access, Axis, Body, Bound, Buffer, BufferId, BufferKind, Contract, ExprId, ExprKind, Exprs, Kernel, Nest, Program, Stage, Step, Store,
    row_major, sum_dtype, unravelled,
};
use kiln_ir::{DType, Dim, Symbol};
use std::collections::BTreeMap;

/// Packs operands of one program after the other kernel.
pub(super) struct Packer<'a> {
    program: &'a mut Program,
    isa: &'a VectorIsa,
    /// What was packed so far, with an invalid buffer in its store, and where it went.
    known: Vec<(Nest, Exprs, BufferId)>,
}

/// Buffer id of a store before the buffer exists.
const UNPLACED: BufferId = BufferId(u32::MAX);

impl<'a> Packer<'a> {
    pub(super) fn new(program: &'a mut Program, isa: &'a VectorIsa) -> Packer<'a> {
        Packer { program, isa, known: vec![] }
    }

    /// Packs what can be packed of a contraction's operands.
    pub(super) fn pack(&mut self, kernel: &mut Kernel) {
        let Body::Contract(contract) = kernel.body.clone() else { return };
        let rows = Dim::product(contract.rows.iter().map(|a| &a.extent));
        // One row and a shallow sum is computed from its expressions; panels would only copy.
        let deep = Dim::product(contract.depth.iter().map(|a| &a.extent)).as_const().is_none_or(|n| n >= 32);
        if (deep || !rows.is(1))
            && let Some(rhs) = self.panels(kernel, &contract)
        {
            kernel.body = Body::Contract(Contract { rhs, ..contract });
        }
        let Body::Contract(contract) = kernel.body.clone() else { return };
        if !rows.is(1)
            && !has_contiguous_depth(&kernel.exprs, &contract)
            && let Some(lhs) = self.rows(kernel, &contract)
        {
            kernel.body = Body::Contract(Contract { lhs, ..contract });
        }
    }

    /// The right operand as a load from packed panels.
    fn panels(&mut self, kernel: &mut Kernel, contract: &Contract) -> Option<ExprId> {
        let used = self.packable(&kernel.exprs, contract.rhs, [&contract.batch, &contract.columns, &contract.depth])?;
        let dtype = sum_dtype(kernel.exprs.get(contract.lhs).dtype);
        let lanes = Dim::from(self.isa.panel_columns(dtype));
        let columns = Dim::product(contract.columns.iter().map(|a| &a.extent));
        let depth = Dim::product(contract.depth.iter().map(|a| &a.extent));
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
        let buffer = self.store(kernel, contract.rhs, dtype, parallel, offset, shape, &parts, bound);
        let column = row_major(&contract.columns);
        let from = ((row_major(&batch) * &panels + column.floor_div(&lanes)) * &depth + position) * &lanes + column.modulo(&lanes);
        Some(kernel.exprs.add(dtype, ExprKind::Load(Access { buffer, offset: from, bounds: vec![], otherwise: None })))
    }

    /// The left operand as a load from packed rows.
    fn rows(&mut self, kernel: &mut Kernel, contract: &Contract) -> Option<ExprId> {
        let used = self.packable(&kernel.exprs, contract.lhs, [&contract.batch, &contract.rows, &contract.depth])?;
        let dtype = sum_dtype(kernel.exprs.get(contract.rhs).dtype);
        let extent = |axes: &[Axis]| Dim::product(axes.iter().map(|a| &a.extent));
        let (rows, depth) = (extent(&contract.rows), extent(&contract.depth));
        if rows.is(0) || depth.is(0) {
            return None;
        }
        let batch: Vec<Axis> = contract.batch.iter().filter(|a| used.contains(&a.index)).cloned().collect();
        let offset = (row_major(&batch) * &rows + row_major(&contract.rows)) * &depth + row_major(&contract.depth);
        let parallel = [batch.clone(), contract.rows.clone(), contract.depth.clone()].concat();
        let shape = [batch.iter().map(|a| a.extent.clone()).collect(), vec![rows, depth]].concat();
        let buffer = self.store(kernel, contract.lhs, dtype, parallel, offset.clone(), shape, &BTreeMap::new(), None);
        Some(kernel.exprs.add(dtype, ExprKind::Load(Access { buffer, offset, bounds: vec![], otherwise: None })))
    }

    /// The indices an operand uses, if it depends on parameters only and all its sizes are constants.
    fn packable(&self, exprs: &Exprs, id: ExprId, lists: [&Vec<Axis>; 3]) -> Option<Vec<Symbol>> {
        let indices: Vec<&Axis> = lists.into_iter().flatten().collect();
        let mut used: Vec<Symbol> = Vec::new();
        let mut todo = vec![id];
        let mut from_parameters = false;
        while let Some(id) = todo.pop() {
            let mut dims: Vec<&Dim> = Vec::new();
            match &exprs.get(id).kind {
                ExprKind::Load(access) => {
                    if !matches!(
                        self.program.buffer(access.buffer).kind,
                        BufferKind::Constant(_) | BufferKind::Parameter(_) | BufferKind::Prepared
                    ) {
                        return None;
                    }
                    from_parameters = true;
                    dims.push(&access.offset);
                    dims.extend(access.bounds.iter().flat_map(|b| [&b.index, &b.extent]));
                }
                ExprKind::Index(d) => dims.push(d),
                // A failed check is an error of the run, not of preparing it.
                ExprKind::CheckedIndex { .. } | ExprKind::Accumulator(_) => return None,
                ExprKind::Constant(_)
                | ExprKind::Unary(..)
                | ExprKind::Binary(..)
                | ExprKind::Compare(..)
                | ExprKind::Select(..)
                | ExprKind::Cast(_) => {}
            }
            for symbol in dims.into_iter().flat_map(|d| d.symbols()) {
                if ExprId::of_symbol(&symbol).is_none() && !used.contains(&symbol) {
                    // A size or an enclosing loop's index: not known when parameters are.
                    indices.iter().find(|a| a.index == symbol)?;
                    used.push(symbol);
                }
            }
            todo.extend(exprs.operands(id));
        }
        let [batch, own, depth] = lists;
        let constant = |a: &Axis| a.extent.as_const().is_some();
        let extents = own.iter().chain(depth).all(constant) && batch.iter().filter(|a| used.contains(&a.index)).all(constant);
        (from_parameters && extents).then_some(used)
    }

    /// The buffer that holds the operand so, and the step that makes it if it is new.
    #[allow(clippy::too_many_arguments)] // what is stored, where, over which axes
    fn store(
        &mut self,
        kernel: &Kernel,
        operand: ExprId,
        dtype: DType,
        parallel: Vec<Axis>,
        offset: Dim,
        shape: Vec<Dim>,
        parts: &BTreeMap<Symbol, Dim>,
        bound: Option<Bound>,
    ) -> BufferId {
        let (exprs, value) = operand_exprs(&kernel.exprs, operand, dtype, parts, bound.as_ref());
        let store = Store { buffer: UNPLACED, offset, value, combine: None };
        let nest = Nest { parallel, stages: vec![Stage::Sweep { axes: vec![], stores: vec![store] }], serial: false };
        if let Some((_, _, buffer)) = self.known.iter().find(|(n, e, _)| *n == nest && *e == exprs) {
            return *buffer;
        }
        let name = format!("{}_packed", kernel.name);
        let buffer = self.program.add_buffer(Buffer { name: name.clone(), dtype, shape, kind: BufferKind::Prepared });
        self.known.push((nest.clone(), exprs.clone(), buffer));
        let mut placed = nest;
        for stage in &mut placed.stages {
            if let Stage::Sweep { stores, .. } = stage {
                stores.iter_mut().for_each(|s| s.buffer = buffer);
            }
        }
        self.program.prepare.push(Step::Run(Kernel { name, origins: kernel.origins.clone(), exprs, body: Body::Nest(placed) }));
        buffer
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

fn copy(
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
    let of = |e: &ExprId| copies[e];
    let dim = |d: &Dim| {
        d.substitute(&|s| match ExprId::of_symbol(s) {
            Some(id) => Some(Dim::from(copies[&id].symbol())),
            None => parts.get(s).cloned(),
        })
    };
    let kind = match expr.kind {
        ExprKind::Load(access) => {
            let mut bounds: Vec<Bound> = access.bounds.iter().map(|b| Bound { index: dim(&b.index), extent: dim(&b.extent) }).collect();
            bounds.extend(bound.cloned());
            let otherwise = match &access.otherwise {
                Some(otherwise) => Some(of(otherwise)),
                None => bound.is_some().then(|| to.constant(expr.dtype, 0.0)),
            };
            ExprKind::Load(Access { buffer: access.buffer, offset: dim(&access.offset), bounds, otherwise })
        }
        ExprKind::Index(d) => ExprKind::Index(dim(&d)),
        ExprKind::Unary(f, a) => ExprKind::Unary(f, of(&a)),
        ExprKind::Binary(f, a, b) => ExprKind::Binary(f, of(&a), of(&b)),
        ExprKind::Compare(f, a, b) => ExprKind::Compare(f, of(&a), of(&b)),
        ExprKind::Select(c, a, b) => ExprKind::Select(of(&c), of(&a), of(&b)),
        ExprKind::Cast(a) => ExprKind::Cast(of(&a)),
        ExprKind::CheckedIndex { index, extent, node } => ExprKind::CheckedIndex { index: of(&index), extent: dim(&extent), node },
        kind @ (ExprKind::Constant(_) | ExprKind::Accumulator(_)) => kind,
    };
    let new = to.add(expr.dtype, kind);
    copies.insert(id, new);
    new
}

/// Whether the left operand is a plain load in which depth is contiguous.
fn has_contiguous_depth(exprs: &Exprs, contract: &Contract) -> bool {
    let ExprKind::Load(access) = &exprs.get(contract.lhs).kind else { return false };
    let position = row_major(&contract.depth);
    access.bounds.is_empty()
        && contract.depth.iter().all(|a| access.offset.linear_in(&a.index).map(|l| l.0) == position.linear_in(&a.index).map(|l| l.0))
}

fn axis(name: &str, extent: &Dim) -> Axis {
    Axis { index: Symbol::new(&format!("${name}")), extent: extent.clone() }
}

fn at(axis: &Axis) -> Dim {
    Dim::from(axis.index.clone())
}
