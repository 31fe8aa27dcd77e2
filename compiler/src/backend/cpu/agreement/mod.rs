//! Tests: compiled tile programs give the evaluator's bits, on every x86-64 level this machine can run, at both
//! optimisation levels, and they compile for aarch64. NaNs agree as NaNs: which one it is, is the machine's own.
//! [`clif::compile`] refuses relocations, so each case also shows that no libcall is left.

pub(crate) mod native;
mod operations;
mod random;

use super::clif;
use super::x86::{self, WideVectors, interpreter};
use crate::tile::Mem;
use crate::tile::eval::{Memory, eval};
use crate::tile::{TileProgram, verify::verify};
pub(super) use native::{Level, Native};

/// One stored vector in the output region.
struct Output {
    offset: usize,
    mem: Mem,
    lanes: usize,
    /// What to print when it differs.
    label: String,
}

/// Runs `program(input, output)` everywhere and compares what it stored.
fn check(program: &TileProgram, input: &[u8], output_bytes: usize, outputs: &[Output]) {
    assert_eq!(verify(program), Vec::<String>::new(), "{program}");
    for level in Level::all() {
        let expected = evaluated(program, input, output_bytes, level.is_fma_fused());
        for opt_level in ["none", "speed"] {
            let code = clif::compile(program, &*level.isa(opt_level));
            if level.runs_here() {
                compare(program, &code, input, &expected, outputs, &format!("{level:?}, opt_level {opt_level}"));
            }
        }
    }
    check_wide(program, input, output_bytes, outputs);
}

/// The same for wide vectors, whose emitter covers every program.
fn check_wide(program: &TileProgram, input: &[u8], output_bytes: usize, outputs: &[Output]) {
    let expected = evaluated(program, input, output_bytes, true);
    for vectors in [WideVectors::Avx2, WideVectors::Avx512] {
        let code = x86::compile(program, vectors).unwrap_or_else(|| panic!("{vectors:?} does not cover\n{program}"));
        if vectors.runs_here() {
            compare(program, &code, input, &expected, outputs, &format!("{vectors:?}"));
        }
        let mut memory = Memory::new();
        let (from, to) = (memory.add(input.to_vec()), memory.add(vec![0; output_bytes]));
        interpreter::run(&code.bytes, &[from, to], &mut memory).unwrap_or_else(|e| panic!("{vectors:?}, interpreted: {e} in\n{program}"));
        compare_bytes(program, memory.region(to), &expected, outputs, &format!("{vectors:?}, interpreted"));
    }
}

/// What the evaluator stores.
fn evaluated(program: &TileProgram, input: &[u8], output_bytes: usize, is_fma_fused: bool) -> Vec<u8> {
    let mut memory = Memory::new();
    let (from, to) = (memory.add(input.to_vec()), memory.add(vec![0; output_bytes]));
    eval(program, &[from, to], &mut memory, is_fma_fused).unwrap_or_else(|e| panic!("{e} in\n{program}"));
    memory.region(to).to_vec()
}

/// Runs code and compares what it stored.
fn compare(program: &TileProgram, code: &clif::Code, input: &[u8], expected: &[u8], outputs: &[Output], place: &str) {
    let native = Native::new(&code.bytes);
    let mut got = vec![0; expected.len()];
    native.call(&[input.as_ptr() as i64, got.as_mut_ptr() as i64]);
    compare_bytes(program, &got, expected, outputs, place);
}

fn compare_bytes(program: &TileProgram, got: &[u8], expected: &[u8], outputs: &[Output], place: &str) {
    for output in outputs {
        for lane in 0..output.lanes {
            let size = output.mem.size_bytes() as usize;
            let at = output.offset + lane * size;
            let (e, g) = (&expected[at..at + size], &got[at..at + size]);
            assert!(
                e == g || (is_nan(output.mem, e) && is_nan(output.mem, g)),
                "{} lane {lane} on {place}: expected {e:02x?}, got {g:02x?} in\n{program}",
                output.label
            );
        }
    }
}

fn is_nan(mem: Mem, bytes: &[u8]) -> bool {
    match mem {
        Mem::F16 => half::f16::from_le_bytes(bytes.try_into().expect("2 bytes")).is_nan(),
        Mem::BF16 => half::bf16::from_le_bytes(bytes.try_into().expect("2 bytes")).is_nan(),
        Mem::F32 => f32::from_le_bytes(bytes.try_into().expect("4 bytes")).is_nan(),
        Mem::F64 => f64::from_le_bytes(bytes.try_into().expect("8 bytes")).is_nan(),
        _ => false,
    }
}

/// Small fixed generator of random numbers (xorshift64*): tests repeat exactly.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.bits() >> 33) as usize % n
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Bits of values where operations change their mind, as often as random ones.
fn special_bits(random: &mut Random, mem: Mem) -> u64 {
    let float = random.pick(&[
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        0.3,
        -0.7,
        8388607.5,
        4503599627370495.5,
        1e10,
        -1e10,
        2147483648.0,
        4294967295.0,
        9.3e18,
        -9.3e18,
        1.9e19,
        65504.0,
        65519.9,
        65520.0,
        6e-8,
        3e-8,
        2.9e-8,
        6.1e-5,
        1e-40,
        1e-320,
        1e38,
        3.5e38,
        1e300,
        127.5,
        255.5,
        -128.9,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ]);
    let small = random.below(1 << 20) as f64 / 1024.0 - 512.0;
    let float = random.pick(&[float, small]);
    let int = random
        .pick(&[0, 1, -1, 2, 7, 8, 31, 63, 100, 127, 128, 255, i64::MIN, i64::MAX, 1 << 31, 1 << 15, -128])
        .wrapping_shr(random.pick(&[0, 0, 32, 48, 56])) as u64;
    let bits = random.bits();
    match mem {
        Mem::Bool => bits & 1,
        Mem::F16 => random.pick(&[u64::from(half::f16::from_f64(float).to_bits()), bits]),
        Mem::BF16 => random.pick(&[u64::from(half::bf16::from_f64(float).to_bits()), bits]),
        Mem::F32 => random.pick(&[u64::from((float as f32).to_bits()), bits]),
        Mem::F64 => random.pick(&[float.to_bits(), bits]),
        _ => random.pick(&[int, bits]),
    }
}
