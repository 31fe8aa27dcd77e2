//! How texts become an input.

use serde::{Deserialize, Serialize};

/// How a text becomes the tokens of an input `[batch, time]`: cut into tokens, each its number in the vocabulary, at most `length` of
/// them, filled with `padding` to the length of the longest text of a batch, or of the input.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TextInput {
    /// Name of the input that takes tokens.
    pub input: String,
    /// What a token is.
    pub tokens: Tokens,
    /// Whether letters become small ones first.
    pub lower_case: bool,
    /// Tokens of a text that count; what comes behind them is cut off.
    pub length: Option<u32>,
    /// Tokens that the network tells apart at most: numbers below this.
    pub size: u32,
    /// How often a token stands in the training data at least to be part of the vocabulary.
    pub least_count: u32,
    /// The number that fills short texts.
    pub padding: i64,
    /// The number of tokens that are not in the vocabulary, if there is one.
    pub unknown: Option<i64>,
    /// The tokens from [`TextInput::FIRST`] on, by their numbers; `None` until the training data say what they are, and for bytes and
    /// tokenisers, which bring their own.
    #[serde(default)]
    pub vocabulary: Option<Vec<String>>,
}

impl TextInput {
    /// Number of the padding of vocabularies that are made from data.
    pub const PADDING: i64 = 0;
    /// Number of what is not in them.
    pub const UNKNOWN: i64 = 1;
    /// Number of the first token in them.
    pub const FIRST: i64 = 2;

    /// Whether the training data say what the vocabulary is.
    pub fn is_learnt(&self) -> bool {
        matches!(self.tokens, Tokens::Word | Tokens::Char)
    }
}

/// What a token is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokens {
    /// A run of letters, digits, marks and underscores (`\w` of Unicode Technical Standard #18), or a run of other characters without
    /// white space.
    Word,
    /// A Unicode scalar value.
    Char,
    /// A byte of UTF-8.
    Byte,
    /// What a tokeniser of the library `tokenizers` makes: the content of its `tokenizer.json`.
    Tokenizer(String),
}
