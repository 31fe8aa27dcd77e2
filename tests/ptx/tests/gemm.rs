//! Matrix products with kernels written by hand: tiles in shared memory, and tensor cores fed by `cp.async` into two buffers.

mod support;

use kiln_ptx::{Argument, Device};
use support::{bf16, module, read_f32, small, upload};

fn product(a: &[f32], b: &[f32], (m, n, k): (usize, usize, usize)) -> Vec<f32> {
    (0..m * n).map(|i| (0..k).map(|x| a[i / n * k + x] * b[x * n + i % n]).sum()).collect()
}

#[test]
fn tiles_in_shared_memory() {
    let text = include_str!("../kernels/gemm_tiled.ptx");
    let module = module("gemm_tiled", text);
    for (m, n, k) in [(16, 16, 16), (1, 1, 1), (17, 33, 19), (40, 5, 70), (3, 50, 0)] {
        let (a, b): (Vec<f32>, Vec<f32>) = ((0..m * k).map(small).collect(), (0..k * n).map(|i| small(i + 1000)).collect());
        for seed in 0..5 {
            let mut device = Device::new();
            let (pa, pb, pc) = (upload(&mut device, &a[..]), upload(&mut device, &b[..]), device.alloc(4 * (m * n) as u64));
            let sizes = [m, n, k].map(|v| Argument::U32(v as u32));
            let arguments = [[Argument::U64(pa), Argument::U64(pb), Argument::U64(pc)], sizes].concat();
            let grid = [n.div_ceil(16) as u32, m.div_ceil(16) as u32, 1];
            device.launch(&module, "gemm_tiled", grid, [16, 16, 1], 0, &arguments, seed).unwrap_or_else(|e| panic!("{m} {n} {k}: {e}"));
            // Multiples of 1/16 below 2^20: every sum is exact in any order.
            assert_eq!(read_f32(&mut device, pc, m * n), product(&a, &b, (m, n, k)));
        }
    }
}

#[test]
fn tensor_cores_and_two_buffers() {
    let module = module("gemm_mma", include_str!("../kernels/gemm_mma.ptx"));
    for (m, n, k) in [(32, 32, 32), (64, 32, 96), (1, 1, 1), (33, 47, 65), (70, 9, 200), (5, 100, 31)] {
        let (a, b): (Vec<f32>, Vec<f32>) = ((0..m * k).map(small).collect(), (0..k * n).map(|i| small(i + 77)).collect());
        // Rows begin at multiples of 16 bytes.
        let (lda, ldb) = (k.next_multiple_of(8), n.next_multiple_of(8));
        let padded = |v: &[f32], rows: usize, columns: usize, stride: usize| -> Vec<u16> {
            (0..rows * stride).map(|i| if i % stride < columns { bf16(v[i / stride * columns + i % stride]) } else { 0x7fc0 }).collect()
        };
        for seed in 0..5 {
            let mut device = Device::new();
            let (pa, pb) = (upload(&mut device, &padded(&a, m, k, lda)[..]), upload(&mut device, &padded(&b, k, n, ldb)[..]));
            let pc = device.alloc(4 * (m * n) as u64);
            let sizes: Vec<_> = [m, n, k, lda, ldb].iter().map(|v| Argument::U32(*v as u32)).collect();
            let arguments = [vec![Argument::U64(pa), Argument::U64(pb), Argument::U64(pc)], sizes].concat();
            let grid = [n.div_ceil(32) as u32, m.div_ceil(32) as u32, 1];
            device.launch(&module, "gemm_mma", grid, [64, 1, 1], 0, &arguments, seed).unwrap_or_else(|e| panic!("{m} {n} {k}: {e}"));
            assert_eq!(read_f32(&mut device, pc, m * n), product(&a, &b, (m, n, k)), "{m} {n} {k} seed {seed}");
        }
    }
}
