//! Small programs for tests of schedules.

use crate::kernel::{
    Access, Axis, Body, Buffer, BufferId, BufferKind, ExprKind, Exprs, Kernel, LoopKind, Nest, Program, Stage, Step, Store,
};
use kiln_ir::{DType, Dim, Symbol};

/// A kernel that copies one element.
pub fn copy(from: (u32, Dim), to: (u32, Dim)) -> Step {
    let mut exprs = Exprs::default();
    let access = Access { buffer: BufferId(from.0), offset: from.1, bounds: vec![], otherwise: None };
    let value = exprs.add(DType::F32, ExprKind::Load(access));
    let store = Store { buffer: BufferId(to.0), offset: to.1, value, combine: None };
    let axis = Axis { index: Symbol::new("i"), extent: Dim::ONE };
    let nest = Nest { parallel: vec![axis], stages: vec![Stage::Sweep { axes: vec![], stores: vec![store] }], serial: false };
    Step::Run(Kernel { name: format!("copy{}", from.0), origins: vec![], exprs, body: Body::Nest(nest) })
}

fn temporary(name: String, size: Dim) -> Buffer {
    Buffer { name, dtype: DType::F32, shape: vec![size], kind: BufferKind::Temporary }
}

/// Buffers of these sizes, each copied to the next.
pub fn chain(sizes: &[Dim]) -> Program {
    let mut program = Program::default();
    for (at, size) in sizes.iter().enumerate() {
        program.add_buffer(temporary(format!("b{at}"), size.clone()));
    }
    program.steps = (1..sizes.len() as u32).map(|at| copy((at - 1, Dim::ZERO), (at, Dim::ZERO))).collect();
    program
}

/// 0 → state 1; then 4 times: state → scratch 2 → scratch 3 → state; state → 4.
pub fn looped() -> Program {
    let mut program = Program::default();
    for at in 0..5 {
        program.add_buffer(temporary(format!("b{at}"), Dim::from(16)));
    }
    let z = || Dim::ZERO;
    let body = vec![copy((1, z()), (2, z())), copy((2, z()), (3, z())), copy((3, z()), (1, z()))];
    program.steps = vec![
        copy((0, z()), (1, z())),
        Step::Loop { index: Symbol::new("$t0"), extent: Dim::from(4), kind: LoopKind::Sequential, body },
        copy((1, z()), (4, z())),
    ];
    program
}
