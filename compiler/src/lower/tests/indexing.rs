//! Gathers, scatters, checked indices and loops around kernels.

use super::check;
use super::random::Maker;
use crate::kernel::{Access, Axis, BinaryFn, Body, BufferId, BufferKind, Combine, ExprId, ExprKind, LoopKind, Nest, Stage, Step, Store};
use kiln_ir::{DType, Dim, Symbol, Tensor};

fn at(axis: &Axis) -> Dim {
    Dim::from(axis.index.clone())
}

/// An input of indices, some negative, some out of range when `wrong`.
fn indices(m: &mut Maker, dtype: DType, axes: &[Axis], extent: i64, wrong: bool) -> ExprId {
    let shape: Vec<Dim> = axes.iter().map(|a| a.extent.clone()).collect();
    let buffer = m.input(dtype, shape.clone(), BufferKind::Input(0));
    let dims: Vec<usize> = shape.iter().map(|d| m.size(d) as usize).collect();
    let reach = extent.max(1) + i64::from(wrong);
    let values: Vec<i128> = (0..dims.iter().product()).map(|_| i128::from(m.random.below(2 * reach as usize) as i64 - reach)).collect();
    m.given.insert(buffer, Tensor::from_ints(dtype, dims, values));
    let offset = axes.iter().fold(Dim::ZERO, |o, a| o * &a.extent + at(a));
    m.exprs.add(dtype, ExprKind::Load(Access { buffer, offset, bounds: vec![], otherwise: None }))
}

fn checked(m: &mut Maker, index: ExprId, extent: &Dim) -> Dim {
    let id = m.exprs.add(DType::I64, ExprKind::CheckedIndex { index, extent: extent.clone(), node: 4 });
    Dim::from(id.symbol())
}

/// y[i, j] = x[index[i], j] and y[i, j] = x[j, index[i, j]]: gathers of rows and of elements.
#[test]
fn gathers() {
    for seed in 0..60 {
        let mut m = Maker::new(20_000 + seed);
        let extent = m.random.pick(&[0, 1, 5, 9]);
        let table = m.axis("t", extent);
        let axes = [m.axes("i", 1, &[1, 4, 7]), m.axes("j", 1, &[1, 6, 16, 19])].concat();
        let dtype = m.random.pick(&[DType::I64, DType::I32, DType::U8]);
        let wrong = m.random.below(3) == 0;
        let rows = m.random.below(2) == 0;
        let index = indices(&mut m, dtype, if rows { &axes[..1] } else { &axes }, extent, wrong);
        let place = checked(&mut m, index, &table.extent);
        let (shape, offset) = if rows {
            (vec![table.extent.clone(), axes[1].extent.clone()], place * &axes[1].extent + at(&axes[1]))
        } else {
            (vec![axes[1].extent.clone(), table.extent.clone()], at(&axes[1]) * &table.extent + place)
        };
        let buffer = m.input(DType::F32, shape, BufferKind::Input(1));
        let value = m.exprs.add(DType::F32, ExprKind::Load(Access { buffer, offset, bounds: vec![], otherwise: None }));
        let (shape, offset) = m.target(&axes);
        let y = m.output(DType::F32, shape);
        let store = Store { buffer: y, offset, value, combine: None };
        m.kernel(Body::Nest(Nest { parallel: axes, stages: vec![Stage::Sweep { axes: vec![], stores: vec![store] }], serial: false }));
        check(&m.program, &m.sizes, &m.given);
    }
}

/// y[index[i, j], j] ⊕= x[i, j], in order.
#[test]
fn scatters() {
    for seed in 0..60 {
        let mut m = Maker::new(21_000 + seed);
        let extent = m.random.pick(&[0, 1, 5, 9]);
        let table = m.axis("t", extent);
        let axes = [m.axes("i", 1, &[1, 4, 7]), m.axes("j", 1, &[1, 6, 16, 19])].concat();
        let wrong = m.random.below(3) == 0;
        let index = indices(&mut m, DType::I64, &axes, extent, wrong);
        let place = checked(&mut m, index, &table.extent);
        let dtype = m.random.pick(&[DType::F32, DType::F16, DType::I32, DType::U8]);
        let value = m.load(dtype, &axes, true);
        let y = m.output(dtype, vec![table.extent.clone(), axes[1].extent.clone()]);
        let combine = m.random.pick(&[None, Some(Combine::Sum), Some(Combine::Product), Some(Combine::Max), Some(Combine::Min)]);
        let store = Store { buffer: y, offset: place * &axes[1].extent + at(&axes[1]), value, combine };
        m.kernel(Body::Nest(Nest { parallel: axes, stages: vec![Stage::Sweep { axes: vec![], stores: vec![store] }], serial: true }));
        check(&m.program, &m.sizes, &m.given);
    }
}

/// h[t + 1, i] = h[t, i] · ½ + x[t, i]: a kernel inside a loop reads its own buffer's earlier rows.
#[test]
fn loops() {
    for (steps, width) in [(0, 5), (1, 1), (4, 9), (7, 16)] {
        let mut m = Maker::new(22_000 + steps as u64);
        let (time, lane) = (m.axis("t", steps), m.axis("i", width));
        let x = m.load(DType::F32, &[time.clone(), lane.clone()], true);
        let h = m.output(DType::F32, vec![&time.extent + Dim::ONE, lane.extent.clone()]);
        let row = |t: Dim| t * &lane.extent + at(&lane);
        let before = m.exprs.add(DType::F32, ExprKind::Load(Access { buffer: h, offset: row(at(&time)), bounds: vec![], otherwise: None }));
        let half = m.exprs.constant(DType::F32, 0.5);
        let decayed = m.exprs.add(DType::F32, ExprKind::Binary(BinaryFn::Mul, before, half));
        let value = m.exprs.add(DType::F32, ExprKind::Binary(BinaryFn::Add, decayed, x));
        let store = Store { buffer: h, offset: row(at(&time) + Dim::ONE), value, combine: None };
        m.kernel(Body::Nest(Nest {
            parallel: vec![lane],
            stages: vec![Stage::Sweep { axes: vec![], stores: vec![store] }],
            serial: false,
        }));
        let body = std::mem::take(&mut m.program.steps);
        m.program.steps = vec![Step::Loop { index: time.index, extent: time.extent, kind: LoopKind::Sequential, body }];
        check(&m.program, &m.sizes, &m.given);
    }
}

/// Kernels of different layers that do the same to other buffers under other names are one function.
#[test]
fn names_are_not_part_of_programs() {
    use crate::lower::{Arg, VectorIsa, lower};
    let mut m = Maker::new(23_000);
    let shape = vec![Dim::symbol("n"), Dim::from(12)];
    m.program.symbol_order.push(Symbol::new("n"));
    m.sizes.insert(Symbol::new("n"), 3);
    let buffers: Vec<BufferId> = (0..4).map(|_| m.output(DType::F32, shape.clone())).collect();
    for (layer, names) in [["a", "b"], ["z", "y"]].into_iter().enumerate() {
        let axes: Vec<Axis> = names.iter().zip(&shape).map(|(n, extent)| Axis { index: Symbol::new(n), extent: extent.clone() }).collect();
        let (from, to) = (buffers[2 * layer], buffers[2 * layer + 1]);
        let transposed = at(&axes[1]) * &axes[0].extent + at(&axes[0]);
        let value = m.exprs.add(DType::F32, ExprKind::Load(Access { buffer: from, offset: transposed, bounds: vec![], otherwise: None }));
        let store = Store { buffer: to, offset: at(&axes[0]) * Dim::from(12) + at(&axes[1]), value, combine: None };
        m.kernel(Body::Nest(Nest { parallel: axes, stages: vec![Stage::Sweep { axes: vec![], stores: vec![store] }], serial: false }));
    }
    let lowered: Vec<_> = m
        .program
        .steps
        .iter()
        .map(|step| match step {
            Step::Run(kernel) => lower(kernel, &m.program, &VectorIsa::V128),
            Step::Loop { .. } => panic!("two kernels were made"),
        })
        .collect();
    assert_eq!(lowered[0].program, lowered[1].program);
    assert!(lowered[0].args.contains(&Arg::Buffer(buffers[0])) && lowered[1].args.contains(&Arg::Buffer(buffers[2])));
}
