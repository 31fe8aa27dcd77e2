//! Arithmetic, comparisons and selection.

use super::pieces::{Pieces, scalar_type};
use super::{Fact, Lowering};
use crate::tile::{Binary, Compare, Lane, Reg, Type, Unary};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value};

impl Lowering<'_> {
    pub(super) fn unary(&mut self, op: Unary, a: Reg) -> Pieces {
        let pieces = self.get(a);
        let float = a.ty.lane.is_float();
        if op == Unary::Not && a.ty == Type::MASK {
            let value = self.f.ins().bxor_imm_u(pieces.values[0], 1);
            return Pieces::scalar(value);
        }
        let each = |&value: &Value| {
            let ins = self.f.ins();
            match op {
                Unary::Neg if float => ins.fneg(value),
                Unary::Neg => ins.ineg(value),
                Unary::Abs if float => ins.fabs(value),
                Unary::Abs => ins.iabs(value),
                Unary::Not => ins.bnot(value),
                Unary::Sqrt => ins.sqrt(value),
                Unary::Ceil => ins.ceil(value),
                Unary::Floor => ins.floor(value),
                Unary::Trunc => ins.trunc(value),
                Unary::Nearest => ins.nearest(value),
                Unary::RoundF16 | Unary::RoundBF16 => {
                    panic!("tile: {op:?} is expanded before lowering")
                }
            }
        };
        Pieces { values: pieces.values.iter().map(each).collect(), mask_bits: pieces.mask_bits }
    }

    pub(super) fn binary(&mut self, op: Binary, a: Reg, b: Reg) -> Pieces {
        let (x, y) = (self.get(a), self.get(b));
        let ty = a.ty;
        match op {
            Binary::And | Binary::Or | Binary::Xor => {
                let y = match y.mask_bits == x.mask_bits {
                    true => y,
                    false => self.mask_as(&y, ty.lanes, x.mask_bits),
                };
                self.bitwise(op, &x, &y)
            }
            Binary::Shl | Binary::ShrS | Binary::ShrU => self.shift(op, a, b),
            Binary::DivS | Binary::DivU | Binary::RemS | Binary::RemU => Pieces::scalar(self.integer_division(op, a, b)),
            Binary::Minimum | Binary::Maximum if !self.machine.nan_minmax => self.zip(&x, &y, |l, x, y| l.nan_minmax(op, ty, x, y)),
            Binary::MinOrSecond => self.zip(&x, &y, |l, x, y| l.min_or_second(ty, x, y)),
            Binary::MaxOrSecond => self.zip(&x, &y, |l, x, y| l.max_or_second(ty, x, y)),
            Binary::Add
            | Binary::Sub
            | Binary::Mul
            | Binary::Div
            | Binary::Minimum
            | Binary::Maximum
            | Binary::Scale
            | Binary::MinS
            | Binary::MinU
            | Binary::MaxS
            | Binary::MaxU => self.zip(&x, &y, |l, x, y| l.plain_binary(op, ty.lane, x, y)),
        }
    }

    /// `f` of the pieces of two registers.
    fn zip(&mut self, a: &Pieces, b: &Pieces, f: impl Fn(&mut Self, Value, Value) -> Value) -> Pieces {
        let pairs = a.values.iter().zip(&b.values);
        Pieces::of(pairs.map(|(&a, &b)| f(self, a, b)).collect())
    }

    pub(super) fn bitwise(&mut self, op: Binary, a: &Pieces, b: &Pieces) -> Pieces {
        let pieces = self.zip(a, b, |l, a, b| match op {
            Binary::And => l.f.ins().band(a, b),
            Binary::Or => l.f.ins().bor(a, b),
            _ => l.f.ins().bxor(a, b),
        });
        Pieces { mask_bits: a.mask_bits, ..pieces }
    }

    fn plain_binary(&mut self, op: Binary, lane: Lane, a: Value, b: Value) -> Value {
        let float = lane.is_float();
        let ins = self.f.ins();
        match op {
            Binary::Add if float => ins.fadd(a, b),
            Binary::Add => ins.iadd(a, b),
            Binary::Sub if float => ins.fsub(a, b),
            Binary::Sub => ins.isub(a, b),
            Binary::Mul if float => ins.fmul(a, b),
            Binary::Mul => ins.imul(a, b),
            Binary::Div => ins.fdiv(a, b),
            Binary::Minimum => ins.fmin(a, b),
            Binary::Maximum => ins.fmax(a, b),
            Binary::MinS => ins.smin(a, b),
            Binary::MinU => ins.umin(a, b),
            Binary::MaxS => ins.smax(a, b),
            Binary::MaxU => ins.umax(a, b),
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
            | Binary::MinOrSecond
            | Binary::MaxOrSecond
            | Binary::Scale => panic!("tile: {op:?} has its own lowering"),
        }
    }

    /// `a < b ? a : b`, in the spelling that Cranelift turns into `minps`.
    fn min_or_second(&mut self, ty: Type, a: Value, b: Value) -> Value {
        let less = self.f.ins().fcmp(FloatCC::LessThan, a, b);
        self.choose(ty, less, a, b)
    }

    /// `a > b ? a : b`, in the spelling that Cranelift turns into `maxps`.
    fn max_or_second(&mut self, ty: Type, a: Value, b: Value) -> Value {
        let more = self.f.ins().fcmp(FloatCC::LessThan, b, a);
        self.choose(ty, more, a, b)
    }

    /// One piece of a selection; `mask` has the lane width of `ty`.
    fn choose(&mut self, ty: Type, mask: Value, a: Value, b: Value) -> Value {
        if ty.is_scalar() {
            return self.f.ins().select(mask, a, b);
        }
        let vector = self.f.func.dfg.value_type(a);
        let mask = self.cast(vector, mask);
        self.f.ins().bitselect(mask, a, b)
    }

    /// NaN-propagating minimum or maximum out of `minps`/`maxps` in both orders: they differ only in NaN
    /// lanes, where one order gives the NaN, and in lanes of zeros, where the signs combine.
    fn nan_minmax(&mut self, op: Binary, ty: Type, a: Value, b: Value) -> Value {
        if op == Binary::Minimum {
            let (one, other) = (self.min_or_second(ty, a, b), self.min_or_second(ty, b, a));
            // Or: −0 wins over +0, and all exponent bits of the NaN stay.
            return self.f.ins().bor(one, other);
        }
        let (one, other) = (self.max_or_second(ty, a, b), self.max_or_second(ty, b, a));
        // And: +0 wins; it may spoil the NaN, so NaN lanes are chosen from a sum.
        let both = self.f.ins().band(one, other);
        let nan = self.f.ins().fcmp(FloatCC::Unordered, a, b);
        let sum = self.f.ins().fadd(a, b);
        self.choose(ty, nan, sum, both)
    }

    /// Shifts with a defined result from the lane width on; Cranelift takes the amount modulo the width.
    fn shift(&mut self, op: Binary, a: Reg, amount: Reg) -> Pieces {
        let pieces = self.get(a);
        let width = i64::from(a.ty.lane.bits());
        match self.facts[amount.index as usize] {
            Fact::Int(n) => {
                let outside = !(0..width).contains(&n);
                if outside && op != Binary::ShrS {
                    return self.int_constant(a.ty, 0);
                }
                let n = if outside { width - 1 } else { n };
                let each = |&value: &Value| {
                    let ins = self.f.ins();
                    match op {
                        Binary::Shl => ins.ishl_imm_u(value, n),
                        Binary::ShrS => ins.sshr_imm_u(value, n),
                        _ => ins.ushr_imm_u(value, n),
                    }
                };
                Pieces::of(pieces.values.iter().map(each).collect())
            }
            Fact::Splat(scalar) => {
                let amount = self.scalar(scalar);
                Pieces::of(pieces.values.iter().map(|&value| self.shift_by(op, a.ty, value, amount)).collect())
            }
            Fact::Unknown => {
                let amounts = self.get(amount);
                let element = a.ty.element();
                let scalars: Vec<Value> = (0..a.ty.lanes)
                    .map(|l| {
                        let value = self.extract(a.ty, &pieces, l);
                        let amount = self.extract(a.ty, &amounts, l);
                        self.shift_by(op, element, value, amount)
                    })
                    .collect();
                match a.ty.is_scalar() {
                    true => Pieces::of(scalars),
                    false => Pieces::of(self.build(a.ty.lane, &scalars)),
                }
            }
        }
    }

    /// One scalar or vector shifted by one scalar amount (of the lane's type).
    fn shift_by(&mut self, op: Binary, ty: Type, value: Value, amount: Value) -> Value {
        let width = i64::from(ty.lane.bits());
        if op == Binary::ShrS {
            let last = self.f.ins().iconst(scalar_type(ty.lane), width - 1);
            let amount = self.f.ins().umin(amount, last);
            return self.f.ins().sshr(value, amount);
        }
        let shifted = match op {
            Binary::Shl => self.f.ins().ishl(value, amount),
            _ => self.f.ins().ushr(value, amount),
        };
        let inside = self.f.ins().icmp_imm_u(IntCC::UnsignedLessThan, amount, width);
        let zero = self.int_constant(ty, 0).values[0];
        self.f.ins().select(inside, shifted, zero)
    }

    /// Division without the traps of the machine: the divisor is made harmless, then the result mended.
    fn integer_division(&mut self, op: Binary, a: Reg, b: Reg) -> Value {
        let (x, y) = (self.scalar(a), self.scalar(b));
        let signed = matches!(op, Binary::DivS | Binary::RemS);
        let divide = |l: &mut Self, y: Value| {
            let ins = l.f.ins();
            match op {
                Binary::DivS => ins.sdiv(x, y),
                Binary::DivU => ins.udiv(x, y),
                Binary::RemS => ins.srem(x, y),
                _ => ins.urem(x, y),
            }
        };
        if let Some(n) = self.constant(b)
            && n > 0
            && n < 1 << (b.ty.lane.bits() - 1).min(62)
        {
            return divide(self, y);
        }
        let ty = scalar_type(a.ty.lane);
        let zero = self.f.ins().iconst(ty, 0);
        let one = self.f.ins().iconst(ty, 1);
        let by_zero = self.f.ins().icmp(IntCC::Equal, y, zero);
        let mut harmless = self.f.ins().select(by_zero, one, y);
        if !signed {
            let value = divide(self, harmless);
            return self.f.ins().select(by_zero, zero, value);
        }
        let by_minus_one = {
            let after = self.f.ins().iadd(y, one);
            self.f.ins().icmp(IntCC::Equal, after, zero)
        };
        harmless = self.f.ins().select(by_minus_one, one, harmless);
        let value = divide(self, harmless);
        let negated = match op {
            Binary::DivS => self.f.ins().ineg(x),
            _ => zero,
        };
        let value = self.f.ins().select(by_minus_one, negated, value);
        self.f.ins().select(by_zero, zero, value)
    }

    pub(super) fn compare(&mut self, op: Compare, a: Reg, b: Reg) -> Pieces {
        let (x, y) = (self.get(a), self.get(b));
        let float = a.ty.lane.is_float();
        let pieces = self.zip(&x, &y, |l, x, y| match float {
            true => l.f.ins().fcmp(float_condition(op), x, y),
            false => l.f.ins().icmp(int_condition(op), x, y),
        });
        match a.ty.is_scalar() {
            true => pieces,
            false => Pieces::mask(pieces.values, a.ty.lane.bits()),
        }
    }

    pub(super) fn select(&mut self, mask: Reg, a: Reg, b: Reg) -> Pieces {
        let (mut chosen, x, mut y) = (self.get(mask), self.get(a), self.get(b));
        let mut bits = a.ty.lane.bits();
        if !a.ty.is_scalar() {
            if a.ty.lane == Lane::Mask {
                bits = x.mask_bits;
                y = self.mask_as(&y, a.ty.lanes, bits);
            }
            chosen = self.mask_as(&chosen, a.ty.lanes, bits);
        }
        let values = (0..x.values.len()).map(|p| self.choose(a.ty, chosen.values[p], x.values[p], y.values[p])).collect();
        Pieces { values, mask_bits: x.mask_bits }
    }
}

fn float_condition(op: Compare) -> FloatCC {
    match op {
        Compare::Eq => FloatCC::Equal,
        Compare::Ne => FloatCC::NotEqual,
        Compare::Lt => FloatCC::LessThan,
        Compare::Le => FloatCC::LessThanOrEqual,
        Compare::Gt => FloatCC::GreaterThan,
        Compare::Ge => FloatCC::GreaterThanOrEqual,
        Compare::LtU | Compare::LeU | Compare::GtU | Compare::GeU => {
            panic!("tile: {op:?} of floats")
        }
    }
}

fn int_condition(op: Compare) -> IntCC {
    match op {
        Compare::Eq => IntCC::Equal,
        Compare::Ne => IntCC::NotEqual,
        Compare::Lt => IntCC::SignedLessThan,
        Compare::Le => IntCC::SignedLessThanOrEqual,
        Compare::Gt => IntCC::SignedGreaterThan,
        Compare::Ge => IntCC::SignedGreaterThanOrEqual,
        Compare::LtU => IntCC::UnsignedLessThan,
        Compare::LeU => IntCC::UnsignedLessThanOrEqual,
        Compare::GtU => IntCC::UnsignedGreaterThan,
        Compare::GeU => IntCC::UnsignedGreaterThanOrEqual,
    }
}
