//! f16, bf16 and their packed pairs. Every result is rounded once from its exact value.

use super::float::extreme;
use super::line::{Decoded, Line};
use crate::instruction::{Op, map1, map2, map3};
use crate::numbers::{BF16, F16, Format, Rounding, add_odd, flush_exact};
use crate::types::{Kind, Type};

/// Modifiers of a half instruction.
#[derive(Clone, Copy)]
struct Style {
    format: Format,
    packed: u32,
    ftz: bool,
    sat: bool,
    relu: bool,
}

impl Style {
    fn read(self, bits: u64) -> f64 {
        let value = self.format.decode(bits & 0xffff);
        let smallest = if self.format == F16 { 6.103515625e-5 } else { f64::from(f32::MIN_POSITIVE) };
        if self.ftz && value.abs() < smallest { 0f64.copysign(value) } else { value }
    }

    fn write(self, mut value: f64) -> u64 {
        if self.sat {
            value = if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) + 0.0 };
        }
        if self.relu && value <= 0.0 {
            value = 0.0;
        }
        if self.ftz {
            value = flush_exact(value, self.format, Rounding::Nearest);
        }
        self.format.encode(value, Rounding::Nearest, false)
    }

    fn each(self, f: impl Fn(u64) -> u64) -> u64 {
        (0..self.packed).fold(0, |d, i| d | f(u64::from(16 * i)) << (16 * i))
    }
}

/// The format of a half type.
pub(crate) fn format_of(ty: Type) -> Option<Format> {
    match (ty.kind, ty.bits) {
        (Kind::Float, 16) => Some(F16),
        (Kind::Brain, 16) => Some(BF16),
        _ => None,
    }
}

pub(crate) fn decode(line: &Line) -> Decoded<Option<Op>> {
    let last = line.statement.opcode.rsplit('.').next().and_then(Type::parse);
    let Some(format) = last.and_then(format_of) else { return Ok(None) };
    let known = ["add", "sub", "mul", "fma", "min", "max", "neg", "abs", "ex2", "tanh"];
    if !known.contains(&line.base) {
        return Ok(None);
    }
    let ty = line.ty()?;
    line.flag("rn");
    let style =
        Style { format, packed: ty.packed, ftz: line.flag("ftz"), sat: line.flag("sat"), relu: line.base == "fma" && line.flag("relu") };
    if style.sat && format == BF16 {
        return line.error("`.sat` needs `.f16`");
    }
    let nan = matches!(line.base, "min" | "max") && line.flag("NaN");
    if matches!(line.base, "ex2" | "tanh") && !line.flag("approx") {
        return line.error("`.approx` is expected");
    }
    let largest = line.base == "max";
    Ok(Some(match line.base {
        "fma" => {
            line.finish(4)?;
            // The product of two halves is exact in f64; the sum keeps what it loses in its last bit.
            let f = map3(move |a, b, c| style.each(|s| style.write(add_odd(style.read(a >> s) * style.read(b >> s), style.read(c >> s)))));
            Op::Map3 { f, d: line.d(ty)?, a: line.source(1, ty)?, b: line.source(2, ty)?, c: line.source(3, ty)? }
        }
        "neg" | "abs" => {
            line.finish(2)?;
            let negate = line.base == "neg";
            let f = map1(move |a| {
                style.each(|s| match a >> s & 0xffff {
                    bits if style.format.decode(bits).is_nan() => style.format.nan(),
                    bits if negate => bits ^ 0x8000,
                    bits => bits & 0x7fff,
                })
            });
            Op::Map1 { f, d: line.d(ty)?, a: line.source(1, ty)? }
        }
        "ex2" | "tanh" => {
            line.finish(2)?;
            let function: fn(f64) -> f64 = if line.base == "ex2" { f64::exp2 } else { f64::tanh };
            Op::Map1 { f: map1(move |a| style.each(|s| style.write(function(style.read(a >> s))))), d: line.d(ty)?, a: line.source(1, ty)? }
        }
        name => {
            line.finish(3)?;
            let function: fn(f64, f64) -> f64 = match name {
                "add" => add_odd,
                "sub" => |a, b| add_odd(a, -b),
                _ => |a, b| a * b,
            };
            let f = if matches!(name, "min" | "max") {
                map2(move |a, b| style.each(|s| style.write(extreme(style.read(a >> s), style.read(b >> s), largest, nan))))
            } else {
                map2(move |a, b| style.each(|s| style.write(function(style.read(a >> s), style.read(b >> s)))))
            };
            Op::Map2 { f, d: line.d(ty)?, a: line.source(1, ty)?, b: line.source(2, ty)? }
        }
    }))
}
