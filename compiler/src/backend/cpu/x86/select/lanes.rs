//! Lanes of vectors: one into all, one out of many, halves.

use super::{Selector, Value};
use crate::backend::cpu::x86::inst::{Class, VReg};
use crate::backend::cpu::x86::table::{self, Width};
use crate::tile::{self, Lane, Mem as MemType, Reg, Shuffle, Stmt, Type};
use iced_x86::Code;

impl Selector {
    /// A scalar's lowest element as vectors.
    pub(super) fn splat(&mut self, ty: Type, scalar: Reg) -> Value {
        let x = self.scalar(scalar);
        if ty.lane == Lane::Mask {
            return self.splat_truth(x, ty.lanes);
        }
        let low = self.in_vector(x, ty.lane);
        let (count, width) = self.layout(ty);
        let register = match (ty.lane.bits(), width) {
            (64, Width::W128) => self.op(table::UNPACK_LOW_64, width, &[low, low]),
            (64, _) => self.op(table::SPLAT_64, width, &[low]),
            _ => self.op(table::SPLAT_32, width, &[low]),
        };
        Value::of(std::iter::repeat_n(register, count))
    }

    /// A scalar in the lowest element of a vector register.
    fn in_vector(&mut self, x: VReg, lane: Lane) -> VReg {
        match lane {
            Lane::I32 => self.low(table::INT32_TO_VECTOR, &[x]),
            Lane::I64 => self.low(table::INT64_TO_VECTOR, &[x]),
            _ => x,
        }
    }

    /// A load of one element that is only splat: one instruction.
    pub(super) fn splat_of_load(&mut self, first: &Stmt, second: &Stmt) -> Option<Value> {
        let Stmt::Let { result: scalar, inst: tile::Inst::Load { mem, address, offset } } = first else { return None };
        let Stmt::Let { result, inst: tile::Inst::Splat(splat) } = second else { return None };
        let same_size = matches!(mem, MemType::F32 | MemType::F64 | MemType::I32 | MemType::U32 | MemType::I64 | MemType::U64);
        let is_half = matches!(mem, MemType::F16 | MemType::BF16);
        let keeps = is_half || (same_size && mem.lane() == scalar.ty.lane);
        if splat != scalar || self.uses[scalar.index as usize].0 != 1 || !keeps {
            return None;
        }
        let (count, width) = self.layout(result.ty);
        let place = self.place(*address, *offset);
        let register = match (scalar.ty.lane.bits(), width) {
            _ if is_half => self.splat_half_float(*mem, width, place),
            (64, Width::W128) => {
                let low = self.low_mem(table::LOAD_SD, &[], place);
                self.op(table::UNPACK_LOW_64, width, &[low, low])
            }
            (64, _) => self.op_mem(table::SPLAT_MEM_64, width, place),
            _ => self.op_mem(table::SPLAT_MEM_32, width, place),
        };
        Some(Value::of(std::iter::repeat_n(register, count)))
    }

    /// The 128 bits that hold a lane, and the lane's number inside them.
    pub(super) fn part_with(&mut self, value: &Value, lane_bits: u32, width: Width, lane: u32) -> (VReg, u32) {
        let register_bits = match width {
            Width::W128 => 128,
            Width::W256 => 256,
            Width::W512 => 512,
        };
        let bit = lane * lane_bits;
        let (register, inside) = (value.registers[(bit / register_bits) as usize], bit % register_bits);
        let part = inside / 128;
        let low = if part == 0 { register } else { self.op_imm(table::TAKE_128, width, &[register], i64::from(part)) };
        (low, inside % 128 / lane_bits)
    }

    pub(super) fn extract(&mut self, a: Reg, lane: u32) -> Value {
        let value = self.value(a);
        if a.ty.lane == Lane::Mask {
            return Value::one(self.extract_truth(&value, a.ty.lanes, lane));
        }
        let (_, width) = self.layout(a.ty);
        let (part, at) = self.part_with(&value, a.ty.lane.bits(), width, lane);
        Value::one(self.lane_of_part(part, a.ty.lane, at))
    }

    /// A lane of 128 bits as a scalar.
    pub(super) fn lane_of_part(&mut self, part: VReg, lane: Lane, at: u32) -> VReg {
        let imm = Some(i64::from(at));
        match lane {
            Lane::F32 if at == 0 => part,
            Lane::F32 => self.op_imm(table::SHUFFLE_IN_32, Width::W128, &[part], i64::from(at)),
            Lane::F64 if at == 0 => part,
            Lane::F64 => self.op_imm(table::SHUFFLE_IN_32, Width::W128, &[part], 0b1110),
            Lane::I32 if at == 0 => self.low_to_int(table::VECTOR_TO_INT32, part),
            Lane::I32 => self.make(Class::Int, table::EXTRACT_I32.code(self.evex), &[part], None, imm),
            Lane::I64 if at == 0 => self.low_to_int(table::VECTOR_TO_INT64, part),
            Lane::I64 => self.make(Class::Int, table::EXTRACT_I64.code(self.evex), &[part], None, imm),
            Lane::I8 | Lane::I16 | Lane::Mask => panic!("tile: lanes of {lane:?} are not supported here"),
        }
    }

    fn extract_truth(&mut self, value: &Value, lanes: u32, lane: u32) -> VReg {
        if self.evex {
            let moved = self.shift_mask(value.registers[0], false, lane);
            let bits = self.make(Class::Int, Code::VEX_Kmovq_r64_kr, &[moved], None, None);
            return self.modify(Class::Int, Code::And_rm32_imm32, bits, &[], Some(1));
        }
        let int = if value.mask_bits == 64 { Lane::I64 } else { Lane::I32 };
        let (_, width) = self.layout_bits(lanes * value.mask_bits);
        let (part, at) = self.part_with(value, value.mask_bits, width, lane);
        let bits = self.lane_of_part(part, int, at);
        self.modify(Class::Int, Code::And_rm32_imm32, bits, &[], Some(1))
    }

    pub(super) fn shuffle(&mut self, op: Shuffle, a: Reg, b: Reg) -> Value {
        let (_, width) = self.layout(a.ty);
        let (a, b) = (self.value(a).registers, self.value(b).registers);
        let row = match op {
            Shuffle::UnpackLow => table::UNPACK_LOW_32,
            Shuffle::UnpackHigh => table::UNPACK_HIGH_32,
            Shuffle::UnpackLowPairs => table::UNPACK_LOW_64,
            Shuffle::UnpackHighPairs => table::UNPACK_HIGH_64,
            Shuffle::EvenFours | Shuffle::OddFours => {
                let odd = op == Shuffle::OddFours;
                // Two bits choose one of four parts, one bit one of two; VEX has numbers of its own.
                let choice = match (self.evex, width) {
                    (true, Width::W512) => [0x88, 0xdd],
                    (true, _) => [0x0, 0x3],
                    (false, _) => [0x20, 0x31],
                };
                let both = [a.to_vec(), b.to_vec()].concat();
                let registers: Vec<VReg> =
                    both.chunks(2).map(|pair| self.op_imm(table::SHUFFLE_128, width, pair, choice[usize::from(odd)])).collect();
                return Value::of(registers);
            }
        };
        Value::of(a.iter().zip(&b).map(|(a, b)| self.op(row, width, &[*a, *b])).collect::<Vec<_>>())
    }

    pub(super) fn insert(&mut self, vector: Reg, lane: u32, scalar: Reg) -> Value {
        let (value, x) = (self.value(vector), self.scalar(scalar));
        if vector.ty.is_scalar() {
            return Value::one(x);
        }
        if vector.ty.lane == Lane::Mask {
            return self.insert_truth(&value, vector.ty, lane, x);
        }
        let (_, width) = self.layout(vector.ty);
        self.insert_lane(&value, vector.ty.lane, width, lane, x)
    }

    fn insert_lane(&mut self, value: &Value, lane: Lane, width: Width, at: u32, x: VReg) -> Value {
        let (part, inside) = self.part_with(value, lane.bits(), width, at);
        let imm = i64::from(inside);
        let part = match lane {
            Lane::F32 => self.low_imm(table::INSERT_F32, &[part, x], imm << 4),
            Lane::F64 if inside == 0 => self.op_imm(table::SHUFFLE_64, Width::W128, &[x, part], 0b10),
            Lane::F64 => self.op(table::UNPACK_LOW_64, Width::W128, &[part, x]),
            Lane::I32 => self.low_imm(table::INSERT_I32, &[part, x], imm),
            Lane::I64 => self.low_imm(table::INSERT_I64, &[part, x], imm),
            Lane::I8 | Lane::I16 | Lane::Mask => panic!("tile: lanes of {lane:?} are not supported here"),
        };
        let register_bits = 128 << width as u32;
        let bit = at * lane.bits();
        let mut result = value.clone();
        let whole = &mut result.registers[(bit / register_bits) as usize];
        *whole = match width {
            Width::W128 => part,
            _ => self.op_imm(table::PUT_128, width, &[*whole, part], i64::from(bit % register_bits / 128)),
        };
        result
    }

    pub(super) fn half(&mut self, vector: Reg, high: bool) -> Value {
        let value = self.value(vector);
        let lanes = vector.ty.lanes / 2;
        if vector.ty.lane == Lane::Mask {
            return self.half_mask(&value, vector.ty, high);
        }
        if lanes == 1 {
            return self.extract(vector, u32::from(high));
        }
        self.half_registers(&value, vector.ty.lanes * vector.ty.lane.bits(), high)
    }

    /// Half of the lanes of a value of so many bits, at least two lanes.
    fn half_registers(&mut self, value: &Value, bits: u32, high: bool) -> Value {
        let (count, width) = self.layout_bits(bits);
        if count > 1 {
            let half = if high { &value.registers[count / 2..] } else { &value.registers[..count / 2] };
            return Value::of(half.iter().copied());
        }
        let register = value.registers[0];
        if !high {
            return Value::one(register);
        }
        Value::one(match (width, bits) {
            (Width::W512, _) => self.op_imm(table::TAKE_256, width, &[register], 1),
            (Width::W256, _) => self.op_imm(table::TAKE_128, width, &[register], 1),
            // From 128 bits the upper 64, from 64 bits the upper 32.
            (Width::W128, 128) => self.op_imm(table::SHUFFLE_IN_32, Width::W128, &[register], 0b1110),
            (Width::W128, _) => self.op_imm(table::SHUFFLE_IN_32, Width::W128, &[register], 0b01),
        })
    }

    fn half_mask(&mut self, value: &Value, ty: Type, high: bool) -> Value {
        if ty.lanes == 2 {
            return Value::one(self.extract_truth(value, 2, u32::from(high)));
        }
        if self.evex {
            let by = if high { ty.lanes / 2 } else { 0 };
            return Value::one(self.shift_mask(value.registers[0], false, by));
        }
        let half = self.half_registers(value, ty.lanes * value.mask_bits, high);
        Value { mask_bits: value.mask_bits, ..half }
    }

    pub(super) fn concat(&mut self, a: Reg, b: Reg) -> Value {
        let (x, y) = (self.value(a), self.value(b));
        let lanes = a.ty.lanes;
        if a.ty.lane == Lane::Mask {
            return self.concat_masks(&x, &y, lanes);
        }
        if lanes == 1 {
            let (low, high) = (self.in_vector(x.registers[0], a.ty.lane), y.registers[0]);
            return Value::one(match a.ty.lane {
                Lane::I32 => self.low_imm(table::INSERT_I32, &[low, high], 1),
                Lane::I64 => self.low_imm(table::INSERT_I64, &[low, high], 1),
                Lane::F32 => self.op(table::UNPACK_LOW_32, Width::W128, &[low, high]),
                _ => self.op(table::UNPACK_LOW_64, Width::W128, &[low, high]),
            });
        }
        self.concat_registers(&x, &y, lanes * a.ty.lane.bits())
    }

    /// Two values of so many bits each, at least two lanes.
    fn concat_registers(&mut self, x: &Value, y: &Value, bits: u32) -> Value {
        let (count, _) = self.layout_bits(2 * bits);
        if count > 1 {
            return Value::of(x.registers.iter().chain(&y.registers).copied());
        }
        let (low, high) = (x.registers[0], y.registers[0]);
        Value::one(match bits {
            256 => self.op_imm(table::PUT_256, Width::W512, &[low, high], 1),
            128 => self.op_imm(table::PUT_128, Width::W256, &[low, high], 1),
            _ => self.op(table::UNPACK_LOW_64, Width::W128, &[low, high]),
        })
    }

    fn concat_masks(&mut self, x: &Value, y: &Value, lanes: u32) -> Value {
        if lanes == 1 {
            let low = self.splat_truth(x.registers[0], 2);
            let moved = y.registers[0];
            let two = Type { lane: Lane::Mask, lanes: 2 };
            return self.insert_truth(&low, two, 1, moved);
        }
        if self.evex {
            // Bits beyond the lanes are undefined: they must not reach the other half.
            let spare = 64 - lanes;
            let low = self.shift_mask(x.registers[0], true, spare);
            let low = self.shift_mask(low, false, spare);
            let high = self.shift_mask(y.registers[0], true, lanes);
            return Value::one(self.make(Class::Mask, Code::VEX_Korq_kr_kr_kr, &[low, high], None, None));
        }
        let y = self.mask_as(y, lanes, x.mask_bits);
        let both = self.concat_registers(x, &y, lanes * x.mask_bits);
        Value { mask_bits: x.mask_bits, ..both }
    }

    /// A mask with one lane replaced.
    fn insert_truth(&mut self, value: &Value, ty: Type, lane: u32, truth: VReg) -> Value {
        if self.evex {
            let bits = self.make(Class::Int, Code::VEX_Kmovq_r64_kr, &[value.registers[0]], None, None);
            let others = self.int_constant(!(1i64 << lane));
            let cleared = self.modify(Class::Int, Code::And_r64_rm64, bits, &[others], None);
            let moved = self.modify(Class::Int, Code::Shl_rm64_imm8, truth, &[], Some(i64::from(lane)));
            let all = self.modify(Class::Int, Code::Or_r64_rm64, cleared, &[moved], None);
            return Value::one(self.make(Class::Mask, Code::VEX_Kmovq_kr_r64, &[all], None, None));
        }
        let all = self.modify(Class::Int, Code::Neg_rm64, truth, &[], None);
        let int = if value.mask_bits == 64 { Lane::I64 } else { Lane::I32 };
        let (_, width) = self.layout_bits(ty.lanes * value.mask_bits);
        let inserted = self.insert_lane(value, int, width, lane, all);
        Value { mask_bits: value.mask_bits, ..inserted }
    }
}
