//! Tokens of the text form, read on demand so that dims can be handed to the dim parser where they stand.

use super::names::word_length;
use crate::Diagnostic;
use std::fmt;

/// A piece of text with its byte range.
pub(super) type Span = (usize, usize);

/// One token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// `module`, `f32`, `a_batch`
    Word(String),
    /// `%x`, `%"input.1"`, `%7`: the key says which spelling, so that `%7` and `%"7"` are two values.
    Value(Key),
    /// `"text"`
    Text(String),
    /// `123`
    Number(String),
    /// `@0123…`
    Digest(u128),
    /// `{`, `..=`
    Mark(&'static str),
    /// The end of the text.
    End,
}

/// The name of a value inside a function.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Key {
    /// `%7`
    Number(String),
    /// `%x`
    Name(String),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Number(n) => write!(f, "%{n}"),
            Key::Name(n) => write!(f, "%{}", super::names::quoted(n)),
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(w) => write!(f, "`{w}`"),
            Token::Value(key) => write!(f, "`{key}`"),
            Token::Text(_) => f.write_str("a string"),
            Token::Number(n) => write!(f, "`{n}`"),
            Token::Digest(_) => f.write_str("a digest"),
            Token::Mark(m) => write!(f, "`{m}`"),
            Token::End => f.write_str("the end of the text"),
        }
    }
}

/// Longest first, so that `..=` is one mark.
const MARKS: &[&str] = &["..=", "..", "<=", "{", "}", "(", ")", "[", "]", ",", ":", ";", "=", "-"];

/// A position in a text.
pub(super) struct Cursor<'a> {
    /// What the text is called in messages.
    pub place: &'a str,
    text: &'a str,
    at: usize,
    /// A byte position whose line is known, so that counting lines does not begin anew each time.
    counted: (usize, usize),
}

impl<'a> Cursor<'a> {
    pub fn new(place: &'a str, text: &'a str) -> Cursor<'a> {
        Cursor { place, text, at: 0, counted: (0, 1) }
    }

    /// The text from the next token on.
    pub fn rest(&mut self) -> &'a str {
        self.skip();
        &self.text[self.at..]
    }

    /// Moves on by that many bytes of [`Cursor::rest`] and gives their span.
    pub fn advance(&mut self, bytes: usize) -> Span {
        let start = self.at;
        self.at += bytes;
        (start, self.at)
    }

    /// Where the next token begins.
    pub fn position(&mut self) -> usize {
        self.skip();
        self.at
    }

    /// Where the last token ended.
    pub fn end(&self) -> usize {
        self.at
    }

    /// The line of a byte position, from 1. Positions are asked for in ascending order.
    pub fn line(&mut self, at: usize) -> usize {
        let (from, line) = self.counted;
        let newlines = self.text.as_bytes()[from.min(at)..at].iter().filter(|b| **b == b'\n').count();
        self.counted = (at, line + newlines);
        line + newlines
    }

    fn skip(&mut self) {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(c) if c.is_ascii_whitespace() => self.at += 1,
                Some(b'#') => self.at += bytes[self.at..].iter().take_while(|c| **c != b'\n').count(),
                _ => return,
            }
        }
    }

    /// The next token without taking it.
    pub fn peek(&mut self) -> Result<(Token, Span), Diagnostic> {
        let start = self.at;
        let next = self.next();
        self.at = start;
        next
    }

    /// Takes the next token.
    pub fn next(&mut self) -> Result<(Token, Span), Diagnostic> {
        self.skip();
        let start = self.at;
        let bytes = &self.text.as_bytes()[start..];
        let Some(first) = bytes.first() else {
            return Ok((Token::End, (start, start)));
        };
        let length = word_length(bytes);
        let token = match first {
            _ if length > 0 => {
                self.at += length;
                Token::Word(self.text[start..self.at].to_string())
            }
            b'0'..=b'9' => Token::Number(self.digits()),
            b'"' => Token::Text(self.string()?),
            b'%' => {
                self.at += 1;
                Token::Value(self.key(start)?)
            }
            b'@' => {
                self.at += 1;
                let digits = self.text.as_bytes()[self.at..].iter().take_while(|c| c.is_ascii_hexdigit()).count();
                let text = &self.text[self.at..self.at + digits];
                self.at += digits;
                match u128::from_str_radix(text, 16) {
                    Ok(digest) if digits == 32 => Token::Digest(digest),
                    _ => return Err(self.error("syntax", "a digest is `@` and 32 hexadecimal digits", (start, self.at), "")),
                }
            }
            _ => match MARKS.iter().find(|m| bytes.starts_with(m.as_bytes())) {
                Some(mark) => {
                    self.at += mark.len();
                    Token::Mark(mark)
                }
                None => {
                    let c = self.text[start..].chars().next().unwrap_or(' ');
                    let span = (start, start + c.len_utf8());
                    return Err(self.error(
                        "syntax",
                        format!("unexpected character `{}`", c.escape_debug()),
                        span,
                        "not part of the language",
                    ));
                }
            },
        };
        Ok((token, (start, self.at)))
    }

    fn digits(&mut self) -> String {
        let start = self.at;
        self.at += self.text.as_bytes()[start..].iter().take_while(|c| c.is_ascii_digit()).count();
        self.text[start..self.at].to_string()
    }

    fn key(&mut self, start: usize) -> Result<Key, Diagnostic> {
        let bytes = &self.text.as_bytes()[self.at..];
        match bytes.first() {
            Some(b'"') => self.string().map(Key::Name),
            Some(c) if c.is_ascii_digit() => Ok(Key::Number(self.digits())),
            _ => match word_length(bytes) {
                0 => Err(self.error("syntax", "expected a name after `%`", (start, start + 1), "here")),
                length => {
                    let name = self.text[self.at..self.at + length].to_string();
                    self.at += length;
                    Ok(Key::Name(name))
                }
            },
        }
    }

    fn string(&mut self) -> Result<String, Diagnostic> {
        let start = self.at;
        let mut out = String::new();
        let mut chars = self.text[start + 1..].char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.at = start + 1 + at + 1;
                    return Ok(out);
                }
                '\n' => break,
                '\\' => match escape(&mut chars) {
                    Some(c) => out.push(c),
                    None => {
                        let span = (start + 1 + at, start + 2 + at);
                        return Err(self.error("syntax", "unknown escape in a string", span, "there are \\\" \\\\ \\n \\t \\u{hex}"));
                    }
                },
                c => out.push(c),
            }
        }
        Err(self.error("syntax", "a string without its closing quote", (start, start + 1), "opened here"))
    }

    /// The characters of a literal element, `-1.5e-3`, `inf`, `0x7fc00001`, `true`; may be empty.
    pub fn element(&mut self) -> (&'a str, Span) {
        let rest = self.rest();
        let part = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.');
        let length = rest.as_bytes().iter().take_while(|c| part(c)).count();
        let span = self.advance(length);
        (&rest[..length], span)
    }

    /// A diagnostic about a place in this text.
    pub fn error(&self, code: &str, message: impl Into<String>, span: Span, label: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, message).at_span(self.place, span, label)
    }
}

fn escape(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    match chars.next()?.1 {
        '"' => Some('"'),
        '\\' => Some('\\'),
        'n' => Some('\n'),
        't' => Some('\t'),
        'u' => {
            if chars.next()?.1 != '{' {
                return None;
            }
            let mut code = 0u32;
            loop {
                match chars.next()?.1 {
                    '}' => return char::from_u32(code),
                    c => code = code.checked_mul(16)?.checked_add(c.to_digit(16)?)?,
                }
            }
        }
        _ => None,
    }
}
