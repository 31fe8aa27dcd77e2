//! Loads and stores: raw elements as memory keeps them, then lanes as registers keep them.
//!
//! A raw element is an integer or float as wide as the memory element (Bool: one byte); F16 and BF16 never
//! come here, since [`super::abilities`] has them expanded.

use super::pieces::{Pieces, piece_count, scalar_type, vector_type};
use super::{Lowering, plain};
use crate::tile::{Binary, Lane, Mem, Reg, Type};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};

/// The lane that holds a raw element.
fn raw_lane(mem: Mem) -> Lane {
    match mem {
        Mem::Bool => Lane::I8,
        Mem::F16 | Mem::BF16 => panic!("tile: {} is expanded before lowering", mem.name()),
        _ => mem.lane(),
    }
}

impl Lowering<'_> {
    /// `lanes` raw elements side by side.
    pub(super) fn load_consecutive(&mut self, mem: Mem, lanes: u32, address: Reg, offset: i32) -> Pieces {
        let address = self.scalar(address);
        let lane = raw_lane(mem);
        if lanes == 1 {
            let scalar = scalar_type(lane);
            return Pieces::scalar(self.f.ins().load(scalar, plain(), address, offset));
        }
        let vector = vector_type(lane);
        let bits = lanes * lane.bits();
        // Narrow vectors go through a scalar as wide as all of them.
        let partial = match bits {
            64 => Some((types::F64, types::F64X2)),
            32 => Some((types::F32, types::F32X4)),
            _ => None,
        };
        if let Some((scalar, whole)) = partial {
            let value = self.f.ins().load(scalar, plain(), address, offset);
            let value = self.f.ins().scalar_to_vector(whole, value);
            return Pieces::of(vec![self.cast(vector, value)]);
        }
        if bits == 16 {
            let value = self.f.ins().uload16(types::I32, plain(), address, offset);
            let value = self.f.ins().scalar_to_vector(types::I32X4, value);
            return Pieces::of(vec![self.cast(vector, value)]);
        }
        let load = |p: usize| {
            let at = offset + 16 * p as i32;
            self.f.ins().load(vector, plain(), address, at)
        };
        Pieces::of((0..piece_count(lanes, lane.bits())).map(load).collect())
    }

    /// `lanes` raw elements to side-by-side places.
    pub(super) fn store_consecutive(&mut self, mem: Mem, lanes: u32, raw: &Pieces, address: Reg, offset: i32) {
        let address = self.scalar(address);
        let lane = raw_lane(mem);
        let bits = lanes * lane.bits();
        if lanes == 1 || bits >= 128 {
            for (p, &value) in raw.values.iter().enumerate() {
                let at = offset + 16 * p as i32;
                self.f.ins().store(plain(), value, address, at);
            }
            return;
        }
        let whole = match bits {
            64 => types::F64X2,
            32 => types::F32X4,
            _ => types::I16X8,
        };
        let value = self.cast(whole, raw.values[0]);
        let value = self.f.ins().extractlane(value, 0);
        self.f.ins().store(plain(), value, address, offset);
    }

    /// The address of each lane: `address + l · stride`.
    pub(super) fn strided_places(&mut self, address: Reg, stride: Reg, lanes: u32) -> Vec<Value> {
        let (mut at, stride) = (self.scalar(address), self.scalar(stride));
        let mut places = vec![at];
        for _ in 1..lanes {
            at = self.f.ins().iadd(at, stride);
            places.push(at);
        }
        places
    }

    /// The address of each lane: `address + indices[l]`.
    pub(super) fn indexed_places(&mut self, address: Reg, indices: Reg) -> Vec<Value> {
        let (address, pieces) = (self.scalar(address), self.get(indices));
        (0..indices.ty.lanes)
            .map(|l| {
                let index = self.extract(indices.ty, &pieces, l);
                self.f.ins().iadd(address, index)
            })
            .collect()
    }

    /// One raw element from each place.
    pub(super) fn load_lanes(&mut self, mem: Mem, places: &[Value], offset: i32) -> Pieces {
        let lane = raw_lane(mem);
        let scalars: Vec<Value> = places.iter().map(|&at| self.f.ins().load(scalar_type(lane), plain(), at, offset)).collect();
        match scalars.len() {
            1 => Pieces::of(scalars),
            _ => Pieces::of(self.build(lane, &scalars)),
        }
    }

    /// One raw element to each place, in ascending order of lanes.
    pub(super) fn store_lanes(&mut self, mem: Mem, raw: &Pieces, places: &[Value], offset: i32) {
        let ty = Type { lane: raw_lane(mem), lanes: places.len() as u32 };
        for (l, &at) in places.iter().enumerate() {
            let value = self.extract(ty, raw, l as u32);
            self.f.ins().store(plain(), value, at, offset);
        }
    }

    /// Raw elements → lanes of `ty`.
    pub(super) fn lanes_of_raw(&mut self, mem: Mem, ty: Type, raw: Pieces) -> Pieces {
        if mem == Mem::Bool {
            if ty.is_scalar() {
                return Pieces::scalar(self.f.ins().icmp_imm_s(IntCC::NotEqual, raw.values[0], 0));
            }
            let zero = self.int_constant(ty.with_lane(Lane::I8), 0).values[0];
            let not_zero = |&value: &Value| self.f.ins().icmp(IntCC::NotEqual, value, zero);
            return Pieces::mask(raw.values.iter().map(not_zero).collect(), 8);
        }
        let from = raw_lane(mem);
        if from == ty.lane {
            return raw;
        }
        self.extend(&raw, ty.with_lane(from), ty.lane, !mem.is_unsigned())
    }

    /// Lanes of a register → raw elements.
    pub(super) fn raw_of_lanes(&mut self, mem: Mem, value: Reg) -> Pieces {
        let pieces = self.get(value);
        let to = raw_lane(mem);
        if mem == Mem::Bool {
            if value.ty.is_scalar() {
                return pieces;
            }
            let bytes = self.mask_as(&pieces, value.ty.lanes, 8);
            let one = self.int_constant(value.ty.with_lane(Lane::I8), 1);
            return self.bitwise(Binary::And, &bytes, &one);
        }
        if to == value.ty.lane {
            return pieces;
        }
        self.wrap(&pieces, value.ty, to)
    }
}
