//! Texts cut into words, characters or bytes. *Source*: the pre-tokeniser `Whitespace` and the normaliser `Lowercase` of the library
//! `tokenizers`, with which pieces and places agree.

use kiln_ir::artifact::{TextInput, Tokens};
use regex_syntax::is_word_character;
use std::ops::Range;

/// Gives `take` each piece of a text and where it stands, in order, until it says that this is enough.
pub fn pieces(text: &str, input: &TextInput, take: &mut dyn FnMut(&[u8], Range<usize>) -> bool) {
    let letters = normalised(text, input.lower_case);
    let mut buffer = [0; 4];
    match input.tokens {
        Tokens::Byte => {
            for (letter, place) in letters {
                for byte in letter.encode_utf8(&mut buffer).bytes() {
                    if !take(&[byte], place.clone()) {
                        return;
                    }
                }
            }
        }
        Tokens::Char | Tokens::Tokenizer(_) => {
            letters.into_iter().all(|(letter, place)| take(letter.encode_utf8(&mut buffer).as_bytes(), place));
        }
        Tokens::Word => {
            let mut piece = String::new();
            let mut from = 0;
            while from < letters.len() {
                let kind = kind(letters[from].0);
                let to = from + letters[from..].iter().take_while(|(letter, _)| self::kind(*letter) == kind).count();
                piece.clear();
                piece.extend(letters[from..to].iter().map(|(letter, _)| letter));
                let place = letters[from].1.start..letters[to - 1].1.end;
                if kind != Kind::Space && !take(piece.as_bytes(), place) {
                    return;
                }
                from = to;
            }
        }
    }
}

/// What pieces are made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Space,
    Other,
}

fn kind(letter: char) -> Kind {
    match letter {
        _ if is_word_character(letter) => Kind::Word,
        _ if letter.is_whitespace() => Kind::Space,
        _ => Kind::Other,
    }
}

/// The characters of a text, small ones if that is asked for, each with the bytes that it was made of.
pub fn normalised(text: &str, lower_case: bool) -> Vec<(char, Range<usize>)> {
    let mut letters = Vec::with_capacity(text.len());
    for (at, letter) in text.char_indices() {
        let place = at..at + letter.len_utf8();
        match lower_case {
            true => letters.extend(letter.to_lowercase().map(|small| (small, place.clone()))),
            false => letters.push((letter, place)),
        }
    }
    letters
}
