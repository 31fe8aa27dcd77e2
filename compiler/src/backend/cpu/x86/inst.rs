//! Machine instructions over virtual registers: what selection makes, allocation assigns and encoding writes.

use iced_x86::Code;
use smallvec::SmallVec;

/// A virtual register; [`Function::classes`] says of which kind. It may be written more than once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct VReg(pub u32);

/// The kinds of machine registers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Class {
    /// General-purpose, 64 bits.
    Int,
    /// xmm, ymm or zmm, whichever an instruction names.
    Vector,
    /// Opmask.
    Mask,
}

/// A place that jumps name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Label(pub u32);

/// Where a memory operand begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Base {
    Register(VReg),
    /// A constant of the pool.
    Constant(u32),
    /// A piece of the program's scratch.
    Scratch(u32),
    /// The place of a spilled register.
    Slot(u32),
}

/// A memory operand: `base + index · scale + offset`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mem {
    pub base: Base,
    pub index: Option<(VReg, u32)>,
    pub offset: i32,
}

impl Mem {
    pub(super) fn of(base: Base) -> Mem {
        Mem { base, index: None, offset: 0 }
    }
}

/// One instruction. Operands are encoded in the order memory destination, `def`, `uses`, memory source, `imm`; one that
/// overwrites its first factor (`modifies`) has it in `def` alone.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Inst {
    pub code: Code,
    /// The register written.
    pub def: Option<VReg>,
    /// `def` is read too.
    pub modifies: bool,
    /// Registers read, without those of the memory operand.
    pub uses: SmallVec<[VReg; 3]>,
    pub mem: Option<Mem>,
    /// The memory operand is written, not read.
    pub stores: bool,
    pub imm: Option<i64>,
    /// Opmask that chooses between two factors (blends), or lanes that are loaded, the others being zero, or stored.
    pub mask: Option<VReg>,
}

/// Integer division: the one place where the machine fixes registers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Division {
    pub signed: bool,
    /// 64 bits, else 32.
    pub wide: bool,
    pub remainder: bool,
    pub def: VReg,
    pub dividend: VReg,
    pub divisor: VReg,
}

/// One line of a function.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Line {
    Inst(Inst),
    Divide(Division),
    /// All bits become zero.
    Zero(VReg),
    /// All at once: each first register takes the value of the second.
    Copy(SmallVec<[(VReg, VReg); 2]>),
    /// A register comparison or test, then a jump when the condition holds; falls through otherwise.
    JumpIf {
        compare: Inst,
        jump: Code,
        to: Label,
    },
    /// A comparison, then `def` = 0 or 1; or, with `choices`, one of two registers (`def` already holds the other).
    SetIf {
        compare: Inst,
        set: Code,
        def: VReg,
        choice: Option<VReg>,
    },
    Jump(Label),
    Label(Label),
    Return,
}

/// A function before registers are assigned.
#[derive(Clone, Debug, Default)]
pub(super) struct Function {
    pub lines: Vec<Line>,
    /// Kind of each virtual register.
    pub classes: Vec<Class>,
    /// Registers that hold the parameters at the start.
    pub params: Vec<VReg>,
    /// Constants in memory, each with its alignment as size.
    pub pool: Vec<Vec<u8>>,
    /// Registers that only ever hold a constant, which can be made again instead of being kept in memory.
    pub constants: std::collections::BTreeSet<VReg>,
    pub labels: u32,
}

impl Function {
    pub(super) fn register(&mut self, class: Class) -> VReg {
        self.classes.push(class);
        VReg(self.classes.len() as u32 - 1)
    }

    pub(super) fn class(&self, register: VReg) -> Class {
        self.classes[register.0 as usize]
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }

    /// The number of a constant in the pool.
    pub(super) fn constant(&mut self, bytes: &[u8]) -> u32 {
        let known = self.pool.iter().position(|b| b == bytes);
        known.unwrap_or_else(|| {
            self.pool.push(bytes.to_vec());
            self.pool.len() - 1
        }) as u32
    }
}

impl Mem {
    /// Registers it reads.
    pub(super) fn registers(&self) -> impl Iterator<Item = VReg> + use<> {
        let base = match self.base {
            Base::Register(base) => Some(base),
            Base::Constant(_) | Base::Scratch(_) | Base::Slot(_) => None,
        };
        base.into_iter().chain(self.index.map(|(index, _)| index))
    }

    fn map(&mut self, f: &mut dyn FnMut(VReg) -> VReg) {
        if let Base::Register(base) = &mut self.base {
            *base = f(*base);
        }
        if let Some((index, _)) = &mut self.index {
            *index = f(*index);
        }
    }
}

impl Inst {
    /// Registers read, `def` included where it is.
    pub(super) fn reads(&self) -> impl Iterator<Item = VReg> + '_ {
        let own = self.def.filter(|_| self.modifies);
        let memory = self.mem.iter().flat_map(Mem::registers);
        self.uses.iter().copied().chain(memory).chain(self.mask).chain(own)
    }

    fn map_reads(&mut self, f: &mut dyn FnMut(VReg) -> VReg) {
        self.uses.iter_mut().for_each(|u| *u = f(*u));
        if let Some(mem) = &mut self.mem {
            mem.map(f);
        }
        if let Some(mask) = &mut self.mask {
            *mask = f(*mask);
        }
    }
}

impl Line {
    /// Calls `read` for registers read and `write` for registers written.
    pub(super) fn visit(&self, read: &mut dyn FnMut(VReg), write: &mut dyn FnMut(VReg)) {
        match self {
            Line::Inst(inst) => {
                inst.reads().for_each(&mut *read);
                inst.def.into_iter().for_each(write);
            }
            Line::Zero(def) => write(*def),
            Line::Divide(d) => {
                read(d.dividend);
                read(d.divisor);
                write(d.def);
            }
            Line::Copy(pairs) => {
                pairs.iter().for_each(|p| read(p.1));
                pairs.iter().for_each(|p| write(p.0));
            }
            Line::JumpIf { compare, .. } => compare.reads().for_each(read),
            Line::SetIf { compare, def, choice, .. } => {
                compare.reads().for_each(&mut *read);
                if let Some(choice) = choice {
                    read(*choice);
                    read(*def);
                }
                write(*def);
            }
            Line::Jump(_) | Line::Label(_) | Line::Return => {}
        }
    }

    /// The line with other registers: `read` for those only read, `write` for those written (and perhaps read).
    pub(super) fn map(&mut self, read: &mut dyn FnMut(VReg) -> VReg, write: &mut dyn FnMut(VReg) -> VReg) {
        match self {
            Line::Inst(inst) => {
                inst.map_reads(read);
                inst.def = inst.def.map(write);
            }
            Line::Zero(def) => *def = write(*def),
            Line::Divide(d) => {
                d.dividend = read(d.dividend);
                d.divisor = read(d.divisor);
                d.def = write(d.def);
            }
            Line::Copy(pairs) => {
                for (to, from) in pairs {
                    *from = read(*from);
                    *to = write(*to);
                }
            }
            Line::JumpIf { compare, .. } => compare.map_reads(read),
            Line::SetIf { compare, def, choice, .. } => {
                compare.map_reads(read);
                *choice = choice.map(read);
                *def = write(*def);
            }
            Line::Jump(_) | Line::Label(_) | Line::Return => {}
        }
    }
}
