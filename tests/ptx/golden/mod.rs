//! Small kernels whose results on hardware are kept, so that the interpreter is compared with what it stands for.
//!
//! The table of cases is [`cases`]: the recorder (`examples/record_goldens.rs`) runs it on a GPU, `tests/goldens.rs` on the interpreter.
#![allow(dead_code, reason = "the recorder and the test use their part of it")]

mod atomics;
mod conversions;
mod copies;
pub mod file;
mod floats;
mod integers;
mod lane;
mod operands;
mod tensor;
pub mod values;
mod warp;
mod warpgroup;

/// A launch of the kernel `k` of `text`, with 64-bit pointers and tensor maps as its parameters.
pub struct Case {
    pub name: String,
    pub text: String,
    pub kernel: &'static str,
    pub blocks: u32,
    pub threads: u32,
    pub parameters: Vec<Parameter>,
    /// What lies in the results, one stretch after another.
    pub stretches: Vec<Stretch>,
}

/// A parameter of a kernel.
pub enum Parameter {
    /// The address of memory that holds these bytes at first.
    Data { bytes: Vec<u8>, result: bool },
    /// A number of 64 bits.
    Number(u64),
    /// A tensor map over the memory of another parameter.
    Map(Map),
}

impl Parameter {
    pub fn input(bytes: Vec<u8>) -> Parameter {
        Parameter::Data { bytes, result: false }
    }

    /// Results, whose bytes are 0xee before.
    pub fn output(bytes: usize) -> Parameter {
        Parameter::Data { bytes: vec![0xee; bytes], result: true }
    }
}

/// A tiled tensor, innermost dimension first.
#[derive(Clone)]
pub struct Map {
    /// Which parameter holds it.
    pub of: usize,
    pub element_bytes: u64,
    pub dims: Vec<u64>,
    /// Bytes, of all dimensions but the innermost.
    pub strides: Vec<u64>,
    pub box_dims: Vec<u64>,
    /// Bytes of a swizzled row, or 0.
    pub swizzle: u64,
}

/// A part of the results that has one meaning.
#[derive(Clone)]
pub struct Stretch {
    /// What made it, for messages.
    pub label: String,
    /// Elements of `kind`.
    pub count: usize,
    pub kind: Kind,
    pub bound: Bound,
}

/// What an element is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Bits8,
    Bits16,
    Bits32,
    Bits64,
    F16,
    BF16,
    F32,
    F64,
}

impl Kind {
    pub fn bytes(self) -> usize {
        match self {
            Kind::Bits8 => 1,
            Kind::Bits16 | Kind::F16 | Kind::BF16 => 2,
            Kind::Bits32 | Kind::F32 => 4,
            Kind::Bits64 | Kind::F64 => 8,
        }
    }
}

/// How far the interpreter may be from hardware.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Bound {
    /// Not at all: every bit.
    Exact,
    /// By so much of the value, or by so much at all, whichever is more; one unit in the last place is always allowed, as the interpreter
    /// rounds the exact value. Infinities, NaN and zeros must be the same.
    Within { relative: f64, absolute: f64 },
    /// Of a sine or cosine: 2^-20.5 for operands within 2π of zero, 2^-14.7 within 100π.
    Circular,
}

impl Case {
    /// Bytes of the results.
    pub fn result_bytes(&self) -> usize {
        let of = |p: &Parameter| if let Parameter::Data { bytes, result: true, .. } = p { bytes.len() } else { 0 };
        self.parameters.iter().map(of).sum()
    }
}

/// All cases, in the order in which they are recorded.
pub fn cases() -> Vec<Case> {
    let all: Vec<Case> = [
        floats::cases(),
        integers::cases(),
        conversions::cases(),
        atomics::cases(),
        warp::cases(),
        copies::cases(),
        tensor::cases(),
        warpgroup::cases(),
    ]
    .into_iter()
    .flatten()
    .collect();
    for case in &all {
        let described: usize = case.stretches.iter().map(|s| s.count * s.kind.bytes()).sum();
        assert_eq!(described, case.result_bytes(), "{}: the stretches do not cover the results", case.name);
    }
    all
}
