//! How instructions of PTX are written.   *Source*: PTX ISA 9.0, chapters 4 and 9.

use super::inst::{Class, Inst, Operand, Plain, Reg, Ty};
use std::fmt::{self, Display, Formatter};

impl Display for Reg {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.class.prefix(), self.number)
    }
}

impl Display for Ty {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ty::Pred => ".pred",
            Ty::B16 => ".b16",
            Ty::B32 => ".b32",
            Ty::B64 => ".b64",
            Ty::U8 => ".u8",
            Ty::U16 | Ty::Half => ".u16",
            Ty::U32 => ".u32",
            Ty::U64 => ".u64",
            Ty::S8 => ".s8",
            Ty::S16 => ".s16",
            Ty::S32 => ".s32",
            Ty::S64 => ".s64",
            Ty::F16 => ".f16",
            Ty::BF16 => ".bf16",
            Ty::Tf32 => ".tf32",
            Ty::F32 => ".f32",
            Ty::F64 => ".f64",
        })
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Operand::Reg(reg) => write!(f, "{reg}"),
            Operand::Int(value) => write!(f, "{value}"),
            Operand::F32(bits) => write!(f, "0f{bits:08X}"),
            Operand::F64(bits) => write!(f, "0d{bits:016X}"),
            Operand::Name(name) => f.write_str(name),
            Operand::Variable(name, number) => write!(f, "{name}{number}"),
        }
    }
}

/// `[base+offset]`.
struct Address<'a>(&'a dyn Display, i64);

impl Display for Address<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.1 {
            0 => write!(f, "[{}]", self.0),
            offset => write!(f, "[{}+{offset}]", self.0),
        }
    }
}

/// `{%f0, %f1}`.
pub(super) struct List<'a>(pub &'a [Reg]);

impl Display for List<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(Reg::to_string).collect();
        write!(f, "{{{}}}", names.join(", "))
    }
}

impl Display for Inst {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Inst::Op { op, ty, dst, args } => {
                write!(f, "{}{ty} {dst}", op.text())?;
                args.iter().try_for_each(|arg| write!(f, ", {arg}"))?;
                f.write_str(";")
            }
            Inst::Cvt { round, to, from, dst, src } => write!(f, "cvt{}{to}{from} {dst}, {src};", round.text()),
            Inst::Bits { dst, src } => {
                let ty = if matches!(dst.class, Class::B32 | Class::F32) { Ty::B32 } else { Ty::B64 };
                write!(f, "mov{ty} {dst}, {src};")
            }
            Inst::Setp { cmp, ty, dst, a, b } => write!(f, "setp.{}{ty} {dst}, {a}, {b};", cmp.text()),
            Inst::Ld { space, ty, dst, base, offset } => write!(f, "ld{}{ty} {dst}, {};", space.text(), Address(base, *offset)),
            Inst::St { space, ty, base, offset, src } => write!(f, "st{}{ty} {}, {src};", space.text(), Address(base, *offset)),
            Inst::LdVector { space, ty, dst, base, offset } => {
                write!(f, "ld{}.v{}{ty} {}, {};", space.text(), dst.len(), List(dst), Address(base, *offset))
            }
            Inst::StVector { space, ty, base, offset, src } => {
                write!(f, "st{}.v{}{ty} {}, {};", space.text(), src.len(), Address(base, *offset), List(src))
            }
            Inst::Split { dst, src } => write!(f, "mov.b64 {}, {src};", List(dst)),
            Inst::Join { dst, src } => write!(f, "mov.b64 {dst}, {};", List(src)),
            Inst::Shuffle { dst, src, flip, members } => write!(f, "shfl.sync.bfly.b32 {dst}, {src}, {flip}, 31, {members};"),
            Inst::WarpBarrier { members } => write!(f, "bar.warp.sync {members};"),
            Inst::CopyAsync { to, from, bytes } => {
                write!(f, "cp.async.cg.shared.global {}, {}, 16, {bytes};", Address(&to.0, to.1), Address(&from.0, from.1))
            }
            Inst::LoadMatrices { dst, base, offset, transposed } => {
                let transposed = if *transposed { ".trans" } else { "" };
                write!(f, "ldmatrix.sync.aligned.m8n8.x4{transposed}.shared.b16 {}, {};", List(dst), Address(base, *offset))
            }
            Inst::MultiplyAdd { element, dst, a, b, c } => {
                let depth = element.product_depth();
                write!(f, "mma.sync.aligned.m16n8k{depth}.row.col.f32{element}{element}.f32 ")?;
                write!(f, "{}, {}, {}, {};", List(dst), List(a), List(b), List(c))
            }
            Inst::MultiplyAddShared { element, sums, a, b, turned } => {
                let depth = element.product_depth();
                write!(f, "wgmma.mma_async.sync.aligned.m64n{}k{depth}.f32{element}{element} {}, ", 2 * sums.len(), List(sums))?;
                // What comes in registers, or in 32 bits, is never turned, and has no place to say so.
                let (left, said) = match a[..] {
                    [a] => (a.to_string(), &turned[..]),
                    _ => (List(a).to_string(), &turned[1..]),
                };
                write!(f, "{left}, {b}, 1, 1, 1")?;
                let said = if *element == Ty::Tf32 { &[] } else { said };
                said.iter().try_for_each(|turned| write!(f, ", {}", u32::from(*turned)))?;
                f.write_str(";")
            }
            Inst::Pack { half, dst, low, high } => write!(f, "cvt.rn{half}x2.f32 {dst}, {high}, {low};"),
            Inst::RoundToTf32 { dst, src } => write!(f, "cvt.rna.tf32.f32 {dst}, {src};"),
            Inst::Prefetch { base, offset } => write!(f, "prefetch.global.L2 {};", Address(base, *offset)),
            Inst::Label(label) => write!(f, "L{}:", label.0),
            Inst::Bra { to, when: None } => write!(f, "bra L{};", to.0),
            Inst::Bra { to, when: Some((reg, wanted)) } => write!(f, "@{}{reg} bra L{};", if *wanted { "" } else { "!" }, to.0),
            Inst::Pipeline(inst) => Display::fmt(inst, f),
            Inst::Plain(plain) => Display::fmt(plain, f),
        }
    }
}

impl Display for Plain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Plain::Barrier => f.write_str("bar.sync 0;"),
            Plain::CommitCopies => f.write_str("cp.async.commit_group;"),
            Plain::WaitForCopies(left) => write!(f, "cp.async.wait_group {left};"),
            Plain::ShareWithProducts => f.write_str("fence.proxy.async.shared::cta;"),
            Plain::BeginProducts => f.write_str("wgmma.fence.sync.aligned;"),
            Plain::EndProducts => f.write_str("wgmma.commit_group.sync.aligned;"),
            Plain::WaitForProducts(left) => write!(f, "wgmma.wait_group.sync.aligned {left};"),
            Plain::WaitForKernels => f.write_str("griddepcontrol.wait;"),
            Plain::LaunchNext => f.write_str("griddepcontrol.launch_dependents;"),
            Plain::NoUnroll => f.write_str(".pragma \"nounroll\";"),
            Plain::Ret => f.write_str("ret;"),
        }
    }
}
