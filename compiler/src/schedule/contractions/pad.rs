//! Copies the padded input of a convolution into a buffer with its padding written out.
//!
//! ```text
//! y = w · x[i + u − 1, otherwise 0]      →      p[j] = x[j − 1, otherwise 0] ; y = w · p[i + u]
//! ```
//!
//! One pass over the input, so that the inner loops test no bounds.
//! Needs: an operand that is a load whose bounds are those of neighbouring axes of its buffer, linear in the kernel's indices.
//! Keeps: every value.  Skips: inserted zeros (transposed convolutions), sizes that may be empty.

use crate::kernel::{
    Access, Axis, Body, Bound, Buffer, BufferKind, Contract, ExprId, ExprKind, Exprs, Kernel, Nest, Program, Stage, Step, Store, row_major,
    sum_dtype,
};
use crate::lower::VectorIsa;
use crate::schedule::layout::{ALIASED_BYTES, SPARE_BYTES};
use kiln_ir::{Dim, Ranges, Symbol};

/// The steps that pad the operands; the kernel then reads what they make.
pub(super) fn pad(program: &mut Program, kernel: &mut Kernel, isa: &VectorIsa) -> Vec<Step> {
    let Body::Contract(contract) = kernel.body.clone() else { return vec![] };
    let mut steps = vec![];
    let mut padded = |operand: ExprId, kernel: &mut Kernel| match pad_operand(program, kernel, isa, &contract, operand) {
        Some((operand, step)) => {
            steps.push(step);
            operand
        }
        None => operand,
    };
    let (lhs, rhs) = (padded(contract.lhs, kernel), padded(contract.rhs, kernel));
    kernel.body = Body::Contract(Contract { lhs, rhs, ..contract });
    steps
}

/// The operand as a load from a padded buffer, and the step that makes it.
fn pad_operand(
    program: &mut Program,
    kernel: &mut Kernel,
    isa: &VectorIsa,
    contract: &Contract,
    operand: ExprId,
) -> Option<(ExprId, Step)> {
    let ExprKind::Load(access) = kernel.exprs.get(operand).kind.clone() else { return None };
    let otherwise = kernel.exprs.get(access.otherwise?).clone();
    let ExprKind::Constant(fill) = otherwise.kind else { return None };
    let axes: Vec<Axis> = [&contract.batch, &contract.rows, &contract.columns, &contract.depth].into_iter().flatten().cloned().collect();
    let source = program.buffer(access.buffer).clone();
    let mut ranges = program.symbols.clone();
    for axis in &axes {
        ranges.set_index(axis.index.clone(), axis.extent.clone());
    }
    let place = Place::find(&access, &source, &ranges)?;
    let (mut low, mut padded) = (Vec::new(), Vec::new());
    for bound in &access.bounds {
        let (least, greatest) = extremes(&bound.index, &axes)?;
        least.as_const()?;
        let extent = &greatest - &least + Dim::ONE;
        if program.symbols.range(&extent).min < 1 {
            return None;
        }
        low.push(Dim::ZERO - least);
        padded.push(extent);
    }
    let index: Vec<Dim> = access.bounds.iter().zip(&low).map(|(b, low)| &b.index + low).collect();
    let inner = &source.shape[place.first + padded.len()..];
    // Pixels of half floats would be widened one by one, for each tap and panel again.
    let dtype = if isa.loads_half_floats() { sum_dtype(source.dtype) } else { source.dtype };
    // Neighbouring pixels a power of two apart would meet in one set of the cache.
    let inner_size = Dim::product(inner);
    let inner_size = match (inner, (&inner_size * Dim::from(dtype.size_bytes())).as_const()) {
        ([_], Some(bytes)) if bytes > 0 && bytes % ALIASED_BYTES == 0 => &inner_size + Dim::from(SPARE_BYTES / dtype.size_bytes()),
        _ => inner_size,
    };
    let shape = match inner {
        [_] => [&source.shape[..place.first], &padded, std::slice::from_ref(&inner_size)].concat(),
        _ => [&source.shape[..place.first], &padded, inner].concat(),
    };
    let name = format!("{}_padded", kernel.name);
    let buffer = program.add_buffer(Buffer { name: name.clone(), dtype, shape: shape.clone(), kind: BufferKind::Temporary });
    let offset = (&place.outer * Dim::product(&padded) + flat(&padded, &index)) * &inner_size + &place.inner;
    let offset = offset.simplify(&ranges);
    let operand = kernel.exprs.add(dtype, ExprKind::Load(Access { buffer, offset, bounds: vec![], otherwise: None }));

    let extents = [&source.shape[..place.first], &padded, inner].concat();
    let parallel: Vec<Axis> =
        extents.iter().enumerate().map(|(i, n)| Axis { index: Symbol::new(&format!("$i{i}")), extent: n.clone() }).collect();
    let last = place.first + padded.len();
    let from: Vec<Dim> = parallel[place.first..last].iter().zip(&low).map(|(a, low)| Dim::from(a.index.clone()) - low).collect();
    let spatial = &source.shape[place.first..last];
    let source_offset = (row_major(&parallel[..place.first]) * Dim::product(spatial) + flat(spatial, &from)) * Dim::product(inner)
        + row_major(&parallel[last..]);
    let mut exprs = Exprs::default();
    let fill = exprs.add(source.dtype, ExprKind::Constant(fill));
    let bounds = from.iter().zip(spatial).map(|(i, n)| Bound { index: i.clone(), extent: n.clone() }).collect();
    let load = Access { buffer: access.buffer, offset: source_offset, bounds, otherwise: Some(fill) };
    let value = exprs.add(source.dtype, ExprKind::Load(load));
    let value = if dtype == source.dtype { value } else { exprs.add(dtype, ExprKind::Cast(value)) };
    let to = row_major(&parallel[..last]) * &inner_size + row_major(&parallel[last..]);
    let store = Store { buffer, offset: to, value, combine: None };
    let nest = Nest { parallel, stages: vec![Stage::Sweep { axes: vec![], stores: vec![store] }], serial: false };
    Some((operand, Step::Run(Kernel { name, origins: kernel.origins.clone(), exprs, body: Body::Nest(nest) })))
}

/// Where an access goes: `(outer · spatial + index of the bounded axes) · inner axes + inner`.
struct Place {
    /// The first bounded axis of the buffer.
    first: usize,
    /// Row-major position over the axes before it.
    outer: Dim,
    /// Row-major position over the axes behind the bounded ones.
    inner: Dim,
}

impl Place {
    /// Equal sizes can make an index look like that of another axis; then the positions do not add up, and another place is tried.
    fn find(access: &Access, source: &Buffer, ranges: &Ranges) -> Option<Place> {
        let count = access.bounds.len();
        let index: Vec<Dim> = access.bounds.iter().map(|b| b.index.clone()).collect();
        (0..=source.shape.len().checked_sub(count)?).find_map(|first| {
            let spatial = &source.shape[first..first + count];
            if access.bounds.iter().zip(spatial).any(|(bound, size)| bound.extent != *size) {
                return None;
            }
            let inner_size = Dim::product(&source.shape[first + count..]);
            let rest = (&access.offset - flat(spatial, &index) * &inner_size).simplify(ranges);
            let block = Dim::product(spatial) * &inner_size;
            let outer = rest.floor_div(&block).simplify(ranges);
            let inner = (&rest - &outer * &block).simplify(ranges);
            let fits = ranges.within(&outer, &Dim::product(&source.shape[..first])) && ranges.within(&inner, &inner_size);
            fits.then_some(Place { first, outer, inner })
        })
    }
}

/// The row-major position of an index in a shape.
fn flat(shape: &[Dim], index: &[Dim]) -> Dim {
    shape.iter().zip(index).fold(Dim::ZERO, |position, (n, i)| position * n + i)
}

/// The least and greatest value of a dim that is linear in the axes' indices with constant coefficients.
pub(super) fn extremes(dim: &Dim, axes: &[Axis]) -> Option<(Dim, Dim)> {
    let (mut least, mut greatest) = (dim.clone(), dim.clone());
    for axis in axes {
        let coefficient = dim.linear_in(&axis.index)?.0.as_const()?;
        let last = &axis.extent - Dim::ONE;
        let at = |d: &Dim, value: &Dim| d.substitute(&|s| (*s == axis.index).then(|| value.clone()));
        let (low, high) = if coefficient < 0 { (&last, &Dim::ZERO) } else { (&Dim::ZERO, &last) };
        least = at(&least, low);
        greatest = at(&greatest, high);
    }
    Some((least, greatest))
}
