//! Kernel functions to tile instructions, by element type: tables, no control flow.
//!
//! f16 and bf16 live in f32 registers and are rounded after every function that can leave their values.

use super::remainder::remainder;
use crate::kernel::{BinaryFn, CompareFn, Scalar, UnaryFn};
use crate::tile::{Builder, Lane, Mem, Reg, Type, math};
use kiln_ir::DType;
use kiln_ir::dtype::Class;

/// What a register lane holds for an element type.
pub(super) fn lane_of(dtype: DType) -> Lane {
    memory_of(dtype).lane()
}

/// How an element type is stored.
pub(super) fn memory_of(dtype: DType) -> Mem {
    match dtype {
        DType::Bool => Mem::Bool,
        DType::I8 => Mem::I8,
        DType::U8 => Mem::U8,
        DType::I16 => Mem::I16,
        DType::U16 => Mem::U16,
        DType::I32 => Mem::I32,
        DType::U32 => Mem::U32,
        DType::I64 => Mem::I64,
        DType::U64 => Mem::U64,
        DType::F16 => Mem::F16,
        DType::BF16 => Mem::BF16,
        DType::F32 => Mem::F32,
        DType::F64 => Mem::F64,
    }
}

/// A scalar constant.
pub(super) fn constant(b: &mut Builder, dtype: DType, value: Scalar) -> Reg {
    let ty = Type::scalar(lane_of(dtype));
    match (dtype, value) {
        (DType::F16, Scalar::Float(bits)) => b.float(ty, half::f16::from_f64(f64::from_bits(bits)).to_f64()),
        (DType::BF16, Scalar::Float(bits)) => b.float(ty, half::bf16::from_f64(f64::from_bits(bits)).to_f64()),
        (_, Scalar::Float(bits)) => b.float(ty, f64::from_bits(bits)),
        (_, Scalar::Int(value)) if dtype.is_float() => b.float(ty, value as f64),
        (_, Scalar::Int(value)) => b.int(ty, value as i64),
    }
}

/// A value just computed in the lane of `dtype`, rounded to what `dtype` can hold.
pub(super) fn rounded(b: &mut Builder, dtype: DType, value: Reg) -> Reg {
    match dtype {
        DType::F16 => b.round_f16(value),
        DType::BF16 => b.round_bf16(value),
        _ => value,
    }
}

/// One-operand functions.
pub(super) fn unary(b: &mut Builder, function: UnaryFn, dtype: DType, x: Reg) -> Reg {
    match dtype.class() {
        Class::Float => float_unary(b, function, dtype, x),
        Class::Bool if function == UnaryFn::Not => b.not(x),
        Class::Signed | Class::Unsigned => int_unary(b, function, dtype, x),
        Class::Bool => panic!("lower: {function:?} is not defined on bool"),
    }
}

/// One-operand functions for results that are rounded to half floats anyway, where that is less work: of F32 lanes.
pub(super) fn unary_nearly(b: &mut Builder, function: UnaryFn, dtype: DType, x: Reg) -> Option<Reg> {
    if lane_of(dtype) != Lane::F32 {
        return None;
    }
    let value = match function {
        UnaryFn::Exp => {
            let scale = b.float(x.ty, std::f64::consts::LOG2_E);
            let power = b.mul(x, scale);
            b.power_of_two(power)
        }
        UnaryFn::Erf => math::erf_nearly(b, x),
        _ => return None,
    };
    Some(rounded(b, dtype, value))
}

fn float_unary(b: &mut Builder, function: UnaryFn, dtype: DType, x: Reg) -> Reg {
    use UnaryFn::*;
    match function {
        Neg => b.neg(x),
        Abs => b.abs(x),
        Sign => {
            let (zero, one, minus) = (b.float(x.ty, 0.0), b.float(x.ty, 1.0), b.float(x.ty, -1.0));
            let (positive, negative, is_nan) = (b.gt(x, zero), b.lt(x, zero), b.ne(x, x));
            let nan_or_zero = b.select(is_nan, x, zero);
            let below = b.select(negative, minus, nan_or_zero);
            b.select(positive, one, below)
        }
        Ceil => b.ceil(x),
        Floor => b.floor(x),
        Trunc => b.trunc(x),
        Round => b.nearest(x),
        IsNan => b.ne(x, x),
        IsInf { positive, negative } => {
            let (up, down) = (b.float(x.ty, f64::INFINITY), b.float(x.ty, f64::NEG_INFINITY));
            let (is_up, is_down) = (b.eq(x, up), b.eq(x, down));
            match (positive, negative) {
                (true, true) => b.or(is_up, is_down),
                (true, false) => is_up,
                (false, true) => is_down,
                (false, false) => b.int(x.ty.mask(), 0),
            }
        }
        Sqrt | Reciprocal | Exp | Expm1 | Log | Log1p | Sin | Cos | Tan | Asin | Acos | Atan | Sinh | Cosh | Tanh | Asinh | Acosh
        | Atanh | Erf => {
            let value = rounding_unary(b, function, x);
            rounded(b, dtype, value)
        }
        Not | BitNot => panic!("lower: {function:?} is not defined on {dtype}"),
    }
}

/// Functions whose results need rounding.
fn rounding_unary(b: &mut Builder, function: UnaryFn, x: Reg) -> Reg {
    use UnaryFn::*;
    match function {
        Sqrt => b.sqrt(x),
        Reciprocal => {
            let one = b.float(x.ty, 1.0);
            b.div(one, x)
        }
        Exp => math::exp(b, x),
        Expm1 => math::expm1(b, x),
        Log => math::log(b, x),
        Log1p => math::log1p(b, x),
        Sin => math::sin(b, x),
        Cos => math::cos(b, x),
        Tan => math::tan(b, x),
        Asin => math::asin(b, x),
        Acos => math::acos(b, x),
        Atan => math::atan(b, x),
        Sinh => math::sinh(b, x),
        Cosh => math::cosh(b, x),
        Tanh => math::tanh(b, x),
        Asinh => math::asinh(b, x),
        Acosh => math::acosh(b, x),
        Atanh => math::atanh(b, x),
        Erf => math::erf(b, x),
        Neg | Abs | Sign | Ceil | Floor | Trunc | Round | Not | BitNot | IsNan | IsInf { .. } => {
            panic!("lower: {function:?} needs no rounding")
        }
    }
}

fn int_unary(b: &mut Builder, function: UnaryFn, dtype: DType, x: Reg) -> Reg {
    let signed = dtype.class() == Class::Signed;
    match function {
        UnaryFn::Neg => b.neg(x),
        UnaryFn::Abs if signed => b.abs(x),
        UnaryFn::Abs | UnaryFn::Ceil | UnaryFn::Floor | UnaryFn::Trunc | UnaryFn::Round => x,
        UnaryFn::Sign => {
            let (zero, one, minus) = (b.int(x.ty, 0), b.int(x.ty, 1), b.int(x.ty, -1));
            let is_zero = b.eq(x, zero);
            let nonzero = if signed {
                let negative = b.lt(x, zero);
                b.select(negative, minus, one)
            } else {
                one
            };
            b.select(is_zero, zero, nonzero)
        }
        UnaryFn::BitNot => b.not(x),
        _ => panic!("lower: {function:?} is not defined on {dtype}"),
    }
}

/// Two-operand functions.
pub(super) fn binary(b: &mut Builder, function: BinaryFn, dtype: DType, x: Reg, y: Reg) -> Reg {
    match dtype.class() {
        Class::Float => {
            let value = float_binary(b, function, dtype, x, y);
            match function {
                BinaryFn::Min | BinaryFn::Max => value,
                _ => rounded(b, dtype, value),
            }
        }
        Class::Bool => bool_binary(b, function, x, y),
        Class::Signed | Class::Unsigned => int_binary(b, function, dtype, x, y),
    }
}

fn float_binary(b: &mut Builder, function: BinaryFn, dtype: DType, x: Reg, y: Reg) -> Reg {
    match function {
        BinaryFn::Add => b.add(x, y),
        BinaryFn::Sub => b.sub(x, y),
        BinaryFn::Mul => b.mul(x, y),
        BinaryFn::Div => b.div(x, y),
        BinaryFn::Min => b.minimum(x, y),
        BinaryFn::Max => b.maximum(x, y),
        BinaryFn::Pow => math::pow(b, x, y),
        BinaryFn::Rem => remainder(b, x, y),
        _ => panic!("lower: {function:?} is not defined on {dtype}"),
    }
}

fn bool_binary(b: &mut Builder, function: BinaryFn, x: Reg, y: Reg) -> Reg {
    match function {
        BinaryFn::And | BinaryFn::Min | BinaryFn::Mul | BinaryFn::BitAnd => b.and(x, y),
        BinaryFn::Or | BinaryFn::Max | BinaryFn::Add | BinaryFn::BitOr => b.or(x, y),
        BinaryFn::Xor | BinaryFn::BitXor => b.xor(x, y),
        _ => panic!("lower: {function:?} is not defined on bool"),
    }
}

fn int_binary(b: &mut Builder, function: BinaryFn, dtype: DType, x: Reg, y: Reg) -> Reg {
    let signed = dtype.class() == Class::Signed;
    match function {
        BinaryFn::Add => b.add(x, y),
        BinaryFn::Sub => b.sub(x, y),
        BinaryFn::Mul => b.mul(x, y),
        BinaryFn::Div if signed => b.div_s(x, y),
        BinaryFn::Div => b.div_u(x, y),
        BinaryFn::Rem if signed => b.rem_s(x, y),
        BinaryFn::Rem => b.rem_u(x, y),
        BinaryFn::Pow => int_power(b, signed, x, y),
        BinaryFn::Min if signed => b.min_s(x, y),
        BinaryFn::Min => b.min_u(x, y),
        BinaryFn::Max if signed => b.max_s(x, y),
        BinaryFn::Max => b.max_u(x, y),
        BinaryFn::BitAnd | BinaryFn::And => b.and(x, y),
        BinaryFn::BitOr | BinaryFn::Or => b.or(x, y),
        BinaryFn::BitXor | BinaryFn::Xor => b.xor(x, y),
        BinaryFn::ShiftLeft => b.shl(x, y),
        BinaryFn::ShiftRight if signed => b.shr_s(x, y),
        BinaryFn::ShiftRight => b.shr_u(x, y),
    }
}

/// `xʸ` by squaring, wrapping. Negative exponents: 1/xⁿ truncated, so ±1 for `x` = ±1 and else 0.
fn int_power(b: &mut Builder, signed: bool, x: Reg, y: Reg) -> Reg {
    let (zero, one) = (b.int(x.ty, 0), b.int(x.ty, 1));
    let (start, bits) = (b.index(0), b.index(i64::from(x.ty.lane.bits())));
    let power = b.loop_carrying(start, bits, 1, &[one, x, y], |b, _, carried| {
        let [product, square, left] = carried[..] else { panic!("lower: three values are carried") };
        let bit = b.and(left, one);
        let odd = b.eq(bit, one);
        let more = b.mul(product, square);
        let product = b.select(odd, more, product);
        let square = b.mul(square, square);
        vec![product, square, b.shr_u(left, one)]
    })[0];
    if !signed {
        return power;
    }
    let negative = b.lt(y, zero);
    let minus = b.int(x.ty, -1);
    let (is_one, is_minus) = (b.eq(x, one), b.eq(x, minus));
    let bit = b.and(y, one);
    let odd = b.eq(bit, one);
    let sign = b.select(odd, minus, one);
    let of_minus = b.select(is_minus, sign, zero);
    let inverse = b.select(is_one, one, of_minus);
    b.select(negative, inverse, power)
}

/// Comparisons of two values of `dtype`.
pub(super) fn compare(b: &mut Builder, function: CompareFn, dtype: DType, x: Reg, y: Reg) -> Reg {
    use CompareFn::*;
    match (dtype.class(), function) {
        (Class::Bool, Equal) => {
            let differ = b.xor(x, y);
            b.not(differ)
        }
        (Class::Bool, NotEqual) => b.xor(x, y),
        (Class::Bool, Less) => {
            let not = b.not(x);
            b.and(not, y)
        }
        (Class::Bool, LessEqual) => {
            let not = b.not(x);
            b.or(not, y)
        }
        (Class::Bool, Greater | GreaterEqual) => {
            let mirrored = if function == Greater { Less } else { LessEqual };
            compare(b, mirrored, dtype, y, x)
        }
        (_, Equal) => b.eq(x, y),
        (_, NotEqual) => b.ne(x, y),
        (Class::Unsigned, Less) => b.lt_u(x, y),
        (Class::Unsigned, LessEqual) => b.le_u(x, y),
        (Class::Unsigned, Greater) => b.gt_u(x, y),
        (Class::Unsigned, GreaterEqual) => b.ge_u(x, y),
        (_, Less) => b.lt(x, y),
        (_, LessEqual) => b.le(x, y),
        (_, Greater) => b.gt(x, y),
        (_, GreaterEqual) => b.ge(x, y),
    }
}

/// The values of the second operand where the mask holds, else of the third; also for truth values.
pub(super) fn select(b: &mut Builder, mask: Reg, x: Reg, y: Reg) -> Reg {
    if x.ty.lane != Lane::Mask {
        return b.select(mask, x, y);
    }
    let taken = b.and(mask, x);
    let not = b.not(mask);
    let other = b.and(not, y);
    b.or(taken, other)
}

/// Conversion between element types: floats to integers truncate and saturate, integers wrap, anything but zero is true.
pub(super) fn cast(b: &mut Builder, from: DType, to: DType, x: Reg) -> Reg {
    let lane = lane_of(to);
    match (from.class(), to.class()) {
        (Class::Bool, Class::Bool) => x,
        (Class::Bool, Class::Float) => {
            let ty = x.ty.with_lane(lane);
            let (one, zero) = (b.float(ty, 1.0), b.float(ty, 0.0));
            b.select(x, one, zero)
        }
        (Class::Bool, Class::Signed | Class::Unsigned) => {
            let ty = x.ty.with_lane(lane);
            let (one, zero) = (b.int(ty, 1), b.int(ty, 0));
            b.select(x, one, zero)
        }
        (Class::Float, Class::Bool) => {
            let zero = b.float(x.ty, 0.0);
            b.ne(x, zero)
        }
        (Class::Signed | Class::Unsigned, Class::Bool) => {
            let zero = b.int(x.ty, 0);
            b.ne(x, zero)
        }
        (Class::Signed, Class::Signed | Class::Unsigned) if lane.bits() > x.ty.lane.bits() => b.extend_s(x, lane),
        (Class::Unsigned, Class::Signed | Class::Unsigned) if lane.bits() > x.ty.lane.bits() => b.extend_u(x, lane),
        (Class::Signed | Class::Unsigned, Class::Signed | Class::Unsigned) if lane.bits() < x.ty.lane.bits() => b.wrap(x, lane),
        (Class::Signed | Class::Unsigned, Class::Signed | Class::Unsigned) => x,
        (Class::Float, Class::Signed) => b.float_to_int_s(x, lane),
        (Class::Float, Class::Unsigned) => b.float_to_int_u(x, lane),
        (Class::Signed | Class::Unsigned, Class::Float) => int_to_float(b, from, to, x),
        (Class::Float, Class::Float) => float_to_float(b, from, to, x),
    }
}

fn int_to_float(b: &mut Builder, from: DType, to: DType, x: Reg) -> Reg {
    // An integer beyond f32's 24 bits must be rounded to bf16 once, not by way of f32. (f16 ends at 65504, so f32 is exact there.)
    let via = if to == DType::BF16 && from.size_bytes() >= 4 { DType::F64 } else { to };
    let lane = lane_of(via);
    let value = if from.class() == Class::Signed { b.int_to_float_s(x, lane) } else { b.int_to_float_u(x, lane) };
    if via == to { rounded(b, to, value) } else { float_to_float(b, via, to, value) }
}

fn float_to_float(b: &mut Builder, from: DType, to: DType, x: Reg) -> Reg {
    match (lane_of(from), lane_of(to)) {
        (Lane::F64, Lane::F32) if to != DType::F32 => {
            let odd = round_to_odd(b, x);
            rounded(b, to, odd)
        }
        (from_lane, to_lane) if from_lane != to_lane => b.float_to_float(x, to_lane),
        _ if from != to => rounded(b, to, x),
        _ => x,
    }
}

/// f64 to f32, towards the neighbour with an odd last bit where inexact: rounding that again to fewer bits rounds once.
/// Source: Boldo & Melquiond 2008, "Emulation of FMA and correctly rounded sums".
fn round_to_odd(b: &mut Builder, x: Reg) -> Reg {
    let near = b.float_to_float(x, Lane::F32);
    let back = b.float_to_float(near, Lane::F64);
    let bits = b.bitcast(near, Lane::I32);
    let (one, zero) = (b.int(bits.ty, 1), b.int(bits.ty, 0));
    let last = b.and(bits, one);
    let even = b.eq(last, zero);
    let (size, target) = (b.abs(back), b.abs(x));
    let (above, below) = (b.gt(size, target), b.lt(size, target));
    let (down, up) = (b.sub(bits, one), b.add(bits, one));
    let moved = b.select(above, down, bits);
    let moved = b.select(below, up, moved);
    let odd = b.select(even, moved, bits);
    b.bitcast(odd, Lane::F32)
}
