//! The ways to run a lowered kernel: the tile evaluator, machine code, and machine code interpreted.

use crate::backend::cpu::agreement::native::{Level, Native};
use crate::backend::cpu::clif;
use crate::backend::cpu::x86::{self, WideVectors, interpreter};
use crate::lower::{Arg, LoweredKernel, VectorIsa};
use crate::tile::eval::{Memory, eval};
use crate::tile::verify::verify;
use kiln_ir::{Symbol, Tensor};
use std::collections::BTreeMap;

const WORKERS: i64 = 2;

/// The vectors beyond Cranelift's that kernels for this unit are compiled with.
fn wide_vectors(isa: &VectorIsa) -> Option<WideVectors> {
    match *isa {
        VectorIsa::AVX512 => Some(WideVectors::Avx512),
        VectorIsa::AVX2 => Some(WideVectors::Avx2),
        _ => None,
    }
}

/// Memory of a program and a way to run kernels on it.
pub(super) enum Machine {
    /// With vectors: their machine code is interpreted where the emitter covers the kernel; how many it covered, of how many.
    Evaluator {
        memory: Memory,
        addresses: Vec<i64>,
        error: i64,
        wide: Option<WideVectors>,
        interpreted: (usize, usize),
    },
    Native {
        wide: Option<WideVectors>,
        buffers: Vec<Vec<u64>>,
        lengths: Vec<usize>,
        error: Vec<u64>,
    },
}

impl Machine {
    pub(super) fn evaluator() -> Machine {
        Machine::in_evaluator(None)
    }

    /// Machine code of wide vectors, on any CPU.
    pub(super) fn interpreter(isa: &VectorIsa) -> Machine {
        Machine::in_evaluator(wide_vectors(isa))
    }

    fn in_evaluator(wide: Option<WideVectors>) -> Machine {
        let mut memory = Memory::new();
        let error = memory.add(vec![0; 8]);
        Machine::Evaluator { memory, addresses: vec![], error, wide, interpreted: (0, 0) }
    }

    /// How many kernels ran as interpreted machine code, of how many.
    pub(super) fn interpreted(&self) -> (usize, usize) {
        match self {
            Machine::Evaluator { interpreted, .. } => *interpreted,
            Machine::Native { .. } => (0, 0),
        }
    }

    /// Machine code for that vector unit.
    pub(super) fn native(isa: &VectorIsa) -> Machine {
        Machine::Native { wide: wide_vectors(isa), buffers: vec![], lengths: vec![], error: vec![0] }
    }

    /// Whether this CPU has what the code needs.
    pub(super) fn runs_here(&self) -> bool {
        match self {
            Machine::Evaluator { .. } => true,
            Machine::Native { wide, .. } => Level::Avx2.runs_here() && wide.is_none_or(WideVectors::runs_here),
        }
    }

    /// Puts the buffers into memory, in order.
    pub(super) fn place(&mut self, contents: &[Tensor]) {
        for tensor in contents {
            let bytes = tensor.bytes();
            match self {
                Machine::Evaluator { memory, addresses, .. } => addresses.push(memory.add(bytes.to_vec())),
                Machine::Native { buffers, lengths, .. } => {
                    // 64 bytes of canary on both sides.
                    let mut words = vec![CANARY; bytes.len().div_ceil(8) + 16];
                    for (i, chunk) in bytes.chunks(8).enumerate() {
                        let mut word = CANARY.to_le_bytes();
                        word[..chunk.len()].copy_from_slice(chunk);
                        words[8 + i] = u64::from_le_bytes(word);
                    }
                    buffers.push(words);
                    lengths.push(bytes.len());
                }
            }
        }
    }

    /// The contents of a buffer of that type and shape.
    pub(super) fn read(&self, buffer: usize, like: &Tensor) -> Tensor {
        let bytes = match self {
            Machine::Evaluator { memory, addresses, .. } => memory.region(addresses[buffer]).to_vec(),
            Machine::Native { buffers, lengths, .. } => {
                let all: Vec<u8> = buffers[buffer].iter().flat_map(|w| w.to_le_bytes()).collect();
                let end = 64 + lengths[buffer];
                let canary: Vec<u8> = std::iter::repeat_n(CANARY.to_le_bytes(), all.len() / 8).flatten().collect();
                assert!(all[..64] == canary[..64] && all[end..] == canary[end..], "a store went outside of its buffer");
                all[64..end].to_vec()
            }
        };
        Tensor::from_vec(like.dtype(), like.shape().to_vec(), bytes)
    }

    /// The error cell.
    pub(super) fn error(&self) -> u64 {
        match self {
            Machine::Evaluator { memory, error, .. } => memory.read(*error, 8).expect("the cell is there"),
            Machine::Native { error, .. } => error[0],
        }
    }

    /// Runs all tasks in about `split` calls, the later ones first.
    pub(super) fn run(&mut self, kernel: &LoweredKernel, symbols: &BTreeMap<Symbol, i64>, split: i64) {
        assert_eq!(verify(&kernel.program), Vec::<String>::new(), "{}", kernel.program);
        let value = |d: &kiln_ir::Dim| d.evaluate(&|s| symbols.get(s).copied()).unwrap_or_else(|| panic!("{d} of {symbols:?}"));
        let tasks = value(&kernel.tasks);
        let scratch_bytes = (value(&kernel.worker_scratch_bytes) as usize).div_ceil(64) * 64;
        let step = ((tasks + split - 1) / split).max(1);
        let mut ranges: Vec<(i64, i64)> = (0..tasks).step_by(step as usize).map(|b| (b, (b + step).min(tasks))).collect();
        ranges.reverse();
        let mut scratch = vec![0u64; scratch_bytes / 8 * WORKERS as usize + 8];
        let aligned = (scratch.as_mut_ptr() as i64 + 63) / 64 * 64;
        match self {
            Machine::Evaluator { memory, addresses, error, wide, interpreted } => {
                let code = wide.and_then(|vectors| x86::compile(&kernel.program, vectors));
                interpreted.0 += usize::from(code.is_some());
                interpreted.1 += 1;
                let scratch = memory.add(vec![0xCC; scratch_bytes * WORKERS as usize]);
                let args: Vec<u8> = kernel
                    .args
                    .iter()
                    .flat_map(|arg| {
                        match arg {
                            Arg::Buffer(id) => addresses[id.0 as usize],
                            Arg::Symbol(s) => *symbols.get(s).unwrap_or_else(|| panic!("no value of {s:?}")),
                            Arg::ErrorCell => *error,
                            Arg::WorkerScratch => scratch,
                            Arg::TensorMap(_) => panic!("tensor maps are for GPUs"),
                        }
                        .to_le_bytes()
                    })
                    .collect();
                let args = memory.add(args);
                for (turn, (begin, end)) in ranges.into_iter().enumerate() {
                    let params = [args, turn as i64 % WORKERS, begin, end];
                    let ran = match &code {
                        Some(code) => interpreter::run(&code.bytes, &params, memory),
                        None => eval(&kernel.program, &params, memory, true),
                    };
                    ran.unwrap_or_else(|e| panic!("{e} in tasks {begin}..{end} of\n{}", kernel.program));
                }
            }
            Machine::Native { wide, buffers, error, .. } => {
                let args: Vec<i64> = kernel
                    .args
                    .iter()
                    .map(|arg| match arg {
                        Arg::Buffer(id) => buffers[id.0 as usize].as_mut_ptr() as i64 + 64,
                        Arg::Symbol(s) => *symbols.get(s).unwrap_or_else(|| panic!("no value of {s:?}")),
                        Arg::ErrorCell => error.as_mut_ptr() as i64,
                        Arg::WorkerScratch => aligned,
                        Arg::TensorMap(_) => panic!("tensor maps are for GPUs"),
                    })
                    .collect();
                let wide = wide.and_then(|vectors| x86::compile(&kernel.program, vectors));
                let level = if kernel.optimise { "speed" } else { "none" };
                let code = wide.unwrap_or_else(|| clif::compile(&kernel.program, &*Level::Avx2.isa(level)));
                let native = Native::new(&code.bytes);
                for (turn, (begin, end)) in ranges.into_iter().enumerate() {
                    native.call(&[args.as_ptr() as i64, turn as i64 % WORKERS, begin, end]);
                }
            }
        }
    }
}

const CANARY: u64 = 0x5AA5_C33C_1234_5678;
