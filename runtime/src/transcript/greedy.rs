//! The likeliest class of each time step, repetitions merged and blanks left out. *Source*: Graves et al. 2006, §3.2, best path decoding.

use super::Token;

/// Decodes time step after time step, so that steps may come in blocks.
pub struct Greedy {
    blank: usize,
    /// The class of the step before.
    last: usize,
    step: usize,
    tokens: Vec<Token>,
}

impl Greedy {
    /// Nothing heard yet.
    pub fn new(blank: usize) -> Greedy {
        Greedy { blank, last: blank, step: 0, tokens: Vec::new() }
    }

    /// Takes the scores of the classes in the next time step.
    pub fn push(&mut self, scores: &[f64]) {
        let best = (1..scores.len()).fold(0, |best, class| if scores[class] > scores[best] { class } else { best });
        let (begin, end) = (self.step, self.step + 1);
        if best != self.blank {
            match self.tokens.last_mut().filter(|_| self.last == best) {
                Some(token) => token.end = end,
                None => self.tokens.push(Token { label: best, begin, end }),
            }
        }
        (self.last, self.step) = (best, end);
    }

    /// Time steps so far.
    pub fn steps(&self) -> usize {
        self.step
    }

    /// What was spelled so far.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Takes out what further steps cannot change: all tokens but one that may go on.
    pub fn finished(&mut self) -> Vec<Token> {
        let open = usize::from(self.last != self.blank && !self.tokens.is_empty());
        self.tokens.drain(..self.tokens.len() - open).collect()
    }

    /// Takes out what is left at the end.
    pub fn rest(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_merge_across_blocks_and_blanks_part_them() {
        let mut greedy = Greedy::new(0);
        let one_of = |class: usize| [0, 1, 2].map(|c| f64::from(u8::from(c == class)));
        let mut found = Vec::new();
        for class in [1, 1, 0, 1, 2, 2, 0, 0] {
            greedy.push(&one_of(class));
            found.extend(greedy.finished());
        }
        found.extend(greedy.rest());
        let token = |label, begin, end| Token { label, begin, end };
        assert_eq!(found, [token(1, 0, 2), token(1, 3, 4), token(2, 4, 6)]);
        assert_eq!((greedy.steps(), greedy.tokens().len()), (8, 0));
    }
}
