//! Which instructions compute one lane of an instruction of tile programs.
//!
//! Integers of 8 and 16 bits lie in 32-bit registers, and what lies above them means nothing: it is made right ([`narrow`]) before
//! it counts. Manual sections are those of the PTX ISA 9.0.

use super::divide;
use super::function::Function;
use super::inst::{Class, Cmp, Op, Operand, Reg, Round, Ty};
use super::tile::{SCRATCH, Translation, class_of};
use crate::tile::expand::Abilities;
use crate::tile::{self, Binary, Compare, Convert, Inst, Lane, Mem, Type, Unary};

/// What the emitter leaves to [`expand`](crate::tile::expand::expand).
pub(super) struct Ptx;

impl Abilities for Ptx {
    fn has(&self, inst: &Inst, result: Type) -> bool {
        match inst {
            Inst::Binary(Binary::Scale, ..) | Inst::LoadMasked { .. } | Inst::FirstLanes(_) => false,
            // Narrow integers saturate in steps of their own.
            Inst::Convert(Convert::FloatToIntS | Convert::FloatToIntU, _) => result.lane.bits() >= 32,
            Inst::Convert(Convert::IntToFloatS | Convert::IntToFloatU, x) => x.ty.lane.bits() >= 32,
            _ => true,
        }
    }

    fn stores(&self, _mem: Mem) -> bool {
        true
    }

    fn masks(&self, _mem: Mem, _ty: Type) -> bool {
        false
    }
}

/// The value of an instruction that does not touch memory.
pub(super) fn inst(t: &Translation, f: &mut Function, inst: &Inst, lane: Lane) -> Reg {
    match *inst {
        Inst::Int(value) => int(f, lane, value),
        Inst::Float(bits) if lane == Lane::F32 => {
            // A NaN keeps being one when it is narrowed.
            f.op(Op::Mov, Ty::F32, [Operand::F32((f64::from_bits(bits) as f32).to_bits())])
        }
        Inst::Float(bits) => f.op(Op::Mov, Ty::F64, [Operand::F64(bits)]),
        Inst::Scratch(piece) => {
            // Some accesses by `.local` addresses make ptxas spill registers where it has plenty.
            let local = f.op(Op::Mov, Ty::U64, [Operand::Variable(SCRATCH, piece)]);
            f.op(Op::CvtaLocal, Ty::U64, [local.into()])
        }
        Inst::Unary(op, a) => unary(f, op, lane, t.get(a)),
        Inst::Binary(op, a, b) => binary(t, f, op, lane, a, b),
        Inst::Fma(a, b, c) => {
            let [a, b, c] = [a, b, c].map(|reg| Operand::from(t.get(reg)));
            f.op(Op::FmaRn, float(lane), [a, b, c])
        }
        Inst::Compare(op, a, b) => compare(f, op, a.ty.lane, t.get(a), t.get(b)),
        Inst::Select(condition, a, b) => {
            let (condition, a, b) = (t.get(condition), t.get(a), t.get(b));
            match lane {
                Lane::Mask => {
                    let yes = f.op(Op::And, Ty::Pred, [condition.into(), a.into()]);
                    let other = f.op(Op::Not, Ty::Pred, [condition.into()]);
                    let no = f.op(Op::And, Ty::Pred, [other.into(), b.into()]);
                    f.op(Op::Or, Ty::Pred, [yes.into(), no.into()])
                }
                _ => f.selp(class_of(lane).ty(), a, b, condition),
            }
        }
        Inst::Convert(op, a) => convert(f, op, a.ty.lane, lane, t.get(a)),
        Inst::LoadMasked { .. } | Inst::FirstLanes(_) => panic!("ptx: {inst} is expanded"),
        Inst::Cooperative(_) | Inst::Load { .. } | Inst::LoadStrided { .. } | Inst::Gather { .. } => panic!("ptx: {inst} touches memory"),
        Inst::Splat(_) | Inst::Extract(..) | Inst::Insert { .. } | Inst::Half { .. } | Inst::Concat(..) | Inst::Shuffle(..) => {
            panic!("ptx: {inst} only moves lanes")
        }
    }
}

fn int(f: &mut Function, lane: Lane, value: i64) -> Reg {
    match lane {
        Lane::Mask => {
            let value = f.op(Op::Mov, Ty::B32, [Operand::Int(i64::from(value != 0))]);
            f.setp(Cmp::Ne, Ty::S32, value, Operand::Int(0))
        }
        Lane::I64 => f.op(Op::Mov, Ty::B64, [Operand::Int(value)]),
        // 32 bits, whatever lies above.
        _ => f.op(Op::Mov, Ty::B32, [Operand::Int(i64::from(value as i32))]),
    }
}

/// The type of a float lane.
fn float(lane: Lane) -> Ty {
    match lane {
        Lane::F32 => Ty::F32,
        Lane::F64 => Ty::F64,
        _ => panic!("ptx: {} is no float", lane.name()),
    }
}

/// The type of an integer lane in its register, once it is made right.
pub(super) fn signed(lane: Lane) -> Ty {
    if lane == Lane::I64 { Ty::S64 } else { Ty::S32 }
}

pub(super) fn unsigned(lane: Lane) -> Ty {
    if lane == Lane::I64 { Ty::U64 } else { Ty::U32 }
}

/// The type whose bits count.
fn exact(lane: Lane, is_signed: bool) -> Ty {
    match (lane, is_signed) {
        (Lane::I8, true) => Ty::S8,
        (Lane::I8, false) => Ty::U8,
        (Lane::I16, true) => Ty::S16,
        (Lane::I16, false) => Ty::U16,
        (Lane::I32, true) => Ty::S32,
        (Lane::I32, false) => Ty::U32,
        (Lane::I64, true) => Ty::S64,
        (Lane::I64, false) => Ty::U64,
        (Lane::F32 | Lane::F64 | Lane::Mask, _) => panic!("ptx: {} is no integer", lane.name()),
    }
}

/// An integer with its bits above 8 or 16 made right.
pub(super) fn narrow(f: &mut Function, lane: Lane, is_signed: bool, value: Reg) -> Reg {
    match lane {
        Lane::I8 | Lane::I16 => f.cvt(Round::None, if is_signed { Ty::S32 } else { Ty::U32 }, exact(lane, is_signed), value),
        _ => value,
    }
}

/// The smaller or the larger of two integers. Of 32 bits it is a choice: from `max` of `max` of values that were negated, `ptxas` (of CUDA
/// 13.0, and the driver's of that time) makes Hopper's maximum of three and leaves the signs out. Measured on an H100.
fn extreme(f: &mut Function, is_least: bool, ty: Ty, a: Reg, b: Reg) -> Reg {
    if ty.class() == Class::B32 {
        let first = f.setp(if is_least { Cmp::Lt } else { Cmp::Gt }, ty, a, b);
        return f.selp(Ty::B32, a, b, first);
    }
    f.op(if is_least { Op::Min } else { Op::Max }, ty, [a.into(), b.into()])
}

fn unary(f: &mut Function, op: Unary, lane: Lane, a: Reg) -> Reg {
    let integer = lane.is_int();
    match op {
        Unary::Neg if integer => f.op(Op::Neg, signed(lane), [a.into()]),
        Unary::Neg => f.op(Op::Neg, float(lane), [a.into()]),
        Unary::Abs if integer => {
            let a = narrow(f, lane, true, a);
            f.op(Op::Abs, signed(lane), [a.into()])
        }
        Unary::Abs => f.op(Op::Abs, float(lane), [a.into()]),
        Unary::Not => f.op(Op::Not, class_of(lane).ty(), [a.into()]),
        Unary::Sqrt => f.op(Op::SqrtRn, float(lane), [a.into()]),
        Unary::Ceil => f.cvt(Round::Rpi, float(lane), float(lane), a),
        Unary::Floor => f.cvt(Round::Rmi, float(lane), float(lane), a),
        Unary::Trunc => f.cvt(Round::Rzi, float(lane), float(lane), a),
        Unary::Nearest => f.cvt(Round::Rni, float(lane), float(lane), a),
        Unary::RoundF16 => {
            let half = f.cvt(Round::Rn, Ty::F16, Ty::F32, a);
            f.cvt(Round::None, Ty::F32, Ty::F16, half)
        }
        Unary::RoundBF16 => {
            let half = f.cvt(Round::Rn, Ty::BF16, Ty::F32, a);
            from_bf16(f, half)
        }
    }
}

/// The bits of a bfloat16 are the upper half of those of the same binary32.
pub(super) fn from_bf16(f: &mut Function, half: Reg) -> Reg {
    let bits = f.cvt(Round::None, Ty::U32, Ty::Half, half);
    let bits = f.op(Op::Shl, Ty::B32, [bits.into(), Operand::Int(16)]);
    f.bits(Class::F32, bits)
}

fn binary(t: &Translation, f: &mut Function, op: Binary, lane: Lane, x: tile::Reg, y: tile::Reg) -> Reg {
    let integer = lane.is_int();
    let (a, b) = (t.get(x), t.get(y));
    let two = [t.operand(x), t.operand(y)];
    match op {
        Binary::Add if integer => f.op(Op::Add, signed(lane), two),
        Binary::Add => f.op(Op::AddRn, float(lane), two),
        Binary::Sub if integer => f.op(Op::Sub, signed(lane), two),
        Binary::Sub => f.op(Op::SubRn, float(lane), two),
        Binary::Mul | Binary::Shl if integer && t.constant(x) == Some(0) => int(f, lane, 0),
        Binary::Mul if integer => f.op(Op::MulLo, signed(lane), two),
        Binary::Mul => f.op(Op::MulRn, float(lane), two),
        Binary::Div => f.op(Op::DivRn, float(lane), two),
        // What the machine leaves open cannot come from other constants.
        Binary::DivS | Binary::RemS if t.constant(y).is_some_and(|n| n != 0 && n != -1) => {
            let a = narrow(f, lane, true, a);
            f.op(if op == Binary::DivS { Op::Div } else { Op::Rem }, signed(lane), [a.into(), t.operand(y)])
        }
        Binary::DivU | Binary::RemU
            if lane == Lane::I64
                && let Some(divisor) = t.constant(y).filter(|n| *n > 0) =>
        {
            divide::by_constant(f, op, a, divisor as u64)
        }
        Binary::DivU | Binary::RemU if t.constant(y).is_some_and(|n| n > 0) => {
            let a = narrow(f, lane, false, a);
            f.op(if op == Binary::DivU { Op::Div } else { Op::Rem }, unsigned(lane), [a.into(), t.operand(y)])
        }
        Binary::DivS | Binary::RemS => divide::signed(f, op, lane, a, b),
        Binary::DivU | Binary::RemU => divide::unsigned(f, op, lane, a, b),
        Binary::And => f.op(Op::And, class_of(lane).ty(), two),
        Binary::Or => f.op(Op::Or, class_of(lane).ty(), two),
        Binary::Xor => f.op(Op::Xor, class_of(lane).ty(), two),
        Binary::Shl => {
            let amount = amount(t, f, lane, y);
            f.op(Op::Shl, class_of(lane).ty(), [two[0].clone(), amount])
        }
        Binary::ShrS => {
            let (a, amount) = (narrow(f, lane, true, a), amount(t, f, lane, y));
            f.op(Op::Shr, signed(lane), [a.into(), amount])
        }
        Binary::ShrU => {
            let (a, amount) = (narrow(f, lane, false, a), amount(t, f, lane, y));
            f.op(Op::Shr, unsigned(lane), [a.into(), amount])
        }
        // §9.7.3.11: with .NaN a NaN wins, and −0 is below +0.
        Binary::Minimum if lane == Lane::F32 => f.op(Op::MinNan, Ty::F32, two),
        Binary::Maximum if lane == Lane::F32 => f.op(Op::MaxNan, Ty::F32, two),
        Binary::Minimum => or_nan(f, Op::Min, a, b),
        Binary::Maximum => or_nan(f, Op::Max, a, b),
        Binary::MinOrSecond => {
            let less = f.setp(Cmp::Lt, float(lane), a, b);
            f.selp(class_of(lane).ty(), a, b, less)
        }
        Binary::MaxOrSecond => {
            let greater = f.setp(Cmp::Gt, float(lane), a, b);
            f.selp(class_of(lane).ty(), a, b, greater)
        }
        Binary::MinS | Binary::MaxS => {
            let (a, b) = (narrow(f, lane, true, a), narrow(f, lane, true, b));
            extreme(f, op == Binary::MinS, signed(lane), a, b)
        }
        Binary::MinU | Binary::MaxU => {
            let (a, b) = (narrow(f, lane, false, a), narrow(f, lane, false, b));
            extreme(f, op == Binary::MinU, unsigned(lane), a, b)
        }
        Binary::Scale => panic!("ptx: scale is written out before"),
    }
}

/// `min.f64` has no .NaN.
fn or_nan(f: &mut Function, op: Op, a: Reg, b: Reg) -> Reg {
    let other = f.op(op, Ty::F64, [a.into(), b.into()]);
    let nan = f.setp(Cmp::Nan, Ty::F64, a, b);
    f.selp(Ty::F64, Operand::F64(f64::NAN.to_bits()), other, nan)
}

/// How far to shift: an unsigned 32-bit number. §9.7.8.7: from the width on, it counts as the width.
fn amount(t: &Translation, f: &mut Function, lane: Lane, amount: tile::Reg) -> Operand {
    if let Some(known) = t.constant(amount).filter(|known| (0..i64::from(lane.bits())).contains(known)) {
        return Operand::Int(known);
    }
    let reg = t.get(amount);
    match lane {
        Lane::I64 => {
            let most = f.op(Op::Min, Ty::U64, [reg.into(), Operand::Int(64)]);
            f.cvt(Round::None, Ty::U32, Ty::U64, most).into()
        }
        _ => narrow(f, lane, false, reg).into(),
    }
}

fn compare(f: &mut Function, op: Compare, lane: Lane, a: Reg, b: Reg) -> Reg {
    let is_signed = !matches!(op, Compare::LtU | Compare::LeU | Compare::GtU | Compare::GeU);
    let (a, b, ty) = match lane.is_int() {
        true => (narrow(f, lane, is_signed, a), narrow(f, lane, is_signed, b), if is_signed { signed(lane) } else { unsigned(lane) }),
        false => (a, b, float(lane)),
    };
    let cmp = match op {
        Compare::Eq => Cmp::Eq,
        // §9.7.4: `ne` of a NaN is false, `neu` is true.
        Compare::Ne if lane.is_float() => Cmp::Neu,
        Compare::Ne => Cmp::Ne,
        Compare::Lt | Compare::LtU => Cmp::Lt,
        Compare::Le | Compare::LeU => Cmp::Le,
        Compare::Gt | Compare::GtU => Cmp::Gt,
        Compare::Ge | Compare::GeU => Cmp::Ge,
    };
    f.setp(cmp, ty, a, b)
}

fn convert(f: &mut Function, op: Convert, from: Lane, to: Lane, a: Reg) -> Reg {
    match op {
        Convert::ExtendS => f.cvt(Round::None, signed(to), exact(from, true), a),
        Convert::ExtendU => f.cvt(Round::None, unsigned(to), exact(from, false), a),
        Convert::Wrap if from == Lane::I64 => f.cvt(Round::None, Ty::U32, Ty::U64, a),
        Convert::Wrap => a,
        Convert::IntToFloatS => f.cvt(Round::Rn, float(to), exact(from, true), a),
        Convert::IntToFloatU => f.cvt(Round::Rn, float(to), exact(from, false), a),
        Convert::FloatToIntS | Convert::FloatToIntU => {
            let ty = exact(to, op == Convert::FloatToIntS);
            let whole = f.cvt(Round::Rzi, ty, float(from), a);
            // §9.7.9.22: a NaN gives 0 only from .f32 to 32 bits and less; numbers outside are clamped.
            let nan = f.setp(Cmp::Nan, float(from), a, a);
            f.selp(class_of(to).ty(), Operand::Int(0), whole, nan)
        }
        Convert::FloatToFloat if to == Lane::F64 => f.cvt(Round::None, Ty::F64, Ty::F32, a),
        Convert::FloatToFloat => f.cvt(Round::Rn, Ty::F32, Ty::F64, a),
        Convert::Bitcast => f.bits(class_of(to), a),
    }
}
