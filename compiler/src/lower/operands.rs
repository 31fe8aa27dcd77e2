//! Operands of contractions that are read where they lie: rows of the left one, with a stride for each index, and panels of the right.

use super::VectorIsa;
use super::contract::{body_mut, flattened};
use super::rewrite::ranges_of;
use crate::kernel::{Access, Axis, Contract, ExprId, ExprKind, Exprs, Kernel, Program, unravelled};
use crate::tuning::{Asking, Subject};
use kiln_ir::{DType, Dim, Ranges, Symbol};

/// Fewer rows than this along the last index are flattened with the others.
pub const LEAST_ROWS: i64 = 4;
/// Rows of several lines at most that are written out, and the tasks or the multiply-adds of a task for which too few tasks are left.
const WRITTEN_OUT_ROWS: i64 = 64;
const ENOUGH_PANELS: i64 = 16;
const LITTLE_WORK: i64 = 1 << 19;
/// Bytes of a panel that the first-level cache holds beside everything else.
const CLOSE_PANEL_BYTES: i64 = 1 << 15;

/// A left operand that is read where it lies: its offset without depth, and what one step along each depth axis adds.
#[derive(Clone)]
pub(super) struct Direct {
    pub(super) access: Access,
    pub(super) offset: Dim,
    pub(super) steps: Vec<(Axis, Dim)>,
}

/// A right operand in panels: its offset without depth.
#[derive(Clone)]
pub(super) struct Plain {
    pub(super) access: Access,
    pub(super) offset: Dim,
}

impl Plain {
    /// From one panel to the next.
    pub(super) fn panel_elements(&self) -> Option<Dim> {
        self.offset.linear_in(&Symbol::new("#panel")).map(|(step, _)| step)
    }
}

/// A load without bounds whose offset no expression takes part in.
pub(super) fn plain_load(exprs: &Exprs, id: ExprId) -> Option<Access> {
    let ExprKind::Load(access) = &exprs.get(id).kind else { return None };
    let gathers = access.offset.symbols().iter().any(|s| ExprId::of_symbol(s).is_some());
    (access.bounds.is_empty() && !gathers).then(|| access.clone())
}

/// The offset as a linear function of the position in depth.
fn linear_in_depth(offset: &Dim, depth: &[Axis], ranges: &Ranges) -> Option<(Dim, Dim)> {
    let position = Symbol::new("#depth");
    let mut ranges = ranges.clone();
    ranges.set_index(position.clone(), Dim::product(depth.iter().map(|a| &a.extent)));
    let parts = unravelled(&Dim::from(position.clone()), depth);
    let flat = offset.substitute(&|s| parts.get(s).cloned()).simplify(&ranges);
    flat.linear_in(&position)
}

/// The left operand, if each row's elements are a constant stride apart.
pub(super) fn plain_rows(kernel: &Kernel, contract: &Contract, sizes: &Ranges) -> Option<Direct> {
    let access = plain_load(&kernel.exprs, contract.lhs)?;
    let (step, offset) = linear_in_depth(&access.offset, &contract.depth, &ranges_of(kernel, sizes))?;
    let points = Axis { index: Symbol::new("#depth"), extent: Dim::product(contract.depth.iter().map(|a| &a.extent)) };
    Some(Direct { access, offset, steps: vec![(points, step)] })
}

/// The row indices that tiles do not run along, the one they do, and the left operand, if it need not be packed: each index of
/// rows and depth moves by a stride of its own.
pub(super) fn direct_rows(kernel: &mut Kernel, sizes: &Ranges) -> Option<(Vec<Axis>, Axis, Direct)> {
    let contract = body_mut(kernel).clone();
    let (row, outer) = contract.rows.split_last()?;
    // Tiles of a few rows would load each panel for little.
    if !outer.is_empty() && row.extent.as_const().is_some_and(|n| n < LEAST_ROWS) {
        return None;
    }
    let direct = direct_operand(kernel, &contract, sizes)?;
    // Rows of one tile lie a stride apart, so that one address serves them all.
    direct.offset.linear_in(&row.index)?;
    Some((outer.to_vec(), row.clone(), direct))
}

/// The left operand, if it need not be packed: each index of depth moves by a stride of its own.
fn direct_operand(kernel: &Kernel, contract: &Contract, sizes: &Ranges) -> Option<Direct> {
    if let Some(direct) = plain_rows(kernel, contract, sizes) {
        return Some(direct);
    }
    let access = plain_load(&kernel.exprs, contract.lhs)?;
    let taps = Dim::product(contract.depth[1..].iter().map(|a| &a.extent)).as_const()?;
    if contract.chunk % taps.max(1) != 0 || taps == 0 {
        return None;
    }
    let (mut steps, mut offset) = (vec![], access.offset.clone());
    for axis in &contract.depth {
        let (step, rest) = offset.linear_in(&axis.index)?;
        steps.push((axis.clone(), step));
        offset = rest;
    }
    let depends = |d: &Dim| contract.depth.iter().any(|a| d.mentions(&a.index));
    if steps.iter().any(|(_, step)| depends(step)) {
        return None;
    }
    Some(Direct { access, offset, steps })
}

/// All rows as one index, where there are few in several lines and their places are constants, so that tiles may go on from one line
/// to the next; none where tiles of single lines, if they are possible, do as well, or where the operand may not be read in place.
#[allow(clippy::too_many_arguments)] // what the choice depends on
pub(super) fn joined_lines(
    kernel: &mut Kernel,
    column: &Axis,
    single_lines_do: bool,
    may_be_read: &dyn Fn(&Direct) -> bool,
    isa: &VectorIsa,
    dtype: DType,
    sizes: &Ranges,
    asking: &mut Asking,
) -> Option<(Axis, Direct)> {
    let contract = body_mut(kernel).clone();
    let extents: Vec<i64> = contract.rows.iter().map(|axis| axis.extent.as_const()).collect::<Option<_>>()?;
    let rows = extents.iter().fold(1, |product: i64, n| product.saturating_mul(*n));
    let [lines @ .., row] = &extents[..] else { return None };
    let points = Dim::product(contract.depth.iter().map(|a| &a.extent)).as_const()?;
    let panels = column.extent.as_const()?.div_euclid(isa.panel_columns(dtype)).max(1);
    let work = points.saturating_mul(rows).saturating_mul(isa.panel_columns(dtype));
    if lines.is_empty() || !(1..=WRITTEN_OUT_ROWS).contains(&rows) || (panels < ENOUGH_PANELS && work > LITTLE_WORK) {
        return None;
    }
    direct_operand(kernel, &contract, sizes)?;
    let mut changed = kernel.clone();
    let joined = flattened(&mut changed, |c| &mut c.rows, "#row", sizes);
    let of_rows = body_mut(&mut changed).clone();
    let direct = direct_operand(&changed, &of_rows, sizes).filter(may_be_read)?;
    let is_far = points.saturating_mul(isa.panel_columns(dtype) * dtype.size_bytes() as i64) > CLOSE_PANEL_BYTES;
    let alone = lines.iter().product::<i64>() * isa.rows_cost(*row, is_far);
    let usual = !single_lines_do || isa.rows_cost(rows, is_far) < alone;
    let name = |joined: &bool| if *joined { "tiles go on in the next line" } else { "lines apart" }.to_string();
    asking.choose(Subject::Lines, usual, || vec![!usual], name).then(|| {
        *kernel = changed;
        (joined, direct)
    })
}

/// The right operand, if it lies in a buffer of panels, the last of them padded.
pub(super) fn panels_in_place(
    kernel: &Kernel,
    program: &Program,
    contract: &Contract,
    column: &Axis,
    panel_columns: i64,
    sizes: &Ranges,
) -> Option<Plain> {
    let access = plain_load(&kernel.exprs, contract.rhs)?;
    if !program.buffer(access.buffer).shape.last()?.is(panel_columns) {
        return None;
    }
    let (panel, lane) = (Symbol::new("#panel"), Symbol::new("#lane"));
    let mut ranges = ranges_of(kernel, sizes);
    ranges.set_index(panel.clone(), column.extent.ceil_div(&Dim::from(panel_columns)));
    ranges.set_index(lane.clone(), Dim::from(panel_columns));
    let split = Dim::from(panel) * Dim::from(panel_columns) + Dim::from(lane.clone());
    let offset = access.offset.substitute(&|s| (*s == column.index).then(|| split.clone())).simplify(&ranges);
    let (step, rest) = linear_in_depth(&offset, &contract.depth, &ranges)?;
    let (along, offset) = rest.linear_in(&lane)?;
    // Whole panels, so that the columns beyond the last one are padding and not the end of memory.
    let aligned = offset.terms().iter().all(|t| t.coefficient % panel_columns == 0);
    (along.is(1) && step.is(panel_columns) && aligned).then_some(Plain { access, offset })
}
