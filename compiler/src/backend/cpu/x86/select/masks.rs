//! Masks of several lanes, and choosing by them.

use super::{CARRIED_MASK_BITS, Selector, Value};
use crate::backend::cpu::x86::inst::{Base, Class, Inst, Mem, VReg};
use crate::backend::cpu::x86::table::{self, Row, Width};
use crate::tile::{Binary, Compare, Lane, Reg, Type};
use iced_x86::Code;
use smallvec::smallvec;

impl Selector {
    /// A mask register's shift, 0 being none.
    pub(super) fn shift_mask(&mut self, mask: VReg, left: bool, by: u32) -> VReg {
        if by == 0 {
            return mask;
        }
        let code = if left { Code::VEX_Kshiftlq_kr_kr_imm8 } else { Code::VEX_Kshiftrq_kr_kr_imm8 };
        self.make(Class::Mask, code, &[mask], None, Some(i64::from(by)))
    }

    pub(super) fn mask_constant(&mut self, ty: Type, value: bool) -> Value {
        if self.evex {
            let bits = self.int_constant(if value { -1 } else { 0 });
            return Value::one(self.make(Class::Mask, Code::VEX_Kmovq_kr_r64, &[bits], None, None));
        }
        let (count, width) = self.layout_bits(ty.lanes * CARRIED_MASK_BITS);
        let register = self.splat_constant(if value { u64::from(u32::MAX) } else { 0 }, 32, width);
        Value { registers: std::iter::repeat_n(register, count).collect(), mask_bits: CARRIED_MASK_BITS }
    }

    /// The mask of the lanes below a number.
    pub(super) fn first_lanes(&mut self, count: Reg, lanes: u32) -> Value {
        let known = self.known(count);
        if self.evex {
            let bits = match known {
                Some(n) => self.int_constant(if n < 64 { (1 << n) - 1 } else { -1 }),
                None => {
                    let (all, count) = (self.int_constant(-1), self.scalar(count));
                    self.make(Class::Int, Code::VEX_Bzhi_r64_rm64_r64, &[all, count], None, None)
                }
            };
            return Value::one(self.make(Class::Mask, Code::VEX_Kmovq_kr_r64, &[bits], None, None));
        }
        let ty = Type { lane: Lane::I32, lanes };
        let (registers, width) = self.layout(ty);
        let per_register = lanes / registers as u32;
        let numbers: Vec<VReg> = (0..registers as u32)
            .map(|at| {
                let numbers: Vec<u8> = (0..per_register.max(4)).flat_map(|lane| (at * per_register + lane).to_le_bytes()).collect();
                let numbers = self.f.constant(&numbers);
                self.op_mem(table::LOAD, width, Mem::of(Base::Constant(numbers)))
            })
            .collect();
        let count = self.splat(Type { lane: Lane::I32, lanes }, count).registers;
        let pieces = numbers.into_iter().zip(count).map(|(number, count)| self.op(table::CMP_GT_D, width, &[count, number])).collect();
        self.mask_of_pieces(pieces, Lane::I32)
    }

    /// A vector mask under VEX with lanes of another width.
    pub(super) fn mask_as(&mut self, mask: &Value, lanes: u32, bits: u32) -> Value {
        let value = match (mask.mask_bits, bits) {
            (from, to) if from == to => return mask.clone(),
            (32, _) => self.widen(&mask.registers, lanes, table::EXTEND_S_D_Q),
            _ => self.narrow(&mask.registers, lanes),
        };
        Value { registers: value.registers, mask_bits: bits }
    }

    /// The mask of comparing registers of such lanes.
    pub(super) fn mask_of_pieces(&mut self, pieces: Vec<VReg>, lane: Lane) -> Value {
        if !self.evex {
            return Value { registers: pieces.into_iter().collect(), mask_bits: lane.bits() };
        }
        let per_piece = self.widest().0 / lane.bits();
        let mut pieces = pieces.into_iter().enumerate();
        let (_, mut all) = pieces.next().expect("a value has registers");
        for (at, piece) in pieces {
            let moved = self.shift_mask(piece, true, at as u32 * per_piece);
            all = self.make(Class::Mask, Code::VEX_Korq_kr_kr_kr, &[all, moved], None, None);
        }
        Value::one(all)
    }

    pub(super) fn compare_piece(&mut self, row: Row, width: Width, x: VReg, y: VReg, predicate: i64) -> VReg {
        let class = if self.evex { Class::Mask } else { Class::Vector };
        self.make(class, row.code(self.evex, width), &[x, y], None, Some(predicate))
    }

    pub(super) fn vector_compare(&mut self, op: Compare, a: Reg, b: Reg) -> Value {
        let (x, y, lane) = (self.value(a), self.value(b), a.ty.lane);
        let (_, width) = self.layout(a.ty);
        let pairs: Vec<(VReg, VReg)> = x.registers.iter().copied().zip(y.registers.iter().copied()).collect();
        let pieces = pairs.into_iter().map(|(x, y)| self.compare_registers(op, lane, width, x, y)).collect();
        self.mask_of_pieces(pieces, lane)
    }

    fn compare_registers(&mut self, op: Compare, lane: Lane, width: Width, x: VReg, y: VReg) -> VReg {
        let wide = lane.bits() == 64;
        if lane.is_float() {
            // Quiet predicates; all but "not equal" are false for NaN.
            let predicate = match op {
                Compare::Eq => 0x00,
                Compare::Ne => 0x04,
                Compare::Lt => 0x11,
                Compare::Le => 0x12,
                Compare::Gt => 0x1e,
                Compare::Ge => 0x1d,
                Compare::LtU | Compare::LeU | Compare::GtU | Compare::GeU => panic!("tile: {op:?} of floats"),
            };
            return self.compare_piece(if wide { table::CMP_PD } else { table::CMP_PS }, width, x, y, predicate);
        }
        if self.evex {
            let (predicate, signed) = match op {
                Compare::Eq => (0, true),
                Compare::Ne => (4, true),
                Compare::Lt => (1, true),
                Compare::Le => (2, true),
                Compare::Gt => (6, true),
                Compare::Ge => (5, true),
                Compare::LtU => (1, false),
                Compare::LeU => (2, false),
                Compare::GtU => (6, false),
                Compare::GeU => (5, false),
            };
            let row = match (signed, wide) {
                (true, false) => table::CMP_S_D,
                (true, true) => table::CMP_S_Q,
                (false, false) => table::CMP_U_D,
                (false, true) => table::CMP_U_Q,
            };
            return self.compare_piece(row, width, x, y, predicate);
        }
        let (equal, greater) = if wide { (table::CMP_EQ_Q, table::CMP_GT_Q) } else { (table::CMP_EQ_D, table::CMP_GT_D) };
        // Unsigned order is signed order with the top bits flipped.
        let (x, y) = match op {
            Compare::LtU | Compare::LeU | Compare::GtU | Compare::GeU => {
                let top = self.splat_constant(1 << (lane.bits() - 1), lane.bits(), width);
                (self.op(table::XOR_INT, width, &[x, top]), self.op(table::XOR_INT, width, &[y, top]))
            }
            _ => (x, y),
        };
        match op {
            Compare::Eq => self.op(equal, width, &[x, y]),
            Compare::Ne => {
                let equal = self.op(equal, width, &[x, y]);
                self.inverted(equal, width)
            }
            Compare::Gt | Compare::GtU => self.op(greater, width, &[x, y]),
            Compare::Lt | Compare::LtU => self.op(greater, width, &[y, x]),
            Compare::Le | Compare::LeU => {
                let more = self.op(greater, width, &[x, y]);
                self.inverted(more, width)
            }
            Compare::Ge | Compare::GeU => {
                let less = self.op(greater, width, &[y, x]);
                self.inverted(less, width)
            }
        }
    }

    /// Every bit of a vector flipped.
    pub(super) fn inverted(&mut self, x: VReg, width: Width) -> VReg {
        let ones = self.splat_constant(u64::from(u32::MAX), 32, width);
        self.op(table::XOR_INT, width, &[x, ones])
    }

    pub(super) fn mask_not(&mut self, a: Reg) -> Value {
        let value = self.value(a);
        if self.evex {
            return Value::one(self.make(Class::Mask, Code::VEX_Knotq_kr_kr, &[value.registers[0]], None, None));
        }
        let (_, width) = self.layout_bits(a.ty.lanes * value.mask_bits);
        self.each(&value, |s, _, x| s.inverted(x, width))
    }

    pub(super) fn mask_binary(&mut self, op: Binary, a: Reg, b: Reg) -> Value {
        let (x, y) = (self.value(a), self.value(b));
        if self.evex {
            let code = match op {
                Binary::And => Code::VEX_Kandq_kr_kr_kr,
                Binary::Or => Code::VEX_Korq_kr_kr_kr,
                _ => Code::VEX_Kxorq_kr_kr_kr,
            };
            return Value::one(self.make(Class::Mask, code, &[x.registers[0], y.registers[0]], None, None));
        }
        let y = self.mask_as(&y, a.ty.lanes, x.mask_bits);
        let (_, width) = self.layout_bits(a.ty.lanes * x.mask_bits);
        let row = match op {
            Binary::And => table::AND_INT,
            Binary::Or => table::OR_INT,
            _ => table::XOR_INT,
        };
        self.each(&x, |s, at, x| s.op(row, width, &[x, y.registers[at]]))
    }

    /// Lanes of `x` where the mask's register number `at` holds, of `y` elsewhere.
    pub(super) fn choose(&mut self, mask: &Value, at: usize, lane: Lane, width: Width, x: VReg, y: VReg) -> VReg {
        let row = match lane {
            Lane::F32 => table::BLEND_PS,
            Lane::F64 => table::BLEND_PD,
            Lane::I64 => table::BLEND_Q,
            _ => table::BLEND_D,
        };
        if !self.evex {
            return self.op(row, width, &[y, x, mask.registers[at]]);
        }
        let per_piece = self.widest().0 / lane.bits();
        let mask = self.shift_mask(mask.registers[0], false, at as u32 * per_piece);
        let def = self.vector();
        let code = row.code(true, width);
        self.push(Inst {
            code,
            def: Some(def),
            modifies: false,
            uses: smallvec![y, x],
            mem: None,
            stores: false,
            imm: None,
            mask: Some(mask),
        });
        def
    }

    pub(super) fn vector_select(&mut self, mask: Reg, a: Reg, b: Reg) -> Value {
        let (chosen, x, y) = (self.value(mask), self.value(a), self.value(b));
        if a.ty.lane == Lane::Mask {
            return self.select_masks(chosen, x, y, a.ty.lanes);
        }
        let chosen = if self.evex { chosen } else { self.mask_as(&chosen, a.ty.lanes, a.ty.lane.bits()) };
        let (_, width) = self.layout(a.ty);
        self.each(&x, |s, at, x| s.choose(&chosen, at, a.ty.lane, width, x, y.registers[at]))
    }

    fn select_masks(&mut self, chosen: Value, x: Value, y: Value, lanes: u32) -> Value {
        if self.evex {
            let (m, x, y) = (chosen.registers[0], x.registers[0], y.registers[0]);
            let yes = self.make(Class::Mask, Code::VEX_Kandq_kr_kr_kr, &[m, x], None, None);
            let no = self.make(Class::Mask, Code::VEX_Kandnq_kr_kr_kr, &[m, y], None, None);
            return Value::one(self.make(Class::Mask, Code::VEX_Korq_kr_kr_kr, &[yes, no], None, None));
        }
        let (chosen, y) = (self.mask_as(&chosen, lanes, x.mask_bits), self.mask_as(&y, lanes, x.mask_bits));
        let (_, width) = self.layout_bits(lanes * x.mask_bits);
        self.each(&x, |s, at, x| s.choose(&chosen, at, Lane::I32, width, x, y.registers[at]))
    }
}
