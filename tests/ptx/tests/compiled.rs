//! PTX that a compiler made: `cuda/*.ptx` comes from `cuda/*.cu` by nvcc 13.0.88 (`assemble.py --nvcc` makes it anew).

mod support;

use kiln_ptx::{Argument, Device};
use support::{bf16, f16, module, read_f32, read_u32, small, upload};

#[test]
fn softmax_of_rows() {
    let module = module("cuda_softmax", include_str!("../cuda/softmax.ptx"));
    for (rows, columns, threads) in [(3, 100, 64), (1, 1, 32), (5, 257, 128), (2, 1000, 256)] {
        let x: Vec<f32> = (0..rows * columns).map(|i| small(i) * 3.0).collect();
        for seed in 0..3 {
            let mut device = Device::new();
            let (px, py) = (upload(&mut device, &x[..]), device.alloc(4 * x.len() as u64));
            let arguments = [Argument::U64(px), Argument::U64(py), Argument::S32(columns as i32)];
            device
                .launch(&module, "softmax_rows", [rows as u32, 1, 1], [threads, 1, 1], 0, &arguments, seed)
                .unwrap_or_else(|e| panic!("{e}"));
            let y = read_f32(&mut device, py, x.len());
            for (x, y) in x.chunks(columns).zip(y.chunks(columns)) {
                let sum: f64 = x.iter().map(|v| f64::from(*v).exp()).sum();
                assert!(x.iter().zip(y).all(|(x, y)| (f64::from(*x).exp() / sum - f64::from(*y)).abs() < 1e-6));
            }
        }
    }
}

#[test]
fn sums_with_a_last_block() {
    let module = module("cuda_reduce", include_str!("../cuda/reduce.ptx"));
    for (n, blocks) in [(1000usize, 3u32), (1, 1), (5000, 8), (129, 2)] {
        let x: Vec<f32> = (0..n).map(small).collect();
        for seed in 0..5 {
            let mut device = Device::new();
            let (px, pp, total) = (upload(&mut device, &x[..]), device.alloc(8 * u64::from(blocks)), device.alloc(8));
            let arguments = [Argument::U64(px), Argument::U64(pp), Argument::U64(total), Argument::U64(n as u64)];
            device.launch(&module, "reduce_sum", [blocks, 1, 1], [128, 1, 1], 0, &arguments, seed).unwrap_or_else(|e| panic!("{e}"));
            let got = f64::from_le_bytes(device.read(total, 8).unwrap().try_into().unwrap());
            assert_eq!(got, x.iter().map(|v| f64::from(*v)).sum::<f64>());
        }
    }
}

#[test]
fn histograms_with_atomics() {
    let module = module("cuda_histogram", include_str!("../cuda/histogram.ptx"));
    let data: Vec<u8> = (0..3001usize).map(|i| (i.wrapping_mul(2654435761) >> 9) as u8 & 0x3f).collect();
    let mut expected = [0u32; 256];
    data.iter().enumerate().for_each(|(i, b)| expected[*b as usize] += i as u32 % 4 + 1);
    for seed in 0..5 {
        let mut device = Device::new();
        let (pd, pb) = (upload(&mut device, &data[..]), upload(&mut device, &[0u32; 256]));
        let arguments = [Argument::U64(pd), Argument::U64(pb), Argument::S32(data.len() as i32)];
        // The weight of an element depends on its index, which every grid visits once.
        device.launch(&module, "histogram", [3, 1, 1], [96, 1, 1], 0, &arguments, seed).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(read_u32(&mut device, pb, 256), expected);
    }
}

#[test]
fn tiled_products() {
    let module = module("cuda_gemm", include_str!("../cuda/gemm.ptx"));
    for (m, n, k) in [(16, 16, 16), (1, 1, 1), (17, 33, 50)] {
        let (a, b): (Vec<f32>, Vec<f32>) = ((0..m * k).map(small).collect(), (0..k * n).map(|i| small(i + 9)).collect());
        let expected: Vec<f32> = (0..m * n).map(|i| (0..k).map(|x| a[i / n * k + x] * b[x * n + i % n]).sum()).collect();
        for seed in 0..3 {
            let mut device = Device::new();
            let (pa, pb, pc) = (upload(&mut device, &a[..]), upload(&mut device, &b[..]), device.alloc(4 * (m * n) as u64));
            let sizes = [m, n, k].map(|v| Argument::S32(v as i32));
            let arguments = [[Argument::U64(pa), Argument::U64(pb), Argument::U64(pc)], sizes].concat();
            let grid = [n.div_ceil(16) as u32, m.div_ceil(16) as u32, 1];
            device.launch(&module, "gemm_tiled", grid, [16, 16, 1], 0, &arguments, seed).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(read_f32(&mut device, pc, m * n), expected);
        }
    }
}

#[test]
fn halves_and_mathematics() {
    let module = module("cuda_gemm", include_str!("../cuda/gemm.ptx"));
    let n = 100usize;
    let pairs: Vec<u32> = (0..n).map(|i| u32::from(f16(small(2 * i))) | u32::from(f16(small(2 * i + 1))) << 16).collect();
    let y: Vec<u16> = (0..n).map(|i| bf16(small(i + 5))).collect();
    let mut device = Device::new();
    let (px, py) = (upload(&mut device, &pairs[..]), upload(&mut device, &y[..]));
    let (pp, pq, pr) = (device.alloc(4 * n as u64), device.alloc(2 * n as u64), device.alloc(4 * n as u64));
    let arguments = [px, py, pp, pq, pr].map(Argument::U64).into_iter().chain([Argument::S32(n as i32)]).collect::<Vec<_>>();
    device.launch(&module, "halves", [2, 1, 1], [64, 1, 1], 0, &arguments, 1).unwrap_or_else(|e| panic!("{e}"));
    let p = read_u32(&mut device, pp, n);
    let r = read_f32(&mut device, pr, n);
    let q = device.read(pq, 2 * n as u64).unwrap();
    for i in 0..n {
        let square = |v: f32| v * v + 0.5;
        let halves = [2 * i, 2 * i + 1].map(|j| f16(square(small(j)).max(1.0)));
        assert_eq!(p[i], u32::from(halves[0]) | u32::from(halves[1]) << 16, "{i}");
        let exact = small(i + 5) * 3.0 + i as f32;
        let got = f32::from_bits(u32::from(u16::from_le_bytes([q[2 * i], q[2 * i + 1]])) << 16);
        assert!((got - exact).abs() <= exact.abs() / 256.0, "{i}: {got} {exact}");
        let x = i as f32;
        let expected = square(small(2 * i)).tanh() + ((i % 7) as f32).sqrt() + 1.5f32.powi(i as i32 % 5) + (i / 3) as f32 - (x * 0.1).sin();
        assert!((r[i] - expected).abs() < 1e-4, "{i}: {} {expected}", r[i]);
    }
}

#[test]
fn called_functions_and_tables_of_jumps() {
    let module = module("cuda_functions", include_str!("../cuda/functions.ptx"));
    let run = |kernel: &str, seed| {
        let mut device = Device::new();
        let out = device.alloc(4 * 64);
        device.launch(&module, kernel, [1; 3], [64, 1, 1], 0, &[Argument::U64(out)], seed).unwrap_or_else(|e| panic!("{e}"));
        read_u32(&mut device, out, 64).into_iter().map(|bits| bits as i32).collect::<Vec<i32>>()
    };
    let steps = |mut n: u32| {
        let mut s = 0;
        while n != 1 {
            n = if n % 2 == 1 { 3 * n + 1 } else { n / 2 };
            s += 1;
        }
        s
    };
    let chosen = |i: i32| match i % 7 {
        0 => 3,
        1 => i * i,
        2 => 7,
        3 => i / 3,
        4 => i % 5,
        5 => i.count_ones() as i32,
        _ => -i,
    };
    for seed in 0..3 {
        assert_eq!(run("collatz", seed), (0..64).map(|i| steps(i + 1) + 1000 * steps(i + 2)).collect::<Vec<i32>>());
        let product = |i: i32| ((i128::from(i) * 0x0123_4567_89ab_cdef) >> 40) as i32;
        assert_eq!(run("choose", seed), (0..64).map(|i| chosen(i) + product(i)).collect::<Vec<i32>>());
    }
}
