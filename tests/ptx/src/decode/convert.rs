//! `cvt`: between all integers and floats, packed forms and 8-bit floats included.

use super::half::format_of;
use super::line::{Decoded, Line};
use crate::instruction::{Op, map1, map2};
use crate::numbers::{E4M3, E5M2, F32, Format, Rounding, TF32, f64_bits};
use crate::parse::Operand;
use crate::types::{Kind, Type, mask, sign_extend};

/// How to convert: everything but the types.
#[derive(Clone, Copy)]
struct Style {
    rounding: Option<Rounding>,
    /// `.rni` and friends: to an integral value.
    integral: Option<Rounding>,
    ftz: bool,
    sat: bool,
    satfinite: bool,
    relu: bool,
}

pub(crate) fn decode(line: &Line) -> Decoded<Option<Op>> {
    if line.base != "cvt" {
        return Ok(None);
    }
    if line.flag("pack") {
        return line.error("`cvt.pack` is not supported");
    }
    let style = Style {
        rounding: line.one_of(&["rn", "rz", "rm", "rp", "rna"]).map(|r| match r {
            "rz" => Rounding::Zero,
            "rm" => Rounding::Down,
            "rp" => Rounding::Up,
            "rna" => Rounding::NearestAway,
            _ => Rounding::Nearest,
        }),
        integral: line.one_of(&["rni", "rzi", "rmi", "rpi"]).map(|r| match r {
            "rzi" => Rounding::Zero,
            "rmi" => Rounding::Down,
            "rpi" => Rounding::Up,
            _ => Rounding::Nearest,
        }),
        ftz: line.flag("ftz"),
        sat: line.flag("sat"),
        satfinite: line.flag("satfinite"),
        relu: line.flag("relu"),
    };
    let names = line.all(|m| (narrow(m).is_some() || Type::parse(m).is_some()).then(|| m.to_string()));
    let [to, from] = &names[..] else { return line.error("two types are expected") };
    if let Some(format) = narrow(to) {
        return pack(line, style, format, 8, from).map(Some);
    }
    if let Some(format) = narrow(from) {
        return unpack(line, style, format, to).map(Some);
    }
    let (Some(to), Some(from)) = (Type::parse(to), Type::parse(from)) else { return line.error("two types are expected") };
    if let (Some(format), 2) = (format_of(to), to.packed) {
        return pack(line, style, format, 16, names[1].as_str()).map(Some);
    }
    if to.packed > 1 || from.packed > 1 {
        return line.error("this packed conversion is not supported");
    }
    line.finish(2)?;
    let float = |t: Type| !matches!(t.kind, Kind::Bits | Kind::Signed | Kind::Unsigned | Kind::Predicate);
    if to.kind == Kind::Bits || from.kind == Kind::Bits || to == Type::PRED || from == Type::PRED {
        return line.error("bits and predicates are not converted");
    }
    if float(to) && !float(from) && style.rounding.is_none() {
        return line.error("a rounding such as `.rn` is expected");
    }
    if !float(to) && float(from) && style.integral.is_none() {
        return line.error("an integer rounding such as `.rzi` is expected");
    }
    if float(to) && float(from) && to.width() < from.width() && style.rounding.is_none() {
        return line.error("a rounding such as `.rn` is expected");
    }
    if float(to) && float(from) && to.width() > from.width() && style.rounding.is_some() {
        return line.error("a widening conversion takes no rounding");
    }
    if to == Type::TF32
        && (from != Type::F32 || !matches!(style.rounding, Some(Rounding::NearestAway | Rounding::Nearest | Rounding::Zero)))
    {
        return line.error("`.tf32` is made from `.f32` with `.rna`, `.rn` or `.rz`");
    }
    let slot = if to == Type::TF32 { Type::B32 } else { to };
    let Some((d, width)) = line.to_wider(line.operand(0)?, slot)? else { return line.error("a destination is expected") };
    let a = line.read_wider(line.operand(1)?, from)?;
    let f = match (float(from), float(to)) {
        // A NaN of f64, or one that becomes f64, keeps its sign and the upper bits of its payload.
        (true, true) if from == Type::F64 || to == Type::F64 || from == Type::BF16 && to == Type::F32 => {
            map1(move |a| payload(a, from, to, style).unwrap_or_else(|| float_to_float(a, from, to, style)))
        }
        (true, true) if to == Type::TF32 && style.rounding == Some(Rounding::NearestAway) => {
            // This rounding only cuts a NaN off, which may make an infinity of it.
            map1(move |a| match crate::numbers::f32_of(a) {
                v if v.is_nan() => a & 0xffff_e000,
                _ => float_to_float(a, from, to, style),
            })
        }
        (false, false) => map1(move |a| integer_to_integer(a, from, to, style.sat, width)),
        (false, true) => map1(move |a| integer_to_float(a, from, to, style)),
        (true, false) => map1(move |a| float_to_integer(a, from, to, style, width)),
        (true, true) if to == Type::F32 && from == Type::F32 => map1(move |a| float_to_float(a, from, to, style)),
        (true, true) => map1(move |a| float_to_float(a, from, to, style)),
    };
    Ok(Some(Op::Map1 { f, d, a }))
}

/// The 8-bit formats, which are only ever packed in pairs.
fn narrow(name: &str) -> Option<Format> {
    match name {
        "e4m3x2" => Some(E4M3),
        "e5m2x2" => Some(E5M2),
        _ => None,
    }
}

fn widen(value: i128, to: Type, width: u32) -> u64 {
    // A destination wider than the type is sign-extended for signed types, zero-extended otherwise.
    let bits = value as u64 & to.mask();
    if to.is_signed() { sign_extend(bits, to.width()) as u64 & mask(width) } else { bits }
}

fn clamp(value: i128, to: Type) -> i128 {
    let (low, high) =
        if to.is_signed() { (-(1i128 << (to.width() - 1)), (1i128 << (to.width() - 1)) - 1) } else { (0, (1i128 << to.width()) - 1) };
    value.clamp(low, high)
}

fn integer_value(a: u64, from: Type) -> i128 {
    if from.is_signed() { i128::from(sign_extend(a, from.width())) } else { i128::from(a & from.mask()) }
}

fn integer_to_integer(a: u64, from: Type, to: Type, sat: bool, width: u32) -> u64 {
    let value = integer_value(a, from);
    widen(if sat { clamp(value, to) } else { value }, to, width)
}

fn float_value(a: u64, from: Type, ftz: bool) -> f64 {
    match from {
        Type::F64 => f64::from_bits(a),
        Type::F32 => f64::from(crate::numbers::flush(crate::numbers::f32_of(a), ftz)),
        _ => format_of(from).map_or(f64::NAN, |f| f.decode(a & 0xffff)),
    }
}

fn encode(value: f64, to: Type, rounding: Rounding, style: Style) -> u64 {
    let mut value = value;
    if style.sat {
        value = if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) + 0.0 };
    }
    if style.relu && value <= 0.0 {
        value = 0.0;
    }
    match to {
        Type::F64 => f64_bits(value),
        Type::F32 => {
            let bits = F32.encode(value, rounding, style.satfinite);
            u64::from(crate::numbers::flush(f32::from_bits(bits as u32), style.ftz).to_bits())
        }
        Type::TF32 => TF32.encode(value, rounding, style.satfinite) << 13,
        _ => format_of(to).map_or(0, |f| f.encode(value, rounding, style.satfinite)),
    }
}

fn integer_to_float(a: u64, from: Type, to: Type, style: Style) -> u64 {
    let value = integer_value(a, from);
    let rounding = style.rounding.unwrap_or(Rounding::Nearest);
    let nearest = value as f64;
    let error = value - nearest as i128;
    if to == Type::F64 {
        // Step to the neighbour that a directed rounding asks for.
        let step = match rounding {
            Rounding::Zero => error != 0 && (error < 0) == (value > 0),
            Rounding::Down => error < 0,
            Rounding::Up => error > 0,
            _ => false,
        };
        let away = (error > 0) == (value > 0);
        let bits = nearest.to_bits();
        return encode(
            f64::from_bits(if !step {
                bits
            } else if away {
                bits + 1
            } else {
                bits - 1
            }),
            to,
            rounding,
            style,
        );
    }
    // Round to odd first, so that the second rounding is the only one that shows.
    let odd = if error == 0 || nearest.to_bits() & 1 == 1 {
        nearest
    } else if (error > 0) == (value > 0) {
        f64::from_bits(nearest.to_bits() + 1)
    } else {
        f64::from_bits(nearest.to_bits() - 1)
    };
    encode(odd, to, rounding, style)
}

fn integral(value: f64, rounding: Option<Rounding>) -> f64 {
    match rounding {
        Some(Rounding::Nearest) => value.round_ties_even(),
        Some(Rounding::Zero) => value.trunc(),
        Some(Rounding::Down) => value.floor(),
        Some(Rounding::Up) => value.ceil(),
        _ => value,
    }
}

fn float_to_integer(a: u64, from: Type, to: Type, style: Style, width: u32) -> u64 {
    let value = float_value(a, from, style.ftz);
    if value.is_nan() {
        // PTX ISA, `cvt`: zero, or the top bit where either side has 64 bits.
        let top = from.width() == 64 || to.width() == 64;
        return if top { widen(1 << (to.width() - 1), to, width) } else { 0 };
    }
    widen(clamp(integral(value, style.integral) as i128, to), to, width)
}

/// What becomes of a NaN, unless it gets lost to `.sat` or `.relu`.
fn payload(a: u64, from: Type, to: Type, style: Style) -> Option<u64> {
    // Sign, and mantissa from the highest bit on.
    let mantissa = |bits: u32, width: u32| (a >> (width - 1) & 1, a << (64 - bits));
    let (sign, fraction) = match (from.kind, from.bits) {
        (_, 64) => mantissa(52, 64),
        (_, 32) if style.ftz => (0, u64::MAX << 41),
        (_, 32) => mantissa(23, 32),
        (Kind::Brain, _) => mantissa(7, 16),
        _ => mantissa(10, 16),
    };
    if !float_value(a, from, false).is_nan() || style.sat || style.relu {
        return None;
    }
    // Only from bf16 to f32, which shifts, a signalling NaN stays one.
    let fraction = if to == Type::F32 && from == Type::BF16 { fraction } else { fraction | 1 << 63 };
    let (mantissa, width) = match (to.kind, to.bits) {
        (_, 64) => (52, 64),
        (_, 32) => (23, 32),
        (Kind::Brain, _) => (7, 16),
        _ => (10, 16),
    };
    let exponent = ((1u64 << (width - 1 - mantissa)) - 1) << mantissa;
    Some(sign << (width - 1) | exponent | fraction >> (64 - mantissa))
}

fn float_to_float(a: u64, from: Type, to: Type, style: Style) -> u64 {
    let value = integral(float_value(a, from, style.ftz), style.integral);
    encode(value, to, style.rounding.unwrap_or(Rounding::Nearest), style)
}

/// `cvt.rn.bf16x2.f32 d, a, b`: `a` in the upper half, `b` in the lower.
fn pack(line: &Line, style: Style, format: Format, bits: u32, from: &str) -> Decoded<Op> {
    if from != "f32" && !(bits == 8 && from == "f16x2") {
        return line.error(format!("packing from `.{from}` is not supported"));
    }
    let rounding = match style.rounding {
        Some(rounding @ (Rounding::Nearest | Rounding::Zero)) => rounding,
        _ => return line.error("`.rn` or `.rz` is expected"),
    };
    if bits == 8 && !style.satfinite {
        return line.error("`.satfinite` is expected");
    }
    let to = if bits == 8 { Type::B16 } else { Type::B32 };
    let (sat, relu) = (style.satfinite, style.relu);
    let one = move |value: f64| format.encode(if relu && value <= 0.0 { 0.0 } else { value }, rounding, sat);
    if from == "f16x2" {
        line.finish(2)?;
        let f = map1(move |a| one(crate::numbers::F16.decode(a >> 16 & 0xffff)) << 8 | one(crate::numbers::F16.decode(a & 0xffff)));
        return Ok(Op::Map1 { f, d: line.d(to)?, a: line.source(1, Type::B32)? });
    }
    line.finish(3)?;
    let value = |a| f64::from(crate::numbers::f32_of(a));
    let f = map2(move |a, b| one(value(a)) << bits | one(value(b)));
    Ok(Op::Map2 { f, d: line.d(to)?, a: line.source(1, Type::F32)?, b: line.source(2, Type::F32)? })
}

/// `cvt.rn.f16x2.e4m3x2 d, a`.
fn unpack(line: &Line, style: Style, format: Format, to: &str) -> Decoded<Op> {
    if to != "f16x2" || style.rounding != Some(Rounding::Nearest) || *line.operand(0)? == Operand::Sink {
        return line.error("8-bit floats are unpacked by `cvt.rn.f16x2`");
    }
    line.finish(2)?;
    let relu = move |value: f64| if style.relu && value <= 0.0 { 0.0 } else { value };
    let one = move |bits: u64| crate::numbers::F16.encode(relu(format.decode(bits & 0xff)), Rounding::Nearest, false);
    Ok(Op::Map1 { f: map1(move |a| one(a >> 8) << 16 | one(a)), d: line.d(Type::B32)?, a: line.source(1, Type::B16)? })
}
