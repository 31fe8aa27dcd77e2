//! Small programs, written by hand, through memory planning, code and a run.

mod artifacts;
mod modules;

use super::*;
use crate::backend::cpu::target::CpuLevel;
use crate::kernel::{
    Access, Axis, BinaryFn, Body, Buffer, BufferId, BufferKind, Combine, ExprId, ExprKind, Exprs, Keep, Kernel, LoopKind, Nest, Reduction,
    Stage, Step, Store,
};
use kiln_ir::dim::Range;
use kiln_ir::graph::{Guard, Relation};
use kiln_ir::{DType, Dim, Symbol, Tensor, TensorType};

fn buffer(program: &mut Program, name: &str, shape: &[Dim], kind: BufferKind) -> BufferId {
    program.add_buffer(Buffer { name: name.into(), dtype: DType::F32, shape: shape.to_vec(), kind })
}

fn load(exprs: &mut Exprs, buffer: BufferId, offset: Dim) -> ExprId {
    exprs.add(DType::F32, ExprKind::Load(Access { buffer, offset, bounds: vec![], otherwise: None }))
}

/// `to[offset] = f(loaded values)` for every point of the axes.
fn map(
    name: &str,
    axes: &[(&str, Dim)],
    from: &[(BufferId, Dim)],
    to: (BufferId, Dim),
    f: impl Fn(&mut Exprs, &[ExprId]) -> ExprId,
) -> Step {
    let mut exprs = Exprs::default();
    let loaded: Vec<ExprId> = from.iter().map(|(buffer, offset)| load(&mut exprs, *buffer, offset.clone())).collect();
    let value = f(&mut exprs, &loaded);
    let parallel = axes.iter().map(|(name, extent)| Axis { index: Symbol::new(name), extent: extent.clone() }).collect();
    let store = Store { buffer: to.0, offset: to.1, value, combine: None };
    let nest = Nest { parallel, stages: vec![Stage::Sweep { axes: vec![], stores: vec![store] }], serial: false };
    Step::Run(Kernel { name: name.into(), origins: vec![], exprs, body: Body::Nest(nest) })
}

fn binary(f: BinaryFn) -> impl Fn(&mut Exprs, &[ExprId]) -> ExprId {
    move |exprs, x| exprs.add(DType::F32, ExprKind::Binary(f, x[0], x[1]))
}

fn dim(name: &str) -> Dim {
    Dim::symbol(name)
}

/// `y[n, 3] = (x + w·w) · 2 + c`, where `w·w` is prepared and `· 2` goes through a temporary; `s[n]` sums the rows of `y`.
pub(super) fn small() -> (Program, BTreeMap<String, Parameter>) {
    let (n, three) = (dim("n"), Dim::from(3));
    let mut p = Program { name: "predict".into(), symbol_order: vec![Symbol::new("n")], ..Program::default() };
    p.symbols.set(Symbol::new("n"), Range { min: 1, max: 5000 });
    p.guards.push(Guard { left: n.clone(), relation: Relation::AtMost, right: Dim::from(4000), why: "the test".into() });
    let shape = [n.clone(), three.clone()];
    let x = buffer(&mut p, "x", &shape, BufferKind::Input(0));
    let y = buffer(&mut p, "y", &shape, BufferKind::Output(0));
    let s = buffer(&mut p, "s", &shape[..1], BufferKind::Output(1));
    let w = buffer(&mut p, "w", &shape[1..], BufferKind::Parameter("w".into()));
    let square = buffer(&mut p, "square", &shape[1..], BufferKind::Prepared);
    let c = buffer(&mut p, "c", &[], BufferKind::Constant(Tensor::scalar(DType::F32, 0.5)));
    let (sum, twice) = (buffer(&mut p, "sum", &shape, BufferKind::Temporary), buffer(&mut p, "twice", &shape, BufferKind::Temporary));
    p.inputs = vec![("x".into(), x)];
    p.outputs = vec![("y".into(), y), ("s".into(), s)];
    let at = || dim("i") * Dim::from(3) + dim("j");
    let axes = [("i", n.clone()), ("j", three.clone())];
    p.prepare = vec![map("square w", &axes[1..], &[(w, dim("j")), (w, dim("j"))], (square, dim("j")), binary(BinaryFn::Mul))];
    let mut exprs = Exprs::default();
    let value = load(&mut exprs, y, dim("i") * Dim::from(3) + dim("k"));
    let accumulator = exprs.add(DType::F32, ExprKind::Accumulator(0));
    let reduce = Stage::Reduce {
        axes: vec![Axis { index: Symbol::new("k"), extent: three }],
        reductions: vec![Reduction { combine: Combine::Sum, keep: Keep::Value, value }],
    };
    let store = Store { buffer: s, offset: dim("i"), value: accumulator, combine: None };
    let stages = vec![reduce, Stage::Sweep { axes: vec![], stores: vec![store] }];
    let parallel = vec![Axis { index: Symbol::new("i"), extent: n }];
    let rows = Kernel { name: "rows".into(), origins: vec![], exprs, body: Body::Nest(Nest { parallel, stages, serial: false }) };
    p.steps = vec![
        map("add", &axes, &[(x, at()), (square, dim("j"))], (sum, at()), binary(BinaryFn::Add)),
        map("twice", &axes, &[(sum, at()), (sum, at())], (twice, at()), binary(BinaryFn::Add)),
        map("shift", &axes, &[(twice, at()), (c, Dim::ZERO)], (y, at()), binary(BinaryFn::Add)),
        Step::Run(rows),
    ];
    let value = Tensor::f32(&[3], &[1.0, 2.0, 3.0]);
    let parameter = Parameter { ty: TensorType::fixed(DType::F32, &[3]), value: Some(value) };
    (p, [("w".to_string(), parameter)].into())
}

pub(super) fn compiled(program: Program, parameters: BTreeMap<String, Parameter>) -> Compiled {
    let facts = ModelFacts { name: "small".into(), ..ModelFacts::default() };
    Compiled::from_program(program, parameters, CpuTarget::host(CpuLevel::Native).expect("this machine"), facts).expect("compiles")
}

fn small_input(n: usize) -> Tensor {
    Tensor::f32(&[n, 3], &(0..3 * n).map(|i| i as f32).collect::<Vec<_>>())
}

#[test]
fn one_code_body_serves_every_size_and_threads_change_no_bit() {
    let (program, parameters) = small();
    let (alone, both) = (ThreadPool::new(1), ThreadPool::new(2));
    let predictor = compiled(program, parameters).predictor(&both).expect("compiles");
    for n in [1, 2, 7, 64, 4000] {
        let input = [small_input(n)];
        let outputs = predictor.run(&input, &alone).expect("runs");
        let y: Vec<f64> = (0..3 * n).map(|i| 2.0 * (i as f64 + [1.0, 4.0, 9.0][i % 3]) + 0.5).collect();
        assert_eq!(outputs[0].floats(), y);
        assert_eq!(outputs[1].floats(), y.chunks(3).map(|row| row.iter().sum()).collect::<Vec<f64>>());
        assert_eq!(predictor.run(&input, &both).expect("runs"), outputs);
    }
}

#[test]
fn sizes_that_break_a_rule_are_refused_with_the_rule() {
    let (program, parameters) = small();
    let pool = ThreadPool::new(1);
    let predictor = compiled(program, parameters).predictor(&pool).expect("compiles");
    let refused = |n| predictor.run(&[small_input(n)], &pool).expect_err("refused").message;
    insta::assert_snapshot!(refused(4001), @"a condition on the input sizes does not hold (must hold: n <= 4000 (needed by the test))");
    insta::assert_snapshot!(refused(5001), @"axis 0 of input `x` (n) is 5001; from 1 to 5000 is possible");
    assert!(predictor.model().session(&[-1], &pool).is_err());
}

#[test]
fn sizes_that_overflow_are_refused_before_anything_is_computed() {
    let (mut program, parameters) = small();
    program.symbols.set(Symbol::new("n"), Range::SIZE);
    program.guards.clear();
    let pool = ThreadPool::new(1);
    let predictor = compiled(program, parameters).predictor(&pool).expect("compiles");
    let error = predictor.model().session(&[i64::MAX / 8], &pool).err().expect("refused");
    insta::assert_snapshot!(error, @"error[status_4]: the sizes overflow");
}

/// `state ← state · 2 + t`, starting from x, for t = 0, 1, … 4; then y = state.
#[test]
fn loops_carry_state_and_pass_their_index() {
    let mut p = Program { name: "predict".into(), ..Program::default() };
    let shape = [Dim::from(5)];
    let x = buffer(&mut p, "x", &shape, BufferKind::Input(0));
    let y = buffer(&mut p, "y", &shape, BufferKind::Output(0));
    let state = buffer(&mut p, "state", &shape, BufferKind::Temporary);
    let next = buffer(&mut p, "next", &shape, BufferKind::Temporary);
    let steps = buffer(&mut p, "steps", &shape, BufferKind::Constant(Tensor::f32(&[5], &[0.0, 1.0, 2.0, 3.0, 4.0])));
    p.inputs = vec![("x".into(), x)];
    p.outputs = vec![("y".into(), y)];
    let axes = [("i", Dim::from(5))];
    let copy = |name: &str, from, to| map(name, &axes, &[(from, dim("i"))], (to, dim("i")), |_, x| x[0]);
    let twice = |exprs: &mut Exprs, x: &[ExprId]| {
        let double = exprs.add(DType::F32, ExprKind::Binary(BinaryFn::Add, x[0], x[0]));
        exprs.add(DType::F32, ExprKind::Binary(BinaryFn::Add, double, x[1]))
    };
    let body = vec![map("turn", &axes, &[(state, dim("i")), (steps, dim("$t0"))], (next, dim("i")), twice), copy("keep", next, state)];
    p.steps = vec![
        copy("start", x, state),
        Step::Loop { index: Symbol::new("$t0"), extent: Dim::from(5), kind: LoopKind::Sequential, body },
        copy("end", state, y),
    ];
    let pool = ThreadPool::new(1);
    let predictor = compiled(p, BTreeMap::new()).predictor(&pool).expect("compiles");
    let outputs = predictor.run(&[Tensor::f32(&[5], &[0.0, 1.0, 2.0, 3.0, 4.0])], &pool).expect("runs");
    assert_eq!(outputs[0].floats(), [26.0, 58.0, 90.0, 122.0, 154.0]);
}
