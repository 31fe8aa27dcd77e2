//! `kiln inspect`: what a model takes, gives, holds and costs.

use super::args::InspectArgs;
use super::bench::flops;
use super::engine::{compile_here, describe, threads};
use super::failure::Failure;
use super::model::{self, predict};
use kiln::kernel::Step;
use kiln_ir::artifact::{Extent, SymbolDecl, TensorDecl};
use kiln_ir::{Graph, NodeKind};
use kiln_runtime::program::inputs;
use kiln_runtime::program::options::Options;
use kiln_runtime::threads::ThreadPool;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;

/// What is known of a model. Everything is computed from its program; nothing is measured.
#[derive(Serialize)]
struct Answer {
    name: String,
    inputs: Vec<TensorDecl>,
    outputs: Vec<TensorDecl>,
    /// Sizes known only at run time.
    symbols: Vec<SymbolDecl>,
    guards: Vec<String>,
    /// Operators of the graph as imported, by name.
    ops: BTreeMap<&'static str, usize>,
    parameter_tensors: usize,
    /// Elements of all parameters.
    parameters: usize,
    parameter_bytes: usize,
    /// Floating-point operations of one run; an expression where sizes are open.
    flops: Option<Extent>,
    /// Sizes that the numbers below are for, in the order of `symbols`.
    sizes: Vec<i64>,
    flops_at_sizes: Option<i64>,
    /// Memory for intermediate values of one run.
    arena_bytes: i64,
    weight_bytes: u64,
    /// Arena, weights, inputs and outputs together.
    peak_bytes: u64,
    kernels: Vec<KernelInfo>,
}

/// One kernel of the compiled model.
#[derive(Serialize)]
struct KernelInfo {
    name: String,
    /// The nodes it computes.
    nodes: Vec<String>,
}

/// Runs the command.
pub fn inspect(args: &InspectArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let loaded = model::read(&args.model)?;
    let declared = describe(predict(&loaded.module)?, &loaded.facts);
    let parameters: Vec<_> = loaded.module.parameters.values().filter_map(|parameter| parameter.value.as_ref()).collect();
    let pool = ThreadPool::new(threads(None));
    let compiled = compile_here(&loaded, &args.rewrites.config())?;
    let predictor = compiled.predictor(&pool)?;
    let model = predictor.model();
    let signature = model.signature();
    let arrays = inputs::make_up(&Options::default(), signature)?;
    let session = model.session(&model.solve_symbols(&arrays)?, &pool)?;
    let bytes = |arrays: &[kiln_runtime::arrays::Array]| arrays.iter().map(|array| array.bytes().len() as u64).sum::<u64>();
    let mut kernels = Vec::new();
    list_kernels(&compiled.plan().program.steps, &mut kernels);
    let answer = Answer {
        name: signature.name.clone(),
        inputs: declared.inputs,
        outputs: declared.outputs,
        symbols: declared.symbols,
        guards: declared.guards,
        ops: histogram(predict(&loaded.module)?),
        parameter_tensors: parameters.len(),
        parameters: parameters.iter().map(|tensor| tensor.elements()).sum(),
        parameter_bytes: parameters.iter().map(|tensor| tensor.bytes().len()).sum(),
        flops: signature.flops.clone(),
        sizes: session.dims().to_vec(),
        flops_at_sizes: flops(signature, session.dims()),
        arena_bytes: session.arena_bytes(),
        weight_bytes: signature.weights.bytes,
        peak_bytes: session.arena_bytes().unsigned_abs() + signature.weights.bytes + bytes(&arrays) + bytes(session.outputs()),
        kernels,
    };
    if args.json {
        let text = serde_json::to_string(&answer).unwrap_or_else(|error| panic!("inspect report: {error}"));
        writeln!(out, "{text}")?;
    } else {
        write!(out, "{}", text(&answer))?;
    }
    Ok(())
}

fn histogram(graph: &Graph) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for id in graph.order() {
        if let NodeKind::Op(op) = &graph.node(id).kind {
            *counts.entry(op.name()).or_default() += 1;
        }
    }
    counts
}

fn list_kernels(steps: &[Step], found: &mut Vec<KernelInfo>) {
    for step in steps {
        match step {
            Step::Run(kernel) => {
                let nodes = kernel.origins.iter().map(|origin| origin.text.clone()).collect();
                found.push(KernelInfo { name: kernel.name.clone(), nodes });
            }
            Step::Loop { body, .. } => list_kernels(body, found),
        }
    }
}

fn text(answer: &Answer) -> String {
    let mut text = format!("{}\n", answer.name);
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            text += &format!("\n{title}\n");
            lines.iter().for_each(|line| text += &format!("  {line}\n"));
        }
    };
    section("inputs", answer.inputs.iter().map(ToString::to_string).collect());
    section("outputs", answer.outputs.iter().map(ToString::to_string).collect());
    let range = |symbol: &SymbolDecl| {
        let max = symbol.max.map_or_else(|| "…".to_string(), |max| max.to_string());
        format!("{}: {} to {max}", symbol.name, symbol.min)
    };
    section("sizes known at run time", answer.symbols.iter().map(range).collect());
    section("conditions on them", answer.guards.clone());
    section("operators", answer.ops.iter().map(|(name, count)| format!("{count:>6} {name}")).collect());
    let parameters = format!(
        "{} numbers in {} tensors, {}",
        grouped(answer.parameters as u64),
        answer.parameter_tensors,
        size(answer.parameter_bytes as u64)
    );
    section("parameters", vec![parameters]);
    let at = match answer.symbols.is_empty() {
        true => String::new(),
        false => {
            let sizes: Vec<String> = answer.symbols.iter().zip(&answer.sizes).map(|(s, n)| format!("{} = {n}", s.name)).collect();
            format!(" at {}", sizes.join(", "))
        }
    };
    let mut cost = Vec::new();
    if let Some(flops) = answer.flops_at_sizes {
        cost.push(format!("{} floating-point operations in contractions{at}", grouped(flops.unsigned_abs())));
    }
    if let Some(Extent::Expression(flops)) = &answer.flops {
        cost.push(format!("that is {flops}"));
    }
    cost.push(format!("arena {}{at}", size(answer.arena_bytes.unsigned_abs())));
    cost.push(format!("weights {}", size(answer.weight_bytes)));
    cost.push(format!("peak {}, with inputs and outputs", size(answer.peak_bytes)));
    section("one run", cost);
    let kernel = |kernel: &KernelInfo| match kernel.nodes.len() {
        0 => kernel.name.clone(),
        1..=4 => format!("{:<32} {}", kernel.name, kernel.nodes.join(", ")),
        more => format!("{:<32} {} and {} more", kernel.name, kernel.nodes[..3].join(", "), more - 3),
    };
    section(&format!("kernels ({})", answer.kernels.len()), answer.kernels.iter().map(kernel).collect());
    text
}

/// `1 234 567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1 234 bytes`, with the round number where that helps.
fn size(bytes: u64) -> String {
    let round = match bytes {
        0..10_000 => return format!("{} bytes", grouped(bytes)),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000_000.. => format!("{:.1} MB", bytes as f64 / 1e6),
    };
    format!("{} bytes ({round})", grouped(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(grouped(12), "12");
        assert_eq!(size(407_080), "407 080 bytes (407.1 kB)");
    }
}
