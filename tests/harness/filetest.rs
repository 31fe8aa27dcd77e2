//! Runs one file of tests/files and compares what a stage makes of its input with the second half of the file.
//!
//! ```text
//! test: deduplicate
//! # One sentence of intent.
//! graph (%a: f32[4]) { … }
//! ---
//! graph (%a: f32[4]) { … }
//! ```
//! Stages: `text` (read and printed again), `verify` (read, then everything the verifier finds), `gradient` (the first output
//! differentiated by every floating input and parameter), `model` (a model file in TOML, then the module and how its parameters begin),
//! and every pass by name. Mistakes in the input are what the stage makes of
//! it: their texts, with the line they point at.

use crate::bless::{check_file, repository};
use kiln::autodiff::{Variable, differentiate};
use kiln::frontend::model::context::Care;
use kiln::frontend::model::{Language, parse};
use kiln::pipeline::{Config, PASSES, run};
use kiln_ir::text::{ConstantTable, parse_graph, parse_module};
use kiln_ir::verify::verify_module;
use kiln_ir::{Diagnostic, Graph, Module};

const SEPARATOR: &str = "---\n";

/// Checks the file at that path below tests/files, or rewrites its second half when blessing.
pub fn check(relative: &str) {
    let path = repository().join("tests/files").join(relative);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (header, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let stage = header.strip_prefix("test: ").unwrap_or_else(|| panic!("{relative}: the first line says `test: STAGE`")).trim();
    let input = rest.split_once(SEPARATOR).map_or(rest, |(input, _)| input);
    assert!(input.trim_start().starts_with('#'), "{relative}: a comment says what the test is about");
    let output = match stage_output(stage, input) {
        Ok(output) => output,
        Err(errors) => errors.iter().map(|e| rendered(e, input)).collect::<Vec<_>>().join("\n"),
    };
    let newline = if input.ends_with('\n') { "" } else { "\n" };
    check_file(&path, &format!("{header}\n{input}{newline}{SEPARATOR}{}\n", output.trim_end()));
}

/// A program of a test: a graph alone is the function `predict` of a module without a name.
enum Program {
    Graph(Module),
    Module(Module),
}

fn stage_output(stage: &str, input: &str) -> Result<String, Vec<Diagnostic>> {
    if stage == "model" {
        return model(input);
    }
    let program = read(input)?;
    let (Program::Graph(module) | Program::Module(module)) = &program;
    let result = match stage {
        "text" => module.clone(),
        "verify" => return verify_module(module).map(|()| "verifies".to_string()),
        "gradient" => with_gradients(module)?,
        name => match PASSES.iter().find(|p| p.0 == name) {
            Some(pass) => run(module, &Config::default(), &[*pass])?.module,
            None => panic!(
                "no stage `{name}`; there are text, verify, gradient, model and {}",
                PASSES.iter().map(|p| p.0).collect::<Vec<_>>().join(", ")
            ),
        },
    };
    Ok(match program {
        Program::Graph(_) => result.functions[PREDICT].to_string(),
        Program::Module(_) => result.to_string(),
    })
}

fn model(input: &str) -> Result<String, Vec<Diagnostic>> {
    let model = parse("test.toml", "test", input, Language::Toml)?;
    verify_module(&model.module)?;
    let begins = model.parameters.iter().map(|(name, info)| {
        let fixed = if info.trainable { "" } else { ", not trained" };
        let care = if info.care == Care::default() { String::new() } else { format!(", {:?} over axes {:?}", info.care, info.incoming) };
        format!("# {name}: {:?}, fans {:?}{fixed}{care}\n", info.initialiser, info.fans)
    });
    Ok(format!("{}\n{}", model.module, begins.collect::<String>()))
}

fn with_gradients(module: &Module) -> Result<Module, Vec<Diagnostic>> {
    let graph = &module.functions[PREDICT];
    let inputs = graph.inputs().iter().filter(|(_, v)| graph.ty(*v).dtype.is_float()).map(|(name, _)| Variable::Input(name.clone()));
    let parameters = module.parameters.iter().filter(|(_, p)| p.ty.dtype.is_float()).map(|(name, _)| Variable::Parameter(name.clone()));
    let differentiated = differentiate(graph, &[&graph.outputs()[0].0], &inputs.chain(parameters).collect::<Vec<_>>())?;
    let mut module = module.clone();
    module.functions.insert(PREDICT.into(), differentiated);
    verify_module(&module)?;
    Ok(module)
}

const PREDICT: &str = "predict";

fn read(input: &str) -> Result<Program, Vec<Diagnostic>> {
    let constants = ConstantTable::new();
    let code = input.lines().find(|l| !l.trim_start().starts_with('#') && !l.trim().is_empty());
    if code.is_some_and(|l| l.starts_with("module")) {
        return parse_module("", input, &constants).map(Program::Module);
    }
    let mut graph: Graph = parse_graph("", input, &constants)?;
    let mut module = Module { name: "test".into(), ..Module::default() };
    // A graph may use parameters without a declaration of their own; they have no values.
    for id in graph.order() {
        if let kiln_ir::NodeKind::Parameter(name) = &graph.node(id).kind {
            let ty = graph.node(id).types[0].clone();
            module.parameters.insert(name.to_string(), kiln_ir::graph::Parameter { ty, value: None });
        }
    }
    module.functions.insert(PREDICT.into(), std::mem::take(&mut graph));
    Ok(Program::Graph(module))
}

/// The diagnostic with the lines it points at.
fn rendered(error: &Diagnostic, text: &str) -> String {
    let mut out = format!("error[{}]: {}\n", error.code, error.message);
    for label in &error.labels {
        match label.span {
            Some((start, end)) => {
                let (start, end) = (start.min(text.len()), end.min(text.len()));
                let line = text[..start].rfind('\n').map_or(0, |n| n + 1);
                let rest = text[line..].lines().next().unwrap_or("");
                let number = text[..start].matches('\n').count() + 2;
                let carets = "^".repeat(text[start..end].chars().count().max(1));
                out.push_str(&format!(
                    "{number:>3} | {rest}\n    | {}{carets} {}\n",
                    " ".repeat(text[line..start].chars().count()),
                    label.text
                ));
            }
            None => out.push_str(&format!("  at {}: {}\n", label.place, label.text)),
        }
    }
    if let Some(help) = &error.help {
        out.push_str(&format!("  = help: {help}\n"));
    }
    out
}
