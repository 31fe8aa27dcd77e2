//! Comparisons and selections.

use super::line::{Decoded, Line};
use crate::instruction::{Logic, Op, PredicateSource, Relation, map3, relation};
use crate::numbers::{f32_of, flush};
use crate::parse::Operand;
use crate::types::{Kind, Type, sign_extend};
use std::cmp::Ordering;

pub(crate) fn decode(line: &Line) -> Decoded<Option<Op>> {
    Ok(Some(match line.base {
        "setp" => set_predicate(line)?,
        "set" => set_value(line)?,
        "selp" => {
            let ty = line.ty()?;
            line.finish(4)?;
            Op::Select { d: line.d(ty)?, a: line.source(1, ty)?, b: line.source(2, ty)?, p: line.predicate(line.operand(3)?)? }
        }
        "slct" => {
            let ftz = line.flag("ftz");
            let [ty, by] = line.types()[..] else { return line.error("two types are expected") };
            line.finish(4)?;
            let f = match by {
                Type::S32 => map3(|a, b, c| if sign_extend(c, 32) >= 0 { a } else { b }),
                Type::F32 => map3(move |a, b, c| if flush(f32_of(c), ftz) >= 0.0 { a } else { b }),
                _ => return line.error("the selector must be `.s32` or `.f32`"),
            };
            Op::Map3 { f, d: line.d(ty)?, a: line.source(1, ty)?, b: line.source(2, ty)?, c: line.source(3, by)? }
        }
        _ => return Ok(None),
    }))
}

const COMPARISONS: [&str; 18] =
    ["eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];

/// The relation of `comparison` on values of type `ty`; for packed halves, of the element at `part`.
fn compare(line: &Line, comparison: &'static str, ty: Type, ftz: bool, part: u32) -> Decoded<Relation> {
    let float = !matches!(ty.kind, Kind::Bits | Kind::Signed | Kind::Unsigned);
    let unordered = matches!(comparison, "equ" | "neu" | "ltu" | "leu" | "gtu" | "geu" | "nan");
    if !float && (unordered || comparison == "num") || float && matches!(comparison, "lo" | "ls" | "hi" | "hs") {
        return line.error(format!("`.{comparison}` does not compare {ty}"));
    }
    if ty.kind == Kind::Bits && !matches!(comparison, "eq" | "ne") {
        return line.error(format!("{ty} can only be compared for equality"));
    }
    if !matches!(ty.bits, 16 | 32 | 64) {
        return line.error(format!("{ty} is not compared"));
    }
    // Whether the relation holds for: less, equal, greater, unordered.
    let (less, equal, greater, neither) = match comparison {
        "eq" => (false, true, false, false),
        "ne" => (true, false, true, false),
        "lt" | "lo" => (true, false, false, false),
        "le" | "ls" => (true, true, false, false),
        "gt" | "hi" => (false, false, true, false),
        "ge" | "hs" => (false, true, true, false),
        "equ" => (false, true, false, true),
        "neu" => (true, false, true, true),
        "ltu" => (true, false, false, true),
        "leu" => (true, true, false, true),
        "gtu" => (false, false, true, true),
        "geu" => (false, true, true, true),
        "num" => (true, true, true, false),
        _ => (false, false, false, true),
    };
    let holds = move |order: Option<Ordering>| match order {
        Some(Ordering::Less) => less,
        Some(Ordering::Equal) => equal,
        Some(Ordering::Greater) => greater,
        None => neither,
    };
    let (w, m) = (ty.bits, crate::types::mask(ty.bits));
    let signed = ty.is_signed() && !matches!(comparison, "lo" | "ls" | "hi" | "hs");
    let shift = part * 16;
    Ok(match ty {
        Type::F32 => relation(move |a, b| holds(flush(f32_of(a), ftz).partial_cmp(&flush(f32_of(b), ftz)))),
        Type::F64 => relation(move |a, b| holds(f64::from_bits(a).partial_cmp(&f64::from_bits(b)))),
        _ if float => match super::half::format_of(ty) {
            Some(format) => {
                relation(move |a, b| holds(format.decode(a >> shift & 0xffff).partial_cmp(&format.decode(b >> shift & 0xffff))))
            }
            None => return line.error(format!("{ty} is not compared")),
        },
        _ if signed => relation(move |a, b| holds(Some(sign_extend(a, w).cmp(&sign_extend(b, w))))),
        _ => relation(move |a, b| holds(Some((a & m).cmp(&(b & m))))),
    })
}

fn combination(line: &Line) -> Option<Logic> {
    match line.one_of(&["and", "or", "xor"])? {
        "and" => Some(Logic::And),
        "or" => Some(Logic::Or),
        _ => Some(Logic::Xor),
    }
}

fn set_predicate(line: &Line) -> Decoded<Op> {
    let Some(comparison) = line.one_of(&COMPARISONS) else { return line.error("the comparison is missing") };
    let logic = combination(line);
    let ftz = line.flag("ftz");
    let ty = line.ty()?;
    line.finish(if logic.is_some() { 4 } else { 3 })?;
    if ty.packed > 1 {
        return line.error("packed comparisons are not supported");
    }
    let slot = |operand: &Operand| if *operand == Operand::Sink { Ok(None) } else { line.to(operand, Type::PRED).map(Some) };
    let (p, q) = match line.operand(0)? {
        Operand::Pair(p, q) => (slot(p)?, slot(q)?),
        single => (slot(single)?, None),
    };
    let combine = match logic {
        Some(logic) => Some((logic, line.predicate(line.operand(3)?)?)),
        None => None,
    };
    Ok(Op::Compare { f: compare(line, comparison, ty, ftz, 0)?, a: line.source(1, ty)?, b: line.source(2, ty)?, p, q, combine })
}

fn set_value(line: &Line) -> Decoded<Op> {
    let Some(comparison) = line.one_of(&COMPARISONS) else { return line.error("the comparison is missing") };
    let logic = combination(line);
    let ftz = line.flag("ftz");
    let [to, ty] = line.types()[..] else { return line.error("two types are expected") };
    line.finish(if logic.is_some() { 4 } else { 3 })?;
    let yes = match to {
        Type::F32 => u64::from(1f32.to_bits()),
        Type { kind: Kind::Signed | Kind::Unsigned, bits: 32, .. } => 0xffff_ffff,
        Type { kind: Kind::Signed | Kind::Unsigned, bits: 16, .. } => 0xffff,
        Type::F16 => 0x3c00,
        Type::BF16 => 0x3f80,
        _ => return line.error(format!("a result of type {to} is not supported")),
    };
    if ty.packed > 1 {
        return line.error("packed comparisons are not supported");
    }
    let combine: Option<(Logic, PredicateSource)> = match logic {
        Some(logic) => Some((logic, line.predicate(line.operand(3)?)?)),
        None => None,
    };
    let f = compare(line, comparison, ty, ftz, 0)?;
    Ok(Op::CompareValue { f, a: line.source(1, ty)?, b: line.source(2, ty)?, d: line.d(to)?, yes, combine })
}
