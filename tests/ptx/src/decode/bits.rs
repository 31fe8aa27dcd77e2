//! Bits: logic, shifts, fields, permutations.

use super::integer::{binary, ternary, unary};
use super::line::{Decoded, Line};
use crate::instruction::{Logic, Op, PredicateSource, map1, map2, map3, map4};
use crate::types::{Kind, Type, mask, sign_extend};

pub(crate) fn decode(line: &Line) -> Decoded<Option<Op>> {
    Ok(Some(match line.base {
        "popc" | "clz" | "brev" | "cnot" | "bfind" => bits(line)?,
        "bfe" | "bfi" => field(line)?,
        "and" | "or" | "xor" | "not" => logic(line)?,
        "lop3" => lookup(line)?,
        "shl" | "shr" => shift(line)?,
        "shf" => funnel(line)?,
        "prmt" => permute(line)?,
        _ => return Ok(None),
    }))
}

fn bits(line: &Line) -> Decoded<Op> {
    let amount = line.base == "bfind" && line.flag("shiftamt");
    let ty = line.ty()?;
    let (m, w, signed) = (ty.mask(), ty.width(), ty.is_signed());
    if line.base != "cnot" && w < 32 {
        return line.error("32 or 64 bits are expected");
    }
    let (to, f) = match line.base {
        "popc" => (Type::U32, map1(move |a| u64::from((a & m).count_ones()))),
        "clz" => (Type::U32, map1(move |a| u64::from((a & m).leading_zeros() - (64 - w)))),
        "brev" => (ty, map1(move |a| a.reverse_bits() >> (64 - w))),
        "cnot" => (ty, map1(move |a| u64::from(a & m == 0))),
        _ => (
            Type::U32,
            map1(move |a| {
                let a = if signed && sign_extend(a, w) < 0 { !a & m } else { a & m };
                match a {
                    0 => 0xffff_ffff,
                    _ if amount => u64::from(a.leading_zeros() - (64 - w)),
                    _ => u64::from(63 - a.leading_zeros()),
                }
            }),
        ),
    };
    unary(line, to, ty, f)
}

fn field(line: &Line) -> Decoded<Op> {
    let ty = line.ty()?;
    let (m, w, signed) = (ty.mask(), ty.width(), ty.is_signed());
    if line.base == "bfe" {
        let f = map3(move |a, b, c| {
            let (position, length) = (b as u32 & 0xff, c as u32 & 0xff);
            let sign_at = (position + length).saturating_sub(1).min(w - 1);
            let sign = signed && length > 0 && a >> sign_at & 1 == 1;
            let value = if position >= w { 0 } else { (a & m) >> position };
            let taken = length.min(w.saturating_sub(position));
            let low = value & mask(taken);
            if sign { (low | !mask(taken)) & m } else { low }
        });
        line.finish(4)?;
        return Ok(Op::Map3 { f, d: line.d(ty)?, a: line.source(1, ty)?, b: line.source(2, Type::U32)?, c: line.source(3, Type::U32)? });
    }
    let f = map4(move |[a, b, position, length]| {
        let (position, length) = (position as u32 & 0xff, length as u32 & 0xff);
        if position >= w {
            return b & m;
        }
        let hole = (mask(length.min(w)) << position) & m;
        b & m & !hole | a << position & hole
    });
    line.finish(5)?;
    let operands = [line.source(1, ty)?, line.source(2, ty)?, line.source(3, Type::U32)?, line.source(4, Type::U32)?];
    Ok(Op::Map4 { f, d: line.d(ty)?, operands: Box::new(operands) })
}

fn constant(line: &Line, i: usize) -> Option<u64> {
    match line.operand(i) {
        Ok(crate::parse::Operand::Integer(value)) => Some(*value as u64),
        _ => None,
    }
}

fn logic(line: &Line) -> Decoded<Op> {
    let ty = line.ty()?;
    if ty == Type::PRED {
        let kind = match line.base {
            "and" => Logic::And,
            "or" => Logic::Or,
            _ => Logic::Xor,
        };
        let unary = line.base == "not";
        line.finish(if unary { 2 } else { 3 })?;
        let b = if unary { PredicateSource::Constant(true) } else { line.predicate(line.operand(2)?)? };
        return Ok(Op::PredicateLogic { d: line.d(ty)?, a: line.predicate(line.operand(1)?)?, b, logic: kind });
    }
    if ty.kind != Kind::Bits || ty.width() < 16 {
        return line.error("`.pred`, `.b16`, `.b32` or `.b64` is expected");
    }
    let m = ty.mask();
    match line.base {
        "and" => binary(line, ty, map2(|a, b| a & b)),
        "or" => binary(line, ty, map2(|a, b| a | b)),
        "xor" => binary(line, ty, map2(|a, b| a ^ b)),
        _ => unary(line, ty, ty, map1(move |a| !a & m)),
    }
}

fn lookup(line: &Line) -> Decoded<Op> {
    if line.ty()? != Type::B32 {
        return line.error("`.b32` is expected");
    }
    line.finish(5)?;
    let Some(table) = constant(line, 4) else { return line.error("the table must be a constant") };
    let f = map3(move |a, b, c| {
        (0..8u64).filter(|i| table >> i & 1 == 1).fold(0, |sum, i| {
            let pick = |v: u64, bit: u64| if i >> bit & 1 == 1 { v } else { !v };
            sum | pick(a, 2) & pick(b, 1) & pick(c, 0) & 0xffff_ffff
        })
    });
    let ty = Type::B32;
    Ok(Op::Map3 { f, d: line.d(ty)?, a: line.source(1, ty)?, b: line.source(2, ty)?, c: line.source(3, ty)? })
}

fn shift(line: &Line) -> Decoded<Op> {
    let ty = line.ty()?;
    let (m, w, signed) = (ty.mask(), ty.width(), ty.is_signed());
    // Amounts beyond the width are clamped to it.
    let f = match (line.base, signed) {
        ("shl", _) => map2(move |a, b| if b as u32 >= w { 0 } else { a << (b as u32) & m }),
        (_, true) => map2(move |a, b| (sign_extend(a, w) >> (b as u32).min(w - 1)) as u64 & m),
        _ => map2(move |a, b| if b as u32 >= w { 0 } else { (a & m) >> (b as u32) }),
    };
    line.finish(3)?;
    Ok(Op::Map2 { f, d: line.d(ty)?, a: line.source(1, ty)?, b: line.source(2, Type::U32)? })
}

fn funnel(line: &Line) -> Decoded<Op> {
    let left = match line.one_of(&["l", "r"]) {
        Some(side) => side == "l",
        None => return line.error("`.l` or `.r` is expected"),
    };
    let wrap = match line.one_of(&["clamp", "wrap"]) {
        Some(mode) => mode == "wrap",
        None => return line.error("`.clamp` or `.wrap` is expected"),
    };
    let ty = line.ty()?;
    if ty != Type::B32 {
        return line.error("`.b32` is expected");
    }
    let f = map3(move |a, b, c| {
        let n = if wrap { c as u32 & 31 } else { (c as u32).min(32) };
        let pair = (b & 0xffff_ffff) << 32 | a & 0xffff_ffff;
        if left { (u128::from(pair) << n >> 32) as u64 & 0xffff_ffff } else { pair >> n & 0xffff_ffff }
    });
    line.finish(4)?;
    Ok(Op::Map3 { f, d: line.d(ty)?, a: line.source(1, ty)?, b: line.source(2, ty)?, c: line.source(3, Type::U32)? })
}

fn permute(line: &Line) -> Decoded<Op> {
    let ty = Type::B32;
    if line.ty()? != ty {
        return line.error("`.b32` is expected");
    }
    let mode = line.one_of(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]);
    let f = map3(move |a, b, c| {
        let bytes = (b & 0xffff_ffff) << 32 | a & 0xffff_ffff;
        let byte = |i: u64| bytes >> (8 * (i & 7)) & 0xff;
        let low = c & 3;
        (0..4u64).fold(0, |d, i| {
            let picked = match mode {
                None => {
                    let selector = c >> (4 * i) & 0xf;
                    let value = byte(selector);
                    if selector & 8 == 0 {
                        value
                    } else if value & 0x80 != 0 {
                        0xff
                    } else {
                        0
                    }
                }
                Some("f4e") => byte(low + i),
                Some("b4e") => byte(low.wrapping_sub(i)),
                Some("rc8") => byte(low),
                Some("ecl") => byte(low.max(i)),
                Some("ecr") => byte(low.min(i)),
                _ => byte((low & 1) * 2 + (i & 1)),
            };
            d | picked << (8 * i)
        })
    });
    ternary(line, ty, f)
}
