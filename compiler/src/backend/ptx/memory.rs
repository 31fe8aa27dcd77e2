//! Elements of memory: how they are read and written, several at once where their address allows it.

use super::function::Function;
use super::inst::{Class, Cmp, Inst, Op, Operand, Reg, Round, Space, Ty};
use super::select::from_bf16;
use crate::tile::{Lane, Mem};

/// Bytes of the largest access.
const MOST_BYTES: u32 = 16;
/// Half floats of the largest access, which come as pairs: no access has eight parts.
const HALVES: usize = 8;

/// Where elements lie next to each other.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Which memory.
    pub space: Space,
    /// An address.
    pub base: Reg,
    /// Bytes beyond it.
    pub offset: i64,
    /// A power of two that divides the address without the offset.
    pub divisor: u32,
}

impl Place {
    fn after(self, bytes: usize) -> Place {
        Place { offset: self.offset + bytes as i64, ..self }
    }

    /// How many of `left` elements one access takes.
    fn at_once(self, mem: Mem, left: usize) -> usize {
        let fits = |count: &usize| {
            let bytes = *count as u32 * mem.size_bytes();
            *count <= left && bytes <= MOST_BYTES && self.divisor.is_multiple_of(bytes) && self.offset % i64::from(bytes) == 0
        };
        // Predicates and relaxed stores come one by one.
        if mem == Mem::Bool || self.space == Space::RelaxedGlobal { 1 } else { [4, 2].into_iter().find(fits).unwrap_or(1) }
    }

    /// Whether the largest access takes half floats in pairs.
    fn takes_pairs(self, mem: Mem, left: usize) -> bool {
        let is_aligned = self.divisor.is_multiple_of(MOST_BYTES) && self.offset % i64::from(MOST_BYTES) == 0;
        matches!(mem, Mem::F16 | Mem::BF16) && left >= HALVES && is_aligned && self.space != Space::RelaxedGlobal
    }
}

/// How an element of memory is read and written.
fn element(mem: Mem) -> Ty {
    match mem {
        Mem::Bool | Mem::U8 => Ty::U8,
        Mem::I8 => Ty::S8,
        Mem::I16 => Ty::S16,
        Mem::U16 => Ty::U16,
        Mem::I32 => Ty::S32,
        Mem::U32 => Ty::U32,
        Mem::I64 | Mem::U64 => Ty::B64,
        Mem::F16 | Mem::BF16 => Ty::B16,
        Mem::F32 => Ty::F32,
        Mem::F64 => Ty::F64,
    }
}

/// Neighbouring elements of memory as lanes.
pub(super) fn load(f: &mut Function, mem: Mem, place: Place, lane: Lane, lanes: usize) -> Vec<Reg> {
    let mut values = Vec::with_capacity(lanes);
    while values.len() < lanes {
        let place = place.after(values.len() * mem.size_bytes() as usize);
        let (ty, Place { space, base, offset, .. }) = (element(mem), place);
        if place.takes_pairs(mem, lanes - values.len()) {
            let dst: Vec<Reg> = (0..HALVES / 2).map(|_| f.reg(Class::B32)).collect();
            f.push(Inst::LdVector { space, ty: Ty::B32, dst: dst.clone(), base, offset });
            values.extend(dst.into_iter().flat_map(|pair| halves(f, mem, pair)));
            continue;
        }
        match place.at_once(mem, lanes - values.len()) {
            1 => values.push(f.ld(space, ty, base, offset)),
            count => {
                let dst: Vec<Reg> = (0..count).map(|_| f.reg(ty.class())).collect();
                values.extend(&dst);
                f.push(Inst::LdVector { space, ty, dst, base, offset });
            }
        }
    }
    values.into_iter().map(|value| if value.class == Class::F32 { value } else { widened(f, mem, value, lane) }).collect()
}

/// A pair of half floats as lanes.
fn halves(f: &mut Function, mem: Mem, pair: Reg) -> [Reg; 2] {
    if mem == Mem::BF16 {
        let low = f.op(Op::Shl, Ty::B32, [pair.into(), Operand::Int(16)]);
        let high = f.op(Op::And, Ty::B32, [pair.into(), Operand::Int(0xffff_0000)]);
        return [low, high].map(|bits| f.bits(Class::F32, bits));
    }
    let high = f.op(Op::Shr, Ty::U32, [pair.into(), Operand::Int(16)]);
    [pair, high].map(|bits| {
        let half = f.cvt(Round::None, Ty::Half, Ty::U32, bits);
        f.cvt(Round::None, Ty::F32, Ty::F16, half)
    })
}

/// An element as it was read, as a lane.
fn widened(f: &mut Function, mem: Mem, value: Reg, lane: Lane) -> Reg {
    match mem {
        Mem::Bool => f.setp(Cmp::Ne, Ty::S32, value, Operand::Int(0)),
        Mem::F16 => f.cvt(Round::None, Ty::F32, Ty::F16, value),
        Mem::BF16 => from_bf16(f, value),
        // Loads widen to the register; 64-bit lanes of narrower elements take one step more.
        _ if lane == Lane::I64 && value.class == Class::B32 => {
            let (to, from) = if mem.is_unsigned() { (Ty::U64, Ty::U32) } else { (Ty::S64, Ty::S32) };
            f.cvt(Round::None, to, from, value)
        }
        _ => value,
    }
}

/// Stores lanes as neighbouring elements of memory.
pub(super) fn store(f: &mut Function, mem: Mem, place: Place, values: &[Reg]) {
    let ty = element(mem);
    let mut done = 0;
    while done < values.len() {
        let place = place.after(done * mem.size_bytes() as usize);
        let Place { space, base, offset, .. } = place;
        if place.takes_pairs(mem, values.len() - done) {
            let half = if mem == Mem::BF16 { Ty::BF16 } else { Ty::F16 };
            let pairs = values[done..done + HALVES].chunks(2).map(|pair| {
                let dst = f.reg(Class::B32);
                f.push(Inst::Pack { half, dst, low: pair[0], high: pair[1] });
                dst
            });
            let src = pairs.collect();
            f.push(Inst::StVector { space, ty: Ty::B32, base, offset, src });
            done += HALVES;
            continue;
        }
        let count = place.at_once(mem, values.len() - done);
        let narrow: Vec<Reg> = values[done..done + count].iter().map(|value| narrowed(f, mem, *value)).collect();
        match narrow[..] {
            [src] => f.push(Inst::St { space, ty, base, offset, src }),
            _ => f.push(Inst::StVector { space, ty, base, offset, src: narrow }),
        }
        done += count;
    }
}

/// A lane as the element that is stored.
fn narrowed(f: &mut Function, mem: Mem, value: Reg) -> Reg {
    match mem {
        Mem::Bool => f.selp(Ty::B32, Operand::Int(1), Operand::Int(0), value),
        Mem::F16 => f.cvt(Round::Rn, Ty::F16, Ty::F32, value),
        Mem::BF16 => f.cvt(Round::Rn, Ty::BF16, Ty::F32, value),
        _ if value.class == Class::B64 && element(mem).class() == Class::B32 => f.cvt(Round::None, Ty::U32, Ty::U64, value),
        _ => value,
    }
}
