//! Decoded instructions: what execution walks over. No names are compared after this point.

use crate::descriptor::WarpgroupMultiply;
pub(crate) use crate::lift::{Function1, Function2, Function3, Function4, Relation, Update, map1, map2, map3, map4, relation};
use crate::matrix::MatrixShape;
use crate::parse::Space;
use crate::types::Type;

/// Lanes of a warp.
pub(crate) const WARP: usize = 32;

/// One register of every lane.
pub(crate) type Lanes = [u64; WARP];

/// Registers that hardware fills.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Special {
    Thread(usize),
    ThreadCount(usize),
    Block(usize),
    BlockCount(usize),
    Lane,
    Warp,
    WarpCount,
    /// Number of the cluster, and of clusters, along an axis.
    Cluster(usize),
    ClusterCount(usize),
    ClusterRank,
    ClusterSize,
    Clock,
    DynamicShared,
    TotalShared,
    /// Lanes equal to, below or above the own: the comparison of lane numbers.
    LaneMask(fn(u32, u32) -> bool),
    Constant(u64),
}

/// A source operand.
pub(crate) enum Source {
    Register(u32),
    Immediate(Box<Lanes>),
    Special(Special),
    /// Address of a variable of the module, and an offset.
    Symbol(u32, i64),
}

/// A predicate operand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PredicateSource {
    Register(u32, bool),
    Constant(bool),
}

/// How two predicates combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
}

impl Logic {
    pub(crate) fn of(self, a: u32, b: u32) -> u32 {
        match self {
            Logic::And => a & b,
            Logic::Or => a | b,
            Logic::Xor => a ^ b,
        }
    }
}

/// `[base + offset]` in a space.
pub(crate) struct Address {
    pub space: Space,
    pub base: Source,
    pub offset: i64,
}

/// Memory order of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// Not weak: `.volatile`, `.relaxed` and stronger.
    pub strong: bool,
    pub acquire: bool,
    pub release: bool,
}

/// Where a loaded element goes: register and its width in bits.
pub(crate) type Destination = Option<(u32, u32)>;

/// What `bar` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BarrierKind {
    Sync,
    Arrive,
    /// `popc` into a register.
    Count(u32),
    /// `and` / `or` into a predicate.
    Vote(Logic, u32),
}

/// What `shfl` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

/// What `vote` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

/// Operations on `mbarrier` objects.
pub(crate) enum Mbarrier {
    Init {
        count: Source,
    },
    Invalidate,
    /// Count of arrivals, bytes expected first, where the state goes.
    Arrive {
        count: Source,
        expect: Option<Source>,
        state: Option<u32>,
        release: bool,
        drop: bool,
    },
    Expect {
        bytes: Source,
    },
    /// Waits for a state, or for a parity; `block`s or only tests.
    Wait {
        token: Source,
        parity: bool,
        result: u32,
        block: bool,
    },
    /// `cp.async.mbarrier.arrive`.
    AsyncArrive {
        increment: bool,
    },
}

/// A tensor-map copy or a plain bulk copy.
pub(crate) struct BulkCopy {
    pub destination: Address,
    pub source: Address,
    /// Coordinates, innermost first; none for plain copies.
    pub coordinates: Vec<Source>,
    /// Bytes of a plain copy.
    pub size: Option<Source>,
    pub barrier: Option<Address>,
    /// The blocks of the cluster that it comes to, one bit each.
    pub blocks: Option<Source>,
    pub to_shared: bool,
}

/// An operation.
pub(crate) enum Op {
    Map1 {
        f: Function1,
        d: u32,
        a: Source,
    },
    Map2 {
        f: Function2,
        d: u32,
        a: Source,
        b: Source,
    },
    Map3 {
        f: Function3,
        d: u32,
        a: Source,
        b: Source,
        c: Source,
    },
    Map4 {
        f: Function4,
        d: u32,
        operands: Box<[Source; 4]>,
    },
    Move {
        d: u32,
        a: Source,
    },
    Pack {
        d: u32,
        parts: Vec<Source>,
        bits: u32,
    },
    Unpack {
        parts: Vec<Option<u32>>,
        a: Source,
        bits: u32,
    },
    Compare {
        f: Relation,
        a: Source,
        b: Source,
        p: Option<u32>,
        q: Option<u32>,
        combine: Option<(Logic, PredicateSource)>,
    },
    CompareValue {
        f: Relation,
        a: Source,
        b: Source,
        d: u32,
        yes: u64,
        combine: Option<(Logic, PredicateSource)>,
    },
    Test1 {
        f: Relation,
        a: Source,
        p: u32,
    },
    Select {
        d: u32,
        a: Source,
        b: Source,
        p: PredicateSource,
    },
    PredicateLogic {
        d: u32,
        a: PredicateSource,
        b: PredicateSource,
        logic: Logic,
    },
    Branch {
        target: u32,
    },
    BranchTable {
        index: Source,
        targets: Vec<u32>,
    },
    Exit,
    Trap,
    Nothing,
    Fence,
    /// `griddepcontrol.wait`
    WaitForGrids,
    /// `griddepcontrol.launch_dependents`
    LaunchNextGrid,
    Load {
        ty: Type,
        to: Vec<Destination>,
        at: Address,
        order: Order,
    },
    Store {
        ty: Type,
        from: Vec<Source>,
        at: Address,
        order: Order,
    },
    Atomic {
        bytes: u64,
        f: Update,
        /// What global memory does instead.
        in_global: Option<Update>,
        d: Option<u32>,
        at: Address,
        a: Source,
        b: Source,
        order: Order,
    },
    Barrier {
        id: Source,
        count: Option<Source>,
        kind: BarrierKind,
        aligned: bool,
        vote: PredicateSource,
    },
    WarpBarrier {
        members: Source,
    },
    Shuffle {
        kind: Shuffle,
        d: Option<u32>,
        p: Option<u32>,
        a: Source,
        b: Source,
        c: Source,
        members: Source,
    },
    Vote {
        kind: Vote,
        d: u32,
        a: PredicateSource,
        members: Source,
    },
    MatchAny {
        d: u32,
        a: Source,
        members: Source,
    },
    MatchAll {
        d: u32,
        p: Option<u32>,
        a: Source,
        members: Source,
    },
    Reduce {
        f: Update,
        d: u32,
        a: Source,
        members: Source,
    },
    Elect {
        d: Option<u32>,
        p: u32,
        members: Source,
    },
    ActiveMask {
        d: u32,
    },
    LoadMatrix {
        to: Vec<u32>,
        at: Address,
        transpose: bool,
    },
    StoreMatrix {
        from: Vec<Source>,
        at: Address,
        transpose: bool,
    },
    Multiply {
        shape: MatrixShape,
        d: Vec<u32>,
        a: Vec<Source>,
        b: Vec<Source>,
        c: Vec<Source>,
    },
    AsyncCopy {
        to: Address,
        from: Address,
        size: u64,
        source_size: Option<Source>,
        ignore: Option<PredicateSource>,
    },
    AsyncCommit,
    /// Waits until at most this many groups are pending; none: for everything.
    AsyncWait {
        pending: Option<u32>,
    },
    Mbarrier {
        op: Mbarrier,
        at: Address,
    },
    Bulk(Box<BulkCopy>),
    BulkCommit,
    BulkWait {
        pending: u32,
    },
    ClusterArrive {
        aligned: bool,
    },
    ClusterWait {
        aligned: bool,
    },
    WarpgroupFence,
    WarpgroupCommit,
    WarpgroupWait {
        pending: u32,
    },
    WarpgroupMultiply(Box<WarpgroupMultiply>),
}

/// An operation under a guard, and its line.
pub(crate) struct Instruction {
    pub guard: Option<(u32, bool)>,
    pub op: Op,
    pub line: u32,
}
