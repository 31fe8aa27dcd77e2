//! `mma.sync`, `ldmatrix` and `stmatrix`.

use super::control::space;
use super::line::{Decoded, Line};
use crate::instruction::{Op, Source};
use crate::matrix::{Accumulator, Element, MatrixShape};
use crate::parse::{Operand, Space};
use crate::types::Type;

pub(crate) fn decode(line: &Line) -> Decoded<Option<Op>> {
    Ok(Some(match line.base {
        "mma" => multiply(line)?,
        "ldmatrix" | "stmatrix" => move_matrix(line)?,
        "wmma" => return line.error("`wmma` is not supported; `mma.sync` is"),
        _ => return Ok(None),
    }))
}

/// `m16n8k16` into its numbers.
pub(crate) fn extents(name: &str) -> Option<(u32, u32, u32)> {
    let (m, rest) = name.strip_prefix('m')?.split_once('n')?;
    let (n, k) = rest.split_once('k')?;
    Some((m.parse().ok()?, n.parse().ok()?, k.parse().ok()?))
}

fn multiply(line: &Line) -> Decoded<Op> {
    if !line.flag("sync") || !line.flag("aligned") {
        return line.error("`.sync.aligned` is expected");
    }
    let [(m, n, k)] = line.all(extents)[..] else { return line.error("the shape, as `.m16n8k16`, is missing") };
    if !line.flag("row") || !line.flag("col") {
        return line.error("`.row.col` is expected");
    }
    let saturate = line.flag("satfinite");
    let names = line.all(|t| (Element::parse(t).is_some() || Accumulator::parse(t).is_some()).then(|| t.to_string()));
    let [d, a, b, c] = &names[..] else { return line.error("four types are expected, of d, a, b and c") };
    let (Some(to), Some(a), Some(b), Some(from)) = (Accumulator::parse(d), Element::parse(a), Element::parse(b), Accumulator::parse(c))
    else {
        return line.error("these types are not supported");
    };
    let Some(shape) = MatrixShape::new((m, n, k), (a, b), (to, from), saturate) else {
        return line.error("this shape is not supported with these types");
    };
    line.finish(4)?;
    let registers = |i: usize, count: u32| {
        let elements = line.elements(i)?;
        if elements.len() != count as usize {
            line.error(format!("operand {} has {} registers, not {count}", i + 1, elements.len()))
        } else {
            Ok(elements)
        }
    };
    let sources = |i, ty: Type, count| registers(i, count)?.iter().map(|e| line.read(e, ty)).collect::<Decoded<Vec<Source>>>();
    let d = registers(0, shape.c_registers(to))?.iter().map(|e| line.to(e, to.register())).collect::<Decoded<_>>()?;
    Ok(Op::Multiply {
        d,
        a: sources(1, a.register(), shape.a_registers())?,
        b: sources(2, b.register(), shape.b_registers())?,
        c: sources(3, from.register(), shape.c_registers(from))?,
        shape,
    })
}

fn move_matrix(line: &Line) -> Decoded<Op> {
    if !line.flag("sync") || !line.flag("aligned") || !line.flag("m8n8") {
        return line.error("`.sync.aligned.m8n8` is expected");
    }
    let count = match line.one_of(&["x1", "x2", "x4"]) {
        Some("x1") => 1,
        Some("x2") => 2,
        Some(_) => 4,
        None => return line.error("one of `.x1`, `.x2`, `.x4` is expected"),
    };
    let transpose = line.flag("trans");
    if space(line) != Space::Shared {
        return line.error("`.shared` is expected");
    }
    if line.ty()? != Type::B16 {
        return line.error("`.b16` is expected");
    }
    line.finish(2)?;
    let load = line.base == "ldmatrix";
    let elements: &[Operand] = line.elements(usize::from(!load))?;
    if elements.len() != count {
        return line.error(format!("{count} registers expected, {} given", elements.len()));
    }
    let at = line.address(usize::from(load), Space::Shared)?;
    Ok(if load {
        Op::LoadMatrix { to: elements.iter().map(|e| line.to(e, Type::B32)).collect::<Decoded<_>>()?, at, transpose }
    } else {
        Op::StoreMatrix { from: elements.iter().map(|e| line.read(e, Type::B32)).collect::<Decoded<_>>()?, at, transpose }
    })
}
