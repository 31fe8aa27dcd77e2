//! Which CPU code is made for: its architecture and the instruction sets it may use.

use super::clif;
use super::x86::WideVectors;
use crate::lower::VectorIsa;
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{Configurable, Flags};
use kiln_ir::Diagnostic;
use kiln_ir::diagnostic::nearest;
use target_lexicon::{Architecture, Triple};

/// Instruction sets of x86-64 that change our code: Rust's name, Cranelift's setting where it has one, and the lowest
/// level of the x86-64 psABI that includes it.
const X86_FEATURES: [(&str, Option<&str>, u32); 16] = [
    ("sse3", Some("has_sse3"), 2),
    ("ssse3", Some("has_ssse3"), 2),
    ("sse4.1", Some("has_sse41"), 2),
    ("sse4.2", Some("has_sse42"), 2),
    ("popcnt", Some("has_popcnt"), 2),
    ("avx", Some("has_avx"), 3),
    ("avx2", Some("has_avx2"), 3),
    ("fma", Some("has_fma"), 3),
    ("f16c", None, 3),
    ("bmi1", Some("has_bmi1"), 3),
    ("bmi2", Some("has_bmi2"), 3),
    ("lzcnt", Some("has_lzcnt"), 3),
    ("avx512f", None, 4),
    ("avx512bw", None, 4),
    ("avx512dq", None, 4),
    ("avx512vl", None, 4),
];

/// What `--cpu` names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CpuLevel {
    /// What the machine that compiles has.
    #[default]
    Native,
    /// What every CPU of the architecture has.
    Baseline,
    /// SSE4.2: most CPUs since 2009.
    X86V2,
    /// AVX2 and FMA: most CPUs since 2015.
    X86V3,
    /// AVX-512: servers since 2017, AMD since 2022.
    X86V4,
}

impl CpuLevel {
    /// Every level with its name.
    pub const NAMES: [(&str, CpuLevel); 5] = [
        ("native", CpuLevel::Native),
        ("baseline", CpuLevel::Baseline),
        ("x86-64-v2", CpuLevel::X86V2),
        ("x86-64-v3", CpuLevel::X86V3),
        ("x86-64-v4", CpuLevel::X86V4),
    ];
}

impl std::str::FromStr for CpuLevel {
    type Err = Diagnostic;

    fn from_str(name: &str) -> Result<CpuLevel, Diagnostic> {
        let names = CpuLevel::NAMES.map(|(name, _)| name);
        if let Some((_, level)) = CpuLevel::NAMES.into_iter().find(|(known, _)| *known == name) {
            return Ok(level);
        }
        let error = Diagnostic::new("cpu_name", format!("no CPU level `{name}`; there are {}", names.join(", ")));
        Err(match nearest(name, names) {
            Some(close) => error.help(format!("write `--cpu {close}`")),
            None => error,
        })
    }
}

/// Whether Cranelift's mid-end runs over a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Optimise {
    /// Straight to register allocation: unrolled tiles.
    No,
    /// The e-graph pass first: everything else.
    Yes,
}

/// Where code will lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// In this process, once.
    Memory,
    /// In an object file that may become part of a shared library.
    Object,
}

/// An architecture with the instruction sets that code may use.
#[derive(Clone, PartialEq, Debug)]
pub struct CpuTarget {
    triple: Triple,
    /// Rust's names of features beyond the architecture's baseline.
    features: Vec<&'static str>,
    /// See [`VectorIsa::asks_first_level`].
    asks_first_level: bool,
}

impl CpuTarget {
    /// This machine's architecture at that level.
    ///
    /// Errors: `cpu_level` when the level belongs to another architecture.
    pub fn host(level: CpuLevel) -> Result<CpuTarget, Diagnostic> {
        let triple = Triple::host();
        let features = match (triple.architecture, level) {
            (Architecture::X86_64, CpuLevel::Native) => x86_features(|name, _| has(name)),
            (Architecture::X86_64, CpuLevel::X86V2) => x86_features(|_, level| level <= 2),
            (Architecture::X86_64, CpuLevel::X86V3) => x86_features(|_, level| level <= 3),
            (Architecture::X86_64, CpuLevel::X86V4) => x86_features(|_, level| level <= 4),
            (_, CpuLevel::Native | CpuLevel::Baseline) => Vec::new(),
            (architecture, CpuLevel::X86V2 | CpuLevel::X86V3 | CpuLevel::X86V4) => {
                let message = format!("this machine is {architecture}, which has no x86-64 levels");
                return Err(Diagnostic::new("cpu_level", message).help("write `--cpu native` or `--cpu baseline`"));
            }
        };
        Ok(CpuTarget { triple, features, asks_first_level: level == CpuLevel::Native && is_amd() })
    }

    /// Its triple.
    pub fn triple(&self) -> &Triple {
        &self.triple
    }

    /// Features that code needs, in Rust's spelling.
    pub fn features(&self) -> &[&'static str] {
        &self.features
    }

    /// Whether this process can run the code.
    pub fn runs_here(&self) -> bool {
        self.triple.architecture == Triple::host().architecture && self.features.iter().all(|name| has(name))
    }

    /// The same architecture without features beyond its baseline.
    pub fn baseline(&self) -> CpuTarget {
        CpuTarget { triple: self.triple.clone(), features: Vec::new(), asks_first_level: false }
    }

    /// The baseline of any architecture that Cranelift knows, to look at its code.
    pub fn of_triple(triple: Triple) -> CpuTarget {
        CpuTarget { triple, features: Vec::new(), asks_first_level: false }
    }

    /// The widest vectors that code may use beyond Cranelift's 128 bits.
    pub fn wide_vectors(&self) -> Option<WideVectors> {
        let has_all = |vectors: &WideVectors| vectors.features().iter().all(|name| self.features.contains(name));
        [WideVectors::Avx512, WideVectors::Avx2].into_iter().find(has_all)
    }

    /// The vector unit that kernels are written for.
    pub fn vector_isa(&self) -> VectorIsa {
        let vectors = match (self.triple.architecture, self.wide_vectors()) {
            (_, Some(WideVectors::Avx512)) => VectorIsa::AVX512,
            (_, Some(WideVectors::Avx2)) => VectorIsa::AVX2,
            (Architecture::Aarch64(_), None) => VectorIsa { registers: 32, ..VectorIsa::V128 },
            (_, None) => VectorIsa::V128,
        };
        VectorIsa { asks_first_level: self.asks_first_level, ..vectors }
    }

    /// Cranelift's view of it. Panics when Cranelift lacks the architecture, which the workspace's features rule out.
    pub fn isa(&self, optimise: Optimise, placement: Placement) -> OwnedTargetIsa {
        let bug = |what: &dyn std::fmt::Debug| -> ! { panic!("target: Cranelift refuses {}: {what:?}", self.triple) };
        let mut flags = clif::settings(match optimise {
            Optimise::No => "none",
            Optimise::Yes => "speed",
        });
        let is_pic = if placement == Placement::Object { "true" } else { "false" };
        for (name, value) in [("is_pic", is_pic), ("use_colocated_libcalls", "false")] {
            flags.set(name, value).unwrap_or_else(|error| bug(&error));
        }
        let mut builder = isa::lookup(self.triple.clone()).unwrap_or_else(|error| bug(&error));
        for (name, setting, _) in X86_FEATURES {
            if let Some(setting) = setting.filter(|_| self.features.contains(&name)) {
                builder.enable(setting).unwrap_or_else(|error| bug(&error));
            }
        }
        builder.finish(Flags::new(flags)).unwrap_or_else(|error| bug(&error))
    }
}

fn x86_features(wanted: impl Fn(&str, u32) -> bool) -> Vec<&'static str> {
    X86_FEATURES.into_iter().filter(|(name, _, level)| wanted(name, *level)).map(|(name, _, _)| name).collect()
}

fn has(feature: &str) -> bool {
    kiln_runtime::cpu::missing_features(&[feature.to_owned()]).is_empty()
}

/// Whether this CPU is one of AMD's: what `cpuid` answers to 0 (AMD64 Architecture Programmer's Manual, volume 3, appendix E.3.1).
#[cfg(target_arch = "x86_64")]
fn is_amd() -> bool {
    let name = std::arch::x86_64::__cpuid(0);
    [name.ebx, name.edx, name.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_amd() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_does_not_exist_is_refused_with_the_nearest() {
        let error = "x86-64-v5".parse::<CpuLevel>().expect_err("refused");
        insta::assert_snapshot!(error, @"
        error[cpu_name]: no CPU level `x86-64-v5`; there are native, baseline, x86-64-v2, x86-64-v3, x86-64-v4
          help: write `--cpu x86-64-v2`
        ");
    }

    #[test]
    fn native_code_runs_here_and_every_level_has_an_isa() {
        assert!(CpuTarget::host(CpuLevel::Native).expect("any machine").runs_here());
        for (_, level) in CpuLevel::NAMES {
            if let Ok(target) = CpuTarget::host(level) {
                target.isa(Optimise::Yes, Placement::Memory);
                target.isa(Optimise::No, Placement::Object);
            }
        }
    }
}
