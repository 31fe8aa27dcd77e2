//! Names of values in the text: their own where they have one, else numbers in program order.

use crate::graph::NodeKind;
use crate::{Graph, NodeId, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The text of every live value, `%x`, `%"input.1"`, `%7`: inputs bear their names, then parameters, then outputs that an
/// operator computes; the rest is numbered. Depends on the program alone.
pub fn value_names(graph: &Graph) -> BTreeMap<Value, String> {
    let order = graph.order();
    let mut names: BTreeMap<Value, String> = BTreeMap::new();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut claim = |value: Value, name: &str| {
        if !names.contains_key(&value) && taken.insert(name.to_string()) {
            names.insert(value, format!("%{}", quoted(name)));
        }
    };
    for (name, value) in graph.inputs() {
        claim(*value, name);
    }
    for id in &order {
        if let NodeKind::Parameter(name) = &graph.node(*id).kind {
            claim(Value { node: *id, result: 0 }, name);
        }
    }
    for (name, value) in graph.outputs() {
        claim(*value, name);
    }
    let mut number = 0usize;
    for id in order {
        for value in results(graph, id) {
            names.entry(value).or_insert_with(|| {
                number += 1;
                format!("%{}", number - 1)
            });
        }
    }
    names
}

/// Every result of a node.
pub(super) fn results(graph: &Graph, id: NodeId) -> impl Iterator<Item = Value> {
    (0..graph.node(id).types.len() as u32).map(move |result| Value { node: id, result })
}

/// A name as it stands in the text: plain if it is a word, else in quotes.
pub(super) fn quoted(name: &str) -> String {
    if is_word(name) { name.to_string() } else { string(name) }
}

/// A string literal.
pub(super) fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Letters, digits, `_`, `$` and single inner dots, not starting with a digit.
pub(crate) fn is_word(name: &str) -> bool {
    !name.is_empty() && word_length(name.as_bytes()) == name.len()
}

/// Bytes of the word that the text begins with; 0 if it begins with none.
pub(super) fn word_length(text: &[u8]) -> usize {
    let part = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$');
    match text.first() {
        Some(c) if part(c) && !c.is_ascii_digit() => {}
        _ => return 0,
    }
    let mut at = 1;
    loop {
        at += text[at..].iter().take_while(|c| part(c)).count();
        // A dot belongs to the word only inside it, so that `n..=4` stays a range.
        match (text.get(at), text.get(at + 1)) {
            (Some(b'.'), Some(next)) if part(next) => at += 1,
            _ => return at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_plain_and_everything_else_in_quotes() {
        for (name, text) in [("x", "x"), ("layer1.conv.weight", "layer1.conv.weight"), ("0", "\"0\""), ("a b", "\"a b\""), ("", "\"\"")] {
            assert_eq!(quoted(name), text);
        }
        assert_eq!(quoted("a\"\\\n\u{1}ü"), "\"a\\\"\\\\\\n\\u{1}ü\"");
        for name in ["x.", ".x", "a..b", "onnx::Conv_1", "é"] {
            assert!(!is_word(name), "{name}");
        }
    }
}
