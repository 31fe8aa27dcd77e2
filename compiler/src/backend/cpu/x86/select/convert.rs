//! Conversions between kinds of lanes.

use super::{Selector, Value};
use crate::backend::cpu::x86::inst::{Class, VReg};
use crate::backend::cpu::x86::table::{self, Row, Width};
use crate::tile::{Convert, Lane, Reg, Type};
use iced_x86::Code;

impl Selector {
    pub(super) fn is_not_zero(&mut self, x: VReg) -> VReg {
        self.set_if(Code::Test_rm32_r32, &[x, x], None, Code::Setne_rm8)
    }

    pub(super) fn convert(&mut self, op: Convert, a: Reg, ty: Type) -> Value {
        if a.ty.is_scalar() {
            let x = self.scalar(a);
            return Value::one(self.convert_scalar(op, x, a.ty.lane, ty.lane));
        }
        let value = self.value(a);
        let lanes = ty.lanes;
        match (op, a.ty.lane, ty.lane) {
            (Convert::Bitcast, ..) => value,
            (Convert::ExtendS, Lane::I32, Lane::I64) => self.widen(&value.registers, lanes, table::EXTEND_S_D_Q),
            (Convert::ExtendU, Lane::I32, Lane::I64) => self.widen(&value.registers, lanes, table::EXTEND_U_D_Q),
            (Convert::Wrap, Lane::I64, Lane::I32) => self.narrow(&value.registers, lanes),
            (Convert::IntToFloatS, Lane::I32, Lane::F32) => {
                let (_, width) = self.layout(ty);
                self.each(&value, |s, _, x| s.op(table::I32_TO_F32, width, &[x]))
            }
            (Convert::IntToFloatS, Lane::I32, Lane::F64) => self.widen(&value.registers, lanes, table::I32_TO_F64),
            (Convert::FloatToFloat, Lane::F32, Lane::F64) => self.widen(&value.registers, lanes, table::F32_TO_F64),
            (Convert::FloatToFloat, Lane::F64, Lane::F32) => self.demote(&value.registers, lanes),
            (Convert::FloatToIntS, Lane::F32, Lane::I32) => {
                let (_, width) = self.layout(ty);
                self.each(&value, |s, _, x| s.float_to_i32(width, x))
            }
            _ => panic!("tile: {op:?} of {} to {ty} is expanded before selection", a.ty),
        }
    }

    /// Registers of 32-bit lanes to registers of as many 64-bit lanes.
    pub(super) fn widen(&mut self, registers: &[VReg], lanes: u32, row: Row) -> Value {
        let (count, width) = self.layout_bits(lanes * 64);
        let mut wide = vec![];
        for &register in registers {
            wide.push(self.op(row, width, &[register]));
            if wide.len() < count {
                let high = match width {
                    Width::W512 => self.op_imm(table::TAKE_256, Width::W512, &[register], 1),
                    _ => self.op_imm(table::TAKE_128, Width::W256, &[register], 1),
                };
                wide.push(self.op(row, width, &[high]));
            }
        }
        Value::of(wide)
    }

    /// Registers of 64-bit lanes to registers of their low 32 bits.
    pub(super) fn narrow(&mut self, registers: &[VReg], lanes: u32) -> Value {
        let (_, width) = self.layout_bits(lanes * 64);
        if self.evex {
            let row = table::WRAP_Q_D;
            return self.joined_halves(registers, |s, x| s.op(row, width, &[x]), width);
        }
        // The even 32-bit lanes, of two registers at once where there are two.
        let narrowed: Vec<VReg> = registers
            .chunks(2)
            .map(|pair| match (pair, width) {
                ([x, y], _) => {
                    let mixed = self.op_imm(table::SHUFFLE_32, Width::W256, &[*x, *y], 0b1000_1000);
                    self.op_imm(table::PERMUTE_64, Width::W256, &[mixed], 0b1101_1000)
                }
                (one, Width::W128) => self.op_imm(table::SHUFFLE_IN_32, Width::W128, &[one[0]], 0b1000),
                (one, _) => {
                    let high = self.op_imm(table::TAKE_128, Width::W256, &[one[0]], 1);
                    self.op_imm(table::SHUFFLE_32, Width::W128, &[one[0], high], 0b1000_1000)
                }
            })
            .collect();
        Value::of(narrowed)
    }

    fn demote(&mut self, registers: &[VReg], lanes: u32) -> Value {
        let (_, width) = self.layout_bits(lanes * 64);
        self.joined_halves(registers, |s, x| s.op(table::F64_TO_F32, width, &[x]), width)
    }

    /// Half as wide results of each register, two of them joined to a whole register.
    fn joined_halves(&mut self, registers: &[VReg], mut f: impl FnMut(&mut Self, VReg) -> VReg, width: Width) -> Value {
        let halves: Vec<VReg> = registers.iter().map(|&x| f(self, x)).collect();
        let joined: Vec<VReg> = halves
            .chunks(2)
            .map(|pair| match (pair, width) {
                ([low, high], Width::W512) => self.op_imm(table::PUT_256, Width::W512, &[*low, *high], 1),
                ([low, high], _) => self.op_imm(table::PUT_128, Width::W256, &[*low, *high], 1),
                (one, _) => one[0],
            })
            .collect();
        Value::of(joined)
    }

    /// Truncation that saturates; NaN gives 0. The machine gives the least integer for all of these.
    fn float_to_i32(&mut self, width: Width, x: VReg) -> VReg {
        let truncated = self.op(table::F32_TO_I32, width, &[x]);
        let limit = self.splat_constant(u64::from(2147483648f32.to_bits()), 32, width);
        let most = self.splat_constant(u64::from(i32::MAX as u32), 32, width);
        let zero = self.splat_constant(0, 32, width);
        let large = Value::one(self.compare_piece(table::CMP_PS, width, x, limit, 0x1d));
        let bounded = self.choose(&large, 0, Lane::I32, width, most, truncated);
        let unordered = Value::one(self.compare_piece(table::CMP_PS, width, x, x, 3));
        self.choose(&unordered, 0, Lane::I32, width, zero, bounded)
    }

    fn convert_scalar(&mut self, op: Convert, x: VReg, from: Lane, to: Lane) -> VReg {
        let wide = to == Lane::I64 || from == Lane::I64;
        match (op, from, to) {
            (Convert::ExtendS, Lane::I32, Lane::I64) => self.make(Class::Int, Code::Movsxd_r64_rm32, &[x], None, None),
            (Convert::ExtendU, Lane::I32, Lane::I64) | (Convert::Wrap, Lane::I64, Lane::I32) => {
                self.make(Class::Int, Code::Mov_r32_rm32, &[x], None, None)
            }
            (Convert::IntToFloatS, _, Lane::F32) => {
                let zero = self.splat_constant(0, 32, Width::W128);
                self.low(if wide { table::I64_TO_SS } else { table::I32_TO_SS }, &[zero, x])
            }
            (Convert::IntToFloatS, _, Lane::F64) => {
                let zero = self.splat_constant(0, 32, Width::W128);
                self.low(if wide { table::I64_TO_SD } else { table::I32_TO_SD }, &[zero, x])
            }
            (Convert::FloatToFloat, Lane::F32, _) => self.low(table::SS_TO_SD, &[x, x]),
            (Convert::FloatToFloat, ..) => self.low(table::SD_TO_SS, &[x, x]),
            (Convert::Bitcast, Lane::F32, _) => self.low_to_int(table::VECTOR_TO_INT32, x),
            (Convert::Bitcast, Lane::F64, _) => self.low_to_int(table::VECTOR_TO_INT64, x),
            (Convert::Bitcast, Lane::I32, _) => self.low(table::INT32_TO_VECTOR, &[x]),
            (Convert::Bitcast, ..) => self.low(table::INT64_TO_VECTOR, &[x]),
            (Convert::FloatToIntS, ..) => self.float_to_int_scalar(x, from, to),
            _ => panic!("tile: {op:?} of {from:?} to {to:?} is not supported here"),
        }
    }

    /// As for vectors: saturates, and NaN gives 0.
    fn float_to_int_scalar(&mut self, x: VReg, from: Lane, to: Lane) -> VReg {
        let (row, compare, limit) = match (from, to) {
            (Lane::F32, Lane::I32) => (table::SS_TO_I32, table::COMPARE_SS, u64::from(2147483648f32.to_bits())),
            (Lane::F32, _) => (table::SS_TO_I64, table::COMPARE_SS, u64::from(9223372036854775808f32.to_bits())),
            (_, Lane::I32) => (table::SD_TO_I32, table::COMPARE_SD, 2147483648f64.to_bits()),
            _ => (table::SD_TO_I64, table::COMPARE_SD, 9223372036854775808f64.to_bits()),
        };
        // From f64 to 32 bits, what lies between −2³¹ − 1 and the limit still truncates right: the machine rounds towards zero.
        let result = self.low_to_int(row, x);
        let limit = self.splat_constant(limit, from.bits(), Width::W128);
        let most = self.int_constant(if to == Lane::I32 { i64::from(i32::MAX) } else { i64::MAX });
        let zero = self.int_constant(0);
        let code = compare.code(self.evex);
        let bounded = self.int();
        self.copy(bounded, result);
        self.replace_if(bounded, most, code, &[x, limit], None, Code::Cmovae_r64_rm64);
        self.replace_if(bounded, zero, code, &[x, x], None, Code::Cmovp_r64_rm64);
        bounded
    }
}
