//! Conversions between all types.

use super::Case;
use super::lane::{Row, case, exact};
use super::operands::{convertible, half_operands, integers, with_double};
use super::values::{BF16, F16};

pub fn cases() -> Vec<Case> {
    vec![
        case("convert_integers", &exact(FROM_INTEGERS), &integers()),
        case("convert_f32_to_integers", &from_float("f32", "%f1"), &with_double(&convertible())),
        case("convert_f64_to_integers", &from_float("f64", "%d2"), &with_double(&convertible())),
        case("convert_f16_to_integers", &from_float("f16", "%h1"), &half_operands(&F16, 9)),
        case("convert_bf16_to_integers", &from_float("bf16", "%h1"), &half_operands(&BF16, 10)),
        case("convert_floats", &exact(FLOATS), &with_double(&convertible())),
        case("convert_halves", &exact(FROM_HALVES), &half_operands(&F16, 11)),
        case("convert_brains", &exact(FROM_BRAINS), &half_operands(&BF16, 12)),
        case("convert_bytes", &exact(FROM_BYTES), &(0..256).map(|i| [i | (255 - i) << 8, 0, 0]).collect::<Vec<_>>()),
    ]
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
