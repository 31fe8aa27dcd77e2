//! The tile program itself: registers, instructions, loops and branches in structured SSA.

use super::cooperative::{Cooperative, CooperativeStmt};
use super::types::{Lane, Mem, Type};

/// A register: assigned once, visible to everything after it in its block and in the blocks inside.
/// It carries its type, so that generators and emitters need no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reg {
    /// Number, unique in the program, below [`TileProgram::registers`].
    pub index: u32,
    /// Lane kind and count.
    pub ty: Type,
}

/// One leaf function: `extern "C" fn(params: i64…)`, no result, no calls.
///
/// Kernels have the four parameters `(args pointer, worker, begin, end)`; helpers may have others.
#[derive(Clone, Debug, PartialEq)]
pub struct TileProgram {
    /// Symbol name; also names the program in messages.
    pub name: String,
    /// Parameters, all scalar `I64`.
    pub params: Vec<Reg>,
    /// Stack memory, alive for the whole call, not initialised.
    pub scratch: Vec<Scratch>,
    /// Memory that the threads of a block share, alive for the whole call, not initialised. None on a CPU.
    pub shared: Vec<Scratch>,
    /// Blocks that a multiprocessor should have room for at a time, where blocks of threads run the program: fewer registers for each.
    pub blocks_beside: u32,
    /// Whether a block of threads is called once, for all of its tasks: from `begin` on, as many apart as there are blocks, below `end`.
    pub persistent: bool,
    /// Blocks of a cluster, which run at the same time; 1 where blocks know nothing of each other.
    pub cluster: u32,
    /// The body.
    pub body: Block,
    /// How many register numbers are in use.
    pub registers: u32,
}

/// A piece of memory of the program's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scratch {
    /// Size in bytes: on the stack, at most a few kilobytes.
    pub size_bytes: u32,
    /// Alignment in bytes, a power of two up to 64.
    pub align_bytes: u32,
}

/// Statements in order.
pub type Block = Vec<Stmt>;

/// What a cache line is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// To be read at once: into the first-level cache.
    ToRead,
    /// To be read a while later: into the second-level cache.
    ToReadLater,
    /// To be stored to.
    ToWrite,
}

impl Wanted {
    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Wanted::ToRead => "read",
            Wanted::ToReadLater => "later",
            Wanted::ToWrite => "write",
        }
    }
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    /// `result = inst`.
    Let {
        /// The register assigned; its type is the instruction's.
        result: Reg,
        /// What computes it.
        inst: Inst,
    },
    /// Lane `l` of `value` goes to `address + offset + l · size` (see [`Mem`] for the conversion).
    Store {
        /// Stored element type.
        mem: Mem,
        /// What to store.
        value: Reg,
        /// Scalar `I64`.
        address: Reg,
        /// Constant byte offset.
        offset: i32,
    },
    /// Lane `l` of `value` goes to `address + offset + l · stride`, in ascending order of lanes.
    StoreStrided {
        /// Stored element type.
        mem: Mem,
        /// What to store.
        value: Reg,
        /// Scalar `I64`.
        address: Reg,
        /// Constant byte offset.
        offset: i32,
        /// Bytes between lanes: scalar `I64`.
        stride: Reg,
    },
    /// Lane `l` of `value` goes to `address + offset + indices[l]`, in ascending order of lanes.
    Scatter {
        /// Stored element type.
        mem: Mem,
        /// What to store.
        value: Reg,
        /// Scalar `I64`.
        address: Reg,
        /// Constant byte offset.
        offset: i32,
        /// Byte offsets: `I64`, one per lane of `value`.
        indices: Reg,
    },
    /// Lane `l` of `value` goes to `address + offset + l · size` where the mask holds; other places are not touched and need
    /// not be memory.
    StoreMasked {
        /// Stored element type.
        mem: Mem,
        /// What to store.
        value: Reg,
        /// Scalar `I64`.
        address: Reg,
        /// Constant byte offset.
        offset: i32,
        /// One truth value per lane of `value`.
        mask: Reg,
    },
    /// Asks for the cache line of `address + offset`, which need not be memory: nothing but time changes.
    Prefetch {
        /// Scalar `I64`.
        address: Reg,
        /// Constant byte offset.
        offset: i32,
        /// What for.
        wanted: Wanted,
    },
    /// What the threads of a block do together.
    Cooperative(CooperativeStmt),
    /// A counted loop.
    Loop(Loop),
    /// Runs one of two blocks.
    If {
        /// Scalar `Mask`.
        condition: Reg,
        /// Runs when the condition holds, and its values.
        then: (Block, Vec<Reg>),
        /// Runs otherwise, and its values; types match those of `then`.
        otherwise: (Block, Vec<Reg>),
        /// Registers that take the values of the block that ran.
        results: Vec<Reg>,
    },
}

/// `for index = start; index < end (signed); index += step`, with values carried from turn to turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    /// Scalar `I64`, visible in the body.
    pub index: Reg,
    /// Scalar `I64`.
    pub start: Reg,
    /// Scalar `I64`; nothing runs when it is not above `start`.
    pub end: Reg,
    /// Above zero. `end + step` must not overflow.
    pub step: i64,
    /// Values before the first turn.
    pub init: Vec<Reg>,
    /// Registers that hold the carried values inside the body.
    pub carried: Vec<Reg>,
    /// The body.
    pub body: Block,
    /// Values for the next turn; after the last, those of `results`.
    pub yields: Vec<Reg>,
    /// Registers that hold the final values (`init` when no turn ran).
    pub results: Vec<Reg>,
}

/// An instruction: pure except that loads read memory. Lane-wise unless it says otherwise; all operands
/// and the result have the same lane count. Nothing traps except an address outside memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Inst {
    /// Every lane is this integer (wrapped to the lane); `Mask`: 0 is false, all else true.
    Int(i64),
    /// Every lane is the float with these binary64 bits, rounded to the lane (F32 NaNs keep the quiet NaN).
    Float(u64),
    /// The address of a piece of scratch: `I64`.
    Scratch(u32),
    /// Every lane is the scalar.
    Splat(Reg),
    /// Lane `l` is the element at `address + offset + l · size` (see [`Mem`]).
    Load {
        /// Stored element type.
        mem: Mem,
        /// Scalar `I64`.
        address: Reg,
        /// Constant byte offset.
        offset: i32,
    },
    /// Lane `l` is the element at `address + offset + l · stride`.
    LoadStrided {
        /// Stored element type.
        mem: Mem,
        /// Scalar `I64`.
        address: Reg,
        /// Constant byte offset.
        offset: i32,
        /// Bytes between lanes: scalar `I64`.
        stride: Reg,
    },
    /// Lane `l` is the element at `address + offset + indices[l]`.
    Gather {
        /// Stored element type.
        mem: Mem,
        /// Scalar `I64`.
        address: Reg,
        /// Constant byte offset.
        offset: i32,
        /// Byte offsets: `I64`, one per lane.
        indices: Reg,
    },
    /// Lane `l` is the element at `address + offset + l · size` where the mask holds, else zero (or false): other places are
    /// not touched and need not be memory.
    LoadMasked {
        /// Stored element type.
        mem: Mem,
        /// Scalar `I64`.
        address: Reg,
        /// Constant byte offset.
        offset: i32,
        /// One truth value per lane.
        mask: Reg,
    },
    /// The mask that holds in the lanes whose number is below the scalar `I64`, which is at least 0 and at most the number of lanes.
    FirstLanes(Reg),
    /// One operand.
    Unary(Unary, Reg),
    /// Two operands of the result's type.
    Binary(Binary, Reg, Reg),
    /// `a · b + c` on floats: rounded once where the ISA has fused multiply-add, otherwise twice
    /// (`clif::is_fma_fused` tells; the evaluator takes a flag).
    Fma(Reg, Reg, Reg),
    /// Two operands of one type; the result is its mask.
    Compare(Compare, Reg, Reg),
    /// Lanes of the second operand where the mask holds, of the third elsewhere.
    Select(Reg, Reg, Reg),
    /// Another lane kind.
    Convert(Convert, Reg),
    /// The scalar in one lane.
    Extract(Reg, u32),
    /// The vector with one lane replaced by the scalar.
    Insert {
        /// The vector.
        vector: Reg,
        /// Which lane.
        lane: u32,
        /// Its new value.
        scalar: Reg,
    },
    /// The lower half of the lanes (`high` = false) or the upper; from two lanes, a scalar.
    Half {
        /// The vector.
        vector: Reg,
        /// Which half.
        high: bool,
    },
    /// The lanes of the first, then those of the second; two scalars make two lanes.
    Concat(Reg, Reg),
    /// Lanes of two vectors of 32-bit lanes, four lanes or groups of four at a time.
    Shuffle(Shuffle, Reg, Reg),
    /// What the threads of a block compute together.
    Cooperative(Cooperative),
}

/// Shuffles of two vectors `a` and `b`: what transposes blocks in registers. Each is one instruction on x86.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shuffle {
    /// Of each four lanes `a₀ b₀ a₁ b₁`.
    UnpackLow,
    /// Of each four lanes `a₂ b₂ a₃ b₃`.
    UnpackHigh,
    /// Of each four lanes `a₀ a₁ b₀ b₁`.
    UnpackLowPairs,
    /// Of each four lanes `a₂ a₃ b₂ b₃`.
    UnpackHighPairs,
    /// The even ones of the fours of `a`, then those of `b`.
    EvenFours,
    /// The odd ones.
    OddFours,
}

/// One-operand instructions; operand and result have one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unary {
    /// Integers wrap; floats flip the sign bit, NaN's too.
    Neg,
    /// Integers wrap (`|MIN| = MIN`); floats clear the sign bit.
    Abs,
    /// Integers: every bit. Masks: logical.
    Not,
    /// Floats: correctly rounded; negative gives NaN, −0 gives −0.
    Sqrt,
    /// Floats: towards +∞; the sign of zero results is the operand's.
    Ceil,
    /// Floats: towards −∞.
    Floor,
    /// Floats: towards zero.
    Trunc,
    /// Floats: to the nearest integer, ties to even.
    Nearest,
    /// `F32`: to the nearest value that IEEE binary16 can hold, ties to even; overflow to ±∞.
    RoundF16,
    /// `F32`: to the nearest value that bfloat16 can hold, ties to even; overflow to ±∞.
    RoundBF16,
}

/// Two-operand instructions; operands and result have one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Binary {
    /// Integers wrap.
    Add,
    /// Integers wrap.
    Sub,
    /// Integers wrap.
    Mul,
    /// Floats only.
    Div,
    /// Signed integer quotient, towards zero; `x / 0 = 0`, `MIN / −1 = MIN`.
    DivS,
    /// Unsigned integer quotient; `x / 0 = 0`.
    DivU,
    /// Signed remainder with the sign of the dividend; `x % 0 = 0`, `MIN % −1 = 0`.
    RemS,
    /// Unsigned remainder; `x % 0 = 0`.
    RemU,
    /// Integers and masks.
    And,
    /// Integers and masks.
    Or,
    /// Integers and masks.
    Xor,
    /// Left shift; the amount is unsigned, and from the lane width on the result is 0.
    Shl,
    /// Right shift that copies the sign; from the lane width on, all sign bits.
    ShrS,
    /// Right shift that fills with zeros; from the lane width on, 0.
    ShrU,
    /// Floats, IEEE 754-2019 `minimum`: NaN if either is NaN; −0 below +0.
    Minimum,
    /// Floats, IEEE 754-2019 `maximum`: NaN if either is NaN; −0 below +0.
    Maximum,
    /// Floats, `a < b ? a : b`: the second if either is NaN or both are zeros. One instruction on x86.
    MinOrSecond,
    /// Floats, `a > b ? a : b`: the second if either is NaN or both are zeros. One instruction on x86.
    MaxOrSecond,
    /// Floats, `a · 2ᵇ` rounded once, for a magnitude of `a` within 1/4..4 (or NaN) and integral `b` of at most a thousand
    /// (`F32`: 200) binary digits either way. One instruction of AVX-512.
    Scale,
    /// Signed integers.
    MinS,
    /// Unsigned integers.
    MinU,
    /// Signed integers.
    MaxS,
    /// Unsigned integers.
    MaxU,
}

/// Comparisons. On floats all are false when an operand is NaN, except `Ne`, which is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compare {
    /// Equal.
    Eq,
    /// Not equal; true for NaN.
    Ne,
    /// Less: floats and signed integers.
    Lt,
    /// Less or equal: floats and signed integers.
    Le,
    /// Greater: floats and signed integers.
    Gt,
    /// Greater or equal: floats and signed integers.
    Ge,
    /// Less: unsigned integers.
    LtU,
    /// Less or equal: unsigned integers.
    LeU,
    /// Greater: unsigned integers.
    GtU,
    /// Greater or equal: unsigned integers.
    GeU,
}

/// Conversions; the result register says to which lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Convert {
    /// Integer to a wider integer, keeping the signed value.
    ExtendS,
    /// Integer to a wider integer, keeping the unsigned value.
    ExtendU,
    /// Integer to a narrower integer: the low bits.
    Wrap,
    /// Signed integer to float, nearest-even.
    IntToFloatS,
    /// Unsigned integer to float, nearest-even.
    IntToFloatU,
    /// Float to signed integer, towards zero; saturates, NaN gives 0.
    FloatToIntS,
    /// Float to unsigned integer, towards zero; saturates (negative to 0), NaN gives 0.
    FloatToIntU,
    /// `F32` to `F64` exactly, `F64` to `F32` nearest-even.
    FloatToFloat,
    /// The same bits: `F32` with `I32`, `F64` with `I64`.
    Bitcast,
}

impl Inst {
    /// The registers it reads, in order.
    pub fn operands(&self) -> Vec<Reg> {
        match *self {
            Inst::Int(_) | Inst::Float(_) | Inst::Scratch(_) => vec![],
            Inst::Splat(a)
            | Inst::Unary(_, a)
            | Inst::Convert(_, a)
            | Inst::Extract(a, _)
            | Inst::Half { vector: a, .. }
            | Inst::FirstLanes(a)
            | Inst::Load { address: a, .. } => vec![a],
            Inst::LoadStrided { address, stride, .. } => vec![address, stride],
            Inst::Gather { address, indices, .. } => vec![address, indices],
            Inst::LoadMasked { address, mask, .. } => vec![address, mask],
            Inst::Binary(_, a, b) | Inst::Compare(_, a, b) | Inst::Concat(a, b) | Inst::Shuffle(_, a, b) => vec![a, b],
            Inst::Insert { vector, scalar, .. } => vec![vector, scalar],
            Inst::Fma(a, b, c) | Inst::Select(a, b, c) => vec![a, b, c],
            Inst::Cooperative(inst) => inst.operands(),
        }
    }

    /// The instruction with other registers read. What threads do together keeps its own.
    pub(super) fn with_operands(&self, to: &mut dyn FnMut(Reg) -> Reg) -> Inst {
        match *self {
            Inst::Int(_) | Inst::Float(_) | Inst::Scratch(_) | Inst::Cooperative(_) => self.clone(),
            Inst::Splat(a) => Inst::Splat(to(a)),
            Inst::LoadMasked { mem, address, offset, mask } => Inst::LoadMasked { mem, address: to(address), offset, mask: to(mask) },
            Inst::FirstLanes(a) => Inst::FirstLanes(to(a)),
            Inst::Unary(op, a) => Inst::Unary(op, to(a)),
            Inst::Convert(op, a) => Inst::Convert(op, to(a)),
            Inst::Extract(a, lane) => Inst::Extract(to(a), lane),
            Inst::Half { vector, high } => Inst::Half { vector: to(vector), high },
            Inst::Load { mem, address, offset } => Inst::Load { mem, address: to(address), offset },
            Inst::LoadStrided { mem, address, offset, stride } => {
                Inst::LoadStrided { mem, address: to(address), offset, stride: to(stride) }
            }
            Inst::Gather { mem, address, offset, indices } => Inst::Gather { mem, address: to(address), offset, indices: to(indices) },
            Inst::Binary(op, a, b) => Inst::Binary(op, to(a), to(b)),
            Inst::Compare(op, a, b) => Inst::Compare(op, to(a), to(b)),
            Inst::Concat(a, b) => Inst::Concat(to(a), to(b)),
            Inst::Shuffle(op, a, b) => Inst::Shuffle(op, to(a), to(b)),
            Inst::Insert { vector, lane, scalar } => Inst::Insert { vector: to(vector), lane, scalar: to(scalar) },
            Inst::Fma(a, b, c) => Inst::Fma(to(a), to(b), to(c)),
            Inst::Select(a, b, c) => Inst::Select(to(a), to(b), to(c)),
        }
    }

    /// Why the instruction cannot produce `result`, or nothing when its types are right.
    pub fn type_error(&self, result: Type) -> Option<String> {
        let says = |ok: bool, rule: &str| (!ok).then(|| format!("{rule} (result {result})"));
        let lane = result.lane;
        match *self {
            Inst::Int(_) => says(!lane.is_float(), "int constants are integers or masks"),
            Inst::Float(_) => says(lane.is_float(), "float constants are floats"),
            Inst::Scratch(_) => says(result == Type::I64, "a scratch address is i64"),
            Inst::Splat(a) => says(a.ty == result.element(), "splat repeats one lane"),
            Inst::Load { mem, address, .. } => {
                says(mem.fits(lane) && address.ty == Type::I64, "load: memory type does not fit the lane, or the address is no i64")
            }
            Inst::LoadStrided { mem, address, stride, .. } => says(
                mem.fits(lane) && address.ty == Type::I64 && stride.ty == Type::I64,
                "strided load: memory type does not fit the lane, or address or stride is no i64",
            ),
            Inst::Gather { mem, address, indices, .. } => says(
                mem.fits(lane) && address.ty == Type::I64 && indices.ty == result.with_lane(Lane::I64),
                "gather: memory type does not fit the lane, or address or indices are no i64",
            ),
            Inst::LoadMasked { mem, address, mask, .. } => says(
                mem.fits(lane) && address.ty == Type::I64 && mask.ty == result.mask(),
                "masked load: memory type does not fit the lane, the address is no i64, or the mask has other lanes",
            ),
            Inst::FirstLanes(a) => says(lane == Lane::Mask && a.ty == Type::I64, "first lanes are a mask, and their number is i64"),
            Inst::Unary(op, a) => {
                says(a.ty == result && op.accepts(lane), "operand differs from the result, or the lane does not have this operation")
            }
            Inst::Binary(op, a, b) => says(
                a.ty == result && b.ty == result && op.accepts(lane),
                "operands differ from the result, or the lane does not have this operation",
            ),
            Inst::Fma(a, b, c) => {
                says([a, b, c].iter().all(|r| r.ty == result) && lane.is_float(), "fma takes three floats of the result's type")
            }
            Inst::Compare(op, a, b) => says(
                a.ty == b.ty && result == a.ty.mask() && op.accepts(a.ty.lane),
                "compare takes two values of one type and gives its mask",
            ),
            Inst::Select(mask, a, b) => says(
                mask.ty == result.mask() && a.ty == result && b.ty == result,
                "select takes a mask and two values of the result's type",
            ),
            Inst::Convert(op, a) => says(a.ty.lanes == result.lanes && op.accepts(a.ty.lane, lane), "no such conversion"),
            Inst::Extract(a, at) => says(result == a.ty.element() && at < a.ty.lanes, "extract gives one existing lane"),
            Inst::Insert { vector, lane: at, scalar } => {
                says(vector.ty == result && scalar.ty == result.element() && at < result.lanes, "insert replaces one existing lane")
            }
            Inst::Half { vector, .. } => says(vector.ty == result.times(result.lanes * 2), "a half has half of the lanes"),
            Inst::Concat(a, b) => says(a.ty == b.ty && result == a.ty.times(a.ty.lanes * 2), "concat doubles the lanes of two equal types"),
            Inst::Shuffle(op, a, b) => says(
                a.ty == result && b.ty == result && op.accepts(result),
                "shuffle takes two values of the result's type, of 32-bit lanes in fours",
            ),
            Inst::Cooperative(inst) => says(inst.accepts(result), "operands of what a block does do not fit"),
        }
    }
}

impl Stmt {
    /// Whether it is a loop or has one inside.
    pub fn has_loops(&self) -> bool {
        match self {
            Stmt::Loop(_) => true,
            Stmt::If { then, otherwise, .. } => then.0.iter().chain(&otherwise.0).any(Stmt::has_loops),
            _ => false,
        }
    }

    /// Why the statement's own operands do not fit together, or nothing. Blocks inside are not looked at.
    pub fn type_error(&self) -> Option<String> {
        let types = |regs: &[Reg]| regs.iter().map(|r| r.ty).collect::<Vec<_>>();
        let says = |ok: bool, rule: &str| (!ok).then(|| rule.to_string());
        match self {
            Stmt::Let { result, inst } => inst.type_error(result.ty),
            Stmt::Store { mem, value, address, .. } => says(
                mem.fits(value.ty.lane) && address.ty == Type::I64,
                "store: memory type does not fit the lane, or the address is no i64",
            ),
            Stmt::StoreStrided { mem, value, address, stride, .. } => says(
                mem.fits(value.ty.lane) && address.ty == Type::I64 && stride.ty == Type::I64,
                "strided store: memory type does not fit the lane, or address or stride is no i64",
            ),
            Stmt::Scatter { mem, value, address, indices, .. } => says(
                mem.fits(value.ty.lane) && address.ty == Type::I64 && indices.ty == value.ty.with_lane(Lane::I64),
                "scatter: memory type does not fit the lane, or address or indices are no i64",
            ),
            Stmt::StoreMasked { mem, value, address, mask, .. } => says(
                mem.fits(value.ty.lane) && address.ty == Type::I64 && mask.ty == value.ty.mask(),
                "masked store: memory type does not fit the lane, the address is no i64, or the mask has other lanes",
            ),
            Stmt::Prefetch { address, .. } => says(address.ty == Type::I64, "prefetch: the address is no i64"),
            Stmt::Cooperative(stmt) => says(stmt.accepts(), "operands of what a block does do not fit"),
            Stmt::Loop(l) => says(
                [l.index, l.start, l.end].iter().all(|r| r.ty == Type::I64)
                    && l.step > 0
                    && [&l.carried, &l.yields, &l.results].iter().all(|regs| types(regs) == types(&l.init)),
                "loop: bounds are i64, the step is above zero, carried values keep their types",
            ),
            Stmt::If { condition, then, otherwise, results } => says(
                condition.ty == Type::MASK && types(&then.1) == types(results) && types(&otherwise.1) == types(results),
                "if: the condition is a scalar mask, both blocks give the results' types",
            ),
        }
    }
}

impl Shuffle {
    /// Whether vectors of this type have the operation.
    pub fn accepts(self, ty: Type) -> bool {
        let group = if self.moves_fours() { 8 } else { 4 };
        matches!(ty.lane, Lane::F32 | Lane::I32) && ty.lanes.is_multiple_of(group)
    }

    /// Whether groups of four lanes stay as they are.
    pub fn moves_fours(self) -> bool {
        matches!(self, Shuffle::EvenFours | Shuffle::OddFours)
    }

    /// Where lane `lane` of `lanes` comes from: whether of the second operand, and its lane there.
    pub fn source(self, lane: u32, lanes: u32) -> (bool, u32) {
        let (four, at) = (lane / 4, lane % 4);
        let inside = |second: u32, from: u32| (second == 1, 4 * four + from);
        match self {
            Shuffle::UnpackLow => inside(at % 2, at / 2),
            Shuffle::UnpackHigh => inside(at % 2, 2 + at / 2),
            Shuffle::UnpackLowPairs => inside(at / 2, at % 2),
            Shuffle::UnpackHighPairs => inside(at / 2, 2 + at % 2),
            Shuffle::EvenFours | Shuffle::OddFours => {
                let odd = u32::from(self == Shuffle::OddFours);
                let half = lanes / 8;
                (four >= half, 4 * (2 * (four % half) + odd) + at)
            }
        }
    }
}

impl Unary {
    /// Whether lanes of this kind have the operation.
    pub fn accepts(self, lane: Lane) -> bool {
        match self {
            Unary::Neg | Unary::Abs => lane != Lane::Mask,
            Unary::Not => !lane.is_float(),
            Unary::Sqrt | Unary::Ceil | Unary::Floor | Unary::Trunc | Unary::Nearest => lane.is_float(),
            Unary::RoundF16 | Unary::RoundBF16 => lane == Lane::F32,
        }
    }
}

impl Binary {
    /// Whether lanes of this kind have the operation.
    pub fn accepts(self, lane: Lane) -> bool {
        use Binary::*;
        match self {
            Add | Sub | Mul => lane != Lane::Mask,
            Div | Minimum | Maximum | MinOrSecond | MaxOrSecond | Scale => lane.is_float(),
            And | Or | Xor => !lane.is_float(),
            DivS | DivU | RemS | RemU | Shl | ShrS | ShrU | MinS | MinU | MaxS | MaxU => lane.is_int(),
        }
    }
}

impl Compare {
    /// Whether lanes of this kind can be compared so.
    pub fn accepts(self, lane: Lane) -> bool {
        use Compare::*;
        match self {
            Eq | Ne | Lt | Le | Gt | Ge => lane != Lane::Mask,
            LtU | LeU | GtU | GeU => lane.is_int(),
        }
    }
}

impl Convert {
    /// Whether the conversion exists between these lanes.
    pub fn accepts(self, from: Lane, to: Lane) -> bool {
        match self {
            Convert::ExtendS | Convert::ExtendU => from.is_int() && to.is_int() && from.bits() < to.bits(),
            Convert::Wrap => from.is_int() && to.is_int() && from.bits() > to.bits(),
            Convert::IntToFloatS | Convert::IntToFloatU => from.is_int() && to.is_float(),
            Convert::FloatToIntS | Convert::FloatToIntU => from.is_float() && to.is_int(),
            Convert::FloatToFloat => from.is_float() && to.is_float() && from != to,
            Convert::Bitcast => from != to && from != Lane::Mask && to != Lane::Mask && from.same_width_int() == to.same_width_int(),
        }
    }
}
