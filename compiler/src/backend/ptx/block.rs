//! What the threads of a block do together, as PTX.

use super::function::Function;
use super::inst::{Class, Cmp, Inst, Op, Operand, Plain, Reg, Ty};
use super::tile::{self, Translation, class_of};
use super::{inst::Round, pipeline};
use crate::tile::{Cooperative, CooperativeStmt, EXCHANGE_LANES, MatrixElement, Type};
use std::collections::BTreeSet;

/// The lanes of the thread's half of the warp, as a mask.
pub(super) fn members(f: &mut Function) -> Reg {
    let lane = f.op(Op::Mov, Ty::U32, [Operand::Name("%laneid")]);
    let half = f.op(Op::And, Ty::B32, [lane.into(), Operand::Int(i64::from(EXCHANGE_LANES))]);
    let low = f.op(Op::Mov, Ty::B32, [Operand::Int((1 << EXCHANGE_LANES) - 1)]);
    f.op(Op::Shl, Ty::B32, [low.into(), half.into()])
}

/// The lanes of an instruction's value.
pub(super) fn inst(t: &mut Translation, f: &mut Function, inst: &Cooperative, result: Type) -> Vec<Reg> {
    match *inst {
        Cooperative::Shared(piece) if t.shared_at_launch => {
            let all = f.op(Op::Mov, Ty::U64, [Operand::Variable(tile::SHARED_AT_LAUNCH, 0)]);
            let before = tile::shared_before(t.program, piece as usize);
            vec![if before == 0 { all } else { f.op(Op::Add, Ty::U64, [all.into(), Operand::Int(before.into())]) }]
        }
        Cooperative::Shared(piece) => vec![f.op(Op::Mov, Ty::U64, [Operand::Variable(tile::SHARED, piece)])],
        Cooperative::Blocks => vec![special(f, "%nctaid.x")],
        Cooperative::ClusterRank => vec![special(f, "%cluster_ctarank")],
        Cooperative::FromLane { value, flip } => {
            let values = t.lanes(value).to_vec();
            values.into_iter().map(|value| from_lane(t, f, value, flip)).collect()
        }
        Cooperative::LoadMatrices { address, offset, transposed } => {
            let dst = [(); 4].map(|()| f.reg(Class::B32));
            f.push(Inst::LoadMatrices { dst, base: t.get(address), offset: i64::from(offset), transposed });
            dst.to_vec()
        }
        Cooperative::MultiplyAdd { element, a, b, c } => {
            let dst = [(); 4].map(|()| f.reg(class_of(result.lane)));
            f.push(Inst::MultiplyAdd { element: type_of(element), dst, a: held(t, a), b: held(t, b), c: held(t, c) });
            dst.to_vec()
        }
        Cooperative::MultiplyAddShared { element, a, b, c, along_depth } => {
            let mut sums = t.lanes(c).to_vec();
            // What is added to where it lies needs a place of its own, which a constant has not.
            if sums.iter().collect::<BTreeSet<_>>().len() < sums.len() {
                sums = sums.into_iter().map(|sum| f.op(Op::Mov, Ty::F32, [sum.into()])).collect();
            }
            let turned = along_depth.map(|is_along| !is_along);
            f.push(Inst::MultiplyAddShared { element: type_of(element), sums: sums.clone(), a: t.lanes(a).to_vec(), b: t.get(b), turned });
            sums
        }
        Cooperative::Pack { element, low, high } => {
            let dst = f.reg(Class::B32);
            f.push(Inst::Pack { half: type_of(element), dst, low: t.get(low), high: t.get(high) });
            vec![dst]
        }
        Cooperative::RoundToTf32(x) => {
            let rounded = |f: &mut Function, bits: Reg| {
                let (src, dst) = (f.bits(Class::F32, bits), f.reg(Class::B32));
                f.push(Inst::RoundToTf32 { dst, src });
                dst
            };
            t.lanes(x).to_vec().into_iter().map(|bits| rounded(f, bits)).collect()
        }
        // §9.7.3.20: an error of at most two units; subnormal numbers are kept.
        Cooperative::PowerOfTwo(x) => t.lanes(x).to_vec().into_iter().map(|x| f.op(Op::Ex2Approx, Ty::F32, [x.into()])).collect(),
    }
}

/// A special register as 64 bits.
fn special(f: &mut Function, name: &'static str) -> Reg {
    let value = f.op(Op::Mov, Ty::U32, [Operand::Name(name)]);
    f.cvt(Round::None, Ty::U64, Ty::U32, value)
}

fn type_of(element: MatrixElement) -> Ty {
    match element {
        MatrixElement::F16 => Ty::F16,
        MatrixElement::BF16 => Ty::BF16,
        MatrixElement::Tf32 => Ty::Tf32,
    }
}

/// The registers of a matrix.
fn held<const N: usize>(t: &Translation, matrix: crate::tile::Reg) -> [Reg; N] {
    t.lanes(matrix).try_into().expect("the verifier counted them")
}

/// 32 bits go from lane to lane at once.
fn from_lane(t: &Translation, f: &mut Function, value: Reg, flip: u32) -> Reg {
    let members = t.members.expect("only blocks exchange values");
    let shuffled = |f: &mut Function, src: Reg| {
        let dst = f.reg(Class::B32);
        f.push(Inst::Shuffle { dst, src, flip, members });
        dst
    };
    match value.class {
        Class::B32 => shuffled(f, value),
        Class::F32 => {
            let bits = f.bits(Class::B32, value);
            let bits = shuffled(f, bits);
            f.bits(Class::F32, bits)
        }
        Class::F64 => {
            let bits = f.bits(Class::B64, value);
            let bits = from_lane(t, f, bits, flip);
            f.bits(Class::F64, bits)
        }
        Class::B64 => {
            let halves = [(); 2].map(|()| f.reg(Class::B32));
            f.push(Inst::Split { dst: halves, src: value });
            let src = halves.map(|half| shuffled(f, half));
            let dst = f.reg(Class::B64);
            f.push(Inst::Join { dst, src });
            dst
        }
        Class::Pred => {
            let number = f.selp(Ty::B32, Operand::Int(1), Operand::Int(0), value);
            let number = shuffled(f, number);
            f.setp(Cmp::Ne, Ty::S32, number, Operand::Int(0))
        }
        Class::B16 => panic!("ptx: no value is a {value:?}"),
    }
}

/// A statement.
pub(super) fn stmt(t: &mut Translation, f: &mut Function, stmt: &CooperativeStmt) {
    match *stmt {
        CooperativeStmt::Barrier => f.push(Inst::Plain(Plain::Barrier)),
        CooperativeStmt::HalfWarpBarrier => {
            let members = t.members.expect("only blocks wait for each other");
            f.push(Inst::WarpBarrier { members });
        }
        CooperativeStmt::Copy { to, to_offset, from, from_offset, bytes } => {
            let bytes = bytes.map_or(Operand::Int(16), |bytes| t.operand(bytes));
            let (to, from) = ((t.get(to), i64::from(to_offset)), (t.get(from), i64::from(from_offset)));
            f.push(Inst::CopyAsync { to, from, bytes });
        }
        CooperativeStmt::EndCopies => f.push(Inst::Plain(Plain::CommitCopies)),
        CooperativeStmt::WaitForCopies(left) => f.push(Inst::Plain(Plain::WaitForCopies(left))),
        CooperativeStmt::ShareWithProducts => f.push(Inst::Plain(Plain::ShareWithProducts)),
        CooperativeStmt::BeginProducts => f.push(Inst::Plain(Plain::BeginProducts)),
        CooperativeStmt::EndProducts => f.push(Inst::Plain(Plain::EndProducts)),
        CooperativeStmt::WaitForProducts(left) => f.push(Inst::Plain(Plain::WaitForProducts(left))),
        CooperativeStmt::Pipeline(stmt) => pipeline::stmt(t, f, &stmt),
    }
}
