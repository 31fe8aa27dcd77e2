//! Loads, stores, spaces, atomics and asynchronous copies.

mod support;

use kiln_ptx::{Argument, Device};
use support::{PORTABLE, REGISTERS, STORE, module, read_f32, read_u32, read_u64, upload, words};

#[test]
fn vectors_widening_and_narrow_types() {
    let text = format!(
        "{PORTABLE}.visible .entry k(.param .u64 in, .param .u64 out) {{\n{REGISTERS}
ld.param.u64 %rd0, [in]; ld.param.u64 %rd1, [out];
ld.global.nc.L1::no_allocate.v4.u32 {{%r1, %r2, %r3, %r4}}, [%rd0];
st.global.v2.b32 [%rd1], {{%r4, %r3}};
st.global.cs.v2.u32 [%rd1+8], {{%r2, %r1}};
ld.global.s8 %r5, [%rd0+7]; st.global.s32 [%rd1+16], %r5;
ld.global.u8 %r6, [%rd0+7]; st.global.u16 [%rd1+20], %r6;
ld.global.s16 %rd5, [%rd0+6]; st.global.u64 [%rd1+24], %rd5;
ld.global.v2.f64 {{%d1, %d2}}, [%rd0+16]; add.f64 %d3, %d1, %d2; st.global.f64 [%rd1+32], %d3;
ld.global.v2.b64 {{%rd6, _}}, [%rd0+16]; st.global.b64 [%rd1+40], %rd6;
mov.u16 %h1, 0x1234; st.global.b8 [%rd1+22], %h1; st.global.b8 [%rd1+23], %h1;
ret;\n}}"
    );
    let module = module("vectors", &text);
    let mut device = Device::new();
    let input = upload(&mut device, &[1u32, 0x8765_4321, 3, 4]);
    device.free(input).unwrap();
    let mut bytes: Vec<u8> = [1u32, 0x8765_4321, 3, 4].iter().flat_map(|v| v.to_le_bytes()).collect();
    bytes.extend([1.5f64, 2.0].iter().flat_map(|v| v.to_le_bytes()));
    let input = upload(&mut device, &bytes[..]);
    let out = device.alloc_named(48, "out");
    device.launch(&module, "k", [1; 3], [1; 3], 0, &[Argument::U64(input), Argument::U64(out)], 0).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(read_u32(&mut device, out, 6), [4, 3, 0x8765_4321, 1, 0xffff_ff87, 0x3434_0087]);
    assert_eq!(read_u64(&mut device, out + 24, 3), [0xffff_ffff_ffff_8765, 3.5f64.to_bits(), 1.5f64.to_bits()]);
}

#[test]
fn generic_addresses_local_and_constant_memory() {
    let text = format!(
        "{PORTABLE}
.const .align 4 .u32 table[4] = {{10, 20, 30, 40}};
.global .align 8 .u64 pointer = generic(table)+4;
.global .align 4 .f32 state = 0f3F800000;
.visible .entry k(.param .u64 out, .param .align 8 .b8 pair[16]) {{\n{REGISTERS}
.local .align 8 .b8 frame[32];
.shared .align 8 .b8 room[64];
ld.param.u64 %rd0, [out];
mov.u64 %rd1, frame; cvta.local.u64 %rd2, %rd1; mov.u32 %r1, 7; st.u32 [%rd2+12], %r1; ld.local.u32 %r2, [frame+12];
mov.u64 %rd3, room; cvta.shared.u64 %rd4, %rd3; st.u32 [%rd4+8], %r2; ld.shared.u32 %r3, [room+8];
isspacep.shared %p1, %rd4; selp.u32 %r4, 100, 0, %p1; add.u32 %r3, %r3, %r4;
isspacep.global %p1, %rd4; selp.u32 %r4, 1000, 0, %p1; add.u32 %r3, %r3, %r4;
st.global.u32 [%rd0], %r3;
mov.u32 %r5, 2; mul.wide.u32 %rd5, %r5, 4; mov.u64 %rd6, table; add.u64 %rd6, %rd6, %rd5; ld.const.u32 %r6, [%rd6]; st.global.u32 [%rd0+4], %r6;
ld.global.u64 %rd7, [pointer]; ld.u32 %r7, [%rd7]; st.global.u32 [%rd0+8], %r7;
ld.param.v2.u32 {{%r8, %r9}}, [pair+8]; sub.u32 %r8, %r9, %r8; st.global.u32 [%rd0+12], %r8;
ld.global.f32 %f1, [state]; add.f32 %f1, %f1, %f1; st.global.f32 [state], %f1;
ret;\n}}"
    );
    let module = module("spaces", &text);
    let mut device = Device::new();
    let out = device.alloc(16);
    let pair: Vec<u8> = [0u32, 0, 5, 9].iter().flat_map(|v| v.to_le_bytes()).collect();
    for seed in 0..2 {
        device
            .launch(&module, "k", [1; 3], [1; 3], 0, &[Argument::U64(out), Argument::Bytes(pair.clone())], seed)
            .unwrap_or_else(|e| panic!("{e}"));
    }
    assert_eq!(read_u32(&mut device, out, 4), [107, 30, 20, 4]);
    let state = device.symbol(&module, "state").unwrap();
    assert_eq!(read_f32(&mut device, state, 1), [4.0], "variables live on between launches");
}

#[test]
fn atomics_of_every_kind() {
    for (name, start, operand, expected) in [
        ("add.u32", 5u64, "1", 69u64),
        ("add.s32", 5, "-1", (5i32 - 64) as u32 as u64),
        ("min.s32", 5, "-3", -3i32 as u32 as u64),
        ("max.u32", 5, "9", 9),
        ("and.b32", 0xff, "0x0f", 0x0f),
        ("or.b32", 1, "0x10", 0x11),
        ("xor.b32", 1, "1", 1),
        ("exch.b32", 1, "77", 77),
        ("inc.u32", 0, "6", 64 % 7),
        ("dec.u32", 6, "6", 6 - 64 % 7),
    ] {
        let (op, ty) = name.split_once('.').unwrap();
        let body = format!(
            ".shared .align 4 .u32 cell;\nsetp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [cell], {start}; @%p1 st.global.u32 [%rd0], {start};\nbar.sync 0;
mov.u32 %r2, {operand}; atom.shared.{op}.{ty} %r3, [cell], %r2; atom.relaxed.gpu.global.{op}.{ty} %r4, [%rd0], %r2;\nbar.sync 0;
@%p1 ld.shared.u32 %r5, [cell]; @%p1 st.global.u32 [%rd0+4], %r5;"
        );
        for seed in 0..3 {
            let got = words(&format!("atom_{op}"), &body, 64, 2, seed).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(got, [expected as u32; 2], "{name}");
        }
    }
    // A lock by compare-and-swap, and sums in floats and halves.
    let body = ".shared .align 8 .f64 sum;\n.shared .align 4 .u32 pair;\nsetp.eq.u32 %p1, %r0, 0; @%p1 st.shared.f64 [sum], 0d0000000000000000; @%p1 st.shared.u32 [pair], 0; @%p1 st.global.u32 [%rd0], 0; bar.sync 0;
L: ld.volatile.global.u32 %r2, [%rd0]; add.u32 %r3, %r2, 2; atom.global.cas.b32 %r4, [%rd0], %r2, %r3; setp.ne.u32 %p2, %r4, %r2; @%p2 bra L;
mov.f64 %d1, 0d3FE0000000000000; red.shared.add.f64 [sum], %d1; mov.u32 %r5, 0x3c004000; red.shared.add.noftz.f16x2 [pair], %r5; bar.sync 0;
@%p1 ld.shared.f64 %d2, [sum]; @%p1 cvt.rzi.u32.f64 %r6, %d2; @%p1 st.global.u32 [%rd0+4], %r6; @%p1 ld.shared.u32 %r7, [pair]; @%p1 st.global.u32 [%rd0+8], %r7;";
    for seed in 0..3 {
        assert_eq!(words("atom_cas", body, 64, 3, seed).unwrap_or_else(|e| panic!("{e}")), [128, 32, 0x5400_5800]);
    }
}

#[test]
fn asynchronous_copies_fill_with_zero() {
    for seed in 0..3 {
        let body = format!(
            ".shared .align 16 .b8 room[1024];\nmov.u32 %r2, room; shl.b32 %r3, %r0, 4; add.u32 %r2, %r2, %r3; mul.wide.u32 %rd1, %r0, 16; add.u64 %rd1, %rd0, %rd1;
mad.lo.u32 %r4, %r0, 7, 1; st.global.v4.u32 [%rd1], {{%r4, %r4, %r4, %r4}};\nmov.u32 %r5, 8; setp.lt.u32 %p1, %r0, 2; @%p1 mov.u32 %r5, 16;
cp.async.cg.shared.global [%r2], [%rd1], 16, %r5;\ncp.async.commit_group;\ncp.async.ca.shared.global [%r2+512], [%rd1], 4;\ncp.async.commit_group;
cp.async.wait_group 1;\nld.shared.v4.u32 {{%r6, %r7, %r8, %r9}}, [%r2];\ncp.async.wait_all;\nld.shared.u32 %r10, [%r2+512];\nadd.u32 %r1, %r6, %r9; mad.lo.u32 %r1, %r10, 1000, %r1;\nbar.sync 0;\n{STORE}"
        );
        let got = words("cp_async", &body, 32, 128, seed).unwrap_or_else(|e| panic!("{e}"));
        for (l, value) in got[..32].iter().enumerate() {
            let v = 7 * l as u32 + 1;
            assert_eq!(*value, 1000 * v + v + if l < 2 { v } else { 0 });
        }
    }
}
