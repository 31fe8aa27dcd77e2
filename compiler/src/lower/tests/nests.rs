//! Random nests, and the shapes of nests that networks are made of.

use super::check;
use super::random::Maker;
use crate::kernel::{Access, Axis, Body, BufferKind, Combine, ExprKind, Keep, Nest, Reduction, Stage, Store};
use kiln_ir::{DType, Dim, Symbol};

const EXTENTS: [i64; 10] = [1, 2, 3, 4, 5, 7, 8, 16, 17, 37];

fn store(m: &mut Maker, axes: &[Axis], accumulators: &[DType], depth: usize) -> Store {
    let dtype =
        m.random.pick(&[DType::F32, DType::F32, DType::F64, DType::F16, DType::BF16, DType::I32, DType::I64, DType::U8, DType::Bool]);
    let value = m.expr(dtype, axes, accumulators, depth);
    let (shape, offset) = m.target(axes);
    let buffer = m.output(dtype, shape);
    Store { buffer, offset, value, combine: None }
}

#[test]
fn random_maps() {
    for seed in 0..150 {
        let mut m = Maker::new(seed);
        let count = m.random.below(4);
        let parallel = m.axes("i", count, &EXTENTS);
        let stores: Vec<Store> = (0..1 + m.random.below(2)).map(|_| store(&mut m, &parallel, &[], 3)).collect();
        m.kernel(Body::Nest(Nest { parallel, stages: vec![Stage::Sweep { axes: vec![], stores }], serial: false }));
        check(&m.program, &m.sizes, &m.given);
    }
}

fn reduction(m: &mut Maker, axes: &[Axis], accumulators: &[DType]) -> (Reduction, DType) {
    let combine = m.random.pick(&[Combine::Sum, Combine::Sum, Combine::Product, Combine::Max, Combine::Min]);
    let dtype = m.random.pick(&[DType::F32, DType::F32, DType::F64, DType::F16, DType::I32, DType::I64, DType::U8]);
    let positions = matches!(combine, Combine::Max | Combine::Min) && m.random.below(2) == 0;
    let keep = if positions { m.random.pick(&[Keep::FirstPosition, Keep::LastPosition]) } else { Keep::Value };
    let depth = m.random.below(3);
    let value = m.expr(dtype, axes, accumulators, depth);
    (Reduction { combine, keep, value }, if positions { DType::I64 } else { dtype })
}

#[test]
fn random_rows() {
    for seed in 0..150 {
        let mut m = Maker::new(1000 + seed);
        let count = m.random.below(3);
        let parallel = m.axes("i", count, &[1, 2, 3, 5, 9]);
        let mut stages = vec![];
        let mut accumulators: Vec<DType> = vec![];
        for stage in 0..1 + m.random.below(3) {
            let inner = 1 + m.random.below(2);
            let axes = m.axes(&format!("s{stage}_"), inner, &EXTENTS);
            let all = [&parallel[..], &axes].concat();
            if m.random.below(3) == 0 {
                let stores = vec![store(&mut m, &all, &accumulators, 2)];
                stages.push(Stage::Sweep { axes, stores });
            } else {
                let made: Vec<(Reduction, DType)> = (0..1 + m.random.below(2)).map(|_| reduction(&mut m, &all, &accumulators)).collect();
                accumulators.extend(made.iter().map(|r| r.1));
                stages.push(Stage::Reduce { axes, reductions: made.into_iter().map(|r| r.0).collect() });
            }
        }
        for (which, dtype) in accumulators.iter().enumerate() {
            let value = m.exprs.add(*dtype, crate::kernel::ExprKind::Accumulator(which as u32));
            let (shape, offset) = m.target(&parallel);
            let buffer = m.output(*dtype, shape);
            stages.push(Stage::Sweep { axes: vec![], stores: vec![Store { buffer, offset, value, combine: None }] });
        }
        m.kernel(Body::Nest(Nest { parallel, stages, serial: false }));
        check(&m.program, &m.sizes, &m.given);
    }
}

#[test]
fn empty_axes() {
    for seed in 0..40 {
        let mut m = Maker::new(2000 + seed);
        let parallel = m.axes("i", 2, &[0, 1, 3]);
        let axes = m.axes("s", 1, &[0, 0, 5]);
        let all = [&parallel[..], &axes].concat();
        let (r, dtype) = reduction(&mut m, &all, &[]);
        let value = m.exprs.add(dtype, crate::kernel::ExprKind::Accumulator(0));
        let (shape, offset) = m.target(&parallel);
        let buffer = m.output(dtype, shape);
        let inner = store(&mut m, &all, &[dtype], 1);
        let stages = vec![
            Stage::Reduce { axes: axes.clone(), reductions: vec![r] },
            Stage::Sweep { axes, stores: vec![inner] },
            Stage::Sweep { axes: vec![], stores: vec![Store { buffer, offset, value, combine: None }] },
        ];
        m.kernel(Body::Nest(Nest { parallel, stages, serial: false }));
        check(&m.program, &m.sizes, &m.given);
    }
}

#[test]
fn running_sums() {
    for seed in 0..40 {
        let mut m = Maker::new(3000 + seed);
        let parallel = m.axes("i", 2, &[1, 3, 8, 9]);
        let extent = m.random.pick(&[0, 1, 5, 20]);
        let axis = m.axis("r", extent);
        let all = [&parallel[..], std::slice::from_ref(&axis)].concat();
        let dtype = m.random.pick(&[DType::F32, DType::F16, DType::I32]);
        let value = m.expr(dtype, &all, &[], 1);
        let running = m.exprs.add(dtype, crate::kernel::ExprKind::Accumulator(0));
        let (shape, offset) = m.target(&all);
        let buffer = m.output(dtype, shape);
        let combine = m.random.pick(&[Combine::Sum, Combine::Product, Combine::Max]);
        let stage = Stage::Running {
            axis,
            descending: m.random.below(2) == 0,
            exclusive: m.random.below(2) == 0,
            reduction: Reduction { combine, keep: Keep::Value, value },
            store: Store { buffer, offset, value: running, combine: None },
        };
        m.kernel(Body::Nest(Nest { parallel, stages: vec![stage], serial: false }));
        check(&m.program, &m.sizes, &m.given);
    }
}

/// y = softmax-like chain over a row: the running example of stages that use earlier ones, at every small row length.
#[test]
fn rows_of_every_length() {
    for n in 0..40 {
        let mut m = Maker::new(4000 + n as u64);
        let row = m.axis("i", 3);
        let axis = m.axis("j", n);
        let all = vec![row.clone(), axis.clone()];
        let x = m.load(DType::F32, &all, true);
        let max = m.exprs.add(DType::F32, crate::kernel::ExprKind::Accumulator(0));
        let sum = m.exprs.add(DType::F32, crate::kernel::ExprKind::Accumulator(1));
        let shifted = m.exprs.add(DType::F32, crate::kernel::ExprKind::Binary(crate::kernel::BinaryFn::Sub, x, max));
        let part = m.exprs.add(DType::F32, crate::kernel::ExprKind::Binary(crate::kernel::BinaryFn::Div, shifted, sum));
        let shape: Vec<Dim> = all.iter().map(|a| a.extent.clone()).collect();
        let buffer = m.output(DType::F32, shape);
        let offset = Dim::from(row.index.clone()) * &axis.extent + Dim::from(axis.index.clone());
        let reduce =
            |combine, value| Stage::Reduce { axes: vec![axis.clone()], reductions: vec![Reduction { combine, keep: Keep::Value, value }] };
        let stages = vec![
            reduce(Combine::Max, x),
            reduce(Combine::Sum, shifted),
            Stage::Sweep { axes: vec![axis.clone()], stores: vec![Store { buffer, offset, value: part, combine: None }] },
        ];
        m.kernel(Body::Nest(Nest { parallel: vec![row], stages, serial: false }));
        check(&m.program, &m.sizes, &m.given);
    }
}

/// Sums down the columns of a matrix, few and many, with and without whole groups of rows.
#[test]
fn sums_down_columns() {
    for (seed, (rows, columns)) in [(15, 16), (64, 64), (67, 128), (80, 256), (100, 33), (130, 192)].into_iter().enumerate() {
        let mut m = Maker::new(5000 + seed as u64);
        let column = Axis { index: Symbol::new("c"), extent: Dim::from(columns) };
        let row = m.axis("k", rows);
        let x = m.input(DType::F32, vec![row.extent.clone(), column.extent.clone()], BufferKind::Input(0));
        let offset = Dim::from(row.index.clone()) * &column.extent + Dim::from(column.index.clone());
        let value = m.exprs.add(DType::F32, ExprKind::Load(Access { buffer: x, offset, bounds: vec![], otherwise: None }));
        let reductions = vec![Reduction { combine: Combine::Sum, keep: Keep::Value, value }];
        let stores = vec![store(&mut m, std::slice::from_ref(&column), &[DType::F32], 1)];
        let stages = vec![Stage::Reduce { axes: vec![row], reductions }, Stage::Sweep { axes: vec![], stores }];
        m.kernel(Body::Nest(Nest { parallel: vec![column], stages, serial: false }));
        check(&m.program, &m.sizes, &m.given);
    }
}
