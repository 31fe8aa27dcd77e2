//! Instructions of one lane, each against a result worked out by hand.

mod support;

use kiln_ptx::{Argument, Device};
use support::{HOPPER, PORTABLE, REGISTERS, module, read_u64, refused, upload};

/// Instruction, the bits of a, b, c (in %r1…, %rd1…, %h1…, %f1…, %d1…), the bits of its result in register number 0.
type Case = (&'static str, [u64; 3], u64);

const fn f(v: f32) -> u64 {
    v.to_bits() as u64
}

const fn d(v: f64) -> u64 {
    v.to_bits()
}

const fn s(v: i32) -> u64 {
    v as u32 as u64
}

fn check(name: &str, cases: &[Case]) {
    check_for(PORTABLE, name, cases);
}

/// One kernel per case, all in one module.
fn check_for(head: &str, name: &str, cases: &[Case]) {
    let mut text = head.to_string();
    for (i, (instruction, ..)) in cases.iter().enumerate() {
        let result =
            instruction.split_whitespace().find_map(|w| w.strip_suffix(',').filter(|w| w.starts_with('%'))).expect("a destination");
        let result = result.split('|').next().unwrap();
        let store = match result.trim_end_matches('0') {
            "%h" => "cvt.u64.u16 %rd10, %h0; st.global.u64 [%rd9], %rd10;",
            "%r" => "cvt.u64.u32 %rd10, %r0; st.global.u64 [%rd9], %rd10;",
            "%rd" => "st.global.u64 [%rd9], %rd0;",
            "%f" => "mov.b32 %r10, %f0; cvt.u64.u32 %rd10, %r10; st.global.u64 [%rd9], %rd10;",
            "%d" => "st.global.f64 [%rd9], %d0;",
            "%p" => "selp.u64 %rd10, 1, 0, %p0; st.global.u64 [%rd9], %rd10;",
            other => panic!("no way to store {other}"),
        };
        let mut load = String::new();
        for n in 1..=3 {
            load += &format!(
                "ld.global.u64 %rd{n}, [%rd8+{}]; mov.b64 {{%r{n}, %r1{n}}}, %rd{n}; mov.b32 {{%h{n}, %h1{n}}}, %r{n};\n",
                8 * (n - 1)
            );
            load += &format!("mov.b32 %f{n}, %r{n}; mov.b64 %d{n}, %rd{n}; setp.ne.u64 %p{n}, %rd{n}, 0;\n");
        }
        text += &format!(
            ".visible .entry k{i}(.param .u64 in, .param .u64 out) {{\n{REGISTERS}ld.param.u64 %rd8, [in]; ld.param.u64 %rd9, [out];\n{load}{instruction}\n{store}\nret;\n}}\n"
        );
    }
    let module = module(name, &text);
    for (i, (instruction, inputs, expected)) in cases.iter().enumerate() {
        let mut device = Device::new();
        let (input, out) = (upload(&mut device, &inputs[..]), device.alloc(8));
        let arguments = [Argument::U64(input), Argument::U64(out)];
        device.launch(&module, &format!("k{i}"), [1; 3], [1; 3], 0, &arguments, i as u64).unwrap_or_else(|e| panic!("{instruction}: {e}"));
        let got = read_u64(&mut device, out, 1)[0];
        assert_eq!(got, *expected, "{instruction} on {inputs:#x?}: {got:#x}, expected {expected:#x}");
    }
}

#[test]
fn integers() {
    check(
        "integers",
        &[
            ("add.s32 %r0, %r1, %r2;", [0xffff_ffff, 2, 0], 1),
            ("add.sat.s32 %r0, %r1, %r2;", [0x7fff_ffff, 2, 0], 0x7fff_ffff),
            ("sub.u16 %h0, %h1, %h2;", [1, 2, 0], 0xffff),
            ("sub.s64 %rd0, %rd1, %rd2;", [1, 2, 0], u64::MAX),
            ("mul.lo.s32 %r0, %r1, %r2;", [s(-3), 7, 0], s(-21)),
            ("mul.hi.u32 %r0, %r1, %r2;", [0xffff_ffff, 0xffff_ffff, 0], 0xffff_fffe),
            ("mul.hi.s32 %r0, %r1, %r2;", [s(-1), 5, 0], s(-1)),
            ("mul.hi.u64 %rd0, %rd1, %rd2;", [u64::MAX, u64::MAX, 0], u64::MAX - 1),
            ("mul.wide.s32 %rd0, %r1, %r2;", [s(-3), 7, 0], -21i64 as u64),
            ("mul.wide.u16 %r0, %h1, %h2;", [0xffff, 0xffff, 0], 0xfffe_0001),
            ("mad.lo.s32 %r0, %r1, %r2, %r3;", [5, s(-6), 7], s(-23)),
            ("mad.hi.u32 %r0, %r1, %r2, %r3;", [0x8000_0000, 6, 1], 4),
            ("mad.wide.u32 %rd0, %r1, %r2, %rd3;", [0xffff_ffff, 2, 3], 0x2_0000_0001),
            ("mul24.lo.u32 %r0, %r1, %r2;", [0xff00_0003, 5, 0], 15),
            ("mad24.lo.s32 %r0, %r1, %r2, %r3;", [0x00ff_ffff, 5, 1], s(-4)),
            ("sad.s32 %r0, %r1, %r2, %r3;", [s(-5), 7, 100], 112),
            ("div.s32 %r0, %r1, %r2;", [s(-7), 2, 0], s(-3)),
            ("div.u32 %r0, %r1, %r2;", [s(-7), 2, 0], 0x7fff_fffc),
            ("rem.s32 %r0, %r1, %r2;", [s(-7), 3, 0], s(-1)),
            ("rem.u64 %rd0, %rd1, %rd2;", [100, 7, 0], 2),
            ("rem.u32 %r0, %r1, %r2;", [100, 0, 0], 0xffff_ffff),
            ("abs.s32 %r0, %r1;", [s(-9), 0, 0], 9),
            ("neg.s64 %rd0, %rd1;", [9, 0, 0], -9i64 as u64),
            ("min.s32 %r0, %r1, %r2;", [s(-1), 1, 0], s(-1)),
            ("min.u32 %r0, %r1, %r2;", [s(-1), 1, 0], 1),
            ("max.s16 %h0, %h1, %h2;", [0xffff, 1, 0], 1),
            ("popc.b32 %r0, %r1;", [0xf0f0_0001, 0, 0], 9),
            ("popc.b64 %r0, %rd1;", [u64::MAX, 0, 0], 64),
            ("clz.b32 %r0, %r1;", [0x0000_1000, 0, 0], 19),
            ("clz.b64 %r0, %rd1;", [0, 0, 0], 64),
            ("brev.b32 %r0, %r1;", [0x0000_0003, 0, 0], 0xc000_0000),
            ("bfind.u32 %r0, %r1;", [0x0000_1000, 0, 0], 12),
            ("bfind.s32 %r0, %r1;", [s(-1), 0, 0], 0xffff_ffff),
            ("bfind.shiftamt.u32 %r0, %r1;", [0x0000_1000, 0, 0], 19),
            ("bfe.u32 %r0, %r1, %r2, %r3;", [0x1234_5678, 8, 8], 0x56),
            ("bfe.s32 %r0, %r1, 4, 4;", [0x0000_0080, 0, 0], s(-8)),
            ("bfe.s32 %r0, %r1, 28, 8;", [0x8000_0000, 0, 0], s(-8)),
            ("bfi.b32 %r0, %r1, %r2, 8, 8;", [0xab, 0x1111_1111, 0], 0x1111_ab11),
            ("bfi.b32 %r0, %r1, %r2, %r3, 4;", [0xf, 0, 28], 0xf000_0000),
            ("dp4a.s32.s32 %r0, %r1, %r2, %r3;", [0x01ff_0203, 0x0101_0101, 10], 15),
            ("cnot.b32 %r0, %r1;", [0, 0, 0], 1),
        ],
    );
}

#[test]
fn bits_and_shifts() {
    check(
        "bits",
        &[
            ("and.b32 %r0, %r1, %r2;", [0xff00_ff00, 0x0ff0_0ff0, 0], 0x0f00_0f00),
            ("or.b16 %h0, %h1, %h2;", [0xf0, 0x0f, 0], 0xff),
            ("xor.b64 %rd0, %rd1, %rd2;", [u64::MAX, 1, 0], u64::MAX - 1),
            ("not.b32 %r0, %r1;", [1, 0, 0], 0xffff_fffe),
            ("not.pred %p0, %p1;", [1, 0, 0], 0),
            ("and.pred %p0, %p1, %p2;", [1, 1, 0], 1),
            ("xor.pred %p0, %p1, %p2;", [1, 1, 0], 0),
            ("lop3.b32 %r0, %r1, %r2, %r3, 0x96;", [0xff, 0x0f, 0x33], 0xff ^ 0x0f ^ 0x33),
            ("lop3.b32 %r0, %r1, %r2, %r3, 0xe8;", [0xff, 0x0f, 0x33], 0x3f),
            ("shl.b32 %r0, %r1, %r2;", [1, 31, 0], 0x8000_0000),
            ("shl.b32 %r0, %r1, %r2;", [1, 32, 0], 0),
            ("shr.u32 %r0, %r1, 4;", [0xf000_0000, 0, 0], 0x0f00_0000),
            ("shr.s32 %r0, %r1, 40;", [0xf000_0000, 0, 0], 0xffff_ffff),
            ("shr.s16 %h0, %h1, 4;", [0x8000, 0, 0], 0xf800),
            ("shf.l.wrap.b32 %r0, %r1, %r2, 8;", [0xaabb_ccdd, 0x1122_3344, 0], 0x2233_44aa),
            ("shf.r.clamp.b32 %r0, %r1, %r2, %r3;", [0xaabb_ccdd, 0x1122_3344, 40], 0x1122_3344),
            ("prmt.b32 %r0, %r1, %r2, 0x7531;", [0x3322_1100, 0x7766_5544, 0], 0x7755_3311),
            ("prmt.b32 %r0, %r1, %r2, 0x8000;", [0x0000_0080, 0, 0], 0xff80_8080),
            ("prmt.b32.rc16 %r0, %r1, %r2, %r3;", [0x3322_1100, 0, 1], 0x3322_3322),
            ("selp.b32 %r0, %r1, %r2, %p3;", [1, 2, 0], 2),
            ("slct.u32.s32 %r0, %r1, %r2, %r3;", [1, 2, s(-1)], 2),
            ("mov.b32 %r0, {%h1, %h2};", [0x1234, 0xabcd, 0], 0xabcd_1234),
            ("mov.b64 %rd0, {%r1, %r2};", [1, 2, 0], 0x2_0000_0001),
        ],
    );
}

#[test]
fn comparisons() {
    check(
        "comparisons",
        &[
            ("setp.lt.s32 %p0, %r1, %r2;", [s(-1), 1, 0], 1),
            ("setp.lt.u32 %p0, %r1, %r2;", [s(-1), 1, 0], 0),
            ("setp.hi.u32 %p0, %r1, %r2;", [s(-1), 1, 0], 1),
            ("setp.eq.b64 %p0, %rd1, %rd2;", [5, 5, 0], 1),
            ("setp.lt.and.s32 %p0, %r1, %r2, !%p3;", [1, 2, 1], 0),
            ("setp.ge.or.s32 %p0, %r1, %r2, %p3;", [1, 2, 1], 1),
            ("setp.lt.s32 %p0|%p4, %r1, %r2;\nmov.pred %p0, %p4;", [1, 2, 0], 0),
            ("setp.lt.f32 %p0, %f1, %f2;", [f(f32::NAN), f(1.0), 0], 0),
            ("setp.ltu.f32 %p0, %f1, %f2;", [f(f32::NAN), f(1.0), 0], 1),
            ("setp.neu.f64 %p0, %d1, %d2;", [d(1.0), d(1.0), 0], 0),
            ("setp.nan.f32 %p0, %f1, %f2;", [f(f32::NAN), f(1.0), 0], 1),
            ("setp.num.f32 %p0, %f1, %f2;", [f(0.0), f(1.0), 0], 1),
            ("setp.eq.ftz.f32 %p0, %f1, %f2;", [1, 0, 0], 1),
            ("setp.gt.f16 %p0, %h1, %h2;", [0x3c00, 0xbc00, 0], 1),
            ("setp.eq.s16 %p0, %h1, %h2;", [7, 7, 0], 1),
            ("set.gt.u32.s32 %r0, %r1, %r2;", [2, 1, 0], 0xffff_ffff),
            ("set.le.f32.f32 %f0, %f1, %f2;", [f(2.0), f(2.0), 0], f(1.0)),
            ("testp.infinite.f32 %p0, %f1;", [f(f32::INFINITY), 0, 0], 1),
            ("testp.subnormal.f64 %p0, %d1;", [1, 0, 0], 1),
            ("testp.normal.f64 %p0, %d1;", [0, 0, 0], 1),
        ],
    );
}

#[test]
fn floats() {
    check(
        "floats",
        &[
            ("add.f32 %f0, %f1, %f2;", [f(1.5), f(2.25), 0], f(3.75)),
            ("add.rz.f32 %f0, %f1, %f2;", [f(1.0), f(-1e-10), 0], 0x3f7f_ffff),
            ("add.rp.f32 %f0, %f1, %f2;", [f(1.0), f(1e-10), 0], 0x3f80_0001),
            ("add.rm.f32 %f0, %f1, %f2;", [f(1.0), f(-1.0), 0], f(-0.0)),
            ("add.rz.f32 %f0, %f1, %f2;", [f(1.0), f(-1.0), 0], f(0.0)),
            // 2⁻¹²⁶ less one part in 2²⁴ is no normal number, before it is rounded to one.
            ("mul.ftz.f32 %f0, %f1, %f2;", [0x0080_0000, 0x3f7f_ffff, 0], 0),
            ("mul.f32 %f0, %f1, %f2;", [0x0080_0000, 0x3f7f_ffff, 0], 0x0080_0000),
            ("add.sat.f32 %f0, %f1, %f2;", [f(1.0), f(2.0), 0], f(1.0)),
            ("add.ftz.f32 %f0, %f1, %f2;", [1, f(0.0), 0], 0),
            ("sub.f32 %f0, %f1, %f2;", [f(1.5), f(2.25), 0], f(-0.75)),
            ("mul.f32 %f0, %f1, %f2;", [f(1.5), f(-2.0), 0], f(-3.0)),
            ("mul.rm.f32 %f0, %f1, %f2;", [0x3f80_0001, 0x3f80_0001, 0], 0x3f80_0002),
            ("fma.rn.f32 %f0, %f1, %f2, %f3;", [f(1.5), f(2.0), f(0.5)], f(3.5)),
            ("fma.rn.f32 %f0, %f1, %f2, %f3;", [0x3f80_0001, 0x3f80_0001, f(-1.0)], f(2f32 * 1.1920929e-7 + 1.4210855e-14)),
            ("div.rn.f32 %f0, %f1, %f2;", [f(1.0), f(4.0), 0], f(0.25)),
            ("div.full.f32 %f0, %f1, %f2;", [f(1.0), f(4.0), 0], f(0.25)),
            ("div.approx.f32 %f0, %f1, %f2;", [f(1.0), f(1.7e38), 0], f(0.0)),
            ("sqrt.rn.f32 %f0, %f1;", [f(9.0), 0, 0], f(3.0)),
            ("rcp.approx.ftz.f32 %f0, %f1;", [f(8.0), 0, 0], f(0.125)),
            ("rsqrt.approx.f32 %f0, %f1;", [f(16.0), 0, 0], f(0.25)),
            ("min.f32 %f0, %f1, %f2;", [f(f32::NAN), f(1.0), 0], f(1.0)),
            ("min.NaN.f32 %f0, %f1, %f2;", [f(f32::NAN), f(1.0), 0], 0x7fff_ffff),
            ("max.f32 %f0, %f1, %f2;", [f(-0.0), f(0.0), 0], f(0.0)),
            ("min.f32 %f0, %f1, %f2;", [f(0.0), f(-0.0), 0], f(-0.0)),
            ("abs.f32 %f0, %f1;", [f(-2.0), 0, 0], f(2.0)),
            ("neg.f32 %f0, %f1;", [f(-2.0), 0, 0], f(2.0)),
            ("neg.f32 %f0, %f1;", [0x7fc0_0000, 0, 0], 0x7fff_ffff),
            ("copysign.f32 %f0, %f1, %f2;", [f(-1.0), f(7.0), 0], f(-7.0)),
            ("ex2.approx.f32 %f0, %f1;", [f(-3.0), 0, 0], f(0.125)),
            ("lg2.approx.ftz.f32 %f0, %f1;", [f(8.0), 0, 0], f(3.0)),
            ("sin.approx.f32 %f0, %f1;", [f(0.0), 0, 0], f(0.0)),
            ("cos.approx.f32 %f0, %f1;", [f(0.0), 0, 0], f(1.0)),
            ("tanh.approx.f32 %f0, %f1;", [f(100.0), 0, 0], f(1.0)),
            ("add.f64 %d0, %d1, %d2;", [d(1.5), d(2.25), 0], d(3.75)),
            ("add.f64 %d0, %d1, %d2;", [d(f64::INFINITY), d(f64::NEG_INFINITY), 0], 0xfff8_0000_0000_0000),
            ("add.f64 %d0, %d1, %d2;", [0x7ff0_0000_0000_0001, d(1.0), 0], 0x7ff8_0000_0000_0001),
            ("fma.rn.f64 %d0, %d1, %d2, %d3;", [d(3.0), d(4.0), d(5.0)], d(17.0)),
            ("div.rn.f64 %d0, %d1, %d2;", [d(1.0), d(8.0), 0], d(0.125)),
            ("sqrt.rn.f64 %d0, %d1;", [d(2.25), 0, 0], d(1.5)),
            ("max.f64 %d0, %d1, %d2;", [d(f64::NAN), d(1.0), 0], d(1.0)),
            ("mov.f32 %f0, 0f40490FDB;", [0; 3], 0x4049_0fdb),
            ("mov.f64 %d0, 0d400921FB54442D18;", [0; 3], 0x4009_21fb_5444_2d18),
        ],
    );
}

#[test]
fn halves() {
    check(
        "halves",
        &[
            ("add.f16 %h0, %h1, %h2;", [0x3c00, 0x4000, 0], 0x4200),
            ("sub.f16x2 %r0, %r1, %r2;", [0x4200_3c00, 0x3c00_3c00, 0], 0x4000_0000),
            ("mul.f16x2 %r0, %r1, %r2;", [0x4200_3c00, 0x4000_c000, 0], 0x4600_c000),
            ("fma.rn.f16 %h0, %h1, %h2, %h3;", [0x4000, 0x4200, 0x3c00], 0x4700),
            ("fma.rn.bf16x2 %r0, %r1, %r2, %r3;", [0x4000_3f80, 0x4040_4040, 0x3f80_3f80], 0x40e0_4080),
            ("min.f16x2 %r0, %r1, %r2;", [0x3c00_7e00, 0x4000_4000, 0], 0x3c00_4000),
            ("max.NaN.bf16 %h0, %h1, %h2;", [0x7fc0, 0x3f80, 0], 0x7fff),
            ("neg.f16x2 %r0, %r1;", [0x3c00_bc00, 0, 0], 0xbc00_3c00),
            ("abs.bf16 %h0, %h1;", [0xbf80, 0, 0], 0x3f80),
            ("ex2.approx.f16 %h0, %h1;", [0x4000, 0, 0], 0x4400),
            ("tanh.approx.f16x2 %r0, %r1;", [0x7c00_fc00, 0, 0], 0x3c00_bc00),
            // 2048 + 1 is a tie in f16 and goes to the even 2048; the fused form must not round twice.
            ("add.f16 %h0, %h1, %h2;", [0x6800, 0x3c00, 0], 0x6800),
        ],
    );
}

#[test]
fn conversions() {
    check(
        "conversions",
        &[
            ("cvt.s64.s32 %rd0, %r1;", [s(-5), 0, 0], -5i64 as u64),
            ("cvt.u64.u32 %rd0, %r1;", [s(-5), 0, 0], s(-5)),
            ("cvt.s32.s8 %r0, %r1;", [0x80, 0, 0], s(-128)),
            ("cvt.u32.u8 %r0, %r1;", [0x180, 0, 0], 0x80),
            ("cvt.sat.u8.s32 %r0, %r1;", [s(300), 0, 0], 255),
            ("cvt.u16.u32 %h0, %r1;", [0x12345, 0, 0], 0x2345),
            ("cvt.rn.f32.s32 %f0, %r1;", [s(-7), 0, 0], f(-7.0)),
            ("cvt.rn.f32.u64 %f0, %rd1;", [(1 << 60) + (1 << 36) + 1, 0, 0], 0x5d80_0001),
            ("cvt.rz.f32.u32 %f0, %r1;", [0xffff_ffff, 0, 0], 0x4f7f_ffff),
            ("cvt.rn.f64.s64 %d0, %rd1;", [-3i64 as u64, 0, 0], d(-3.0)),
            ("cvt.rp.f64.u64 %d0, %rd1;", [(1 << 60) + 1, 0, 0], d((1u64 << 60) as f64) + 1),
            ("cvt.rzi.s32.f32 %r0, %f1;", [f(-2.7), 0, 0], s(-2)),
            ("cvt.rni.s32.f32 %r0, %f1;", [f(2.5), 0, 0], 2),
            ("cvt.rmi.s32.f32 %r0, %f1;", [f(-2.1), 0, 0], s(-3)),
            ("cvt.rpi.u32.f32 %r0, %f1;", [f(2.1), 0, 0], 3),
            ("cvt.rzi.s32.f32 %r0, %f1;", [f(1e20), 0, 0], 0x7fff_ffff),
            ("cvt.rzi.u32.f32 %r0, %f1;", [f(-5.0), 0, 0], 0),
            ("cvt.rzi.s32.f32 %r0, %f1;", [f(f32::NAN), 0, 0], 0),
            ("cvt.rzi.s64.f64 %rd0, %d1;", [d(-1e10), 0, 0], -10_000_000_000i64 as u64),
            ("cvt.rni.f32.f32 %f0, %f1;", [f(3.5), 0, 0], f(4.0)),
            ("cvt.rmi.f64.f64 %d0, %d1;", [d(-0.5), 0, 0], d(-1.0)),
            ("cvt.sat.f32.f32 %f0, %f1;", [f(-3.0), 0, 0], f(0.0)),
            ("cvt.f64.f32 %d0, %f1;", [f(1.1), 0, 0], d(1.1f32 as f64)),
            ("cvt.f64.f32 %d0, %f1;", [0xff80_0001, 0, 0], 0xfff8_0000_2000_0000),
            ("cvt.rzi.s8.f64 %r0, %d1;", [d(f64::NAN), 0, 0], s(-128)),
            ("cvt.rn.f32.f64 %f0, %d1;", [d(1.1), 0, 0], f(1.1)),
            ("cvt.rn.f16.f32 %h0, %f1;", [f(1.0), 0, 0], 0x3c00),
            ("cvt.rz.f16.f32 %h0, %f1;", [f(70000.0), 0, 0], 0x7bff),
            ("cvt.f32.f16 %f0, %h1;", [0x3555, 0, 0], f(0.333_251_95)),
            ("cvt.f32.f16 %f0, %h1;", [0x0001, 0, 0], f(5.960_464_5e-8)),
            ("cvt.rn.bf16.f32 %h0, %f1;", [0x3f80_8000, 0, 0], 0x3f80),
            ("cvt.rn.bf16.f32 %h0, %f1;", [0x3f81_8000, 0, 0], 0x3f82),
            ("cvt.rn.bf16x2.f32 %r0, %f1, %f2;", [f(1.0), f(2.0), 0], 0x3f80_4000),
            ("cvt.rn.f16x2.f32 %r0, %f1, %f2;", [f(1.0), f(2.0), 0], 0x3c00_4000),
            ("cvt.rn.relu.f16x2.f32 %r0, %f1, %f2;", [f(-1.0), f(2.0), 0], 0x0000_4000),
            ("cvt.rna.tf32.f32 %r0, %f1;", [0x3f80_1000, 0, 0], 0x3f80_2000),
            ("cvt.rn.f16.s32 %h0, %r1;", [s(-2), 0, 0], 0xc000),
            ("cvt.rzi.s16.f16 %h0, %h1;", [0xc100, 0, 0], 0xfffe),
        ],
    );
}

#[test]
fn what_only_hopper_has() {
    check_for(
        HOPPER,
        "hopper_arithmetic",
        &[
            ("cvt.rn.satfinite.e4m3x2.f32 %h0, %f1, %f2;", [f(1.0), f(-896.0), 0], 0x38fe),
            ("cvt.rn.f16x2.e4m3x2 %r0, %h1;", [0x387e, 0, 0], 0x3c00_5f00),
            ("cvt.rn.relu.f16x2.e4m3x2 %r0, %h1;", [0x38fe, 0, 0], 0x3c00_0000),
            ("cvt.rn.satfinite.e5m2x2.f32 %h0, %f1, %f2;", [f(1.0), f(2.0), 0], 0x3c40),
            ("cvt.f32.bf16 %f0, %h1;", [0x3fc0, 0, 0], f(1.5)),
            ("add.bf16 %h0, %h1, %h2;", [0x3f80, 0x4000, 0], 0x4040),
            ("mul.bf16x2 %r0, %r1, %r2;", [0x3f80_4000, 0x4040_4040, 0], 0x4040_40c0),
            ("cvt.rn.bf16.s32 %h0, %r1;", [257, 0, 0], 0x4380),
            ("cvt.rzi.s32.bf16 %r0, %h1;", [0xc040, 0, 0], s(-3)),
            ("cvt.rn.f16.f64 %h0, %d1;", [d(0.1), 0, 0], 0x2e66),
        ],
    );
}

#[test]
fn what_is_not_ptx_is_refused_with_its_line() {
    for (body, words) in [
        ("frobnicate.u32 %r1, %r2;", &["frobnicate", "not supported"][..]),
        ("add.rounded.u32 %r1, %r2, %r3;", &["`.rounded`"]),
        ("add.u32 %f1, %r2, %r3;", &["%f1", ".f32", ".u32"]),
        ("add.f32 %f1, %r2, %rd3;", &["%rd3"]),
        ("add.u32 %r1, %rd2, %r3;", &["%rd2", ".b64"]),
        ("mul.u32 %r1, %r2, %r3;", &[".lo"]),
        ("bra nowhere;", &["nowhere"]),
        ("@%r1 bra nowhere;", &["%r1", "predicate"]),
        ("add.u32 %r1, %r2;", &["3 operands"]),
        ("ld.global.u32 %r1, [%r2];", &["%r2", "address"]),
        ("st.param.u32 [p], %r2;", &["not written"]),
        ("mov.u32 %r1, missing;", &["missing"]),
        ("cvt.u32.f32 %r1, %f1;", &["rounding"]),
        ("call (%r1), f, (%r2);", &["`f`", "calls"]),
        (
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2,%r3}, {%r1,%r2}, {%f1,%f2,%f3,%f4};",
            &["operand 2", "4"],
        ),
        ("add.cc.u32 %r1, %r2, %r3;", &["carry"]),
        (".reg .b32 %r1;", &["declared twice"]),
    ] {
        let error = refused(body);
        assert_eq!((error.line, error.text.as_str()), (6, body), "{error}");
        for word in words {
            assert!(error.message.contains(word), "`{word}` is missing in: {error}");
        }
    }
}
