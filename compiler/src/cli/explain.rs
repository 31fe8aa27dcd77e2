//! `kiln explain`: which operators of a model were recognised as what, and by which rules.

use super::args::ExplainArgs;
use super::failure::Failure;
use super::model;
use kiln::egraph::provenance::Replacement;
use kiln::egraph::saturate::Outcome;
use kiln::passes::recognise::{Recognised, recognised};
use kiln::pipeline::Context;
use kiln_ir::{Diagnostic, Graph, NodeKind, Op};
use std::io::Write;

/// Runs the command.
pub fn explain(args: &ExplainArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let loaded = model::read(&args.model)?;
    let (config, how) = (args.rewrites.config(), args.rewrites.recognition());
    let context = Context { config: &config, parameters: &loaded.module.parameters };
    let mut graphs = Vec::new();
    for (name, graph) in &loaded.module.functions {
        collect(name, graph, &mut graphs);
    }
    let mut text = String::new();
    let mut shown = 0;
    for (name, graph) in graphs {
        let found = recognised(graph, &context, &how);
        text += &summary(&name, &found);
        let wanted = |r: &&Replacement| args.node.as_ref().is_none_or(|node| mentions(r, node));
        for replacement in found.replacements.iter().filter(wanted) {
            shown += 1;
            text += &account(replacement);
        }
    }
    if let (Some(node), 0) = (&args.node, shown) {
        let error = Diagnostic::new("not_recognised", format!("nothing that was recognised comes from a node named `{node}`"));
        return Err(vec![error.help("without --node, everything that was recognised is listed")].into());
    }
    out.write_all(text.as_bytes())?;
    Ok(())
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
    let how = match found.outcome {
        Outcome::Saturated => "saturated",
        Outcome::RoundLimit => "stopped by the limit on rounds",
        Outcome::NodeLimit => "stopped by the limit on e-nodes",
        Outcome::TimeLimit => "stopped by the limit on time",
    };
    format!(
        "{name}: {how} after {} rounds with {} e-nodes; {} recognised, cost {} -> {}\n",
        found.rounds,
        found.nodes,
        found.replacements.len(),
        found.cost_before,
        found.cost_after
    )
}

fn account(replacement: &Replacement) -> String {
    let mut text = format!("\n  {:<14} {}\n", replacement.op, replacement.origin);
    for (name, origin) in &replacement.sources {
        text += &format!("    from {name:<12} {origin}\n");
    }
    let rules: Vec<String> = replacement.rules.iter().map(|(rule, round)| format!("{rule} (round {round})")).collect();
    text + &format!("    by   {}\n", rules.join(", "))
}
