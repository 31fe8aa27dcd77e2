//! The instructions of one lane and the operands they are tried on.
//!
//! Bounds of approximate functions are those of PTX ISA 9.0, chapter 9.7.3 (f32) and 9.7.4 (halves).

use super::lane::{Row, case, exact};
use super::values::{BF16, F16, F32, F64, INTEGERS, Random};
use super::{Bound, Case, Kind};

/// Every pair of special values with a third that walks through them, then `more` random ones.
fn pairs(special: &[u64], more: usize, mut random: impl FnMut() -> [u64; 3]) -> Vec<[u64; 3]> {
    let n = special.len();
    let all = (0..n * n).map(|i| [special[i / n], special[i % n], special[(i / n * 5 + i % n * 3) % n]]);
    let all: Vec<_> = all.collect();
    all.into_iter().chain((0..more).map(|_| random())).collect()
}

fn singles() -> Vec<[u64; 3]> {
    let mut random = Random(1);
    let special: Vec<u64> = F32.map(u64::from).to_vec();
    pairs(&special, 76, || {
        // Neighbouring exponents round; a third near the negative product cancels.
        let (a, b) = (random.f32(-4..4), random.f32(-4..4));
        let product = f32::from_bits(a) * f32::from_bits(b);
        let c = match random.below(4) {
            0 => (-product).to_bits() ^ random.below(4) as u32,
            1 => random.f32(-30..-20),
            2 => random.f32(-126..-120),
            _ => random.f32(-4..4),
        };
        let tiny = random.below(4) == 0;
        let a = if tiny { random.f32(-70..-60) } else { a };
        [a, if tiny { random.f32(-70..-60) } else { b }, c].map(u64::from)
    })
}

fn doubles() -> Vec<[u64; 3]> {
    let mut random = Random(2);
    pairs(&F64, 60, || {
        let (a, b) = (random.f64(-4..4), random.f64(-4..4));
        let product = f64::from_bits(a) * f64::from_bits(b);
        [a, b, if random.below(2) == 0 { (-product).to_bits() ^ random.below(4) } else { random.f64(-60..4) }]
    })
}

/// Halves, two in each operand.
fn halves(special: &[u16; 16], mut one: impl FnMut() -> u16) -> Vec<[u64; 3]> {
    let wide: Vec<u64> = (0..16).map(|i| u64::from(special[i]) | u64::from(special[(i * 7 + 3) % 16]) << 16).collect();
    pairs(&wide, 64, || [0; 3].map(|_: u64| u64::from(one()) | u64::from(one()) << 16))
}

fn integers() -> Vec<[u64; 3]> {
    let mut random = Random(5);
    pairs(&INTEGERS, 28, || {
        let shift = random.below(60);
        [random.next(), random.next() >> shift, random.next()]
    })
}

/// One operand: the special ones, then a grid over all exponents, then what matters near zero and one.
fn line() -> Vec<[u64; 3]> {
    let mut random = Random(6);
    let special = F32.to_vec();
    let grid = (0..256u32).map(|e| (e.min(254) << 23) | (random.next() as u32 & 0x807f_ffff)).collect::<Vec<_>>();
    let near = (0..60).map(|_| random.f32(-6..7)).collect::<Vec<_>>();
    let ones = (0..24u32).map(|i| 0x3f80_0000 - 12 + i).collect::<Vec<_>>();
    let edges = [-126.5f32, -127.0, -140.25, -149.0, -149.5, -150.0, -151.0, 127.0, 127.99999, 128.0, 1e-6, 88.0, 3.0, 4.0, 0.5, 0.25];
    let all = special.into_iter().chain(grid).chain(near).chain(ones).chain(edges.map(f32::to_bits));
    all.map(|v| [u64::from(v), 0, 0]).collect()
}

/// Angles between -100π and 100π, most within -2π and 2π, and the specials.
fn angles() -> Vec<[u64; 3]> {
    let mut random = Random(7);
    let some = (0..150).map(|i| {
        let span = if i % 3 == 0 { 314.0 } else { 6.283 };
        ((random.below(2_000_001) as f32 - 1e6) * 1e-6 * span).to_bits()
    });
    let special = [0u32, 0x8000_0000, 1, 0x8000_0001, 0x0080_0000, 0x3a00_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000];
    some.chain(special).map(|v| [u64::from(v), 0, 0]).collect()
}

/// Values that conversions to integers tell apart.
fn convertible() -> Vec<u32> {
    let mut random = Random(8);
    let ends = [
        0.5f32,
        1.5,
        2.5,
        -0.5,
        -1.5,
        -2.5,
        0.49999997,
        0.99,
        -0.99,
        127.0,
        127.5,
        128.0,
        -128.0,
        -128.5,
        -129.0,
        255.0,
        255.5,
        256.0,
        32767.0,
        32767.5,
        32768.0,
        -32768.5,
        -32769.0,
        65535.0,
        65535.5,
        65536.0,
        2147483500.0,
        2147483648.0,
        -2147483648.0,
        -2147484000.0,
        4294967000.0,
        4294967296.0,
        9.2233715e18,
        9.223372e18,
        -9.223372e18,
        -9.3e18,
        1.8446743e19,
        1.8446744e19,
        1e30,
        -1e30,
        65504.0,
        65519.0,
        65520.0,
        6.1e-5,
        5.96e-8,
        2.98e-8,
        2.9e-8,
        448.0,
        464.0,
        465.0,
        57344.0,
        61440.0,
        0.001953125,
        0.0009765625,
        0.0009,
    ];
    let more = (0..64).map(|i| if i % 2 == 0 { random.f32(-16..34) } else { random.f32(-30..20) }).collect::<Vec<_>>();
    F32.into_iter().chain([0x7fff_ffff, 0xffff_ffff]).chain(ends.map(f32::to_bits)).chain(more).collect()
}

fn within(text: &str, relative: f64, absolute: f64, kind: Option<Kind>) -> Row {
    Row { text: text.into(), bound: Bound::Within { relative, absolute }, kind }
}

fn power(exponent: f64) -> f64 {
    exponent.exp2()
}

pub fn cases() -> Vec<Case> {
    let (f32s, f64s, ints, one) = (singles(), doubles(), integers(), line());
    let mut random = Random(3);
    let mut f16s = halves(&F16, || random.f16(-6..6));
    // Products and sums that only just are not normal numbers.
    f16s.extend([[0x0400_8400, 0x3bff_3bff, 0], [0x0400_1400, 0x0400_9000, 0x0400_0400], [0x8400_0400, 0x0400_0400, 0x0400_8400]]);
    let mut random = Random(4);
    let bf16s = halves(&BF16, || random.bf16(-6..6));
    let mut all = vec![
        case("f32_rounding", &exact(SINGLE_ROUNDING), &f32s),
        case("f32_modifiers", &exact(SINGLE_MODIFIERS), &f32s),
        case("f32_choice", &exact(SINGLE_CHOICE), &f32s),
        case("f32_division", &division(), &f32s),
        case("f32_division_wide", &division(), &quotients()),
        case("f32_comparison", &comparisons("f32", "%f"), &f32s),
        case("f64_arithmetic", &exact(DOUBLE), &f64s),
        case("f64_comparison", &comparisons("f64", "%d"), &f64s),
        case("f16_arithmetic", &exact(HALF), &f16s),
        case("bf16_arithmetic", &exact(BRAIN), &bf16s),
        case("f16_comparison", &comparisons("f16", "%h"), &f16s),
        case("bf16_comparison", &comparisons("bf16", "%h"), &bf16s),
        case("functions", &functions(), &one),
        case("roots", &exact(ROOTS), &one),
        case("angles", &circular(), &angles()),
        case("half_functions", &half_functions(), &every_half()),
        case("integer_arithmetic", &exact(INTEGER), &ints),
        case("integer_multiplication", &exact(MULTIPLICATION), &ints),
        case("integer_comparison", &integer_comparisons(), &ints),
        case("bits", &exact(BITS), &ints),
        case("shifts", &exact(SHIFTS), &ints),
        case("fields", &exact(FIELDS), &fields()),
        case("permutations", &exact(PERMUTATIONS), &permutations()),
        case("convert_integers", &exact(FROM_INTEGERS), &ints),
        case("convert_f32_to_integers", &from_float("f32", "%f1"), &with_double(&convertible())),
        case("convert_f64_to_integers", &from_float("f64", "%d2"), &with_double(&convertible())),
        case("convert_f16_to_integers", &from_float("f16", "%h1"), &half_operands(&F16, 9)),
        case("convert_bf16_to_integers", &from_float("bf16", "%h1"), &half_operands(&BF16, 10)),
        case("convert_floats", &exact(FLOATS), &with_double(&convertible())),
        case("convert_halves", &exact(FROM_HALVES), &half_operands(&F16, 11)),
        case("convert_brains", &exact(FROM_BRAINS), &half_operands(&BF16, 12)),
        case("convert_bytes", &exact(FROM_BYTES), &(0..256).map(|i| [i | (255 - i) << 8, 0, 0]).collect::<Vec<_>>()),
        case("atomic_integers", &atomics(&ATOMIC_INTEGERS), &ints),
        case("atomic_f32", &atomics(&["add.f32"]), &f32s),
        case("atomic_f64", &atomics(&["add.f64"]), &f64s),
    ];
    all.push(case("atomic_f16", &atomics(&["add.noftz.f16", "add.noftz.f16x2"]), &f16s));
    all.push(case("atomic_bf16", &atomics(&["add.noftz.bf16", "add.noftz.bf16x2"]), &bf16s));
    all
}

const SINGLE_ROUNDING: &str = "
    add.rn.f32 %f0, %f1, %f2; add.rz.f32 %f0, %f1, %f2; add.rm.f32 %f0, %f1, %f2; add.rp.f32 %f0, %f1, %f2; sub.rn.f32 %f0, %f1, %f2;
    sub.rz.f32 %f0, %f1, %f2; sub.rm.f32 %f0, %f1, %f2; sub.rp.f32 %f0, %f1, %f2; mul.rn.f32 %f0, %f1, %f2; mul.rz.f32 %f0, %f1, %f2;
    mul.rm.f32 %f0, %f1, %f2; mul.rp.f32 %f0, %f1, %f2; fma.rn.f32 %f0, %f1, %f2, %f3; fma.rz.f32 %f0, %f1, %f2, %f3;
    fma.rm.f32 %f0, %f1, %f2, %f3; fma.rp.f32 %f0, %f1, %f2, %f3";

const SINGLE_MODIFIERS: &str = "
    add.rn.ftz.f32 %f0, %f1, %f2; sub.rn.ftz.f32 %f0, %f1, %f2; mul.rn.ftz.f32 %f0, %f1, %f2; fma.rn.ftz.f32 %f0, %f1, %f2, %f3;
    add.rn.sat.f32 %f0, %f1, %f2; sub.rn.sat.f32 %f0, %f1, %f2; mul.rn.sat.f32 %f0, %f1, %f2; fma.rn.sat.f32 %f0, %f1, %f2, %f3;
    fma.rz.ftz.sat.f32 %f0, %f1, %f2, %f3; mul.rz.ftz.f32 %f0, %f1, %f2; add.rp.ftz.f32 %f0, %f1, %f2";

const SINGLE_CHOICE: &str = "
    min.f32 %f0, %f1, %f2; max.f32 %f0, %f1, %f2; min.NaN.f32 %f0, %f1, %f2; max.NaN.f32 %f0, %f1, %f2; min.ftz.f32 %f0, %f1, %f2;
    max.ftz.f32 %f0, %f1, %f2; abs.f32 %f0, %f1; neg.f32 %f0, %f1; abs.ftz.f32 %f0, %f1; neg.ftz.f32 %f0, %f1;
    copysign.f32 %f0, %f1, %f2; slct.f32.f32 %f0, %f1, %f2, %f3; slct.u32.s32 %r0, %r1, %r2, %r3; slct.ftz.u32.f32 %r0, %r1, %r2, %f3";

fn division() -> Vec<Row> {
    let mut rows = exact("div.rn.f32 %f0, %f1, %f2; div.rn.ftz.f32 %f0, %f1, %f2");
    // Two units in the last place, for divisors between 2⁻¹²⁶ and 2¹²⁶.
    rows.push(within("div.full.f32 %f0, %f1, %f2", power(-22.0), 0.0, None));
    rows.push(within("div.approx.f32 %f0, %f1, %f2", power(-22.0), 0.0, None));
    rows.push(within("div.approx.ftz.f32 %f0, %f1, %f2", power(-22.0), 0.0, None));
    rows
}

/// Of all magnitudes.
fn quotients() -> Vec<[u64; 3]> {
    let mut random = Random(17);
    (0..160).map(|_| [u64::from(random.f32(-126..128)), u64::from(random.f32(-126..128)), 0]).collect()
}

fn comparisons(ty: &str, class: &str) -> Vec<Row> {
    let names = ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];
    let mut rows: Vec<String> = names.iter().map(|c| format!("setp.{c}.{ty} %p0, {class}1, {class}2")).collect();
    if ty == "f32" {
        rows.extend(["eq", "lt", "geu", "num"].map(|c| format!("setp.{c}.ftz.f32 %p0, %f1, %f2")));
        rows.extend(["ne", "lt", "ltu"].map(|c| format!("set.{c}.f32.f32 %f0, %f1, %f2")));
        rows.extend(["eq", "gtu", "nan"].map(|c| format!("set.{c}.u32.f32 %r0, %f1, %f2")));
        rows.push("set.lt.and.u32.f32 %r0, %f1, %f2, %p3".into());
        rows.push("setp.lt.xor.f32 %p0|%p4, %f1, %f2, %p3".into());
        rows.push("setp.lt.or.f32 %p4|%p0, %f1, %f2, !%p3".into());
    }
    if matches!(ty, "f32" | "f64") {
        let kinds = ["finite", "infinite", "number", "notanumber", "normal", "subnormal"];
        rows.extend(kinds.map(|k| format!("testp.{k}.{ty} %p0, {class}1")));
    }
    exact(&rows.join(";"))
}

const DOUBLE: &str = "
    add.rn.f64 %d0, %d1, %d2; sub.rn.f64 %d0, %d1, %d2; mul.rn.f64 %d0, %d1, %d2; fma.rn.f64 %d0, %d1, %d2, %d3;
    div.rn.f64 %d0, %d1, %d2; rcp.rn.f64 %d0, %d1; sqrt.rn.f64 %d0, %d1; min.f64 %d0, %d1, %d2; max.f64 %d0, %d1, %d2;
    abs.f64 %d0, %d1; neg.f64 %d0, %d1; copysign.f64 %d0, %d1, %d2; selp.f64 %d0, %d1, %d2, %p3";

const HALF: &str = "
    add.f16x2 %r0, %r1, %r2; sub.f16x2 %r0, %r1, %r2; mul.f16x2 %r0, %r1, %r2; fma.rn.f16x2 %r0, %r1, %r2, %r3;
    add.ftz.f16x2 %r0, %r1, %r2; mul.ftz.f16x2 %r0, %r1, %r2; fma.rn.ftz.f16x2 %r0, %r1, %r2, %r3; add.sat.f16x2 %r0, %r1, %r2;
    mul.sat.f16x2 %r0, %r1, %r2; fma.rn.sat.f16x2 %r0, %r1, %r2, %r3; fma.rn.relu.f16x2 %r0, %r1, %r2, %r3; min.f16x2 %r0, %r1, %r2;
    max.f16x2 %r0, %r1, %r2; min.NaN.f16x2 %r0, %r1, %r2; max.NaN.f16x2 %r0, %r1, %r2; min.ftz.f16x2 %r0, %r1, %r2; neg.f16x2 %r0, %r1;
    abs.f16x2 %r0, %r1; neg.f16 %h0, %h1; add.rn.f16 %h0, %h1, %h2; fma.rn.f16 %h0, %h1, %h2, %h3; max.f16 %h0, %h1, %h2";

const BRAIN: &str = "
    add.bf16x2 %r0, %r1, %r2; sub.bf16x2 %r0, %r1, %r2; mul.bf16x2 %r0, %r1, %r2; fma.rn.bf16x2 %r0, %r1, %r2, %r3;
    fma.rn.relu.bf16x2 %r0, %r1, %r2, %r3; min.bf16x2 %r0, %r1, %r2; max.bf16x2 %r0, %r1, %r2; min.NaN.bf16x2 %r0, %r1, %r2;
    max.NaN.bf16x2 %r0, %r1, %r2; neg.bf16x2 %r0, %r1; abs.bf16x2 %r0, %r1; abs.bf16 %h0, %h1; add.rn.bf16 %h0, %h1, %h2;
    fma.rn.bf16 %h0, %h1, %h2, %h3; min.bf16 %h0, %h1, %h2";

fn functions() -> Vec<Row> {
    vec![
        within("ex2.approx.f32 %f0, %f1", power(-22.0), 0.0, None),
        within("ex2.approx.ftz.f32 %f0, %f1", power(-22.0), 0.0, None),
        within("lg2.approx.f32 %f0, %f1", power(-22.0), power(-22.0), None),
        within("lg2.approx.ftz.f32 %f0, %f1", power(-22.0), power(-22.0), None),
        within("rcp.approx.f32 %f0, %f1", power(-23.0), 0.0, None),
        within("rcp.approx.ftz.f32 %f0, %f1", power(-23.0), 0.0, None),
        within("rsqrt.approx.f32 %f0, %f1", power(-22.9), 0.0, None),
        within("rsqrt.approx.ftz.f32 %f0, %f1", power(-22.9), 0.0, None),
        within("sqrt.approx.f32 %f0, %f1", power(-23.0), 0.0, None),
        within("sqrt.approx.ftz.f32 %f0, %f1", power(-23.0), 0.0, None),
        within("tanh.approx.f32 %f0, %f1", power(-10.987), 0.0, None),
    ]
}

const ROOTS: &str = "
    sqrt.rn.f32 %f0, %f1; sqrt.rn.ftz.f32 %f0, %f1; rcp.rn.f32 %f0, %f1; rcp.rn.ftz.f32 %f0, %f1";

fn circular() -> Vec<Row> {
    // 2^-20.5 within 2π of zero, 2^-14.7 within 100π.
    ["sin.approx.f32 %f0, %f1", "cos.approx.f32 %f0, %f1", "sin.approx.ftz.f32 %f0, %f1", "cos.approx.ftz.f32 %f0, %f1"]
        .map(|t| within(t, 0.0, power(-14.7), None))
        .into()
}

fn half_functions() -> Vec<Row> {
    vec![
        within("ex2.approx.f16x2 %r0, %r1", power(-9.9), 0.0, Some(Kind::F16)),
        within("tanh.approx.f16x2 %r0, %r1", 0.0, power(-10.987), Some(Kind::F16)),
        within("ex2.approx.ftz.bf16x2 %r0, %r2", power(-7.0), 0.0, Some(Kind::BF16)),
        within("tanh.approx.bf16x2 %r0, %r2", power(-8.0), 0.0, Some(Kind::BF16)),
        within("ex2.approx.f16 %h0, %h1", power(-9.9), 0.0, Some(Kind::F16)),
        within("tanh.approx.bf16 %h0, %h2", power(-8.0), 0.0, Some(Kind::BF16)),
    ]
}

/// Halves in a, brain floats in b: the special ones and a walk through all exponents.
fn every_half() -> Vec<[u64; 3]> {
    let mut random = Random(13);
    let special =
        (0..16).map(|i| [u64::from(F16[i]) | u64::from(F16[15 - i]) << 16, u64::from(BF16[i]) | u64::from(BF16[15 - i]) << 16, 0]);
    let walk = (0..160).map(|_| {
        let f = |r: &mut Random| u64::from(r.f16(-14..8)) | u64::from(r.f16(-6..5)) << 16;
        let b = |r: &mut Random| u64::from(r.bf16(-14..8)) | u64::from(r.bf16(-6..5)) << 16;
        [f(&mut random), b(&mut random), 0]
    });
    let walk: Vec<_> = walk.collect();
    special.chain(walk).collect()
}

const INTEGER: &str = "
    add.u16 %h0, %h1, %h2; sub.s16 %h0, %h1, %h2; add.s32 %r0, %r1, %r2; add.sat.s32 %r0, %r1, %r2; sub.sat.s32 %r0, %r1, %r2;
    sub.u32 %r0, %r1, %r2; add.u64 %rd0, %rd1, %rd2; sub.s64 %rd0, %rd1, %rd2; div.s16 %h0, %h1, %h2; div.u16 %h0, %h1, %h2;
    div.s32 %r0, %r1, %r2; div.u32 %r0, %r1, %r2; div.s64 %rd0, %rd1, %rd2; div.u64 %rd0, %rd1, %rd2; rem.s16 %h0, %h1, %h2;
    rem.u16 %h0, %h1, %h2; rem.s32 %r0, %r1, %r2; rem.u32 %r0, %r1, %r2; rem.s64 %rd0, %rd1, %rd2; rem.u64 %rd0, %rd1, %rd2;
    abs.s16 %h0, %h1; abs.s32 %r0, %r1; abs.s64 %rd0, %rd1; neg.s16 %h0, %h1; neg.s32 %r0, %r1; neg.s64 %rd0, %rd1;
    min.s16 %h0, %h1, %h2; min.u16 %h0, %h1, %h2; min.s32 %r0, %r1, %r2; min.u32 %r0, %r1, %r2; min.s64 %rd0, %rd1, %rd2;
    max.u64 %rd0, %rd1, %rd2; max.s32 %r0, %r1, %r2; max.u32 %r0, %r1, %r2; sad.s32 %r0, %r1, %r2, %r3; sad.u32 %r0, %r1, %r2, %r3;
    sad.s64 %rd0, %rd1, %rd2, %rd3; sad.u16 %h0, %h1, %h2, %h3";

/// `mad.hi.sat.s32` is left out: below the least number the assembler of CUDA 13.0 gives the largest, where the manual says the least.
const MULTIPLICATION: &str = "
    mul.lo.s16 %h0, %h1, %h2; mul.hi.s16 %h0, %h1, %h2; mul.hi.u16 %h0, %h1, %h2; mul.wide.s16 %r0, %h1, %h2;
    mul.wide.u16 %r0, %h1, %h2; mul.lo.s32 %r0, %r1, %r2; mul.hi.s32 %r0, %r1, %r2; mul.hi.u32 %r0, %r1, %r2;
    mul.wide.s32 %rd0, %r1, %r2; mul.wide.u32 %rd0, %r1, %r2; mul.lo.s64 %rd0, %rd1, %rd2; mul.hi.s64 %rd0, %rd1, %rd2;
    mul.hi.u64 %rd0, %rd1, %rd2; mad.lo.s16 %h0, %h1, %h2, %h3; mad.hi.u16 %h0, %h1, %h2, %h3; mad.wide.s16 %r0, %h1, %h2, %r3;
    mad.lo.s32 %r0, %r1, %r2, %r3; mad.hi.s32 %r0, %r1, %r2, %r3; mad.hi.u32 %r0, %r1, %r2, %r3; mad.wide.s32 %rd0, %r1, %r2, %rd3;
    mad.wide.u32 %rd0, %r1, %r2, %rd3; mad.lo.u64 %rd0, %rd1, %rd2, %rd3; mad.hi.s64 %rd0, %rd1, %rd2, %rd3;
    mul24.lo.s32 %r0, %r1, %r2; mul24.lo.u32 %r0, %r1, %r2; mul24.hi.s32 %r0, %r1, %r2; mul24.hi.u32 %r0, %r1, %r2;
    mad24.lo.s32 %r0, %r1, %r2, %r3; mad24.hi.u32 %r0, %r1, %r2, %r3; dp4a.s32.s32 %r0, %r1, %r2, %r3; dp4a.u32.u32 %r0, %r1, %r2, %r3;
    dp4a.s32.u32 %r0, %r1, %r2, %r3; dp4a.u32.s32 %r0, %r1, %r2, %r3";

fn integer_comparisons() -> Vec<Row> {
    let mut rows = Vec::new();
    for (ty, class) in [("s16", "%h"), ("u16", "%h"), ("s32", "%r"), ("u32", "%r"), ("s64", "%rd"), ("u64", "%rd")] {
        for c in ["eq", "ne", "lt", "le", "gt", "ge"] {
            rows.push(format!("setp.{c}.{ty} %p0, {class}1, {class}2"));
        }
    }
    rows.extend(["lo", "ls", "hi", "hs"].map(|c| format!("setp.{c}.u32 %p0, %r1, %r2")));
    rows.extend(["setp.eq.b16 %p0, %h1, %h2", "setp.ne.b32 %p0, %r1, %r2", "setp.eq.b64 %p0, %rd1, %rd2"].map(String::from));
    rows.extend(
        ["set.lt.s32.s32 %r0, %r1, %r2", "set.hi.f32.u32 %f0, %r1, %r2", "set.le.or.u32.s64 %r0, %rd1, %rd2, !%p3"].map(String::from),
    );
    exact(&rows.join(";"))
}

const BITS: &str = "
    and.b16 %h0, %h1, %h2; and.b32 %r0, %r1, %r2; or.b64 %rd0, %rd1, %rd2; xor.b32 %r0, %r1, %r2; not.b16 %h0, %h1; not.b64 %rd0, %rd1;
    cnot.b16 %h0, %h1; cnot.b32 %r0, %r1; cnot.b64 %rd0, %rd1; popc.b32 %r0, %r1; popc.b64 %r0, %rd1; clz.b32 %r0, %r1;
    clz.b64 %r0, %rd1; brev.b32 %r0, %r1; brev.b64 %rd0, %rd1; bfind.u32 %r0, %r1; bfind.s32 %r0, %r1; bfind.u64 %r0, %rd1;
    bfind.s64 %r0, %rd1; bfind.shiftamt.u32 %r0, %r1; bfind.shiftamt.s32 %r0, %r1; bfind.shiftamt.u64 %r0, %rd1;
    bfind.shiftamt.s64 %r0, %rd1; lop3.b32 %r0, %r1, %r2, %r3, 0x96; lop3.b32 %r0, %r1, %r2, %r3, 0xe8;
    lop3.b32 %r0, %r1, %r2, %r3, 0x1b; lop3.b32 %r0, %r1, %r2, %r3, 0x40; lop3.b32 %r0, %r1, %r2, %r3, 0xca; and.pred %p0, %p1, %p2;
    or.pred %p0, %p1, %p2; xor.pred %p0, %p1, %p2; not.pred %p0, %p1; selp.b64 %rd0, %rd1, %rd2, %p3";

const SHIFTS: &str = "
    shl.b16 %h0, %h1, %r2; shl.b32 %r0, %r1, %r2; shl.b64 %rd0, %rd1, %r2; shr.u16 %h0, %h1, %r2; shr.s16 %h0, %h1, %r2;
    shr.u32 %r0, %r1, %r2; shr.s32 %r0, %r1, %r2; shr.u64 %rd0, %rd1, %r2; shr.s64 %rd0, %rd1, %r2; shf.l.clamp.b32 %r0, %r1, %r3, %r2;
    shf.l.wrap.b32 %r0, %r1, %r3, %r2; shf.r.clamp.b32 %r0, %r1, %r3, %r2; shf.r.wrap.b32 %r0, %r1, %r3, %r2";

const FIELDS: &str = "
    bfe.u32 %r0, %r1, %r2, %r3; bfe.s32 %r0, %r1, %r2, %r3; bfe.u64 %rd0, %rd1, %r2, %r3; bfe.s64 %rd0, %rd1, %r2, %r3;
    bfi.b32 %r0, %r1, 0x5a5aa5a5, %r2, %r3; bfi.b64 %rd0, %rd1, 0x5a5aa5a55a5aa5a5, %r2, %r3";

/// Values with positions and lengths inside and beyond the width.
fn fields() -> Vec<[u64; 3]> {
    let mut random = Random(14);
    let places = [0u64, 1, 7, 31, 32, 33, 63, 64, 65, 128, 255];
    let all = (0..places.len() * places.len()).map(|i| [random.next(), places[i / places.len()], places[i % places.len()]]);
    all.collect()
}

const PERMUTATIONS: &str = "
    prmt.b32 %r0, %r1, %r2, %r3; prmt.b32.f4e %r0, %r1, %r2, %r3; prmt.b32.b4e %r0, %r1, %r2, %r3; prmt.b32.rc8 %r0, %r1, %r2, %r3;
    prmt.b32.ecl %r0, %r1, %r2, %r3; prmt.b32.ecr %r0, %r1, %r2, %r3; prmt.b32.rc16 %r0, %r1, %r2, %r3";

fn permutations() -> Vec<[u64; 3]> {
    let mut random = Random(15);
    (0..96).map(|i| [random.next(), random.next(), if i < 32 { i } else { random.next() }]).collect()
}

const FROM_INTEGERS: &str = "
    cvt.s32.s8 %r0, %r1; cvt.u32.u8 %r0, %r1; cvt.s32.s16 %r0, %h1; cvt.u32.s16 %r0, %h1; cvt.s64.s32 %rd0, %r1; cvt.u64.s32 %rd0, %r1;
    cvt.s64.u32 %rd0, %r1; cvt.u16.u32 %h0, %r1; cvt.u32.u64 %r0, %rd1; cvt.s8.s32 %r0, %r1; cvt.u8.s32 %r0, %r1; cvt.s8.u32 %h0, %r1;
    cvt.sat.s8.s32 %r0, %r1; cvt.sat.u8.s32 %r0, %r1; cvt.sat.u8.u64 %r0, %rd1; cvt.sat.s16.s32 %h0, %r1; cvt.sat.u16.s64 %h0, %rd1;
    cvt.sat.s32.s64 %r0, %rd1; cvt.sat.u32.s32 %r0, %r1; cvt.sat.s32.u32 %r0, %r1; cvt.sat.u32.s64 %r0, %rd1;
    cvt.sat.s64.u64 %rd0, %rd1; cvt.sat.u64.s64 %rd0, %rd1; cvt.sat.u64.s32 %rd0, %r1; cvt.rn.f32.s32 %f0, %r1;
    cvt.rz.f32.s32 %f0, %r1; cvt.rm.f32.s32 %f0, %r1; cvt.rp.f32.s32 %f0, %r1; cvt.rn.f32.u32 %f0, %r1; cvt.rp.f32.u32 %f0, %r1;
    cvt.rn.f32.s64 %f0, %rd1; cvt.rz.f32.u64 %f0, %rd1; cvt.rm.f32.s64 %f0, %rd1; cvt.rn.f32.u8 %f0, %r1; cvt.rn.f32.s8 %f0, %r1;
    cvt.rn.f32.s16 %f0, %h1; cvt.rn.sat.f32.s32 %f0, %r1; cvt.rn.f64.s32 %d0, %r1; cvt.rn.f64.u32 %d0, %r1; cvt.rn.f64.s64 %d0, %rd1;
    cvt.rz.f64.s64 %d0, %rd1; cvt.rm.f64.s64 %d0, %rd1; cvt.rp.f64.u64 %d0, %rd1; cvt.rn.f64.u64 %d0, %rd1; cvt.rn.f16.s32 %h0, %r1;
    cvt.rz.f16.u32 %h0, %r1; cvt.rp.f16.s64 %h0, %rd1; cvt.rn.f16.u16 %h0, %h1; cvt.rm.f16.s16 %h0, %h1; cvt.rn.bf16.s32 %h0, %r1;
    cvt.rz.bf16.u64 %h0, %rd1; cvt.rp.bf16.s16 %h0, %h1";

/// From a float to every integer, by every rounding to one of them.
fn from_float(from: &str, a: &str) -> Vec<Row> {
    let mut rows: Vec<String> = Vec::new();
    for (to, d) in [("s16", "%h0"), ("u16", "%h0"), ("s32", "%r0"), ("u32", "%r0"), ("s64", "%rd0"), ("u64", "%rd0")] {
        rows.push(format!("cvt.rzi.{to}.{from} {d}, {a}"));
    }
    if from != "bf16" {
        rows.extend(["s8", "u8"].map(|to| format!("cvt.rzi.{to}.{from} %r0, {a}")));
    }
    rows.extend(["rni", "rmi", "rpi"].map(|r| format!("cvt.{r}.s32.{from} %r0, {a}")));
    if from == "f32" {
        rows.extend(["cvt.rzi.ftz.s32.f32 %r0, %f1", "cvt.rpi.ftz.u32.f32 %r0, %f1", "cvt.rpi.u32.f32 %r0, %f1"].map(String::from));
        rows.extend(["cvt.rni.u64.f32 %rd0, %f1", "cvt.rzi.sat.u8.f32 %r0, %f1", "cvt.rzi.sat.s16.f32 %h0, %f1"].map(String::from));
    }
    exact(&rows.join(";"))
}

/// Each value as f32 in a and c, as f64 with further bits in b.
fn with_double(values: &[u32]) -> Vec<[u64; 3]> {
    let mut random = Random(16);
    let wide = |v: u32, noise: u64| (f64::from(f32::from_bits(v)).to_bits()) ^ if f32::from_bits(v).is_finite() { noise } else { 0 };
    let all = values.iter().enumerate();
    all.map(|(i, v)| {
        [u64::from(*v), wide(*v, if i % 2 == 0 { 0 } else { random.below(1 << 29) }), u64::from(values[(i * 7 + 5) % values.len()])]
    })
    .collect()
}

fn half_operands(special: &[u16; 16], seed: u64) -> Vec<[u64; 3]> {
    let mut random = Random(seed);
    let all = special.iter().map(|v| u64::from(*v)).chain((0..112).map(|_| random.next() & 0xffff)).collect::<Vec<_>>();
    all.iter().enumerate().map(|(i, v)| [v | all[(i * 11 + 3) % all.len()] << 16, 0, 0]).collect()
}

const FLOATS: &str = "
    cvt.rn.f16.f32 %h0, %f1; cvt.rz.f16.f32 %h0, %f1; cvt.rn.ftz.f16.f32 %h0, %f1; cvt.rn.sat.f16.f32 %h0, %f1;
    cvt.rn.relu.f16.f32 %h0, %f1; cvt.rn.satfinite.f16.f32 %h0, %f1; cvt.rm.f16.f32 %h0, %f1; cvt.rp.f16.f32 %h0, %f1;
    cvt.rn.bf16.f32 %h0, %f1; cvt.rz.bf16.f32 %h0, %f1; cvt.rn.relu.bf16.f32 %h0, %f1; cvt.rn.satfinite.bf16.f32 %h0, %f1;
    cvt.rn.f16x2.f32 %r0, %f1, %f3; cvt.rz.f16x2.f32 %r0, %f1, %f3; cvt.rn.relu.f16x2.f32 %r0, %f1, %f3;
    cvt.rn.satfinite.f16x2.f32 %r0, %f1, %f3; cvt.rn.bf16x2.f32 %r0, %f1, %f3; cvt.rz.bf16x2.f32 %r0, %f1, %f3;
    cvt.rn.relu.bf16x2.f32 %r0, %f1, %f3; cvt.rna.tf32.f32 %r0, %f1; cvt.rn.tf32.f32 %r0, %f1; cvt.rz.tf32.f32 %r0, %f1;
    cvt.rn.satfinite.e4m3x2.f32 %h0, %f1, %f3; cvt.rn.satfinite.e5m2x2.f32 %h0, %f1, %f3;
    cvt.rn.satfinite.relu.e4m3x2.f32 %h0, %f1, %f3; cvt.f64.f32 %d0, %f1; cvt.ftz.f64.f32 %d0, %f1; cvt.rn.f32.f64 %f0, %d2;
    cvt.rz.f32.f64 %f0, %d2; cvt.rm.f32.f64 %f0, %d2; cvt.rp.f32.f64 %f0, %d2; cvt.rn.ftz.f32.f64 %f0, %d2;
    cvt.rn.sat.f32.f64 %f0, %d2; cvt.rn.f16.f64 %h0, %d2; cvt.rn.bf16.f64 %h0, %d2; cvt.rni.f32.f32 %f0, %f1; cvt.rzi.f32.f32 %f0, %f1;
    cvt.rmi.f32.f32 %f0, %f1; cvt.rpi.f32.f32 %f0, %f1; cvt.rni.ftz.f32.f32 %f0, %f1; cvt.sat.f32.f32 %f0, %f1;
    cvt.ftz.f32.f32 %f0, %f1; cvt.rni.f64.f64 %d0, %d2; cvt.rpi.f64.f64 %d0, %d2; cvt.rzi.sat.f32.f32 %f0, %f1";

const FROM_HALVES: &str = "
    cvt.f32.f16 %f0, %h1; cvt.ftz.f32.f16 %f0, %h1; cvt.sat.f32.f16 %f0, %h1; cvt.f64.f16 %d0, %h1; cvt.rn.bf16.f16 %h0, %h1;
    cvt.rni.f16.f16 %h0, %h1; cvt.rpi.f16.f16 %h0, %h1; cvt.sat.f16.f16 %h0, %h1; cvt.rn.satfinite.e4m3x2.f16x2 %h0, %r1;
    cvt.rn.satfinite.e5m2x2.f16x2 %h0, %r1";

const FROM_BRAINS: &str = "
    cvt.f32.bf16 %f0, %h1; cvt.f64.bf16 %d0, %h1; cvt.rn.f16.bf16 %h0, %h1; cvt.rzi.bf16.bf16 %h0, %h1; cvt.rni.bf16.bf16 %h0, %h1";

const FROM_BYTES: &str = "
    cvt.rn.f16x2.e4m3x2 %r0, %h1; cvt.rn.f16x2.e5m2x2 %r0, %h1; cvt.rn.relu.f16x2.e4m3x2 %r0, %h1";

const ATOMIC_INTEGERS: [&str; 21] = [
    "and.b32", "or.b32", "xor.b32", "exch.b32", "cas.b32", "add.u32", "add.s32", "inc.u32", "dec.u32", "min.s32", "max.s32", "min.u32",
    "max.u32", "and.b64", "exch.b64", "cas.b64", "add.u64", "min.s64", "max.s64", "min.u64", "max.u64",
];

/// What is in memory after an atomic operation of b on a (`cas`: c where a is found), global and shared.
fn atomics(names: &[&str]) -> Vec<Row> {
    let mut rows = Vec::new();
    for name in names {
        let (operation, ty) = name.rsplit_once('.').unwrap_or((name, ""));
        let (class, bits) = match ty {
            "f32" => ("%f", "f32"),
            "f64" => ("%d", "f64"),
            "f16" | "bf16" => ("%h", "b16"),
            _ if ty.ends_with("64") => ("%rd", "b64"),
            _ => ("%r", "b32"),
        };
        for (space, at) in [("global", "%rd11"), ("shared", "%r11")] {
            let operands = if operation == "cas" { format!("{class}2, {class}3") } else { format!("{class}2") };
            // Assemblers of CUDA 13.0 take the upper half of an operand that was taken apart from a wrong register: it is loaded anew.
            let (load, operands) = match (space, ty) {
                ("shared", "f16x2" | "bf16x2") => ("ld.global.b32 %r12, [%rd20+8]; ", "%r12".into()),
                _ => ("", operands),
            };
            rows.push(format!(
                "{load}st.{space}.{bits} [{at}], {class}1; atom.{space}.{name} {class}5, [{at}], {operands}; ld.{space}.{bits} {class}0, [{at}]"
            ));
        }
        if !matches!(operation, "cas" | "exch") {
            rows.push(format!(
                "st.global.{bits} [%rd11], {class}1; red.relaxed.gpu.global.{name} [%rd11], {class}2; ld.global.{bits} {class}0, [%rd11]"
            ));
        }
    }
    rows.push("st.global.b64 [%rd11], %rd1; atom.global.add.u64 %rd0, [%rd11], %rd2".into());
    rows.into_iter().map(|text| Row { text, bound: Bound::Exact, kind: None }).collect()
}
