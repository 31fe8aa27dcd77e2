//! Holds integers of 8 and 16 bits in lanes of 32, for vector units whose lanes are that wide.
//!
//! ```text
//! %x: i8x16 = load.u8 [%p] ; %y: i32x16 = extend_u %x      →      %x: i32x16 = load.u8 [%p]
//! %m: maskx16 = lt %a, %b  (i8)                            →      both extended by their signs, then lt of i32
//! ```
//!
//! The bits above a narrow integer are whatever is left there; what looks at them extends first, unless they are known to be right
//! already. Kernels take at most 16 lanes (the canonical order of sums), so wider lanes cost no register on 512 bits.
//!
//! Needs: conversions between floats and narrow integers written out.  Keeps: every bit of every value.

use super::Rewriting;
use crate::tile::builder::Builder;
use crate::tile::ir::{Binary, Compare, Convert, Inst, Loop, Reg, Stmt, TileProgram, Unary};
use crate::tile::types::{Lane, Type};
use std::collections::HashMap;

/// The program without lanes of 8 and 16 bits.
pub fn widen_narrow_lanes(program: &TileProgram) -> TileProgram {
    let mut w = Widener { builder: Builder::rewriting(program), values: HashMap::new() };
    w.stmts(&program.body);
    w.builder.finish()
}

/// What stands for a register.
#[derive(Clone, Copy)]
struct Wide {
    reg: Reg,
    /// The bits above are zeros.
    zeros: bool,
    /// The bits above are copies of the sign.
    signs: bool,
    /// Every lane is this integer.
    constant: Option<i64>,
}

struct Widener {
    builder: Builder,
    /// By number: of registers of narrow lanes, and of those that others hold already.
    values: HashMap<u32, Wide>,
}

fn is_narrow(ty: Type) -> bool {
    matches!(ty.lane, Lane::I8 | Lane::I16)
}

fn wide_type(ty: Type) -> Type {
    if is_narrow(ty) { ty.with_lane(Lane::I32) } else { ty }
}

fn wide_register(reg: Reg) -> Reg {
    Reg { ty: wide_type(reg.ty), ..reg }
}

impl Widener {
    /// The register of lanes wide enough; only the low bits of narrow ones count.
    fn any(&self, reg: Reg) -> Reg {
        self.values.get(&reg.index).map_or(wide_register(reg), |wide| wide.reg)
    }

    fn all(&self, regs: &[Reg]) -> Vec<Reg> {
        regs.iter().map(|r| self.any(*r)).collect()
    }

    fn known(&self, reg: Reg) -> Wide {
        self.values.get(&reg.index).copied().unwrap_or(Wide { reg: wide_register(reg), zeros: false, signs: false, constant: None })
    }

    /// With zeros above.
    fn unsigned(&mut self, reg: Reg) -> Reg {
        let wide = self.known(reg);
        if !is_narrow(reg.ty) || wide.zeros {
            return wide.reg;
        }
        let mask = (1 << reg.ty.lane.bits()) - 1;
        if let Some(value) = wide.constant {
            return self.builder.int(wide.reg.ty, value & mask);
        }
        let mask = self.builder.int(wide.reg.ty, mask);
        self.builder.and(wide.reg, mask)
    }

    /// With copies of the sign above.
    fn signed(&mut self, reg: Reg) -> Reg {
        let wide = self.known(reg);
        if !is_narrow(reg.ty) || wide.signs {
            return wide.reg;
        }
        let unused = self.builder.int(wide.reg.ty, i64::from(32 - reg.ty.lane.bits()));
        let top = self.builder.shl(wide.reg, unused);
        self.builder.shr_s(top, unused)
    }
}

impl Rewriting for Widener {
    fn builder(&mut self) -> &mut Builder {
        &mut self.builder
    }

    fn stmt(&mut self, stmt: &Stmt) {
        let stmt = match stmt {
            Stmt::Let { result, inst } => return self.assign(*result, inst),
            Stmt::Store { mem, value, address, offset } => {
                Stmt::Store { mem: *mem, value: self.any(*value), address: *address, offset: *offset }
            }
            Stmt::StoreStrided { mem, value, address, offset, stride } => {
                Stmt::StoreStrided { mem: *mem, value: self.any(*value), address: *address, offset: *offset, stride: *stride }
            }
            Stmt::Scatter { mem, value, address, offset, indices } => {
                Stmt::Scatter { mem: *mem, value: self.any(*value), address: *address, offset: *offset, indices: *indices }
            }
            Stmt::StoreMasked { mem, value, address, offset, mask } => {
                Stmt::StoreMasked { mem: *mem, value: self.any(*value), address: *address, offset: *offset, mask: *mask }
            }
            Stmt::Prefetch { .. } | Stmt::Cooperative(_) => stmt.clone(),
            Stmt::Loop(l) => {
                let wide = |regs: &[Reg]| regs.iter().map(|r| wide_register(*r)).collect();
                let init = self.all(&l.init);
                self.builder.open_block();
                self.stmts(&l.body);
                let yields = self.all(&l.yields);
                let body = self.builder.close_block();
                Stmt::Loop(Loop { init, yields, body, carried: wide(&l.carried), results: wide(&l.results), ..l.clone() })
            }
            Stmt::If { condition, then, otherwise, results } => {
                let body = self.nested(&then.0);
                let then = (body, self.all(&then.1));
                let body = self.nested(&otherwise.0);
                let otherwise = (body, self.all(&otherwise.1));
                let results = results.iter().map(|r| wide_register(*r)).collect();
                Stmt::If { condition: *condition, then, otherwise, results }
            }
        };
        self.builder.append(stmt);
    }
}

impl Widener {
    fn assign(&mut self, result: Reg, inst: &Inst) {
        if !is_narrow(result.ty) && !inst.operands().into_iter().any(|r| is_narrow(r.ty)) {
            // An integer of 32 bits may be a register that held it before it was extended.
            let inst = inst.with_operands(&mut |r| self.any(r));
            return self.builder.append(Stmt::Let { result, inst });
        }
        let ty = wide_type(result.ty);
        // What is known of the bits above: zeros, signs.
        let (mut zeros, mut signs) = (false, false);
        let mut constant = None;
        let both = |w: &Self, a: Reg, b: Reg| {
            let (a, b) = (w.known(a), w.known(b));
            (a.zeros && b.zeros, a.signs && b.signs)
        };
        let as_is = |w: &Self| inst.with_operands(&mut |r| w.any(r));
        let inst = match *inst {
            Inst::Int(value) => {
                let unused = 64 - result.ty.lane.bits();
                let value = value << unused >> unused;
                (zeros, signs, constant) = (value >= 0, true, Some(value));
                Inst::Int(value)
            }
            Inst::Load { mem, .. } | Inst::LoadStrided { mem, .. } | Inst::Gather { mem, .. } | Inst::LoadMasked { mem, .. } => {
                zeros = mem.is_unsigned();
                signs = !zeros || mem.size_bytes() * 8 < result.ty.lane.bits();
                inst.clone()
            }
            Inst::Splat(a) => {
                (zeros, signs) = both(self, a, a);
                constant = self.known(a).constant;
                as_is(self)
            }
            Inst::Extract(a, _) | Inst::Half { vector: a, .. } => {
                (zeros, signs) = both(self, a, a);
                as_is(self)
            }
            Inst::Insert { vector: a, scalar: b, .. } | Inst::Concat(a, b) | Inst::Select(_, a, b) => {
                (zeros, signs) = both(self, a, b);
                as_is(self)
            }
            Inst::Unary(op, a) => Inst::Unary(op, if op == Unary::Abs { self.signed(a) } else { self.any(a) }),
            Inst::Binary(op, a, b) => {
                let (a_wide, b_wide) = match op {
                    Binary::And => {
                        let (x, y) = (self.known(a), self.known(b));
                        (zeros, signs) = (x.zeros || y.zeros, x.signs && y.signs);
                        (x.reg, y.reg)
                    }
                    Binary::Or | Binary::Xor => {
                        (zeros, signs) = both(self, a, b);
                        (self.any(a), self.any(b))
                    }
                    // The low bits of these depend on low bits alone.
                    Binary::Add | Binary::Sub | Binary::Mul => (self.any(a), self.any(b)),
                    Binary::Shl => (self.any(a), self.unsigned(b)),
                    Binary::ShrS => {
                        signs = true;
                        (self.signed(a), self.unsigned(b))
                    }
                    Binary::ShrU | Binary::DivU | Binary::RemU | Binary::MinU | Binary::MaxU => {
                        zeros = true;
                        (self.unsigned(a), self.unsigned(b))
                    }
                    // MIN / −1 leaves the signed range; its low bits are those of MIN.
                    Binary::DivS => (self.signed(a), self.signed(b)),
                    Binary::RemS | Binary::MinS | Binary::MaxS => {
                        signs = true;
                        (self.signed(a), self.signed(b))
                    }
                    Binary::Div | Binary::Minimum | Binary::Maximum | Binary::MinOrSecond | Binary::MaxOrSecond | Binary::Scale => {
                        unreachable!("verified: floats only")
                    }
                };
                Inst::Binary(op, a_wide, b_wide)
            }
            Inst::Compare(op, a, b) => {
                let is_signed = match op {
                    Compare::Eq | Compare::Ne => both(self, a, b).1,
                    Compare::Lt | Compare::Le | Compare::Gt | Compare::Ge => true,
                    Compare::LtU | Compare::LeU | Compare::GtU | Compare::GeU => false,
                };
                match is_signed {
                    true => Inst::Compare(op, self.signed(a), self.signed(b)),
                    false => Inst::Compare(op, self.unsigned(a), self.unsigned(b)),
                }
            }
            Inst::Convert(op, a) => match self.converted(op, a, result.ty) {
                Ok(value) => {
                    self.values.insert(result.index, value);
                    return;
                }
                Err(inst) => inst,
            },
            Inst::Float(_) | Inst::Scratch(_) | Inst::Fma(..) | Inst::Shuffle(..) | Inst::FirstLanes(_) | Inst::Cooperative(_) => {
                unreachable!("verified: {inst} has no narrow lanes")
            }
        };
        let reg = Reg { ty, ..result };
        if is_narrow(result.ty) {
            self.values.insert(result.index, Wide { reg, zeros, signs, constant });
        }
        self.builder.append(Stmt::Let { result: reg, inst });
    }

    /// A conversion from or to narrow lanes: the register that holds its value already, or the instruction that makes it.
    fn converted(&mut self, op: Convert, a: Reg, to: Type) -> Result<Wide, Inst> {
        match op {
            Convert::ExtendS | Convert::ExtendU => {
                let is_signed = op == Convert::ExtendS;
                let was = self.known(a);
                let reg = if is_signed { self.signed(a) } else { self.unsigned(a) };
                if to.lane == Lane::I64 {
                    return Err(Inst::Convert(op, reg));
                }
                // From 8 to 16 bits, zeros above 8 bits are the sign of 16 too.
                Ok(Wide { reg, zeros: !is_signed || (was.zeros && was.signs), signs: true, constant: None })
            }
            Convert::Wrap if a.ty.lane == Lane::I64 => Err(Inst::Convert(op, a)),
            Convert::Wrap => Ok(Wide { reg: self.any(a), zeros: false, signs: false, constant: None }),
            Convert::IntToFloatS => Err(Inst::Convert(op, self.signed(a))),
            Convert::IntToFloatU => Err(Inst::Convert(Convert::IntToFloatS, self.unsigned(a))),
            Convert::FloatToIntS | Convert::FloatToIntU | Convert::FloatToFloat | Convert::Bitcast => {
                panic!("tile: {op:?} of {} to {to} is written out before lanes are widened", a.ty)
            }
        }
    }
}
