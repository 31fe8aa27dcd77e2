//! Quotients and remainders of integers, whatever they are.
//!
//! `div.u64` is a call, around which `ptxas` saves registers. So 64 bits are divided as 32 where that is all they have, which sizes
//! and indices mostly do, and else bit by bit. By constants they are divided without a division.

use super::function::Function;
use super::inst::{Class, Cmp, Op, Operand, Reg, Round, Ty};
use super::select::{narrow, signed as signed_type, unsigned as unsigned_type};
use super::tile::class_of;
use crate::tile::{Binary, Lane};

/// x / 0 = 0, x % 0 = 0, MIN / −1 = MIN, MIN % −1 = 0; the machine leaves all of them open.
pub(super) fn signed(f: &mut Function, op: Binary, lane: Lane, a: Reg, b: Reg) -> Reg {
    let (a, b, ty) = (narrow(f, lane, true, a), narrow(f, lane, true, b), signed_type(lane));
    if lane == Lane::I64 {
        // The magnitude of MIN is right as a number without sign.
        let [x, y] = [a, b].map(|reg| f.op(Op::Abs, ty, [reg.into()]));
        let machine = if op == Binary::DivS { Op::Div } else { Op::Rem };
        let result = wide(f, machine, x, y);
        let zero = f.setp(Cmp::Eq, ty, b, Operand::Int(0));
        let result = f.selp(Ty::B64, Operand::Int(0), result, zero);
        // A quotient is negative where one of both is, a remainder where the dividend is.
        let sign = if op == Binary::DivS { f.op(Op::Xor, Ty::B64, [a.into(), b.into()]) } else { a };
        let negative = f.setp(Cmp::Lt, ty, sign, Operand::Int(0));
        let negated = f.op(Op::Neg, ty, [result.into()]);
        return f.selp(Ty::B64, negated, result, negative);
    }
    let zero = f.setp(Cmp::Eq, ty, b, Operand::Int(0));
    let minus_one = f.setp(Cmp::Eq, ty, b, Operand::Int(-1));
    let special = f.op(Op::Or, Ty::Pred, [zero.into(), minus_one.into()]);
    let move_ty = class_of(lane).ty();
    let divisor = f.selp(move_ty, Operand::Int(1), b, special);
    let (result, of_minus_one) = match op {
        Binary::DivS => {
            let negated = f.op(Op::Neg, ty, [a.into()]);
            (f.op(Op::Div, ty, [a.into(), divisor.into()]), negated)
        }
        // By one, nothing is left.
        _ => {
            let rest = f.op(Op::Rem, ty, [a.into(), divisor.into()]);
            (rest, rest)
        }
    };
    let result = f.selp(move_ty, of_minus_one, result, minus_one);
    f.selp(move_ty, Operand::Int(0), result, zero)
}

/// Quotient or remainder of 64 bits by a constant above 0.
///
/// *Source*: Granlund and Montgomery 1994, "Division by invariant integers using multiplication", figure 4.1.
pub(super) fn by_constant(f: &mut Function, op: Binary, a: Reg, divisor: u64) -> Reg {
    let bits = divisor.trailing_zeros();
    if divisor.is_power_of_two() {
        return match op {
            Binary::DivU => f.op(Op::Shr, Ty::U64, [a.into(), Operand::Int(i64::from(bits))]),
            _ => f.op(Op::And, Ty::B64, [a.into(), Operand::Int(divisor as i64 - 1)]),
        };
    }
    let (factor, shift) = factor(divisor);
    let high = f.op(Op::MulHi, Ty::U64, [a.into(), Operand::Int(factor as i64)]);
    let rest = f.op(Op::Sub, Ty::U64, [a.into(), high.into()]);
    let half = f.op(Op::Shr, Ty::U64, [rest.into(), Operand::Int(1)]);
    let sum = f.op(Op::Add, Ty::U64, [high.into(), half.into()]);
    let quotient = f.op(Op::Shr, Ty::U64, [sum.into(), Operand::Int(i64::from(shift))]);
    if op == Binary::DivU {
        return quotient;
    }
    let product = f.op(Op::MulLo, Ty::U64, [quotient.into(), Operand::Int(divisor as i64)]);
    f.op(Op::Sub, Ty::U64, [a.into(), product.into()])
}

/// The factor f and the shift s with ⌊x/d⌋ = (h + (x − h)/2) / 2ˢ, h being the high half of f·x, for a divisor that is no power of two.
fn factor(divisor: u64) -> (u64, u32) {
    let bits = u64::BITS - divisor.leading_zeros();
    let factor = ((1u128 << 64) * ((1u128 << bits) - u128::from(divisor))) / u128::from(divisor) + 1;
    (factor as u64, bits - 1)
}

/// x / 0 = 0, x % 0 = 0.
pub(super) fn unsigned(f: &mut Function, op: Binary, lane: Lane, a: Reg, b: Reg) -> Reg {
    let (a, b, ty) = (narrow(f, lane, false, a), narrow(f, lane, false, b), unsigned_type(lane));
    let machine = if op == Binary::DivU { Op::Div } else { Op::Rem };
    let result = match lane {
        Lane::I64 => wide(f, machine, a, b),
        _ => f.op(machine, ty, [a.into(), b.into()]),
    };
    let zero = f.setp(Cmp::Eq, ty, b, Operand::Int(0));
    f.selp(class_of(lane).ty(), Operand::Int(0), result, zero)
}

/// Quotient or remainder of 64 bits; by 0, any number.
fn wide(f: &mut Function, op: Op, a: Reg, b: Reg) -> Reg {
    let either = f.op(Op::Or, Ty::B64, [a.into(), b.into()]);
    let is_small = f.setp(Cmp::Lt, Ty::U64, either, Operand::Int(1 << 32));
    let result = f.reg(Class::B64);
    f.if_else(
        &mut (),
        is_small,
        |f, ()| {
            let [a, b] = [a, b].map(|reg| f.cvt(Round::None, Ty::U32, Ty::U64, reg));
            let short = f.op(op, Ty::U32, [a.into(), b.into()]);
            let long = f.cvt(Round::None, Ty::U64, Ty::U32, short);
            f.set(result, long);
        },
        |f, ()| {
            let found = bit_by_bit(f, op, a, b);
            f.set(result, found);
        },
    );
    result
}

/// The bits of the dividend move into the remainder, from which the divisor is taken where it can be; those of the quotient follow them.
fn bit_by_bit(f: &mut Function, op: Op, a: Reg, b: Reg) -> Reg {
    let (quotient, rest, left) = (f.reg(Class::B64), f.reg(Class::B64), f.reg(Class::B32));
    f.set(quotient, a);
    f.set(rest, Operand::Int(0));
    f.set(left, Operand::Int(64));
    f.repeat_while(
        &mut (),
        false,
        |f, ()| f.setp(Cmp::Ne, Ty::S32, left, Operand::Int(0)),
        |f, ()| {
            // The remainder has one bit for each turn before this one, so that doubling it loses none.
            let top = f.op(Op::Shr, Ty::U64, [quotient.into(), Operand::Int(63)]);
            let doubled = f.op(Op::Shl, Ty::B64, [rest.into(), Operand::Int(1)]);
            let more = f.op(Op::Or, Ty::B64, [doubled.into(), top.into()]);
            let taken = f.setp(Cmp::Ge, Ty::U64, more, b);
            let less = f.op(Op::Sub, Ty::U64, [more.into(), b.into()]);
            let shifted = f.op(Op::Shl, Ty::B64, [quotient.into(), Operand::Int(1)]);
            let rest_now = f.selp(Ty::B64, less, more, taken);
            f.set(rest, rest_now);
            if op == Op::Div {
                let bit = f.selp(Ty::B64, Operand::Int(1), Operand::Int(0), taken);
                let quotient_now = f.op(Op::Or, Ty::B64, [shifted.into(), bit.into()]);
                f.set(quotient, quotient_now);
            } else {
                f.set(quotient, shifted);
            }
            let one_less = f.op(Op::Sub, Ty::S32, [left.into(), Operand::Int(1)]);
            f.set(left, one_less);
        },
    );
    if op == Op::Div { quotient } else { rest }
}

#[cfg(test)]
mod tests {
    use super::factor;

    #[test]
    fn factors_divide_every_number() {
        for divisor in [3u64, 5, 6, 7, 9, 10, 192, 768, 50257, 65535, 65537, (1 << 32) - 1, (1 << 32) + 1, (1 << 62) + 3, i64::MAX as u64] {
            let (factor, shift) = factor(divisor);
            let near = |x: u64| [x.wrapping_sub(1), x, x.wrapping_add(1)];
            let numbers = [0, divisor, divisor.wrapping_mul(7), 1 << 31, 1 << 32, 1 << 63, u64::MAX / divisor * divisor];
            for x in numbers.into_iter().flat_map(near) {
                let high = ((u128::from(factor) * u128::from(x)) >> 64) as u64;
                assert_eq!((high + ((x - high) >> 1)) >> shift, x / divisor, "{x} / {divisor}");
            }
        }
    }
}
