//! `wgmma`: multiplications of a warpgroup of four warps.

use super::line::{Decoded, Line};
use super::matrix::extents;
use crate::descriptor::WarpgroupMultiply;
use crate::instruction::Op;
use crate::matrix::{Accumulator, Element};
use crate::parse::Operand;
use crate::types::Type;

pub(crate) fn decode(line: &Line) -> Decoded<Option<Op>> {
    if line.base != "wgmma" {
        return Ok(None);
    }
    let kind = line.one_of(&["fence", "commit_group", "wait_group", "mma_async"]);
    if !line.flag("sync") || !line.flag("aligned") {
        return line.error("`.sync.aligned` is expected");
    }
    Ok(Some(match kind {
        Some("fence") => {
            line.finish(0)?;
            Op::WarpgroupFence
        }
        Some("commit_group") => {
            line.finish(0)?;
            Op::WarpgroupCommit
        }
        Some("wait_group") => {
            line.finish(1)?;
            Op::WarpgroupWait { pending: small(line, 0, 0..=7)? }
        }
        Some(_) => multiply(line)?,
        None => return line.error("this operation is not supported"),
    }))
}

fn small(line: &Line, i: usize, range: std::ops::RangeInclusive<i64>) -> Decoded<u32> {
    match line.operand(i)? {
        Operand::Integer(value) if range.contains(value) => Ok(*value as u32),
        _ => line.error(format!("operand {} must be a constant in {range:?}", i + 1)),
    }
}

fn multiply(line: &Line) -> Decoded<Op> {
    if line.has("sp") {
        return line.error("sparse multiplication is not supported");
    }
    let [(64, n, k)] = line.all(extents)[..] else { return line.error("the shape, as `.m64n128k16`, is missing") };
    let names = line.all(|t| (Element::parse(t).is_some() || Accumulator::parse(t).is_some()).then(|| t.to_string()));
    let [d, a, b] = &names[..] else { return line.error("three types are expected, of d, a and b") };
    let (Some(to), Some(a), Some(b)) = (Accumulator::parse(d), Element::parse(a), Element::parse(b)) else {
        return line.error("these types are not supported");
    };
    let element_bits = a.bits();
    if k * element_bits != 256 || b.bits() != element_bits || !(8..=256).contains(&n) || n % 8 != 0 || matches!(to, Accumulator::F64) {
        return line.error("this shape is not supported with these types");
    }
    let integer = matches!(to, Accumulator::S32);
    if integer != matches!(a, Element::S8 | Element::U8) || integer != matches!(b, Element::S8 | Element::U8) {
        return line.error("the accumulator does not fit the elements");
    }
    let from_registers = matches!(line.operand(1)?, Operand::Vector(_));
    let transposes = if element_bits != 16 {
        0
    } else if from_registers {
        1
    } else {
        2
    };
    let scales = if integer { 0 } else { 2 };
    line.finish(4 + scales + transposes)?;
    let registers = line.elements(0)?;
    let count = n / 2 / if to == Accumulator::F16 { 2 } else { 1 };
    if registers.len() != count as usize {
        return line.error(format!("{count} accumulator registers expected, {} given", registers.len()));
    }
    let d = registers.iter().map(|r| line.to(r, to.register())).collect::<Decoded<_>>()?;
    let a_registers = if from_registers {
        let elements = line.elements(1)?;
        if elements.len() != 4 {
            return line.error("the fragment of a has 4 registers");
        }
        elements.iter().map(|e| line.read(e, Type::B32)).collect::<Decoded<Vec<_>>>()?
    } else {
        vec![line.source(1, Type::B64)?]
    };
    let sign = |i| -> Decoded<bool> {
        match line.operand(i)? {
            Operand::Integer(1) => Ok(false),
            Operand::Integer(-1) => Ok(true),
            _ => line.error("the scale must be 1 or -1"),
        }
    };
    let (negate_a, negate_b) = if scales == 2 { (sign(4)?, sign(5)?) } else { (false, false) };
    let flag = |i| small(line, i, 0..=1).map(|v| v == 1);
    let (transpose_a, transpose_b) = match transposes {
        2 => (flag(6)?, flag(7)?),
        1 => (false, flag(6)?),
        _ => (false, false),
    };
    Ok(Op::WarpgroupMultiply(Box::new(WarpgroupMultiply {
        n,
        k,
        elements: (a, b),
        accumulator: to,
        d,
        a: a_registers,
        from_registers,
        b: line.source(2, Type::B64)?,
        keep: line.predicate(line.operand(3)?)?,
        negate: negate_a != negate_b,
        transpose_a,
        transpose_b,
    })))
}
