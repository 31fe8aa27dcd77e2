//! What is known of the addresses of a tile program: in which memory they lie, and of which power of two they are multiples, so that
//! neighbours are read and written by one instruction where that is possible.

use super::inst::Space;
use crate::lower::Arg;
use crate::tile::{Binary, Cooperative, Inst, Reg, Stmt, TileProgram};
use std::collections::HashMap;

/// Buffers begin at multiples of so many bytes.
const BUFFER_ALIGNMENT: u32 = 16;
/// The largest power of two that is looked at.
const MOST: u32 = 1 << 12;

/// Facts of the registers of a program.
#[derive(Default)]
pub(super) struct Facts {
    /// Of addresses elsewhere than in memory of the device.
    spaces: HashMap<u32, Space>,
    divisors: HashMap<u32, u32>,
    constants: HashMap<u32, i64>,
}

impl Facts {
    /// The facts of a kernel, whose array of arguments holds `arguments`.
    pub(super) fn of(program: &TileProgram, arguments: &[Arg]) -> Facts {
        let mut facts = Facts::default();
        facts.block(program, arguments, &program.body);
        facts
    }

    /// Where an address lies: in memory of the device, unless it comes from elsewhere.
    pub(super) fn space(&self, reg: Reg) -> Space {
        self.spaces.get(&reg.index).copied().unwrap_or(Space::Global)
    }

    /// A power of two that divides an integer.
    pub(super) fn divisor(&self, reg: Reg) -> u32 {
        self.divisors.get(&reg.index).copied().unwrap_or(1)
    }

    fn block(&mut self, program: &TileProgram, arguments: &[Arg], stmts: &[Stmt]) {
        for stmt in stmts {
            match stmt {
                Stmt::Let { result, inst } => self.value(program, arguments, *result, inst),
                Stmt::Loop(l) => {
                    let step = divisor_of(l.step);
                    self.divisors.insert(l.index.index, self.divisor(l.start).min(step));
                    self.block(program, arguments, &l.body);
                }
                Stmt::If { then, otherwise, .. } => {
                    self.block(program, arguments, &then.0);
                    self.block(program, arguments, &otherwise.0);
                }
                Stmt::Store { .. }
                | Stmt::StoreStrided { .. }
                | Stmt::Scatter { .. }
                | Stmt::StoreMasked { .. }
                | Stmt::Prefetch { .. }
                | Stmt::Cooperative(_) => {}
            }
        }
    }

    fn value(&mut self, program: &TileProgram, arguments: &[Arg], result: Reg, inst: &Inst) {
        let divisor = match *inst {
            Inst::Int(value) => {
                self.constants.insert(result.index, value);
                divisor_of(value)
            }
            Inst::Scratch(piece) => {
                self.spaces.insert(result.index, Space::Generic);
                program.scratch[piece as usize].align_bytes
            }
            Inst::Cooperative(Cooperative::Shared(piece)) => {
                self.spaces.insert(result.index, Space::Shared);
                program.shared[piece as usize].align_bytes
            }
            Inst::Load { address, offset, .. } if address == program.params[0] => match arguments[offset as usize / 8] {
                Arg::Buffer(_) | Arg::WorkerScratch => BUFFER_ALIGNMENT,
                Arg::Symbol(_) | Arg::ErrorCell | Arg::TensorMap(_) => 1,
            },
            Inst::Binary(op, a, b) => {
                if matches!(op, Binary::Add | Binary::Sub)
                    && let Some(space) = self.spaces.get(&a.index).or_else(|| self.spaces.get(&b.index)).copied()
                {
                    self.spaces.insert(result.index, space);
                }
                let (x, y) = (self.divisor(a), self.divisor(b));
                match op {
                    Binary::Add | Binary::Sub | Binary::Xor | Binary::RemS | Binary::RemU | Binary::MinS | Binary::MaxS => x.min(y),
                    Binary::Mul => x.saturating_mul(y).min(MOST),
                    Binary::Shl => self.constants.get(&b.index).map_or(1, |n| x << (*n).clamp(0, 12)).min(MOST),
                    Binary::And => x.max(y),
                    _ => 1,
                }
            }
            Inst::Select(_, a, b) => self.divisor(a).min(self.divisor(b)),
            Inst::Splat(a) => self.divisor(a),
            _ => 1,
        };
        self.divisors.insert(result.index, divisor);
    }
}

/// The largest power of two in a number, up to [`MOST`].
fn divisor_of(value: i64) -> u32 {
    if value == 0 { MOST } else { 1 << value.trailing_zeros().min(MOST.trailing_zeros()) }
}
