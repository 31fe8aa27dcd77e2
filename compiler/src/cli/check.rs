//! `kiln check`: compiled code against the reference interpreter or given outputs, down to the first node that differs.

use super::args::{Backend, CheckArgs};
use super::engine::{Engine, describe, threads};
use super::failure::Failure;
use super::model::{self, Loaded, predict};
use super::run::input_options;
use kiln::arrays::{to_array, to_tensor};
use kiln::bisect::{Culprit, Verdict, bisect_rules};
use kiln::compile::for_cpu;
use kiln::conformance::agreement::{Agreement, Tolerance, compare};
use kiln::pipeline::Config;
use kiln_ir::eval::{evaluate, evaluate_observed};
use kiln_ir::{Diagnostic, NodeKind, Tensor, Value};
use kiln_runtime::arrays::Array;
use kiln_runtime::files::file_error;
use kiln_runtime::npz::{Npz, write_npz};
use kiln_runtime::program::inputs;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// What is printed with `--json`.
#[derive(Serialize)]
struct Answer {
    agrees: bool,
    outputs: Vec<OutputReport>,
    /// Where compiled code first differs from the interpreter, if it does.
    first_difference: Option<NodeReport>,
    /// What `--bisect-rules` found.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<String>,
}

/// One output.
#[derive(Serialize)]
struct OutputReport {
    name: String,
    agrees: bool,
    #[serde(flatten)]
    agreement: Option<Agreement>,
    /// Why it could not be compared.
    mismatch: Option<String>,
}

/// A node whose value differs.
#[derive(Serialize)]
struct NodeReport {
    /// Its name among the dumped values.
    value: String,
    /// Where it came from in the model.
    node: String,
    difference: String,
}

/// How far apart values may be. Sums are rounded in proportion to what is summed, not to what is left of it.
fn tolerance(args: &CheckArgs, expected: &Tensor) -> Tolerance {
    let largest = || match expected.dtype().is_float() {
        true => expected.floats().into_iter().filter(|v| v.is_finite()).fold(0.0, |m: f64, v| m.max(v.abs())),
        false => 0.0,
    };
    Tolerance { relative: args.rtol, absolute: args.atol.unwrap_or_else(|| 1e-5_f64.max(1e-4 * largest())) }
}

/// Runs the command.
pub fn check(args: &CheckArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let options = input_options(&args.inputs);
    let loaded = model::read(&args.model)?;
    let graph = predict(&loaded.module)?;
    let signature = describe(graph, &loaded.facts);
    let arrays = if inputs::are_given(&options) { inputs::read(&options, &signature)? } else { inputs::make_up(&options, &signature)? };
    let given: Vec<Tensor> = arrays.iter().map(to_tensor).collect();
    let names: Vec<&str> = graph.outputs().iter().map(|(name, _)| name.as_str()).collect();
    let expected = match &args.expect {
        Some(path) => expected_outputs(path, &names)?,
        None => evaluate(&loaded.module, graph, &given)?,
    };
    let workers = threads(args.threads);
    let config = args.rewrites.config();
    let got = Engine::new(&loaded, args.backend, &config, workers)?.run(&given)?;

    let report = |((name, expected), got): ((&&str, &Tensor), &Tensor)| match compare(expected, got, tolerance(args, expected)) {
        Ok(agreement) => OutputReport { name: name.to_string(), agrees: agreement.holds(), agreement: Some(agreement), mismatch: None },
        Err(text) => OutputReport { name: name.to_string(), agrees: false, agreement: None, mismatch: Some(text) },
    };
    let outputs: Vec<OutputReport> = names.iter().zip(&expected).zip(&got).map(report).collect();
    let agrees = outputs.iter().all(|output| output.agrees);
    let first_difference = if agrees && args.dump_values.is_none() {
        None
    } else {
        let values = every_value(&loaded, &given, (args.backend, &config, workers))?;
        if let Some(directory) = &args.dump_values {
            dump(directory, &values)?;
        }
        if agrees { None } else { first_difference(&values, args) }
    };
    let rules = match args.bisect_rules {
        true => Some(bisected(&loaded, args, &config, (&given, &expected))?),
        false => None,
    };
    let answer = Answer { agrees, outputs, first_difference, rules };
    if args.json {
        let text = serde_json::to_string(&answer).unwrap_or_else(|error| panic!("check report: {error}"));
        writeln!(out, "{text}")?;
    } else {
        print(&answer, args.expect.is_some(), out)?;
    }
    if agrees { Ok(()) } else { Err(Failure::Told) }
}

/// What the rewrite rules have to do with a difference, in a sentence.
fn bisected(loaded: &Loaded, args: &CheckArgs, config: &Config, (given, expected): (&[Tensor], &[Tensor])) -> Result<String, Failure> {
    let workers = threads(args.threads);
    let mut agrees = |config: &Config| {
        let got = Engine::new(loaded, args.backend, config, workers)?.run(given).map_err(|error| vec![error])?;
        let holds = |(expected, got): (&Tensor, &Tensor)| compare(expected, got, tolerance(args, expected)).is_ok_and(|a| a.holds());
        Ok(expected.iter().zip(&got).all(holds))
    };
    let verdict = bisect_rules(&loaded.module, &for_cpu(config, &loaded.facts), &mut agrees)?;
    Ok(match verdict {
        Verdict::NoRule => "no rewrite rule changes results beyond the tolerance".to_string(),
        Verdict::NotRules => "results differ without any rewrite rule, too".to_string(),
        Verdict::Rule(culprit) => {
            let Culprit { pass, used, exactness, place, of } = *culprit;
            let declared = exactness.map_or_else(String::new, |exactness| format!(", declared {}", exactness.text()));
            let at = if used.origin.is_empty() { "what other rules made".to_string() } else { used.origin };
            format!(
                "the first rule that changes results is {} at {at} ({pass}, round {}, use {place} of {of}{declared}); --no-rule {0} leaves it out",
                used.rule, used.round
            )
        }
    })
}

fn print(answer: &Answer, against_given: bool, out: &mut dyn Write) -> Result<(), Failure> {
    for output in &answer.outputs {
        match (&output.agreement, &output.mismatch) {
            (Some(a), _) => {
                let verdict = if output.agrees { "agrees " } else { "DIFFERS" };
                let errors = format!("max absolute {:.3e}, relative {:.3e}, {} ULP", a.max_absolute, a.max_relative, a.max_ulp);
                writeln!(out, "{verdict} {}: {errors}", output.name)?;
                if !output.agrees {
                    writeln!(out, "        {}{}", output.name, a.text())?;
                }
            }
            (None, Some(text)) => writeln!(out, "DIFFERS {}: {text}", output.name)?,
            (None, None) => {}
        }
    }
    if let Some(rules) = &answer.rules {
        writeln!(out, "{rules}")?;
    }
    match &answer.first_difference {
        Some(first) => {
            writeln!(out, "the first node that differs from the reference interpreter is {} (value {})", first.node, first.value)?;
            writeln!(out, "        {}", first.difference)?;
        }
        None if answer.agrees => {}
        None if against_given => writeln!(out, "every node agrees with the reference interpreter: it differs from the given outputs too")?,
        None => writeln!(out, "with every value kept, all nodes agree: what differs is how they are fused")?,
    }
    Ok(())
}

fn expected_outputs(path: &Path, names: &[&str]) -> Result<Vec<Tensor>, Diagnostic> {
    let mut npz = Npz::open(path)?;
    let by_order = npz.names().iter().all(|name| name.starts_with("arr_"));
    let read = |(position, name): (usize, &&str)| {
        let stored = if by_order { format!("arr_{position}") } else { name.to_string() };
        let missing = || {
            let error = Diagnostic::new("expect", format!("{} holds no output `{name}`", path.display()));
            error.help(format!("the model's outputs are {}", names.join(", ")))
        };
        npz.read(&stored)?.map(|array| to_tensor(&array)).ok_or_else(missing)
    };
    names.iter().enumerate().map(read).collect()
}

/// A value between inputs and outputs, from both sides.
struct Pair {
    /// A name that is unique and sorts in the order of computation.
    name: String,
    node: String,
    reference: Tensor,
    compiled: Tensor,
}

/// Compiles again with every operator's value as an output, and interprets again; values in the order of computation.
fn every_value(loaded: &Loaded, given: &[Tensor], (backend, config, workers): (Backend, &Config, usize)) -> Result<Vec<Pair>, Failure> {
    let graph = predict(&loaded.module)?;
    let mut values: Vec<(Value, String, String)> = Vec::new();
    for id in graph.order() {
        let node = graph.node(id);
        let NodeKind::Op(op) = &node.kind else { continue };
        for result in 0..node.types.len() as u32 {
            let name = format!("{:05}.{}.{result}", values.len(), op.name());
            let origin = node.origin.as_ref().map_or_else(|| op.name().to_string(), |origin| origin.text.clone());
            values.push((Value { node: id, result }, name, origin));
        }
    }
    let mut observed: BTreeMap<Value, Tensor> = BTreeMap::new();
    let parameter = |name: &str| loaded.module.parameters.get(name)?.value.clone();
    evaluate_observed(&parameter, graph, given, &mut |value, tensor| {
        observed.insert(value, tensor.clone());
    })?;
    let mut watched = graph.clone();
    for (value, name, _) in &values {
        watched.add_output(name.clone(), *value);
    }
    let mut module = loaded.module.clone();
    module.functions.insert("predict".to_string(), watched);
    let watched = Loaded { module, facts: loaded.facts.clone(), losses: Vec::new() };
    let outputs = Engine::new(&watched, backend, config, workers)?.run(given)?;
    let extra = outputs.into_iter().skip(graph.outputs().len());
    let pair = |((value, name, node), compiled)| Some(Pair { name, node, reference: observed.remove(&value)?, compiled });
    Ok(values.into_iter().zip(extra).filter_map(pair).collect())
}

fn first_difference(values: &[Pair], args: &CheckArgs) -> Option<NodeReport> {
    values.iter().find_map(|pair| {
        let difference = match compare(&pair.reference, &pair.compiled, tolerance(args, &pair.reference)) {
            Ok(agreement) if agreement.holds() => return None,
            Ok(agreement) => agreement.text(),
            Err(text) => text,
        };
        Some(NodeReport { value: pair.name.clone(), node: pair.node.clone(), difference })
    })
}

/// Writes `compiled.npz` and `reference.npz`.
fn dump(directory: &Path, values: &[Pair]) -> Result<(), Diagnostic> {
    std::fs::create_dir_all(directory).map_err(|error| file_error("make", directory, &error))?;
    type Side = fn(&Pair) -> &Tensor;
    let sides: [(&str, Side); 2] = [("compiled.npz", |p| &p.compiled), ("reference.npz", |p| &p.reference)];
    for (file, side) in sides {
        let arrays: Vec<Array> = values.iter().map(|pair| to_array(side(pair))).collect::<Result<_, _>>()?;
        write_npz(&directory.join(file), values.iter().map(|pair| pair.name.as_str()).zip(&arrays))?;
    }
    Ok(())
}
