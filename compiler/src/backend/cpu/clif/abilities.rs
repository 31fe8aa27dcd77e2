//! What Cranelift lowers without a libcall or a scalar detour, by ISA level.

use crate::tile::expand::Abilities;
use crate::tile::{Binary, Convert, Inst, Lane, Mem, Type, Unary};
use cranelift_codegen::isa::TargetIsa;
use target_lexicon::Architecture;

/// The facts about an ISA that lowering depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    /// Fused multiply-add, scalar and vector.
    pub(super) fma: bool,
    /// Rounding to integral floats (`roundps` or `frint`).
    pub(super) rounds: bool,
    /// Whether float minimum and maximum are single instructions that propagate NaN.
    pub(super) nan_minmax: bool,
}

impl Machine {
    pub(super) fn of(isa: &dyn TargetIsa) -> Machine {
        let flag = |name: &str| {
            let flags = isa.isa_flags();
            flags.iter().any(|f| f.name == name && f.as_bool() == Some(true))
        };
        match isa.triple().architecture {
            Architecture::X86_64 => Machine { fma: flag("has_avx") && flag("has_fma"), rounds: flag("has_sse41"), nan_minmax: false },
            _ => Machine { fma: true, rounds: true, nan_minmax: true },
        }
    }
}

impl Abilities for Machine {
    fn has(&self, inst: &Inst, ty: Type) -> bool {
        let scalar = ty.is_scalar();
        match *inst {
            Inst::Fma(..) => self.fma,
            Inst::Load { mem, .. } | Inst::LoadStrided { mem, .. } | Inst::Gather { mem, .. } => self.stores(mem),
            Inst::LoadMasked { .. } | Inst::FirstLanes(_) => false,
            Inst::Unary(op, _) => match op {
                Unary::Ceil | Unary::Floor | Unary::Trunc | Unary::Nearest => self.rounds,
                Unary::RoundF16 | Unary::RoundBF16 => false,
                Unary::Neg | Unary::Abs | Unary::Not | Unary::Sqrt => true,
            },
            Inst::Binary(op, ..) => match op {
                Binary::DivS | Binary::DivU | Binary::RemS | Binary::RemU => scalar,
                Binary::Mul => scalar || ty.lane != Lane::I8,
                Binary::Scale => false,
                Binary::Add
                | Binary::Sub
                | Binary::Div
                | Binary::And
                | Binary::Or
                | Binary::Xor
                | Binary::Shl
                | Binary::ShrS
                | Binary::ShrU
                | Binary::Minimum
                | Binary::Maximum
                | Binary::MinOrSecond
                | Binary::MaxOrSecond
                | Binary::MinS
                | Binary::MinU
                | Binary::MaxS
                | Binary::MaxU => true,
            },
            Inst::Convert(op, a) => match op {
                Convert::IntToFloatS | Convert::IntToFloatU => {
                    let from_64_to_32 = a.ty.lane == Lane::I64 && ty.lane == Lane::F32;
                    a.ty.lane.bits() >= 32 && (scalar || !from_64_to_32)
                }
                Convert::FloatToIntS | Convert::FloatToIntU => {
                    let vector = a.ty.lane == Lane::F32 && ty.lane == Lane::I32;
                    ty.lane.bits() >= 32 && (scalar || vector)
                }
                Convert::ExtendS | Convert::ExtendU | Convert::Wrap | Convert::FloatToFloat | Convert::Bitcast => true,
            },
            Inst::Int(_)
            | Inst::Float(_)
            | Inst::Scratch(_)
            | Inst::Splat(_)
            | Inst::Compare(..)
            | Inst::Select(..)
            | Inst::Extract(..)
            | Inst::Insert { .. }
            | Inst::Half { .. }
            | Inst::Concat(..)
            | Inst::Shuffle(..)
            | Inst::Cooperative(_) => true,
        }
    }

    fn stores(&self, mem: Mem) -> bool {
        !matches!(mem, Mem::F16 | Mem::BF16)
    }

    fn masks(&self, _: Mem, _: Type) -> bool {
        false
    }
}
