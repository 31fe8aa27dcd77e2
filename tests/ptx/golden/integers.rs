//! Instructions of one lane on integers and bits.

use super::Case;
use super::lane::{Row, case, exact};
use super::operands::{fields, integers, permutations};

pub fn cases() -> Vec<Case> {
    vec![
        case("integer_arithmetic", &exact(INTEGER), &integers()),
        case("integer_multiplication", &exact(MULTIPLICATION), &integers()),
        case("integer_comparison", &integer_comparisons(), &integers()),
        case("bits", &exact(BITS), &integers()),
        case("shifts", &exact(SHIFTS), &integers()),
        case("fields", &exact(FIELDS), &fields()),
        case("permutations", &exact(PERMUTATIONS), &permutations()),
    ]
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

const PERMUTATIONS: &str = "
    prmt.b32 %r0, %r1, %r2, %r3; prmt.b32.f4e %r0, %r1, %r2, %r3; prmt.b32.b4e %r0, %r1, %r2, %r3; prmt.b32.rc8 %r0, %r1, %r2, %r3;
    prmt.b32.ecl %r0, %r1, %r2, %r3; prmt.b32.ecr %r0, %r1, %r2, %r3; prmt.b32.rc16 %r0, %r1, %r2, %r3";
