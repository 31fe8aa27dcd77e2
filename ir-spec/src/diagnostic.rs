//! Diagnostics as plain data: what is wrong, where, and what to do. Only the command line renders them.

use std::fmt;

/// A mistake in what the user gave us, with the place and a next step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Stable short code: `dot_c2`, `onnx_unsupported_op`.
    pub code: String,
    /// One line: what is wrong, with both sides.
    pub message: String,
    /// Places and what is there.
    pub labels: Vec<Label>,
    /// What to do next, if something is known to work.
    pub help: Option<String>,
}

/// A place in the user's input and a remark on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// The file, node or argument it is about: `models/mlp.kiln`, `node "conv1" (Conv)`.
    pub place: String,
    /// Byte range in that file, if it is text.
    pub span: Option<(usize, usize)>,
    /// What is there.
    pub text: String,
}

impl Diagnostic {
    /// A diagnostic with a code and a message; add the rest with the methods below.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Diagnostic { code: code.into(), message: message.into(), labels: Vec::new(), help: None }
    }

    /// Adds a place.
    pub fn at(mut self, place: impl Into<String>, text: impl Into<String>) -> Self {
        self.labels.push(Label { place: place.into(), span: None, text: text.into() });
        self
    }

    /// Adds a place in a text file.
    pub fn at_span(mut self, place: impl Into<String>, span: (usize, usize), text: impl Into<String>) -> Self {
        self.labels.push(Label { place: place.into(), span: Some(span), text: text.into() });
        self
    }

    /// Sets the next step.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The candidate spelled most like `word`, if one is close enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let word: Vec<char> = word.chars().collect();
    let limit = 1 + word.len() / 4;
    let letters = |text: &str| text.chars().collect::<Vec<_>>();
    let distances = candidates.into_iter().filter(|c| c.len() <= 128).map(|c| (edit_distance(&word, &letters(c)), c));
    distances.filter(|(d, _)| *d <= limit).min_by_key(|(d, _)| *d).map(|(_, c)| c)
}

/// Insertions, deletions and substitutions that make one sequence the other. *Source*: Levenshtein 1966.
pub fn edit_distance<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        for label in &self.labels {
            write!(f, "\n  at {}: {}", label.place, label.text)?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let ops = ["add", "dot", "softmax", "log_softmax"];
        assert_eq!(nearest("sofmax", ops), Some("softmax"));
        assert_eq!(nearest("Add", ops), Some("add"));
        assert_eq!(nearest("convolution", ops), None);
        assert_eq!(nearest("", ops), None);
    }
}
