//! The table of operators: which ONNX operator is imported by which function, since which version.

use super::context::Context;
use super::functions::Functions;
use super::load::canonical_domain;
use super::ops;
use super::order::{describe, needed_nodes};
use super::proto::{DimensionProto, DimensionValue, GraphProto, NodeProto, TypeValue};
use super::tensor::dtype_name;
use kiln_ir::{Diagnostic, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One ONNX operator.
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// The first operator set it is in, or the first one whose semantics are implemented.
    pub since: i64,
    /// Least and greatest number of operands.
    pub operands: (usize, usize),
    /// Builds its results.
    pub import: fn(&mut Context) -> Results,
}

/// What an import function returns: the node's results in order, or what is wrong with the node.
pub type Results = Result<Vec<Value>, Diagnostic>;

/// A row, on one line of a table.
pub const fn row(name: &'static str, since: i64, operands: (usize, usize), import: fn(&mut Context) -> Results) -> Row {
    Row { name, since, operands, import }
}

/// As many operands as the node has.
pub const ANY: usize = usize::MAX;

/// Operators of the standard domain, by subject.
const STANDARD: &[&[Row]] = &[
    ops::elementwise::ROWS,
    ops::activation::ROWS,
    ops::reduction::ROWS,
    ops::movement::ROWS,
    ops::slicing::ROWS,
    ops::indexing::ROWS,
    ops::generate::ROWS,
    ops::matmul::ROWS,
    ops::convolution::ROWS,
    ops::pooling::ROWS,
    ops::normalisation::ROWS,
    ops::recurrent::ROWS,
    ops::attention::ROWS,
    ops::losses::ROWS,
    ops::image::ROWS,
    ops::microsoft::STANDARD_ROWS,
];

/// Operators of `com.microsoft`.
const MICROSOFT: &[&[Row]] = &[ops::microsoft::ROWS];

/// Operators that the importer itself resolves.
const BUILT_IN: [&str; 5] = ["Constant", "Identity", "If", "Loop", "Scan"];

fn rows(domain: &str) -> impl Iterator<Item = &'static Row> {
    let tables: &[&[Row]] = match domain {
        "" => STANDARD,
        "com.microsoft" => MICROSOFT,
        _ => &[],
    };
    tables.iter().flat_map(|rows| rows.iter())
}

/// The row of an operator.
///
/// Errors: `onnx_unsupported_op` when there is none or the operator is newer than the operator set.
pub fn find(domain: &str, name: &str, opset: i64) -> Result<&'static Row, Diagnostic> {
    let Some(row) = rows(domain).find(|row| row.name == name) else {
        return Err(Diagnostic::new("onnx_unsupported_op", format!("the operator {name} is not supported")));
    };
    if opset < row.since {
        let what = format!("{name} exists since operator set {}, the model uses {opset}", row.since);
        return Err(Diagnostic::new("onnx_unsupported_op", what).help("export the model for a newer operator set"));
    }
    Ok(row)
}

/// Every operator that the graph needs and nobody knows, each reported once: all at once, so that a user sees the whole list.
pub fn unsupported(graph: &GraphProto, opsets: &BTreeMap<String, i64>, functions: &Functions) -> Vec<Diagnostic> {
    let outputs: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    // A graph that cannot be sorted is reported by the import itself.
    let Ok(order) = needed_nodes(&graph.node, &outputs) else { return Vec::new() };
    let mut search = Search { opsets, functions, declared: declared_types(graph), seen: BTreeSet::new(), found: Vec::new() };
    order.into_iter().for_each(|index| search.node(&graph.node[index]));
    search.found
}

struct Search<'a> {
    opsets: &'a BTreeMap<String, i64>,
    functions: &'a Functions,
    /// Types of values as the file declares them; good enough for a message.
    declared: HashMap<&'a str, String>,
    seen: BTreeSet<(String, String)>,
    found: Vec<Diagnostic>,
}

impl Search<'_> {
    fn node(&mut self, node: &NodeProto) {
        for graph in node.attribute.iter().filter_map(|a| a.g.as_deref()) {
            graph.node.iter().for_each(|inner| self.node(inner));
        }
        let domain = canonical_domain(&node.domain);
        if !self.seen.insert((domain.to_string(), node.op_type.clone())) {
            return;
        }
        if let Some(function) = self.functions.find(node) {
            function.proto.node.iter().for_each(|inner| self.node(inner));
            return;
        }
        let known = rows(domain).any(|row| row.name == node.op_type) || (domain.is_empty() && BUILT_IN.contains(&node.op_type.as_str()));
        if !known {
            self.found.push(self.report(node, domain));
        }
    }

    fn report(&self, node: &NodeProto, domain: &str) -> Diagnostic {
        let shown = if domain.is_empty() { "ai.onnx" } else { domain };
        let version = self.opsets.get(domain).map_or_else(|| "no version given".to_string(), |v| format!("operator set {v}"));
        let what = format!("the operator {} of {shown} ({version}) is not supported", node.op_type);
        let operand = |name: &String| match self.declared.get(name.as_str()) {
            Some(ty) => format!("{name}: {ty}"),
            None => name.clone(),
        };
        let operands: Vec<String> = node.input.iter().map(operand).collect();
        let error = Diagnostic::new("onnx_unsupported_op", what)
            .at(format!("node {}", describe(node)), format!("applied to ({})", operands.join(", ")));
        match nearest(&node.op_type, self.functions) {
            Some(name) => error.help(format!("the nearest supported operator is {name}")),
            None => error.help("express it by supported operators, or add a local function of that name to the model"),
        }
    }
}

/// Element types and sizes of inputs, weights and annotated values.
fn declared_types(graph: &GraphProto) -> HashMap<&str, String> {
    let mut types = HashMap::new();
    for tensor in &graph.initializer {
        types.insert(tensor.name.as_str(), format!("{}{:?}", dtype_name(tensor.data_type), tensor.dims));
    }
    for info in graph.input.iter().chain(&graph.value_info) {
        let Some(TypeValue::Tensor(tensor)) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) else { continue };
        let size = |d: &DimensionProto| match &d.value {
            Some(DimensionValue::Size(size)) => size.to_string(),
            Some(DimensionValue::Name(name)) => name.clone(),
            None => "?".to_string(),
        };
        let sizes = tensor.shape.as_ref().map_or("..".to_string(), |s| s.dim.iter().map(size).collect::<Vec<_>>().join(", "));
        types.insert(info.name.as_str(), format!("{}[{sizes}]", dtype_name(tensor.elem_type)));
    }
    types
}

/// The supported operator whose name is most like `name`; none when nothing is like it.
fn nearest(name: &str, functions: &Functions) -> Option<String> {
    // Names come from files: distance to a very long one is neither cheap nor useful.
    if name.len() > 64 {
        return None;
    }
    let builtin = rows("").chain(rows("com.microsoft")).map(|row| row.name).chain(BUILT_IN);
    let mut candidates: Vec<&str> = builtin.chain(functions.names().map(|(_, name)| name)).collect();
    candidates.sort_unstable();
    let distances = candidates.into_iter().filter(|c| c.len() <= 64).map(|c| (edit_distance(name, c), c));
    let (distance, best) = distances.min()?;
    // With more than half of the letters changed it is another word.
    (distance * 2 <= name.chars().count()).then(|| best.to_string())
}

/// Insertions, deletions and replacements that turn `a` into `b`, ignoring case. Source: Levenshtein 1965.
fn edit_distance(a: &str, b: &str) -> usize {
    let lower = |s: &str| s.chars().flat_map(char::to_lowercase).collect::<Vec<char>>();
    let (a, b) = (lower(a), lower(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_unique() {
        for domain in ["", "com.microsoft"] {
            let mut seen = BTreeSet::new();
            for row in rows(domain) {
                assert!(seen.insert(row.name), "{} has two rows", row.name);
                assert!(row.operands.0 <= row.operands.1, "{}", row.name);
            }
        }
    }

    #[test]
    fn a_misspelt_operator_finds_its_neighbour() {
        let functions = Functions::collect(Vec::new()).expect("none");
        assert_eq!(nearest("MatMull", &functions).as_deref(), Some("MatMul"));
        assert_eq!(nearest("softmax", &functions).as_deref(), Some("Softmax"));
        assert_eq!(nearest("Fancy", &functions), None);
    }
}
