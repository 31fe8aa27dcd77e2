//! `kiln explain`: how a model is rewritten: what was recognised, what is computed otherwise, by which rules, in which kernels.

use super::args::ExplainArgs;
use super::explain_json::Answer;
use super::failure::Failure;
use super::model::{self, Loaded, predict};
use kiln::artifact::output::write_file;
use kiln::compile::for_cpu;
use kiln::cut::cut;
use kiln::egraph::provenance::Replacement;
use kiln::explanation::Explanation;
use kiln::kernel::{Kernel, Program};
use kiln::passes::optimise::{Bound, Candidate, Optimised, Price, Times, Without, optimised};
use kiln::passes::recognise::{Recognised, recognised};
use kiln::pipeline::{Config, Context, run_passes, run_passes_before};
use kiln::schedule::choices::choices;
use kiln_ir::{Diagnostic, Graph, Module, NodeKind, Op};
use std::io::Write;
use std::time::Duration;

/// What both saturations did to each graph, by its name.
#[derive(Default)]
pub struct Accounts {
    /// The first.
    pub recognised: Vec<(String, Recognised)>,
    /// The second.
    pub optimised: Vec<(String, Optimised)>,
}

/// Where the time of both saturations went.
#[derive(Default)]
pub struct Spent {
    /// The first.
    pub recognising: Duration,
    /// The second.
    pub optimising: Times,
}

impl Accounts {
    /// Of all graphs together.
    pub fn times(&self) -> Spent {
        let mut spent = Spent { recognising: self.recognised.iter().map(|(_, found)| found.time).sum(), ..Spent::default() };
        for (_, found) in &self.optimised {
            spent.optimising.saturating += found.times.saturating;
            spent.optimising.extracting += found.times.extracting;
            spent.optimising.proving += found.times.proving;
            spent.optimising.pricing += found.times.pricing;
        }
        spent
    }

    fn replacements(&self) -> impl Iterator<Item = &Replacement> {
        let first = self.recognised.iter().flat_map(|(_, found)| &found.replacements);
        first.chain(self.optimised.iter().flat_map(|(_, found)| &found.replacements))
    }
}

/// Runs the command.
pub fn explain(args: &ExplainArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if args.rewrites.tune.is_some() {
        return Err(Failure::Usage("--tune measures compiled code, and nothing is run to explain a model".to_string()));
    }
    let loaded = model::read(&args.model)?;
    let config = for_cpu(&args.rewrites.config(), &loaded.facts);
    let accounts = accounts(&loaded.module, &config)?;
    if args.json {
        let nodes = graphs(&loaded.module).iter().map(|(_, graph)| graph.order().len()).sum();
        let answer = serde_json::to_string(&Answer::of(&accounts, nodes)).unwrap_or_else(|error| panic!("accounts as JSON: {error}"));
        writeln!(out, "{answer}")?;
        return Ok(());
    }
    let wanted = |replacement: &&Replacement| args.node.as_ref().is_none_or(|node| mentions(replacement, node));
    // `told`: what the page says besides, no accounts of single replacements.
    let (mut text, mut told) = (String::new(), String::new());
    let lines = accounts.recognised.iter().map(|(name, found)| (summary(name, found), &found.replacements));
    for (line, replacements) in lines.chain(accounts.optimised.iter().map(|(name, found)| (optimising(name, found), &found.replacements))) {
        told += &line;
        text += &line;
        replacements.iter().filter(wanted).for_each(|replacement| text += &account(replacement));
    }
    match config.rewrites() {
        true if args.node.is_none() => text += &accounts.times().text(),
        true => {}
        false => text += "nothing is rewritten (--opt 0)\n",
    }
    if args.kernels || args.html.is_some() {
        let (module, program) = cut_as_compiled(&loaded, &config)?;
        if args.kernels {
            text += &kernels(&program, args.node.as_deref());
        }
        if let Some(path) = &args.html {
            let (before, after) = (predict(&loaded.module)?, predict(&module)?);
            let (name, all) = (&loaded.facts.name, accounts.replacements().cloned().collect::<Vec<_>>());
            let page = Explanation { name, before, after, program: &program, replacements: &all, summary: &told }.page();
            write_file(path, |sink| sink.write_all(page.as_bytes()))?;
        }
    }
    if let (Some(node), 0, false) = (&args.node, accounts.replacements().filter(wanted).count(), args.kernels) {
        let error = Diagnostic::new("not_recognised", format!("nothing that was recognised comes from a node named `{node}`"));
        return Err(vec![error.help("without --node, everything that was recognised is listed")].into());
    }
    out.write_all(text.as_bytes())?;
    Ok(())
}

fn accounts(module: &Module, config: &Config) -> Result<Accounts, Failure> {
    let mut accounts = Accounts::default();
    if let Some(how) = &config.recognise {
        let context = Context::new(config, &module.parameters);
        accounts.recognised = graphs(module).into_iter().map(|(name, graph)| (name, recognised(graph, &context, how))).collect();
    }
    if let Some(how) = &config.optimise {
        let module = run_passes_before(module, config, "optimise")?;
        let context = Context::new(config, &module.parameters);
        accounts.optimised = graphs(&module).into_iter().map(|(name, graph)| (name, optimised(graph, &context, how))).collect();
    }
    Ok(accounts)
}

impl Spent {
    fn text(&self) -> String {
        let Times { saturating, extracting, proving, pricing } = self.optimising;
        let all = self.recognising + saturating + extracting + proving + pricing;
        let seconds = |time: Duration| format!("{:.3} s", time.as_secs_f64());
        let [all, recognising, saturating, extracting, pricing] = [all, self.recognising, saturating, extracting, pricing].map(seconds);
        let proving = if proving.is_zero() { String::new() } else { format!(", integer linear programming {}", seconds(proving)) };
        let second = format!("saturating {saturating}, extracting {extracting}{proving}, pricing kernels {pricing}");
        format!("\ntook {all}: recognising {recognising}; for its target, {second}\n")
    }
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
            let Some(Price { seconds, kernels }) = candidate.price else { continue };
            text += &format!("  {mark:<6} {:>14} of {kernels} kernels, {}\n", microseconds(seconds), what(candidate));
        }
    }
    if let Some(bound) = &found.bound {
        text += &proof(bound);
    }
    text
}

fn proof(bound: &Bound) -> String {
    let of = |picoseconds: u64| microseconds(picoseconds as f64 * 1e-12);
    let apart = 100.0 * (bound.extracted as f64 / bound.least.max(1) as f64 - 1.0);
    let told = if bound.interrupted { "as far as tables and time allowed" } else { "proven" };
    let (least, extracted, best) = (of(bound.least), of(bound.extracted), of(bound.best));
    let (pieces, widest, time) = (bound.pieces, bound.widest, bound.time.as_secs_f64());
    format!(
        "  no choice of e-nodes is estimated below {least} ({told}, {pieces} pieces, tables of {widest} variables, {time:.3} s); \
         extraction chose {extracted}, {apart:.3} % above; best known {best}\n"
    )
}

fn what(candidate: &Candidate) -> String {
    match &candidate.without {
        Without::All => "the graph as it was".to_string(),
        Without::None => "by all rules".to_string(),
        Without::Proven => "by all rules and integer linear programming".to_string(),
        Without::Rules(rules) => format!("without {}", rules.iter().copied().collect::<Vec<_>>().join(", ")),
    }
}

fn microseconds(seconds: f64) -> String {
    format!("{:.2} µs", seconds * 1e6)
}

/// The module as passes leave it, and its kernels.
fn cut_as_compiled(loaded: &Loaded, config: &Config) -> Result<(Module, Program), Failure> {
    let module = run_passes(&loaded.module, config)?.module;
    let choices = choices(predict(&module)?, config.winograd, &loaded.facts.usual_sizes, &config.tuning);
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
