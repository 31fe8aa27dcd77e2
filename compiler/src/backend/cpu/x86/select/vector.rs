//! Arithmetic of floats, scalar or not, and of integer vectors.

use super::{Selector, Value};
use crate::backend::cpu::x86::inst::{Class, VReg};
use crate::backend::cpu::x86::table::{self, Row, ScalarRow, Width};
use crate::tile::{Binary, Lane, Reg, Type, Unary};

impl Selector {
    /// Width of the registers of a value; a scalar float counts as 128 bits.
    fn width_of(&self, ty: Type) -> Width {
        if ty.is_scalar() { Width::W128 } else { self.layout(ty).1 }
    }

    pub(super) fn vector_unary(&mut self, op: Unary, a: Reg) -> Value {
        if a.ty.lane == Lane::Mask {
            return self.mask_not(a);
        }
        let (value, width) = (self.value(a), self.width_of(a.ty));
        self.each(&value, |s, _, x| s.unary_register(op, a.ty, width, x))
    }

    fn unary_register(&mut self, op: Unary, ty: Type, width: Width, x: VReg) -> VReg {
        let (lane, wide) = (ty.lane, ty.lane.bits() == 64);
        let sign = 1u64 << (lane.bits() - 1);
        let (xor, and) = if wide { (table::XOR_PD, table::AND_PD) } else { (table::XOR_PS, table::AND_PS) };
        let round = |s: &mut Self, mode: i64| {
            // Bit 3: no exception for inexact results.
            let mode = mode | 8;
            match (ty.is_scalar(), wide) {
                (true, false) => s.low_imm(table::ROUND_SS, &[x, x], mode),
                (true, true) => s.low_imm(table::ROUND_SD, &[x, x], mode),
                (false, false) => s.op_imm(table::ROUND_PS, width, &[x], mode),
                (false, true) => s.op_imm(table::ROUND_PD, width, &[x], mode),
            }
        };
        match (op, lane.is_float()) {
            (Unary::Neg, true) => {
                let sign = self.splat_constant(sign, lane.bits(), width);
                self.op(xor, width, &[x, sign])
            }
            (Unary::Abs, true) => {
                let rest = self.splat_constant(sign - 1, lane.bits(), width);
                self.op(and, width, &[x, rest])
            }
            (Unary::Sqrt, _) => match (ty.is_scalar(), wide) {
                (true, false) => self.low(table::SQRT_SS, &[x, x]),
                (true, true) => self.low(table::SQRT_SD, &[x, x]),
                (false, false) => self.op(table::SQRT_PS, width, &[x]),
                (false, true) => self.op(table::SQRT_PD, width, &[x]),
            },
            (Unary::Nearest, _) => round(self, 0),
            (Unary::Floor, _) => round(self, 1),
            (Unary::Ceil, _) => round(self, 2),
            (Unary::Trunc, _) => round(self, 3),
            (Unary::Neg, false) => {
                let zero = self.splat_constant(0, 32, width);
                self.op(if wide { table::SUB_Q } else { table::SUB_D }, width, &[zero, x])
            }
            (Unary::Abs, false) if !wide => self.op(table::ABS_D, width, &[x]),
            (Unary::Abs, false) if self.evex => self.op(table::ABS_Q, width, &[x]),
            (Unary::Abs, false) => {
                let negative = self.negative(width, x);
                let flipped = self.op(table::XOR_INT, width, &[x, negative]);
                self.op(table::SUB_Q, width, &[flipped, negative])
            }
            (Unary::Not, _) => self.inverted(x, width),
            (Unary::RoundF16, _) => {
                let half = self.half_floats_of(width, x);
                self.op(table::F16_TO_F32, width, &[half])
            }
            (Unary::RoundBF16, _) => panic!("tile: {op:?} is expanded before selection"),
        }
    }

    /// All bits of the 64-bit lanes that are below zero.
    fn negative(&mut self, width: Width, x: VReg) -> VReg {
        let zero = self.splat_constant(0, 32, width);
        self.op(table::CMP_GT_Q, width, &[zero, x])
    }

    pub(super) fn vector_binary(&mut self, op: Binary, a: Reg, b: Reg) -> Value {
        if a.ty.lane == Lane::Mask {
            return self.mask_binary(op, a, b);
        }
        let (x, width) = (self.value(a), self.width_of(a.ty));
        if matches!(op, Binary::Shl | Binary::ShrS | Binary::ShrU)
            && let Some(n) = self.known(b)
        {
            return self.each(&x, |s, _, x| s.shift_by(op, a.ty.lane, width, x, n));
        }
        let y = self.value(b);
        self.each(&x, |s, at, x| s.binary_registers(op, a.ty, width, x, y.registers[at]))
    }

    fn binary_registers(&mut self, op: Binary, ty: Type, width: Width, x: VReg, y: VReg) -> VReg {
        if ty.lane.is_float() {
            return self.float_binary(op, ty, width, x, y);
        }
        let wide = ty.lane == Lane::I64;
        let sized = |narrow: Row, wide_row: Row| if wide { wide_row } else { narrow };
        match op {
            Binary::Add => self.op(sized(table::ADD_D, table::ADD_Q), width, &[x, y]),
            Binary::Sub => self.op(sized(table::SUB_D, table::SUB_Q), width, &[x, y]),
            Binary::Mul if !wide => self.op(table::MUL_D, width, &[x, y]),
            Binary::Mul if self.evex => self.op(table::MUL_Q, width, &[x, y]),
            Binary::Mul => self.multiply_64(width, x, y),
            Binary::And => self.op(table::AND_INT, width, &[x, y]),
            Binary::Or => self.op(table::OR_INT, width, &[x, y]),
            Binary::Xor => self.op(table::XOR_INT, width, &[x, y]),
            Binary::Shl => self.op(sized(table::SHL_BY_D, table::SHL_BY_Q), width, &[x, y]),
            Binary::ShrU => self.op(sized(table::SHR_U_BY_D, table::SHR_U_BY_Q), width, &[x, y]),
            Binary::ShrS if !wide || self.evex => self.op(sized(table::SHR_S_BY_D, table::SHR_S_BY_Q), width, &[x, y]),
            Binary::ShrS => self.signed_shift_64(width, x, |s, x| s.op(table::SHR_U_BY_Q, width, &[x, y])),
            Binary::MinS | Binary::MaxS | Binary::MinU | Binary::MaxU => self.int_minmax(op, wide, width, x, y),
            Binary::Div
            | Binary::DivS
            | Binary::DivU
            | Binary::RemS
            | Binary::RemU
            | Binary::Minimum
            | Binary::Maximum
            | Binary::MinOrSecond
            | Binary::MaxOrSecond
            | Binary::Scale => panic!("tile: {op:?} of {ty} is expanded before selection"),
        }
    }

    /// The low halves of 64-bit products: low · low, and the crosswise products above.
    fn multiply_64(&mut self, width: Width, x: VReg, y: VReg) -> VReg {
        let (x_high, y_high) = (self.op_imm(table::SHR_U_Q, width, &[x], 32), self.op_imm(table::SHR_U_Q, width, &[y], 32));
        let (one, other) = (self.op(table::MUL_U_D_Q, width, &[x_high, y]), self.op(table::MUL_U_D_Q, width, &[x, y_high]));
        let cross = self.op(table::ADD_Q, width, &[one, other]);
        let cross = self.op_imm(table::SHL_Q, width, &[cross], 32);
        let low = self.op(table::MUL_U_D_Q, width, &[x, y]);
        self.op(table::ADD_Q, width, &[low, cross])
    }

    /// An arithmetic shift out of a logical one: of the bits flipped where the sign is set.
    fn signed_shift_64(&mut self, width: Width, x: VReg, shift: impl Fn(&mut Self, VReg) -> VReg) -> VReg {
        let negative = self.negative(width, x);
        let flipped = self.op(table::XOR_INT, width, &[x, negative]);
        let shifted = shift(self, flipped);
        self.op(table::XOR_INT, width, &[shifted, negative])
    }

    fn int_minmax(&mut self, op: Binary, wide: bool, width: Width, x: VReg, y: VReg) -> VReg {
        let (narrow, row) = match op {
            Binary::MinS => (table::MIN_S_D, table::MIN_S_Q),
            Binary::MaxS => (table::MAX_S_D, table::MAX_S_Q),
            Binary::MinU => (table::MIN_U_D, table::MIN_U_Q),
            _ => (table::MAX_U_D, table::MAX_U_Q),
        };
        if !wide {
            return self.op(narrow, width, &[x, y]);
        }
        if self.evex {
            return self.op(row, width, &[x, y]);
        }
        let (mut a, mut b) = (x, y);
        if matches!(op, Binary::MinU | Binary::MaxU) {
            let top = self.splat_constant(1 << 63, 64, width);
            (a, b) = (self.op(table::XOR_INT, width, &[x, top]), self.op(table::XOR_INT, width, &[y, top]));
        }
        let more = self.op(table::CMP_GT_Q, width, &[a, b]);
        let (if_more, otherwise) = if matches!(op, Binary::MinS | Binary::MinU) { (y, x) } else { (x, y) };
        self.op(table::BLEND_Q, width, &[otherwise, if_more, more])
    }

    /// A shift of integer vectors by a constant.
    fn shift_by(&mut self, op: Binary, lane: Lane, width: Width, x: VReg, n: i64) -> VReg {
        let bits = i64::from(lane.bits());
        let inside = (0..bits).contains(&n);
        if !inside && op != Binary::ShrS {
            return self.splat_constant(0, 32, width);
        }
        let n = if inside { n } else { bits - 1 };
        let wide = lane == Lane::I64;
        let row = match (op, wide) {
            (Binary::Shl, false) => table::SHL_D,
            (Binary::Shl, true) => table::SHL_Q,
            (Binary::ShrU, false) => table::SHR_U_D,
            (Binary::ShrU, true) => table::SHR_U_Q,
            (_, false) => table::SHR_S_D,
            (_, true) if self.evex => table::SHR_S_Q,
            (_, true) => return self.signed_shift_64(width, x, |s, x| s.op_imm(table::SHR_U_Q, width, &[x], n)),
        };
        self.op_imm(row, width, &[x], n)
    }

    fn float_binary(&mut self, op: Binary, ty: Type, width: Width, x: VReg, y: VReg) -> VReg {
        let wide = ty.lane == Lane::F64;
        let rows: (Row, Row, ScalarRow, ScalarRow) = match op {
            Binary::Add => (table::ADD_PS, table::ADD_PD, table::ADD_SS, table::ADD_SD),
            Binary::Sub => (table::SUB_PS, table::SUB_PD, table::SUB_SS, table::SUB_SD),
            Binary::Mul => (table::MUL_PS, table::MUL_PD, table::MUL_SS, table::MUL_SD),
            Binary::Div => (table::DIV_PS, table::DIV_PD, table::DIV_SS, table::DIV_SD),
            Binary::MinOrSecond => (table::MIN_PS, table::MIN_PD, table::MIN_SS, table::MIN_SD),
            Binary::MaxOrSecond => (table::MAX_PS, table::MAX_PD, table::MAX_SS, table::MAX_SD),
            Binary::Scale => (table::SCALE_PS, table::SCALE_PD, table::SCALE_SS, table::SCALE_SD),
            Binary::Minimum | Binary::Maximum => return self.nan_minmax(op, ty, width, x, y),
            _ => panic!("tile: {op:?} of floats"),
        };
        match (ty.is_scalar(), wide) {
            (true, false) => self.low(rows.2, &[x, y]),
            (true, true) => self.low(rows.3, &[x, y]),
            (false, false) => self.op(rows.0, width, &[x, y]),
            (false, true) => self.op(rows.1, width, &[x, y]),
        }
    }

    /// NaN-propagating minimum or maximum out of `min` or `max` in both orders: they differ only in NaN lanes, where one order
    /// gives the NaN, and in lanes of zeros, where the signs combine.
    fn nan_minmax(&mut self, op: Binary, ty: Type, width: Width, x: VReg, y: VReg) -> VReg {
        let wide = ty.lane == Lane::F64;
        let sized = |narrow: Row, wide_row: Row| if wide { wide_row } else { narrow };
        let row = if op == Binary::Minimum { sized(table::MIN_PS, table::MIN_PD) } else { sized(table::MAX_PS, table::MAX_PD) };
        let (one, other) = (self.op(row, width, &[x, y]), self.op(row, width, &[y, x]));
        if op == Binary::Minimum {
            // Or: −0 wins over +0, and all exponent bits of the NaN stay.
            return self.op(sized(table::OR_PS, table::OR_PD), width, &[one, other]);
        }
        // And: +0 wins; it may spoil the NaN, so NaN lanes are chosen from a sum.
        let both = self.op(sized(table::AND_PS, table::AND_PD), width, &[one, other]);
        let unordered = self.compare_piece(sized(table::CMP_PS, table::CMP_PD), width, x, y, 3);
        let sum = self.op(sized(table::ADD_PS, table::ADD_PD), width, &[x, y]);
        let mask = Value::one(unordered);
        self.choose(&mask, 0, ty.lane, width, sum, both)
    }

    /// `a · b + c`, overwriting the sum where nobody needs it any more.
    pub(super) fn fma(&mut self, a: Reg, b: Reg, c: Reg) -> Value {
        let (x, y, z, width) = (self.value(a), self.value(b), self.value(c), self.width_of(a.ty));
        let code = match (a.ty.is_scalar(), a.ty.lane == Lane::F64) {
            (true, false) => table::FMA231_SS.code(self.evex),
            (true, true) => table::FMA231_SD.code(self.evex),
            (false, false) => table::FMA231_PS.code(self.evex, width),
            (false, true) => table::FMA231_PD.code(self.evex, width),
        };
        self.each(&z, |s, at, z| s.modify(Class::Vector, code, z, &[x.registers[at], y.registers[at]], None))
    }
}
