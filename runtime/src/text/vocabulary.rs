//! Which tokens a vocabulary has: those that training data have often enough, the most frequent first.

use super::pieces::{normalised, pieces};
use kiln_ir::artifact::TextInput;
use std::cmp::Reverse;
use std::collections::HashMap;

/// How often each piece stands in texts.
#[derive(Default)]
pub struct Counts {
    counts: HashMap<String, u64>,
}

impl Counts {
    /// Counts the pieces of a text, those behind its length as well.
    pub fn add(&mut self, text: &str, input: &TextInput) {
        pieces(text, input, &mut |piece, _| {
            if let Ok(piece) = std::str::from_utf8(piece) {
                self.add_piece(piece);
            }
            true
        });
    }

    /// Counts a word that is cut already.
    pub fn add_word(&mut self, word: &str, input: &TextInput) {
        let word: String = normalised(word, input.lower_case).into_iter().map(|(letter, _)| letter).collect();
        self.add_piece(&word);
    }

    fn add_piece(&mut self, piece: &str) {
        match self.counts.get_mut(piece) {
            Some(count) => *count += 1,
            None => {
                self.counts.insert(piece.to_owned(), 1);
            }
        }
    }

    /// The tokens from [`TextInput::FIRST`] on: those that are frequent enough, as many as there is room for; of equally frequent ones
    /// the first in the order of their bytes.
    pub fn vocabulary(self, input: &TextInput) -> Vec<String> {
        let mut words: Vec<(String, u64)> =
            self.counts.into_iter().filter(|(_, count)| *count >= u64::from(input.least_count.max(1))).collect();
        words.sort_by(|a, b| (Reverse(a.1), &a.0).cmp(&(Reverse(b.1), &b.0)));
        words.truncate((input.size as usize).saturating_sub(TextInput::FIRST as usize));
        words.into_iter().map(|(word, _)| word).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_ir::artifact::Tokens;

    #[test]
    fn frequent_words_come_first_and_rare_ones_not_at_all() {
        let input = TextInput {
            input: "x".into(),
            tokens: Tokens::Word,
            lower_case: true,
            length: Some(1),
            size: 4,
            least_count: 2,
            padding: 0,
            unknown: Some(1),
            vocabulary: None,
        };
        let mut counts = Counts::default();
        for text in ["b a c", "B A d", "a c"] {
            counts.add(text, &input);
        }
        counts.add_word("Z", &input);
        assert_eq!(counts.vocabulary(&input), ["a", "b"]);
    }
}
