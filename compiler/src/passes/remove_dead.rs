//! Drops nodes that no output depends on.
//! ```text
//! %t = exp %a ; %y = relu %a ; return %y      →      %y = relu %a ; return %y
//! ```
//! Needs: nothing.  Keeps: inputs, outputs, guards.  Skips: nothing. Every pass that rebuilds does this on its way; standing
//! last, it leaves exactly the live nodes.

use super::regions::{keep, rebuild};
use crate::pipeline::Context;
use kiln_ir::Graph;

/// See the head of this file.
pub fn remove_dead(graph: &Graph, _: &Context) -> Graph {
    rebuild(graph, keep)
}
