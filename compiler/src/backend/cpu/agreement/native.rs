//! Machine code in executable memory, and the ISA levels to make it for.

use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{Configurable, Flags};
use memmap2::{Mmap, MmapMut};

/// Code that can be called.
pub(crate) struct Native(Mmap);

impl Native {
    pub(crate) fn new(bytes: &[u8]) -> Native {
        let mut map = MmapMut::map_anon(bytes.len()).expect("anonymous memory");
        map.copy_from_slice(bytes);
        Native(map.make_exec().expect("executable memory"))
    }

    /// Calls the code with two or four parameters, which it must have.
    pub(crate) fn call(&self, params: &[i64]) {
        let start = self.0.as_ptr();
        match *params {
            [a, b] => {
                // SAFETY: the tests pass code that clif::compile made from a program of two parameters.
                let f: extern "C" fn(i64, i64) = unsafe { std::mem::transmute(start) };
                f(a, b);
            }
            [a, b, c, d] => {
                // SAFETY: as above, with four parameters.
                let f: extern "C" fn(i64, i64, i64, i64) = unsafe { std::mem::transmute(start) };
                f(a, b, c, d);
            }
            _ => panic!("two or four parameters"),
        }
    }
}

/// A level of instructions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Level {
    Sse2,
    Sse42,
    Avx2,
    Aarch64,
}

impl Level {
    pub(crate) fn all() -> [Level; 4] {
        [Level::Sse2, Level::Sse42, Level::Avx2, Level::Aarch64]
    }

    pub(crate) fn isa(self, opt_level: &str) -> OwnedTargetIsa {
        let sse42 = ["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"];
        let avx2 = ["has_avx", "has_avx2", "has_fma", "has_bmi1", "has_bmi2", "has_lzcnt"];
        let (triple, features) = match self {
            Level::Sse2 => ("x86_64-unknown-linux-gnu", vec![]),
            Level::Sse42 => ("x86_64-unknown-linux-gnu", sse42.to_vec()),
            Level::Avx2 => ("x86_64-unknown-linux-gnu", [&sse42[..], &avx2].concat()),
            Level::Aarch64 => ("aarch64-unknown-linux-gnu", vec![]),
        };
        let mut builder = isa::lookup_by_name(triple).expect("a supported target");
        for feature in features {
            builder.enable(feature).expect("a known feature");
        }
        builder.finish(Flags::new(super::clif::settings(opt_level))).expect("consistent settings")
    }

    pub(crate) fn is_fma_fused(self) -> bool {
        super::clif::is_fma_fused(&*self.isa("none"))
    }

    /// Whether this machine can run the code.
    pub(crate) fn runs_here(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return match self {
            Level::Sse2 => true,
            Level::Sse42 => is_x86_feature_detected!("sse4.2"),
            Level::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Level::Aarch64 => false,
        };
        #[cfg(not(target_arch = "x86_64"))]
        return self == Level::Aarch64 && cfg!(target_arch = "aarch64");
    }
}
