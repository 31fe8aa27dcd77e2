//! What the threads of a block are called by: indices that follow from the number of the thread.

use super::chunks::Chunks;
use crate::kernel::Axis;
use crate::lower::context::Context;
use crate::lower::tasks::bind_all;
use crate::tile::{Builder, Reg};
use kiln_ir::{Dim, Symbol};

/// Threads of a warp.
pub(super) const WARP: i64 = 32;

/// The number of the thread, over which the indices of [`as_members`] are said.
pub(super) fn number() -> Dim {
    Dim::symbol("#thread")
}

/// Emits with indices bound, each with its name, its extent and what it is of [`number`], and with those by which threads bring operands.
pub(super) fn as_members(
    cx: &mut Context,
    b: &mut Builder,
    (thread, threads): (Reg, i64),
    indices: &[(&str, i64, Dim)],
    operands: &[&Chunks],
    emit: impl FnOnce(&mut Context, &mut Builder),
) {
    let index = Symbol::new("#thread");
    cx.ranges.set_index(index.clone(), Dim::from(threads));
    let mut bound: Vec<(Axis, Reg)> = Vec::new();
    for (name, extent, dim) in indices {
        let reg = cx.bound(&index, thread, |cx| cx.index(b, dim));
        bound.push((Axis { index: Symbol::new(name), extent: Dim::from(*extent) }, reg));
    }
    for chunks in operands {
        bound.extend(chunks.indices(cx, b, thread));
    }
    let (axes, regs): (Vec<Axis>, Vec<Reg>) = bound.into_iter().unzip();
    axes.iter().for_each(|axis| cx.ranges.set_index(axis.index.clone(), axis.extent.clone()));
    bind_all(cx, &axes, &regs, Box::new(|cx| emit(cx, b)));
}
