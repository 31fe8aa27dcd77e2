//! `cp.async`, bulk copies and `mbarrier`.

use super::control::space;
use super::line::{Decoded, Line};
use crate::instruction::{Address, BulkCopy, Mbarrier, Op, Source, WARP};
use crate::parse::{Operand, Space};
use crate::types::Type;

pub(crate) fn decode(line: &Line) -> Decoded<Option<Op>> {
    Ok(Some(match line.base {
        "cp" => copy(line)?,
        "mbarrier" => mbarrier(line)?,
        _ => return Ok(None),
    }))
}

fn constant(line: &Line, i: usize) -> Decoded<u64> {
    match line.operand(i)? {
        Operand::Integer(value) if *value >= 0 => Ok(*value as u64),
        _ => line.error("a constant is expected"),
    }
}

fn copy(line: &Line) -> Decoded<Op> {
    if line.has("reduce") {
        return line.error("`cp.reduce.async` is not supported");
    }
    if !line.flag("async") {
        return line.error("`.async` is expected");
    }
    if line.flag("bulk") {
        return bulk(line);
    }
    if line.flag("commit_group") {
        line.finish(0)?;
        return Ok(Op::AsyncCommit);
    }
    if line.flag("wait_all") {
        line.finish(0)?;
        return Ok(Op::AsyncWait { pending: None });
    }
    if line.flag("wait_group") {
        line.finish(1)?;
        return Ok(Op::AsyncWait { pending: Some(constant(line, 0)? as u32) });
    }
    if line.flag("mbarrier") {
        if !line.flag("arrive") {
            return line.error("`.arrive` is expected");
        }
        let increment = !line.flag("noinc");
        let space = space(line);
        if line.ty()? != Type::B64 {
            return line.error("`.b64` is expected");
        }
        line.finish(1)?;
        return Ok(Op::Mbarrier { op: Mbarrier::AsyncArrive { increment }, at: line.address(0, space)? });
    }
    let cache = line.one_of(&["ca", "cg"]);
    if cache.is_none() || !(line.flag("shared") || line.flag("shared::cta") || line.flag("shared::cluster")) || !line.flag("global") {
        return line.error("`cp.async.ca|cg.shared.global` is expected");
    }
    line.all(|m| matches!(m, "L2::64B" | "L2::128B" | "L2::256B").then_some(()));
    let n = line.count().clamp(3, 4);
    line.finish(n)?;
    let size = constant(line, 2)?;
    if !(matches!(size, 4 | 8) && cache == Some("ca") || size == 16) {
        return line.error("4, 8 or 16 bytes are copied; `.cg` copies 16");
    }
    let (mut source_size, mut ignore) = (None, None);
    if n == 4 {
        let last = line.operand(3)?;
        let predicate = matches!(last, Operand::Not(_))
            || matches!(last, Operand::Name(name, 0) if line.scope.register(name).is_some_and(|r| r.0 == Type::PRED));
        if predicate {
            ignore = Some(line.predicate(last)?);
        } else {
            source_size = Some(line.source(3, Type::U32)?);
        }
    }
    Ok(Op::AsyncCopy { to: line.address(0, Space::Shared)?, from: line.address(1, Space::Global)?, size, source_size, ignore })
}

fn bulk(line: &Line) -> Decoded<Op> {
    if line.flag("commit_group") {
        line.finish(0)?;
        return Ok(Op::BulkCommit);
    }
    if line.flag("wait_group") {
        line.flag("read");
        line.finish(1)?;
        return Ok(Op::BulkWait { pending: constant(line, 0)? as u32 });
    }
    if line.has("im2col") || line.has("prefetch") || line.has("L2::cache_hint") {
        return line.error("im2col, prefetch and cache hints of bulk copies are not supported");
    }
    let rank = if line.flag("tensor") {
        match line.one_of(&["1d", "2d", "3d", "4d", "5d"]) {
            Some(rank) => Some(rank.as_bytes()[0] as usize - usize::from(b'0')),
            None => return line.error("the rank, as `.2d`, is missing"),
        }
    } else {
        None
    };
    let (tiled, to_several) = (line.flag("tile"), line.flag("multicast::cluster"));
    let spaces = line.all(|m| match m {
        "global" => Some(Space::Global),
        "shared::cta" | "shared::cluster" => Some(Space::Shared),
        _ => None,
    });
    let to_shared = match spaces[..] {
        [Space::Shared, Space::Global] => true,
        [Space::Global, Space::Shared] => false,
        _ => return line.error("a copy between `.global` and `.shared` is expected"),
    };
    let completion = if to_shared { "mbarrier::complete_tx::bytes" } else { "bulk_group" };
    if to_several && !(to_shared && rank.is_some()) {
        return line.error("only tensor copies to shared memory may come to several blocks");
    }
    if !line.flag(completion) || tiled && rank.is_none() {
        return line.error(format!("`.{completion}` is expected"));
    }
    let tensor = |i: usize| -> Decoded<(Address, Vec<Source>)> {
        let Operand::Address { base, offset, coordinates } = line.operand(i)? else {
            return line.error("`[map, {coordinates}]` is expected");
        };
        if Some(coordinates.len()) != rank {
            return line.error(format!("{} coordinates are given", coordinates.len()));
        }
        let coordinates = coordinates.iter().map(|c| line.read(c, Type::S32)).collect::<Decoded<_>>()?;
        Ok((line.address_of(base, *offset, Space::Generic)?, coordinates))
    };
    let copy = match (rank.is_some(), to_shared) {
        (true, true) => {
            line.finish(if to_several { 4 } else { 3 })?;
            let (source, coordinates) = tensor(1)?;
            let blocks = if to_several { Some(line.source(3, Type::B16)?) } else { None };
            let barrier = Some(line.address(2, Space::Shared)?);
            BulkCopy { destination: line.address(0, Space::Shared)?, source, coordinates, size: None, barrier, blocks, to_shared }
        }
        (true, false) => {
            line.finish(2)?;
            let (destination, coordinates) = tensor(0)?;
            BulkCopy {
                destination,
                source: line.address(1, Space::Shared)?,
                coordinates,
                size: None,
                barrier: None,
                blocks: None,
                to_shared,
            }
        }
        (false, true) => {
            line.finish(4)?;
            let (destination, source) = (line.address(0, Space::Shared)?, line.address(1, Space::Global)?);
            let barrier = Some(line.address(3, Space::Shared)?);
            BulkCopy {
                destination,
                source,
                coordinates: Vec::new(),
                size: Some(line.source(2, Type::U32)?),
                barrier,
                blocks: None,
                to_shared,
            }
        }
        (false, false) => {
            line.finish(3)?;
            let (destination, source) = (line.address(0, Space::Global)?, line.address(1, Space::Shared)?);
            BulkCopy {
                destination,
                source,
                coordinates: Vec::new(),
                size: Some(line.source(2, Type::U32)?),
                barrier: None,
                blocks: None,
                to_shared,
            }
        }
    };
    Ok(Op::Bulk(Box::new(copy)))
}

fn mbarrier(line: &Line) -> Decoded<Op> {
    let Some(kind) = line.one_of(&["init", "inval", "arrive", "arrive_drop", "expect_tx", "test_wait", "try_wait", "pending_count"]) else {
        return line.error("this operation is not supported");
    };
    let expect = matches!(kind, "arrive" | "arrive_drop") && line.flag("expect_tx");
    let parity = line.flag("parity");
    let release = !line.flag("relaxed");
    line.all(|m| matches!(m, "release" | "acquire" | "cta" | "cluster").then_some(()));
    let no_complete = line.flag("noComplete");
    let space = space(line);
    if line.ty()? != Type::B64 {
        return line.error("`.b64` is expected");
    }
    if kind == "pending_count" || no_complete {
        return line.error("this form is not supported");
    }
    let one = || Source::Immediate(Box::new([1; WARP]));
    let (op, at) = match kind {
        "init" => {
            line.finish(2)?;
            (Mbarrier::Init { count: line.source(1, Type::U32)? }, 0)
        }
        "inval" => {
            line.finish(1)?;
            (Mbarrier::Invalidate, 0)
        }
        "expect_tx" => {
            line.finish(2)?;
            (Mbarrier::Expect { bytes: line.source(1, Type::U32)? }, 0)
        }
        "arrive" | "arrive_drop" => {
            // Without a state (`_`, or none in the cluster form) the address comes first or second.
            let first = usize::from(!matches!(line.operand(0)?, Operand::Address { .. }));
            let state = match line.operand(0)? {
                Operand::Address { .. } | Operand::Sink => None,
                register => Some(line.to(register, Type::B64)?),
            };
            let extra = line.count() > first + 1;
            if expect && !extra {
                return line.error("the number of bytes is missing");
            }
            line.finish(first + 1 + usize::from(extra))?;
            let last = if extra { Some(line.source(first + 1, Type::U32)?) } else { None };
            let (count, expect) = if expect { (one(), last) } else { (last.unwrap_or_else(one), None) };
            (Mbarrier::Arrive { count, expect, state, release, drop: kind == "arrive_drop" }, first)
        }
        _ => {
            // The hint of how long to wait has no meaning here.
            line.finish(line.count().clamp(3, 4))?;
            if line.count() == 4 {
                line.source(3, Type::U32)?;
            }
            let token = line.source(2, if parity { Type::U32 } else { Type::B64 })?;
            (Mbarrier::Wait { token, parity, result: line.d(Type::PRED)?, block: kind == "try_wait" }, 1)
        }
    };
    Ok(Op::Mbarrier { op, at: line.address(at, space)? })
}
