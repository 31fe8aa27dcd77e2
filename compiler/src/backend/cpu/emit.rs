//! Puts the functions of a planned program into a Cranelift module, in memory or in an object alike.
//!
//! Functions are declared and defined in the order of the plan, whatever thread compiled them, so equal programs give equal bytes.

use super::clif;
use super::entry::{self, Exports, WeightsSource};
use super::target::{CpuTarget, Optimise, Placement};
use super::x86::{self, WideVectors};
use crate::artifact::names::SymbolNames;
use crate::parallel::map_in_parallel;
use crate::schedule::launches::{EntryPlan, LaunchStep};
use crate::schedule::plan::{KernelFunction, PreparePlan, ProgramPlan};
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::Function;
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_module::{FuncId, Linkage, Module};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use target_lexicon::Architecture;

/// Cranelift's view of a target, per optimisation.
pub struct Isas {
    none: OwnedTargetIsa,
    speed: OwnedTargetIsa,
    baseline: OwnedTargetIsa,
    wide: Option<WideVectors>,
}

impl Isas {
    /// All views.
    pub fn new(target: &CpuTarget, placement: Placement) -> Isas {
        Isas {
            none: target.isa(Optimise::No, placement),
            speed: target.isa(Optimise::Yes, placement),
            baseline: target.baseline().isa(Optimise::Yes, placement),
            wide: target.wide_vectors(),
        }
    }

    /// The view for entry functions and whole modules: entry functions must be able to answer that the CPU lacks something.
    pub fn baseline(&self) -> &OwnedTargetIsa {
        &self.baseline
    }

    fn of(&self, function: &KernelFunction) -> &dyn TargetIsa {
        if function.optimise { &*self.speed } else { &*self.none }
    }

    /// A kernel's code: with wide vectors where the target has them and they cover the kernel, else Cranelift's.
    fn compile(&self, function: &KernelFunction) -> clif::Code {
        self.wide_code(function).unwrap_or_else(|| clif::compile(&function.program, self.of(function)))
    }

    fn wide_code(&self, function: &KernelFunction) -> Option<clif::Code> {
        self.wide.and_then(|vectors| x86::compile(&function.program, vectors))
    }
}

/// Emits `m_predict` and its companions with the kernels they run.
///
/// `observer` is told of each kernel that ran; `checked_features` are what `m_arena_bytes` asks the CPU for.
pub fn emit_main<M: Module>(
    module: &mut M,
    model: &str,
    plan: &ProgramPlan,
    isas: &Isas,
    weights: WeightsSource,
    observer: Option<FuncId>,
    checked_features: &[&str],
) -> Exports {
    let kernels = define_kernels(module, plan, &plan.main, isas);
    entry::emit_predict(module, model, &plan.program, &plan.main, &kernels, weights, observer, checked_features)
}

/// Emits `m_prepare` with the kernels it runs.
pub fn emit_prepare<M: Module>(module: &mut M, model: &str, plan: &ProgramPlan, prepare: &PreparePlan, isas: &Isas) -> FuncId {
    let kernels = define_kernels(module, plan, &prepare.entry, isas);
    entry::emit_prepare(module, model, &plan.program, &prepare.entry, &kernels)
}

/// Compiles the kernels that an entry runs; their functions by number in the plan.
fn define_kernels<M: Module>(module: &mut M, plan: &ProgramPlan, entry: &EntryPlan, isas: &Isas) -> BTreeMap<usize, FuncId> {
    let numbers: Vec<usize> = used_by(entry).into_iter().collect();
    let code = map_in_parallel(&numbers, |number| isas.compile(&plan.functions[*number]));
    let mut names = SymbolNames::default();
    let mut ids = BTreeMap::new();
    for (number, code) in numbers.into_iter().zip(code) {
        let function = &plan.functions[number];
        let signature = clif::signature(function.program.params.len(), isas.of(function));
        let name = format!("layer.{}", names.unique(&function.name));
        let id = module.declare_function(&name, Linkage::Local, &signature).unwrap_or_else(|error| panic!("emit: {name}: {error}"));
        if let Err(error) = module.define_function_bytes(id, u64::from(code.align_bytes), &code.bytes, &[]) {
            panic!("emit: {name}: {error}");
        }
        ids.insert(number, id);
    }
    ids
}

/// Numbers of the kernel functions that an entry runs.
fn used_by(entry: &EntryPlan) -> BTreeSet<usize> {
    fn visit(steps: &[LaunchStep], found: &mut BTreeSet<usize>) {
        for step in steps {
            match step {
                LaunchStep::Run(launch) => {
                    found.insert(launch.function);
                }
                LaunchStep::Loop { body, .. } => visit(body, found),
            }
        }
    }
    let mut found = BTreeSet::new();
    visit(&entry.steps, &mut found);
    found
}

/// Which text of the kernels is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listing {
    /// Cranelift's intermediate form.
    Clif,
    /// Machine instructions.
    Assembly,
}

/// The kernels of the main steps as text.
pub fn listing(plan: &ProgramPlan, isas: &Isas, listing: Listing) -> String {
    let numbers: Vec<usize> = used_by(&plan.main).into_iter().collect();
    let texts = map_in_parallel(&numbers, |number| {
        let function = &plan.functions[*number];
        let isa = isas.of(function);
        match listing {
            Listing::Clif if isas.wide_code(function).is_some() => {
                format!(
                    "; compiled with wide vectors instead: `--emit asm` shows the code\n{}",
                    clif::lower(&function.program, isa).display()
                )
            }
            Listing::Clif => clif::lower(&function.program, isa).display().to_string(),
            Listing::Assembly => match isa.triple().architecture {
                Architecture::X86_64 => x86::disassembled(&isas.compile(function).bytes),
                _ => vcode(clif::lower(&function.program, isa), isa),
            },
        }
    });
    let mut out = String::new();
    for (number, text) in numbers.into_iter().zip(texts) {
        writeln!(out, "; {}\n{text}", plan.functions[number].name).expect("a string takes anything");
    }
    out
}

/// Instructions as Cranelift names them, where nothing here can read machine code.
fn vcode(function: Function, isa: &dyn TargetIsa) -> String {
    let mut context = Context::for_function(function);
    context.set_disasm(true);
    let compiled = context.compile(isa, &mut ControlPlane::default()).unwrap_or_else(|error| panic!("emit: {:?}", error.inner));
    compiled.vcode.clone().unwrap_or_default()
}
