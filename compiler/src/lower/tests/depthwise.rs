//! Depthwise convolutions of images with their padding, channels last: sums of neighbouring pixels share what they load.

use super::check;
use super::contracts::dim;
use super::random::Maker;
use crate::kernel::{Access, Axis, BinaryFn, Body, BufferKind, Contract, ExprKind, Store};
use crate::lower::{VectorIsa, lower};
use crate::schedule::contractions::schedule;
use kiln_ir::{DType, Dim, Symbol};

/// y[n, h, w, c] = bias[c] + Σ over taps of x[n, h · stride + u, w · stride + v, c] · k[u, v, c].
fn depthwise(m: &mut Maker, dtype: DType, axes: [Axis; 4], stride: i64, taps: [i64; 2]) {
    let [image, line, pixel, channel] = &axes;
    let depth: Vec<Axis> = [("u", taps[0]), ("v", taps[1])].map(|(n, e)| Axis { index: Symbol::new(n), extent: Dim::from(e) }).to_vec();
    let wide = |axis: &Axis, tap: i64| ((&axis.extent - Dim::ONE) * Dim::from(stride) + Dim::from(tap)).maximum(&Dim::ZERO);
    let (height, width) = (wide(line, taps[0]), wide(pixel, taps[1]));
    let x = m.input(dtype, vec![image.extent.clone(), height.clone(), width.clone(), channel.extent.clone()], BufferKind::Input(0));
    let k = m.input(dtype, vec![Dim::from(taps[0]), Dim::from(taps[1]), channel.extent.clone()], BufferKind::Parameter("k".into()));
    let bias = m.input(DType::F32, vec![channel.extent.clone()], BufferKind::Parameter("bias".into()));
    let (row, column) = (dim(line) * Dim::from(stride) + dim(&depth[0]), dim(pixel) * Dim::from(stride) + dim(&depth[1]));
    let x_at = ((dim(image) * &height + row) * &width + column) * &channel.extent + dim(channel);
    let k_at = (dim(&depth[0]) * Dim::from(taps[1]) + dim(&depth[1])) * &channel.extent + dim(channel);
    let mut load = |dtype, buffer, offset| {
        let access = Access { buffer, offset, bounds: vec![], otherwise: None };
        m.exprs.add(dtype, ExprKind::Load(access))
    };
    let (lhs, rhs, bias) = (load(dtype, k, k_at), load(dtype, x, x_at), load(DType::F32, bias, dim(channel)));
    let sum = m.exprs.add(DType::F32, ExprKind::Accumulator(0));
    let value = m.exprs.add(DType::F32, ExprKind::Binary(BinaryFn::Add, sum, bias));
    let shape: Vec<Dim> = axes.iter().map(|axis| axis.extent.clone()).collect();
    let offset = axes.iter().fold(Dim::ZERO, |o, axis| o * &axis.extent + dim(axis));
    let buffer = m.output(DType::F32, shape);
    let stores = vec![Store { buffer, offset, value, combine: None }];
    let chunk = 56 * taps[0] * taps[1];
    let batch = vec![image.clone(), channel.clone()];
    let columns = vec![line.clone(), pixel.clone()];
    m.kernel(Body::Contract(Contract { batch, rows: vec![], columns, depth, chunk, lhs, rhs, stores }));
}

#[test]
fn any_size_known_or_not() {
    for seed in 0..80 {
        let mut m = Maker::new(15_000 + seed);
        let dtype = m.random.pick(&[DType::F32, DType::F32, DType::F32, DType::F16, DType::BF16]);
        let mut one = |name: &str, extents: &[i64]| m.axes(name, 1, extents).remove(0);
        let axes = [
            one("n", &[0, 1, 1, 2]),
            one("h", &[1, 3, 7, 14, 16]),
            one("w", &[1, 2, 5, 7, 8, 13, 17, 28]),
            one("c", &[1, 3, 16, 17, 32, 48, 80, 128, 192]),
        ];
        let (stride, taps) = (m.random.pick(&[1, 1, 2]), m.random.pick(&[[3, 3], [3, 3], [1, 3], [5, 5], [2, 7], [7, 7]]));
        depthwise(&mut m, dtype, axes, stride, taps);
        check(&m.program, &m.sizes, &m.given);
    }
}

/// Of eight pixels: each of the nine weights once, each of the thirty elements that windows are over once, the bias once.
#[test]
fn nothing_is_loaded_twice() {
    let mut m = Maker::new(0);
    let axes = [("n", 1), ("h", 14), ("w", 16), ("c", 64)].map(|(n, e)| Axis { index: Symbol::new(n), extent: Dim::from(e) });
    depthwise(&mut m, DType::F32, axes, 1, [3, 3]);
    let isa = &VectorIsa::AVX512;
    schedule(&mut m.program, isa);
    let mut text = String::new();
    m.program.steps.iter().for_each(|step| step.visit_kernels(&mut |kernel| text += &lower(kernel, &m.program, isa).program.to_string()));
    let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    assert_eq!((count("fma"), count("f32x16 = load")), (8 * 9, 9 + 30 + 1), "{text}");
}
