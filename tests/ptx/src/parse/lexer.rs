//! Text into tokens with their lines. Comments and debug directives are left out.

use crate::fault::ParseError;

/// A token of PTX.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// A name, directive or opcode: dots and `::` inside belong to it.
    Word(String),
    Integer(u64),
    /// `0f…`: the bits of an f32.
    Single(u32),
    /// `0d…` or a decimal number with a point: the bits of an f64.
    Double(u64),
    Text(String),
    Sign(char),
    End,
}

/// A token and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub token: Token,
    pub line: u32,
}

fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$' | b'%' | b'.')
}

/// An error at `line` of `source`.
pub(crate) fn error_at(source: &str, line: u32, message: impl Into<String>) -> ParseError {
    let text = source.lines().nth(line.saturating_sub(1) as usize).unwrap_or("").trim().to_string();
    ParseError { line, message: message.into(), text }
}

/// Splits `source`; the last token is [`Token::End`].
pub(crate) fn tokens(source: &str) -> Result<Vec<Placed>, ParseError> {
    let s = source.as_bytes();
    let (mut i, mut line) = (0, 1u32);
    let mut out = Vec::new();
    while i < s.len() {
        let c = s[i];
        let start = i;
        match c {
            b'\n' => {
                line += 1;
                i += 1;
            }
            c if c.is_ascii_whitespace() => i += 1,
            b'/' if s.get(i + 1) == Some(&b'/') => {
                while i < s.len() && s[i] != b'\n' {
                    i += 1;
                }
            }
            b'/' if s.get(i + 1) == Some(&b'*') => {
                let first = line;
                i += 2;
                while i < s.len() && !s[i..].starts_with(b"*/") {
                    line += u32::from(s[i] == b'\n');
                    i += 1;
                }
                if i >= s.len() {
                    return Err(error_at(source, first, "this comment does not end"));
                }
                i += 2;
            }
            b'"' => {
                i += 1;
                while i < s.len() && s[i] != b'"' && s[i] != b'\n' {
                    i += 1;
                }
                if s.get(i) != Some(&b'"') {
                    return Err(error_at(source, line, "this string does not end"));
                }
                out.push(Placed { token: Token::Text(source[start + 1..i].to_string()), line });
                i += 1;
            }
            b'0'..=b'9' => {
                while i < s.len()
                    && (is_word(s[i]) || matches!(s[i], b'+' | b'-') && matches!(s[i - 1], b'e' | b'E') && decimal(&s[start..i]))
                {
                    i += 1;
                }
                let token =
                    number(&source[start..i]).ok_or_else(|| error_at(source, line, format!("`{}` is not a number", &source[start..i])))?;
                out.push(Placed { token, line });
            }
            c if is_word(c) => {
                while i < s.len() && (is_word(s[i]) || s[i..].starts_with(b"::") || s[i] == b':' && s[i - 1] == b':' && i > start) {
                    i += 1;
                }
                out.push(Placed { token: Token::Word(source[start..i].to_string()), line });
            }
            c if c.is_ascii_punctuation() => {
                out.push(Placed { token: Token::Sign(c as char), line });
                i += 1;
            }
            _ => {
                let odd = source[i..].chars().next().unwrap_or('?');
                return Err(error_at(source, line, format!("`{odd}` does not belong in PTX")));
            }
        }
    }
    out.push(Placed { token: Token::End, line });
    Ok(out)
}

fn decimal(digits: &[u8]) -> bool {
    digits.contains(&b'.')
}

fn number(text: &str) -> Option<Token> {
    let radix = |digits: &str, radix| u64::from_str_radix(digits.trim_end_matches('U'), radix).ok().map(Token::Integer);
    match text.as_bytes() {
        [b'0', b'f' | b'F', ..] if text.len() == 10 => u32::from_str_radix(&text[2..], 16).ok().map(Token::Single),
        [b'0', b'd' | b'D', ..] if text.len() == 18 => u64::from_str_radix(&text[2..], 16).ok().map(Token::Double),
        [b'0', b'x' | b'X', ..] => radix(&text[2..], 16),
        [b'0', b'b' | b'B', ..] => radix(&text[2..], 2),
        _ if text.contains('.') => text.parse().ok().map(|v: f64| Token::Double(v.to_bits())),
        [b'0', _, ..] if text.trim_end_matches('U').len() > 1 => radix(&text[1..], 8),
        _ => radix(text, 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_numbers_and_comments() {
        let words: Vec<Token> = tokens("ld.shared::cta.v2.f32 // x\n{%f1, 0f3F800000}, -0x10 /* \n */ L1: 1.5e-3 010")
            .unwrap()
            .into_iter()
            .map(|p| p.token)
            .collect();
        assert_eq!(words[0], Token::Word("ld.shared::cta.v2.f32".into()));
        assert_eq!(words[4], Token::Single(0x3f80_0000));
        assert_eq!(words[8], Token::Integer(16));
        assert_eq!(words[9..11], [Token::Word("L1".into()), Token::Sign(':')]);
        assert_eq!(words[11], Token::Double(1.5e-3f64.to_bits()));
        assert_eq!(words[12], Token::Integer(8));
    }

    #[test]
    fn errors_name_the_line() {
        let error = tokens("add.u32\n  0f12").unwrap_err();
        assert_eq!((error.line, error.text.as_str()), (2, "0f12"));
        assert_eq!(tokens("\n/* never").unwrap_err().line, 2);
    }
}
