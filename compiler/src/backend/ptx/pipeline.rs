//! Instructions of a pipeline inside a block: `mbarrier` objects, copies by the tensor engine, registers that change hands.
//!
//! *Source*: PTX ISA 9.0, §9.7.13.15 (mbarrier), §9.7.9.27.1.2 (cp.async.bulk.tensor), §9.7.19.5 (setmaxnreg), §9.7.13.1 (bar.sync).

use super::function::Function;
use super::inst::{Class, Inst, Op, Operand, Reg, Ty};
use super::text::List;
use super::tile::Translation;
use crate::tile::{MOST_TENSOR_AXES, PipelineStmt};
use std::fmt::{self, Display, Formatter};

/// Threads that meet at a warpgroup's barrier.
const WARPGROUP: u32 = 128;

/// An instruction. Barriers are addresses in shared memory.
#[derive(Clone, PartialEq, Debug)]
pub enum Pipeline {
    /// `mbarrier.init.shared::cta.b64 [barrier], arrivals`
    Init {
        /// Where.
        barrier: Reg,
        /// How many end a phase.
        arrivals: u32,
    },
    /// `mbarrier.arrive.expect_tx.shared::cta.b64 _, [barrier], bytes`
    ArriveExpecting {
        /// Which one.
        barrier: Reg,
        /// How many are to come.
        bytes: u32,
    },
    /// `@when mbarrier.arrive.shared::cta.b64 _, [barrier]`
    Arrive {
        /// Which one.
        barrier: Reg,
        /// Whether.
        when: Reg,
    },
    /// `mapa.shared::cluster.u64 dst, barrier, rank`
    Map {
        /// The result.
        dst: Reg,
        /// An address in shared memory.
        address: Reg,
        /// Of which block of the cluster.
        rank: u32,
    },
    /// `@when mbarrier.arrive.release.cluster.shared::cluster.b64 _, [barrier]`
    ArriveElsewhere {
        /// An address that [`Pipeline::Map`] gave.
        barrier: Reg,
        /// Whether.
        when: Reg,
    },
    /// `mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [barrier], parity`
    TryWait {
        /// Whether the phase has ended.
        done: Reg,
        /// Which one.
        barrier: Reg,
        /// The phase's.
        parity: Reg,
    },
    /// `cp.async.bulk.tensor.Nd.shared::cluster.global.tile.mbarrier::complete_tx::bytes [to], [map, {first…}], [barrier]`, or the same
    /// with `.multicast::cluster` and the blocks of the cluster that it comes to.
    CopyBox {
        /// An address in shared memory.
        to: Reg,
        /// The generic address of a tensor map.
        map: Reg,
        /// The box's first element, innermost first.
        first: Vec<Reg>,
        /// What is told.
        barrier: Reg,
        /// One bit for each block.
        blocks: Option<Reg>,
    },
    /// `cp.async.bulk.tensor.Nd.global.shared::cta.tile.bulk_group [map, {first…}], [from]`
    StoreBox {
        /// An address in shared memory.
        from: Reg,
        /// The generic address of a tensor map.
        map: Reg,
        /// The box's first element, innermost first.
        first: Vec<Reg>,
    },
    /// `cp.async.bulk.commit_group`
    CommitStores,
    /// `cp.async.bulk.wait_group 0`, or `.read`
    WaitForStores {
        /// Whether shared memory is only to be read.
        read: bool,
    },
    /// `fence.mbarrier_init.release.cluster`
    ShowBarriers,
    /// `barrier.cluster.arrive.release`
    ArriveCluster,
    /// `barrier.cluster.wait.acquire`
    WaitCluster,
    /// `setmaxnreg.inc|dec.sync.aligned.u32 count`
    Registers {
        /// Of a thread.
        count: u32,
        /// Whether they become more.
        more: bool,
    },
    /// `bar.sync number, 128`
    WarpgroupBarrier {
        /// Of the barrier, below 16.
        number: Reg,
    },
}

impl Pipeline {
    /// The registers it writes, where that is all it does.
    pub(super) fn results(&self) -> Vec<Reg> {
        match self {
            Pipeline::TryWait { done, .. } => vec![*done],
            Pipeline::Map { dst, .. } => vec![*dst],
            _ => vec![],
        }
    }

    /// The registers it reads.
    pub(super) fn reads(&self) -> Vec<Reg> {
        match self {
            Pipeline::Init { barrier, .. } | Pipeline::ArriveExpecting { barrier, .. } => vec![*barrier],
            Pipeline::Arrive { barrier, when } | Pipeline::ArriveElsewhere { barrier, when } => vec![*barrier, *when],
            Pipeline::Map { address, .. } => vec![*address],
            Pipeline::TryWait { barrier, parity, .. } => vec![*barrier, *parity],
            Pipeline::CopyBox { to, map, first, barrier, blocks } => {
                [*to, *map, *barrier].iter().chain(first).chain(blocks).copied().collect()
            }
            Pipeline::StoreBox { from, map, first } => [&[*from, *map], &first[..]].concat(),
            Pipeline::CommitStores
            | Pipeline::WaitForStores { .. }
            | Pipeline::ShowBarriers
            | Pipeline::ArriveCluster
            | Pipeline::WaitCluster
            | Pipeline::Registers { .. } => vec![],
            Pipeline::WarpgroupBarrier { number } => vec![*number],
        }
    }

    /// Whether all registers are of their class.
    pub(super) fn is_right(&self) -> bool {
        let are = |regs: &[Reg], class: Class| regs.iter().all(|reg| reg.class == class);
        match self {
            Pipeline::Init { barrier, .. } | Pipeline::ArriveExpecting { barrier, .. } => barrier.class == Class::B64,
            Pipeline::Arrive { barrier, when } | Pipeline::ArriveElsewhere { barrier, when } => {
                barrier.class == Class::B64 && when.class == Class::Pred
            }
            Pipeline::Map { dst, address, .. } => are(&[*dst, *address], Class::B64),
            Pipeline::TryWait { done, barrier, parity } => {
                done.class == Class::Pred && barrier.class == Class::B64 && parity.class == Class::B32
            }
            Pipeline::CopyBox { to, map, first, barrier, blocks } => {
                let known = blocks.is_none_or(|blocks| blocks.class == Class::B16);
                known && are(&[*to, *map, *barrier], Class::B64) && are(first, Class::B32) && (1..=MOST_TENSOR_AXES).contains(&first.len())
            }
            Pipeline::StoreBox { from, map, first } => {
                are(&[*from, *map], Class::B64) && are(first, Class::B32) && (1..=MOST_TENSOR_AXES).contains(&first.len())
            }
            Pipeline::CommitStores
            | Pipeline::WaitForStores { .. }
            | Pipeline::ShowBarriers
            | Pipeline::ArriveCluster
            | Pipeline::WaitCluster => true,
            Pipeline::Registers { count, .. } => (24..=256).contains(count) && count % 8 == 0,
            Pipeline::WarpgroupBarrier { number } => number.class == Class::B32,
        }
    }
}

impl Display for Pipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Pipeline::Init { barrier, arrivals } => write!(f, "mbarrier.init.shared::cta.b64 [{barrier}], {arrivals};"),
            Pipeline::ArriveExpecting { barrier, bytes } => {
                write!(f, "mbarrier.arrive.expect_tx.shared::cta.b64 _, [{barrier}], {bytes};")
            }
            Pipeline::Arrive { barrier, when } => write!(f, "@{when} mbarrier.arrive.shared::cta.b64 _, [{barrier}];"),
            Pipeline::Map { dst, address, rank } => write!(f, "mapa.shared::cluster.u64 {dst}, {address}, {rank};"),
            Pipeline::ArriveElsewhere { barrier, when } => {
                write!(f, "@{when} mbarrier.arrive.release.cluster.shared::cluster.b64 _, [{barrier}];")
            }
            Pipeline::TryWait { done, barrier, parity } => {
                write!(f, "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 {done}, [{barrier}], {parity};")
            }
            Pipeline::CopyBox { to, map, first, barrier, blocks } => {
                write!(f, "cp.async.bulk.tensor.{}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes", first.len())?;
                let several = if blocks.is_some() { ".multicast::cluster" } else { "" };
                write!(f, "{several} [{to}], [{map}, {}], [{barrier}]", List(first))?;
                blocks.map_or(Ok(()), |blocks| write!(f, ", {blocks}"))?;
                f.write_str(";")
            }
            Pipeline::StoreBox { from, map, first } => {
                write!(f, "cp.async.bulk.tensor.{}d.global.shared::cta.tile.bulk_group [{map}, {}], [{from}];", first.len(), List(first))
            }
            Pipeline::CommitStores => f.write_str("cp.async.bulk.commit_group;"),
            Pipeline::WaitForStores { read } => write!(f, "cp.async.bulk.wait_group{} 0;", if *read { ".read" } else { "" }),
            Pipeline::ShowBarriers => f.write_str("fence.mbarrier_init.release.cluster;"),
            Pipeline::ArriveCluster => f.write_str("barrier.cluster.arrive.release;"),
            Pipeline::WaitCluster => f.write_str("barrier.cluster.wait.acquire;"),
            Pipeline::Registers { count, more } => {
                write!(f, "setmaxnreg.{}.sync.aligned.u32 {count};", if *more { "inc" } else { "dec" })
            }
            Pipeline::WarpgroupBarrier { number } => write!(f, "bar.sync {number}, {WARPGROUP};"),
        }
    }
}

/// A step of a pipeline.
pub(super) fn stmt(t: &mut Translation, f: &mut Function, stmt: &PipelineStmt) {
    let inst = match *stmt {
        PipelineStmt::Make { barrier, arrivals } => Pipeline::Init { barrier: t.get(barrier), arrivals },
        PipelineStmt::ArriveExpecting { barrier, bytes } => Pipeline::ArriveExpecting { barrier: t.get(barrier), bytes },
        PipelineStmt::Arrive { barrier, when, rank: None } => Pipeline::Arrive { barrier: t.get(barrier), when: t.get(when) },
        PipelineStmt::Arrive { barrier, when, rank: Some(rank) } => {
            let (address, dst) = (t.get(barrier), f.reg(Class::B64));
            f.push(Inst::Pipeline(Pipeline::Map { dst, address, rank }));
            Pipeline::ArriveElsewhere { barrier: dst, when: t.get(when) }
        }
        PipelineStmt::Wait { barrier, parity } => {
            let (barrier, parity) = (t.get(barrier), t.get(parity));
            // It sleeps, but not for ever: it may say that the phase has not ended yet.
            let done = f.reg(Class::Pred);
            f.repeat_until(done, |f| f.push(Inst::Pipeline(Pipeline::TryWait { done, barrier, parity })));
            return;
        }
        PipelineStmt::CopyBox { to, map, first, barrier, blocks } => {
            let first = first.into_iter().flatten().map(|at| t.get(at)).collect();
            let blocks = (blocks > 1).then(|| f.op(Op::Mov, Ty::B16, [Operand::Int((1 << blocks) - 1)]));
            Pipeline::CopyBox { to: t.get(to), map: t.get(map), first, barrier: t.get(barrier), blocks }
        }
        PipelineStmt::StoreBox { from, map, first } => {
            let first = first.into_iter().flatten().map(|at| t.get(at)).collect();
            Pipeline::StoreBox { from: t.get(from), map: t.get(map), first }
        }
        PipelineStmt::EndStores => Pipeline::CommitStores,
        PipelineStmt::WaitForStores { read } => Pipeline::WaitForStores { read },
        PipelineStmt::ShowBarriers => Pipeline::ShowBarriers,
        PipelineStmt::ArriveCluster => Pipeline::ArriveCluster,
        PipelineStmt::WaitForCluster => Pipeline::WaitCluster,
        PipelineStmt::Registers { count, more } => Pipeline::Registers { count, more },
        PipelineStmt::WarpgroupBarrier { number } => Pipeline::WarpgroupBarrier { number: t.get(number) },
    };
    f.push(Inst::Pipeline(inst));
}
