//! Tile programs to x86-64 machine code with 256-bit (AVX2 and FMA) or 512-bit vectors (AVX-512 F, BW, DQ, VL).
//!
//! Cranelift has no vector above 128 bits, so this emitter goes its own way: [`select`] turns tile instructions into machine
//! instructions over virtual registers, [`allocate`] assigns registers, [`encode`] writes bytes. What the unit lacks is written out
//! first, and integers of 8 and 16 bits are held in lanes of 32; what does not fit even so (`supports.rs`) is Cranelift's.
//!
//! Calling convention: that of Unix on x86-64. The function is a leaf, keeps what callers keep, and leaves no upper half of a
//! vector register in use.

mod allocate;
mod encode;
mod inst;
#[cfg(test)]
pub(crate) mod interpreter;
mod liveness;
mod operands;
mod select;
mod supports;
#[rustfmt::skip]
mod table;

use super::clif::Code;
use crate::tile::TileProgram;
use crate::tile::expand::{expand, widen_narrow_lanes};
use allocate::Machine;
use iced_x86::{Code as Instruction, Decoder, DecoderOptions, Formatter, IntelFormatter};
use inst::{Base, Class, Inst, Mem, VReg};
use smallvec::smallvec;
use std::fmt::Write as _;
use supports::Unit;
use table::Width;

/// The vector units that the emitter knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WideVectors {
    /// AVX2, FMA, F16C and BMI2: 16 registers of 256 bits.
    Avx2,
    /// AVX-512 F, BW, DQ and VL besides: 32 registers of 512 bits and opmasks.
    Avx512,
}

impl WideVectors {
    /// Rust's names of the features it needs.
    pub fn features(self) -> &'static [&'static str] {
        match self {
            WideVectors::Avx2 => &["avx", "avx2", "fma", "f16c", "bmi1", "bmi2"],
            WideVectors::Avx512 => &["avx", "avx2", "fma", "f16c", "bmi1", "bmi2", "avx512f", "avx512bw", "avx512dq", "avx512vl"],
        }
    }

    /// Whether this process can run the code.
    pub fn runs_here(self) -> bool {
        let needed: Vec<String> = self.features().iter().map(ToString::to_string).collect();
        cfg!(target_arch = "x86_64") && kiln_runtime::cpu::missing_features(&needed).is_empty()
    }
}

/// The program's machine code; `None` if it has more parameters than registers pass, or masks of more lanes than an opmask has bits.
pub fn compile(program: &TileProgram, vectors: WideVectors) -> Option<Code> {
    let evex = vectors == WideVectors::Avx512;
    if !supports::supports(program) {
        return None;
    }
    let expanded = widen_narrow_lanes(&expand(program, &Unit { evex }));
    let function = select::select(&expanded, evex);
    let allocated = allocate::allocate(function, &Registers { evex });
    Some(encode::encode(&allocated, &expanded.scratch, evex))
}

/// Machine code as text, an instruction a line; jumps name the place they go to. Constants behind the code are left out.
pub fn disassembled(bytes: &[u8]) -> String {
    let mut decoder = Decoder::new(64, bytes, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    let mut out = String::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        // Int3 fills up between code and constants.
        if instruction.is_invalid() || instruction.code() == Instruction::Int3 {
            break;
        }
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        writeln!(out, "{:6x}  {text}", instruction.ip()).expect("a string takes anything");
    }
    out
}

/// The registers of a unit.
struct Registers {
    evex: bool,
}

const VECTORS: [u8; 32] = {
    let mut numbers = [0; 32];
    let mut at = 0;
    while at < 32 {
        numbers[at] = at as u8;
        at += 1;
    }
    numbers
};

impl Machine for Registers {
    fn registers(&self, class: Class) -> &[u8] {
        match class {
            Class::Int => &encode::INT_REGISTERS,
            Class::Vector if self.evex => &VECTORS,
            Class::Vector => &VECTORS[..16],
            // The first means "no mask" where masks choose.
            Class::Mask => &VECTORS[1..8],
        }
    }

    fn division_registers(&self) -> [u8; 2] {
        [encode::RAX, encode::RDX]
    }

    fn load(&self, class: Class, to: VReg, from: Mem) -> Inst {
        let code = match class {
            Class::Int => Instruction::Mov_r64_rm64,
            Class::Mask => Instruction::VEX_Kmovq_kr_km64,
            Class::Vector => table::LOAD.code(self.evex, self.widest()),
        };
        Inst { code, def: Some(to), modifies: false, uses: smallvec![], mem: Some(from), stores: false, imm: None, mask: None }
    }

    fn store(&self, class: Class, from: VReg, to: Mem) -> Inst {
        debug_assert!(matches!(to.base, Base::Slot(_)));
        let code = match class {
            Class::Int => Instruction::Mov_rm64_r64,
            Class::Mask => Instruction::VEX_Kmovq_m64_kr,
            Class::Vector => table::STORE.code(self.evex, self.widest()),
        };
        Inst { code, def: None, modifies: false, uses: smallvec![from], mem: Some(to), stores: true, imm: None, mask: None }
    }
}

impl Registers {
    fn widest(&self) -> Width {
        if self.evex { Width::W512 } else { Width::W256 }
    }
}
