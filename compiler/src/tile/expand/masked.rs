//! Masked loads and stores, and the masks of first lanes, lane by lane.

use crate::tile::builder::Builder;
use crate::tile::ir::Reg;
use crate::tile::types::{Mem, Type};

/// Each element on its own where the mask holds, else zero.
pub(super) fn load(b: &mut Builder, mem: Mem, ty: Type, (address, offset): (Reg, i32), mask: Reg) -> Reg {
    let zero = if ty.lane.is_float() { b.float(ty.element(), 0.0) } else { b.int(ty.element(), 0) };
    let mut vector = b.splat(zero, ty.lanes);
    for lane in 0..ty.lanes {
        let holds = b.extract(mask, lane);
        let place = offset + (lane * mem.size_bytes()) as i32;
        let element = b.if_else(holds, |b| vec![b.load(mem, ty.element(), address, place)], |_| vec![zero])[0];
        vector = b.insert(vector, lane, element);
    }
    vector
}

/// Each element on its own where the mask holds.
pub(super) fn store(b: &mut Builder, mem: Mem, value: Reg, (address, offset): (Reg, i32), mask: Reg) {
    for lane in 0..value.ty.lanes {
        let (holds, element) = (b.extract(mask, lane), b.extract(value, lane));
        b.if_then(holds, |b| b.store(mem, element, address, offset + (lane * mem.size_bytes()) as i32));
    }
}

/// Each lane's number compared on its own.
pub(super) fn first_lanes(b: &mut Builder, count: Reg, lanes: u32) -> Reg {
    let mut mask = b.int(Type::MASK.times(lanes), 0);
    for lane in 0..lanes {
        let number = b.index(i64::from(lane));
        let holds = b.lt(number, count);
        mask = b.insert(mask, lane, holds);
    }
    mask
}
