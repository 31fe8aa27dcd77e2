//! Scalar integers, addresses and truth values.

use super::{Selector, Value};
use crate::backend::cpu::x86::inst::{Base, Class, Division, Inst, Line, Mem, VReg};
use crate::backend::cpu::x86::table::{self, Width};
use crate::tile::{Binary, Compare, Lane, Reg, Unary};
use iced_x86::Code;
use smallvec::smallvec;

/// The code for 64 or 32 bits.
macro_rules! sized {
    ($wide:expr, $wide_code:ident, $code:ident) => {
        if $wide { Code::$wide_code } else { Code::$code }
    };
}

impl Selector {
    pub(super) fn int_unary(&mut self, op: Unary, a: Reg) -> VReg {
        let (wide, x) = (a.ty.lane == Lane::I64, self.scalar(a));
        match op {
            Unary::Not if a.ty.lane == Lane::Mask => self.modify(Class::Int, Code::Xor_rm32_imm32, x, &[], Some(1)),
            Unary::Not => self.modify(Class::Int, sized!(wide, Not_rm64, Not_rm32), x, &[], None),
            Unary::Neg => self.modify(Class::Int, sized!(wide, Neg_rm64, Neg_rm32), x, &[], None),
            Unary::Abs => {
                let negated = self.modify(Class::Int, sized!(wide, Neg_rm64, Neg_rm32), x, &[], None);
                self.replace_if(negated, x, sized!(wide, Test_rm64_r64, Test_rm32_r32), &[x, x], None, Code::Cmovns_r64_rm64);
                negated
            }
            Unary::Sqrt | Unary::Ceil | Unary::Floor | Unary::Trunc | Unary::Nearest | Unary::RoundF16 | Unary::RoundBF16 => {
                panic!("tile: {op:?} of integers")
            }
        }
    }

    /// `def ← choice` where the comparison has the condition of `set` (a conditional move).
    pub(super) fn replace_if(&mut self, def: VReg, choice: VReg, compare: Code, uses: &[VReg], imm: Option<i64>, set: Code) {
        let uses = uses.iter().copied().collect();
        let compare = Inst { code: compare, def: None, modifies: false, uses, mem: None, stores: false, imm, mask: None };
        self.f.lines.push(Line::SetIf { compare, set, def, choice: Some(choice) });
    }

    pub(super) fn set_if(&mut self, compare: Code, uses: &[VReg], imm: Option<i64>, set: Code) -> VReg {
        let def = self.int();
        let uses = uses.iter().copied().collect();
        let compare = Inst { code: compare, def: None, modifies: false, uses, mem: None, stores: false, imm, mask: None };
        self.f.lines.push(Line::SetIf { compare, set, def, choice: None });
        def
    }

    fn small(&self, reg: Reg) -> Option<i64> {
        self.known(reg).filter(|n| i32::try_from(*n).is_ok())
    }

    pub(super) fn int_binary(&mut self, op: Binary, a: Reg, b: Reg) -> VReg {
        let wide = a.ty.lane == Lane::I64;
        match op {
            Binary::DivS | Binary::DivU | Binary::RemS | Binary::RemU => return self.divide(op, a, b),
            Binary::Shl | Binary::ShrS | Binary::ShrU => return self.shift(op, a, b),
            _ => {}
        }
        let (x, y) = (self.scalar(a), self.scalar(b));
        let constant = self.small(b);
        let lea = |s: &mut Self, index: Option<(VReg, u32)>, offset: i64| {
            let sum = Mem { base: Base::Register(x), index, offset: offset as i32 };
            s.make(Class::Int, Code::Lea_r64_m, &[], Some(sum), None)
        };
        match (op, constant) {
            (Binary::Add, Some(n)) if wide => lea(self, None, n),
            (Binary::Sub, Some(n)) if wide && n != i64::from(i32::MIN) => lea(self, None, -n),
            (Binary::Add, None) if wide => lea(self, Some((y, 1)), 0),
            (Binary::Mul, Some(n)) => {
                let code = sized!(wide, Imul_r64_rm64_imm32, Imul_r32_rm32_imm32);
                self.make(Class::Int, code, &[x], None, Some(n))
            }
            (Binary::And, Some(n)) => self.modify(Class::Int, sized!(wide, And_rm64_imm32, And_rm32_imm32), x, &[], Some(n)),
            (Binary::Add, _) => self.modify(Class::Int, sized!(wide, Add_r64_rm64, Add_r32_rm32), x, &[y], None),
            (Binary::Sub, _) => self.modify(Class::Int, sized!(wide, Sub_r64_rm64, Sub_r32_rm32), x, &[y], None),
            (Binary::Mul, None) => self.modify(Class::Int, sized!(wide, Imul_r64_rm64, Imul_r32_rm32), x, &[y], None),
            (Binary::And, None) => self.modify(Class::Int, sized!(wide, And_r64_rm64, And_r32_rm32), x, &[y], None),
            (Binary::Or, _) => self.modify(Class::Int, sized!(wide, Or_r64_rm64, Or_r32_rm32), x, &[y], None),
            (Binary::Xor, _) => self.modify(Class::Int, sized!(wide, Xor_r64_rm64, Xor_r32_rm32), x, &[y], None),
            (Binary::MinS | Binary::MaxS | Binary::MinU | Binary::MaxU, _) => {
                let set = match op {
                    Binary::MinS => Code::Cmovl_r64_rm64,
                    Binary::MaxS => Code::Cmovg_r64_rm64,
                    Binary::MinU => Code::Cmovb_r64_rm64,
                    _ => Code::Cmova_r64_rm64,
                };
                let result = self.int();
                self.copy(result, x);
                self.replace_if(result, y, sized!(wide, Cmp_r64_rm64, Cmp_r32_rm32), &[y, x], None, set);
                result
            }
            (
                Binary::Div
                | Binary::DivS
                | Binary::DivU
                | Binary::RemS
                | Binary::RemU
                | Binary::Shl
                | Binary::ShrS
                | Binary::ShrU
                | Binary::Minimum
                | Binary::Maximum
                | Binary::MinOrSecond
                | Binary::MaxOrSecond
                | Binary::Scale,
                _,
            ) => panic!("tile: {op:?} of scalar integers is not here"),
        }
    }

    /// Shifts with a defined result from the lane width on; the machine takes the amount modulo the width.
    fn shift(&mut self, op: Binary, a: Reg, b: Reg) -> VReg {
        let wide = a.ty.lane == Lane::I64;
        let width = i64::from(a.ty.lane.bits());
        let x = self.scalar(a);
        if let Some(n) = self.known(b) {
            let inside = (0..width).contains(&n);
            if !inside && op != Binary::ShrS {
                return self.int_constant(0);
            }
            let code = match op {
                Binary::Shl => sized!(wide, Shl_rm64_imm8, Shl_rm32_imm8),
                Binary::ShrS => sized!(wide, Sar_rm64_imm8, Sar_rm32_imm8),
                _ => sized!(wide, Shr_rm64_imm8, Shr_rm32_imm8),
            };
            return self.modify(Class::Int, code, x, &[], Some(if inside { n } else { width - 1 }));
        }
        let compare = sized!(wide, Cmp_rm64_imm32, Cmp_rm32_imm32);
        let amount = self.scalar(b);
        if op == Binary::ShrS {
            let bounded = self.int();
            self.copy(bounded, amount);
            let last = self.int_constant(width - 1);
            self.replace_if(bounded, last, compare, &[amount], Some(width), Code::Cmovae_r64_rm64);
            return self.make(Class::Int, sized!(wide, VEX_Sarx_r64_rm64_r64, VEX_Sarx_r32_rm32_r32), &[x, bounded], None, None);
        }
        let code = match op {
            Binary::Shl => sized!(wide, VEX_Shlx_r64_rm64_r64, VEX_Shlx_r32_rm32_r32),
            _ => sized!(wide, VEX_Shrx_r64_rm64_r64, VEX_Shrx_r32_rm32_r32),
        };
        let shifted = self.make(Class::Int, code, &[x, amount], None, None);
        let zero = self.int_constant(0);
        self.replace_if(shifted, zero, compare, &[amount], Some(width), Code::Cmovae_r64_rm64);
        shifted
    }

    /// Division without the traps of the machine: the divisor is made harmless, then the result mended.
    fn divide(&mut self, op: Binary, a: Reg, b: Reg) -> VReg {
        let wide = a.ty.lane == Lane::I64;
        let (dividend, y) = (self.scalar(a), self.scalar(b));
        let signed = matches!(op, Binary::DivS | Binary::RemS);
        let remainder = matches!(op, Binary::RemS | Binary::RemU);
        let def = self.int();
        if self.known(b).is_some_and(|n| n > 0 && n <= i64::from(i32::MAX)) {
            self.f.lines.push(Line::Divide(Division { signed, wide, remainder, def, dividend, divisor: y }));
            return def;
        }
        let compare = sized!(wide, Cmp_rm64_imm32, Cmp_rm32_imm32);
        let (zero, one, divisor) = (self.int_constant(0), self.int_constant(1), self.int());
        self.copy(divisor, y);
        self.replace_if(divisor, one, compare, &[y], Some(0), Code::Cmove_r64_rm64);
        if signed {
            self.replace_if(divisor, one, compare, &[y], Some(-1), Code::Cmove_r64_rm64);
        }
        self.f.lines.push(Line::Divide(Division { signed, wide, remainder, def, dividend, divisor }));
        if signed {
            let negated = match remainder {
                true => zero,
                false => self.modify(Class::Int, sized!(wide, Neg_rm64, Neg_rm32), dividend, &[], None),
            };
            self.replace_if(def, negated, compare, &[y], Some(-1), Code::Cmove_r64_rm64);
        }
        self.replace_if(def, zero, compare, &[y], Some(0), Code::Cmove_r64_rm64);
        def
    }

    pub(super) fn scalar_compare(&mut self, op: Compare, a: Reg, b: Reg) -> VReg {
        if a.ty.lane.is_float() {
            return self.float_compare(op, a, b);
        }
        let wide = a.ty.lane == Lane::I64;
        let set = match op {
            Compare::Eq => Code::Sete_rm8,
            Compare::Ne => Code::Setne_rm8,
            Compare::Lt => Code::Setl_rm8,
            Compare::Le => Code::Setle_rm8,
            Compare::Gt => Code::Setg_rm8,
            Compare::Ge => Code::Setge_rm8,
            Compare::LtU => Code::Setb_rm8,
            Compare::LeU => Code::Setbe_rm8,
            Compare::GtU => Code::Seta_rm8,
            Compare::GeU => Code::Setae_rm8,
        };
        let x = self.scalar(a);
        if let Some(n) = self.small(b) {
            return self.set_if(sized!(wide, Cmp_rm64_imm32, Cmp_rm32_imm32), &[x], Some(n), set);
        }
        let y = self.scalar(b);
        self.set_if(sized!(wide, Cmp_r64_rm64, Cmp_r32_rm32), &[x, y], None, set)
    }

    /// `ucomis` sets all its flags for NaN, so "above" is the one condition that is false then.
    fn float_compare(&mut self, op: Compare, a: Reg, b: Reg) -> VReg {
        let row = if a.ty.lane == Lane::F32 { table::COMPARE_SS } else { table::COMPARE_SD };
        let code = row.code(self.evex);
        let (x, y) = (self.scalar(a), self.scalar(b));
        match op {
            Compare::Lt => self.set_if(code, &[y, x], None, Code::Seta_rm8),
            Compare::Le => self.set_if(code, &[y, x], None, Code::Setae_rm8),
            Compare::Gt => self.set_if(code, &[x, y], None, Code::Seta_rm8),
            Compare::Ge => self.set_if(code, &[x, y], None, Code::Setae_rm8),
            Compare::Eq => {
                let (equal, ordered) =
                    (self.set_if(code, &[x, y], None, Code::Sete_rm8), self.set_if(code, &[x, y], None, Code::Setnp_rm8));
                self.modify(Class::Int, Code::And_r32_rm32, equal, &[ordered], None)
            }
            Compare::Ne => {
                let (unequal, unordered) =
                    (self.set_if(code, &[x, y], None, Code::Setne_rm8), self.set_if(code, &[x, y], None, Code::Setp_rm8));
                self.modify(Class::Int, Code::Or_r32_rm32, unequal, &[unordered], None)
            }
            Compare::LtU | Compare::LeU | Compare::GtU | Compare::GeU => panic!("tile: {op:?} of floats"),
        }
    }

    pub(super) fn scalar_select(&mut self, mask: Reg, a: Reg, b: Reg) -> VReg {
        let (condition, x, y) = (self.scalar(mask), self.scalar(a), self.scalar(b));
        if !a.ty.lane.is_float() {
            let result = self.int();
            self.copy(result, y);
            self.replace_if(result, x, Code::Test_rm32_r32, &[condition, condition], None, Code::Cmovne_r64_rm64);
            return result;
        }
        let chosen = self.splat_truth(condition, 1);
        self.choose(&chosen, 0, a.ty.lane, Width::W128, x, y)
    }

    /// A scalar truth value as a vector mask of so many lanes.
    pub(super) fn splat_truth(&mut self, truth: VReg, lanes: u32) -> Value {
        let all = self.modify(Class::Int, Code::Neg_rm64, truth, &[], None);
        if self.evex {
            return Value::one(self.make(Class::Mask, Code::VEX_Kmovq_kr_r64, &[all], None, None));
        }
        // 64-bit lanes also read as 32-bit ones where there is one lane only.
        let low = self.make(Class::Vector, table::INT64_TO_VECTOR.code(self.evex), &[all], None, None);
        if lanes == 1 {
            return Value { registers: smallvec![low], mask_bits: 0 };
        }
        let (count, width) = self.layout_bits(lanes * super::CARRIED_MASK_BITS);
        let register = self.op(table::SPLAT_32, width, &[low]);
        Value { registers: std::iter::repeat_n(register, count).collect(), mask_bits: super::CARRIED_MASK_BITS }
    }
}
