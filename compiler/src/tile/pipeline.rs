//! A pipeline inside a block: some threads bring data to shared memory by the tensor copy engine, others use it, and barriers that count
//! arrivals and bytes (`mbarrier`) tell one side what the other has done.
//!
//! A barrier's phases follow each other; the first is phase 0. One ends when all arrivals of it have come and all bytes that were expected
//! are there, and the next begins at once. Who waits says the parity of the phase: waiting for parity 1 at the beginning returns at once, as
//! if phase −1 had ended, so that the side which brings data finds all of its room free.
//!
//! Blocks of a cluster run at the same time, on neighbouring multiprocessors. A box may come to all of them at once, at the same place of each
//! one's shared memory and telling the same barrier; who uses it tells all of them when it is done.
//! *Source*: PTX ISA 9.0, §2.2.1.2 (clusters), §9.7.13.15 (mbarrier), §9.7.9.27 (tensor copies), §9.7.19.5 (setmaxnreg).

use super::builder::Builder;
use super::cooperative::CooperativeStmt;
use super::ir::Reg;
use super::types::Type;
use std::fmt::{Display, Formatter, Result};

/// Axes of a tensor that the copy engine knows at most.
pub const MOST_TENSOR_AXES: usize = 5;

/// A step of a pipeline. Addresses are scalar `I64`, in shared memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PipelineStmt {
    /// Makes a barrier, 8 bytes, whose phases end after so many arrivals.
    Make {
        /// Where.
        barrier: Reg,
        /// How many.
        arrivals: u32,
    },
    /// The thread arrives; the phase ends not before so many bytes have come.
    ArriveExpecting {
        /// Which one.
        barrier: Reg,
        /// How many.
        bytes: u32,
    },
    /// The thread arrives, where it is to: what it has done before is seen by who waits.
    Arrive {
        /// Which one.
        barrier: Reg,
        /// Scalar `Mask`.
        when: Reg,
        /// Of which block of the cluster, where not of the own.
        rank: Option<u32>,
    },
    /// Until the phase of that parity has ended.
    Wait {
        /// Which one.
        barrier: Reg,
        /// Scalar `I32`: 0 or 1.
        parity: Reg,
    },
    /// A box of a tensor to shared memory in the background, as lines of 128 bytes whose chunks of 16 bytes are exchanged by the number of
    /// the line; zeros where there is no element. Its bytes are told to a barrier.
    CopyBox {
        /// Where to, a multiple of 1024.
        to: Reg,
        /// Address of the tensor map.
        map: Reg,
        /// Scalar `I32`: the box's first element along each axis, innermost first.
        first: [Option<Reg>; MOST_TENSOR_AXES],
        /// Which one.
        barrier: Reg,
        /// To how many blocks, all of the cluster, or 1: the own.
        blocks: u32,
    },
    /// A box of a tensor from shared memory in the background, where it lies as [`PipelineStmt::CopyBox`] would leave it. What lies beyond
    /// the tensor is not stored.
    StoreBox {
        /// Where from, a multiple of 1024.
        from: Reg,
        /// Address of the tensor map.
        map: Reg,
        /// Scalar `I32`: the box's first element along each axis, innermost first.
        first: [Option<Reg>; MOST_TENSOR_AXES],
    },
    /// The thread's boxes since the last of these are one group.
    EndStores,
    /// The thread's boxes are stored, or read at least: shared memory is free then.
    WaitForStores {
        /// Whether they are only read.
        read: bool,
    },
    /// Barriers that the thread has made are there for copies, and after the next meeting for other threads.
    ShowBarriers,
    /// The thread arrives at the barrier of the cluster.
    ArriveCluster,
    /// All threads of the cluster have arrived, and this one sees what they had stored.
    WaitForCluster,
    /// Each thread of the warpgroup gets more registers, or gives some back, and has so many from now on.
    Registers {
        /// How many, a multiple of 8.
        count: u32,
        /// Whether it has fewer before.
        more: bool,
    },
    /// All threads of the warpgroup of that number have come here, and see what others have stored.
    WarpgroupBarrier {
        /// Scalar `I32`, below 15.
        number: Reg,
    },
}

impl PipelineStmt {
    /// The registers it reads.
    pub fn operands(&self) -> Vec<Reg> {
        match *self {
            PipelineStmt::Make { barrier, .. } | PipelineStmt::ArriveExpecting { barrier, .. } => vec![barrier],
            PipelineStmt::Arrive { barrier, when: other, .. } | PipelineStmt::Wait { barrier, parity: other } => vec![barrier, other],
            PipelineStmt::CopyBox { to, map, first, barrier, .. } => {
                [to, map, barrier].into_iter().chain(first.into_iter().flatten()).collect()
            }
            PipelineStmt::StoreBox { from, map, first } => [from, map].into_iter().chain(first.into_iter().flatten()).collect(),
            PipelineStmt::EndStores
            | PipelineStmt::WaitForStores { .. }
            | PipelineStmt::Registers { .. }
            | PipelineStmt::ShowBarriers
            | PipelineStmt::ArriveCluster
            | PipelineStmt::WaitForCluster => vec![],
            PipelineStmt::WarpgroupBarrier { number } => vec![number],
        }
    }

    /// Whether its types fit.
    pub fn accepts(&self) -> bool {
        match *self {
            PipelineStmt::Make { barrier, .. } | PipelineStmt::ArriveExpecting { barrier, .. } => barrier.ty == Type::I64,
            PipelineStmt::Arrive { barrier, when, .. } => barrier.ty == Type::I64 && when.ty == Type::MASK,
            PipelineStmt::Wait { barrier, parity } => barrier.ty == Type::I64 && parity.ty == Type::I32,
            PipelineStmt::CopyBox { to, map, first, barrier, .. } => {
                [to, map, barrier].iter().all(|reg| reg.ty == Type::I64) && are_places(&first)
            }
            PipelineStmt::StoreBox { from, map, first } => [from, map].iter().all(|reg| reg.ty == Type::I64) && are_places(&first),
            PipelineStmt::Registers { count, .. } => count % 8 == 0,
            PipelineStmt::EndStores
            | PipelineStmt::WaitForStores { .. }
            | PipelineStmt::ShowBarriers
            | PipelineStmt::ArriveCluster
            | PipelineStmt::WaitForCluster => true,
            PipelineStmt::WarpgroupBarrier { number } => number.ty == Type::I32,
        }
    }
}

/// Whether these can be a box's first element.
fn are_places(first: &[Option<Reg>]) -> bool {
    first[0].is_some() && first.iter().flatten().all(|reg| reg.ty == Type::I32)
}

impl Builder {
    /// A step of a pipeline.
    #[track_caller]
    pub fn pipeline(&mut self, stmt: PipelineStmt) {
        self.together(CooperativeStmt::Pipeline(stmt));
    }

    /// All threads of a cluster of so many blocks have come here, and see what others have stored.
    pub fn meet(&mut self, blocks: u32) {
        if blocks == 1 {
            return self.together(CooperativeStmt::Barrier);
        }
        self.pipeline(PipelineStmt::ArriveCluster);
        self.pipeline(PipelineStmt::WaitForCluster);
    }
}

impl Display for PipelineStmt {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            PipelineStmt::Make { barrier, arrivals } => write!(f, "make_barrier [{barrier}] of {arrivals} arrivals"),
            PipelineStmt::ArriveExpecting { barrier, bytes } => write!(f, "arrive [{barrier}] expecting {bytes} bytes"),
            PipelineStmt::Arrive { barrier, when, rank: None } => write!(f, "arrive [{barrier}] where {when}"),
            PipelineStmt::Arrive { barrier, when, rank: Some(rank) } => write!(f, "arrive [{barrier}] of block {rank} where {when}"),
            PipelineStmt::Wait { barrier, parity } => write!(f, "wait [{barrier}] of parity {parity}"),
            PipelineStmt::CopyBox { to, map, first, barrier, blocks } => {
                write!(f, "copy_box [{map} at {}] -> [{to}] of {blocks} telling [{barrier}]", listed(first))
            }
            PipelineStmt::StoreBox { from, map, first } => write!(f, "store_box [{from}] -> [{map} at {}]", listed(first)),
            PipelineStmt::EndStores => f.write_str("end_stores"),
            PipelineStmt::WaitForStores { read } => write!(f, "wait_for_stores{}", if *read { ".read" } else { "" }),
            PipelineStmt::ShowBarriers => f.write_str("show_barriers"),
            PipelineStmt::ArriveCluster => f.write_str("barrier.cluster.arrive"),
            PipelineStmt::WaitForCluster => f.write_str("barrier.cluster.wait"),
            PipelineStmt::Registers { count, more } => write!(f, "registers.{} {count}", if *more { "more" } else { "fewer" }),
            PipelineStmt::WarpgroupBarrier { number } => write!(f, "barrier.warpgroup {number}"),
        }
    }
}

fn listed(first: &[Option<Reg>]) -> String {
    first.iter().flatten().map(Reg::to_string).collect::<Vec<_>>().join(", ")
}
