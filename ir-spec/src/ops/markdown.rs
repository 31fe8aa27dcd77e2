//! OPS.md: the operator reference, made from the files that implement the operators.

use super::{Example, Gradient, Meaning, Op};
use crate::graph::NodeKind;
use crate::{Builder, DType, Graph, Value};
use std::collections::BTreeSet;

/// The operator reference in Markdown. A test compares it with `ir-spec/OPS.md`; `cargo bless` writes it.
pub fn ops_markdown() -> String {
    let examples = Op::all_examples();
    let sections: Vec<Section> = Op::all_docs().into_iter().map(|(name, docs)| Section::new(name, &docs, &examples)).collect();
    let (composites, primitives): (Vec<_>, Vec<_>) = sections.into_iter().partition(|s| s.composite);
    let mut out = String::from(
        "# Operators\n\n<!-- Made from ir-spec/src/ops by `cargo bless`. Edit those files. -->\n\n\
         Types, dims, numbers and the text form are in [SPEC.md](SPEC.md). A constraint (C2) of an operator `dot` is reported as `dot_c2`.\n\
         Every attribute is written; an example shows how.\n",
    );
    for (title, text, sections) in [
        ("Primitives", "What the compiler lowers.", &primitives),
        ("Composites", "What expands into primitives. Backends may compute one directly where that gives the same bits.", &composites),
    ] {
        let links: Vec<String> = sections.iter().map(|s| format!("[{0}](#{0})", s.name)).collect();
        out.push_str(&format!("\n## {title}\n\n{text}\n\n{}\n", links.join(" · ")));
        sections.iter().for_each(|s| out.push_str(&s.text));
    }
    out
}

struct Section {
    name: &'static str,
    composite: bool,
    text: String,
}

impl Section {
    fn new(name: &'static str, docs: &str, examples: &[(&'static str, Example)]) -> Section {
        let accepted = || examples.iter().filter(|(n, e)| *n == name && e.rejected.is_none()).map(|(_, e)| e);
        let is_float = |e: &&Example| e.inputs.first().is_some_and(|t| t.dtype.is_float() && t.dtype != DType::F16);
        let example = accepted().find(is_float).or_else(|| accepted().next());
        let mut text = format!("\n### {name}\n\n{}", paragraphs(name, docs));
        let fields = Op::attribute_fields(name).unwrap_or_default();
        if !fields.is_empty() {
            text.push_str("\n| Attribute | Value | Meaning |\n|---|---|---|\n");
            for field in fields {
                text.push_str(&format!("| `{}` | {} | {} |\n", field.name, (field.kind)(), escaped(field.docs.trim())));
            }
        }
        let mut composite = false;
        if let Some(example) = example {
            let (shown, expansion, gradient) = explain(example);
            composite = expansion.is_some();
            if let Some(expansion) = expansion {
                text.push_str(&format!("\n**Expands into** {expansion}.\n"));
            }
            text.push_str(&format!("\n**Gradient** {gradient}.\n\n```\n{shown}```\n"));
        }
        Section { name, composite, text }
    }
}

/// A use of the operator as text, the operators it expands into, and what its gradient is.
fn explain(example: &Example) -> (String, Option<String>, String) {
    let mut graph = Graph::new();
    let names = ["x", "y", "z"];
    let name = |i: usize| names.get(i).map_or_else(|| format!("x{i}"), |n| n.to_string());
    let inputs: Vec<Value> = example.inputs.iter().enumerate().map(|(i, t)| graph.add_input(name(i), t.clone())).collect();
    let results = graph.add(example.op.clone(), &inputs, None).unwrap_or_else(|e| panic!("an example of {}: {e}", example.op.name()));
    let mut shown = graph.clone();
    for (i, result) in results.iter().enumerate() {
        let name = if results.len() == 1 { "result".to_string() } else { format!("result{i}") };
        shown.add_output(name, *result);
    }
    let mut scratch = graph.clone();
    let expansion = match example.op.expand(&mut Builder::new(&mut scratch), &inputs) {
        Meaning::Primitive => None,
        Meaning::Composite(values) => {
            values.into_iter().for_each(|v| scratch.add_output("", v));
            let nodes = scratch.order();
            let ops = nodes.iter().filter_map(|id| if let NodeKind::Op(op) = &scratch.node(*id).kind { Some(op.name()) } else { None });
            let names: BTreeSet<&str> = ops.collect();
            let links: Vec<String> = names.iter().map(|n| format!("[{n}](#{n})")).collect();
            Some(if links.is_empty() { "nothing: it gives its operand".into() } else { links.join(", ") })
        }
    };
    let gradients: Vec<Option<Value>> = results.iter().map(|r| Some(graph.add_input("d", graph.ty(*r).clone()))).collect();
    let gradient = match example.op.vjp(&mut Builder::new(&mut graph), &inputs, &results, &gradients) {
        Gradient::Operands(_) | Gradient::WithResults { .. } => "by its own rule".to_string(),
        Gradient::ThroughExpansion => "through its expansion".to_string(),
        Gradient::Stops(why) => format!("stops here: {}", escaped(why)),
    };
    (shown.to_string(), expansion, gradient)
}

/// The header of the file as paragraphs; its parts (`Shapes:`, `Constraints:`) begin their own.
fn paragraphs(name: &str, docs: &str) -> String {
    let mut out = String::new();
    let docs = docs.strip_prefix(&format!("`{name}`: ")).unwrap_or(docs);
    for line in docs.lines().flat_map(|l| l.split("   ")) {
        let line = line.trim();
        let part = ["Shapes:", "Constraints:", "Source:", "Errors:", "Units:"].into_iter().find(|p| line.starts_with(p));
        match part {
            Some(part) => out.push_str(&format!("\n**{}** {}\n", part.trim_end_matches(':'), escaped(line[part.len()..].trim()))),
            None => out.push_str(&format!("{}\n", escaped(line))),
        }
    }
    // An empty line more or less means nothing in Markdown; one is enough.
    while out.contains("\n\n\n") {
        out = out.replace("\n\n\n", "\n\n");
    }
    let mut out = out.trim().to_string();
    if let Some(first) = out.get(..1) {
        out.replace_range(..1, &first.to_uppercase());
    }
    out + "\n"
}

/// Text whose `*`, `_`, `<` and `|` mean themselves; code in backquotes stays.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    let mut code = false;
    for c in text.chars() {
        code ^= c == '`';
        if c == '|' || !code && matches!(c, '*' | '_' | '<') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
