//! In which order the axes of intermediate values lie in memory.
//!
//! Images between convolutions are stored channels last (`[n, h, w, c]`): a vector then holds neighbouring channels of one pixel,
//! whatever the stride, the padding or the groups of the convolution that reads them, and no operand is ever rearranged.
//! Keeps: every bit, since no result depends on where it lies.  Skips: inputs and outputs, whose layout is the caller's.

use crate::cut::{Layout, Layouts};
use kiln_ir::graph::NodeKind;
use kiln_ir::{Graph, NodeId, Op, Value};
use std::collections::BTreeSet;

/// Pixels this far apart, or a multiple of it, would meet in too few sets of the first-level cache (64 sets of 64 bytes), so that
/// the rows of a tile drive each other out.
const ALIASED_BYTES: i64 = 2048;
/// What is left unused behind each pixel then: a line of the cache.
const SPARE_BYTES: usize = 64;

/// Channels last for what convolutions and windows make, and for what is computed from that element by element.
pub fn channels_last(graph: &Graph) -> Layouts {
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
    let mut layouts = Layouts::new();
    for id in images {
        for (result, ty) in graph.node(id).types.iter().enumerate() {
            let order = std::iter::once(0).chain(2..ty.rank()).chain([1]).collect();
            let spare = match ty.shape[1].as_const().map(|channels| channels.saturating_mul(ty.dtype.size_bytes() as i64)) {
                Some(bytes) if bytes > 0 && bytes % ALIASED_BYTES == 0 => SPARE_BYTES / ty.dtype.size_bytes(),
                _ => 0,
            };
            layouts.insert(Value { node: id, result: result as u32 }, Layout { order, spare });
        }
    }
    layouts
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
        let layouts = channels_last(&graph);
        assert_eq!(layouts.keys().collect::<Vec<_>>(), [&y, &e]);
        assert!(layouts.values().all(|layout| layout.order == [0, 2, 3, 1] && layout.spare == 0));
    }
}
