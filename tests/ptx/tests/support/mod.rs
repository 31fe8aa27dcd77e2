//! What the tests share: modules from text, arrays on the device, numbers without a library.
#![allow(dead_code, reason = "every test uses its part of it")]

use kiln_ptx::{Argument, Device, Fault, FaultKind, Module, ParseError};

/// The head of a portable module.
pub const PORTABLE: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";
/// The head of a module for Hopper.
pub const HOPPER: &str = ".version 8.0\n.target sm_90a\n.address_size 64\n";

/// Parses `text`. With KILN_PTX_DUMP set, the text is also written to that folder as `name.ptx`, for an assembler to check.
pub fn module(name: &str, text: &str) -> Module {
    dump(name, text);
    Module::parse(text).unwrap_or_else(|e| panic!("{e}"))
}

pub fn dump(name: &str, text: &str) {
    if let Some(folder) = std::env::var_os("KILN_PTX_DUMP") {
        let path = std::path::Path::new(&folder).join(format!("{name}.ptx"));
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

/// The error of a text that must not parse.
pub fn refused(body: &str) -> ParseError {
    let text = format!("{PORTABLE}.visible .entry k(.param .u64 p) {{\n{REGISTERS}{body}\nret;\n}}");
    Module::parse(&text).err().unwrap_or_else(|| panic!("this was accepted:\n{body}"))
}

/// Registers that small kernels use.
pub const REGISTERS: &str =
    ".reg .pred %p<16>; .reg .b16 %h<16>; .reg .b32 %r<64>; .reg .b64 %rd<32>; .reg .f32 %f<64>; .reg .f64 %d<16>;\n";

pub trait Bytes {
    fn bytes(&self) -> Vec<u8>;
}

macro_rules! bytes {
    ($($t:ty),*) => { $(impl Bytes for [$t] { fn bytes(&self) -> Vec<u8> { self.iter().flat_map(|v| v.to_le_bytes()).collect() } })* };
}
bytes!(u8, u16, u32, u64, i32, f32, f64);

/// A new allocation that holds `values`.
pub fn upload<T>(device: &mut Device, values: &[T]) -> u64
where
    [T]: Bytes,
{
    let bytes = values.bytes();
    let address = device.alloc(bytes.len() as u64);
    device.write(address, &bytes).unwrap();
    address
}

pub fn read_u32(device: &mut Device, address: u64, n: usize) -> Vec<u32> {
    device.read(address, 4 * n as u64).unwrap().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
}

pub fn read_u64(device: &mut Device, address: u64, n: usize) -> Vec<u64> {
    device.read(address, 8 * n as u64).unwrap().chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect()
}

pub fn read_f32(device: &mut Device, address: u64, n: usize) -> Vec<f32> {
    read_u32(device, address, n).into_iter().map(f32::from_bits).collect()
}

/// Runs a kernel of one block of `threads` that writes `n` 32-bit words behind its only parameter.
pub fn words(name: &str, body: &str, threads: u32, n: usize, seed: u64) -> Result<Vec<u32>, Fault> {
    let text = format!(
        "{PORTABLE}.visible .entry k(.param .u64 out) {{\n{REGISTERS}ld.param.u64 %rd0, [out];\nmov.u32 %r0, %tid.x;\n{body}\nret;\n}}"
    );
    let module = module(name, &text);
    let mut device = Device::new();
    let out = device.alloc(4 * n as u64);
    device.write(out, &vec![0xee; 4 * n])?;
    device.set_step_limit(100_000);
    device.launch(&module, "k", [1, 1, 1], [threads, 1, 1], 0, &[Argument::U64(out)], seed)?;
    Ok(read_u32(&mut device, out, n))
}

/// Stores %r1 of every thread behind the parameter.
pub const STORE: &str = "mul.wide.u32 %rd30, %r0, 4; add.s64 %rd31, %rd0, %rd30; st.global.u32 [%rd31], %r1;";

/// The fault of a launch, which must be of `kind` and mention `words`.
pub fn expect_fault<T: std::fmt::Debug>(result: Result<T, Fault>, kind: FaultKind, words: &[&str]) -> Fault {
    let fault = result.expect_err("the fault was not caught");
    assert_eq!(fault.kind, kind, "{fault}");
    for word in words {
        assert!(fault.to_string().contains(word), "`{word}` is missing in: {fault}");
    }
    fault
}

/// Small numbers that every format holds exactly.
pub fn small(i: usize) -> f32 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (((mixed >> 29) ^ (mixed >> 47)) % 17) as f32 * 0.25 - 2.0
}

/// bf16 by truncation: exact for [`small`].
pub fn bf16(v: f32) -> u16 {
    (v.to_bits() >> 16) as u16
}

/// f16 of a small multiple of 1/4.
pub fn f16(v: f32) -> u16 {
    let bits = v.to_bits();
    if v == 0.0 {
        return (bits >> 16 & 0x8000) as u16;
    }
    let exponent = (bits >> 23 & 0xff) as i32 - 127 + 15;
    assert!((1..31).contains(&exponent) && bits & 0x1fff == 0, "{v} is not exact in f16");
    (bits >> 16 & 0x8000) as u16 | (exponent as u16) << 10 | (bits >> 13 & 0x3ff) as u16
}
