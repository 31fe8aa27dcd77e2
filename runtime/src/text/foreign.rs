//! Tokenisers of the library `tokenizers`, as their `tokenizer.json` describes them: WordPiece, BPE, Unigram and what else it knows.
//!
//! The library is as large as the rest of a program, so only the programs that need it have it: their `main` calls [`install`], and
//! nothing else leads to it.

use super::Token;
use kiln_ir::Diagnostic;
use std::sync::OnceLock;
use tokenizers::{Tokenizer, TruncationParams};

/// A tokeniser that is made elsewhere.
pub trait Foreign {
    /// The tokens of a text, and, if it is `whole`, those that the tokeniser puts around each, together as many as count at most. Errors:
    /// `text` when it cannot.
    fn tokens(&self, text: &str, whole: bool) -> Result<Vec<Token>, Diagnostic>;
    /// The text of tokens.
    fn text(&self, tokens: &[i64]) -> Result<String, Diagnostic>;
}

/// What makes such a tokeniser of its file's content, and of how many tokens of a text count.
pub type Open = fn(&str, Option<u32>) -> Result<Box<dyn Foreign>, Diagnostic>;

/// Set once and before all else, by the programs that have the library.
static OPEN: OnceLock<Open> = OnceLock::new();

/// Lets this program read tokenisers.
pub fn install() {
    let _ = OPEN.set(open);
}

/// The tokeniser with that content, and so many tokens of a text at most. Errors: `tokenizer` when it cannot be read, or this program cannot read any.
pub fn opened(json: &str, length: Option<u32>) -> Result<Box<dyn Foreign>, Diagnostic> {
    let open = OPEN.get().ok_or_else(|| Diagnostic::new("tokenizer", "this program reads no tokenizer.json"))?;
    open(json, length)
}

fn open(json: &str, length: Option<u32>) -> Result<Box<dyn Foreign>, Diagnostic> {
    let wrong = |error: tokenizers::Error| Diagnostic::new("tokenizer", format!("tokenizer.json cannot be read: {error}"));
    let mut tokenizer = Tokenizer::from_bytes(json).map_err(wrong)?;
    // The network's input says how long texts are and what fills them.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(wrong)?;
    let mut whole = tokenizer.clone();
    if let Some(length) = length {
        whole.with_truncation(Some(TruncationParams { max_length: length as usize, ..TruncationParams::default() })).map_err(wrong)?;
    }
    Ok(Box::new(Library { running: tokenizer, whole }))
}

struct Library {
    /// Without bounds.
    running: Tokenizer,
    /// For whole texts.
    whole: Tokenizer,
}

impl Foreign for Library {
    fn tokens(&self, text: &str, whole: bool) -> Result<Vec<Token>, Diagnostic> {
        let wrong = |error: tokenizers::Error| Diagnostic::new("text", format!("the tokeniser takes no `{text}`: {error}"));
        let tokenizer = if whole { &self.whole } else { &self.running };
        let made = tokenizer.encode(text, whole).map_err(wrong)?;
        let token = |(number, place): (&u32, &(usize, usize))| Token { number: i64::from(*number), place: place.0..place.1 };
        Ok(made.get_ids().iter().zip(made.get_offsets()).map(token).collect())
    }

    fn text(&self, tokens: &[i64]) -> Result<String, Diagnostic> {
        let numbers: Vec<u32> = tokens.iter().filter_map(|token| u32::try_from(*token).ok()).collect();
        self.running.decode(&numbers, true).map_err(|error| Diagnostic::new("text", format!("tokens are no text: {error}")))
    }
}

/// What a network has to know of a tokeniser.
pub struct Facts {
    /// Numbers of tokens are below this.
    pub size: u32,
    /// The number of padding, if it has one.
    pub padding: Option<u32>,
    /// The number of unknown tokens, or of hidden ones, if it has one.
    pub unknown: Option<u32>,
    /// Tokens at most, if its file says so.
    pub length: Option<usize>,
}

/// What a network has to know of the tokeniser with that content. Errors: `tokenizer` when it cannot be read.
pub fn facts(json: &str) -> Result<Facts, Diagnostic> {
    let wrong = |error: tokenizers::Error| Diagnostic::new("tokenizer", format!("it is no tokenizer.json: {error}"));
    let tokenizer = Tokenizer::from_bytes(json).map_err(wrong)?;
    let number = |names: &[&str]| names.iter().find_map(|name| tokenizer.token_to_id(name));
    let largest = tokenizer.get_vocab(true).into_values().max();
    let padding = tokenizer.get_padding().map(|padding| padding.pad_id).or_else(|| number(&["[PAD]", "<pad>", "<|padding|>"]));
    Ok(Facts {
        size: largest.map_or(0, |largest| largest + 1),
        padding,
        unknown: number(&["[UNK]", "<unk>", "[MASK]", "<mask>"]),
        length: tokenizer.get_truncation().map(|truncation| truncation.max_length),
    })
}
