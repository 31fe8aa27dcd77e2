//! Tests: parameters are packed once, before the run, what a loop does not change before the loop, and tiles read packed panels in
//! place; what was made to be packed is not paid for.

use super::schedule;
use crate::kernel::{
    Access, Axis, Body, Buffer, BufferId, BufferKind, Contract, DEPTH_CHUNK, ExprKind, Exprs, Kernel, LoopKind, Nest, PrepareBudget,
    Program, Stage, Step, Store,
};
use crate::lower::{Arg, VectorIsa, lower};
use kiln_ir::{DType, Dim, Symbol};
use std::collections::BTreeSet;

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

#[test]
fn the_next_panel_is_asked_for_into_the_cache_that_answers_sooner() {
    for (asks_first_level, expected) in [(false, "later"), (true, "read")] {
        let isa = VectorIsa { asks_first_level, ..VectorIsa::AVX512 };
        let mut program = two_layers(1024, DType::F32);
        schedule(&mut program, &isa);
        let Step::Run(kernel) = &program.steps[0] else { panic!("no loops were made") };
        let text = lower(kernel, &program, &isa).program.to_string();
        let hints: BTreeSet<&str> = text.split("prefetch.").skip(1).filter_map(|rest| rest.split(' ').next()).collect();
        assert_eq!(hints, BTreeSet::from([expected, "write"]), "{text}");
    }
}

/// A step that copies a buffer of so many elements to a new one.
fn copied(program: &mut Program, from: BufferId, elements: i64) -> Step {
    let shape = vec![Dim::from(elements)];
    let buffer = program.add_buffer(Buffer { name: "copy".into(), dtype: DType::F32, shape, kind: BufferKind::Prepared });
    let axis = Axis { index: Symbol::new("i"), extent: Dim::from(elements) };
    let offset = Dim::from(axis.index.clone());
    let mut exprs = Exprs::default();
    let access = Access { buffer: from, offset: offset.clone(), bounds: vec![], otherwise: None };
    let value = exprs.add(DType::F32, ExprKind::Load(access));
    let store = Store { buffer, offset, value, combine: None };
    let body = Body::Nest(Nest { parallel: vec![axis], stages: vec![Stage::Sweep { axes: vec![], stores: vec![store] }], serial: false });
    Step::Run(Kernel { name: "copy".into(), origins: vec![], exprs, body })
}

#[test]
fn what_is_read_only_to_be_packed_is_not_paid_for() {
    const WEIGHTS: i64 = 64 * 64;
    let elements_free = (16 << 20) / DType::F32.size_bytes() as i64;
    // Layers, whether there is room for a copy beside the weights, whether another kernel reads them too; whether they are packed, and
    // whether there is room for as much again.
    let cases = [
        (2, true, false, true, true),
        (2, true, true, true, false),
        (2, false, false, false, false),
        (1, false, false, true, false),
        (1, false, true, false, false),
    ];
    for (layers, has_room, is_read_otherwise, is_packed, leaves_room) in cases {
        let mut program = two_layers(64, DType::F32);
        program.steps.truncate(layers);
        // Weights that were computed from the parameter.
        let computed = copied(&mut program, BufferId(1), WEIGHTS);
        let weights = BufferId(program.buffers.len() as u32 - 1);
        for step in &mut program.steps {
            let Step::Run(Kernel { exprs, body: Body::Contract(contract), .. }) = step else { panic!("layers are products") };
            let ExprKind::Load(access) = exprs.get(contract.rhs).kind.clone() else { panic!("of a buffer") };
            contract.rhs = exprs.add(DType::F32, ExprKind::Load(Access { buffer: weights, ..access }));
        }
        let others = copied(&mut program, BufferId(0), elements_free - WEIGHTS * (1 + i64::from(has_room)));
        let mut budget = PrepareBudget::default();
        assert!(budget.take(&program, &computed, &[]) && budget.take(&program, &others, &[]));
        program.prepare_budget = budget;
        if is_read_otherwise {
            let reader = copied(&mut program, weights, WEIGHTS);
            program.steps.push(reader);
        }
        schedule(&mut program, &VectorIsa::V128);
        assert_eq!(program.prepare.len(), usize::from(is_packed), "{layers} {has_room} {is_read_otherwise}");
        let more = copied(&mut program, BufferId(1), WEIGHTS);
        let mut budget = std::mem::take(&mut program.prepare_budget);
        assert_eq!(budget.take(&program, &more, &[]), leaves_room, "{layers} {has_room} {is_read_otherwise}");
        let more = copied(&mut program, BufferId(1), 1);
        assert!(!budget.take(&program, &more, &[]));
    }
}
