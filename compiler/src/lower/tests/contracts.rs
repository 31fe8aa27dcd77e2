//! Random contractions, and convolutions with padding, strides and groups.

use super::check;
use super::random::Maker;
use crate::kernel::{Access, Axis, Body, Bound, BufferKind, Contract, DEPTH_CHUNK, ExprKind, Store, sum_dtype};
use kiln_ir::{DType, Dim, Symbol};

/// Where an axis is.
pub(super) fn dim(axis: &Axis) -> Dim {
    Dim::from(axis.index.clone())
}

/// The sum in its type, through a random epilogue, stored to a fresh output.
fn epilogue(m: &mut Maker, axes: &[Axis], sum: DType) -> Vec<Store> {
    let dtype = m.random.pick(&[sum, sum, DType::F32, DType::F16, DType::I32]);
    let depth = m.random.below(3);
    let value = if depth == 0 {
        let sum = m.exprs.add(sum, ExprKind::Accumulator(0));
        if dtype == m.exprs.get(sum).dtype { sum } else { m.exprs.add(dtype, ExprKind::Cast(sum)) }
    } else {
        m.expr(dtype, axes, &[sum], depth)
    };
    let (shape, offset) = m.target(axes);
    let buffer = m.output(dtype, shape);
    vec![Store { buffer, offset, value, combine: None }]
}

#[test]
fn random_contractions() {
    for seed in 0..150 {
        let mut m = Maker::new(10_000 + seed);
        let some = |m: &mut Maker| m.random.pick(&[0, 1, 1, 2]);
        let counts = [some(&mut m), some(&mut m), some(&mut m), some(&mut m)];
        let batch = m.axes("b", counts[0].min(1), &[1, 2, 3]);
        let many = m.random.below(10) == 0;
        let rows = if many { m.axes("r", 1, &[130]) } else { m.axes("r", counts[1], &[0, 1, 2, 3, 4, 7]) };
        let columns = m.axes("c", counts[2], &[1, 2, 5, 8, 16, 19]);
        let depths = if m.random.below(8) == 0 { [40, 37, 23] } else { [1, 3, 8] };
        let depth = m.axes("k", counts[3], &depths);
        let dtype =
            m.random.pick(&[DType::F32, DType::F32, DType::F32, DType::F64, DType::F16, DType::BF16, DType::I32, DType::U8, DType::I64]);
        let plain = m.random.below(2) == 0;
        let lhs = m.load(dtype, &[&batch[..], &rows, &depth].concat(), plain);
        let plain = m.random.below(2) == 0;
        let rhs = m.load(dtype, &[&batch[..], &columns, &depth].concat(), plain);
        let stores = epilogue(&mut m, &[&batch[..], &rows, &columns].concat(), sum_dtype(dtype));
        m.kernel(Body::Contract(Contract { batch, rows, columns, depth, chunk: DEPTH_CHUNK, lhs, rhs, stores }));
        check(&m.program, &m.sizes, &m.given);
    }
}

#[test]
fn deep_sums() {
    for (seed, k) in [511, 512, 513, 1024, 1027].into_iter().enumerate() {
        for (rows, dtype) in [(1, DType::F32), (3, DType::F32), (1, DType::BF16), (3, DType::F16), (61, DType::BF16)] {
            let mut m = Maker::new(11_000 + seed as u64 + rows as u64);
            let rows = m.axes("r", 1, &[rows]);
            let columns = m.axes("c", 1, &[18]);
            let depth = m.axes("k", 1, &[k]);
            let lhs = m.load(dtype, &[&rows[..], &depth].concat(), true);
            let rhs = m.load(dtype, &[&columns[..], &depth].concat(), true);
            let stores = epilogue(&mut m, &[&rows[..], &columns].concat(), DType::F32);
            m.kernel(Body::Contract(Contract { batch: vec![], rows, columns, depth, chunk: DEPTH_CHUNK, lhs, rhs, stores }));
            check(&m.program, &m.sizes, &m.given);
        }
    }
}

#[test]
fn convolutions() {
    for seed in 0..60 {
        let mut m = Maker::new(12_000 + seed);
        let dtype = [DType::F32, DType::F16, DType::F32, DType::BF16][seed as usize % 4];
        let groups = m.random.pick(&[1, 1, 2, 4]);
        let image = m.axes("n", 1, &[1, 2]);
        let group = m.axes("g", 1, &[groups]);
        let row = m.axes("o", 1, &[1, 1, 3, 8, 35]);
        let (stride, tap) = (m.random.pick(&[1, 1, 2]), m.random.pick(&[1, 3, 5]));
        // Some deeper than a chunk.
        let channel = m.axes("k", 1, if seed % 20 == 3 { &[61] } else { &[1, 1, 3, 5] });
        let taps = [m.axes("u", 1, &[tap]), m.axes("v", 1, &[tap])].concat();
        let spatial = [m.axes("y", 1, &[3, 7, 9]), m.axes("x", 1, &[1, 5, 14, 18, 33])].concat();
        let low = Dim::from(tap / 2);
        // Each spatial size as wide as windows reach, less padding on both sides.
        let sizes: Vec<Dim> = spatial
            .iter()
            .map(|a| ((&a.extent - Dim::ONE) * Dim::from(stride) + Dim::from(tap) - &low * Dim::from(2)).maximum(&Dim::ONE))
            .collect();
        let input_channels = &group[0].extent * &channel[0].extent;
        let input_shape = vec![image[0].extent.clone(), input_channels, sizes[0].clone(), sizes[1].clone()];
        let weight_shape =
            vec![&group[0].extent * &row[0].extent, channel[0].extent.clone(), taps[0].extent.clone(), taps[1].extent.clone()];
        // Channels first or last in memory.
        let orders: [[usize; 4]; 2] = [[0, 1, 2, 3], [0, 2, 3, 1]];
        let (x_order, y_order) = (m.random.pick(&orders), m.random.pick(&orders));
        let ordered = |dims: &[Dim], order: [usize; 4]| order.map(|axis| dims[axis].clone()).to_vec();
        let x = m.input(dtype, ordered(&input_shape, x_order), BufferKind::Input(0));
        let w = m.input(dtype, weight_shape.clone(), BufferKind::Parameter("w".into()));
        let offset = |shape: &[Dim], index: &[Dim]| shape.iter().zip(index).fold(Dim::ZERO, |o, (n, i)| o * n + i);
        let out = dim(&group[0]) * &row[0].extent + dim(&row[0]);
        let weight_at = offset(&weight_shape, &[out.clone(), dim(&channel[0]), dim(&taps[0]), dim(&taps[1])]);
        let positions: Vec<Dim> = (0..2).map(|i| dim(&spatial[i]) * Dim::from(stride) + dim(&taps[i]) - &low).collect();
        let input_channel = dim(&group[0]) * &channel[0].extent + dim(&channel[0]);
        let input_index = [dim(&image[0]), input_channel, positions[0].clone(), positions[1].clone()];
        let input_at = offset(&ordered(&input_shape, x_order), &ordered(&input_index, x_order));
        let bounds = positions.iter().zip(&sizes).map(|(p, n)| Bound { index: p.clone(), extent: n.clone() }).collect();
        let lhs = m.exprs.add(dtype, ExprKind::Load(Access { buffer: w, offset: weight_at, bounds: vec![], otherwise: None }));
        let zero = m.exprs.constant(dtype, 0.0);
        let rhs = m.exprs.add(dtype, ExprKind::Load(Access { buffer: x, offset: input_at, bounds, otherwise: Some(zero) }));
        let sum = m.exprs.add(DType::F32, ExprKind::Accumulator(0));
        let output_shape =
            vec![image[0].extent.clone(), &group[0].extent * &row[0].extent, spatial[0].extent.clone(), spatial[1].extent.clone()];
        let output_index = [dim(&image[0]), out, dim(&spatial[0]), dim(&spatial[1])];
        let to = offset(&ordered(&output_shape, y_order), &ordered(&output_index, y_order));
        let y = m.output(DType::F32, ordered(&output_shape, y_order));
        let stores = vec![Store { buffer: y, offset: to, value: sum, combine: None }];
        let chunk = (DEPTH_CHUNK / (tap * tap)).max(1) * tap * tap;
        let contract = Contract {
            batch: [image, group].concat(),
            rows: row,
            columns: spatial,
            depth: [channel, taps].concat(),
            chunk,
            lhs,
            rhs,
            stores,
        };
        m.kernel(Body::Contract(contract));
        check(&m.program, &m.sizes, &m.given);
    }
}

/// w'[u, v, i, o] = Σ over images and pixels of x[n, y + u, x + v, i] · dy[n, y, x, o]: the gradient of a convolution by its weight.
#[test]
fn gradients_of_weights_of_convolutions() {
    for seed in 0..12 {
        let mut m = Maker::new(13_000 + seed);
        let channels = m.axes("i", 1, &[1, 3, 4, 13]);
        let taps = [m.axes("u", 1, &[1, 2]), m.axes("v", 1, &[1, 3])].concat();
        let columns = m.axes("o", 1, &[5, 18, 33]);
        let images = m.axes("n", 1, &[0, 1, 5, 9]);
        // The number of taps of a sum is known.
        let pixels: Vec<Axis> = [("y", 9), ("x", 11)].map(|(n, e)| Axis { index: Symbol::new(n), extent: Dim::from(e) }).to_vec();
        let (i, o, n) = (&channels[0], &columns[0], &images[0]);
        let wide: Vec<Dim> = pixels.iter().zip(&taps).map(|(p, t)| &p.extent + &t.extent - Dim::ONE).collect();
        let x = m.input(DType::F32, vec![n.extent.clone(), wide[0].clone(), wide[1].clone(), i.extent.clone()], BufferKind::Input(0));
        let dy_shape = vec![n.extent.clone(), pixels[0].extent.clone(), pixels[1].extent.clone(), o.extent.clone()];
        let dy = m.input(DType::F32, dy_shape, BufferKind::Input(1));
        let [row, column] = [0, 1].map(|at| dim(&pixels[at]) + dim(&taps[at]));
        let x_at = ((dim(n) * &wide[0] + row) * &wide[1] + column) * &i.extent + dim(i);
        let dy_at = ((dim(n) * &pixels[0].extent + dim(&pixels[0])) * &pixels[1].extent + dim(&pixels[1])) * &o.extent + dim(o);
        let mut load = |buffer, offset| m.exprs.add(DType::F32, ExprKind::Load(Access { buffer, offset, bounds: vec![], otherwise: None }));
        let (lhs, rhs) = (load(x, x_at), load(dy, dy_at));
        let axes = [taps.clone(), channels.clone(), columns.clone()].concat();
        let stores = epilogue(&mut m, &axes, DType::F32);
        let depth = [images, pixels].concat();
        m.kernel(Body::Contract(Contract { batch: channels, rows: taps, columns, depth, chunk: 5 * 99, lhs, rhs, stores }));
        check(&m.program, &m.sizes, &m.given);
    }
}

/// Depth that is one run of the left operand's memory and two of the right one's: rows of a batch, by head.
#[test]
fn deep_sums_over_two_axes() {
    for (seed, batch) in [1, 4, 5].into_iter().enumerate() {
        let mut m = Maker::new(14_000 + seed as u64);
        let rows = m.axes("r", 1, &[1, 7, 14]);
        let (b, t) = (m.axis("b", batch), m.axis("t", 130));
        let columns: Vec<Axis> = [("h", 3), ("d", 8)].map(|(n, e)| Axis { index: Symbol::new(n), extent: Dim::from(e) }).to_vec();
        let (r, h, d) = (&rows[0], &columns[0], &columns[1]);
        let x = m.input(DType::F32, vec![b.extent.clone(), t.extent.clone(), r.extent.clone()], BufferKind::Input(0));
        let heads = vec![b.extent.clone(), h.extent.clone(), t.extent.clone(), d.extent.clone()];
        let y = m.input(DType::F32, heads, BufferKind::Input(1));
        let x_at = (dim(&b) * &t.extent + dim(&t)) * &r.extent + dim(r);
        let y_at = ((dim(&b) * &h.extent + dim(h)) * &t.extent + dim(&t)) * &d.extent + dim(d);
        let mut load = |buffer, offset| m.exprs.add(DType::F32, ExprKind::Load(Access { buffer, offset, bounds: vec![], otherwise: None }));
        let (lhs, rhs) = (load(x, x_at), load(y, y_at));
        let stores = epilogue(&mut m, &[&rows[..], &columns].concat(), DType::F32);
        let contract = Contract { batch: vec![], rows, columns, depth: vec![b, t], chunk: DEPTH_CHUNK, lhs, rhs, stores };
        m.kernel(Body::Contract(contract));
        check(&m.program, &m.sizes, &m.given);
    }
}
