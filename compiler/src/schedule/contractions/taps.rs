//! Writes out the image of a convolution so that matrix units find neighbours of depth in whole chunks: an image with few channels, or
//! with its channels not last.
//!
//! ```text
//! depth = channels, taps, image[n][c][sy + u − 1][sx + v − 1]
//!   →   g[n][j][x][c][v] = image[n][c][j − 1][sx + v − 1], 0 for v beyond the taps ;   depth = taps u, channels, v;   g[n][sy + u][x][c][v]
//! ```
//!
//! Lines of taps lie beside each other then, eight by eight, and other taps still share what they read. Where channels come in eights they
//! are put last instead, and all taps share.
//! Needs: an operand that is a load, linear in its indices.  Keeps: every product; those that are added are zeros.  Skips: products
//! without taps.

use super::pack::copy;
use super::pad::extremes;
use crate::kernel::{
    Access, Axis, Body, Bound, Buffer, BufferKind, Contract, ExprId, ExprKind, Exprs, Kernel, Nest, Program, Scalar, Stage, Step, Store,
    row_major,
};
use crate::lower::in_one_piece;
use kiln_ir::{Dim, Symbol};
use std::collections::BTreeMap;

/// Elements of a chunk: 16 bytes of half floats.
const CHUNK: i64 = 8;

/// An index of depth that is a tap: neighbouring results read what its neighbours read.
struct Tap {
    axis: Axis,
    /// Elements of memory from one tap to the next.
    step: Dim,
    /// Place in the image, which follows from the tap and an index of the result.
    place: Dim,
    /// That index.
    result: Symbol,
}

/// The step that writes the operand's image out, where that helps; the kernel reads what it makes then. Also says whether depth became
/// longer, with zeros of the other operand.
pub(super) fn gather_taps(program: &mut Program, kernel: &mut Kernel, is_left: bool) -> Option<(Step, bool)> {
    let Body::Contract(contract) = kernel.body.clone() else { return None };
    let (id, other, own) =
        if is_left { (contract.lhs, contract.rhs, &contract.rows) } else { (contract.rhs, contract.lhs, &contract.columns) };
    let ExprKind::Load(access) = kernel.exprs.get(id).kind.clone() else { return None };
    let used = kernel.exprs.symbols(id);
    let in_eights = |axis: &Axis| axis.extent.as_const().is_some_and(|n| n > 0 && n % CHUNK == 0);
    let comes_in_chunks = |axis: &Axis| in_eights(axis) && in_one_piece(&kernel.exprs, id, &axis.index, CHUNK).is_some();
    // Other taps are multiplied by zeros, which only numbers survive: those of memory, once they are zeros too.
    let is_memory = matches!(kernel.exprs.get(other).kind, ExprKind::Load(_));
    let depth: Vec<Axis> = contract.depth.iter().filter(|axis| !axis.extent.is(1)).cloned().collect();
    if depth.iter().any(|axis| !used.contains(&axis.index)) {
        return None;
    }
    if !is_memory || !is_plain(kernel, &access) || depth.iter().any(comes_in_chunks) {
        return None;
    }
    let outer: Vec<Axis> = contract.batch.iter().chain(own).filter(|axis| used.contains(&axis.index)).cloned().collect();
    let mut taps: Vec<Tap> = depth.iter().filter_map(|axis| tap(&access, axis, &outer)).collect();
    let mut others: Vec<Axis> = depth.iter().filter(|axis| taps.iter().all(|tap| tap.axis.index != axis.index)).cloned().collect();
    if taps.is_empty() {
        return None;
    }
    let last = match others.pop_if(|axis| in_eights(axis)) {
        Some(channels) => channels,
        None => {
            let nearest = (0..taps.len()).min_by_key(|at| taps[*at].step.as_const().unwrap_or(i64::MAX))?;
            taps.remove(nearest).axis
        }
    };

    // The axes of what is made, and the image's element there.
    let mut axes: Vec<Axis> = Vec::new();
    let (mut offset, mut bounds, mut positions) = (access.offset.clone(), access.bounds.clone(), Vec::new());
    let mut names: BTreeMap<Symbol, Dim> = BTreeMap::new();
    let mut new_axis = |extent: Dim| {
        let index = Symbol::new(&format!("$g{}", axes.len()));
        axes.push(Axis { index: index.clone(), extent });
        Dim::from(index)
    };
    let known: Vec<Axis> = outer.iter().chain(&depth).cloned().collect();
    for axis in outer.iter().chain(&others).chain([&last]) {
        let tap = taps.iter().find(|tap| tap.result == axis.index);
        let Some(Tap { axis: tap, step, place, .. }) = tap else {
            let extent =
                if axis.index == last.index { axis.extent.ceil_div(&Dim::from(CHUNK)) * Dim::from(CHUNK) } else { axis.extent.clone() };
            names.insert(axis.index.clone(), new_axis(extent));
            positions.push(Dim::from(axis.index.clone()));
            continue;
        };
        let (least, greatest) = extremes(place, &known)?;
        let here = new_axis((&greatest - &least + Dim::ONE).maximum(&Dim::ZERO)) + &least;
        let factor = quotient(step, &place.linear_in(&tap.index)?.0)?;
        bounds.iter_mut().filter(|bound| bound.index == *place).for_each(|bound| bound.index = here.clone());
        offset = &offset - place * &factor + &here * &factor;
        positions.push(place - &least);
    }
    let renamed = |dim: &Dim| dim.substitute(&|symbol| names.get(symbol).cloned());
    let offset = renamed(&offset);
    bounds.iter_mut().for_each(|bound| bound.index = renamed(&bound.index));
    let is_known = |dim: &Dim| dim.symbols().iter().all(|symbol| known.iter().all(|axis| axis.index != *symbol));
    if !is_known(&offset) || !bounds.iter().all(|bound| is_known(&bound.index) && is_known(&bound.extent)) {
        return None;
    }

    let dtype = kernel.exprs.get(id).dtype;
    let mut exprs = Exprs::default();
    let zero = exprs.constant(dtype, 0.0);
    let beyond = |index: Dim| Bound { index, extent: last.extent.clone() };
    let pads = !in_eights(&last);
    bounds.extend(pads.then(|| beyond(renamed(&Dim::from(last.index.clone())))));
    let otherwise = (!bounds.is_empty()).then_some(zero);
    let value = exprs.add(dtype, ExprKind::Load(Access { buffer: access.buffer, offset, bounds, otherwise }));
    let name = format!("{}_taps", kernel.name);
    let shape: Vec<Dim> = axes.iter().map(|axis| axis.extent.clone()).collect();
    let from = positions.iter().zip(&shape).fold(Dim::ZERO, |position, (at, extent)| position * extent + at);
    let buffer = program.add_buffer(Buffer { name: name.clone(), dtype, shape, kind: BufferKind::Temporary });
    let store = Store { buffer, offset: row_major(&axes), value, combine: None };
    let nest = Nest { parallel: axes, stages: vec![Stage::Sweep { axes: vec![], stores: vec![store] }], serial: false };
    let step = Step::Run(Kernel { name, origins: kernel.origins.clone(), exprs, body: Body::Nest(nest) });

    let all = kernel.exprs.clone();
    let image = kernel.exprs.add(dtype, ExprKind::Load(Access { buffer, offset: from, bounds: vec![], otherwise: None }));
    let bound = pads.then(|| beyond(Dim::from(last.index.clone())));
    let weights = copy(&all, other, &BTreeMap::new(), bound.as_ref(), &mut kernel.exprs, &mut BTreeMap::new());
    let (lhs, rhs) = if is_left { (image, weights) } else { (weights, image) };
    let last = Axis { extent: last.extent.ceil_div(&Dim::from(CHUNK)) * Dim::from(CHUNK), ..last };
    let depth = contract.depth.iter().filter(|axis| axis.index != last.index).cloned().chain([last.clone()]).collect();
    kernel.body = Body::Contract(Contract { lhs, rhs, depth, ..contract });
    Some((step, pads))
}

/// Whether an access is to zeros where it is to nothing, and its indices are no values of others.
fn is_plain(kernel: &Kernel, access: &Access) -> bool {
    let is_zero = |id: ExprId| match kernel.exprs.get(id).kind {
        ExprKind::Constant(Scalar::Float(bits)) => f64::from_bits(bits) == 0.0,
        _ => false,
    };
    let dims = access.bounds.iter().flat_map(|bound| [&bound.index, &bound.extent]).chain([&access.offset]);
    access.otherwise.is_none_or(is_zero)
        && dims.into_iter().all(|dim| dim.symbols().iter().all(|symbol| ExprId::of_symbol(symbol).is_none()))
}

/// The tap that an index of depth is, if it is one: where a bound is of it and of an index of the result, or where neighbouring results
/// read the same elements of memory.
fn tap(access: &Access, axis: &Axis, outer: &[Axis]) -> Option<Tap> {
    let step = |axis: &Axis| Some(access.offset.linear_in(&axis.index)?.0).filter(|step| !step.is(0));
    let own = step(axis)?;
    let tap = |place: Dim, result: &Axis| Some(Tap { axis: axis.clone(), step: own.clone(), place, result: result.index.clone() });
    if let Some(bound) = access.bounds.iter().find(|bound| bound.index.mentions(&axis.index)) {
        let mut results = outer.iter().filter(|axis| bound.index.mentions(&axis.index));
        let result = results.next()?;
        return if results.next().is_none() { tap(bound.index.clone(), result) } else { None };
    }
    let taps = axis.extent.as_const()?;
    let apart = |result: &Axis| quotient(&step(result)?, &own)?.as_const().filter(|apart| (1..taps).contains(apart));
    let (result, apart) = outer.iter().find_map(|result| Some((result, apart(result)?)))?;
    tap(Dim::from(result.index.clone()) * Dim::from(apart) + Dim::from(axis.index.clone()), result)
}

/// `x / y`, where that leaves no rest.
fn quotient(x: &Dim, y: &Dim) -> Option<Dim> {
    let quotient = x.floor_div(y);
    (&quotient * y == *x).then_some(quotient)
}
