//! Contractions of half floats, and f32 on request, as matrix units like them, whose sums have an order of their own anyway: neighbours
//! of depth, and of results, are neighbours in memory.
//!
//! ```text
//! batch = images, rows = features, columns = pixels, depth = channels, taps
//!   →   rows = images and pixels, columns = features, depth = taps, channels; kernels packed as [feature][tap][channel]
//! ```
//!
//! What is packed are parameters; images whose channels are few, or not last, are written out first ([`taps`](super::taps)).
//!
//! Keeps: every product.  Skips: packing what depends on more than parameters.

use super::pack::Packer;
use super::taps::gather_taps;
use crate::kernel::{Axis, Body, BufferKind, Contract, ExprId, ExprKind, Exprs, Kernel, Program, Step};
use crate::lower::{VectorIsa, along, usual};
use crate::schedule::layout::is_of_matrices;
use crate::tile::fragments;
use kiln_ir::{DType, Dim, Symbol};

/// Arranges all contractions of a program whose elements are half floats, or f32 where `tf32` says that matrix units multiply it too.
pub fn arrange_for_matrices(program: &mut Program, tf32: bool) {
    let steps = std::mem::take(&mut program.steps);
    let mut packer = Packer::new(program, &VectorIsa::THREAD, &steps);
    program.steps = arranged(steps, &mut packer, tf32);
}

fn arranged(steps: Vec<Step>, packer: &mut Packer, tf32: bool) -> Vec<Step> {
    let mut all = Vec::new();
    for mut step in steps {
        match &mut step {
            Step::Loop { body, .. } => *body = arranged(std::mem::take(body), packer, tf32),
            Step::Run(kernel) => all.extend(packer.replacing(kernel, |packer, kernel| arrange(kernel, packer, tf32))),
        }
        all.push(step);
    }
    all
}

/// Arranges a kernel; gives what has to run before it.
fn arrange(kernel: &mut Kernel, packer: &mut Packer, tf32: bool) -> Vec<Step> {
    let Body::Contract(contract) = &mut kernel.body else { return vec![] };
    let is_theirs = |id: ExprId| is_of_matrices(kernel.exprs.get(id).dtype, tf32);
    if !is_theirs(contract.lhs) || !is_theirs(contract.rhs) {
        return vec![];
    }
    share_batches(contract, &kernel.exprs);
    turn(contract);
    let fixed = packer.packable_sides(kernel);
    let Body::Contract(contract) = &mut kernel.body else { return vec![] };
    order_depth(contract, &kernel.exprs, fixed);
    let mut steps = Vec::new();
    let mut padded = [false; 2];
    for side in [0, 1].into_iter().filter(|side| !fixed[*side]) {
        if let Some((step, pads)) = gather_taps(packer.program, kernel, side == 0) {
            steps.push(step);
            padded[1 - side] |= pads;
        }
    }
    steps.extend(pack(kernel, packer, fixed, padded));
    steps
}

/// Indices of batch that one operand does not depend on become indices of the other's side, as images do of a convolution.
fn share_batches(contract: &mut Contract, exprs: &Exprs) {
    let needs = |id: ExprId, axis: &Axis| exprs.symbols(id).contains(&axis.index);
    let (lhs, rhs) = (contract.lhs, contract.rhs);
    let (left, others): (Vec<Axis>, Vec<Axis>) = contract.batch.drain(..).partition(|axis| needs(lhs, axis) && !needs(rhs, axis));
    let (right, both): (Vec<Axis>, Vec<Axis>) = others.into_iter().partition(|axis| needs(rhs, axis) && !needs(lhs, axis));
    contract.batch = both;
    contract.rows.splice(0..0, left);
    contract.columns.splice(0..0, right);
}

/// Whether an offset goes to the neighbour along an index, mostly.
fn is_near(offset: &Dim, index: &Symbol) -> bool {
    along(offset, index, &|s: &Symbol| s == index).is_some_and(|moves| moves.step.is(1))
}

/// Whether an operand is a load that goes to the neighbour along an index.
fn loads_near(exprs: &Exprs, id: ExprId, index: &Symbol) -> bool {
    matches!(&exprs.get(id).kind, ExprKind::Load(access) if is_near(&access.offset, index))
}

/// Exchanges the sides where results are neighbours in memory along rows.
fn turn(contract: &mut Contract) {
    let near = |axes: &[Axis]| axes.last().is_some_and(|axis| contract.stores.iter().all(|store| is_near(&store.offset, &axis.index)));
    if near(&contract.rows) && !near(&contract.columns) {
        std::mem::swap(&mut contract.rows, &mut contract.columns);
        std::mem::swap(&mut contract.lhs, &mut contract.rhs);
    }
}

/// The index of depth along which operands go to the neighbour comes last; one that can be packed follows the other.
fn order_depth(contract: &mut Contract, exprs: &Exprs, fixed: [bool; 2]) {
    let sides = [(contract.lhs, fixed[0]), (contract.rhs, fixed[1])];
    let near = |axis: &Axis| sides.iter().filter(|(id, fixed)| !fixed && loads_near(exprs, *id, &axis.index)).count();
    let Some(most) = contract.depth.iter().map(near).max() else { return };
    if contract.depth.last().is_some_and(|last| near(last) < most) {
        let at = contract.depth.iter().position(|axis| near(axis) == most).expect("it is one of them");
        let axis = contract.depth.remove(at);
        contract.depth.push(axis);
    }
}

/// How often an element of an operand is usually multiplied: once for each index of the other side.
fn uses(others: &[Axis], program: &Program) -> i64 {
    others.iter().map(|axis| usual(&axis.extent, program)).fold(1, i64::saturating_mul)
}

/// How many uses pay for turning an operand of f32: those that matrix units take at all, and more where it is turned in each run.
fn least_uses(is_fixed: bool) -> i64 {
    if is_fixed { fragments::SIDE } else { fragments::WARPGROUP_ROWS }
}

/// Packs operands of parameters that go to the neighbour neither along depth nor along their own side, those that are padded with zeros, and
/// those of f32 that run along their own side, as units take it along depth alone: in steps that are given back, where they are no parameters.
fn pack(kernel: &mut Kernel, packer: &mut Packer, fixed: [bool; 2], padded: [bool; 2]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (side, is_left) in [true, false].into_iter().enumerate() {
        let Body::Contract(contract) = kernel.body.clone() else { return steps };
        let (id, own) = if is_left { (contract.lhs, &contract.rows) } else { (contract.rhs, &contract.columns) };
        let last = |axes: &[Axis]| axes.last().is_none_or(|axis| loads_near(&kernel.exprs, id, &axis.index));
        let near_own = last(own) && contract.depth.len() == 1;
        let others = if is_left { &contract.columns } else { &contract.rows };
        let turns = kernel.exprs.get(id).dtype == DType::F32 && near_own && uses(others, packer.program) >= least_uses(fixed[side]);
        let stays = last(&contract.depth) || (!turns && (near_own || !fixed[side]));
        if stays && !padded[side] {
            continue;
        }
        let kind = if fixed[side] { BufferKind::Prepared } else { BufferKind::Temporary };
        let Some((packed, step)) = packer.lines(kernel, &contract, is_left, kind) else { continue };
        if fixed[side] { &mut packer.program.prepare } else { &mut steps }.extend(step);
        kernel.body = Body::Contract(if is_left { Contract { lhs: packed, ..contract } } else { Contract { rhs: packed, ..contract } });
    }
    steps
}
