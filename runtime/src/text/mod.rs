//! Texts become tokens: [`pieces`] cuts them, [`vocabulary`] finds out which pieces there are, [`Tokeniser`] gives their numbers,
//! [`foreign`] reads tokenisers that another library made; [`writing`] goes on with texts by [`choice`].

pub mod choice;
pub mod foreign;
pub mod pieces;
pub mod vocabulary;
pub mod writing;

use crate::arrays::Array;
use foreign::{Foreign, opened};
use kiln_ir::artifact::{Extent, Signature, TensorDecl, TextInput, Tokens};
use kiln_ir::{DType, Diagnostic};
use pieces::pieces;
use std::collections::HashMap;
use std::ops::Range;

/// How texts become an input of a compiled model, if one takes any. Errors: `signature` when it cannot be read.
pub fn text_input(signature: &Signature) -> Result<Option<TextInput>, Diagnostic> {
    let text = signature.text.as_ref().map(|text| serde_json::from_str(text)).transpose();
    text.map_err(|error| Diagnostic::new("signature", format!("what the model says of its texts is unreadable: {error}")))
}

/// A token: its number and where it stands, in bytes of the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Its number.
    pub number: i64,
    /// The bytes of the text that it was made of.
    pub place: Range<usize>,
}

/// Makes tokens of texts.
pub struct Tokeniser {
    input: TextInput,
    numbers: HashMap<String, i64>,
    foreign: Option<Box<dyn Foreign>>,
}

impl Tokeniser {
    /// By what a network says of its input, vocabulary included.
    ///
    /// Errors: `text_vocabulary` when the training data have not said yet which tokens there are; `tokenizer` when this program cannot
    /// read one.
    pub fn new(input: TextInput) -> Result<Tokeniser, Diagnostic> {
        let numbers = match &input.vocabulary {
            Some(words) => (words.iter().cloned()).zip(TextInput::FIRST..).collect(),
            None if input.is_learnt() => {
                let error = Diagnostic::new("text_vocabulary", format!("which tokens input `{}` knows is not said", input.input));
                return Err(error.help("training finds out and keeps it in model.safetensors: name that file with --parameters"));
            }
            None => HashMap::new(),
        };
        let foreign = match &input.tokens {
            Tokens::Tokenizer(json) => Some(opened(json, input.length)?),
            Tokens::Word | Tokens::Char | Tokens::Byte => None,
        };
        Ok(Tokeniser { input, numbers, foreign })
    }

    /// What is known of the input.
    pub fn input(&self) -> &TextInput {
        &self.input
    }

    /// The tokens of a text, at most as many as count. Errors: `text` when the tokeniser knows none for it.
    pub fn tokens(&self, text: &str) -> Result<Vec<Token>, Diagnostic> {
        if let Some(foreign) = &self.foreign {
            return foreign.tokens(text, true);
        }
        Ok(self.first_tokens(text, self.input.length.map_or(usize::MAX, |length| length as usize)))
    }

    /// All tokens of a text that others stand before and behind. Errors: as [`Tokeniser::tokens`].
    pub fn all_tokens(&self, text: &str) -> Result<Vec<Token>, Diagnostic> {
        match &self.foreign {
            Some(foreign) => foreign.tokens(text, false),
            None => Ok(self.first_tokens(text, usize::MAX)),
        }
    }

    fn first_tokens(&self, text: &str, most: usize) -> Vec<Token> {
        let mut tokens = Vec::new();
        pieces(text, &self.input, &mut |piece, place| {
            tokens.push(Token { number: self.number(piece), place });
            tokens.len() < most
        });
        tokens
    }

    /// The number of a whole word, as data that are cut already have it.
    pub fn word(&self, word: &str) -> i64 {
        let small = pieces::normalised(word, self.input.lower_case);
        self.number(small.iter().map(|(ch, _)| *ch).collect::<String>().as_bytes())
    }

    /// The numbers of the pieces of a word of data that are cut into words; one at least. Errors: as [`Tokeniser::tokens`].
    pub fn pieces_of_word(&self, word: &str) -> Result<Vec<i64>, Diagnostic> {
        if self.input.tokens == Tokens::Word {
            return Ok(vec![self.word(word)]);
        }
        let numbers: Vec<i64> = self.all_tokens(word)?.into_iter().map(|token| token.number).collect();
        Ok(if numbers.is_empty() { vec![self.input.unknown.unwrap_or(self.input.padding)] } else { numbers })
    }

    /// The text of tokens: words with a space between, characters and bytes one behind the other; what is no UTF-8 becomes U+FFFD.
    ///
    /// Errors: `text` when the tokeniser cannot tell.
    pub fn text(&self, tokens: &[i64]) -> Result<String, Diagnostic> {
        if let Some(foreign) = &self.foreign {
            return foreign.text(tokens);
        }
        if self.input.tokens == Tokens::Byte {
            let bytes: Vec<u8> = tokens.iter().filter_map(|token| u8::try_from(token - TextInput::FIRST).ok()).collect();
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        let words = self.input.vocabulary.as_deref().unwrap_or_default();
        let word =
            |token: &i64| usize::try_from(token - TextInput::FIRST).ok().and_then(|at| words.get(at)).map_or("\u{FFFD}", String::as_str);
        let words: Vec<&str> = tokens.iter().map(word).collect();
        Ok(words.join(if self.input.tokens == Tokens::Word { " " } else { "" }))
    }

    /// How many tokens there are: numbers below this are those of the vocabulary.
    pub fn size(&self) -> usize {
        match &self.input.vocabulary {
            Some(words) => words.len() + TextInput::FIRST as usize,
            None => self.input.size as usize,
        }
    }

    fn number(&self, piece: &[u8]) -> i64 {
        let unknown = self.input.unknown.unwrap_or(TextInput::UNKNOWN);
        match &self.input.tokens {
            Tokens::Byte => piece.first().map_or(unknown, |byte| TextInput::FIRST + i64::from(*byte)),
            _ => std::str::from_utf8(piece).ok().and_then(|piece| self.numbers.get(piece)).copied().unwrap_or(unknown),
        }
    }
}

/// How many tokens wide a batch is whose longest text has so many: what the input says, else a number near it, of which there are few,
/// because each width takes memory of its own.
pub fn width(longest: usize, decl: &TensorDecl, input: &TextInput) -> usize {
    if let Some(Extent::Fixed(size)) = decl.shape.get(1) {
        return usize::try_from(*size).unwrap_or(0);
    }
    let longest = longest.max(1);
    let step = (longest.next_power_of_two() / 8).max(8);
    let most = input.length.map_or(usize::MAX, |length| length as usize);
    longest.next_multiple_of(step).min(most.max(longest))
}

/// An array `[texts, width]` of tokens with padding behind each. Errors: `memory`.
pub fn to_array(texts: &[Vec<i64>], width: usize, filler: i64, dtype: DType) -> Result<Array, Diagnostic> {
    let mut array = Array::zeroed(dtype, vec![texts.len(), width])?;
    for (row, tokens) in texts.iter().enumerate() {
        let padded = tokens.iter().copied().chain(std::iter::repeat(filler)).take(width);
        padded.enumerate().for_each(|(at, token)| array.set_f64(row * width + at, token as f64));
    }
    Ok(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(tokens: Tokens, vocabulary: &[&str]) -> TextInput {
        let vocabulary = (!vocabulary.is_empty()).then(|| vocabulary.iter().map(|word| (*word).to_owned()).collect());
        let size = 100;
        TextInput {
            input: "text".into(),
            tokens,
            lower_case: true,
            length: Some(4),
            size,
            least_count: 1,
            padding: 0,
            unknown: Some(1),
            vocabulary,
        }
    }

    fn numbers(tokeniser: &Tokeniser, text: &str) -> Vec<i64> {
        tokeniser.tokens(text).expect("it has tokens").iter().map(|token| token.number).collect()
    }

    #[test]
    fn words_characters_and_bytes_have_numbers_and_places() {
        let words = Tokeniser::new(input(Tokens::Word, &["card", "my", "?!"])).expect("it has a vocabulary");
        assert_eq!(numbers(&words, "My  CARD, lost?!"), [3, 2, 1, 1]);
        assert_eq!(words.tokens("  my card").expect("words")[1], Token { number: 2, place: 5..9 });
        assert_eq!((numbers(&words, ""), words.word("Card")), (vec![], 2));
        let characters = Tokeniser::new(input(Tokens::Char, &["a", "é"])).expect("it has a vocabulary");
        assert_eq!(numbers(&characters, "Aéa b"), [2, 3, 2, 1]);
        let bytes = Tokeniser::new(input(Tokens::Byte, &[])).expect("bytes are known");
        assert_eq!(numbers(&bytes, "é"), [0xc3 + 2, 0xa9 + 2]);
        assert_eq!(bytes.text(&[0xc3 + 2, 0xa9 + 2, 300, 0]).expect("bytes"), "é");
        assert_eq!((words.text(&[2, 3]).expect("words"), words.size()), ("card my".to_owned(), 5));
        assert_eq!(Tokeniser::new(input(Tokens::Word, &[])).err().expect("refused").code, "text_vocabulary");
    }

    #[test]
    fn widths_are_few_and_no_wider_than_texts_may_be() {
        let open = TensorDecl { name: "t".into(), dtype: DType::I64, shape: vec![Extent::Fixed(1), Extent::Expression("t".into())] };
        let unbounded = TextInput { length: None, ..input(Tokens::Byte, &[]) };
        assert_eq!([0, 1, 8, 9, 65, 100, 1000].map(|n| width(n, &open, &unbounded)), [8, 8, 8, 16, 80, 112, 1024]);
        assert_eq!(width(3, &open, &input(Tokens::Byte, &[])), 4);
        let fixed = TensorDecl { shape: vec![Extent::Fixed(1), Extent::Fixed(40)], ..open };
        assert_eq!(width(3, &fixed, &unbounded), 40);
        let array = to_array(&[vec![5, 6], vec![], vec![7, 8, 9]], 3, -1, DType::I64).expect("small");
        assert_eq!((0..9).map(|i| array.get_f64(i)).collect::<Vec<_>>(), [5.0, 6.0, -1.0, -1.0, -1.0, -1.0, 7.0, 8.0, 9.0]);
    }
}
