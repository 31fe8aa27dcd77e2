//! Rewrites what an emitter's machine lacks into what it has, so that each sequence is written once for all
//! emitters and is tested by the evaluator.
//!
//! ```text
//! %y = fma %a, %b, %c      →      %t = mul %a, %b ; %y = add %t, %c        (no fused multiply-add)
//! %y = load.f16 [%p]       →      %h = load.u16 [%p] ; … integer steps …   (no f16 conversion)
//! %y: i32x4 = div_s …      →      one scalar division a lane               (no vector division)
//! ```
//!
//! Needs: a verified program.  Keeps: every bit of every value, but for `fma`, which then rounds twice.

mod half_floats;
mod integers;
mod masked;
mod narrow_lanes;
mod rounding;
mod scale;

use super::builder::Builder;
use super::ir::{Binary, Convert, Inst, Loop, Reg, Stmt, TileProgram, Unary};
use super::types::{Lane, Mem, Type};
pub use narrow_lanes::widen_narrow_lanes;

/// What a machine and its emitter can do without help.
pub trait Abilities {
    /// Whether the emitter lowers this instruction with this result type. F16 and BF16 loads are asked here too.
    fn has(&self, inst: &Inst, result: Type) -> bool;
    /// Whether the emitter stores this memory type.
    fn stores(&self, mem: Mem) -> bool;
    /// Whether the emitter loads such values where a mask holds, and stores them there.
    fn masks(&self, mem: Mem, ty: Type) -> bool;
}

/// The program with everything that `abilities` lacks written out.
pub fn expand(program: &TileProgram, abilities: &dyn Abilities) -> TileProgram {
    let mut expander = Expander { builder: Builder::rewriting(program), abilities };
    expander.stmts(&program.body);
    expander.builder.finish()
}

struct Expander<'a> {
    builder: Builder,
    abilities: &'a dyn Abilities,
}

/// Writes a program anew, statement by statement.
trait Rewriting {
    /// What the new statements go to.
    fn builder(&mut self) -> &mut Builder;

    /// Writes what stands for a statement.
    fn stmt(&mut self, stmt: &Stmt);

    fn stmts(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            self.stmt(stmt);
        }
    }

    /// The same statements inside a block of their own.
    fn nested(&mut self, stmts: &[Stmt]) -> Vec<Stmt> {
        self.builder().open_block();
        self.stmts(stmts);
        self.builder().close_block()
    }
}

impl Rewriting for Expander<'_> {
    fn builder(&mut self) -> &mut Builder {
        &mut self.builder
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Let { result, inst } if !self.abilities.has(inst, result.ty) => {
                let (mut stmts, value) = self.builder.aside(|b| expand_inst(b, inst, result.ty));
                rename_last(&mut stmts, value, *result);
                self.stmts(&stmts);
            }
            Stmt::StoreMasked { mem, value, address, offset, mask } if !self.abilities.masks(*mem, value.ty) => {
                let (stmts, ()) = self.builder.aside(|b| masked::store(b, *mem, *value, (*address, *offset), *mask));
                self.stmts(&stmts);
            }
            Stmt::Store { mem, value, .. }
            | Stmt::StoreStrided { mem, value, .. }
            | Stmt::Scatter { mem, value, .. }
            | Stmt::StoreMasked { mem, value, .. }
                if !self.abilities.stores(*mem) =>
            {
                let (stmts, ()) = self.builder.aside(|b| {
                    let bits = match mem {
                        Mem::F16 => half_floats::f32_to_f16(b, *value),
                        Mem::BF16 => half_floats::f32_to_bf16(b, *value),
                        _ => panic!("tile: no expansion for stores of {}", mem.name()),
                    };
                    b.append(with_stored(stmt, bits));
                });
                self.stmts(&stmts);
            }
            Stmt::Loop(l) => {
                let body = self.nested(&l.body);
                self.builder.append(Stmt::Loop(Loop { body, ..l.clone() }));
            }
            Stmt::If { condition, then, otherwise, results } => {
                let then = (self.nested(&then.0), then.1.clone());
                let otherwise = (self.nested(&otherwise.0), otherwise.1.clone());
                self.builder.append(Stmt::If { condition: *condition, then, otherwise, results: results.clone() });
            }
            Stmt::Let { .. }
            | Stmt::Store { .. }
            | Stmt::StoreStrided { .. }
            | Stmt::Scatter { .. }
            | Stmt::StoreMasked { .. }
            | Stmt::Prefetch { .. }
            | Stmt::Cooperative(_) => self.builder.append(stmt.clone()),
        }
    }
}

/// Lets the last statement, which defines `value`, define `result` instead.
fn rename_last(stmts: &mut [Stmt], value: Reg, result: Reg) {
    match stmts.last_mut() {
        Some(Stmt::Let { result: last, .. }) if *last == value => *last = result,
        last => panic!("tile: an expansion ends in {last:?}, not in its value {value}"),
    }
}

/// The same store of 16-bit integers.
fn with_stored(stmt: &Stmt, bits: Reg) -> Stmt {
    let mut stmt = stmt.clone();
    if let Stmt::Store { mem, value, .. }
    | Stmt::StoreStrided { mem, value, .. }
    | Stmt::Scatter { mem, value, .. }
    | Stmt::StoreMasked { mem, value, .. } = &mut stmt
    {
        (*mem, *value) = (Mem::U16, bits);
    }
    stmt
}

/// Emits simpler instructions with the meaning of `inst`; the last one defines the value returned.
fn expand_inst(b: &mut Builder, inst: &Inst, ty: Type) -> Reg {
    match *inst {
        Inst::Fma(x, y, z) => {
            let product = b.mul(x, y);
            b.add(product, z)
        }
        Inst::Load { mem, .. } | Inst::LoadStrided { mem, .. } | Inst::Gather { mem, .. } => load_half(b, inst, mem, ty),
        Inst::LoadMasked { mem, address, offset, mask } => masked::load(b, mem, ty, (address, offset), mask),
        Inst::FirstLanes(count) => masked::first_lanes(b, count, ty.lanes),
        Inst::Unary(Unary::Ceil, x) => rounding::ceil(b, x),
        Inst::Unary(Unary::Floor, x) => rounding::floor(b, x),
        Inst::Unary(Unary::Trunc, x) => rounding::trunc(b, x),
        Inst::Unary(Unary::Nearest, x) => rounding::nearest(b, x),
        Inst::Unary(Unary::RoundF16, x) => {
            let bits = half_floats::f32_to_f16(b, x);
            half_floats::f16_to_f32(b, bits)
        }
        Inst::Unary(Unary::RoundBF16, x) => half_floats::round_to_bf16(b, x),
        // The low bits of a product do not depend on what extends the factors.
        Inst::Binary(Binary::Mul, x, y) if ty.lane == Lane::I8 => {
            let (x, y) = (b.extend_u(x, Lane::I16), b.extend_u(y, Lane::I16));
            let product = b.mul(x, y);
            b.wrap(product, Lane::I8)
        }
        Inst::Binary(Binary::Scale, x, n) => scale::scaled(b, x, n),
        Inst::Convert(Convert::IntToFloatS, x) if x.ty.lane.bits() < 32 => {
            let wide = b.extend_s(x, Lane::I32);
            b.int_to_float_s(wide, ty.lane)
        }
        Inst::Convert(Convert::IntToFloatU, x) if x.ty.lane.bits() < 32 => {
            let wide = b.extend_u(x, Lane::I32);
            b.int_to_float_s(wide, ty.lane)
        }
        Inst::Convert(Convert::FloatToIntS, x) if ty.lane.bits() < 32 => {
            let limit = i64::MAX >> (64 - ty.lane.bits());
            narrow_saturated(b, x, ty.lane, -limit - 1, limit)
        }
        Inst::Convert(Convert::FloatToIntU, x) if ty.lane.bits() < 32 => narrow_saturated(b, x, ty.lane, 0, (1 << ty.lane.bits()) - 1),
        Inst::Convert(Convert::IntToFloatU, x) if x.ty.is_scalar() => integers::unsigned_to_float(b, x, ty.lane),
        Inst::Convert(Convert::FloatToIntU, x) if x.ty.is_scalar() => integers::float_to_unsigned(b, x, ty.lane),
        _ => lane_by_lane(b, inst, ty),
    }
}

/// The 16-bit integers in memory, then integer steps to F32.
fn load_half(b: &mut Builder, inst: &Inst, mem: Mem, ty: Type) -> Reg {
    let bits = ty.with_lane(Lane::I16);
    let bits = match *inst {
        Inst::LoadStrided { address, offset, stride, .. } => b.load_strided(Mem::U16, bits, address, offset, stride),
        Inst::Gather { address, offset, indices, .. } => b.gather(Mem::U16, bits, address, offset, indices),
        Inst::Load { address, offset, .. } => b.load(Mem::U16, bits, address, offset),
        _ => panic!("tile: {inst} is no load"),
    };
    match mem {
        Mem::F16 => half_floats::f16_to_f32(b, bits),
        Mem::BF16 => half_floats::bf16_to_f32(b, bits),
        _ => panic!("tile: no expansion for loads of {}", mem.name()),
    }
}

/// A saturating conversion to I32, clamped (every limit of 8 and 16 bits lies inside), then narrowed.
fn narrow_saturated(b: &mut Builder, x: Reg, to: Lane, low: i64, high: i64) -> Reg {
    let wide = b.float_to_int_s(x, Lane::I32);
    let low = b.int(wide.ty, low);
    let high = b.int(wide.ty, high);
    let clamped = b.max_s(wide, low);
    let clamped = b.min_s(clamped, high);
    b.wrap(clamped, to)
}

/// The same instruction on each lane alone.
fn lane_by_lane(b: &mut Builder, inst: &Inst, ty: Type) -> Reg {
    assert!(ty.lanes > 1, "tile: no expansion for the scalar {inst}: {ty}");
    let one = |b: &mut Builder, lane: u32| match *inst {
        Inst::Unary(op, x) => {
            let x = b.extract(x, lane);
            b.unary(op, x)
        }
        Inst::Binary(op, x, y) => {
            let (x, y) = (b.extract(x, lane), b.extract(y, lane));
            b.binary(op, x, y)
        }
        Inst::Convert(op, x) => {
            let x = b.extract(x, lane);
            b.convert(op, x, ty.lane)
        }
        _ => panic!("tile: no expansion for {inst}: {ty}"),
    };
    let first = one(b, 0);
    let mut vector = b.splat(first, ty.lanes);
    for lane in 1..ty.lanes {
        let scalar = one(b, lane);
        vector = b.insert(vector, lane, scalar);
    }
    vector
}
