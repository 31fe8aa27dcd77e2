//! Instructions in which the lanes of a warp act together.

use super::atomic::update;
use super::line::{Decoded, Line};
use crate::instruction::{Op, Shuffle, Vote};
use crate::parse::Operand;
use crate::types::Type;

pub(crate) fn decode(line: &Line) -> Decoded<Option<Op>> {
    if line.base == "activemask" {
        line.ty()?;
        line.finish(1)?;
        return Ok(Some(Op::ActiveMask { d: line.d(Type::B32)? }));
    }
    if !matches!(line.base, "shfl" | "vote" | "match" | "redux" | "elect") {
        return Ok(None);
    }
    if !line.flag("sync") {
        return line.error("`.sync` is expected: the form without it is gone since sm_70");
    }
    Ok(Some(match line.base {
        "shfl" => shuffle(line)?,
        "vote" => vote(line)?,
        "match" => find(line)?,
        "redux" => {
            let Some(name) = line.one_of(&["add", "min", "max", "and", "or", "xor"]) else { return line.error("the operation is missing") };
            let ty = line.ty()?;
            if ty.width() != 32 {
                return line.error("32 bits are expected");
            }
            let Some(f) = update(name, ty) else { return line.error(format!("`.{name}` does not work on {ty}")) };
            line.finish(3)?;
            Op::Reduce { f, d: line.d(ty)?, a: line.source(1, ty)?, members: line.source(2, Type::B32)? }
        }
        _ => {
            line.finish(2)?;
            let Operand::Pair(d, p) = line.operand(0)? else { return line.error("`d|p` is expected") };
            let d = if **d == Operand::Sink { None } else { Some(line.to(d, Type::B32)?) };
            Op::Elect { d, p: line.to(p, Type::PRED)?, members: line.source(1, Type::B32)? }
        }
    }))
}

fn shuffle(line: &Line) -> Decoded<Op> {
    let kind = match line.one_of(&["up", "down", "bfly", "idx"]) {
        Some("up") => Shuffle::Up,
        Some("down") => Shuffle::Down,
        Some("bfly") => Shuffle::Butterfly,
        Some(_) => Shuffle::Index,
        None => return line.error("one of `.up`, `.down`, `.bfly`, `.idx` is expected"),
    };
    let ty = line.ty()?;
    if ty != Type::B32 {
        return line.error("`.b32` is expected");
    }
    line.finish(5)?;
    let (d, p) = match line.operand(0)? {
        Operand::Pair(d, p) => (if **d == Operand::Sink { None } else { Some(line.to(d, ty)?) }, Some(line.to(p, Type::PRED)?)),
        single => (Some(line.to(single, ty)?), None),
    };
    let (a, b, c) = (line.source(1, ty)?, line.source(2, Type::B32)?, line.source(3, Type::B32)?);
    Ok(Op::Shuffle { kind, d, p, a, b, c, members: line.source(4, Type::B32)? })
}

fn vote(line: &Line) -> Decoded<Op> {
    let kind = match line.one_of(&["all", "any", "uni", "ballot"]) {
        Some("all") => Vote::All,
        Some("any") => Vote::Any,
        Some("uni") => Vote::Uniform,
        Some(_) => Vote::Ballot,
        None => return line.error("one of `.all`, `.any`, `.uni`, `.ballot` is expected"),
    };
    let ty = line.ty()?;
    line.finish(3)?;
    if ty != if kind == Vote::Ballot { Type::B32 } else { Type::PRED } {
        return line.error("the type does not fit the operation");
    }
    Ok(Op::Vote { kind, d: line.d(ty)?, a: line.predicate(line.operand(1)?)?, members: line.source(2, Type::B32)? })
}

fn find(line: &Line) -> Decoded<Op> {
    let Some(which) = line.one_of(&["any", "all"]) else { return line.error("`.any` or `.all` is expected") };
    let ty = line.ty()?;
    if !matches!(ty, Type::B32 | Type::B64) {
        return line.error("`.b32` or `.b64` is expected");
    }
    line.finish(3)?;
    let (a, members) = (line.source(1, ty)?, line.source(2, Type::B32)?);
    if which == "any" {
        return Ok(Op::MatchAny { d: line.d(Type::B32)?, a, members });
    }
    match line.operand(0)? {
        Operand::Pair(d, p) => Ok(Op::MatchAll { d: line.to(d, Type::B32)?, p: Some(line.to(p, Type::PRED)?), a, members }),
        single => Ok(Op::MatchAll { d: line.to(single, Type::B32)?, p: None, a, members }),
    }
}
