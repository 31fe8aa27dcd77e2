//! `atom`, `red` and the functions they share with `redux`.

use super::control::space;
use super::half::format_of;
use super::line::{Decoded, Line};
use super::memory::order;
use crate::instruction::{Op, Order, Source, Update, WARP};
use crate::numbers::{Rounding, add_odd, f32_bits, f32_of, f64_bits, f64_result, flush};
use crate::parse::{Operand, Space};
use crate::types::{Kind, Type, sign_extend};

pub(crate) fn decode(line: &Line) -> Decoded<Option<Op>> {
    let returns = match line.base {
        "atom" => true,
        "red" => false,
        _ => return Ok(None),
    };
    if line.has("async") {
        return line.error("`red.async` is not supported");
    }
    let order = Order { strong: true, ..order(line) };
    line.all(|m| matches!(m, "cta" | "cluster" | "gpu" | "sys").then_some(()));
    let space = space(line);
    if !matches!(space, Space::Global | Space::Shared | Space::Generic) {
        return line.error("atomics work in global and shared memory");
    }
    line.flag("noftz");
    let Some(name) = line.one_of(&["and", "or", "xor", "cas", "exch", "add", "inc", "dec", "min", "max"]) else {
        return line.error("the operation is missing");
    };
    let ty = line.ty()?;
    let Some(f) = update(name, ty) else { return line.error(format!("`.{name}` does not work on {ty}")) };
    if !returns && matches!(name, "cas" | "exch") {
        return line.error("`red` has no such operation");
    }
    let first = usize::from(returns);
    line.finish(first + if name == "cas" { 3 } else { 2 })?;
    let d = if !returns || *line.operand(0)? == Operand::Sink { None } else { Some(line.d(ty)?) };
    let a = line.source(first + 1, ty)?;
    let b = if name == "cas" { line.source(first + 2, ty)? } else { Source::Immediate(Box::new([0; WARP])) };
    let in_global = if name == "add" { global_add(ty) } else { None };
    Ok(Some(Op::Atomic { bytes: ty.bytes(), f, in_global, d, at: line.address(first, space)?, a, b, order }))
}

/// Additions that global memory does by itself: subnormal f32 become zeros there, and a NaN of f64 stays as it is.
fn global_add(ty: Type) -> Option<Update> {
    Some(match ty {
        Type::F32 => Box::new(|old, a, _| f32_bits(flush(flush(f32_of(old), true) + flush(f32_of(a), true), true))),
        Type::F64 => Box::new(|old, a, _| {
            let given = [a, old].into_iter().find(|v| f64::from_bits(*v).is_nan());
            given.unwrap_or_else(|| f64_bits(f64::from_bits(old) + f64::from_bits(a)))
        }),
        _ => return None,
    })
}

/// Old value, operand (and new value of `cas`) → new value.
pub(crate) fn update(name: &str, ty: Type) -> Option<Update> {
    let (w, m) = (ty.width(), ty.mask());
    let integer = ty.is_integer() && w >= 32;
    let bits = ty.kind == Kind::Bits && w >= 32;
    let s = move |v| sign_extend(v, w);
    Some(match name {
        "and" if bits => Box::new(|old, a, _| old & a),
        "or" if bits => Box::new(|old, a, _| old | a),
        "xor" if bits => Box::new(|old, a, _| old ^ a),
        "exch" if bits => Box::new(|_, a, _| a),
        "cas" if bits || ty == Type::B16 => Box::new(|old, a, b| if old == a { b } else { old }),
        "add" if integer => Box::new(move |old, a, _| old.wrapping_add(a) & m),
        "inc" if ty == Type::U32 => Box::new(|old, a, _| if old >= a { 0 } else { old + 1 }),
        "dec" if ty == Type::U32 => Box::new(|old, a, _| if old == 0 || old > a { a } else { old - 1 }),
        "min" if integer && ty.is_signed() => Box::new(move |old, a, _| s(old).min(s(a)) as u64 & m),
        "max" if integer && ty.is_signed() => Box::new(move |old, a, _| s(old).max(s(a)) as u64 & m),
        "min" if integer => Box::new(|old, a, _| old.min(a)),
        "max" if integer => Box::new(|old, a, _| old.max(a)),
        "add" if ty == Type::F32 => Box::new(|old, a, _| f32_bits(f32_of(old) + f32_of(a))),
        "add" if ty == Type::F64 => Box::new(|old, a, _| f64_result(f64::from_bits(old) + f64::from_bits(a), &[old, a])),
        "add" => {
            let format = format_of(ty)?;
            Box::new(move |old, a, _| {
                (0..ty.packed).fold(0, |d, i| {
                    let one = |v: u64| format.decode(v >> (16 * i) & 0xffff);
                    d | format.encode(add_odd(one(old), one(a)), Rounding::Nearest, false) << (16 * i)
                })
            })
        }
        _ => return None,
    })
}
