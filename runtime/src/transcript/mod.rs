//! From scores of classes for each time step to text: greedy and prefix-beam decoding, scores of language, and texts as labels.
//!
//! Time steps, classes and merging are those of connectionist temporal classification: see [`CtcOutput`].

mod align;
mod beam;
mod greedy;
mod language;

pub use align::align;
pub use beam::{Beam, beam_search};
pub use greedy::Greedy;
pub use language::{Language, read_ngram, read_words};

use crate::arrays::Array;
use kiln_ir::artifact::{CtcOutput, Signature};

/// A label that was spelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    /// Its class.
    pub label: usize,
    /// The time step in which it begins.
    pub begin: usize,
    /// The one behind its last.
    pub end: usize,
}

/// How an output spells text, if the model says so.
pub fn ctc_output(signature: &Signature) -> Option<CtcOutput> {
    serde_json::from_str(signature.ctc.as_deref()?).ok()
}

/// The labels of a text. Errors: a text that says which part of it is no label.
pub fn spell(ctc: &CtcOutput, text: &str) -> Result<Vec<i64>, String> {
    let number = |part: &str| {
        let found = ctc.labels.iter().enumerate().position(|(class, label)| class != ctc.blank as usize && label == part);
        found.map(|class| class as i64).ok_or_else(|| format!("`{part}` of `{text}` is none of the network's labels"))
    };
    match ctc.separator.as_str() {
        "" => text.chars().map(|ch| number(ch.encode_utf8(&mut [0; 4]))).collect(),
        separator if separator.trim().is_empty() => text.split_whitespace().map(number).collect(),
        separator => text.split(separator).map(str::trim).filter(|part| !part.is_empty()).map(number).collect(),
    }
}

/// The text of labels.
pub fn text_of(ctc: &CtcOutput, labels: impl IntoIterator<Item = usize>) -> String {
    let parts: Vec<&str> = labels.into_iter().map(|label| ctc.labels.get(label).map_or("", String::as_str)).collect();
    parts.join(&ctc.separator)
}

/// A word, and the time steps that it takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    /// What it is.
    pub text: String,
    /// The time step in which it begins.
    pub begin: usize,
    /// The one behind its last.
    pub end: usize,
}

/// Tokens as words: each one, where they are words; else what stands between spaces.
pub fn words_of(ctc: &CtcOutput, tokens: &[Token]) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut inside = false;
    for Token { label, begin, end } in tokens {
        let text = ctc.labels.get(*label).map_or("", String::as_str);
        if ctc.separator.is_empty() && text.trim().is_empty() {
            inside = false;
            continue;
        }
        match words.last_mut().filter(|_| inside && ctc.separator.is_empty()) {
            Some(word) => {
                word.text.push_str(text);
                word.end = *end;
            }
            None => words.push(Word { text: text.to_owned(), begin: *begin, end: *end }),
        }
        inside = true;
    }
    words
}

/// Logarithms of the probabilities of the classes, from any scores: `[time][classes]` of one sample of `[batch, time, classes]`.
pub fn log_probabilities(output: &Array, sample: usize) -> Vec<Vec<f64>> {
    let [_, time, classes] = *output.shape() else { return Vec::new() };
    let row = |t: usize| {
        let scores: Vec<f64> = (0..classes).map(|class| output.get_f64((sample * time + t) * classes + class)).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
        scores.iter().map(|score| score - largest - sum.ln()).collect()
    };
    (0..time).map(row).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn ctc(labels: &[&str], separator: &str) -> CtcOutput {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        CtcOutput { output: "scores".into(), labels, blank: 0, separator: separator.into() }
    }

    #[test]
    fn texts_are_labels_and_labels_texts() {
        let digits = ctc(&["", "one", "two"], " ");
        assert_eq!(spell(&digits, "  two one  two "), Ok(vec![2, 1, 2]));
        assert_eq!(text_of(&digits, [2, 1]), "two one");
        assert_eq!(spell(&digits, "two three"), Err("`three` of `two three` is none of the network's labels".to_owned()));
        let letters = ctc(&["", "a", "ä", " "], "");
        assert_eq!(spell(&letters, "aä a"), Ok(vec![1, 2, 3, 1]));
        assert_eq!(spell(&letters, ""), Ok(vec![]));
        assert!(spell(&letters, "b").is_err());
    }

    #[test]
    fn words_take_the_time_of_their_labels() {
        let token = |label, begin| Token { label, begin, end: begin + 1 };
        let letters = ctc(&["", "a", "b", " "], "");
        let words = words_of(&letters, &[token(3, 0), token(1, 2), token(2, 4), token(3, 5), token(3, 6), token(1, 8)]);
        assert_eq!(words, [Word { text: "ab".into(), begin: 2, end: 5 }, Word { text: "a".into(), begin: 8, end: 9 }]);
        let digits = ctc(&["", "one", "two"], " ");
        assert_eq!(words_of(&digits, &[token(1, 0), token(2, 1)]).len(), 2);
    }

    #[test]
    fn scores_become_logarithms_of_probabilities() {
        let mut output = Array::zeroed(kiln_ir::DType::F32, vec![2, 1, 2]).expect("small");
        output.set_f64(2, 800.0);
        assert_eq!(log_probabilities(&output, 0), [[0.5f64.ln(); 2]]);
        assert_eq!(log_probabilities(&output, 1), [[0.0, -800.0]]);
    }
}
