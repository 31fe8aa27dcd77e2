//! Copies the padded input of a convolution into a buffer with its padding written out.
//!
//! ```text
//! y = w · x[i + u − 1, otherwise 0]      →      p[j] = x[j − 1, otherwise 0] ; y = w · p[i + u]
//! ```
//!
//! One pass over the input, so that the inner loops test no bounds.
//! Needs: an operand that is a load whose bounds are those of its buffer's last axes, linear in the kernel's indices.
//! Keeps: every value.  Skips: inserted zeros (transposed convolutions), sizes that may be empty.

use crate::kernel::{
    Access, Axis, Body, Bound, Buffer, BufferKind, Contract, ExprId, ExprKind, Exprs, Kernel, Nest, Program, Stage, Step, Store, row_major,
};
use kiln_ir::{Dim, Ranges, Symbol};

/// The step that pads the right operand; the kernel then reads what it makes.
pub(super) fn pad(program: &mut Program, kernel: &mut Kernel) -> Option<Step> {
    let Body::Contract(contract) = kernel.body.clone() else { return None };
    let ExprKind::Load(access) = kernel.exprs.get(contract.rhs).kind.clone() else { return None };
    let otherwise = kernel.exprs.get(access.otherwise?).clone();
    let ExprKind::Constant(fill) = otherwise.kind else { return None };
    let axes: Vec<Axis> = [&contract.batch, &contract.rows, &contract.columns, &contract.depth].into_iter().flatten().cloned().collect();
    let source = program.buffer(access.buffer).clone();
    let outer = source.shape.len().checked_sub(access.bounds.len())?;
    let spatial = &source.shape[outer..];
    let mut ranges = program.symbols.clone();
    for axis in &axes {
        ranges.set_index(axis.index.clone(), axis.extent.clone());
    }
    let (mut low, mut padded) = (Vec::new(), Vec::new());
    for (bound, size) in access.bounds.iter().zip(spatial) {
        if bound.extent != *size {
            return None;
        }
        let (least, greatest) = extremes(&bound.index, &axes)?;
        least.as_const()?;
        let extent = &greatest - &least + Dim::ONE;
        if program.symbols.range(&extent).min < 1 {
            return None;
        }
        low.push(Dim::ZERO - least);
        padded.push(extent);
    }
    // What is left of the offset counts whole planes.
    let inside = place(spatial, &access.bounds.iter().map(|b| b.index.clone()).collect::<Vec<_>>());
    let plane = Dim::product(spatial);
    let planes = quotient(&(&access.offset - inside), &plane, &ranges)?;
    // Equal sizes can make an index look like that of another axis; then the planes do not add up.
    if !ranges.within(&planes, &Dim::product(&source.shape[..outer])) {
        return None;
    }
    let index: Vec<Dim> = access.bounds.iter().zip(&low).map(|(b, low)| &b.index + low).collect();
    let shape = [&source.shape[..outer], &padded].concat();
    let name = format!("{}_padded", kernel.name);
    let buffer = program.add_buffer(Buffer { name: name.clone(), dtype: source.dtype, shape: shape.clone(), kind: BufferKind::Temporary });
    let offset = planes * Dim::product(&padded) + place(&padded, &index);
    let rhs = kernel.exprs.add(source.dtype, ExprKind::Load(Access { buffer, offset, bounds: vec![], otherwise: None }));
    kernel.body = Body::Contract(Contract { rhs, ..contract });

    let parallel: Vec<Axis> =
        shape.iter().enumerate().map(|(i, n)| Axis { index: Symbol::new(&format!("$i{i}")), extent: n.clone() }).collect();
    let from: Vec<Dim> = parallel[outer..].iter().zip(&low).map(|(a, low)| Dim::from(a.index.clone()) - low).collect();
    let mut exprs = Exprs::default();
    let fill = exprs.add(source.dtype, ExprKind::Constant(fill));
    let value = load(&mut exprs, &access, &source, row_major(&parallel[..outer]) * &plane + place(spatial, &from), &from, fill);
    let store = Store { buffer, offset: row_major(&parallel), value, combine: None };
    let nest = Nest { parallel, stages: vec![Stage::Sweep { axes: vec![], stores: vec![store] }], serial: false };
    Some(Step::Run(Kernel { name, origins: kernel.origins.clone(), exprs, body: Body::Nest(nest) }))
}

fn load(exprs: &mut Exprs, access: &Access, source: &Buffer, offset: Dim, index: &[Dim], fill: ExprId) -> ExprId {
    let bounds = index.iter().zip(&access.bounds).map(|(i, b)| Bound { index: i.clone(), extent: b.extent.clone() }).collect();
    exprs.add(source.dtype, ExprKind::Load(Access { buffer: access.buffer, offset, bounds, otherwise: Some(fill) }))
}

/// The row-major position of an index in a shape.
fn place(shape: &[Dim], index: &[Dim]) -> Dim {
    shape.iter().zip(index).fold(Dim::ZERO, |position, (n, i)| position * n + i)
}

/// `dim / divisor` where that leaves no rest.
fn quotient(dim: &Dim, divisor: &Dim, ranges: &Ranges) -> Option<Dim> {
    let quotient = dim.floor_div(divisor).simplify(ranges);
    (&quotient * divisor == *dim).then_some(quotient)
}

/// The least and greatest value of a dim that is linear in the axes' indices with constant coefficients.
fn extremes(dim: &Dim, axes: &[Axis]) -> Option<(Dim, Dim)> {
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
