//! How a text becomes an input: the table `text` of an [[input]].

use super::file::{Input, InputType};
use super::tree::Mistake;
use kiln_ir::artifact::{TextInput, Tokens};
use kiln_runtime::files::file_error;
use kiln_runtime::text::foreign::facts;
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::Path;

/// How texts become an input; see [`TextInput`].
#[derive(Deserialize, JsonSchema)]
pub struct Text {
    /// `word`, `char`, `byte`, or the path of a `tokenizer.json` from where the model file lies.
    tokens: String,
    /// Tokens in the vocabulary at most, with those for padding and for unknown ones.
    vocabulary: Option<u32>,
    /// How often a token stands in the training data at least.
    least_count: Option<u32>,
    /// Tokens of a text that count.
    length: Option<u32>,
    /// Whether letters become small ones.
    #[serde(default)]
    lower_case: bool,
}

/// Words of `tokens` beside paths.
const TOKENS: [&str; 3] = ["word", "char", "byte"];

impl Text {
    /// In the words of artefacts; paths begin in `folder`. Errors: the input takes no tokens; settings that do not go together; a
    /// tokeniser that cannot be read.
    pub fn describe(&self, input: &Input, folder: &Path) -> Result<TextInput, Mistake> {
        let wrong = |text: &str| Err(Mistake::new(text));
        let behind = input.shape.iter().filter(|dim| dim.as_symbol().is_none_or(|symbol| symbol.name() != "batch"));
        let [time] = behind.collect::<Vec<_>>()[..] else {
            return wrong("a text's shape is [time]: a name, or the number of tokens of each text");
        };
        if !matches!(input.dtype, None | Some(InputType::I64 | InputType::I32)) {
            return wrong("tokens are integers: the `dtype` is i64 or i32");
        }
        if self.length == Some(0) || time.is(0) {
            return wrong("a text has a `length` of 1 at least");
        }
        let fixed = time.as_const().and_then(|size| u32::try_from(size).ok());
        let length = match (fixed, self.length) {
            (Some(fixed), Some(length)) if length != fixed => {
                return Err(Mistake::new(format!("`length` is {length}, and the input's shape says {fixed}")));
            }
            (fixed, length) => fixed.or(length),
        };
        let tokens = match self.tokens.as_str() {
            "word" => Tokens::Word,
            "char" => Tokens::Char,
            "byte" => Tokens::Byte,
            path if path.ends_with(".json") => return self.of_tokenizer(input, &folder.join(path), length),
            other => {
                let mistake = Mistake::new(format!("there are no tokens of kind `{other}`"));
                return Err(mistake.help(format!("one of {}, or the path of a tokenizer.json", TOKENS.join(", "))));
            }
        };
        let first = TextInput::FIRST as u32;
        let size = match (&tokens, self.vocabulary) {
            (Tokens::Byte, None) => first + 256,
            (Tokens::Byte, Some(_)) => return wrong("bytes are 256: they take no size of a `vocabulary`"),
            (_, Some(size)) if size > first => size,
            (_, Some(_)) => return wrong("a `vocabulary` has a token at least beside those for padding and for unknown ones"),
            (_, None) => return wrong("`vocabulary` is missing: how many words or characters the network tells apart at most"),
        };
        if tokens == Tokens::Byte && self.least_count.is_some() {
            return wrong("all bytes are known: `least_count` is for words and characters");
        }
        Ok(TextInput {
            input: input.name.clone(),
            tokens,
            lower_case: self.lower_case,
            length,
            size,
            least_count: self.least_count.unwrap_or(1),
            padding: TextInput::PADDING,
            unknown: Some(TextInput::UNKNOWN),
            vocabulary: None,
        })
    }

    /// Of a file of the library `tokenizers`, which says what its tokens are.
    fn of_tokenizer(&self, input: &Input, path: &Path, length: Option<u32>) -> Result<TextInput, Mistake> {
        if self.vocabulary.is_some() || self.least_count.is_some() || self.lower_case {
            let mistake = Mistake::new("the tokeniser's file says which tokens there are: it goes without `vocabulary`, `least_count`");
            return Err(mistake.help("whether letters become small ones, its file says as well"));
        }
        let json = std::fs::read_to_string(path).map_err(|error| Mistake::new(file_error("read", path, &error).message))?;
        let facts = facts(&json).map_err(|error| Mistake::new(format!("{}: {}", path.display(), error.message)))?;
        // Without a token for padding, it gets a number of its own behind the others.
        let padding = facts.padding.unwrap_or(facts.size);
        Ok(TextInput {
            input: input.name.clone(),
            tokens: Tokens::Tokenizer(json),
            lower_case: false,
            length: length.or(facts.length.and_then(|length| u32::try_from(length).ok())),
            size: facts.size.max(padding + 1),
            least_count: 1,
            padding: i64::from(padding),
            unknown: facts.unknown.map(i64::from),
            vocabulary: None,
        })
    }
}
