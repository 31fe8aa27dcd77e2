//! mbarriers, bulk and tensor copies with every swizzle, and wgmma.

mod support;

use kiln_ptx::{Argument, Device, Fault, FaultKind, Swizzle, TensorMap};
use support::{HOPPER, REGISTERS, bf16, expect_fault, module, read_f32, read_u32, small, upload};

fn product_of_transposed(a: &[f32], b: &[f32], (m, n, k): (usize, usize, usize)) -> Vec<f32> {
    (0..m * n).map(|i| (0..k).map(|x| a[i / n * k + x] * b[i % n * k + x]).sum()).collect()
}

/// Rows of bf16, `stride` elements apart, and the map of boxes of them.
fn matrix(device: &mut Device, v: &[f32], (rows, columns): (usize, usize), boxes: (u64, u64), swizzle: Swizzle) -> TensorMap {
    let stride = columns.next_multiple_of(8);
    let padded: Vec<u16> =
        (0..rows * stride).map(|i| if i % stride < columns { bf16(v[i / stride * columns + i % stride]) } else { 0x7fc0 }).collect();
    let address = upload(device, &padded[..]);
    let dims = vec![columns as u64, rows as u64];
    TensorMap { address, element_bytes: 2, dims, strides: vec![2 * stride as u64], box_dims: vec![boxes.0, boxes.1], swizzle }
}

#[test]
fn a_producer_warp_and_a_consumer_warpgroup() {
    let module = module("gemm_wgmma", include_str!("../kernels/gemm_wgmma.ptx"));
    for (m, n, k) in [(64, 32, 64), (64, 32, 256), (1, 1, 1), (65, 47, 200), (130, 33, 70)] {
        let (a, b): (Vec<f32>, Vec<f32>) = ((0..m * k).map(small).collect(), (0..n * k).map(|i| small(i + 33)).collect());
        for seed in 0..5 {
            let mut device = Device::new();
            let map_a = matrix(&mut device, &a, (m, k), (64, 64), Swizzle::B128);
            let map_b = matrix(&mut device, &b, (n, k), (64, 32), Swizzle::B128);
            let c = device.alloc(4 * (m * n) as u64);
            let sizes = [m, n, k].map(|v| Argument::U32(v as u32));
            let arguments = [vec![Argument::TensorMap(map_a), Argument::TensorMap(map_b), Argument::U64(c)], sizes.to_vec()].concat();
            let grid = [n.div_ceil(32) as u32, m.div_ceil(64) as u32, 1];
            device
                .launch(&module, "gemm_wgmma", grid, [160, 1, 1], 0, &arguments, seed)
                .unwrap_or_else(|e| panic!("{m} {n} {k} seed {seed}: {e}"));
            assert_eq!(read_f32(&mut device, c, m * n), product_of_transposed(&a, &b, (m, n, k)), "{m} {n} {k} seed {seed}");
        }
    }
}

/// One m64n64k16 product whose factors come by tensor copies and are named by descriptors from the host.
struct One {
    name: &'static str,
    swizzle: Swizzle,
    /// Box of A and of B: innermost first; each is copied `copies` times, at steps of the inner dimension, `apart` bytes apart.
    boxes: [(u64, u64); 2],
    copies: u32,
    apart: u32,
    /// Descriptors without the start address.
    descriptors: [u64; 2],
    /// B is stored k x n.
    transposed_b: bool,
    /// A comes from registers.
    registers: bool,
}

fn run(one: &One, seed: u64) {
    launch(one, one.name, &text_of(one), seed).unwrap_or_else(|e| panic!("{}: {e}", one.name));
}

fn text_of(one: &One) -> String {
    let mut copies = String::new();
    for i in 0..one.copies {
        for (map, offset) in [("a", 0), ("b", 16384)] {
            let step = if map == "a" { one.boxes[0].0 } else { one.boxes[1].0 };
            copies += &format!(
                "mov.u32 %r5, {}; mov.u32 %r6, 0; cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [room+{}], [%rd{}, {{%r5, %r6}}], [bar];\n",
                u64::from(i) * step,
                offset + i * one.apart,
                if map == "a" { 1 } else { 2 }
            );
        }
    }
    let bytes = 2 * u64::from(one.copies) * one.boxes.iter().map(|(x, y)| x * y).sum::<u64>();
    let d = (0..32).map(|i| format!("%f{i}")).collect::<Vec<_>>().join(", ");
    let (load, first, trans) = if one.registers {
        // The fragment from global memory, as for mma: rows g and g + 8, columns 2t and 2t + 8.
        let load = "ld.param.u64 %rd7, [raw]; mov.u32 %r20, %laneid; shr.u32 %r21, %r20, 2; shr.u32 %r22, %r0, 5; mad.lo.u32 %r21, %r22, 16, %r21; and.b32 %r23, %r20, 3; mul.lo.u32 %r23, %r23, 4; mad.lo.u32 %r23, %r21, 32, %r23; cvt.u64.u32 %rd8, %r23; add.u64 %rd7, %rd7, %rd8; ld.global.b32 %r24, [%rd7]; ld.global.b32 %r25, [%rd7+256]; ld.global.b32 %r26, [%rd7+16]; ld.global.b32 %r27, [%rd7+272];";
        (load, "{%r24, %r25, %r26, %r27}", format!("{}", u8::from(one.transposed_b)))
    } else {
        ("", "%rd3", format!("0, {}", u8::from(one.transposed_b)))
    };
    let store: String =
        (0..32).map(|i| format!("st.global.f32 [%rd6+{}], %f{i};\n", 4 * (64 * 8 * (i >> 1 & 1) + 8 * (i >> 2) + (i & 1)))).collect();
    format!(
        "{HOPPER}.visible .entry k(.param .align 64 .b8 ma[128], .param .align 64 .b8 mb[128], .param .u64 c, .param .u64 raw) .maxntid 128 {{\n{REGISTERS}
.shared .align 8 .b64 bar;\n.shared .align 1024 .b8 room[32768];
mov.b64 %rd1, ma; cvta.param.u64 %rd1, %rd1; mov.b64 %rd2, mb; cvta.param.u64 %rd2, %rd2; mov.u32 %r0, %tid.x; setp.ne.u32 %p1, %r0, 0; @%p1 bra READY;
mbarrier.init.shared::cta.b64 [bar], 1; mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], {bytes};
{copies}mbarrier.arrive.shared::cta.b64 %rd9, [bar];
READY: bar.sync 0; mov.u32 %r1, 0;
WAIT: mbarrier.test_wait.parity.shared::cta.b64 %p2, [bar], %r1; @!%p2 bra WAIT;
mov.u32 %r2, room; shr.u32 %r3, %r2, 4; cvt.u64.u32 %rd3, %r3; add.u64 %rd4, %rd3, 1024; or.b64 %rd3, %rd3, {:#x}; or.b64 %rd4, %rd4, {:#x};
{load}
wgmma.fence.sync.aligned; setp.ne.u32 %p3, %r1, 0;
wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {{{d}}}, {first}, %rd4, %p3, 1, 1, {trans};
wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;
ld.param.u64 %rd6, [c]; mov.u32 %r20, %laneid; shr.u32 %r21, %r20, 2; shr.u32 %r22, %r0, 5; mad.lo.u32 %r21, %r22, 16, %r21; and.b32 %r23, %r20, 3; mul.lo.u32 %r23, %r23, 2; mad.lo.u32 %r23, %r21, 64, %r23; mul.wide.u32 %rd8, %r23, 4; add.u64 %rd6, %rd6, %rd8;
{store}ret;\n}}",
        one.descriptors[0], one.descriptors[1]
    )
}

/// Runs the kernel, and checks its product when there is no fault.
fn launch(one: &One, name: &str, text: &str, seed: u64) -> Result<(), Fault> {
    let module = module(name, text);
    let mut device = Device::new();
    let (a, b): (Vec<f32>, Vec<f32>) = ((0..64 * 16).map(small).collect(), (0..64 * 16).map(|i| small(i + 4000)).collect());
    let map_a = matrix(&mut device, &a, (64, 16), one.boxes[0], one.swizzle);
    let stored: Vec<f32> = if one.transposed_b { (0..1024).map(|i| b[i % 64 * 16 + i / 64]).collect() } else { b.clone() };
    let map_b = matrix(&mut device, &stored, if one.transposed_b { (16, 64) } else { (64, 16) }, one.boxes[1], one.swizzle);
    let (c, raw) = (device.alloc(4 * 64 * 64), Argument::U64(map_a.address));
    let arguments = [Argument::TensorMap(map_a), Argument::TensorMap(map_b), Argument::U64(c), raw];
    device.launch(&module, "k", [1; 3], [128, 1, 1], 0, &arguments, seed)?;
    assert_eq!(read_f32(&mut device, c, 64 * 64), product_of_transposed(&a, &b, (64, 64, 16)), "{}", one.name);
    Ok(())
}

#[test]
fn every_swizzle_transposition_and_registers() {
    let descriptor = |mode: u64, leading: u64, stride: u64| mode << 62 | (stride >> 4) << 32 | (leading >> 4) << 16;
    let same = |d: u64| [d, d];
    let plain = One {
        name: "wgmma_none",
        swizzle: Swizzle::None,
        boxes: [(8, 64); 2],
        copies: 2,
        apart: 1024,
        descriptors: same(descriptor(0, 1024, 128)),
        transposed_b: false,
        registers: false,
    };
    for seed in 0..3 {
        run(&plain, seed);
        run(
            &One {
                name: "wgmma_32",
                swizzle: Swizzle::B32,
                boxes: [(16, 64); 2],
                copies: 1,
                descriptors: same(descriptor(3, 16, 256)),
                ..plain
            },
            seed,
        );
        run(
            &One {
                name: "wgmma_64",
                swizzle: Swizzle::B64,
                boxes: [(32, 64); 2],
                copies: 1,
                descriptors: same(descriptor(2, 16, 512)),
                ..plain
            },
            seed,
        );
        run(
            &One {
                name: "wgmma_128",
                swizzle: Swizzle::B128,
                boxes: [(64, 64); 2],
                copies: 1,
                descriptors: same(descriptor(1, 16, 1024)),
                ..plain
            },
            seed,
        );
        let transposed = [descriptor(1, 16, 1024), descriptor(1, 8192, 1024)];
        let b128 = One {
            name: "wgmma_128_mn",
            swizzle: Swizzle::B128,
            boxes: [(64, 64), (64, 16)],
            copies: 1,
            descriptors: transposed,
            transposed_b: true,
            ..plain
        };
        run(&b128, seed);
        run(&One { name: "wgmma_registers", registers: true, ..b128 }, seed);
    }
}

#[test]
fn bulk_copies_there_and_back() {
    let text = format!(
        "{HOPPER}.visible .entry k(.param .u64 in, .param .u64 out, .param .align 64 .b8 map[128]) {{\n{REGISTERS}.shared .align 8 .b64 bar;\n.shared .align 128 .b8 room[512];
ld.param.u64 %rd1, [in]; ld.param.u64 %rd2, [out]; mov.b64 %rd3, map; cvta.param.u64 %rd3, %rd3; mov.u32 %r0, %tid.x; setp.ne.u32 %p1, %r0, 0; @%p1 bra READY;
mbarrier.init.shared::cta.b64 [bar], 2; mbarrier.arrive.expect_tx.shared::cta.b64 %rd4, [bar], 256;
cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [room], [%rd1], 256, [bar];
mbarrier.arrive.shared::cta.b64 %rd4, [bar];
WAIT: mbarrier.try_wait.shared::cta.b64 %p2, [bar], %rd4; @!%p2 bra WAIT;
READY: bar.sync 0;
mov.u32 %r9, 0; WAIT2: mbarrier.test_wait.parity.acquire.cta.shared::cta.b64 %p3, [bar], %r9; @!%p3 bra WAIT2;
mov.u32 %r1, room; mad.lo.u32 %r1, %r0, 4, %r1; ld.shared.u32 %r2, [%r1]; add.u32 %r2, %r2, 1; st.shared.u32 [%r1+256], %r2; fence.proxy.async.shared::cta; bar.sync 0;
@%p1 bra DONE;
cp.async.bulk.global.shared::cta.bulk_group [%rd2], [room+256], 256; cp.async.bulk.commit_group;
mov.u32 %r3, 4; mov.u32 %r4, 1; cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%rd3, {{%r3, %r4}}], [room+256]; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;
DONE: ret;\n}}"
    );
    let module = module("bulk", &text);
    for seed in 0..5 {
        let mut device = Device::new();
        let (input, out) = (upload(&mut device, &(0..64u32).collect::<Vec<_>>()[..]), device.alloc(256));
        let tensor = upload(&mut device, &[999u32; 30][..]);
        // 6 x 5 words in rows of 8 words would need 16-byte strides: 8 x 3, of which 6 columns belong to the tensor.
        let map = TensorMap {
            address: tensor,
            element_bytes: 4,
            dims: vec![6, 3],
            strides: vec![32],
            box_dims: vec![4, 4],
            swizzle: Swizzle::None,
        };
        let arguments = [Argument::U64(input), Argument::U64(out), Argument::TensorMap(map)];
        device.launch(&module, "k", [1; 3], [64, 1, 1], 0, &arguments, seed).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(read_u32(&mut device, out, 64), (1..65).collect::<Vec<u32>>());
        let mut expected = vec![999; 30];
        // Rows of 24 bytes: the 16 bytes that begin inside are written whole.
        expected[12..16].copy_from_slice(&[1, 2, 3, 4]);
        expected[20..24].copy_from_slice(&[5, 6, 7, 8]);
        assert_eq!(read_u32(&mut device, tensor, 30), expected, "no row outside the tensor is written");
    }
}

#[test]
fn election_and_hints() {
    let text = format!(
        "{HOPPER}.visible .entry k(.param .u64 out) {{\n{REGISTERS}ld.param.u64 %rd0, [out]; setmaxnreg.dec.sync.aligned.u32 40; griddepcontrol.wait; elect.sync %r1|%p1, 0xffffffff; @%p1 st.global.u32 [%rd0], 42; barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned; griddepcontrol.launch_dependents;\nret;\n}}"
    );
    let module = module(
        "elect",
        &text
            .replace("{\n.reg", ".maxntid 128 {\n.reg")
            .replace("@%p1 st.global.u32 [%rd0], 42", "mov.u32 %r2, 42; @%p1 st.global.u32 [%rd0], %r2"),
    );
    let mut device = Device::new();
    let out = device.alloc(4);
    device.launch(&module, "k", [1; 3], [128, 1, 1], 0, &[Argument::U64(out)], 0).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(read_u32(&mut device, out, 1), [42]);
}

#[test]
fn groups_end_one_after_another() {
    let descriptor = 1 << 62 | 64 << 32 | 1 << 16;
    let one = One {
        name: "wgmma_groups",
        swizzle: Swizzle::B128,
        boxes: [(64, 64); 2],
        copies: 1,
        apart: 0,
        descriptors: [descriptor; 2],
        transposed_b: false,
        registers: false,
    };
    let text = text_of(&one);
    // A second product, of two groups that add to and take from other accumulators: a·b − a·b + a·b.
    let product = text.lines().find(|l| l.starts_with("wgmma.mma_async")).unwrap();
    let other = (0..32).fold(product.to_string(), |t, i| {
        t.replace(&format!("%f{i}, "), &format!("%e{i}, ")).replace(&format!("%f{i}}}"), &format!("%e{i}}}"))
    });
    let minus = other.replace("%p3, 1, 1", "1, -1, 1");
    let plus = other.replace("%p3, 1, 1", "1, 1, 1");
    let copy = |wait: &str| {
        let (commit, all) = ("wgmma.commit_group.sync.aligned;", "wgmma.wait_group.sync.aligned 0;");
        let moves: String = (0..32).map(|i| format!("mov.f32 %f{i}, %e{i};\n")).collect();
        let groups = format!(
            "{product}\n{commit}\n{other}\n{minus}\n{plus}\n{commit}\nwgmma.wait_group.sync.aligned {wait};\nadd.f32 %f40, %f0, %f0;\n{moves}{all}"
        );
        text.replace(&format!("{product}\n{commit} {all}"), &groups).replace(".shared .align 8", ".reg .f32 %e<32>;\n.shared .align 8")
    };
    let predicate = |t: String| {
        t.replace("1, -1, 1", "%p4, -1, 1")
            .replace("%rd4, 1, 1, 1", "%rd4, %p4, 1, 1")
            .replace("wgmma.fence", "setp.eq.u32 %p4, %r1, 0; wgmma.fence")
    };
    for seed in 0..3 {
        launch(&one, "wgmma_groups", &predicate(copy("0")), seed).unwrap_or_else(|e| panic!("{e}"));
        // The first group has ended, the second has not.
        expect_fault(launch(&one, "wgmma_groups_early", &predicate(copy("1")), seed), FaultKind::UnwrittenRegister, &["%e0", "mov.f32"]);
        expect_fault(launch(&one, "wgmma_groups_early", &predicate(copy("2")), seed), FaultKind::UnwrittenRegister, &["%f0", "add.f32"]);
    }
}

#[test]
fn copies_that_arrive_at_mbarriers() {
    // Every thread's cp.async arrives for it; one thread drops out before the second phase.
    let text = format!(
        "{HOPPER}.visible .entry k(.param .u64 in, .param .u64 out) {{\n{REGISTERS}.shared .align 8 .b64 bar;\n.shared .align 16 .b8 room[256];
ld.param.u64 %rd1, [in]; ld.param.u64 %rd2, [out]; mov.u32 %r0, %tid.x; setp.ne.u32 %p1, %r0, 0; @%p1 bra READY; mbarrier.init.shared::cta.b64 [bar], 64;
READY: bar.sync 0; mul.wide.u32 %rd3, %r0, 4; add.u64 %rd4, %rd1, %rd3; add.u64 %rd5, %rd2, %rd3; mov.u32 %r1, room; mad.lo.u32 %r2, %r0, 4, %r1;
cp.async.ca.shared.global [%r2], [%rd4], 4; cp.async.mbarrier.arrive.noinc.shared.b64 [bar];
mov.u32 %r3, 0; W: mbarrier.try_wait.parity.shared::cta.b64 %p2, [bar], %r3; @!%p2 bra W;
xor.b32 %r4, %r0, 63; mad.lo.u32 %r4, %r4, 4, %r1; ld.shared.u32 %r5, [%r4]; st.global.u32 [%rd5], %r5;
setp.eq.u32 %p3, %r0, 63; @%p3 bra DROP; mbarrier.arrive.shared::cta.b64 _, [bar]; bra NEXT; DROP: mbarrier.arrive_drop.shared::cta.b64 _, [bar]; bra END;
NEXT: mov.u32 %r3, 1; V: mbarrier.test_wait.parity.shared::cta.b64 %p2, [bar], %r3; @!%p2 bra V; mbarrier.arrive.shared::cta.b64 %rd6, [bar];
U: mbarrier.try_wait.shared::cta.b64 %p2, [bar], %rd6; @!%p2 bra U;
END: bar.sync 0; @!%p1 mbarrier.inval.shared::cta.b64 [bar];
ret;\n}}"
    );
    let module = module("cp_async_mbarrier", &text);
    for seed in 0..5 {
        let mut device = Device::new();
        let (input, out) = (upload(&mut device, &(0..64u32).collect::<Vec<_>>()[..]), device.alloc(256));
        device
            .launch(&module, "k", [1; 3], [64, 1, 1], 0, &[Argument::U64(input), Argument::U64(out)], seed)
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(read_u32(&mut device, out, 64), (0..64).rev().collect::<Vec<u32>>());
    }
}

#[test]
fn boxes_of_three_dimensions() {
    // A box of 4 x 2 x 2 words at (4, 1, 2) of a tensor of 6 x 3 x 4, whose rows lie 8 words apart.
    let text = format!(
        "{HOPPER}.visible .entry k(.param .align 64 .b8 map[128], .param .u64 out) {{\n{REGISTERS}.shared .align 8 .b64 bar;\n.shared .align 128 .b8 room[64];
ld.param.u64 %rd0, [out]; mov.b64 %rd1, map; cvta.param.u64 %rd1, %rd1; mov.u32 %r0, %tid.x; setp.ne.u32 %p1, %r0, 0; @%p1 bra READY;
mbarrier.init.shared::cta.b64 [bar], 1; mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], 64; mov.u32 %r1, 4; mov.u32 %r2, 1; mov.u32 %r3, 2;
cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [room], [%rd1, {{%r1, %r2, %r3}}], [bar];
READY: bar.sync 0; mov.u32 %r4, 0; W: mbarrier.try_wait.parity.shared::cta.b64 %p2, [bar], %r4; @!%p2 bra W;
mov.u32 %r5, room; mad.lo.u32 %r5, %r0, 4, %r5; ld.shared.u32 %r6, [%r5]; mul.wide.u32 %rd2, %r0, 4; add.u64 %rd2, %rd0, %rd2; st.global.u32 [%rd2], %r6;\nret;\n}}"
    );
    let module = module("tensor_3d", &text);
    let mut device = Device::new();
    let data = upload(&mut device, &(1000..1000 + 8 * 3 * 4u32).collect::<Vec<_>>()[..]);
    let map = TensorMap {
        address: data,
        element_bytes: 4,
        dims: vec![6, 3, 4],
        strides: vec![32, 96],
        box_dims: vec![4, 2, 2],
        swizzle: Swizzle::None,
    };
    let out = device.alloc(64);
    device
        .launch(&module, "k", [1; 3], [16, 1, 1], 0, &[Argument::TensorMap(map), Argument::U64(out)], 1)
        .unwrap_or_else(|e| panic!("{e}"));
    let expected: Vec<u32> =
        (0..16).map(|i| (i % 4 + 4, i / 4 % 2 + 1, i / 8 + 2)).map(|(x, y, z)| if x < 6 { 1000 + x + 8 * y + 24 * z } else { 0 }).collect();
    assert_eq!(read_u32(&mut device, out, 16), expected);
}
