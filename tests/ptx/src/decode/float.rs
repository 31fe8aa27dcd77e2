//! f32 and f64 arithmetic and the approximate functions.
//!
//! Approximations are computed to f64 and rounded: results are better than the hardware's, so compare with tolerances.

use super::line::{Decoded, Line};
use crate::instruction::{Op, Relation, map1, map2, map3, relation};
use crate::numbers::{F32, Rounding, add_towards, f32_bits, f32_of, f64_result, flush, flush_exact};
use crate::types::Type;

/// Modifiers of a float instruction.
#[derive(Clone, Copy)]
struct Style {
    ftz: bool,
    sat: bool,
}

impl Style {
    fn read(self, bits: u64) -> f32 {
        flush(f32_of(bits), self.ftz)
    }

    /// Flushes an exact result.
    fn flush(self, value: f64, rounding: Rounding) -> f64 {
        if self.ftz { flush_exact(value, F32, rounding) } else { value }
    }

    fn write(self, value: f32) -> u64 {
        if self.sat {
            return f32_bits(flush(if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) + 0.0 }, self.ftz));
        }
        f32_bits(flush(value, self.ftz))
    }
}

pub(crate) fn decode(line: &Line) -> Decoded<Option<Op>> {
    let last = line.statement.opcode.rsplit('.').next().and_then(Type::parse);
    let Some(ty @ (Type::F32 | Type::F64)) = last else { return Ok(None) };
    let known = [
        "add", "sub", "mul", "fma", "mad", "div", "sqrt", "rcp", "rsqrt", "min", "max", "abs", "neg", "copysign", "testp", "ex2", "lg2",
        "sin", "cos", "tanh",
    ];
    if !known.contains(&line.base) {
        return Ok(None);
    }
    line.ty()?;
    let double = ty == Type::F64;
    let style = Style { ftz: (!double || matches!(line.base, "rcp" | "rsqrt")) && line.flag("ftz"), sat: !double && line.flag("sat") };
    let rounding = match line.one_of(&["rn", "rz", "rm", "rp"]) {
        Some("rz") => Rounding::Zero,
        Some("rm") => Rounding::Down,
        Some("rp") => Rounding::Up,
        _ => Rounding::Nearest,
    };
    let precision = line.one_of(&["approx", "full"]);
    if rounding != Rounding::Nearest && (double || !matches!(line.base, "add" | "sub" | "mul" | "fma")) {
        return line.error("this rounding is not supported for this type; `.rn` is");
    }
    match line.base {
        "fma" | "mad" => ternary(line, ty, style, rounding),
        "add" | "sub" | "mul" | "div" | "min" | "max" | "copysign" => binary(line, ty, style, rounding, precision == Some("approx")),
        "testp" => test(line, ty),
        "rcp" | "sqrt" | "rsqrt" | "abs" | "neg" => unary(line, ty, style),
        _ if double && line.base != "rsqrt" => line.error("this function has no `.f64` form"),
        _ if precision.is_none() => line.error("`.approx` is expected"),
        _ => unary(line, ty, style),
    }
    .map(Some)
}

fn unary(line: &Line, ty: Type, style: Style) -> Decoded<Op> {
    line.finish(2)?;
    let function: fn(f64) -> f64 = match line.base {
        "rcp" => |x| 1.0 / x,
        "sqrt" => f64::sqrt,
        "rsqrt" => |x| 1.0 / x.sqrt(),
        "ex2" => f64::exp2,
        "lg2" => f64::log2,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tanh" => f64::tanh,
        "abs" => f64::abs,
        _ => |x| -x,
    };
    let f = match (line.base, ty) {
        // A NaN has no sign to change.
        ("abs", Type::F32) => map1(move |a| f32_bits(style.read(a).abs())),
        ("neg", Type::F32) => map1(move |a| f32_bits(-style.read(a))),
        ("sqrt", Type::F32) => map1(move |a| style.write(style.read(a).sqrt())),
        ("rcp", Type::F32) => map1(move |a| style.write(1.0 / style.read(a))),
        (_, Type::F32) => map1(move |a| style.write(function(f64::from(style.read(a))) as f32)),
        _ => map1(move |a| f64_result(function(f64::from_bits(a)), &[a])),
    };
    Ok(Op::Map1 { f, d: line.d(ty)?, a: line.source(1, ty)? })
}

/// `min` and `max` of PTX: the number when one is NaN (NaN with `.NaN`), and −0 below +0.
pub(crate) fn extreme(a: f64, b: f64, largest: bool, nan: bool) -> f64 {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => f64::NAN,
        (true, false) | (false, true) if nan => f64::NAN,
        (true, false) => b,
        (false, true) => a,
        _ if a == b => {
            if a.is_sign_negative() != largest {
                a
            } else {
                b
            }
        }
        _ => {
            if (a > b) == largest {
                a
            } else {
                b
            }
        }
    }
}

/// `div.approx` multiplies by the reciprocal, which is zero for divisors beyond 2¹²⁶.
fn divide_approximately(a: f32, b: f32) -> f32 {
    if b.abs() > 2f32.powi(126) && b.is_finite() { a * 0f32.copysign(b) } else { a / b }
}

fn binary(line: &Line, ty: Type, style: Style, rounding: Rounding, approximate: bool) -> Decoded<Op> {
    let nan = matches!(line.base, "min" | "max") && line.flag("NaN");
    line.finish(3)?;
    let largest = line.base == "max";
    let f = if ty == Type::F32 {
        let lift = |f: fn(f32, f32) -> f32| map2(move |a, b| style.write(f(style.read(a), style.read(b))));
        match (line.base, rounding) {
            ("copysign", _) => map2(|a, b| (a & 0x8000_0000) | (b & 0x7fff_ffff)),
            ("min" | "max", _) => {
                map2(move |a, b| style.write(extreme(f64::from(style.read(a)), f64::from(style.read(b)), largest, nan) as f32))
            }
            ("add", Rounding::Nearest) => map2(move |a, b| style.write(style.read(a) + style.read(b))),
            ("sub", Rounding::Nearest) => map2(move |a, b| style.write(style.read(a) - style.read(b))),
            ("div", _) if approximate => lift(divide_approximately),
            ("div", _) => lift(|a, b| a / b),
            (name, rounding) => {
                let exact: fn(f64, f64, Rounding) -> f64 = match name {
                    "add" => add_towards,
                    "sub" => |a, b, rounding| add_towards(a, -b, rounding),
                    _ => |a, b, _| a * b,
                };
                map2(move |a, b| {
                    let value = exact(f64::from(style.read(a)), f64::from(style.read(b)), rounding);
                    style.write(f32_of(F32.encode(style.flush(value, rounding), rounding, false)))
                })
            }
        }
    } else {
        let lift = |f: fn(f64, f64) -> f64| map2(move |a, b| f64_result(f(f64::from_bits(a), f64::from_bits(b)), &[b, a]));
        match line.base {
            "copysign" => map2(|a, b| (a & 1 << 63) | (b & !(1 << 63))),
            "min" | "max" => map2(move |a, b| f64_result(extreme(f64::from_bits(a), f64::from_bits(b), largest, nan), &[b, a])),
            "add" => lift(|a, b| a + b),
            "sub" => lift(|a, b| a - b),
            "mul" => lift(|a, b| a * b),
            _ => map2(|a, b| f64_result(f64::from_bits(a) / f64::from_bits(b), &[a, b])),
        }
    };
    Ok(Op::Map2 { f, d: line.d(ty)?, a: line.source(1, ty)?, b: line.source(2, ty)? })
}

fn ternary(line: &Line, ty: Type, style: Style, rounding: Rounding) -> Decoded<Op> {
    line.finish(4)?;
    let f = match (ty, rounding) {
        (Type::F32, Rounding::Nearest) if !style.ftz => {
            map3(move |a, b, c| style.write(style.read(a).mul_add(style.read(b), style.read(c))))
        }
        (Type::F32, _) => map3(move |a, b, c| {
            let product = f64::from(style.read(a)) * f64::from(style.read(b));
            let value = add_towards(product, f64::from(style.read(c)), rounding);
            style.write(f32_of(F32.encode(style.flush(value, rounding), rounding, false)))
        }),
        _ => map3(|a, b, c| f64_result(f64::from_bits(a).mul_add(f64::from_bits(b), f64::from_bits(c)), &[b, c, a])),
    };
    Ok(Op::Map3 { f, d: line.d(ty)?, a: line.source(1, ty)?, b: line.source(2, ty)?, c: line.source(3, ty)? })
}

fn test(line: &Line, ty: Type) -> Decoded<Op> {
    let Some(kind) = line.one_of(&["finite", "infinite", "number", "notanumber", "normal", "subnormal"]) else {
        return line.error("the test is missing");
    };
    line.finish(2)?;
    let single = ty == Type::F32;
    let f: Relation = relation(move |a, _| {
        let class = if single { f32_of(a).classify() } else { f64::from_bits(a).classify() };
        use std::num::FpCategory::{Infinite, Nan, Normal, Subnormal, Zero};
        match kind {
            "finite" => !matches!(class, Infinite | Nan),
            "infinite" => class == Infinite,
            "number" => class != Nan,
            "notanumber" => class == Nan,
            // Zeros count as normal numbers.
            "normal" => matches!(class, Normal | Zero),
            _ => class == Subnormal,
        }
    });
    Ok(Op::Test1 { f, a: line.source(1, ty)?, p: line.d(Type::PRED)? })
}
