//! Faults planted into kernels that work: each must be caught, under every seed that is tried, with a message that helps.

mod support;

use kiln_ptx::{Argument, Device, Fault, FaultKind, Module, Statistics, Swizzle, TensorMap};
use support::{STORE, bf16, expect_fault, read_f32, small, upload, words};

const TILED: &str = include_str!("../kernels/gemm_tiled.ptx");
const TENSOR: &str = include_str!("../kernels/gemm_mma.ptx");
const HOPPER: &str = include_str!("../kernels/gemm_wgmma.ptx");

/// `text` with one thing changed, which must be there.
fn with(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "`{from}` is not in the kernel");
    text.replacen(from, to, 1)
}

/// C of the tiled kernel, or the fault.
fn tiled(text: &str, (m, n, k): (usize, usize, usize), seed: u64, shorter: u64) -> Result<Vec<f32>, Fault> {
    let module = Module::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let mut device = Device::new();
    let (a, b) = (vec![1f32; m * k], vec![1f32; k * n]);
    let (pa, pb, pc) = (upload(&mut device, &a[..]), upload(&mut device, &b[..]), device.alloc_named(4 * (m * n) as u64 - shorter, "c"));
    let sizes = [m, n, k].map(|v| Argument::U32(v as u32));
    let arguments = [[Argument::U64(pa), Argument::U64(pb), Argument::U64(pc)], sizes].concat();
    device.launch(&module, "gemm_tiled", [n.div_ceil(16) as u32, m.div_ceil(16) as u32, 1], [16, 16, 1], 0, &arguments, seed)?;
    Ok(read_f32(&mut device, pc, m * n))
}

/// The largest error of the tensor-core kernel, or the fault.
fn tensor(text: &str, seed: u64) -> Result<f32, Fault> {
    let module = Module::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let (m, n, k) = (32, 32, 128);
    let (a, b): (Vec<f32>, Vec<f32>) = ((0..m * k).map(small).collect(), (0..k * n).map(|i| small(i + 77)).collect());
    let mut device = Device::new();
    let halves = |v: &[f32]| v.iter().map(|v| bf16(*v)).collect::<Vec<_>>();
    let (pa, pb, pc) = (upload(&mut device, &halves(&a)[..]), upload(&mut device, &halves(&b)[..]), device.alloc(4 * (m * n) as u64));
    let sizes: Vec<_> = [m, n, k, k, n].iter().map(|v| Argument::U32(*v as u32)).collect();
    let arguments = [vec![Argument::U64(pa), Argument::U64(pb), Argument::U64(pc)], sizes].concat();
    device.launch(&module, "gemm_mma", [1; 3], [64, 1, 1], 0, &arguments, seed)?;
    let c = read_f32(&mut device, pc, m * n);
    let exact = |i: usize| (0..k).map(|x| a[i / n * k + x] * b[x * n + i % n]).sum::<f32>();
    Ok(c.iter().enumerate().map(|(i, v)| (v - exact(i)).abs()).fold(0.0, f32::max))
}

/// The largest error of the Hopper kernel, or the fault.
fn hopper(text: &str, seed: u64) -> Result<f32, Fault> {
    let module = Module::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let (m, n, k) = (64, 32, 384);
    let (a, b): (Vec<f32>, Vec<f32>) = ((0..m * k).map(small).collect(), (0..n * k).map(|i| small(i + 77)).collect());
    let mut device = Device::new();
    device.set_step_limit(100_000);
    let mut map = |v: &[f32], rows: usize| {
        let address = upload(&mut device, &v.iter().map(|v| bf16(*v)).collect::<Vec<_>>()[..]);
        let dims = vec![k as u64, rows as u64];
        Argument::TensorMap(TensorMap {
            address,
            element_bytes: 2,
            dims,
            strides: vec![2 * k as u64],
            box_dims: vec![64, rows as u64],
            swizzle: Swizzle::B128,
        })
    };
    let (map_a, map_b) = (map(&a, m), map(&b, n));
    let c = device.alloc(4 * (m * n) as u64);
    let arguments = [vec![map_a, map_b, Argument::U64(c)], [m, n, k].map(|v| Argument::U32(v as u32)).to_vec()].concat();
    device.launch(&module, "gemm_wgmma", [1; 3], [160, 1, 1], 0, &arguments, seed)?;
    let c = read_f32(&mut device, c, m * n);
    let exact = |i: usize| (0..k).map(|x| a[i / n * k + x] * b[i % n * k + x]).sum::<f32>();
    Ok(c.iter().enumerate().map(|(i, v)| (v - exact(i)).abs()).fold(0.0, f32::max))
}

#[test]
fn the_kernels_work_before_anything_is_planted() {
    assert_eq!(tiled(TILED, (20, 20, 20), 0, 0).unwrap(), vec![20.0; 400]);
    assert_eq!(tensor(TENSOR, 0).unwrap(), 0.0);
    assert_eq!(hopper(HOPPER, 0).unwrap(), 0.0);
}

#[test]
fn missing_barriers_of_the_tiled_product() {
    for seed in 0..20 {
        // The tiles may not even be written yet.
        let fault = tiled(&with(TILED, "bar.sync 0; // tiles are full", ""), (16, 16, 32), seed, 0).expect_err("not caught");
        assert!(matches!(fault.kind, FaultKind::Race | FaultKind::UnwrittenMemory), "{fault}");
        let text = with(TILED, "bar.sync 0; // tiles are used", "");
        expect_fault(tiled(&text, (16, 16, 32), seed, 0), FaultKind::Race, &["race", "Shared", "thread ("]);
    }
}

#[test]
fn accesses_outside_allocations() {
    for seed in 0..5 {
        expect_fault(tiled(TILED, (20, 20, 20), seed, 4), FaultKind::OutOfBounds, &["`c`", "1596 bytes", "st.global.f32", "block ("]);
        let text = with(TILED, "setp.lt.and.u32 %inside_a, %at, %k, %row_ok", "setp.lt.and.u32 %inside_a, %at, 64, %row_ok");
        expect_fault(tiled(&text, (16, 16, 20), seed, 0), FaultKind::OutOfBounds, &["allocation 0", "ld.global.f32"]);
        expect_fault(
            tiled(
                &with(TILED, "mad.lo.u32 %t, %y, 16, %x;\n    shl.b32 %t, %t, 2", "mad.lo.u32 %t, %y, 17, %x;\n    shl.b32 %t, %t, 2"),
                (16, 16, 16),
                seed,
                0,
            ),
            FaultKind::OutOfBounds,
            &["`tile_b`", "1024 bytes"],
        );
    }
    let pointer = "mov.u64 %rd1, 0x7fff12340000; ld.global.u32 %r1, [%rd1];";
    expect_fault(words("f", pointer, 32, 1, 0), FaultKind::OutOfBounds, &["host pointer", "0x7fff12340000"]);
    let shared = ".shared .align 4 .b8 small[16];\nmov.u32 %r2, small; st.shared.u32 [%r2+16], %r0;";
    expect_fault(words("f", shared, 1, 1, 0), FaultKind::OutOfBounds, &["`small`", "16 bytes"]);
    expect_fault(words("f", "ld.shared.u32 %r1, [0];", 1, 1, 0), FaultKind::OutOfBounds, &["Shared"]);
    expect_fault(words("f", "ld.global.u32 %r1, [%rd0+2];", 1, 4, 0), FaultKind::Misaligned, &["4 bytes", "not aligned"]);
}

#[test]
fn what_was_never_written() {
    expect_fault(words("f", "add.u32 %r1, %r7, 1;", 1, 1, 0), FaultKind::UnwrittenRegister, &["%r7", "add.u32"]);
    expect_fault(words("f", "@%p3 mov.u32 %r1, 1;", 1, 1, 0), FaultKind::UnwrittenRegister, &["%p3"]);
    // Only some lanes write it.
    let some = "setp.lt.u32 %p1, %r0, 5; @%p1 mov.u32 %r2, 1; add.u32 %r1, %r2, 1;";
    assert_eq!(expect_fault(words("f", some, 32, 1, 0), FaultKind::UnwrittenRegister, &["%r2"]).thread.unwrap().thread, [5, 0, 0]);
    expect_fault(words("f", ".shared .u32 x; ld.shared.u32 %r1, [x];", 1, 1, 0), FaultKind::UnwrittenMemory, &["Shared"]);
    let mut device = Device::new();
    let fresh = device.alloc(16);
    assert_eq!(device.read(fresh, 16).unwrap_err().kind, FaultKind::UnwrittenMemory);
}

#[test]
fn races_inside_a_warp_and_between_blocks() {
    // A neighbour's value without __syncwarp.
    let body = ".shared .align 4 .b8 box[128];\nmov.u32 %r2, box; mad.lo.u32 %r3, %r0, 4, %r2; xor.b32 %r4, %r0, 1; mad.lo.u32 %r4, %r4, 4, %r2; st.shared.u32 [%r3], %r0;\nSYNC\nld.shared.u32 %r1, [%r4];";
    for seed in 0..5 {
        expect_fault(words("f", &body.replace("SYNC", ""), 32, 32, seed), FaultKind::Race, &["Shared"]);
        assert!(words("f", &format!("{}{STORE}", body.replace("SYNC", "bar.warp.sync 0xffffffff;")), 32, 32, seed).is_ok());
    }
    let text = format!(
        "{}.visible .entry k(.param .u64 out) {{\n.reg .b64 %rd<2>; .reg .b32 %r<3>;\nld.param.u64 %rd0, [out]; mov.u32 %r0, %ctaid.x; OP\nret;\n}}",
        support::PORTABLE
    );
    let run = |op: &str, seed| -> Result<Statistics, Fault> {
        let module = Module::parse(&text.replace("OP", op)).unwrap_or_else(|e| panic!("{e}"));
        let mut device = Device::new();
        let out = upload(&mut device, &[0u32]);
        device.launch(&module, "k", [6, 1, 1], [1; 3], 0, &[Argument::U64(out)], seed)
    };
    for seed in 0..5 {
        expect_fault(run("st.global.u32 [%rd0], %r0;", seed), FaultKind::Race, &["Global", "block ("]);
        expect_fault(run("ld.global.u32 %r1, [%rd0]; add.u32 %r1, %r1, 1; st.global.u32 [%rd0], %r1;", seed), FaultKind::Race, &["Global"]);
        run("red.global.add.u32 [%rd0], %r0;", seed).unwrap();
        run("mov.u32 %r1, 7; st.global.u32 [%rd0], %r1;", seed).unwrap();
    }
}

#[test]
fn barriers_that_cannot_work() {
    for seed in 0..5 {
        let half = "setp.lt.u32 %p1, %r0, 16; @!%p1 bra L1; bar.sync 0;\nL1: mov.u32 %r1, 1;";
        expect_fault(words("f", half, 32, 1, seed), FaultKind::Divergence, &["at line 8", "exit"]);
        let two = "setp.lt.u32 %p1, %r0, 16; @%p1 bra L1; bar.sync 0; bra L2;\nL1: bar.sync 0;\nL2: mov.u32 %r1, 1;";
        expect_fault(words("f", two, 32, 1, seed), FaultKind::Divergence, &["0xffff0000", "0x0000ffff"]);
        let waits = "setp.lt.u32 %p1, %r0, 32; @%p1 bra L1; bar.sync 1, 64;\nL1: mov.u32 %r1, 1;";
        expect_fault(words("f", waits, 64, 1, seed), FaultKind::Deadlock, &["barrier 1: 32 of 64", "warp 1"]);
        let crossed = "setp.lt.u32 %p1, %r0, 32; @%p1 bra L1; bar.sync 1, 64; bra L2;\nL1: bar.sync 2, 64;\nL2: mov.u32 %r1, 1;";
        expect_fault(words("f", crossed, 64, 1, seed), FaultKind::Deadlock, &["barrier 1", "barrier 2"]);
        let count = "setp.lt.u32 %p1, %r0, 32; mov.u32 %r2, 64; @%p1 mov.u32 %r2, 96; bar.sync 1, %r2;";
        // Whether the others have left by then depends on the schedule.
        let fault = words("f", count, 96, 1, seed).expect_err("not caught");
        assert!(matches!(fault.kind, FaultKind::BadOperand | FaultKind::Deadlock) && fault.message.contains("barrier 1"), "{fault}");
        let missing = "setp.lt.u32 %p1, %r0, 8; @!%p1 bra L1; shfl.sync.bfly.b32 %r1, %r0, 1, 0x1f, 0xffffffff;\nL1: mov.u32 %r1, 1;";
        expect_fault(words("f", missing, 32, 1, seed), FaultKind::Divergence, &[]);
        expect_fault(words("f", "shfl.sync.bfly.b32 %r1, %r0, 1, 0x1f, 0x0000ffff;", 32, 1, seed), FaultKind::Divergence, &["lane 16"]);
        expect_fault(words("f", "L0: bra L0;", 32, 1, seed), FaultKind::StepLimit, &["endless", "warp 0"]);
        expect_fault(words("f", "trap;", 32, 1, seed), FaultKind::Trap, &["trap"]);
    }
}

#[test]
fn a_last_block_without_fences() {
    let text = include_str!("../cuda/reduce.ptx");
    let run = |text: &str, seed| {
        let module = Module::parse(text).unwrap_or_else(|e| panic!("{e}"));
        let mut device = Device::new();
        let (x, partials, total) = (upload(&mut device, &[1f32; 900][..]), device.alloc_named(24, "partials"), device.alloc(8));
        let arguments = [Argument::U64(x), Argument::U64(partials), Argument::U64(total), Argument::U64(900)];
        device.launch(&module, "reduce_sum", [3, 1, 1], [128, 1, 1], 0, &arguments, seed)
    };
    let (first, last) = (text.find("membar.gl;").unwrap(), text.rfind("membar.gl;").unwrap());
    assert!(first < last, "one fence before the atomic and one behind it");
    for seed in 0..10 {
        run(text, seed).unwrap_or_else(|e| panic!("{e}"));
        for at in [first, last] {
            let without = format!("{}{}", &text[..at], &text[at + "membar.gl;".len()..]);
            expect_fault(run(&without, seed), FaultKind::Race, &["Global", "`partials`"]);
        }
    }
}

#[test]
fn launches_that_do_not_fit() {
    let module = Module::parse(TILED).unwrap();
    let mut device = Device::new();
    let mut launch = |name: &str, block: [u32; 3], dynamic: u64, arguments: &[Argument]| {
        device.launch(&module, name, [1; 3], block, dynamic, arguments, 0)
    };
    let six = |first: Argument| [vec![first], vec![Argument::U64(0); 2], vec![Argument::U32(1); 3]].concat();
    expect_fault(launch("gemm", [16, 16, 1], 0, &[]), FaultKind::Launch, &["gemm_tiled"]);
    expect_fault(launch("gemm_tiled", [16, 16, 1], 0, &[Argument::U32(1)]), FaultKind::Launch, &["1 arguments for 6"]);
    expect_fault(launch("gemm_tiled", [16, 16, 1], 0, &six(Argument::U32(1))), FaultKind::Launch, &["`a` has 8 bytes"]);
    expect_fault(launch("gemm_tiled", [32, 16, 1], 0, &six(Argument::U64(1))), FaultKind::Launch, &[".maxntid"]);
    expect_fault(launch("gemm_tiled", [16, 16, 1], 1 << 20, &six(Argument::U64(1))), FaultKind::Launch, &["shared memory"]);
}

#[test]
fn mistakes_in_the_tensor_core_product() {
    for seed in 0..20 {
        // Copies that were not waited for.
        expect_fault(
            tensor(&with(TENSOR, "cp.async.wait_group 1;", "cp.async.wait_group 2;"), seed),
            FaultKind::UnwrittenMemory,
            &["not waited for"],
        );
        let full = tensor(&with(TENSOR, "bar.sync 0; // this buffer is full", ""), seed).expect_err("not caught");
        assert!(matches!(full.kind, FaultKind::Race | FaultKind::UnwrittenMemory), "{full}");
        let used = tensor(&with(TENSOR, "bar.sync 0; // this buffer is used", ""), seed).expect_err("not caught");
        assert!(matches!(used.kind, FaultKind::Race | FaultKind::UnwrittenMemory), "{used}");
    }
    for (from, to) in [
        ("and.b32 %t, %t, 3;\n    xor.b32 %t, %t, %chunk; // swizzle of the store", "and.b32 %t, %t, 1;\n    xor.b32 %t, %t, %chunk;"),
        ("xor.b32 %chunk_b, %chunk_b, %t; // swizzle of the load", ""),
        ("{%b0, %b1}, {%c0", "{%b1, %b0}, {%c0"),
        ("{%a0, %a1, %a2, %a3}, {%b0", "{%a0, %a2, %a1, %a3}, {%b0"),
        ("x4.trans.shared", "x4.shared"),
        ("%c0;", "%c1;"),
        ("mad.lo.u32 %row_first, %warp, 16", "mad.lo.u32 %row_first, %warp, 8"),
    ] {
        match tensor(&with(TENSOR, from, to), 0) {
            Ok(error) => assert!(error > 0.1, "`{to}` for `{from}` goes unseen"),
            // Some leave elements unwritten, or written twice.
            Err(fault) => assert!(matches!(fault.kind, FaultKind::UnwrittenMemory | FaultKind::Race), "{fault}"),
        }
    }
}

#[test]
fn mistakes_in_the_hopper_product() {
    let arrive = "@%is mbarrier.arrive.shared::cta.b64 _, [%bar]; // the buffer is used";
    for seed in 0..20 {
        let deadlock = |text: String, words: &[&str]| expect_fault(hopper(&text, seed), FaultKind::Deadlock, words);
        deadlock(with(HOPPER, "[%bar], 12288;", "[%bar], 12304;"), &["mbarrier", "16 bytes to come"]);
        deadlock(with(HOPPER, arrive, ""), &["mbarrier", "waits at"]);
        // The consumer waits for the wrong phase: it runs ahead of the first tile.
        let parity = with(HOPPER, "the first product starts the sum\n    mov.u32 %parity, 0;", "\n    mov.u32 %parity, 1;");
        let ahead = hopper(&parity, seed).expect_err("not caught");
        assert!(matches!(ahead.kind, FaultKind::Race | FaultKind::UnwrittenMemory | FaultKind::Deadlock), "{ahead}");
        // The producer does not wait for empty buffers.
        let eager = hopper(&with(HOPPER, "    @!%p_wait bra WAIT_EMPTY;", ""), seed).expect_err("not caught");
        assert!(matches!(eager.kind, FaultKind::Race | FaultKind::UnwrittenMemory | FaultKind::BadOperand), "{eager}");
        // Sums that are not waited for.
        expect_fault(
            hopper(&with(HOPPER, "wait_group.sync.aligned 0;", "wait_group.sync.aligned 7;"), seed),
            FaultKind::UnwrittenRegister,
            &["%d"],
        );
        let unready = hopper(&with(HOPPER, "bar.sync 0; // barriers are ready", ""), seed).expect_err("not caught");
        assert!(matches!(unready.kind, FaultKind::BadOperand | FaultKind::Race | FaultKind::UnwrittenMemory), "{unready}");
        // The buffer is given back before it was multiplied.
        let wait = "    wgmma.wait_group.sync.aligned 0;\n";
        let early = with(&with(HOPPER, wait, ""), arrive, &format!("{arrive}\n{wait}"));
        let early = hopper(&early, seed).expect_err("not caught");
        assert!(matches!(early.kind, FaultKind::Race | FaultKind::UnwrittenMemory), "{early}");
    }
    for (from, to) in [
        ("0x4000004000010000", "0x4000002000010000"),
        ("0x4000004000010000", "0x8000004000010000"),
        ("add.u64 %desc_a, %desc_a, 2;", "add.u64 %desc_a, %desc_a, 4;"),
    ] {
        assert!(hopper(&with(HOPPER, from, to), 1).is_ok_and(|error| error > 0.1), "`{to}` for `{from}` goes unseen");
    }
    expect_fault(hopper(&with(HOPPER, "mbarrier.init.shared::cta.b64 [%full+8], 1;", ""), 0), FaultKind::BadOperand, &["no mbarrier"]);
    let map = with(HOPPER, "[%map_b, {%at, %column}]", "[%c, {%at, %column}]");
    expect_fault(hopper(&map, 0), FaultKind::BadOperand, &["tensor map"]);
}
