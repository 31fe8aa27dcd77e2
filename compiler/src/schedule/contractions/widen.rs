//! Widens an image of half floats once before a convolution, which would else widen each pixel again for each tap and panel.
//!
//! ```text
//! y = w · x[i + u]   (x: f16)      →      p[j] = f32(x[j]) ; y = w · p[i + u]
//! ```
//!
//! Needs: an operand that is a load without bounds.  Keeps: every value.  Skips: dots, whose rows are widened where they are used,
//! weights, and single rows.

use super::pack::{extent, has_contiguous_depth};
use crate::kernel::{Access, Axis, Body, Buffer, BufferKind, Contract, ExprKind, Exprs, Kernel, Nest, Program, Stage, Step, Store};
use crate::lower::VectorIsa;
use kiln_ir::{DType, Dim, Symbol};

/// The step that widens the left operand, if one should; the kernel then reads what it makes.
pub(super) fn widen(program: &mut Program, kernel: &mut Kernel, isa: &VectorIsa) -> Option<Step> {
    let Body::Contract(contract) = kernel.body.clone() else { return None };
    let ExprKind::Load(access) = kernel.exprs.get(contract.lhs).kind.clone() else { return None };
    let source = program.buffer(access.buffer).clone();
    let is_half = matches!(source.dtype, DType::F16 | DType::BF16);
    let changes = matches!(source.kind, BufferKind::Input(_) | BufferKind::Output(_) | BufferKind::Temporary);
    let has_taps = contract.depth.len() > 1 && !extent(&contract.depth[1..]).is(1) && !has_contiguous_depth(&kernel.exprs, &contract);
    if !(isa.loads_half_floats() && is_half && changes && has_taps && access.bounds.is_empty()) || extent(&contract.rows).is(1) {
        return None;
    }
    let name = format!("{}_widened", kernel.name);
    let wide = Buffer { name: name.clone(), dtype: DType::F32, shape: source.shape.clone(), kind: BufferKind::Temporary };
    let buffer = program.add_buffer(wide);
    let lhs = kernel.exprs.add(DType::F32, ExprKind::Load(Access { buffer, ..access.clone() }));
    kernel.body = Body::Contract(Contract { lhs, ..contract });

    let element = Axis { index: Symbol::new("$element"), extent: source.elements() };
    let at = Dim::from(element.index.clone());
    let mut exprs = Exprs::default();
    let load = Access { buffer: access.buffer, offset: at.clone(), bounds: vec![], otherwise: None };
    let half = exprs.add(source.dtype, ExprKind::Load(load));
    let value = exprs.add(DType::F32, ExprKind::Cast(half));
    let stores = vec![Store { buffer, offset: at, value, combine: None }];
    let nest = Nest { parallel: vec![element], stages: vec![Stage::Sweep { axes: vec![], stores }], serial: false };
    Some(Step::Run(Kernel { name, origins: kernel.origins.clone(), exprs, body: Body::Nest(nest) }))
}
