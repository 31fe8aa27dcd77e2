//! `kiln explain`: how a model is rewritten: what was recognised, what is computed otherwise, by which rules, in which kernels.

use super::args::ExplainArgs;
use super::failure::Failure;
use super::model::{self, Loaded, predict};
use kiln::artifact::output::write_file;
use kiln::compile::at_usual_sizes;
use kiln::cut::cut;
use kiln::egraph::provenance::Replacement;
use kiln::explanation::Explanation;
use kiln::kernel::{Kernel, Program};
use kiln::passes::optimise::{Candidate, Optimised, Without, optimised};
use kiln::passes::recognise::{Recognised, recognised};
use kiln::pipeline::{Config, Context, run_passes, run_passes_before};
use kiln::schedule::choices::choices;
use kiln_ir::{Diagnostic, Graph, Module, NodeKind, Op};
use std::io::Write;

/// Runs the command.
pub fn explain(args: &ExplainArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let loaded = model::read(&args.model)?;
    let config = at_usual_sizes(&args.rewrites.config(), &loaded.facts);
    let mut text = String::new();
    // What the page says besides: no accounts of single replacements.
    let (mut told, mut all) = (String::new(), Vec::new());
    let mut shown = 0;
    let mut list = |replacements: &[Replacement], text: &mut String| {
        for replacement in replacements.iter().filter(|r| args.node.as_ref().is_none_or(|node| mentions(r, node))) {
            shown += 1;
            *text += &account(replacement);
        }
    };
    if let Some(how) = &config.recognise {
        let context = Context { config: &config, parameters: &loaded.module.parameters };
        for (name, graph) in graphs(&loaded.module) {
            let found = recognised(graph, &context, how);
            let line = summary(&name, &found);
            (text, told) = (text + &line, told + &line);
            list(&found.replacements, &mut text);
            all.extend(found.replacements);
        }
    }
    if let Some(how) = &config.optimise {
        let module = run_passes_before(&loaded.module, &config, "optimise")?;
        let context = Context { config: &config, parameters: &module.parameters };
        for (name, graph) in graphs(&module) {
            let found = optimised(graph, &context, how);
            let line = optimising(&name, &found);
            (text, told) = (text + &line, told + &line);
            list(&found.replacements, &mut text);
            all.extend(found.replacements);
        }
    }
    if !config.rewrites() {
        text += "nothing is rewritten (--opt 0)\n";
    }
    if args.kernels || args.html.is_some() {
        let (module, program) = cut_as_compiled(&loaded, &config)?;
        if args.kernels {
            text += &kernels(&program, args.node.as_deref());
        }
        if let Some(path) = &args.html {
            let (before, after) = (predict(&loaded.module)?, predict(&module)?);
            let name = &loaded.facts.name;
            let page = Explanation { name, before, after, program: &program, replacements: &all, summary: &told }.page();
            write_file(path, |sink| sink.write_all(page.as_bytes()))?;
        }
    }
    if let (Some(node), 0, false) = (&args.node, shown, args.kernels) {
        let error = Diagnostic::new("not_recognised", format!("nothing that was recognised comes from a node named `{node}`"));
        return Err(vec![error.help("without --node, everything that was recognised is listed")].into());
    }
    out.write_all(text.as_bytes())?;
    Ok(())
}

/// The graphs of a module and the regions inside them, each with a name.
fn graphs(module: &Module) -> Vec<(String, &Graph)> {
    let mut found = Vec::new();
    module.functions.iter().for_each(|(name, graph)| collect(name, graph, &mut found));
    found
}

/// The graph and the regions inside it, each with a name.
fn collect<'g>(name: &str, graph: &'g Graph, found: &mut Vec<(String, &'g Graph)>) {
    found.push((name.to_string(), graph));
    for id in graph.order() {
        let node = graph.node(id);
        let NodeKind::Op(Op::Scan(scan)) = &node.kind else { continue };
        let origin = node.origin.as_ref().map_or("scan", |origin| origin.text.as_str());
        collect(&format!("{name}, inside {origin}"), &scan.body, found);
    }
}

fn mentions(replacement: &Replacement, node: &str) -> bool {
    replacement.origin.contains(node) || replacement.sources.iter().any(|(_, origin)| origin.contains(node))
}

fn summary(name: &str, found: &Recognised) -> String {
    format!(
        "{name}: {} after {} rounds with {} e-nodes; {} recognised, cost {} -> {}\n",
        found.outcome.text(),
        found.rounds,
        found.nodes,
        found.replacements.len(),
        found.cost_before,
        found.cost_after
    )
}

fn optimising(name: &str, found: &Optimised) -> String {
    let (first, chosen) = (&found.candidates[0], &found.candidates[found.chosen]);
    let mut text = format!(
        "{name}, for its target: {} after {} rounds with {} e-nodes; {} replaced, estimate {} -> {}\n",
        found.outcome.text(),
        found.rounds,
        found.nodes,
        found.replacements.len(),
        microseconds(first.estimate as f64 * 1e-12),
        microseconds(chosen.estimate as f64 * 1e-12),
    );
    if found.candidates.len() > 1 {
        for (at, candidate) in found.candidates.iter().enumerate() {
            let mark = if at == found.chosen { "chosen" } else { "" };
            text += &format!("  {:<6} {:>14} of kernels, {}\n", mark, microseconds(candidate.seconds), what(candidate));
        }
    }
    text
}

fn what(candidate: &Candidate) -> String {
    match &candidate.without {
        Without::All => "the graph as it was".to_string(),
        Without::None => "by all rules".to_string(),
        Without::Rules(rules) => format!("without {}", rules.iter().copied().collect::<Vec<_>>().join(", ")),
    }
}

fn microseconds(seconds: f64) -> String {
    format!("{:.2} µs", seconds * 1e6)
}

/// The module as passes leave it, and its kernels.
fn cut_as_compiled(loaded: &Loaded, config: &Config) -> Result<(Module, Program), Failure> {
    let (module, _) = run_passes(&loaded.module, config)?;
    let choices = choices(predict(&module)?, config.winograd, &loaded.facts.usual_sizes);
    let program = cut(&module, "predict", &choices)?;
    Ok((module, program))
}

/// The kernels in the order they run, each with the nodes it comes from.
fn kernels(program: &Program, node: Option<&str>) -> String {
    let mut text = String::from("\nkernels:\n");
    let mut number = 0;
    let mut list = |kernel: &Kernel| {
        number += 1;
        let origins: Vec<&str> = kernel.origins.iter().map(|origin| origin.text.as_str()).collect();
        if node.is_none_or(|node| origins.iter().any(|origin| origin.contains(node))) {
            text += &format!("{number:>5} {}\n", kernel.name);
            origins.iter().for_each(|origin| text += &format!("        from {origin}\n"));
        }
    };
    program.steps.iter().for_each(|step| step.visit_kernels(&mut list));
    text
}

fn account(replacement: &Replacement) -> String {
    let mut text = format!("\n  {:<14} {}\n", replacement.op, replacement.origin);
    for (name, origin) in &replacement.sources {
        text += &format!("    from {name:<12} {origin}\n");
    }
    let rules: Vec<String> = replacement.rules.iter().map(|(rule, round)| format!("{rule} (round {round})")).collect();
    text + &format!("    by   {}\n", rules.join(", "))
}
