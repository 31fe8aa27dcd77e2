//! Branches, barriers, fences, moves of addresses, and hints that have no meaning here.

use super::line::{Decoded, Line};
use crate::exec::cluster::mapped;
use crate::instruction::{BarrierKind, Logic, Op, PredicateSource, Source, WARP, map1, map2, relation};
use crate::memory::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW_BYTES};
use crate::parse::{Operand, Space};
use crate::types::{Kind, Type};

pub(crate) fn decode(line: &Line) -> Decoded<Option<Op>> {
    Ok(Some(match line.base {
        "mov" => mov(line)?,
        "bra" => {
            line.flag("uni");
            line.finish(1)?;
            let Operand::Name(label, 0) = line.operand(0)? else { return line.error("a label is expected") };
            Op::Branch { target: target(line, label)? }
        }
        "brx" => {
            line.flag("uni");
            if !line.flag("idx") {
                return line.error("`.idx` is expected");
            }
            line.finish(2)?;
            let Operand::Name(list, 0) = line.operand(1)? else { return line.error("a list of targets is expected") };
            let Some(labels) = line.scope.targets.get(list) else { return line.error(format!("`{list}` is not a `.branchtargets` list")) };
            let targets = labels.iter().map(|l| target(line, l)).collect::<Decoded<_>>()?;
            Op::BranchTable { index: line.source(0, Type::U32)?, targets }
        }
        "ret" | "exit" => {
            line.flag("uni");
            line.finish(0)?;
            Op::Exit
        }
        "trap" => {
            line.finish(0)?;
            Op::Trap
        }
        "bar" | "barrier" => barrier(line)?,
        "membar" | "fence" => fence(line)?,
        "cvta" => convert_address(line)?,
        "mapa" => {
            line.one_of(&["shared::cluster"]);
            let ty = line.ty()?;
            line.finish(3)?;
            Op::Map2 { f: map2(mapped), d: line.d(ty)?, a: line.source(1, ty)?, b: line.source(2, Type::U32)? }
        }
        "isspacep" => {
            let Some(space) = line.one_of(&["global", "shared", "shared::cta", "local"]) else { return line.error("the space is missing") };
            line.finish(2)?;
            let f = match space {
                "local" => relation(|a, _| inside(a, LOCAL_WINDOW)),
                "global" => relation(|a, _| ![SHARED_WINDOW, LOCAL_WINDOW, PARAM_WINDOW].iter().any(|w| inside(a, *w))),
                _ => relation(|a, _| inside(a, SHARED_WINDOW)),
            };
            Op::Test1 { f, a: line.source(1, Type::U64)?, p: line.d(Type::PRED)? }
        }
        "nanosleep" => {
            line.ty()?;
            line.finish(1)?;
            Op::Nothing
        }
        "setmaxnreg" => {
            if line.one_of(&["inc", "dec"]).is_none() || !line.flag("sync") || !line.flag("aligned") || line.ty()? != Type::U32 {
                return line.error("`setmaxnreg.inc|dec.sync.aligned.u32` is expected");
            }
            line.finish(1)?;
            match line.operand(0)? {
                Operand::Integer(n) if (24..=256).contains(n) && n % 8 == 0 => Op::Nothing,
                _ => return line.error("a multiple of 8 between 24 and 256 is expected"),
            }
        }
        "griddepcontrol" => {
            let kind = line.one_of(&["launch_dependents", "wait"]);
            line.finish(0)?;
            match kind {
                Some("wait") => Op::WaitForGrids,
                Some(_) => Op::LaunchNextGrid,
                None => return line.error("`.launch_dependents` or `.wait` is expected"),
            }
        }
        "prefetch" | "prefetchu" => {
            line.all(|m| {
                matches!(m, "global" | "local" | "L1" | "L2" | "L2::evict_last" | "L2::evict_normal" | "tensormap" | "param" | "const")
                    .then_some(())
            });
            line.finish(1)?;
            Op::Nothing
        }
        "pmevent" => {
            line.finish(1)?;
            Op::Nothing
        }
        _ => return Ok(None),
    }))
}

fn inside(address: u64, window: u64) -> bool {
    (window..window + WINDOW_BYTES).contains(&address)
}

fn target(line: &Line, label: &str) -> Decoded<u32> {
    match line.scope.labels.get(label) {
        Some(position) => Ok(*position),
        None => line.error(format!("label `{label}` is not defined")),
    }
}

fn mov(line: &Line) -> Decoded<Op> {
    let ty = line.ty()?;
    line.finish(2)?;
    if ty == Type::PRED {
        let a = line.predicate(line.operand(1)?)?;
        return Ok(Op::PredicateLogic { d: line.d(ty)?, a, b: PredicateSource::Constant(false), logic: Logic::Or });
    }
    let part = |elements: &[Operand]| match (elements.len() as u32, ty.kind) {
        (n @ (2 | 4), Kind::Bits) if ty.width() % n == 0 && ty.width() / n >= 16 => Ok(Type::new(Kind::Bits, ty.width() / n)),
        _ => line.error("vectors of 2 or 4 elements and a type of bits are expected"),
    };
    match (line.operand(0)?, line.operand(1)?) {
        (Operand::Vector(to), _) => {
            let element = part(to)?;
            let slot = |o: &Operand| if *o == Operand::Sink { Ok(None) } else { line.to(o, element).map(Some) };
            Ok(Op::Unpack { parts: to.iter().map(slot).collect::<Decoded<_>>()?, a: line.source(1, ty)?, bits: element.width() })
        }
        (_, Operand::Vector(from)) => {
            let element = part(from)?;
            let parts = from.iter().map(|o| line.read(o, element)).collect::<Decoded<_>>()?;
            Ok(Op::Pack { d: line.d(ty)?, parts, bits: element.width() })
        }
        _ => Ok(Op::Move { d: line.d(ty)?, a: line.source(1, ty)? }),
    }
}

fn zero() -> Source {
    Source::Immediate(Box::new([0; WARP]))
}

fn barrier(line: &Line) -> Decoded<Op> {
    if line.flag("warp") {
        if !line.flag("sync") {
            return line.error("`.sync` is expected");
        }
        line.finish(1)?;
        return Ok(Op::WarpBarrier { members: line.source(0, Type::B32)? });
    }
    if line.flag("cluster") {
        let wait = match line.one_of(&["arrive", "wait"]) {
            Some(which) => which == "wait",
            None => return line.error("`.arrive` or `.wait` is expected"),
        };
        let aligned = line.flag("aligned");
        line.all(|m| matches!(m, "release" | "acquire" | "relaxed").then_some(()));
        line.finish(0)?;
        return Ok(if wait { Op::ClusterWait { aligned } } else { Op::ClusterArrive { aligned } });
    }
    line.flag("cta");
    let aligned = line.base == "bar" || line.flag("aligned") || line.has("aligned");
    line.flag("aligned");
    let b32 = |i| line.source(i, Type::U32);
    let true_vote = PredicateSource::Constant(true);
    Ok(match line.one_of(&["sync", "arrive", "red"]) {
        Some("sync") => {
            let n = line.count().clamp(1, 2);
            line.finish(n)?;
            let count = if n == 2 { Some(b32(1)?) } else { None };
            Op::Barrier { id: b32(0)?, count, kind: BarrierKind::Sync, aligned, vote: true_vote }
        }
        Some("arrive") => {
            line.finish(2)?;
            Op::Barrier { id: b32(0)?, count: Some(b32(1)?), kind: BarrierKind::Arrive, aligned, vote: true_vote }
        }
        Some("red") => {
            let Some(how) = line.one_of(&["popc", "and", "or"]) else { return line.error("`.popc`, `.and` or `.or` is expected") };
            let ty = line.ty()?;
            if ty != if how == "popc" { Type::U32 } else { Type::PRED } {
                return line.error("the type does not fit the operation");
            }
            let n = line.count().clamp(3, 4);
            line.finish(n)?;
            let d = line.d(ty)?;
            let kind = match how {
                "popc" => BarrierKind::Count(d),
                "and" => BarrierKind::Vote(Logic::And, d),
                _ => BarrierKind::Vote(Logic::Or, d),
            };
            let count = if n == 4 { Some(b32(2)?) } else { None };
            Op::Barrier { id: b32(1)?, count, kind, aligned, vote: line.predicate(line.operand(n - 1)?)? }
        }
        _ => return line.error("`.sync`, `.arrive` or `.red` is expected"),
    })
}

fn fence(line: &Line) -> Decoded<Op> {
    let proxy = line.all(|m| m.starts_with("proxy").then_some(())).len()
        + line.all(|m| (m.starts_with("async") || m == "alias" || m == "tensormap::generic").then_some(())).len();
    line.all(|m| {
        matches!(m, "sc" | "acq_rel" | "acquire" | "release" | "cta" | "cluster" | "gpu" | "sys" | "gl" | "mbarrier_init").then_some(())
    });
    line.all(|m| {
        matches!(m, "global" | "shared::cta" | "shared::cluster" | "sync_restrict::shared::cta" | "sync_restrict::shared::cluster")
            .then_some(())
    });
    if proxy > 0 && line.count() == 2 {
        line.finish(2)?;
    } else {
        line.finish(0)?;
    }
    Ok(Op::Fence)
}

fn convert_address(line: &Line) -> Decoded<Op> {
    let to = line.flag("to");
    let space = line.one_of(&["global", "const", "shared", "shared::cta", "shared::cluster", "local", "param", "param::entry"]);
    let Some(space) = space else { return line.error("the space is missing") };
    let ty = line.ty()?;
    if ty != Type::U64 {
        return line.error("`.u64` is expected");
    }
    line.finish(2)?;
    let window = match space {
        "global" | "const" => 0,
        "local" => LOCAL_WINDOW,
        "param" | "param::entry" => PARAM_WINDOW,
        _ => SHARED_WINDOW,
    };
    let f = if to { map1(move |a| a.wrapping_sub(window)) } else { map1(move |a| a.wrapping_add(window)) };
    let a = match line.operand(1)? {
        // An address inside the named space may be given by the variable itself.
        Operand::Name(..) => line.source(1, ty)?,
        _ => zero(),
    };
    Ok(Op::Map1 { f, d: line.d(ty)?, a })
}

/// The state space among the modifiers; none is generic.
pub(crate) fn space(line: &Line) -> Space {
    match line.one_of(&["global", "shared", "shared::cta", "shared::cluster", "local", "const", "param", "param::entry"]) {
        None => Space::Generic,
        Some("global") => Space::Global,
        Some("const") => Space::Const,
        Some("local") => Space::Local,
        Some("param" | "param::entry") => Space::Param,
        Some(_) => Space::Shared,
    }
}
