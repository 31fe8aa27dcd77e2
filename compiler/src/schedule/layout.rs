//! In which order the axes of intermediate values lie in memory, and how far apart.
//!
//! Images between convolutions are stored channels last (`[n, h, w, c]`): a vector then holds neighbouring channels of one pixel,
//! whatever the stride, the padding or the groups of the convolution that reads them, and no operand is ever rearranged.
//! Keeps: every bit, since no result depends on where it lies.  Skips: inputs and outputs, whose layout is the caller's.

use super::{rows, winograd};
use crate::cut::winograd::Winograds;
use crate::cut::{Layout, Layouts};
use kiln_ir::graph::NodeKind;
use kiln_ir::{DType, Dim, Graph, NodeId, Op, Value};
use std::collections::BTreeSet;

/// Pixels this far apart, or a multiple of it, would meet in too few sets of the first-level cache (64 sets of 64 bytes), so that
/// the rows of a tile drive each other out.
pub const ALIASED_BYTES: i64 = 1024;
/// What is left unused behind each pixel then: a line of the cache.
pub const SPARE_BYTES: usize = 64;

/// Wider padding is left to whoever reads the image.
const WIDEST_MARGIN: usize = 8;

/// Elements left unused behind runs of that many.
pub fn spare_elements(run: &Dim, dtype: DType) -> usize {
    match run.as_const().map(|elements| elements.saturating_mul(dtype.size_bytes() as i64)) {
        Some(bytes) if bytes > 0 && bytes % ALIASED_BYTES == 0 => SPARE_BYTES / dtype.size_bytes(),
        _ => 0,
    }
}

/// Elements left unused behind the channels of each pixel: as many as let no vector of them cross the end of a line.
pub(super) fn spare_channels(channels: &Dim, dtype: DType) -> usize {
    let Some(bytes) = channels.as_const().and_then(|n| usize::try_from(n).ok()?.checked_mul(dtype.size_bytes())) else { return 0 };
    let apart = bytes.next_multiple_of(bytes.next_power_of_two().clamp(1, SPARE_BYTES));
    let run = Dim::from(apart / dtype.size_bytes());
    (apart - bytes) / dtype.size_bytes() + spare_elements(&run, dtype)
}

/// Channels last for what convolutions and windows make, and for what is computed from that element by element; rows apart.
pub fn layouts(graph: &Graph, winograds: &Winograds) -> Layouts {
    let mut layouts = Layouts::new();
    for id in images(graph) {
        for (result, ty) in graph.node(id).types.iter().enumerate() {
            let order = last(ty.rank());
            let spare = spare_channels(&ty.shape[1], ty.dtype);
            let value = Value { node: id, result: result as u32 };
            layouts.insert(value, Layout { order, spare, margins: margins(graph, value, winograds) });
        }
    }
    rows::space(graph, &mut layouts);
    layouts
}

/// Channels last for images of what matrix units multiply, f32 too where `tf32` says so: they read neighbours of depth.
pub fn channels_last(graph: &Graph, tf32: bool) -> Layouts {
    let is_theirs = |value: &Value| is_of_matrices(graph.ty(*value).dtype, tf32);
    let results = |id: NodeId| (0..graph.node(id).types.len()).map(move |result| Value { node: id, result: result as u32 });
    let plain = |value: Value| {
        let rank = graph.ty(value).rank();
        (value, Layout { order: last(rank), spare: 0, margins: vec![(0, 0); rank] })
    };
    images(graph).into_iter().flat_map(results).filter(is_theirs).map(plain).collect()
}

/// Whether matrix units multiply such elements, f32 where `tf32` says that it may lose bits.
pub fn is_of_matrices(dtype: DType, tf32: bool) -> bool {
    matches!(dtype, DType::F16 | DType::BF16) || (tf32 && dtype == DType::F32)
}

/// The second axis behind all others.
fn last(rank: usize) -> Vec<usize> {
    std::iter::once(0).chain(2..rank).chain([1]).collect()
}

/// What convolutions and windows make, and what is computed from that element by element.
pub(super) fn images(graph: &Graph) -> BTreeSet<NodeId> {
    let mut images: BTreeSet<NodeId> = BTreeSet::new();
    for id in graph.order() {
        let node = graph.node(id);
        let NodeKind::Op(op) = &node.kind else { continue };
        let shape = &node.types[0].shape;
        let from_images = || node.inputs.iter().any(|x| images.contains(&x.node) && graph.ty(*x).rank() == shape.len());
        let is_image = match op {
            Op::Conv(_) => true,
            Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Dot(_) | Op::Gather(_) | Op::Scan(_) => false,
            _ => from_images(),
        };
        if is_image && shape.len() >= 3 {
            images.insert(id);
        }
    }
    images
}

/// Zeros around an image, as many as convolutions that read it directly pad it with, or as their tiles reach beyond it.
fn margins(graph: &Graph, value: Value, winograds: &Winograds) -> Vec<(usize, usize)> {
    let mut margins = vec![(0, 0); graph.ty(value).rank()];
    // What is read so, directly or with batch and channels exchanged.
    let mut views = vec![value];
    while let Some(view) = views.pop() {
        for (user, operand) in graph.users(view.node) {
            let node = graph.node(user);
            match &node.kind {
                NodeKind::Op(Op::Transpose(op)) if view == value && op.perm.iter().skip(2).copied().eq(2..op.perm.len()) => {
                    views.push(Value { node: user, result: 0 });
                }
                NodeKind::Op(Op::Conv(conv)) if node.inputs[operand as usize] == view => {
                    if operand == 0 && conv.lhs_dilations.iter().all(|d| *d == 1) {
                        for (axis, (low, high)) in conv.low.iter().zip(&conv.high).enumerate() {
                            let known = |pad: &Dim| pad.as_const().and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= WIDEST_MARGIN);
                            if let (Some(low), Some(high)) = (known(low), known(high)) {
                                let margin = &mut margins[2 + axis];
                                *margin = (margin.0.max(low), margin.1.max(high));
                            }
                        }
                    }
                    if let Some(how) = winograds.get(&user) {
                        for (axis, beyond) in winograd::margins(graph, user, how, operand as usize).into_iter().enumerate() {
                            let margin = &mut margins[2 + axis];
                            margin.1 = margin.1.max(beyond);
                        }
                    }
                }
                _ => {}
            }
        }
    }
    margins
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_ir::Builder;
    use kiln_ir::ops::Conv;
    use kiln_ir::types::parse_tensor_type;

    #[test]
    fn what_follows_a_convolution_is_channels_last_until_axes_change() {
        let mut graph = Graph::new();
        let x = graph.add_input("x", parse_tensor_type("f32[2, 3, 8, 8]").expect("a type"));
        let w = graph.add_parameter("w", parse_tensor_type("f32[4, 3, 3, 3]").expect("a type"));
        let mut b = Builder::new(&mut graph);
        let y = b.op(Conv::plain(2), &[x, w]);
        let e = b.exp(y);
        let flat = b.reshape(e, &[kiln_ir::Dim::from(2), kiln_ir::Dim::from(144)]);
        graph.add_output("flat", flat);
        let layouts = layouts(&graph, &Winograds::new());
        assert_eq!(layouts.keys().collect::<Vec<_>>(), [&y, &e]);
        assert!(layouts.values().all(|layout| layout.order == [0, 2, 3, 1] && layout.spare == 0));
    }

    #[test]
    fn no_vector_of_channels_crosses_the_end_of_a_line() {
        let apart = |channels: i64| channels + spare_channels(&Dim::from(channels), DType::F32) as i64;
        assert_eq!([1, 3, 8, 13, 16, 17, 31, 96, 131].map(apart), [1, 4, 8, 16, 16, 32, 32, 96, 144]);
        // A multiple of what meets in too few sets is one line further.
        assert_eq!([250, 256].map(apart), [272, 272]);
    }
}
