//! Integer arithmetic.

use super::line::{Decoded, Line};
use crate::instruction::{Function1, Function2, Function3, Op, map1, map2, map3};
use crate::types::{Type, mask, sign_extend};

pub(crate) fn decode(line: &Line) -> Decoded<Option<Op>> {
    Ok(Some(match line.base {
        "add" | "sub" | "div" | "rem" | "min" | "max" if integer(line) => arithmetic(line)?,
        "abs" | "neg" if integer(line) => sign(line)?,
        "mul" | "mad" if integer(line) => multiply(line)?,
        "mul24" | "mad24" => multiply24(line)?,
        "sad" => {
            let ty = line.ty()?;
            let (m, w, signed) = (ty.mask(), ty.width(), ty.is_signed());
            ternary(line, ty, map3(move |a, b, c| c.wrapping_add(distance(a, b, w, signed)) & m))?
        }
        "dp4a" => dot(line)?,
        _ => return Ok(None),
    }))
}

/// Whether the last type of the opcode is an integer.
fn integer(line: &Line) -> bool {
    let last = line.statement.opcode.rsplit('.').next().and_then(Type::parse);
    last.is_some_and(|t| t.is_integer() && t.width() >= 16)
}

pub(crate) fn unary(line: &Line, to: Type, from: Type, f: Function1) -> Decoded<Op> {
    line.finish(2)?;
    Ok(Op::Map1 { f, d: line.d(to)?, a: line.source(1, from)? })
}

pub(crate) fn binary(line: &Line, ty: Type, f: Function2) -> Decoded<Op> {
    line.finish(3)?;
    Ok(Op::Map2 { f, d: line.d(ty)?, a: line.source(1, ty)?, b: line.source(2, ty)? })
}

pub(crate) fn ternary(line: &Line, ty: Type, f: Function3) -> Decoded<Op> {
    line.finish(4)?;
    Ok(Op::Map3 { f, d: line.d(ty)?, a: line.source(1, ty)?, b: line.source(2, ty)?, c: line.source(3, ty)? })
}

fn arithmetic(line: &Line) -> Decoded<Op> {
    if line.has("cc") {
        return line.error("carry (`.cc`) is not supported");
    }
    let saturate = matches!(line.base, "add" | "sub") && line.flag("sat");
    let ty = line.ty()?;
    if saturate && ty != Type::S32 {
        return line.error("`.sat` needs `.s32`");
    }
    let (m, w) = (ty.mask(), ty.width());
    let s = move |v| sign_extend(v, w);
    let clamp = |v: i64| v.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as u64 & 0xffff_ffff;
    let f = match (line.base, ty.is_signed()) {
        ("add", _) if saturate => map2(move |a, b| clamp(s(a) + s(b))),
        ("sub", _) if saturate => map2(move |a, b| clamp(s(a) - s(b))),
        ("add", _) => map2(move |a, b| a.wrapping_add(b) & m),
        ("sub", _) => map2(move |a, b| a.wrapping_sub(b) & m),
        // Division by zero and its remainder give all ones, as the hardware's sequences do.
        ("div", true) => map2(move |a, b| if b & m == 0 { m } else { s(a).wrapping_div(s(b)) as u64 & m }),
        ("div", false) => map2(move |a, b| (a & m).checked_div(b & m).unwrap_or(m)),
        ("rem", true) => map2(move |a, b| if b & m == 0 { m } else { s(a).wrapping_rem(s(b)) as u64 & m }),
        ("rem", false) => map2(move |a, b| (a & m).checked_rem(b & m).unwrap_or(m)),
        ("min", true) => map2(move |a, b| s(a).min(s(b)) as u64 & m),
        ("min", false) => map2(move |a, b| (a & m).min(b & m)),
        ("max", true) => map2(move |a, b| s(a).max(s(b)) as u64 & m),
        _ => map2(move |a, b| (a & m).max(b & m)),
    };
    binary(line, ty, f)
}

fn sign(line: &Line) -> Decoded<Op> {
    let ty = line.ty()?;
    if !ty.is_signed() {
        return line.error("a signed type is expected");
    }
    let (m, w) = (ty.mask(), ty.width());
    let f = match line.base {
        "abs" => map1(move |a| sign_extend(a, w).wrapping_abs() as u64 & m),
        _ => map1(move |a| a.wrapping_neg() & m),
    };
    unary(line, ty, ty, f)
}

fn distance(a: u64, b: u64, w: u32, signed: bool) -> u64 {
    let wide = |v| if signed { i128::from(sign_extend(v, w)) } else { i128::from(v & mask(w)) };
    wide(a).abs_diff(wide(b)) as u64
}

fn multiply(line: &Line) -> Decoded<Op> {
    if line.has("cc") {
        return line.error("carry (`.cc`) is not supported");
    }
    let Some(part) = line.one_of(&["lo", "hi", "wide"]) else { return line.error("one of `.lo`, `.hi`, `.wide` is expected") };
    let saturate = line.base == "mad" && line.flag("sat");
    let ty = line.ty()?;
    let (m, w, signed) = (ty.mask(), ty.width(), ty.is_signed());
    if saturate && (ty != Type::S32 || part != "hi") {
        return line.error("`.sat` needs `.hi.s32`");
    }
    if part == "wide" && w > 32 {
        return line.error("`.wide` needs 16 or 32 bits");
    }
    let full = move |a, b| match signed {
        true => (i128::from(sign_extend(a, w)) * i128::from(sign_extend(b, w))) as u128,
        false => u128::from(a & m) * u128::from(b & m),
    };
    let wide = Type { bits: w * 2, ..ty };
    let to = if part == "wide" { wide } else { ty };
    let result = to.mask();
    if line.base == "mul" {
        let f = match (part, signed) {
            ("hi", _) => map2(move |a, b| (full(a, b) >> w) as u64 & m),
            ("wide", true) => map2(move |a, b| sign_extend(a, w).wrapping_mul(sign_extend(b, w)) as u64 & result),
            ("wide", false) => map2(move |a, b| (a & m).wrapping_mul(b & m) & result),
            _ => map2(move |a, b| a.wrapping_mul(b) & result),
        };
        line.finish(3)?;
        return Ok(Op::Map2 { f, d: line.d(to)?, a: line.source(1, ty)?, b: line.source(2, ty)? });
    }
    let f = match (part, signed) {
        ("hi", _) if saturate => map3(move |a, b, c| {
            let sum = sign_extend((full(a, b) >> w) as u64, 32) + sign_extend(c, 32);
            sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as u64 & m
        }),
        ("hi", _) => map3(move |a, b, c| ((full(a, b) >> w) as u64).wrapping_add(c) & m),
        ("wide", true) => map3(move |a, b, c| (sign_extend(a, w).wrapping_mul(sign_extend(b, w)) as u64).wrapping_add(c) & result),
        ("wide", false) => map3(move |a, b, c| (a & m).wrapping_mul(b & m).wrapping_add(c) & result),
        _ => map3(move |a, b, c| a.wrapping_mul(b).wrapping_add(c) & result),
    };
    line.finish(4)?;
    Ok(Op::Map3 { f, d: line.d(to)?, a: line.source(1, ty)?, b: line.source(2, ty)?, c: line.source(3, to)? })
}

fn multiply24(line: &Line) -> Decoded<Op> {
    let Some(part) = line.one_of(&["lo", "hi"]) else { return line.error("one of `.lo`, `.hi` is expected") };
    let ty = line.ty()?;
    if ty.width() != 32 || !ty.is_integer() {
        return line.error("`.u32` or `.s32` is expected");
    }
    let (signed, shift) = (ty.is_signed(), if part == "hi" { 16 } else { 0 });
    let product = move |a, b| match signed {
        true => ((sign_extend(a, 24) * sign_extend(b, 24)) >> shift) as u64 & 0xffff_ffff,
        false => (((a & 0xff_ffff) * (b & 0xff_ffff)) >> shift) & 0xffff_ffff,
    };
    match line.base {
        "mul24" => binary(line, ty, map2(product)),
        _ => ternary(line, ty, map3(move |a, b, c| product(a, b).wrapping_add(c) & 0xffff_ffff)),
    }
}

fn dot(line: &Line) -> Decoded<Op> {
    let [a, b] = line.types()[..] else { return line.error("two types are expected") };
    let (sa, sb) = (a.is_signed(), b.is_signed());
    let f = map3(move |x, y, c| {
        let byte = |v: u64, i: u64, signed| if signed { sign_extend(v >> (8 * i), 8) } else { (v >> (8 * i) & 0xff) as i64 };
        (0..4).fold(c as i64, |sum, i| sum.wrapping_add(byte(x, i, sa) * byte(y, i, sb))) as u64 & 0xffff_ffff
    });
    line.finish(4)?;
    let to = if sa || sb { Type::S32 } else { Type::U32 };
    Ok(Op::Map3 { f, d: line.d(to)?, a: line.source(1, Type::B32)?, b: line.source(2, Type::B32)?, c: line.source(3, to)? })
}
