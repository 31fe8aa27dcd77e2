//! Instructions of one lane on floats.
//!
//! Bounds of approximate functions are those of PTX ISA 9.0, chapter 9.7.3 (f32) and 9.7.4 (halves). The interpreter rounds the exact value.
//! On these operands an H100 differs from it by at most
//!
//! - one unit in the last place: `div.full`, `div.approx`, `ex2`, `rcp`, `rsqrt`, `sqrt`, `ex2` and `tanh` of halves;
//! - half of the bound: `lg2`;
//! - 0.85 of the bound: `sin`, `cos`;
//! - 2⁻¹⁶·⁸ of the value, 0.018 of the bound: `tanh` of f32.

use super::lane::{Row, case, exact};
use super::operands::{angles, bf16s, doubles, every_half, f16s, line, quotients, singles};
use super::{Bound, Case, Kind};

fn within(text: &str, relative: f64, absolute: f64, kind: Option<Kind>) -> Row {
    Row { text: text.into(), bound: Bound::Within { relative, absolute }, kind }
}

fn power(exponent: f64) -> f64 {
    exponent.exp2()
}

pub fn cases() -> Vec<Case> {
    vec![
        case("f32_rounding", &exact(SINGLE_ROUNDING), &singles()),
        case("f32_modifiers", &exact(SINGLE_MODIFIERS), &singles()),
        case("f32_choice", &exact(SINGLE_CHOICE), &singles()),
        case("f32_division", &division(), &singles()),
        case("f32_division_wide", &division(), &quotients()),
        case("f32_comparison", &comparisons("f32", "%f"), &singles()),
        case("f64_arithmetic", &exact(DOUBLE), &doubles()),
        case("f64_comparison", &comparisons("f64", "%d"), &doubles()),
        case("f16_arithmetic", &exact(HALF), &f16s()),
        case("bf16_arithmetic", &exact(BRAIN), &bf16s()),
        case("f16_comparison", &comparisons("f16", "%h"), &f16s()),
        case("bf16_comparison", &comparisons("bf16", "%h"), &bf16s()),
        case("functions", &functions(), &line()),
        case("roots", &exact(ROOTS), &line()),
        case("angles", &circular(), &angles()),
        case("half_functions", &half_functions(), &every_half()),
    ]
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
    ["sin.approx.f32 %f0, %f1", "cos.approx.f32 %f0, %f1", "sin.approx.ftz.f32 %f0, %f1", "cos.approx.ftz.f32 %f0, %f1"]
        .map(|text| Row { text: text.into(), bound: Bound::Circular, kind: None })
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
