//! What an NVIDIA GPU can do, for choices that weigh kernels against each other.

use crate::kernel::roofline::Machine;
use kiln_ir::{DType, Graph, NodeKind};

/// An H100 SXM, as measured: products of large matrices of f32 on the units of threads, a copy of memory, launches in a recording.
const H100: Machine = Machine {
    flops_per_second: 40e12,
    operations_per_second: 20e12,
    close_bytes_per_second: 5e12,
    far_bytes_per_second: 2.4e12,
    close_bytes: 40e6,
    launch_seconds: 2.5e-6,
    bounded_load_seconds: 0.0,
    tile: [32.0, 64.0],
};

/// Operations a second of products of half floats on its matrix units.
const HALF_FLOPS_PER_SECOND: f64 = 700e12;

/// What it can do for a graph: products are of the type that most of its weights have.
pub fn machine(graph: &Graph) -> Machine {
    let bytes_of = |half: bool| -> i64 {
        let types = graph.order().into_iter().filter_map(|id| match &graph.node(id).kind {
            NodeKind::Parameter(_) => Some(&graph.node(id).types[0]),
            _ => None,
        });
        let own = types.filter(|ty| matches!(ty.dtype, DType::F16 | DType::BF16) == half);
        own.map(|ty| ty.elements().as_const().unwrap_or(0)).fold(0, i64::saturating_add)
    };
    match bytes_of(true) > bytes_of(false) {
        true => Machine { flops_per_second: HALF_FLOPS_PER_SECOND, tile: [128.0, 64.0], ..H100 },
        false => H100,
    }
}
