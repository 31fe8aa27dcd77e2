//! The PTX backend: kernels become functions for NVIDIA GPUs, as text.
//!
//! Kernels are lowered as for the CPU, to tile programs: either a task is one element or one row, and a thread computes it, or the threads
//! of a block compute it together. So sums have the same canonical order, mathematical functions are the same steps, and results the
//! same bits. A tile program then becomes PTX ([`tile`], [`select`]), and a module of all functions a text ([`module`]).
//!
//! No GPU is needed for any of it.

pub mod assemble;
mod block;
pub mod costs;
pub mod cubins;
pub mod cuda;
pub mod device;
mod divide;
mod facts;
pub mod function;
pub mod generation;
pub mod image;
pub mod inst;
mod memory;
pub mod pipeline;
pub mod roofline;
pub mod run;
mod select;
mod text;
pub mod tile;

use crate::lower::Arg;
use crate::schedule::launches::LaunchStep;
use crate::schedule::plan::{KernelFunction, ProgramPlan};
use crate::tile::TileProgram;
use crate::tile::expand::expand;
use function::Function;
use generation::Generation;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Threads of a block, where each computes tasks of its own.
pub const BLOCK_THREADS: u32 = 128;

/// A module of all kernels that a program runs.
#[derive(Clone, PartialEq, Debug)]
pub struct Module {
    /// The text.
    pub text: String,
    /// What it is for.
    pub generation: Generation,
    /// The entry of each function of the plan that is run.
    pub entries: BTreeMap<usize, String>,
    /// Bytes of shared memory that blocks of an entry are launched with, where it does not say them itself.
    pub shared_bytes: BTreeMap<String, u32>,
}

/// A model for NVIDIA GPUs.
pub struct Compiled {
    /// What runs, in which order, in which memory.
    pub plan: ProgramPlan,
    /// The kernels.
    pub kernels: Module,
    /// The module after all passes: what its function takes, and values of parameters.
    pub module: kiln_ir::Module,
}

/// The PTX of a planned program, which was lowered for [`VectorIsa::THREAD`](crate::lower::VectorIsa::THREAD).
///
/// An entry takes what [`Launch::args`](crate::schedule::launches::Launch::args) says, 64 bits each but for tensor maps, then the number of tasks; blocks have as
/// many threads as [`Launch::block_threads`](crate::schedule::launches::Launch::block_threads) says, or up to [`BLOCK_THREADS`], along x, and any
/// number of blocks computes all tasks.
pub fn module(plan: &ProgramPlan, generation: Generation) -> Module {
    let mut arguments = BTreeMap::new();
    let entries = plan.prepare.iter().map(|prepare| &prepare.entry).chain([&plan.main]);
    entries.for_each(|entry| find_arguments(&entry.steps, &mut arguments));
    let mut kernels = String::new();
    let mut names = crate::artifact::names::SymbolNames::default();
    let (mut entries, mut shared_bytes) = (BTreeMap::new(), BTreeMap::new());
    for (number, arguments) in arguments {
        let function = &plan.functions[number];
        let program = expand(&function.program, &select::Ptx);
        let name = identifier(&names.unique(&function.name));
        write_kernel(&mut kernels, &name, function, &program, arguments, generation.begins_early());
        let bytes = tile::shared_at_launch(&program);
        if bytes > 0 {
            shared_bytes.insert(name.clone(), bytes);
        }
        entries.insert(number, name);
    }
    let mut text = head(generation);
    if !shared_bytes.is_empty() {
        writeln!(text, "\n.extern .shared .align {SHARED_ALIGNMENT} .b8 {}0[];", tile::SHARED_AT_LAUNCH).expect("a string takes anything");
    }
    text.push_str(&kernels);
    Module { text, generation, entries, shared_bytes }
}

/// The alignment of shared memory whose size is said at launch: eight swizzled lines of 128 bytes.
const SHARED_ALIGNMENT: u32 = 1024;

/// Bytes of a tensor map, which is a parameter by value.
const TENSOR_MAP_BYTES: u32 = 128;

/// The version of the language, major and minor: what is used needs no newer one.
pub const LANGUAGE: (u32, u32) = (7, 8);

/// How the text of a module begins.
fn head(generation: Generation) -> String {
    let (major, minor) = generation.version();
    format!("// Made by Kiln.\n.version {major}.{minor}\n.target {generation}\n.address_size 64\n")
}

/// What each function that is run takes. A function that several kernels share takes other buffers of each, and the rest alike.
fn find_arguments<'a>(steps: &'a [LaunchStep], found: &mut BTreeMap<usize, &'a [Arg]>) {
    for step in steps {
        match step {
            LaunchStep::Run(launch) => {
                found.entry(launch.function).or_insert(&launch.args);
            }
            LaunchStep::Loop { body, .. } => find_arguments(body, found),
        }
    }
}

/// A name that PTX takes.
fn identifier(name: &str) -> String {
    // The dot before the number of one of several equal names: as an underscore it could make the name of another.
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c
            } else if c == '.' {
                '$'
            } else {
                '_'
            }
        })
        .collect();
    format!("k_{plain}")
}

fn write_kernel(text: &mut String, name: &str, kernel: &KernelFunction, program: &TileProgram, arguments: &[Arg], begins_early: bool) {
    let function = tile::kernel(program, arguments, kernel.block_threads.is_some(), begins_early);
    let line = |text: &mut String, line: std::fmt::Arguments<'_>| text.write_fmt(line).expect("a string takes anything");
    line(text, format_args!("\n// {}\n.visible .entry {name}(\n", kernel.name.escape_debug()));
    for (at, argument) in arguments.iter().enumerate() {
        let name = tile::PARAMETER;
        match argument {
            Arg::TensorMap(_) => line(text, format_args!("    .param .align 64 .b8 {name}{at}[{TENSOR_MAP_BYTES}],\n")),
            _ => line(text, format_args!("    .param .u64 {name}{at},\n")),
        }
    }
    line(text, format_args!("    .param .u64 {}\n)\n.maxntid {}\n", tile::TASKS, kernel.block_threads.unwrap_or(BLOCK_THREADS)));
    if kernel.block_threads.is_some() {
        // Else `ptxas` makes room for more blocks beside each other than pays, and spills a register or two for it.
        line(text, format_args!(".minnctapersm {}\n", program.blocks_beside));
    }
    if program.cluster > 1 {
        line(text, format_args!(".explicitcluster\n.reqnctapercluster {}\n", program.cluster));
    }
    text.push_str("{\n");
    for (class, count) in function.registers() {
        line(text, format_args!("    .reg {} {}<{count}>;\n", class.ty(), class.prefix()));
    }
    for (piece, scratch) in program.scratch.iter().enumerate() {
        let (align, size) = (scratch.align_bytes.min(16), scratch.size_bytes);
        line(text, format_args!("    .local .align {align} .b8 {}{piece}[{size}];\n", tile::SCRATCH));
    }
    let pieces = if tile::shared_at_launch(program) > 0 { &[] } else { &program.shared[..] };
    for (piece, shared) in pieces.iter().enumerate() {
        let (align, size) = (shared.align_bytes, shared.size_bytes);
        line(text, format_args!("    .shared .align {align} .b8 {}{piece}[{size}];\n", tile::SHARED));
    }
    write_body(text, &function);
    text.push_str("}\n");
}

fn write_body(text: &mut String, function: &Function) {
    for inst in function.insts() {
        let indent = if matches!(inst, inst::Inst::Label(_)) { "" } else { "    " };
        writeln!(text, "{indent}{inst}").expect("a string takes anything");
    }
}
