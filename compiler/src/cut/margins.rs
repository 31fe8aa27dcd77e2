//! Zeros around a value, so that a convolution may read beyond it without asking.
//!
//! ```text
//! place of x with one row and column more on each side      →      margin [h < 1], margin [h < 1] behind, margin [w < 1], …
//! ```
//!
//! The memory is shared with other values, so the zeros are stored in every run, before the value. They are few.

use super::{Layout, Place};
use crate::kernel::{Axis, Body, Exprs, Kernel, Nest, Stage, Store};
use kiln_ir::{Dim, Symbol, TensorType};

/// The kernels that store the zeros: one for each side of each axis that has some. Corners are stored more than once.
pub(super) fn fill(place: &Place, ty: &TensorType, layout: &Layout) -> Vec<Kernel> {
    let mut kernels = Vec::new();
    for (axis, &(low, high)) in layout.margins.iter().enumerate() {
        for (size, start) in [(low, Dim::ZERO - Dim::from(low)), (high, ty.shape[axis].clone())] {
            if size > 0 {
                kernels.push(side(place, ty, layout, axis, size, &start));
            }
        }
    }
    kernels
}

/// Stores zeros at `start` and the `size` − 1 places behind along an axis, over the whole of the others.
fn side(place: &Place, ty: &TensorType, layout: &Layout, axis: usize, size: usize, start: &Dim) -> Kernel {
    let index = |at: usize| Symbol::new(&format!("$m{at}"));
    // In the order of memory, so that neighbours are stored together.
    let parallel: Vec<Axis> = layout
        .order
        .iter()
        .map(|&at| {
            let (low, high) = layout.margins[at];
            let extent = if at == axis { Dim::from(size) } else { &ty.shape[at] + Dim::from(low + high) };
            Axis { index: index(at), extent }
        })
        .collect();
    let position = |at: usize| {
        let first = if at == axis { start.clone() } else { Dim::ZERO - Dim::from(layout.margins[at].0) };
        Dim::from(index(at)) + first
    };
    let at: Vec<Dim> = (0..ty.rank()).map(position).collect();
    let mut exprs = Exprs::default();
    let value = exprs.constant(ty.dtype, 0.0);
    let store = Store { buffer: place.buffer, offset: place.offset(&at), value, combine: None };
    let stages = vec![Stage::Sweep { axes: Vec::new(), stores: vec![store] }];
    Kernel { name: "margin".into(), origins: Vec::new(), exprs, body: Body::Nest(Nest { parallel, stages, serial: false }) }
}
