//! What the emitter covers: what it lowers itself, what is expanded first, and what it leaves to Cranelift.

use crate::tile::expand::Abilities;
use crate::tile::{Binary, Convert, Inst, Lane, Mem, Reg, Stmt, TileProgram, Type, Unary};

/// A vector unit, as expansion asks about it.
pub(super) struct Unit {
    /// Whether it has AVX-512.
    pub(super) evex: bool,
}

impl Abilities for Unit {
    fn has(&self, inst: &Inst, result: Type) -> bool {
        let scalar = result.is_scalar();
        match *inst {
            Inst::Binary(Binary::DivS | Binary::DivU | Binary::RemS | Binary::RemU, ..) => scalar,
            Inst::Binary(Binary::Scale, ..) => self.evex,
            Inst::Convert(op, a) => match (op, a.ty.lane, result.lane) {
                (Convert::IntToFloatS, Lane::I32, _) => true,
                (Convert::IntToFloatS | Convert::IntToFloatU, ..) => scalar,
                (Convert::FloatToIntS, Lane::F32, Lane::I32) => true,
                (Convert::FloatToIntS | Convert::FloatToIntU, ..) => scalar,
                _ => true,
            },
            _ => true,
        }
    }

    fn stores(&self, _: Mem) -> bool {
        true
    }
}

/// Whether every instruction of an expanded program is covered.
pub(super) fn supports(program: &TileProgram) -> bool {
    program.params.len() <= 6 && block(&program.body)
}

fn block(stmts: &[Stmt]) -> bool {
    stmts.iter().all(stmt)
}

fn stmt(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Let { result, inst } => register(*result) && inst.operands().into_iter().all(register) && instruction(inst, result.ty),
        Stmt::Store { mem, value, .. } | Stmt::StoreStrided { mem, value, .. } | Stmt::Scatter { mem, value, .. } => {
            register(*value) && memory(*mem)
        }
        Stmt::Prefetch { .. } => true,
        Stmt::Cooperative(_) => false,
        Stmt::Loop(l) => l.carried.iter().all(|r| register(*r)) && block(&l.body),
        Stmt::If { then, otherwise, results, .. } => results.iter().all(|r| register(*r)) && block(&then.0) && block(&otherwise.0),
    }
}

fn register(reg: Reg) -> bool {
    !matches!(reg.ty.lane, Lane::I8 | Lane::I16)
}

fn memory(mem: Mem) -> bool {
    !matches!(mem, Mem::F16 | Mem::BF16)
}

fn instruction(inst: &Inst, result: Type) -> bool {
    match *inst {
        Inst::Load { mem, .. } | Inst::LoadStrided { mem, .. } | Inst::Gather { mem, .. } => memory(mem),
        Inst::Unary(Unary::RoundF16 | Unary::RoundBF16, _) => false,
        Inst::Convert(Convert::IntToFloatU | Convert::FloatToIntU, _) => false,
        Inst::Convert(Convert::FloatToIntS, a) => a.ty.is_scalar() || result.lane == Lane::I32,
        _ => true,
    }
}
