//! What the threads of a block do together: shared memory, barriers, exchange between lanes of a warp, copies in the background and products
//! of small matrices, with what makes their operands. Only GPUs have it; emitters for CPUs and the evaluator, which run one thread, refuse it by name.
//!
//! A program that uses it is run by a whole block for each task: its parameters are (args pointer, thread, begin, end), where
//! `thread` counts from 0 within the block, and all threads of the block are given the same tasks.
//! *Source*: PTX ISA 9.0, §9.7.9 (data movement), §9.7.13 (barriers), §9.7.14 (matrices).

use super::builder::Builder;
use super::ir::{Inst, Reg, Scratch, Stmt};
use super::pipeline::PipelineStmt;
use super::types::{Lane, Type};
use std::fmt::{Display, Formatter, Result};

/// Lanes that exchange values: half a warp, as the canonical order of sums has 16 virtual lanes.
pub const EXCHANGE_LANES: u32 = 16;

/// An instruction with a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cooperative {
    /// The address of a piece of the block's shared memory: `I64`.
    Shared(u32),
    /// How many blocks run the kernel: `I64`.
    Blocks,
    /// The number of the block in its cluster: `I64`.
    ClusterRank,
    /// The value that the thread holds whose number differs by these bits, below [`EXCHANGE_LANES`]. All threads of the half-warp take part.
    FromLane {
        /// The own value.
        value: Reg,
        /// Bits in which the numbers differ.
        flip: u32,
    },
    /// Four 8 × 8 matrices of 16-bit elements from shared memory: `I32x4`. Lane `8j + r` of the warp names row `r` of matrix `j`,
    /// 16 bytes, and gets two neighbours of row `lane / 4` of each, from column `2 (lane % 4)` on; of the transposed matrix where it says so.
    LoadMatrices {
        /// Scalar `I64`, in shared memory.
        address: Reg,
        /// Constant byte offset.
        offset: i32,
        /// Whether rows become columns.
        transposed: bool,
    },
    /// `a · b + c` of matrices that the warp holds: 16 × [`MatrixElement::depth`] times as many × 8. Which element lies where is
    /// [`super::fragments`].
    MultiplyAdd {
        /// Elements of `a` and `b`.
        element: MatrixElement,
        /// `I32x4`.
        a: Reg,
        /// `I32x2`.
        b: Reg,
        /// `F32x4`.
        c: Reg,
    },
    /// `a · b + c` of matrices in shared memory by a warpgroup, four warps of which the first one's number is a multiple of four: 64 ×
    /// [`MatrixElement::depth`] times as many × 2 `lanes` of the sums. In the background: the result takes the place of `c`, which is not
    /// to be used any more, and is there after [`CooperativeStmt::WaitForProducts`]. Which element lies where is [`super::fragments::warpgroup_result`].
    MultiplyAddShared {
        /// Elements of `a` and `b`.
        element: MatrixElement,
        /// Scalar `I64`, the same in all threads: [`Builder::describe_matrix`]. Or `I32x4`, as [`Cooperative::MultiplyAdd`] wants it.
        a: Reg,
        /// Scalar `I64` likewise.
        b: Reg,
        /// `F32` times 4 to 128, in a register of its own each.
        c: Reg,
        /// Whether lines of `a`, and of `b`, run along depth (or along rows, and columns).
        along_depth: [bool; 2],
    },
    /// Two neighbours of a matrix in a register, rounded to nearest: `I32`.
    Pack {
        /// What they become.
        element: MatrixElement,
        /// Scalar `F32`.
        low: Reg,
        /// Scalar `F32`.
        high: Reg,
    },
    /// Four or two registers of `F32` elements of a matrix, as bits, rounded to nearest [`MatrixElement::Tf32`]: halves away from zero.
    RoundToTf32(Reg),
    /// `2ˣ` of `F32` lanes within two units in the last place: for what is rounded to half floats anyway.
    PowerOfTwo(Reg),
}

/// Elements of products of small matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatrixElement {
    /// IEEE binary16.
    F16,
    /// bfloat16.
    BF16,
    /// binary32 with the 10 bits of a binary16 behind the point.
    Tf32,
}

impl MatrixElement {
    /// Bytes in memory.
    pub const fn size_bytes(self) -> i64 {
        match self {
            MatrixElement::F16 | MatrixElement::BF16 => 2,
            MatrixElement::Tf32 => 4,
        }
    }

    /// Whether lines have to run along depth, or may run along rows or columns too.
    pub fn wants_depth(self) -> Option<bool> {
        (self == MatrixElement::Tf32).then_some(true)
    }

    /// Depth of a product: 32 bytes of a line.
    pub const fn depth(self) -> i64 {
        2 * super::fragments::SIDE_BYTES / self.size_bytes()
    }
}

/// A statement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CooperativeStmt {
    /// All threads of the block have come here, and see what others have stored.
    Barrier,
    /// The same of the threads of a half-warp.
    HalfWarpBarrier,
    /// 16 bytes from the device's memory to shared memory, in the background, or fewer and zeros behind them.
    Copy {
        /// Scalar `I64`, in shared memory, a multiple of 16.
        to: Reg,
        /// Constant byte offset.
        to_offset: i32,
        /// Scalar `I64`, a multiple of 16.
        from: Reg,
        /// Constant byte offset.
        from_offset: i32,
        /// Scalar `I32`: how many of the bytes are read, all sixteen where nothing is said.
        bytes: Option<Reg>,
    },
    /// The thread's copies since the last of these are one group.
    EndCopies,
    /// The thread's copies are done but for so many groups, the newest. A barrier shows them to other threads.
    WaitForCopies(u32),
    /// What the thread has stored and copied to shared memory is there, after the next barrier, for products of matrices in it.
    ShareWithProducts,
    /// Before the first product that adds to registers which were written otherwise.
    BeginProducts,
    /// The warpgroup's products since the last of these are one group.
    EndProducts,
    /// The warpgroup's products are done but for so many groups, the newest.
    WaitForProducts(u32),
    /// A step of a pipeline.
    Pipeline(PipelineStmt),
}

impl Cooperative {
    /// The registers it reads.
    pub fn operands(&self) -> Vec<Reg> {
        match *self {
            Cooperative::Shared(_) | Cooperative::Blocks | Cooperative::ClusterRank => vec![],
            Cooperative::FromLane { value, .. } => vec![value],
            Cooperative::LoadMatrices { address, .. } => vec![address],
            Cooperative::MultiplyAdd { a, b, c, .. } | Cooperative::MultiplyAddShared { a, b, c, .. } => vec![a, b, c],
            Cooperative::Pack { low, high, .. } => vec![low, high],
            Cooperative::RoundToTf32(x) | Cooperative::PowerOfTwo(x) => vec![x],
        }
    }

    /// Whether its types fit.
    pub fn accepts(&self, result: Type) -> bool {
        let (i32, f32) = (Type::I32, Type::F32.times(4));
        match *self {
            Cooperative::Shared(_) | Cooperative::Blocks | Cooperative::ClusterRank => result == Type::I64,
            Cooperative::FromLane { value, flip } => result == value.ty && flip < EXCHANGE_LANES,
            Cooperative::LoadMatrices { address, .. } => result == i32.times(4) && address.ty == Type::I64,
            Cooperative::MultiplyAdd { a, b, c, .. } => a.ty == i32.times(4) && b.ty == i32.times(2) && c.ty == f32 && result == f32,
            Cooperative::MultiplyAddShared { a, b, c, .. } => {
                (a.ty == Type::I64 || a.ty == i32.times(4))
                    && b.ty == Type::I64
                    && c.ty.lane == Lane::F32
                    && c.ty.lanes >= 4
                    && result == c.ty
            }
            Cooperative::Pack { low, high, .. } => [low.ty, high.ty] == [Type::F32; 2] && result == i32,
            Cooperative::RoundToTf32(x) => x.ty == result && result.lane == Lane::I32,
            Cooperative::PowerOfTwo(x) => x.ty == result && result.lane == Lane::F32,
        }
    }
}

impl CooperativeStmt {
    /// The registers it reads.
    pub fn operands(&self) -> Vec<Reg> {
        match *self {
            CooperativeStmt::Copy { to, from, bytes, .. } => [to, from].into_iter().chain(bytes).collect(),
            CooperativeStmt::Pipeline(stmt) => stmt.operands(),
            CooperativeStmt::Barrier
            | CooperativeStmt::HalfWarpBarrier
            | CooperativeStmt::EndCopies
            | CooperativeStmt::WaitForCopies(_)
            | CooperativeStmt::ShareWithProducts
            | CooperativeStmt::BeginProducts
            | CooperativeStmt::EndProducts
            | CooperativeStmt::WaitForProducts(_) => vec![],
        }
    }

    /// Whether its types fit.
    pub fn accepts(&self) -> bool {
        match *self {
            CooperativeStmt::Copy { to, from, bytes, .. } => {
                to.ty == Type::I64 && from.ty == Type::I64 && bytes.is_none_or(|bytes| bytes.ty == Type::I32)
            }
            CooperativeStmt::Pipeline(stmt) => stmt.accepts(),
            _ => true,
        }
    }
}

impl Builder {
    /// The address of fresh shared memory of the block; not initialised.
    pub fn shared(&mut self, size_bytes: u32, align_bytes: u32) -> Reg {
        let piece = self.add_shared(Scratch { size_bytes, align_bytes });
        self.emit(Type::I64, Inst::Cooperative(Cooperative::Shared(piece)))
    }

    /// How many blocks run the kernel: [`Cooperative::Blocks`].
    pub fn blocks(&mut self) -> Reg {
        self.emit(Type::I64, Inst::Cooperative(Cooperative::Blocks))
    }

    /// The number of the block in its cluster: [`Cooperative::ClusterRank`].
    pub fn cluster_rank(&mut self) -> Reg {
        self.emit(Type::I64, Inst::Cooperative(Cooperative::ClusterRank))
    }

    /// The value of the thread whose number differs by these bits: [`Cooperative::FromLane`].
    #[track_caller]
    pub fn from_lane(&mut self, value: Reg, flip: u32) -> Reg {
        self.emit(value.ty, Inst::Cooperative(Cooperative::FromLane { value, flip }))
    }

    /// Four matrices of shared memory: [`Cooperative::LoadMatrices`].
    #[track_caller]
    pub fn load_matrices(&mut self, address: Reg, offset: i32, transposed: bool) -> Reg {
        let ty = Type::scalar(Lane::I32).times(4);
        self.emit(ty, Inst::Cooperative(Cooperative::LoadMatrices { address, offset, transposed }))
    }

    /// `a · b + c` of matrices: [`Cooperative::MultiplyAdd`].
    #[track_caller]
    pub fn multiply_add_matrices(&mut self, element: MatrixElement, a: Reg, b: Reg, c: Reg) -> Reg {
        self.emit(c.ty, Inst::Cooperative(Cooperative::MultiplyAdd { element, a, b, c }))
    }

    /// Describes a matrix in shared memory to [`Cooperative::MultiplyAddShared`]: lines of 128 bytes, of which eight stand together, their
    /// chunks of 16 bytes exchanged by the number of the line. `eights` are the bytes from eight lines to the next eight, `panels` those from
    /// 64 elements of a line to the next 64, where lines do not run along depth.
    ///
    /// The next 16 of depth are [`depth_step`] beyond.
    ///
    /// *Source*: PTX ISA 9.0, §9.7.15.5.1 (matrix descriptor), 128-byte swizzle.
    #[track_caller]
    pub fn describe_matrix(&mut self, address: Reg, eights: i64, panels: i64) -> Reg {
        let sixteens = self.index(4);
        let first = self.shr_u(address, sixteens);
        let rest = self.index((1 << 62) | ((eights / 16) << 32) | ((panels / 16) << 16));
        self.or(first, rest)
    }

    /// `a · b + c` of matrices in shared memory: [`Cooperative::MultiplyAddShared`].
    #[track_caller]
    pub fn multiply_add_shared(&mut self, element: MatrixElement, [a, b]: [Reg; 2], c: Reg, along_depth: [bool; 2]) -> Reg {
        self.emit(c.ty, Inst::Cooperative(Cooperative::MultiplyAddShared { element, a, b, c, along_depth }))
    }

    /// Two neighbours of a matrix: [`Cooperative::Pack`].
    #[track_caller]
    pub fn pack(&mut self, element: MatrixElement, low: Reg, high: Reg) -> Reg {
        self.emit(Type::I32, Inst::Cooperative(Cooperative::Pack { element, low, high }))
    }

    /// What a unit multiplies of `F32` elements: [`Cooperative::RoundToTf32`].
    #[track_caller]
    pub fn round_to_tf32(&mut self, x: Reg) -> Reg {
        self.emit(x.ty, Inst::Cooperative(Cooperative::RoundToTf32(x)))
    }

    /// About `2ˣ`: [`Cooperative::PowerOfTwo`].
    #[track_caller]
    pub fn power_of_two(&mut self, x: Reg) -> Reg {
        self.emit(x.ty, Inst::Cooperative(Cooperative::PowerOfTwo(x)))
    }

    /// A statement of the block.
    #[track_caller]
    pub fn together(&mut self, stmt: CooperativeStmt) {
        self.push(Stmt::Cooperative(stmt));
    }
}

impl Display for Cooperative {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Cooperative::Shared(piece) => write!(f, "shared {piece}"),
            Cooperative::Blocks => f.write_str("blocks"),
            Cooperative::ClusterRank => f.write_str("cluster_rank"),
            Cooperative::FromLane { value, flip } => write!(f, "from_lane {value} ^ {flip}"),
            Cooperative::LoadMatrices { address, offset, transposed } => {
                let transposed = if *transposed { ".transposed" } else { "" };
                write!(f, "load_matrices{transposed} [{address} {offset:+}]")
            }
            Cooperative::MultiplyAdd { element, a, b, c } => write!(f, "multiply_add.{element:?} {a}, {b}, {c}"),
            Cooperative::MultiplyAddShared { element, a, b, c, along_depth: [of_a, of_b] } => {
                let turned = |is_along: &bool| if *is_along { "" } else { ".transposed" };
                write!(f, "multiply_add_shared.{element:?} {a}{}, {b}{}, {c}", turned(of_a), turned(of_b))
            }
            Cooperative::Pack { element, low, high } => write!(f, "pack.{element:?} {low}, {high}"),
            Cooperative::RoundToTf32(x) => write!(f, "round_to_tf32 {x}"),
            Cooperative::PowerOfTwo(x) => write!(f, "power_of_two {x}"),
        }
    }
}

impl Display for CooperativeStmt {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            CooperativeStmt::Barrier => f.write_str("barrier"),
            CooperativeStmt::HalfWarpBarrier => f.write_str("barrier.half_warp"),
            CooperativeStmt::Copy { to, to_offset, from, from_offset, bytes } => {
                write!(f, "copy [{from} {from_offset:+}] -> [{to} {to_offset:+}]")?;
                bytes.map_or(Ok(()), |bytes| write!(f, " of {bytes} bytes"))
            }
            CooperativeStmt::EndCopies => f.write_str("end_copies"),
            CooperativeStmt::WaitForCopies(left) => write!(f, "wait_for_copies {left}"),
            CooperativeStmt::ShareWithProducts => f.write_str("share_with_products"),
            CooperativeStmt::BeginProducts => f.write_str("begin_products"),
            CooperativeStmt::EndProducts => f.write_str("end_products"),
            CooperativeStmt::WaitForProducts(left) => write!(f, "wait_for_products {left}"),
            CooperativeStmt::Pipeline(stmt) => write!(f, "{stmt}"),
        }
    }
}
