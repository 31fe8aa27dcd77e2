//! Matrix instructions, with fragments filled from the tables of the ISA, written here a second time.

mod support;

use kiln_ptx::{Argument, Device};
use support::{PORTABLE, REGISTERS, bf16, f16, module, read_f32, read_u32, read_u64, small, upload, words};

/// Runs one `mma` whose fragments are given register by register, and gives the registers of D. `wide`: 64-bit registers.
fn multiply(
    name: &str,
    opcode: &str,
    a: &[[u64; 32]],
    b: &[[u64; 32]],
    c: &[[u64; 32]],
    (ab, cd): (&str, &str),
    results: usize,
) -> Vec<[u64; 32]> {
    let list = |prefix: &str, n: usize| (0..n).map(|i| format!("%{prefix}{i}")).collect::<Vec<_>>().join(", ");
    let mut load = String::new();
    let mut at = 0;
    for (prefix, n, ty) in [("x", a.len(), ab), ("y", b.len(), ab), ("z", c.len(), cd)] {
        for i in 0..n {
            load += &format!("ld.global.{ty} %{prefix}{i}, [%rd2+{at}];\n");
            at += 256;
        }
    }
    let store: String = (0..results).map(|i| format!("st.global.{cd} [%rd3+{}], %w{i};\n", 256 * i)).collect();
    // Products of 8-bit floats are younger than the rest.
    let head = if opcode.contains("e4m3") { support::HOPPER.replace("8.0", "8.4") } else { PORTABLE.to_string() };
    let text = format!(
        "{head}.visible .entry k(.param .u64 in, .param .u64 out) {{\n{REGISTERS}.reg .{ab} %x<8>, %y<8>; .reg .{cd} %z<8>, %w<8>;
ld.param.u64 %rd0, [in]; ld.param.u64 %rd1, [out]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd4, %r0, 8; add.u64 %rd2, %rd0, %rd4; add.u64 %rd3, %rd1, %rd4;
{load}mma.sync.aligned.{opcode} {{{}}}, {{{}}}, {{{}}}, {{{}}};\n{store}ret;\n}}",
        list("w", results), list("x", a.len()), list("y", b.len()), list("z", c.len())
    );
    let module = module(name, &text);
    let mut device = Device::new();
    let input: Vec<u64> = [a, b, c].concat().concat();
    let (input, out) = (upload(&mut device, &input[..]), upload(&mut device, &vec![0u64; 32 * results][..]));
    device
        .launch(&module, "k", [1; 3], [32, 1, 1], 0, &[Argument::U64(input), Argument::U64(out)], 0)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    read_u64(&mut device, out, 32 * results).chunks(32).map(|c| c.try_into().unwrap()).collect()
}

fn a_of(i: usize, k: usize) -> f32 {
    small(i * 40 + k)
}

fn b_of(k: usize, j: usize) -> f32 {
    small(5000 + k * 9 + j)
}

fn c_of(i: usize, j: usize) -> f32 {
    small(900 + i * 8 + j)
}

fn d_of(i: usize, j: usize, k: usize) -> f32 {
    (0..k).map(|x| a_of(i, x) * b_of(x, j)).sum::<f32>() + c_of(i, j)
}

/// Lanes of registers from a function of lane.
fn lanes(f: impl Fn(usize) -> u64) -> [u64; 32] {
    std::array::from_fn(f)
}

#[test]
fn sixteen_bit_factors() {
    for (ty, code) in [("bf16", bf16 as fn(f32) -> u16), ("f16", f16)] {
        for k in [8, 16] {
            // a0 (row g, columns 2t, 2t + 1), a1 eight rows below, a2 and a3 eight columns to the right; b0 (rows 2t, 2t + 1, column g), b1 below.
            let a: Vec<_> = (0..k / 4)
                .map(|r| {
                    lanes(|l| {
                        (0..2).fold(0, |w, e| w | u64::from(code(a_of(l / 4 + 8 * (r % 2), 2 * (l % 4) + e + 8 * (r / 2)))) << (16 * e))
                    })
                })
                .collect();
            let b: Vec<_> = (0..k / 8)
                .map(|r| lanes(|l| (0..2).fold(0, |w, e| w | u64::from(code(b_of(2 * (l % 4) + e + 8 * r, l / 4))) << (16 * e))))
                .collect();
            let place = |l: usize, i: usize| (l / 4 + 8 * (i / 2), 2 * (l % 4) + i % 2);
            let c: Vec<_> = (0..4).map(|i| lanes(|l| u64::from(c_of(place(l, i).0, place(l, i).1).to_bits()))).collect();
            let d = multiply(&format!("mma_{ty}_{k}"), &format!("m16n8k{k}.row.col.f32.{ty}.{ty}.f32"), &a, &b, &c, ("b32", "f32"), 4);
            for (i, register) in d.iter().enumerate() {
                for (l, bits) in register.iter().enumerate() {
                    assert_eq!(f32::from_bits(*bits as u32), d_of(place(l, i).0, place(l, i).1, k), "{ty} k{k} lane {l} d{i}");
                }
            }
            if ty == "f16" {
                let c: Vec<_> = (0..2)
                    .map(|r| lanes(|l| (0..2).fold(0, |w, e| w | u64::from(code(c_of(l / 4 + 8 * r, 2 * (l % 4) + e))) << (16 * e))))
                    .collect();
                let d = multiply(&format!("mma_f16_f16_{k}"), &format!("m16n8k{k}.row.col.f16.f16.f16.f16"), &a, &b, &c, ("b32", "b32"), 2);
                let expected = |l: usize, r: usize, e: usize| u64::from(f16(d_of(l / 4 + 8 * r, 2 * (l % 4) + e, k)));
                assert!((0..2).all(|r| (0..32).all(|l| d[r][l] & 0xffff_ffff == expected(l, r, 0) | expected(l, r, 1) << 16)));
            }
        }
    }
}

#[test]
fn tf32_f64_and_integers() {
    let bits = |v: f32| u64::from(v.to_bits());
    let place = |l: usize, i: usize| (l / 4 + 8 * (i / 2), 2 * (l % 4) + i % 2);
    for k in [4, 8] {
        let a: Vec<_> = (0..k / 2).map(|r| lanes(|l| bits(a_of(l / 4 + 8 * (r % 2), l % 4 + 4 * (r / 2))))).collect();
        let b: Vec<_> = (0..k / 4).map(|r| lanes(|l| bits(b_of(l % 4 + 4 * r, l / 4)))).collect();
        let c: Vec<_> = (0..4).map(|i| lanes(|l| bits(c_of(place(l, i).0, place(l, i).1)))).collect();
        let d = multiply(&format!("mma_tf32_{k}"), &format!("m16n8k{k}.row.col.f32.tf32.tf32.f32"), &a, &b, &c, ("b32", "f32"), 4);
        assert!((0..4).all(|i| (0..32).all(|l| f32::from_bits(d[i][l] as u32) == d_of(place(l, i).0, place(l, i).1, k))));
    }
    let wide = |v: f32| f64::from(v).to_bits();
    let (a, b) = ([lanes(|l| wide(a_of(l / 4, l % 4)))], [lanes(|l| wide(b_of(l % 4, l / 4)))]);
    let c = [0, 1].map(|i| lanes(|l| wide(c_of(l / 4, 2 * (l % 4) + i))));
    let d = multiply("mma_f64", "m8n8k4.row.col.f64.f64.f64.f64", &a, &b, &c, ("f64", "f64"), 2);
    assert!((0..2).all(|i| (0..32).all(|l| f64::from_bits(d[i][l]) == f64::from(d_of(l / 4, 2 * (l % 4) + i, 4)))));
    // Bytes: four to a register, columns 4t to 4t + 3.
    let byte = |v: f32| (v * 4.0) as i8 as u8 as u64;
    let a: Vec<_> = (0..4)
        .map(|r| lanes(|l| (0..4).fold(0, |w, e| w | byte(a_of(l / 4 + 8 * (r % 2), 4 * (l % 4) + e + 16 * (r / 2))) << (8 * e))))
        .collect();
    let b: Vec<_> = (0..2).map(|r| lanes(|l| (0..4).fold(0, |w, e| w | byte(b_of(4 * (l % 4) + e + 16 * r, l / 4)) << (8 * e)))).collect();
    let c = vec![[7u64; 32]; 4];
    let d = multiply("mma_s8", "m16n8k32.row.col.s32.s8.s8.s32", &a, &b, &c, ("b32", "s32"), 4);
    let sum = |i: usize, j: usize| (0..32).map(|x| (a_of(i, x) * 4.0) as i32 * (b_of(x, j) * 4.0) as i32).sum::<i32>() + 7;
    assert!((0..4).all(|i| (0..32).all(|l| d[i][l] as u32 as i32 == sum(place(l, i).0, place(l, i).1))));
    // The same bytes as unsigned numbers, and with sums that stop at the largest.
    let unsigned = |i: usize, j: usize| (0..32).map(|x| byte(a_of(i, x)) as i32 * byte(b_of(x, j)) as i32).sum::<i32>() + 7;
    let d = multiply("mma_u8", "m16n8k32.row.col.satfinite.s32.u8.u8.s32", &a, &b, &c, ("b32", "s32"), 4);
    assert!((0..4).all(|i| (0..32).all(|l| d[i][l] as u32 as i32 == unsigned(place(l, i).0, place(l, i).1))));
}

#[test]
fn ldmatrix_and_stmatrix_are_each_other_backwards() {
    // Element (r, c) of matrix j holds 64 j + 8 r + c.
    let fill = ".shared .align 16 .b8 room[1024];\nmov.u32 %r2, room; mad.lo.u32 %r3, %r0, 16, %r2; mul.lo.u32 %r4, %r0, 8; mad.lo.u32 %r5, %r4, 65537, 65536; add.u32 %r6, %r5, 131074; add.u32 %r7, %r6, 131074; add.u32 %r8, %r7, 131074;\nst.shared.v4.b32 [%r3], {%r5, %r6, %r7, %r8}; bar.warp.sync 0xffffffff;";
    let store = "mul.wide.u32 %rd1, %r0, 16; add.u64 %rd1, %rd0, %rd1; st.global.v4.b32 [%rd1], {%r9, %r10, %r11, %r12};";
    for (trans, name) in [("", "ldmatrix"), (".trans", "ldmatrix_trans")] {
        let got = words(
            name,
            &format!("{fill}\nldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 {{%r9, %r10, %r11, %r12}}, [%r3];\n{store}"),
            32,
            128,
            0,
        )
        .unwrap_or_else(|e| panic!("{e}"));
        for l in 0..32u32 {
            for j in 0..4 {
                let at =
                    |e: u32| if trans.is_empty() { 64 * j + 8 * (l / 4) + 2 * (l % 4) + e } else { 64 * j + 8 * (2 * (l % 4) + e) + l / 4 };
                assert_eq!(got[(4 * l + j) as usize], at(0) | at(1) << 16, "{name} lane {l} matrix {j}");
            }
        }
    }
    let back = format!(
        ".visible .entry k(.param .u64 out) {{\n{REGISTERS}ld.param.u64 %rd0, [out]; mov.u32 %r0, %tid.x;\n{fill}
ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {{%r9, %r10, %r11, %r12}}, [%r3]; bar.warp.sync 0xffffffff;
stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%r3+512], {{%r9, %r10, %r11, %r12}}; bar.warp.sync 0xffffffff;
ld.shared.v4.b32 {{%r9, %r10, %r11, %r12}}, [%r3+512];\n{store}\nret;\n}}"
    );
    let module = module("stmatrix", &format!("{}{back}", support::HOPPER));
    let mut device = Device::new();
    let out = device.alloc(512);
    device.launch(&module, "k", [1; 3], [32, 1, 1], 0, &[Argument::U64(out)], 3).unwrap_or_else(|e| panic!("{e}"));
    let got: Vec<u16> = read_u32(&mut device, out, 128).iter().flat_map(|w| [*w as u16, (*w >> 16) as u16]).collect();
    assert_eq!(got, (0..256).collect::<Vec<u16>>());
    assert!(read_f32(&mut device, out, 1).len() == 1);
}

#[test]
fn eight_bit_floats() {
    // Three bits of mantissa, bias 7: enough for multiples of 1/4 up to 2.
    let e4m3 = |v: f32| {
        let value = |code: u32| {
            if code >> 3 == 0 { (code & 7) as f32 / 512.0 } else { (1.0 + (code & 7) as f32 / 8.0) * 2f32.powi((code >> 3) as i32 - 7) }
        };
        u64::from((0..0x7f).find(|code| value(*code) == v.abs()).unwrap() | if v < 0.0 { 0x80 } else { 0 })
    };
    let pack = |f: &dyn Fn(usize) -> f32| (0..4).fold(0, |w, e| w | e4m3(f(e)) << (8 * e));
    let a: Vec<_> = (0..4).map(|r| lanes(|l| pack(&|e| a_of(l / 4 + 8 * (r % 2), 4 * (l % 4) + e + 16 * (r / 2))))).collect();
    let b: Vec<_> = (0..2).map(|r| lanes(|l| pack(&|e| b_of(4 * (l % 4) + e + 16 * r, l / 4)))).collect();
    let place = |l: usize, i: usize| (l / 4 + 8 * (i / 2), 2 * (l % 4) + i % 2);
    let c: Vec<_> = (0..4).map(|i| lanes(|l| u64::from(c_of(place(l, i).0, place(l, i).1).to_bits()))).collect();
    let d = multiply("mma_e4m3", "m16n8k32.row.col.f32.e4m3.e4m3.f32", &a, &b, &c, ("b32", "f32"), 4);
    assert!((0..4).all(|i| (0..32).all(|l| f32::from_bits(d[i][l] as u32) == d_of(place(l, i).0, place(l, i).1, 32))));
}
