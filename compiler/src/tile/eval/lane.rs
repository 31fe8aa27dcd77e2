//! One lane at a time: what every operation means, on lanes kept as the low bits of a `u64`.

use crate::tile::ir::{Binary, Compare, Convert, Unary};
use crate::tile::types::{Lane, Mem};
use half::{bf16, f16};

/// `value` wrapped to the lane; masks are 0 or 1.
pub(super) fn int_bits(lane: Lane, value: i64) -> u64 {
    match lane {
        Lane::Mask => u64::from(value != 0),
        Lane::I64 | Lane::F64 => value as u64,
        Lane::I8 | Lane::I16 | Lane::I32 | Lane::F32 => value as u64 & ((1 << lane.bits()) - 1),
    }
}

/// The bits as a signed integer.
fn signed(lane: Lane, bits: u64) -> i64 {
    let unused = 64 - lane.bits();
    ((bits << unused) as i64) >> unused
}

fn float(lane: Lane, bits: u64) -> f64 {
    match lane {
        Lane::F32 => f64::from(f32::from_bits(bits as u32)),
        _ => f64::from_bits(bits),
    }
}

/// A binary64 value rounded to the lane.
fn float_bits(lane: Lane, value: f64) -> u64 {
    match lane {
        Lane::F32 => u64::from((value as f32).to_bits()),
        _ => value.to_bits(),
    }
}

pub(super) fn from_memory(mem: Mem, lane: Lane, bits: u64) -> u64 {
    let extended = |from: Lane| int_bits(lane, signed(from, bits));
    match mem {
        Mem::Bool => u64::from(bits != 0),
        Mem::I8 => extended(Lane::I8),
        Mem::I16 => extended(Lane::I16),
        Mem::I32 => extended(Lane::I32),
        Mem::U8 | Mem::U16 | Mem::U32 | Mem::U64 | Mem::I64 | Mem::F32 | Mem::F64 => bits,
        Mem::F16 => u64::from(f16::from_bits(bits as u16).to_f32().to_bits()),
        Mem::BF16 => u64::from(bf16::from_bits(bits as u16).to_f32().to_bits()),
    }
}

/// The stored bits; only the low `size` bytes are written, which wraps integers.
pub(super) fn to_memory(mem: Mem, bits: u64) -> u64 {
    match mem {
        Mem::F16 => u64::from(f16::from_f32(f32::from_bits(bits as u32)).to_bits()),
        Mem::BF16 => u64::from(bf16::from_f32(f32::from_bits(bits as u32)).to_bits()),
        Mem::Bool | Mem::I8 | Mem::U8 | Mem::I16 | Mem::U16 | Mem::I32 | Mem::U32 | Mem::I64 | Mem::U64 | Mem::F32 | Mem::F64 => bits,
    }
}

pub(super) fn unary(op: Unary, lane: Lane, a: u64) -> u64 {
    if lane.is_float() {
        let (x, sign) = (float(lane, a), 1u64 << (lane.bits() - 1));
        return match op {
            Unary::Neg => a ^ sign,
            Unary::Abs => a & !sign,
            // Twice-rounded square roots of binary32 in binary64 equal once-rounded ones (53 ≥ 2·24 + 2).
            Unary::Sqrt => float_bits(lane, x.sqrt()),
            Unary::Ceil => float_bits(lane, x.ceil()),
            Unary::Floor => float_bits(lane, x.floor()),
            Unary::Trunc => float_bits(lane, x.trunc()),
            Unary::Nearest => float_bits(lane, x.round_ties_even()),
            Unary::RoundF16 => from_memory(Mem::F16, lane, to_memory(Mem::F16, a)),
            Unary::RoundBF16 => from_memory(Mem::BF16, lane, to_memory(Mem::BF16, a)),
            Unary::Not => unreachable!("verified: no float not"),
        };
    }
    match op {
        Unary::Neg => int_bits(lane, signed(lane, a).wrapping_neg()),
        Unary::Abs => int_bits(lane, signed(lane, a).wrapping_abs()),
        Unary::Not if lane == Lane::Mask => a ^ 1,
        Unary::Not => int_bits(lane, !(a as i64)),
        Unary::Sqrt | Unary::Ceil | Unary::Floor | Unary::Trunc | Unary::Nearest | Unary::RoundF16 | Unary::RoundBF16 => {
            unreachable!("verified: floats only")
        }
    }
}

pub(super) fn binary(op: Binary, lane: Lane, a: u64, b: u64) -> u64 {
    if lane.is_float() {
        return float_binary(op, lane, a, b);
    }
    let (x, y) = (signed(lane, a), signed(lane, b));
    let width = u64::from(lane.bits());
    let value = match op {
        Binary::Add => x.wrapping_add(y),
        Binary::Sub => x.wrapping_sub(y),
        Binary::Mul => x.wrapping_mul(y),
        Binary::DivS if y == 0 => 0,
        Binary::DivS => x.wrapping_div(y),
        Binary::RemS if y == 0 => 0,
        Binary::RemS => x.wrapping_rem(y),
        Binary::DivU => a.checked_div(b).unwrap_or(0) as i64,
        Binary::RemU => a.checked_rem(b).unwrap_or(0) as i64,
        Binary::And => x & y,
        Binary::Or => x | y,
        Binary::Xor => x ^ y,
        Binary::Shl if b >= width => 0,
        Binary::Shl => (a << b) as i64,
        Binary::ShrS => x >> b.min(width - 1),
        Binary::ShrU if b >= width => 0,
        Binary::ShrU => (a >> b) as i64,
        Binary::MinS => x.min(y),
        Binary::MaxS => x.max(y),
        Binary::MinU => a.min(b) as i64,
        Binary::MaxU => a.max(b) as i64,
        Binary::Div | Binary::Minimum | Binary::Maximum | Binary::MinOrSecond | Binary::MaxOrSecond | Binary::Scale => {
            unreachable!("verified: floats only")
        }
    };
    match lane {
        Lane::Mask => value as u64 & 1,
        _ => int_bits(lane, value),
    }
}

fn float_binary(op: Binary, lane: Lane, a: u64, b: u64) -> u64 {
    let (x, y) = (float(lane, a), float(lane, b));
    // +, −, ×, ÷ of binary32 rounded through binary64 equal the once-rounded ones.
    match op {
        Binary::Add => float_bits(lane, x + y),
        Binary::Sub => float_bits(lane, x - y),
        Binary::Mul => float_bits(lane, x * y),
        Binary::Div => float_bits(lane, x / y),
        Binary::Minimum | Binary::Maximum if x.is_nan() || y.is_nan() => float_bits(lane, f64::NAN),
        // The one that is ordered first, −0 before +0.
        Binary::Minimum if x.total_cmp(&y).is_lt() => a,
        Binary::Minimum => b,
        Binary::Maximum if x.total_cmp(&y).is_gt() => a,
        Binary::Maximum => b,
        // Binary64 holds a product of binary32 exactly; its own is rounded by the second factor alone.
        Binary::Scale => {
            let half = (y / 2.0).floor();
            float_bits(lane, x * half.exp2() * (y - half).exp2())
        }
        Binary::MinOrSecond if x < y => a,
        Binary::MaxOrSecond if x > y => a,
        Binary::MinOrSecond | Binary::MaxOrSecond => b,
        Binary::DivS
        | Binary::DivU
        | Binary::RemS
        | Binary::RemU
        | Binary::And
        | Binary::Or
        | Binary::Xor
        | Binary::Shl
        | Binary::ShrS
        | Binary::ShrU
        | Binary::MinS
        | Binary::MinU
        | Binary::MaxS
        | Binary::MaxU => unreachable!("verified: no such float operation"),
    }
}

pub(super) fn fma(lane: Lane, a: u64, b: u64, c: u64, fused: bool) -> u64 {
    match (lane, fused) {
        (Lane::F32, true) => {
            let [a, b, c] = [a, b, c].map(|bits| f32::from_bits(bits as u32));
            u64::from(a.mul_add(b, c).to_bits())
        }
        (_, true) => {
            let [a, b, c] = [a, b, c].map(f64::from_bits);
            a.mul_add(b, c).to_bits()
        }
        (_, false) => {
            let product = float_binary(Binary::Mul, lane, a, b);
            float_binary(Binary::Add, lane, product, c)
        }
    }
}

pub(super) fn compare(op: Compare, lane: Lane, a: u64, b: u64) -> bool {
    let order = match lane.is_float() {
        true => float(lane, a).partial_cmp(&float(lane, b)),
        false => Some(signed(lane, a).cmp(&signed(lane, b))),
    };
    match op {
        Compare::Eq => order.is_some_and(|o| o.is_eq()),
        Compare::Ne => order.is_none_or(|o| o.is_ne()),
        Compare::Lt => order.is_some_and(|o| o.is_lt()),
        Compare::Le => order.is_some_and(|o| o.is_le()),
        Compare::Gt => order.is_some_and(|o| o.is_gt()),
        Compare::Ge => order.is_some_and(|o| o.is_ge()),
        Compare::LtU => a < b,
        Compare::LeU => a <= b,
        Compare::GtU => a > b,
        Compare::GeU => a >= b,
    }
}

pub(super) fn convert(op: Convert, from: Lane, to: Lane, a: u64) -> u64 {
    let width = to.bits();
    match op {
        Convert::ExtendS => int_bits(to, signed(from, a)),
        Convert::ExtendU | Convert::Bitcast => a,
        Convert::Wrap => int_bits(to, a as i64),
        // Directly to binary32: through binary64 a 64-bit integer would round twice.
        Convert::IntToFloatS if to == Lane::F32 => u64::from((signed(from, a) as f32).to_bits()),
        Convert::IntToFloatS => (signed(from, a) as f64).to_bits(),
        Convert::IntToFloatU if to == Lane::F32 => u64::from((a as f32).to_bits()),
        Convert::IntToFloatU => (a as f64).to_bits(),
        Convert::FloatToIntS => {
            let limit = i64::MAX >> (64 - width);
            int_bits(to, (float(from, a) as i64).clamp(-limit - 1, limit))
        }
        Convert::FloatToIntU => (float(from, a) as u64).min(u64::MAX >> (64 - width)),
        Convert::FloatToFloat => float_bits(to, float(from, a)),
    }
}
