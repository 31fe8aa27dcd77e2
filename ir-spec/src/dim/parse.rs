//! Reads the text form of a dim: integers, names, `+ - *`, parentheses and the named functions.

use super::Dim;

/// Parses `2*batch*floordiv(t + 1, 2) + 3`. Names consist of letters, digits, `_`, `.` and `$`, and do not start with a digit.
///
/// Errors: a message naming the offending character.
pub fn parse_dim(text: &str) -> Result<Dim, String> {
    let (dim, at) = parse_dim_prefix(text).map_err(|e| e.message)?;
    let rest = text[at..].trim();
    if rest.is_empty() { Ok(dim) } else { Err(format!("expected the end in dim expression, found `{}`", beginning(rest))) }
}

/// What is wrong with the text of a dim, and at which byte.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DimError {
    /// Byte position.
    pub at: usize,
    /// What was expected and what is there.
    pub message: String,
}

/// Parses the dim that `text` begins with, as far as it goes, and gives the number of bytes it takes.
///
/// Errors: as [`parse_dim`]; also expressions so large that computing with them would take long.
pub fn parse_dim_prefix(text: &str) -> Result<(Dim, usize), DimError> {
    let mut parser = Parser { text: text.as_bytes(), at: 0, depth: 0, factors: 0 };
    let result = parser.sum();
    match result {
        Ok(dim) => Ok((dim, parser.at)),
        Err(message) => Err(DimError { at: parser.at.min(text.len()), message }),
    }
}

/// Limits on one written expression. Nothing real comes near; they keep hostile text from taking time or stack.
const MAX_DEPTH: usize = 64;
const MAX_FACTORS: usize = 512;
const MAX_TERMS: usize = 512;

fn beginning(text: &str) -> String {
    text.chars().take_while(|c| *c != '\n').take(24).collect()
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    factors: usize,
}

impl Parser<'_> {
    /// The next byte that is no space, without consuming anything.
    fn peek(&mut self) -> Option<u8> {
        let spaces = self.text[self.at..].iter().take_while(|c| c.is_ascii_whitespace()).count();
        self.text.get(self.at + spaces).copied()
    }

    fn skip_spaces(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.skip_spaces();
            self.at += 1;
        }
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.eat(byte) { Ok(()) } else { Err(self.unexpected(&format!("`{}`", byte as char))) }
    }

    fn unexpected(&mut self, wanted: &str) -> String {
        self.skip_spaces();
        let rest = String::from_utf8_lossy(&self.text[self.at..]).into_owned();
        match beginning(&rest) {
            found if found.is_empty() => format!("expected {wanted} in dim expression, found the end"),
            found => format!("expected {wanted} in dim expression, found `{found}`"),
        }
    }

    fn limited(&self, terms: usize) -> Result<(), String> {
        if terms <= MAX_TERMS { Ok(()) } else { Err(format!("dim expression of more than {MAX_TERMS} terms")) }
    }

    fn sum(&mut self) -> Result<Dim, String> {
        let negative = self.eat(b'-');
        let mut total = self.product(negative)?;
        loop {
            let negative = match self.peek() {
                Some(b'+') => false,
                Some(b'-') => true,
                _ => return Ok(total),
            };
            self.skip_spaces();
            self.at += 1;
            total = total + self.product(negative)?;
            self.limited(total.terms().len())?;
        }
    }

    /// The sign belongs to the first factor, so that the least number can be written.
    fn product(&mut self, negative: bool) -> Result<Dim, String> {
        let mut total = self.factor(negative)?;
        while self.eat(b'*') {
            let factor = self.factor(false)?;
            self.limited(total.terms().len().saturating_mul(factor.terms().len()))?;
            total = total * factor;
        }
        Ok(total)
    }

    fn factor(&mut self, negative: bool) -> Result<Dim, String> {
        self.depth += 1;
        self.factors += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("dim expression nested deeper than {MAX_DEPTH}"));
        }
        if self.factors > MAX_FACTORS {
            return Err(format!("dim expression of more than {MAX_FACTORS} factors"));
        }
        let dim = self.primary(negative);
        self.depth -= 1;
        dim
    }

    fn primary(&mut self, negative: bool) -> Result<Dim, String> {
        let sign = |dim: Dim| if negative { Dim::ZERO - dim } else { dim };
        let next = self.peek();
        if next.is_some_and(|c| c == b'(' || is_name(c)) {
            self.skip_spaces();
        }
        match next {
            Some(b'(') => {
                self.at += 1;
                let inner = self.sum()?;
                self.expect(b')')?;
                Ok(sign(inner))
            }
            Some(c) if c.is_ascii_digit() => {
                let start = self.at;
                while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
                    self.at += 1;
                }
                let digits = String::from_utf8_lossy(&self.text[start..self.at]);
                let number = if negative { format!("-{digits}") } else { digits.into_owned() };
                number.parse::<i64>().map(Dim::from).map_err(|_| format!("{} does not fit 64 bits", beginning(&number)))
            }
            Some(c) if is_name(c) => {
                let start = self.at;
                while self.text.get(self.at).is_some_and(|c| is_name(*c)) {
                    self.at += 1;
                }
                let name = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
                Ok(sign(if self.eat(b'(') { self.call(&name)? } else { Dim::symbol(&name) }))
            }
            _ => Err(self.unexpected("a number or a name")),
        }
    }

    fn call(&mut self, name: &str) -> Result<Dim, String> {
        let a = self.sum()?;
        self.expect(b',')?;
        let b = self.sum()?;
        self.expect(b')')?;
        match name {
            "floordiv" => Ok(a.floor_div(&b)),
            "ceildiv" => Ok(a.ceil_div(&b)),
            "mod" => Ok(a.modulo(&b)),
            "min" => Ok(a.minimum(&b)),
            "max" => Ok(a.maximum(&b)),
            "bcast" => Ok(a.bcast(&b)),
            _ => Err(format!("no function `{name}` in dim expressions; there are floordiv, ceildiv, mod, min, max, bcast")),
        }
    }
}

fn is_name(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'$' | b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_dims_read_back() {
        for text in [
            "0",
            "-3",
            "batch",
            "2*batch*floordiv(t + 1, 2) + 3",
            "bcast(a, b) - 7*c",
            "min(a, max(b, c))*mod(d, 5)",
            "-9223372036854775808",
            "-9223372036854775808*n - 3",
        ] {
            let dim = parse_dim(text).unwrap();
            assert_eq!(parse_dim(&dim.to_string()).unwrap(), dim, "{text}");
        }
    }

    #[test]
    fn a_prefix_ends_where_the_dim_ends() {
        for (text, rest) in [("n + 1, 3]", ", 3]"), ("n <= m", " <= m"), ("2 broadcasts n", " broadcasts n"), (" n\n %x", "\n %x")] {
            let (_, taken) = parse_dim_prefix(text).unwrap();
            assert_eq!(&text[taken..], rest);
        }
        assert_eq!(parse_dim_prefix("n + ]").unwrap_err().at, 4);
    }

    #[test]
    fn hostile_expressions_are_refused_quickly() {
        let product = vec!["(a + b + c + d)"; 100].join("*");
        let sum = (0..100_000).map(|i| format!("a{i}")).collect::<Vec<_>>().join("+");
        for text in [product, sum, "min(".repeat(10_000), "9".repeat(100_000)] {
            assert!(parse_dim(&text).unwrap_err().len() < 200);
        }
    }

    #[test]
    fn mistakes_are_told() {
        for text in ["", "1 +", "foo(1, 2)", "floordiv(1)", "3 4", "99999999999999999999", &"(".repeat(100)] {
            assert!(parse_dim(text).is_err(), "{text}");
        }
    }
}
