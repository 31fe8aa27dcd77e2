//! How far apart rows lie that a product stores or reads side by side: not so far that they drive each other out of the cache.
//! Keeps: every bit, since no result depends on where it lies.  Skips: images, whose pixels have their own distance.

use super::layout::{spare_channels, spare_elements};
use crate::cut::{Layout, Layouts};
use kiln_ir::graph::NodeKind;
use kiln_ir::{Dim, Graph, NodeId, Op, Value};
use std::collections::BTreeSet;

/// Places this far apart are in the same set of the first-level cache.
const WAY_BYTES: i64 = 4096;

/// Rows of which what is left unused is little.
const LONG_BYTES: i64 = 256;

/// Leaves a line of the cache unused behind such rows.
pub(super) fn space(graph: &Graph, layouts: &mut Layouts) {
    let mut products: BTreeSet<NodeId> = BTreeSet::new();
    for id in graph.order() {
        let node = graph.node(id);
        let NodeKind::Op(op) = &node.kind else { continue };
        let shape = &node.types[0].shape;
        let is_product = match op {
            Op::Dot(_) => true,
            Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Gather(_) | Op::Scan(_) => false,
            _ => node.inputs.iter().any(|x| products.contains(&x.node) && graph.ty(*x).shape == *shape),
        };
        if is_product {
            products.insert(id);
        }
        for (result, ty) in node.types.iter().enumerate() {
            let value = Value { node: id, result: result as u32 };
            let Some(run) = ty.shape.last() else { continue };
            let long = run.as_const().is_some_and(|n| n.saturating_mul(ty.dtype.size_bytes() as i64) >= LONG_BYTES);
            let spare = if is_product && long { spare_channels(run, ty.dtype) } else { spare_elements(run, ty.dtype) };
            if spare == 0 || ty.rank() < 2 || layouts.contains_key(&value) {
                continue;
            }
            // Vectors of a product's rows would cross ends of lines, or rows of one tile meet in one set as all its rows do.
            let crosses = spare_elements(run, ty.dtype) == 0;
            let meets =
                is_product && (crosses || run.as_const().is_some_and(|n| n.saturating_mul(ty.dtype.size_bytes() as i64) % WAY_BYTES == 0));
            if let Some(across) = reads_rows(graph, value)
                && (across || meets)
            {
                layouts.insert(value, Layout { spare, ..Layout::row_major(ty.rank()) });
            }
        }
    }
}

/// Whether products sum over the rows of a value; nothing if what reads it takes several of them for one.
fn reads_rows(graph: &Graph, value: Value) -> Option<bool> {
    let shape = &graph.ty(value).shape;
    let last = shape.len() - 1;
    let mut across = false;
    for (user, operand) in graph.users(value.node) {
        let node = graph.node(user);
        if node.inputs[operand as usize] != value {
            continue;
        }
        match &node.kind {
            NodeKind::Op(Op::Dot(dot)) => {
                let (batch, contract) = if operand == 0 { (&dot.a_batch, &dot.a_contract) } else { (&dot.b_batch, &dot.b_contract) };
                across |= !batch.contains(&last) && !contract.contains(&last) && !contract.is_empty();
            }
            // A row must stay one, whole or in parts.
            NodeKind::Op(Op::Reshape(reshape)) => {
                (0..reshape.shape.len()).find(|from| Dim::product(&reshape.shape[*from..]) == shape[last])?;
            }
            _ => {}
        }
    }
    Some(across)
}
