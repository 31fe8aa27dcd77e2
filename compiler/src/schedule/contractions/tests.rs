//! Tests: parameters are packed once, before the run, what a loop does not change before the loop, and tiles read packed panels in
//! place.

use super::schedule;
use crate::kernel::{
    Access, Axis, Body, Buffer, BufferId, BufferKind, Contract, DEPTH_CHUNK, ExprKind, Exprs, Kernel, LoopKind, Program, Step, Store,
};
use crate::lower::{Arg, VectorIsa, lower};
use kiln_ir::{DType, Dim, Symbol};

/// y[r, c] = Σ x[r, k] · w[k, c], twice with the same weight.
fn two_layers(columns: i64, dtype: DType) -> Program {
    let mut program = Program { symbol_order: vec![Symbol::new("n")], ..Program::default() };
    let mut add = |name: &str, shape: [Dim; 2], kind: BufferKind| {
        program.add_buffer(Buffer { name: name.into(), dtype, shape: shape.to_vec(), kind })
    };
    let (n, k, c) = (Dim::symbol("n"), Dim::from(64), Dim::from(columns));
    let x = add("x", [n.clone(), k.clone()], BufferKind::Input(0));
    let w = add("w", [k.clone(), c.clone()], BufferKind::Parameter("w".into()));
    let y = [0, 1].map(|i| add("y", [n.clone(), c.clone()], BufferKind::Output(i)));
    for output in y {
        let [row, column, depth] =
            [("r", &n), ("c", &c), ("k", &k)].map(|(name, extent)| Axis { index: Symbol::new(name), extent: extent.clone() });
        let at = |axis: &Axis| Dim::from(axis.index.clone());
        let mut exprs = Exprs::default();
        let mut load =
            |buffer: BufferId, offset: Dim| exprs.add(dtype, ExprKind::Load(Access { buffer, offset, bounds: vec![], otherwise: None }));
        let lhs = load(x, at(&row) * &k + at(&depth));
        let rhs = load(w, at(&depth) * &c + at(&column));
        let value = exprs.add(DType::F32, ExprKind::Accumulator(0));
        let stores = vec![Store { buffer: output, offset: at(&row) * &c + at(&column), value, combine: None }];
        let body = Body::Contract(Contract {
            batch: vec![],
            rows: vec![row],
            columns: vec![column],
            depth: vec![depth],
            chunk: DEPTH_CHUNK,
            lhs,
            rhs,
            stores,
        });
        program.steps.push(Step::Run(Kernel { name: "dense".into(), origins: vec![], exprs, body }));
    }
    program
}

#[test]
fn a_weight_is_packed_once_and_read_in_place() {
    for columns in [16, 21, 64] {
        let mut program = two_layers(columns, DType::F32);
        schedule(&mut program, &VectorIsa::V128);
        assert_eq!(program.prepare.len(), 1);
        let packed = BufferId(program.buffers.len() as u32 - 1);
        assert_eq!(program.buffer(packed).kind, BufferKind::Prepared);
        assert_eq!(program.buffer(packed).elements(), Dim::from((columns as u64).div_ceil(16) as i64 * 16 * 64));
        for step in &program.steps {
            let Step::Run(kernel) = step else { panic!("no loops were made") };
            let lowered = lower(kernel, &program, &VectorIsa::V128);
            assert!(lowered.args.contains(&Arg::Buffer(packed)));
            assert!(!lowered.args.contains(&Arg::WorkerScratch) && lowered.worker_scratch_bytes.is(0));
        }
    }
}

#[test]
fn panels_of_half_floats_stay_half_floats_where_vectors_of_them_can_be_loaded() {
    for (isa, expected) in [(VectorIsa::V128, DType::F32), (VectorIsa::AVX2, DType::BF16), (VectorIsa::AVX512, DType::BF16)] {
        let mut program = two_layers(64, DType::BF16);
        schedule(&mut program, &isa);
        let packed = program.buffers.last().expect("a buffer of panels");
        assert_eq!((packed.kind.clone(), packed.dtype), (BufferKind::Prepared, expected), "{isa:?}");
    }
}

#[test]
fn what_a_loop_does_not_change_is_packed_before_it() {
    let packed = |kind: BufferKind, is_indexed: bool| {
        let mut program = two_layers(64, DType::F32);
        program.buffers[1].kind = kind;
        let mut body = std::mem::take(&mut program.steps);
        let index = Symbol::new("t");
        if is_indexed && let Step::Run(Kernel { exprs, body: Body::Contract(contract), .. }) = &mut body[0] {
            let offset = Dim::from(index.clone()) + Dim::symbol("k") * Dim::from(64) + Dim::symbol("c");
            let access = Access { buffer: BufferId(1), offset, bounds: vec![], otherwise: None };
            contract.rhs = exprs.add(DType::F32, ExprKind::Load(access));
            body.truncate(1);
        }
        program.steps.push(Step::Loop { index, extent: Dim::from(5), kind: LoopKind::Sequential, body });
        schedule(&mut program, &VectorIsa::V128);
        let inside = program.steps.iter().find_map(|step| if let Step::Loop { body, .. } = step { Some(body.len()) } else { None });
        (program.steps.len() - 1, inside.unwrap_or(0))
    };
    assert_eq!(packed(BufferKind::Input(1), false), (2, 2));
    // Another part of it in each turn.
    assert_eq!(packed(BufferKind::Input(1), true).0, 0);
}
