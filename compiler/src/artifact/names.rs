//! Names that every linker takes.

use std::collections::BTreeMap;

/// Letters, digits and underscores of a text, runs of other characters as one underscore; never empty or starting with a digit.
pub fn symbol_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
    }
    name.truncate(100);
    let name = name.trim_end_matches('_');
    match name.chars().next() {
        None => "model".to_string(),
        Some(first) if first.is_ascii_digit() => format!("m_{name}"),
        Some(_) => name.to_string(),
    }
}

/// Makes symbol names unique.
#[derive(Default)]
pub struct SymbolNames(BTreeMap<String, usize>);

impl SymbolNames {
    /// The symbol name of a text, with a number when it was given out before.
    pub fn unique(&mut self, text: &str) -> String {
        let name = symbol_name(text);
        let count = self.0.entry(name.clone()).or_default();
        *count += 1;
        // A dot cannot be part of a name made from a text, so numbered names never meet another one.
        if *count == 1 { name } else { format!("{name}.{count}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_name() {
        assert_eq!(symbol_name("Conv \"/layer1/conv1/Conv\""), "Conv_layer1_conv1_Conv");
        assert_eq!(symbol_name("7 é"), "m_7");
        assert_eq!(symbol_name("é"), "model");
        let mut names = SymbolNames::default();
        assert_eq!(["a b", "a_b", "a/b"].map(|text| names.unique(text)), ["a_b", "a_b.2", "a_b.3"]);
    }
}
