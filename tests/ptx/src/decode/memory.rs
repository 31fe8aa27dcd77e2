//! Loads and stores.

use super::control::space;
use super::line::{Decoded, Line};
use crate::instruction::{Op, Order};
use crate::parse::Space;
use crate::types::{Kind, Type};

pub(crate) fn decode(line: &Line) -> Decoded<Option<Op>> {
    let load = match line.base {
        "ld" | "ldu" => true,
        "st" => false,
        _ => return Ok(None),
    };
    let order = order(line);
    let space = space(line);
    line.all(|m| matches!(m, "cta" | "cluster" | "gpu" | "sys" | "weak").then_some(()));
    line.all(|m| matches!(m, "ca" | "cg" | "cs" | "lu" | "cv" | "wb" | "wt" | "nc").then_some(()));
    line.all(|m| (m.starts_with("L1::") || matches!(m, "L2::64B" | "L2::128B" | "L2::256B")).then_some(()));
    let vector = match line.one_of(&["v2", "v4", "v8"]) {
        Some("v2") => 2,
        Some("v4") => 4,
        Some("v8") => 8,
        _ => 1,
    };
    let ty = line.ty()?;
    line.finish(2)?;
    if ty.kind == Kind::Predicate || ty.width() > 64 || ty.packed > 1 || matches!(ty.kind, Kind::Brain | Kind::Tensor32) || ty == Type::F16
    {
        return line.error(format!("{ty} is not loaded or stored: use bits of that width"));
    }
    if vector * ty.bytes() > 32 {
        return line.error("the access is wider than 32 bytes");
    }
    let elements = line.elements(usize::from(!load))?;
    if elements.len() != vector as usize {
        return line.error(format!("{vector} elements expected, {} given", elements.len()));
    }
    let at = line.address(usize::from(load), space)?;
    if !load && matches!(at.space, Space::Const | Space::Param) {
        return line.error(format!("{space:?} memory is not written"));
    }
    Ok(Some(if load {
        Op::Load { ty, to: elements.iter().map(|e| line.to_wider(e, ty)).collect::<Decoded<_>>()?, at, order }
    } else {
        Op::Store { ty, from: elements.iter().map(|e| line.read_wider(e, ty)).collect::<Decoded<_>>()?, at, order }
    }))
}

/// Memory order among the modifiers; weak when none is given.
pub(crate) fn order(line: &Line) -> Order {
    let name = line.one_of(&["volatile", "relaxed", "acquire", "release", "acq_rel", "mmio"]);
    Order {
        strong: name.is_some(),
        acquire: matches!(name, Some("acquire" | "acq_rel")),
        release: matches!(name, Some("release" | "acq_rel")),
    }
}
