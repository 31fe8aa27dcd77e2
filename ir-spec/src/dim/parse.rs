//! Reads the text form of a dim: integers, names, `+ - *`, parentheses and the named functions.

use super::Dim;

/// Parses `2*batch*floordiv(t + 1, 2) + 3`. Names consist of letters, digits, `_`, `.` and `$`, and do not start with a digit.
///
/// Errors: a message naming the offending character.
pub fn parse_dim(text: &str) -> Result<Dim, String> {
    let mut parser = Parser { text: text.as_bytes(), at: 0, depth: 0 };
    let dim = parser.sum()?;
    parser.skip_spaces();
    if parser.at < parser.text.len() {
        return Err(parser.unexpected("the end"));
    }
    Ok(dim)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn skip_spaces(&mut self) {
        while self.text.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_spaces();
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.eat(byte) { Ok(()) } else { Err(self.unexpected(&format!("`{}`", byte as char))) }
    }

    fn unexpected(&self, wanted: &str) -> String {
        let rest = String::from_utf8_lossy(&self.text[self.at..]);
        format!("expected {wanted} in dim expression, found `{rest}`")
    }

    fn sum(&mut self) -> Result<Dim, String> {
        let mut total = if self.eat(b'-') { Dim::ZERO - self.product()? } else { self.product()? };
        loop {
            if self.eat(b'+') {
                total = total + self.product()?;
            } else if self.eat(b'-') {
                total = total - self.product()?;
            } else {
                return Ok(total);
            }
        }
    }

    fn product(&mut self) -> Result<Dim, String> {
        let mut total = self.factor()?;
        while self.eat(b'*') {
            total = total * self.factor()?;
        }
        Ok(total)
    }

    fn factor(&mut self) -> Result<Dim, String> {
        self.depth += 1;
        if self.depth > 64 {
            return Err("dim expression nested deeper than 64".into());
        }
        let dim = self.primary();
        self.depth -= 1;
        dim
    }

    fn primary(&mut self) -> Result<Dim, String> {
        match self.peek() {
            Some(b'(') => {
                self.at += 1;
                let inner = self.sum()?;
                self.expect(b')')?;
                Ok(inner)
            }
            Some(c) if c.is_ascii_digit() => {
                let start = self.at;
                while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
                    self.at += 1;
                }
                let digits = String::from_utf8_lossy(&self.text[start..self.at]);
                digits.parse::<i64>().map(Dim::from).map_err(|_| format!("{digits} does not fit 64 bits"))
            }
            Some(c) if is_name(c) => {
                let start = self.at;
                while self.text.get(self.at).is_some_and(|c| is_name(*c)) {
                    self.at += 1;
                }
                let name = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
                if self.eat(b'(') { self.call(&name) } else { Ok(Dim::symbol(&name)) }
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
        for text in ["0", "-3", "batch", "2*batch*floordiv(t + 1, 2) + 3", "bcast(a, b) - 7*c", "min(a, max(b, c))*mod(d, 5)"] {
            let dim = parse_dim(text).unwrap();
            assert_eq!(parse_dim(&dim.to_string()).unwrap(), dim, "{text}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for text in ["", "1 +", "foo(1, 2)", "floordiv(1)", "3 4", "99999999999999999999", &"(".repeat(100)] {
            assert!(parse_dim(text).is_err(), "{text}");
        }
    }
}
