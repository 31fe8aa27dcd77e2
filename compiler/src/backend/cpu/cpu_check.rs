//! Code that asks an x86-64 CPU whether it has what other code needs.
//!
//! Cranelift has no `cpuid`, so these few instructions are written out. They touch nothing but registers.
//! Source: Intel SDM volume 2A, CPUID; volume 1, 14.3 (detecting AVX asks the system too, through `xgetbv`).

use kiln_ir::artifact::Status;

/// Which bits must be set in what `cpuid` answers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Needed {
    /// Leaf 1, ecx.
    leaf1_ecx: u32,
    /// Leaf 7, ebx.
    leaf7_ebx: u32,
    /// Leaf 8000_0001h, ecx.
    extended_ecx: u32,
    /// Registers that the system must save, as `xgetbv` reports them.
    saved: u32,
}

/// The bit of leaf 1 that says that the system saves vector registers.
const OSXSAVE: u32 = 1 << 27;
/// What `xgetbv` says of 256-bit vectors, and of 512-bit ones with their opmasks.
const SAVES_AVX: u32 = 0x06;
const SAVES_AVX512: u32 = 0xe6;

impl Needed {
    /// Panics for a feature without a row: `target.rs` and this table list the same ones.
    fn of(features: &[&str]) -> Needed {
        let mut needed = Needed::default();
        for feature in features {
            match *feature {
                "sse3" => needed.leaf1_ecx |= 1,
                "ssse3" => needed.leaf1_ecx |= 1 << 9,
                "fma" => needed.leaf1_ecx |= 1 << 12,
                "sse4.1" => needed.leaf1_ecx |= 1 << 19,
                "sse4.2" => needed.leaf1_ecx |= 1 << 20,
                "popcnt" => needed.leaf1_ecx |= 1 << 23,
                "avx" => {
                    needed.leaf1_ecx |= 1 << 28 | OSXSAVE;
                    needed.saved |= SAVES_AVX;
                }
                "f16c" => needed.leaf1_ecx |= 1 << 29,
                "bmi1" => needed.leaf7_ebx |= 1 << 3,
                "avx2" => needed.leaf7_ebx |= 1 << 5,
                "bmi2" => needed.leaf7_ebx |= 1 << 8,
                "avx512f" => {
                    needed.leaf7_ebx |= 1 << 16;
                    needed.leaf1_ecx |= OSXSAVE;
                    needed.saved |= SAVES_AVX512;
                }
                "avx512dq" => needed.leaf7_ebx |= 1 << 17,
                "avx512bw" => needed.leaf7_ebx |= 1 << 30,
                "avx512vl" => needed.leaf7_ebx |= 1 << 31,
                "lzcnt" => needed.extended_ecx |= 1 << 5,
                other => panic!("cpu check: no cpuid bit for {other}"),
            }
        }
        needed
    }
}

/// A function `int32_t check(void)`: 0, or [`Status::Cpu`] where one of these features is missing.
pub fn check_code(features: &[&str]) -> Vec<u8> {
    code_for(Needed::of(features))
}

fn code_for(needed: Needed) -> Vec<u8> {
    let mut code = Assembler::default();
    code.bytes.push(0x53); // push rbx
    code.cpuid(1);
    code.require_ecx(needed.leaf1_ecx);
    if needed.saved != 0 {
        code.bytes.extend([0x31, 0xc9, 0x0f, 0x01, 0xd0]); // xor ecx, ecx; xgetbv
        code.bytes.push(0x25); // and eax, …
        code.word(needed.saved);
        code.bytes.push(0x3d); // cmp eax, …
        code.word(needed.saved);
        code.jump_to_failure(0x85); // jne
    }
    if needed.leaf7_ebx != 0 {
        code.cpuid(0);
        code.bytes.extend([0x83, 0xf8, 0x07]); // cmp eax, 7
        code.jump_to_failure(0x82); // jb
        code.cpuid(7);
        code.bytes.extend([0x81, 0xe3]); // and ebx, …
        code.word(needed.leaf7_ebx);
        code.bytes.extend([0x81, 0xfb]); // cmp ebx, …
        code.word(needed.leaf7_ebx);
        code.jump_to_failure(0x85); // jne
    }
    if needed.extended_ecx != 0 {
        code.cpuid(0x8000_0001);
        code.require_ecx(needed.extended_ecx);
    }
    code.bytes.extend([0x31, 0xc0, 0x5b, 0xc3]); // xor eax, eax; pop rbx; ret
    code.finish()
}

#[derive(Default)]
struct Assembler {
    bytes: Vec<u8>,
    /// Where the distances of jumps to the failure stand.
    jumps: Vec<usize>,
}

impl Assembler {
    fn word(&mut self, value: u32) {
        self.bytes.extend(value.to_le_bytes());
    }

    fn cpuid(&mut self, leaf: u32) {
        self.bytes.push(0xb8); // mov eax, …
        self.word(leaf);
        self.bytes.extend([0x31, 0xc9, 0x0f, 0xa2]); // xor ecx, ecx; cpuid
    }

    fn require_ecx(&mut self, bits: u32) {
        self.bytes.extend([0x81, 0xe1]); // and ecx, …
        self.word(bits);
        self.bytes.extend([0x81, 0xf9]); // cmp ecx, …
        self.word(bits);
        self.jump_to_failure(0x85); // jne
    }

    fn jump_to_failure(&mut self, condition: u8) {
        self.bytes.extend([0x0f, condition]);
        self.jumps.push(self.bytes.len());
        self.word(0);
    }

    /// Adds the failure's code and points the jumps at it.
    fn finish(mut self) -> Vec<u8> {
        let failure = self.bytes.len();
        self.bytes.push(0xb8); // mov eax, …
        self.word(Status::Cpu.code() as u32);
        self.bytes.extend([0x5b, 0xc3]); // pop rbx; ret
        for at in self.jumps {
            let distance = (failure - (at + 4)) as u32;
            self.bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        self.bytes
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::backend::cpu::emit::Isas;
    use crate::backend::cpu::loaded::LoadedCode;
    use crate::backend::cpu::target::{CpuLevel, CpuTarget, Placement};
    use cranelift_module::{Linkage, Module as _};

    fn answer(code: &[u8]) -> i32 {
        let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
        let mut module = LoadedCode::module(&Isas::new(&target, Placement::Memory), None, None).expect("memory");
        let signature = module.make_signature();
        let id = module.declare_function("check", Linkage::Local, &signature).expect("declared");
        module.define_function_bytes(id, 16, code, &[]).expect("defined");
        let loaded = LoadedCode::load(module).expect("memory");
        // SAFETY: the function takes nothing, answers an i32 and keeps all registers that the C convention wants kept.
        unsafe { std::mem::transmute::<*const u8, extern "C" fn() -> i32>(loaded.address(id))() }
    }

    #[test]
    fn says_what_detection_says() {
        let native = CpuTarget::host(CpuLevel::Native).expect("this machine");
        assert_eq!(answer(&check_code(native.features())), 0);
        for feature in CpuTarget::host(CpuLevel::X86V3).expect("x86-64").features() {
            let expected = if native.features().contains(feature) { 0 } else { Status::Cpu.code() };
            assert_eq!(answer(&check_code(&[feature])), expected, "{feature}");
        }
    }

    #[test]
    fn a_missing_bit_is_found_in_every_leaf() {
        // Reserved bits, zero on every CPU.
        assert_eq!(answer(&code_for(Needed { leaf1_ecx: 1 << 16, ..Needed::default() })), Status::Cpu.code());
        assert_eq!(answer(&code_for(Needed { extended_ecx: 1 << 31, ..Needed::default() })), Status::Cpu.code());
    }
}
