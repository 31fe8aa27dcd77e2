//! The PTX that is emitted: types, registers, instructions. How they are written is [`text`](super::text).
//!
//! Every register belongs to a class, and every instruction says the type it works on, so that a mix-up is a panic here: `ptxas` takes
//! a `.b32` register in `add.f32` without a word.   *Source*: PTX ISA 9.0, chapters 5 and 9.

use super::pipeline::Pipeline;
use std::collections::BTreeSet;

/// A class of registers: what is declared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// `.pred`: a truth value.
    Pred,
    /// `.b16`: a half float on its way.
    B16,
    /// `.b32`: integers of up to 32 bits; what lies above 8 or 16 bits means nothing.
    B32,
    /// `.b64`: integers of 64 bits, addresses.
    B64,
    /// `.f32`.
    F32,
    /// `.f64`.
    F64,
}

impl Class {
    /// All of them, in the order of declarations.
    pub const ALL: [Class; 6] = [Class::Pred, Class::B16, Class::B32, Class::B64, Class::F32, Class::F64];

    /// The type that moves a register of the class.
    pub fn ty(self) -> Ty {
        match self {
            Class::Pred => Ty::Pred,
            Class::B16 => Ty::B16,
            Class::B32 => Ty::B32,
            Class::B64 => Ty::B64,
            Class::F32 => Ty::F32,
            Class::F64 => Ty::F64,
        }
    }

    /// What names of its registers begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Class::Pred => "%p",
            Class::B16 => "%h",
            Class::B32 => "%r",
            Class::B64 => "%rd",
            Class::F32 => "%f",
            Class::F64 => "%fd",
        }
    }
}

/// A virtual register; `ptxas` finds a place for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Reg {
    /// Its class.
    pub class: Class,
    /// Its number within the class.
    pub number: u32,
}

/// A type that an instruction works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // named as they are written
pub enum Ty {
    Pred,
    B16,
    B32,
    B64,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    /// `.u16` of a `.b16` register.
    Half,
    F16,
    BF16,
    Tf32,
    F32,
    F64,
}

impl Ty {
    /// The class of registers that hold it.
    pub fn class(self) -> Class {
        match self {
            Ty::Pred => Class::Pred,
            Ty::B16 | Ty::Half | Ty::F16 | Ty::BF16 => Class::B16,
            Ty::B32 | Ty::Tf32 | Ty::U8 | Ty::U16 | Ty::U32 | Ty::S8 | Ty::S16 | Ty::S32 => Class::B32,
            Ty::B64 | Ty::U64 | Ty::S64 => Class::B64,
            Ty::F32 => Class::F32,
            Ty::F64 => Class::F64,
        }
    }

    /// Depth of a product of small matrices of it.
    pub fn product_depth(self) -> u32 {
        if self == Ty::Tf32 { 8 } else { 16 }
    }
}

/// What an instruction reads.
#[derive(Clone, PartialEq, Debug)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// An integer.
    Int(i64),
    /// The bits of a binary32.
    F32(u32),
    /// The bits of a binary64.
    F64(u64),
    /// A special register, such as `%tid.x`, or the name of a variable.
    Name(&'static str),
    /// A variable with a number: `scratch0`.
    Variable(&'static str, u32),
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Operand {
        Operand::Reg(reg)
    }
}

/// Operations from operands of one type to a result of that type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // named as they are written
pub enum Op {
    Mov,
    /// Integers.
    Add,
    /// Integers.
    Sub,
    /// Integers: the low half of the product.
    MulLo,
    /// Integers: the high half of the product.
    MulHi,
    /// Integers.
    Div,
    /// Integers.
    Rem,
    /// Floats, rounded to nearest; with its rounding written out it is never contracted.
    AddRn,
    SubRn,
    MulRn,
    DivRn,
    SqrtRn,
    FmaRn,
    Neg,
    Abs,
    Min,
    Max,
    /// Of `f32`: NaN if either is.
    MinNan,
    MaxNan,
    And,
    Or,
    Xor,
    Not,
    /// The amount is a `.b32`.
    Shl,
    /// The amount is a `.b32`.
    Shr,
    /// The last operand is the condition.
    Selp,
    /// From a local address to a generic one.
    CvtaLocal,
    /// From the address of a parameter to a generic one.
    CvtaParam,
    /// Of `f32`: a power of two, to about two units in the last place.
    Ex2Approx,
}

impl Op {
    pub(super) fn text(self) -> &'static str {
        match self {
            Op::Mov => "mov",
            Op::Add => "add",
            Op::Sub => "sub",
            Op::MulLo => "mul.lo",
            Op::MulHi => "mul.hi",
            Op::Div => "div",
            Op::Rem => "rem",
            Op::AddRn => "add.rn",
            Op::SubRn => "sub.rn",
            Op::MulRn => "mul.rn",
            Op::DivRn => "div.rn",
            Op::SqrtRn => "sqrt.rn",
            Op::FmaRn => "fma.rn",
            Op::Neg => "neg",
            Op::Abs => "abs",
            Op::Min => "min",
            Op::Max => "max",
            Op::MinNan => "min.NaN",
            Op::MaxNan => "max.NaN",
            Op::And => "and",
            Op::Or => "or",
            Op::Xor => "xor",
            Op::Not => "not",
            Op::Shl => "shl",
            Op::Shr => "shr",
            Op::Selp => "selp",
            Op::CvtaLocal => "cvta.local",
            Op::CvtaParam => "cvta.param",
            Op::Ex2Approx => "ex2.approx",
        }
    }

    /// Whether operand `at` may be of another class than the result, and which.
    fn other_class(self, at: usize) -> Option<Class> {
        match (self, at) {
            (Op::Shl | Op::Shr, 1) => Some(Class::B32),
            (Op::Selp, 2) => Some(Class::Pred),
            _ => None,
        }
    }
}

/// Comparisons.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // named as they are written
pub enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// Not equal, or NaN.
    Neu,
    /// Either is NaN.
    Nan,
}

impl Cmp {
    pub(super) fn text(self) -> &'static str {
        match self {
            Cmp::Eq => "eq",
            Cmp::Ne => "ne",
            Cmp::Lt => "lt",
            Cmp::Le => "le",
            Cmp::Gt => "gt",
            Cmp::Ge => "ge",
            Cmp::Neu => "neu",
            Cmp::Nan => "nan",
        }
    }
}

/// How a conversion rounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // named as they are written
pub enum Round {
    /// Not at all.
    None,
    Rn,
    /// To an integer, nearest even.
    Rni,
    Rzi,
    Rmi,
    Rpi,
}

impl Round {
    pub(super) fn text(self) -> &'static str {
        match self {
            Round::None => "",
            Round::Rn => ".rn",
            Round::Rni => ".rni",
            Round::Rzi => ".rzi",
            Round::Rmi => ".rmi",
            Round::Rpi => ".rpi",
        }
    }
}

/// Where memory lies, and how it is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    /// Parameters of the kernel.
    Param,
    /// Memory of the device.
    Global,
    /// Either that or the thread's own.
    Generic,
    /// The block's.
    Shared,
    /// Memory of the device that other threads may write at the same time.
    RelaxedGlobal,
}

impl Space {
    pub(super) fn text(self) -> &'static str {
        match self {
            Space::Param => ".param",
            Space::Global => ".global",
            Space::Generic => "",
            Space::Shared => ".shared",
            Space::RelaxedGlobal => ".relaxed.gpu.global",
        }
    }
}

/// A place in a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(pub u32);

/// An instruction.
#[derive(Clone, PartialEq, Debug)]
pub enum Inst {
    /// `op.ty dst, args…`
    Op {
        /// The operation.
        op: Op,
        /// The type.
        ty: Ty,
        /// The result.
        dst: Reg,
        /// The operands.
        args: Vec<Operand>,
    },
    /// `cvt.round.to.from dst, src`; integers of 8 and 16 bits lie in `.b32` registers.
    Cvt {
        /// How it rounds.
        round: Round,
        /// The result's type.
        to: Ty,
        /// The operand's type.
        from: Ty,
        /// The result.
        dst: Reg,
        /// The operand.
        src: Reg,
    },
    /// `mov` between classes of one width: the same bits.
    Bits {
        /// The result.
        dst: Reg,
        /// The operand.
        src: Reg,
    },
    /// `setp.cmp.ty dst, a, b`
    Setp {
        /// The comparison.
        cmp: Cmp,
        /// The operands' type.
        ty: Ty,
        /// The result, a predicate.
        dst: Reg,
        /// The first operand.
        a: Operand,
        /// The second operand.
        b: Operand,
    },
    /// `ld.space.ty dst, [base + offset]`
    Ld {
        /// Where from.
        space: Space,
        /// The element's type.
        ty: Ty,
        /// The result.
        dst: Reg,
        /// An address.
        base: Operand,
        /// Bytes.
        offset: i64,
    },
    /// `st.space.ty [base + offset], src`
    St {
        /// Where to.
        space: Space,
        /// The element's type.
        ty: Ty,
        /// An address.
        base: Reg,
        /// Bytes.
        offset: i64,
        /// What is stored.
        src: Reg,
    },
    /// `ld.space.vN.ty {dst…}, [base + offset]` of 2 or 4 neighbours; the address is a multiple of all their bytes.
    LdVector {
        /// Where from.
        space: Space,
        /// The elements' type.
        ty: Ty,
        /// The results.
        dst: Vec<Reg>,
        /// An address.
        base: Reg,
        /// Bytes.
        offset: i64,
    },
    /// `st.space.vN.ty [base + offset], {src…}`, likewise.
    StVector {
        /// Where to.
        space: Space,
        /// The elements' type.
        ty: Ty,
        /// An address.
        base: Reg,
        /// Bytes.
        offset: i64,
        /// What is stored.
        src: Vec<Reg>,
    },
    /// `mov.b64 {low, high}, src`: the halves of 64 bits.
    Split {
        /// The results.
        dst: [Reg; 2],
        /// The operand.
        src: Reg,
    },
    /// `mov.b64 dst, {low, high}`
    Join {
        /// The result.
        dst: Reg,
        /// The operands.
        src: [Reg; 2],
    },
    /// `shfl.sync.bfly.b32 dst, src, flip, 31, members`
    Shuffle {
        /// The result.
        dst: Reg,
        /// The own value.
        src: Reg,
        /// Bits in which the lanes' numbers differ.
        flip: u32,
        /// The lanes that take part.
        members: Reg,
    },
    /// `bar.warp.sync members`
    WarpBarrier {
        /// The lanes that take part.
        members: Reg,
    },
    /// `cp.async.cg.shared.global [to], [from], 16, bytes`
    CopyAsync {
        /// An address in shared memory.
        to: (Reg, i64),
        /// An address of the device.
        from: (Reg, i64),
        /// How many bytes are read, 0 or 16; the others are zeros.
        bytes: Operand,
    },
    /// `ldmatrix.sync.aligned.m8n8.x4.shared.b16 {dst…}, [base + offset]`
    LoadMatrices {
        /// The results.
        dst: [Reg; 4],
        /// An address in shared memory.
        base: Reg,
        /// Bytes.
        offset: i64,
        /// Rows become columns.
        transposed: bool,
    },
    /// `mma.sync.aligned.m16n8kK.row.col.f32.element.element.f32 {dst…}, {a…}, {b…}, {c…}`
    MultiplyAdd {
        /// `F16`, `BF16` (both `K` 16) or `Tf32` (8).
        element: Ty,
        /// The results.
        dst: [Reg; 4],
        /// The left factor.
        a: [Reg; 4],
        /// The right factor.
        b: [Reg; 2],
        /// What is added.
        c: [Reg; 4],
    },
    /// `wgmma.mma_async.sync.aligned.m64nNkK.f32.element.element {sums…}, a, b, 1, 1, 1, turned, turned`: `N` is twice the number of sums.
    MultiplyAddShared {
        /// `F16`, `BF16` (both `K` 16) or `Tf32` (8, never turned).
        element: Ty,
        /// What is added to.
        sums: Vec<Reg>,
        /// The descriptor of the left factor, or its four registers.
        a: Vec<Reg>,
        /// The descriptor of the right factor.
        b: Reg,
        /// Whether lines of the left, and of the right, run along rows, or columns, in place of depth.
        turned: [bool; 2],
    },
    /// `cvt.rn.halfx2.f32 dst, high, low`
    Pack {
        /// `F16` or `BF16`.
        half: Ty,
        /// The result.
        dst: Reg,
        /// The operand that becomes the low half.
        low: Reg,
        /// The operand that becomes the high half.
        high: Reg,
    },
    /// `cvt.rna.tf32.f32 dst, src`
    RoundToTf32 {
        /// The result.
        dst: Reg,
        /// The operand.
        src: Reg,
    },
    /// `prefetch.global.L2 [base + offset]`
    Prefetch {
        /// An address.
        base: Reg,
        /// Bytes.
        offset: i64,
    },
    /// A place to jump to.
    Label(Label),
    /// `bra`, where the predicate is as said.
    Bra {
        /// Where to.
        to: Label,
        /// A predicate, and what it has to be.
        when: Option<(Reg, bool)>,
    },
    /// One of a pipeline inside the block.
    Pipeline(Pipeline),
    /// One without registers.
    Plain(Plain),
}

/// Instructions without registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plain {
    /// `bar.sync 0`
    Barrier,
    /// `cp.async.commit_group`
    CommitCopies,
    /// `cp.async.wait_group`: so many groups may be on their way.
    WaitForCopies(u32),
    /// `fence.proxy.async.shared::cta`
    ShareWithProducts,
    /// `wgmma.fence.sync.aligned`
    BeginProducts,
    /// `wgmma.commit_group.sync.aligned`
    EndProducts,
    /// `wgmma.wait_group.sync.aligned`: so many groups may be on their way.
    WaitForProducts(u32),
    /// `griddepcontrol.wait`: until the kernels launched before are done, and what they wrote is there.
    WaitForKernels,
    /// `griddepcontrol.launch_dependents`: the next kernel may be launched, when every block has come to this.
    LaunchNext,
    /// The loop whose first block this is stays one. *Source*: PTX ISA 8.7, §11.4, "nounroll".
    NoUnroll,
    /// The thread ends.
    Ret,
}

impl Inst {
    /// The registers it writes, where that is all it does; what does more has none.
    pub fn results(&self) -> Vec<Reg> {
        match self {
            Inst::Op { dst, .. } | Inst::Cvt { dst, .. } | Inst::Bits { dst, .. } | Inst::Setp { dst, .. } | Inst::Ld { dst, .. } => {
                vec![*dst]
            }
            Inst::LdVector { dst, .. } => dst.clone(),
            Inst::Split { dst, .. } => dst.to_vec(),
            Inst::Join { dst, .. } | Inst::Pack { dst, .. } | Inst::RoundToTf32 { dst, .. } => vec![*dst],
            Inst::LoadMatrices { dst, .. } | Inst::MultiplyAdd { dst, .. } => dst.to_vec(),
            Inst::Pipeline(inst) => inst.results(),
            // Lanes that want nothing still give.
            Inst::Shuffle { .. }
            | Inst::St { .. }
            | Inst::StVector { .. }
            | Inst::WarpBarrier { .. }
            | Inst::CopyAsync { .. }
            | Inst::MultiplyAddShared { .. }
            | Inst::Prefetch { .. }
            | Inst::Label(_)
            | Inst::Bra { .. }
            | Inst::Plain(_) => vec![],
        }
    }

    /// The registers it reads.
    pub fn reads(&self) -> Vec<Reg> {
        let of = |operand: &Operand| if let Operand::Reg(reg) = operand { Some(*reg) } else { None };
        match self {
            Inst::Op { args, .. } => args.iter().filter_map(of).collect(),
            Inst::Cvt { src, .. } | Inst::Bits { src, .. } | Inst::Split { src, .. } | Inst::RoundToTf32 { src, .. } => vec![*src],
            Inst::Join { src, .. } => src.to_vec(),
            Inst::Setp { a, b, .. } => [a, b].into_iter().filter_map(of).collect(),
            Inst::Ld { base, .. } => of(base).into_iter().collect(),
            Inst::St { base, src, .. } => vec![*base, *src],
            Inst::LdVector { base, .. } | Inst::LoadMatrices { base, .. } | Inst::Prefetch { base, .. } => vec![*base],
            Inst::StVector { base, src, .. } => [&[*base], &src[..]].concat(),
            Inst::Shuffle { src, members, .. } => vec![*src, *members],
            Inst::WarpBarrier { members } => vec![*members],
            Inst::CopyAsync { to, from, bytes } => [to.0, from.0].into_iter().chain(of(bytes)).collect(),
            Inst::MultiplyAdd { a, b, c, .. } => [&a[..], b, c].concat(),
            Inst::MultiplyAddShared { sums, a, b, .. } => [&sums[..], a, &[*b]].concat(),
            Inst::Pack { low, high, .. } => vec![*low, *high],
            Inst::Bra { when, .. } => when.iter().map(|(reg, _)| *reg).collect(),
            Inst::Pipeline(inst) => inst.reads(),
            Inst::Plain(_) | Inst::Label(_) => vec![],
        }
    }

    /// Panics when a register is of the wrong class: an error of whoever made the instruction.
    pub fn check(&self) {
        let fits = |operand: &Operand, class: Class| match operand {
            Operand::Reg(reg) => reg.class == class,
            Operand::Int(_) => matches!(class, Class::B16 | Class::B32 | Class::B64),
            Operand::F32(_) => class == Class::F32,
            Operand::F64(_) => class == Class::F64,
            Operand::Name(_) => class == Class::B32,
            Operand::Variable(..) => class == Class::B64,
        };
        let are = |regs: &[Reg], class: Class| regs.iter().all(|reg| reg.class == class);
        let right = match self {
            Inst::Op { op, ty, dst, args } => {
                let class = ty.class();
                let all = args.iter().enumerate().all(|(at, arg)| fits(arg, op.other_class(at).unwrap_or(class)));
                all && dst.class == class
            }
            Inst::Cvt { to, from, dst, src, .. } => dst.class == to.class() && src.class == from.class(),
            Inst::Bits { dst, src } => {
                let pair = (dst.class, src.class);
                let pairs = [(Class::B32, Class::F32), (Class::B64, Class::F64), (Class::F32, Class::B32), (Class::F64, Class::B64)];
                pairs.contains(&pair)
            }
            Inst::Setp { ty, dst, a, b, .. } => dst.class == Class::Pred && fits(a, ty.class()) && fits(b, ty.class()),
            Inst::Ld { ty, dst, .. } => dst.class == ty.class(),
            Inst::St { ty, base, src, .. } => src.class == ty.class() && base.class == Class::B64,
            Inst::LdVector { ty, dst: all, base, .. } | Inst::StVector { ty, src: all, base, .. } => {
                matches!(all.len(), 2 | 4) && all.iter().all(|reg| reg.class == ty.class()) && base.class == Class::B64
            }
            Inst::Split { dst, src } => are(dst, Class::B32) && src.class == Class::B64,
            Inst::Join { dst, src } => are(src, Class::B32) && dst.class == Class::B64,
            Inst::Shuffle { dst, src, members, .. } => are(&[*dst, *src, *members], Class::B32),
            Inst::WarpBarrier { members } => members.class == Class::B32,
            Inst::CopyAsync { to, from, bytes } => are(&[to.0, from.0], Class::B64) && fits(bytes, Class::B32),
            Inst::LoadMatrices { dst, base, .. } => are(dst, Class::B32) && base.class == Class::B64,
            Inst::MultiplyAdd { element, dst, a, b, c } => {
                let floats = are(dst, Class::F32) && are(c, Class::F32);
                matches!(element, Ty::F16 | Ty::BF16 | Ty::Tf32) && floats && are(a, Class::B32) && are(b, Class::B32)
            }
            Inst::MultiplyAddShared { element, sums, a, b, turned } => {
                // Each sum is added to where it lies.
                let apart = sums.iter().collect::<BTreeSet<_>>().len() == sums.len();
                let left = if a.len() == 1 { are(a, Class::B64) } else { a.len() == 4 && are(a, Class::B32) };
                let known = matches!(element, Ty::F16 | Ty::BF16) || (*element == Ty::Tf32 && *turned == [false; 2]);
                known && are(sums, Class::F32) && left && b.class == Class::B64 && apart
            }
            Inst::Pack { half, dst, low, high } => {
                matches!(half, Ty::F16 | Ty::BF16) && dst.class == Class::B32 && are(&[*low, *high], Class::F32)
            }
            Inst::RoundToTf32 { dst, src } => dst.class == Class::B32 && src.class == Class::F32,
            Inst::Prefetch { base, .. } => base.class == Class::B64,
            Inst::Bra { when, .. } => when.is_none_or(|(reg, _)| reg.class == Class::Pred),
            Inst::Pipeline(inst) => inst.is_right(),
            Inst::Plain(_) | Inst::Label(_) => true,
        };
        assert!(right, "ptx: wrong class of register in `{self}`");
    }
}
