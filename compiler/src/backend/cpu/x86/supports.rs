//! What the emitter lowers itself; all else is written out first ([`crate::tile::expand`]).

use crate::tile::expand::Abilities;
use crate::tile::{Binary, Convert, Inst, Lane, Mem, TileProgram, Type, Unary};

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
}

/// Whether the emitter takes the program: parameters are passed in registers alone.
pub(super) fn supports(program: &TileProgram) -> bool {
    program.params.len() <= 6
}
