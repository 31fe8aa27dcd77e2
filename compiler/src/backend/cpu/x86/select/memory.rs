//! Loads and stores. Narrower elements in memory are widened and narrowed on the way, whole registers at a time where they lie
//! side by side.

use super::{Selector, Value};
use crate::backend::cpu::x86::inst::{Base, Class, Inst, Mem, VReg};
use crate::backend::cpu::x86::table::{self, Row, Width};
use crate::tile::{Lane, Mem as MemType, Reg, Type, Wanted};
use iced_x86::Code;
use smallvec::smallvec;

/// How narrower elements in memory become lanes.
fn extension(mem: MemType, lane: Lane) -> Option<Row> {
    Some(match (mem, lane) {
        (MemType::Bool | MemType::U8, Lane::I32) => table::EXTEND_U_B_D,
        (MemType::U8, Lane::I64) => table::EXTEND_U_B_Q,
        (MemType::I8, Lane::I32) => table::EXTEND_S_B_D,
        (MemType::I8, Lane::I64) => table::EXTEND_S_B_Q,
        (MemType::U16, Lane::I32) => table::EXTEND_U_W_D,
        (MemType::U16, Lane::I64) => table::EXTEND_U_W_Q,
        (MemType::I16, Lane::I32) => table::EXTEND_S_W_D,
        (MemType::I16, Lane::I64) => table::EXTEND_S_W_Q,
        (MemType::U32, Lane::I64) => table::EXTEND_U_D_Q,
        (MemType::I32, Lane::I64) => table::EXTEND_S_D_Q,
        (MemType::F16, _) => table::F16_TO_F32,
        (MemType::BF16, _) => table::EXTEND_U_W_D,
        _ => return None,
    })
}

fn further(mem: Mem, bytes: i32) -> Mem {
    Mem { offset: mem.offset + bytes, ..mem }
}

impl Selector {
    pub(super) fn load(&mut self, mem: MemType, ty: Type, address: Reg, offset: i32) -> Value {
        let place = self.place(address, offset);
        if ty.is_scalar() {
            return Value::one(self.load_scalar(mem, ty.lane, place));
        }
        let size = mem.size_bytes() as i32;
        let lane = if mem == MemType::Bool { Lane::I32 } else { ty.lane };
        let (count, width) = self.layout(ty.with_lane(lane));
        // Two narrow lanes: a widening load would read beyond them.
        if ty.lanes * lane.bits() < 128 && mem.size_bytes() * 8 != lane.bits() {
            let places: Vec<Mem> = (0..ty.lanes as i32).map(|l| further(place, l * size)).collect();
            return self.load_lanes(mem, ty, &places);
        }
        let lanes = ty.lanes as i32 / count as i32;
        let pieces: Vec<VReg> = (0..count as i32)
            .map(|p| {
                let at = further(place, p * lanes * size);
                match extension(mem, lane) {
                    Some(row) => {
                        let wide = self.op_mem(row, width, at);
                        self.placed(mem, width, wide)
                    }
                    None if ty.lanes * lane.bits() == 64 => self.low_mem(table::LOAD_SD, &[], at),
                    None => self.op_mem(table::LOAD, width, at),
                }
            })
            .collect();
        if mem != MemType::Bool {
            return Value::of(pieces);
        }
        self.truths(&pieces, width)
    }

    /// A widened element where it belongs in its lane: the bits of bfloat16 are the upper ones of F32.
    fn placed(&mut self, mem: MemType, width: Width, wide: VReg) -> VReg {
        if mem == MemType::BF16 { self.op_imm(table::SHL_D, width, &[wide], 16) } else { wide }
    }

    /// One half float in every lane.
    pub(super) fn splat_half_float(&mut self, mem: MemType, width: Width, place: Mem) -> VReg {
        let narrow = match (mem, width) {
            (MemType::BF16, _) => width,
            (_, Width::W512) => Width::W256,
            _ => Width::W128,
        };
        let words = self.op_mem(table::SPLAT_MEM_16, narrow, place);
        match mem {
            MemType::F16 => self.op(table::F16_TO_F32, width, &[words]),
            _ => self.placed(mem, width, words),
        }
    }

    /// The mask of 32-bit lanes that are not zero.
    fn truths(&mut self, pieces: &[VReg], width: Width) -> Value {
        let is_true = |s: &mut Self, piece: VReg| match s.evex {
            true => s.make(Class::Mask, table::TEST_D.code(true, width), &[piece, piece], None, None),
            false => {
                let zero = s.splat_constant(0, 32, width);
                s.op(table::CMP_GT_D, width, &[piece, zero])
            }
        };
        let pieces = pieces.iter().map(|piece| is_true(self, *piece)).collect();
        self.mask_of_pieces(pieces, Lane::I32)
    }

    fn load_scalar(&mut self, mem: MemType, lane: Lane, place: Mem) -> VReg {
        let wide = lane == Lane::I64;
        let code = match mem {
            MemType::F32 => return self.low_mem(table::LOAD_SS, &[], place),
            MemType::F64 => return self.low_mem(table::LOAD_SD, &[], place),
            MemType::Bool => {
                let byte = self.make(Class::Int, Code::Movzx_r32_rm8, &[], Some(place), None);
                return self.is_not_zero(byte);
            }
            MemType::U8 => Code::Movzx_r32_rm8,
            MemType::I8 if wide => Code::Movsx_r64_rm8,
            MemType::I8 => Code::Movsx_r32_rm8,
            MemType::U16 => Code::Movzx_r32_rm16,
            MemType::I16 if wide => Code::Movsx_r64_rm16,
            MemType::I16 => Code::Movsx_r32_rm16,
            MemType::I32 if wide => Code::Movsxd_r64_rm32,
            MemType::I32 | MemType::U32 => Code::Mov_r32_rm32,
            MemType::I64 | MemType::U64 => Code::Mov_r64_rm64,
            MemType::F16 | MemType::BF16 => {
                let bits = self.make(Class::Int, Code::Movzx_r32_rm16, &[], Some(place), None);
                let low = self.low(table::INT32_TO_VECTOR, &[bits]);
                return match mem {
                    MemType::F16 => self.op(table::F16_TO_F32, Width::W128, &[low]),
                    _ => self.placed(mem, Width::W128, low),
                };
            }
        };
        self.make(Class::Int, code, &[], Some(place), None)
    }

    /// One element from each place.
    fn load_lanes(&mut self, mem: MemType, ty: Type, places: &[Mem]) -> Value {
        if ty.lane == Lane::Mask {
            let int = ty.with_lane(Lane::I32);
            let bytes = self.load_lanes(MemType::U8, int, places);
            let (_, width) = self.layout(int);
            return self.truths(&bytes.registers, width);
        }
        let per_part = (128 / ty.lane.bits()) as usize;
        let parts: Vec<VReg> = places.chunks(per_part).map(|places| self.load_part(mem, ty.lane, places)).collect();
        let (count, width) = self.layout(ty);
        let join = |s: &mut Self, parts: &[VReg]| -> VReg {
            match *parts {
                [low, high] => s.op_imm(table::PUT_128, Width::W256, &[low, high], 1),
                [a, b, c, d] => {
                    let (low, high) =
                        (s.op_imm(table::PUT_128, Width::W256, &[a, b], 1), s.op_imm(table::PUT_128, Width::W256, &[c, d], 1));
                    s.op_imm(table::PUT_256, width, &[low, high], 1)
                }
                _ => parts[0],
            }
        };
        let per_register = parts.len() / count;
        Value::of(parts.chunks(per_register).map(|parts| join(self, parts)).collect::<Vec<_>>())
    }

    /// Up to 128 bits of elements, one from each place.
    fn load_part(&mut self, mem: MemType, lane: Lane, places: &[Mem]) -> VReg {
        if let (MemType::F16 | MemType::BF16, Some(row)) = (mem, extension(mem, lane)) {
            let mut words = self.splat_constant(0, 32, Width::W128);
            for (at, place) in places.iter().enumerate() {
                words = self.make(Class::Vector, table::INSERT_I16.code(self.evex), &[words], Some(*place), Some(at as i64));
            }
            let wide = self.op(row, Width::W128, &[words]);
            return self.placed(mem, Width::W128, wide);
        }
        let same_size = mem.size_bytes() * 8 == lane.bits();
        let mut part = match (lane, same_size) {
            (Lane::F32 | Lane::I32, true) => self.low_mem(table::LOAD_SS, &[], places[0]),
            (Lane::F64 | Lane::I64, true) => self.low_mem(table::LOAD_SD, &[], places[0]),
            _ => {
                let first = self.load_scalar(mem, lane, places[0]);
                self.low(if lane == Lane::I64 { table::INT64_TO_VECTOR } else { table::INT32_TO_VECTOR }, &[first])
            }
        };
        for (at, place) in places.iter().enumerate().skip(1) {
            let imm = at as i64;
            part = match (lane, same_size) {
                (Lane::F32 | Lane::I32, true) => {
                    self.make(Class::Vector, table::INSERT_F32.code(self.evex), &[part], Some(*place), Some(imm << 4))
                }
                (Lane::F64 | Lane::I64, true) => self.low_mem(table::LOAD_HIGH_64, &[part], *place),
                _ => {
                    let next = self.load_scalar(mem, lane, *place);
                    self.low_imm(if lane == Lane::I64 { table::INSERT_I64 } else { table::INSERT_I32 }, &[part, next], imm)
                }
            };
        }
        part
    }

    /// `address + l · stride` for each lane.
    fn strided_places(&mut self, address: Reg, offset: i32, stride: Reg, lanes: u32) -> Vec<Mem> {
        let (mut base, stride) = (self.scalar(address), self.scalar(stride));
        let lea = |s: &mut Self, base: VReg, index: VReg, scale: u32| {
            let sum = Mem { base: Base::Register(base), index: Some((index, scale)), offset: 0 };
            s.make(Class::Int, Code::Lea_r64_m, &[], Some(sum), None)
        };
        let thrice = if lanes > 3 { Some(lea(self, stride, stride, 2)) } else { None };
        let mut places = vec![];
        for lane in 0..lanes {
            if lane > 0 && lane % 4 == 0 {
                base = lea(self, base, stride, 4);
            }
            let index = match (lane % 4, thrice) {
                (0, _) => None,
                (3, Some(thrice)) => Some((thrice, 1)),
                (n, _) => Some((stride, n)),
            };
            places.push(Mem { base: Base::Register(base), index, offset });
        }
        places
    }

    fn indexed_places(&mut self, address: Reg, offset: i32, indices: Reg) -> Vec<Mem> {
        let (base, value) = (self.scalar(address), self.value(indices));
        if indices.ty.is_scalar() {
            return vec![Mem { base: Base::Register(base), index: Some((value.registers[0], 1)), offset }];
        }
        let (_, width) = self.layout(indices.ty);
        (0..indices.ty.lanes)
            .map(|lane| {
                let (part, at) = self.part_with(&value, 64, width, lane);
                let index = self.lane_of_part(part, Lane::I64, at);
                Mem { base: Base::Register(base), index: Some((index, 1)), offset }
            })
            .collect()
    }

    pub(super) fn load_strided(&mut self, mem: MemType, ty: Type, address: Reg, offset: i32, stride: Reg) -> Value {
        let places = self.strided_places(address, offset, stride, ty.lanes);
        self.load_places(mem, ty, &places)
    }

    pub(super) fn gather(&mut self, mem: MemType, ty: Type, address: Reg, offset: i32, indices: Reg) -> Value {
        let places = self.indexed_places(address, offset, indices);
        self.load_places(mem, ty, &places)
    }

    fn load_places(&mut self, mem: MemType, ty: Type, places: &[Mem]) -> Value {
        match places {
            [only] => Value::one(self.load_scalar(mem, ty.lane, *only)),
            _ => self.load_lanes(mem, ty, places),
        }
    }

    pub(super) fn store(&mut self, mem: MemType, value: Reg, address: Reg, offset: i32) {
        let place = self.place(address, offset);
        let ty = value.ty;
        if ty.is_scalar() {
            let x = self.scalar(value);
            return self.store_scalar(mem, x, place);
        }
        if ty.lanes >= 4 && mem.size_bytes() * 8 != ty.lane.bits() {
            return self.store_narrowed(mem, value, place);
        }
        if mem.size_bytes() * 8 != ty.lane.bits() {
            let places: Vec<Mem> = (0..ty.lanes).map(|l| further(place, (l * mem.size_bytes()) as i32)).collect();
            return self.store_lanes(mem, value, &places);
        }
        let registers = self.value(value).registers;
        let (count, width) = self.layout(ty);
        let bytes = (ty.lanes * ty.lane.bits() / 8) as i32 / count as i32;
        for (at, register) in registers.into_iter().enumerate() {
            let to = further(place, at as i32 * bytes);
            let code = if bytes == 8 { table::STORE_SD.code(self.evex) } else { table::STORE.code(self.evex, width) };
            self.store_with(code, register, to, None);
        }
    }

    /// The masks of the registers of a value of such lanes.
    fn masks_of_registers(&mut self, mask: Reg, lane: Lane, count: usize) -> Vec<VReg> {
        let value = self.value(mask);
        if self.evex {
            let lanes = mask.ty.lanes / count as u32;
            return (0..count as u32).map(|at| self.shift_mask(value.registers[0], false, at * lanes)).collect();
        }
        self.mask_as(&value, mask.ty.lanes, lane.bits()).registers.into_vec()
    }

    /// Whole registers of elements side by side, where the mask holds.
    pub(super) fn load_masked(&mut self, mem: MemType, ty: Type, address: Reg, offset: i32, mask: Reg) -> Value {
        let place = self.place(address, offset);
        let (count, width) = self.layout(ty);
        let bytes = ((ty.lanes / count as u32) * mem.size_bytes()) as i32;
        let same = if ty.lane.bits() == 64 { table::LOAD_MASKED_64 } else { table::LOAD_MASKED_32 };
        let code = extension(mem, ty.lane).unwrap_or(same).code(self.evex, width);
        let masks = self.masks_of_registers(mask, ty.lane, count);
        let pieces = masks.into_iter().enumerate().map(|(at, mask)| {
            let def = self.vector();
            let (uses, opmask) = if self.evex { (smallvec![], Some(mask)) } else { (smallvec![mask], None) };
            let mem_at = Some(further(place, at as i32 * bytes));
            self.push(Inst { code, def: Some(def), modifies: false, uses, mem: mem_at, stores: false, imm: None, mask: opmask });
            self.placed(mem, width, def)
        });
        Value::of(pieces.collect::<Vec<_>>())
    }

    /// Whole registers of elements side by side, where the mask holds.
    pub(super) fn store_masked(&mut self, mem: MemType, value: Reg, address: Reg, offset: i32, mask: Reg) {
        let place = self.place(address, offset);
        let ty = value.ty;
        let (count, width) = self.layout(ty);
        let bytes = ((ty.lanes / count as u32) * mem.size_bytes()) as i32;
        let (row, imm) = match (mem, mem.size_bytes()) {
            (MemType::F16, _) => (table::F32_TO_F16, Some(0)),
            (_, 1) => (table::WRAP_D_B, None),
            (_, 2) => (table::WRAP_D_W, None),
            (_, 4) => (table::STORE_MASKED_32, None),
            _ => (table::STORE_MASKED_64, None),
        };
        let code = row.code(self.evex, width);
        let masks = self.masks_of_registers(mask, ty.lane, count);
        for (at, (x, mask)) in self.value(value).registers.into_iter().zip(masks).enumerate() {
            let (uses, opmask) = if self.evex { (smallvec![x], Some(mask)) } else { (smallvec![mask, x], None) };
            let to = Some(further(place, at as i32 * bytes));
            self.push(Inst { code, def: None, modifies: false, uses, mem: to, stores: true, imm, mask: opmask });
        }
    }

    pub(super) fn prefetch(&mut self, address: Reg, offset: i32, wanted: Wanted) {
        let mem = Some(self.place(address, offset));
        let code = match wanted {
            Wanted::ToRead => Code::Prefetcht0_m8,
            Wanted::ToReadLater => Code::Prefetcht1_m8,
            Wanted::ToWrite => Code::Prefetchw_m8,
        };
        self.push(Inst { code, def: None, modifies: false, uses: smallvec![], mem, stores: false, imm: None, mask: None });
    }

    /// At least four lanes side by side, each narrower in memory than in the register.
    fn store_narrowed(&mut self, mem: MemType, value: Reg, place: Mem) {
        let ty = value.ty;
        let registers = match ty.lane {
            Lane::Mask => self.truth_lanes(value),
            Lane::I64 => {
                let wide = self.value(value);
                self.narrow(&wide.registers, ty.lanes)
            }
            _ => self.value(value),
        }
        .registers;
        let (count, width) = self.layout(ty.with_lane(Lane::I32));
        let size = mem.size_bytes();
        let bytes = (ty.lanes / count as u32 * size) as i32;
        match mem {
            MemType::F16 => {
                for (at, x) in registers.into_iter().enumerate() {
                    self.store_with(table::F32_TO_F16.code(self.evex, width), x, further(place, at as i32 * bytes), Some(0));
                }
            }
            _ if size == 4 => {
                for (at, x) in registers.into_iter().enumerate() {
                    self.store_with(table::STORE.code(self.evex, width), x, further(place, at as i32 * bytes), None);
                }
            }
            _ if self.evex => {
                let row = if size == 1 { table::WRAP_D_B } else { table::WRAP_D_W };
                for (at, x) in registers.into_iter().enumerate() {
                    self.store_with(row.code(true, width), x, further(place, at as i32 * bytes), None);
                }
            }
            _ => {
                for (at, pair) in registers.chunks(2).enumerate() {
                    self.store_packed(size, pair, width, further(place, 2 * at as i32 * bytes));
                }
            }
        }
    }

    /// One register of 32-bit lanes, or two of 256 bits, as their low 8 or 16 bits side by side, under VEX.
    fn store_packed(&mut self, size: u32, registers: &[VReg], width: Width, place: Mem) {
        // Packing saturates what is too large, so the bits above go first.
        let mask = self.splat_constant(if size == 1 { 0xff } else { 0xffff }, 32, width);
        let masked: Vec<VReg> = registers.iter().map(|x| self.op(table::AND_INT, width, &[*x, mask])).collect();
        let words = match (&masked[..], width) {
            ([low, high], _) => {
                let mixed = self.op(table::PACK_U_D_W, Width::W256, &[*low, *high]);
                self.op_imm(table::PERMUTE_64, Width::W256, &[mixed], 0b1101_1000)
            }
            (one, Width::W128) => self.op(table::PACK_U_D_W, Width::W128, &[one[0], one[0]]),
            (one, _) => {
                let high = self.op_imm(table::TAKE_128, Width::W256, &[one[0]], 1);
                self.op(table::PACK_U_D_W, Width::W128, &[one[0], high])
            }
        };
        let lanes = registers.len() as u32 * if width == Width::W128 { 4 } else { 8 };
        let packed = match (size, lanes) {
            (2, _) => words,
            (_, 16) => {
                let high = self.op_imm(table::TAKE_128, Width::W256, &[words], 1);
                self.op(table::PACK_U_W_B, Width::W128, &[words, high])
            }
            _ => self.op(table::PACK_U_W_B, Width::W128, &[words, words]),
        };
        let code = match lanes * size {
            4 => table::STORE_SS.code(false),
            8 => table::STORE_SD.code(false),
            16 => table::STORE.code(false, Width::W128),
            _ => table::STORE.code(false, Width::W256),
        };
        self.store_with(code, packed, place, None);
    }

    /// A mask as 32-bit lanes of 0 and 1.
    fn truth_lanes(&mut self, mask: Reg) -> Value {
        let value = self.value(mask);
        let (count, width) = self.layout(mask.ty.with_lane(Lane::I32));
        let one = self.splat_constant(1, 32, width);
        if self.evex {
            let zero = self.splat_constant(0, 32, width);
            return Value::of((0..count).map(|at| self.choose(&value, at, Lane::I32, width, one, zero)).collect::<Vec<_>>());
        }
        let value = self.mask_as(&value, mask.ty.lanes, 32);
        Value::of(value.registers.iter().map(|x| self.op(table::AND_INT, width, &[*x, one])).collect::<Vec<_>>())
    }

    /// Registers of F32 as half floats in the lower half of a register, to nearest, ties to even.
    pub(super) fn half_floats_of(&mut self, width: Width, x: VReg) -> VReg {
        self.op_imm(table::F32_TO_F16, width, &[x], 0)
    }

    fn store_scalar(&mut self, mem: MemType, x: VReg, place: Mem) {
        let code = match mem {
            MemType::F32 => table::STORE_SS.code(self.evex),
            MemType::F64 => table::STORE_SD.code(self.evex),
            MemType::Bool | MemType::I8 | MemType::U8 => Code::Mov_rm8_r8,
            MemType::I16 | MemType::U16 => Code::Mov_rm16_r16,
            MemType::I32 | MemType::U32 => Code::Mov_rm32_r32,
            MemType::I64 | MemType::U64 => Code::Mov_rm64_r64,
            MemType::F16 => {
                let half = self.half_floats_of(Width::W128, x);
                return self.store_with(table::EXTRACT_I16.code(self.evex), half, place, Some(0));
            }
            MemType::BF16 => panic!("tile: {} is expanded before selection", mem.name()),
        };
        self.store_with(code, x, place, None);
    }

    /// One element to each place, in ascending order of lanes.
    fn store_lanes(&mut self, mem: MemType, value: Reg, places: &[Mem]) {
        if mem == MemType::F16 && !value.ty.is_scalar() {
            return self.store_half_lanes(value, places);
        }
        for (lane, place) in places.iter().enumerate() {
            let scalar = match value.ty.is_scalar() {
                true => self.scalar(value),
                false => self.extract(value, lane as u32).registers[0],
            };
            self.store_scalar(mem, scalar, *place);
        }
    }

    /// One half float to each place: registers are converted whole.
    fn store_half_lanes(&mut self, value: Reg, places: &[Mem]) {
        let (count, width) = self.layout(value.ty);
        let registers = self.value(value).registers;
        let per_register = places.len() / count;
        for (x, places) in registers.into_iter().zip(places.chunks(per_register)) {
            let halves = self.half_floats_of(width, x);
            for (at, places) in places.chunks(8).enumerate() {
                let part = if at == 0 { halves } else { self.op_imm(table::TAKE_128, Width::W256, &[halves], at as i64) };
                for (lane, place) in places.iter().enumerate() {
                    self.store_with(table::EXTRACT_I16.code(self.evex), part, *place, Some(lane as i64));
                }
            }
        }
    }

    pub(super) fn store_strided(&mut self, mem: MemType, value: Reg, address: Reg, offset: i32, stride: Reg) {
        let places = self.strided_places(address, offset, stride, value.ty.lanes);
        self.store_lanes(mem, value, &places);
    }

    pub(super) fn scatter(&mut self, mem: MemType, value: Reg, address: Reg, offset: i32, indices: Reg) {
        let places = self.indexed_places(address, offset, indices);
        self.store_lanes(mem, value, &places);
    }
}
