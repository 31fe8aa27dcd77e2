//! What the emitter lowers itself; all else is written out first ([`crate::tile::expand`]).

use crate::tile::expand::Abilities;
use crate::tile::{Binary, Convert, Inst, Lane, Mem, Stmt, TileProgram, Type, Unary};

/// Bits of an opmask register.
const MASK_LANES: u32 = 64;

/// A vector unit, as expansion asks about it.
pub(super) struct Unit {
    /// Whether it has AVX-512.
    pub(super) evex: bool,
}

impl Abilities for Unit {
    fn has(&self, inst: &Inst, result: Type) -> bool {
        let scalar = result.is_scalar();
        match *inst {
            // AVX512_BF16 converts to bfloat16, but takes subnormal numbers for zeros.
            Inst::Unary(Unary::RoundBF16, _) => false,
            Inst::Binary(Binary::DivS | Binary::DivU | Binary::RemS | Binary::RemU, ..) => scalar,
            Inst::LoadMasked { mem, .. } => self.masks(mem, result),
            Inst::FirstLanes(_) => !scalar,
            Inst::Binary(Binary::Scale, ..) => self.evex,
            Inst::Convert(op, a) => match (op, a.ty.lane, result.lane) {
                (Convert::IntToFloatS | Convert::IntToFloatU, Lane::I8 | Lane::I16, _) => true,
                (Convert::IntToFloatS, Lane::I32, _) => true,
                (Convert::IntToFloatS, ..) => scalar,
                (Convert::IntToFloatU | Convert::FloatToIntU, ..) => false,
                (Convert::FloatToIntS, _, Lane::I8 | Lane::I16) => false,
                (Convert::FloatToIntS, Lane::F32, Lane::I32) => true,
                (Convert::FloatToIntS, ..) => scalar,
                _ => true,
            },
            _ => true,
        }
    }

    fn stores(&self, mem: Mem) -> bool {
        mem != Mem::BF16
    }

    fn masks(&self, mem: Mem, ty: Type) -> bool {
        // Integers of 8 and 16 bits are held in lanes of 32; whole registers alone.
        let lane_bits = ty.lane.bits().max(32);
        let fills = ty.lanes * lane_bits >= 128 && ty.lane != Lane::Mask;
        fills && (mem.size_bytes() * 8 == lane_bits || (self.evex && ty.lane != Lane::I64))
    }
}

/// Whether the emitter takes the program: parameters are passed in registers alone, and a mask is one opmask register.
pub(super) fn supports(program: &TileProgram) -> bool {
    program.params.len() <= 6 && has_small_masks(&program.body)
}

fn has_small_masks(stmts: &[Stmt]) -> bool {
    stmts.iter().all(|stmt| match stmt {
        Stmt::Let { result, .. } => result.ty.lane != Lane::Mask || result.ty.lanes <= MASK_LANES,
        Stmt::Loop(l) => has_small_masks(&l.body),
        Stmt::If { then, otherwise, .. } => has_small_masks(&then.0) && has_small_masks(&otherwise.0),
        Stmt::Store { .. }
        | Stmt::StoreStrided { .. }
        | Stmt::Scatter { .. }
        | Stmt::StoreMasked { .. }
        | Stmt::Prefetch { .. }
        | Stmt::Cooperative(_) => true,
    })
}
