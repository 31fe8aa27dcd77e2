//! Replaces composites by the operators they are made of, down to primitives.
//! ```text
//! %y = relu %x      →      %0 = const f32[] 0.0 ; %1 = broadcast %0 ; %y = max %x, %1
//! ```
//! Needs: nothing.  Keeps: values, within the rounding of the expansion; origins.  Skips: composites that the configuration keeps
//! whole because a backend computes them directly, where kernels can be made of them.

use super::regions::{keep, rebuild};
use crate::cut::attention::has_kernel;
use crate::pipeline::Context;
use kiln_ir::ops::Meaning;
use kiln_ir::{Builder, Graph};

/// Composites inside composites inside …: deeper than this, one expands into itself.
const MAX_DEPTH: usize = 32;

/// See the head of this file.
pub fn expand_composites(graph: &Graph, context: &Context) -> Graph {
    let mut graph = graph.clone();
    for _ in 0..MAX_DEPTH {
        let mut expanded = false;
        graph = rebuild(&graph, |out, node, op, x| {
            let operands = || x.iter().map(|value| out.ty(*value).clone()).collect::<Vec<_>>();
            let stays = context.config.keep.contains(op.name()) && has_kernel(op, &operands(), context.config);
            if !stays && let Meaning::Composite(values) = op.expand(&mut Builder::from_origin(out, node.origin.clone()), x) {
                expanded = true;
                return values;
            }
            keep(out, node, op, x)
        });
        if !expanded {
            return graph;
        }
    }
    panic!("expand_composites: an operator expands into itself, {MAX_DEPTH} levels deep:\n{graph}")
}
