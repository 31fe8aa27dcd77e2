//! Attributes, types and literals: the parts of a statement that know nothing of the graph around them.

use super::constants::{ConstantTable, Digest};
use super::elements::{parse_element, parse_float};
use super::lex::{Cursor, Span, Token};
use super::names::word_length;
use super::parse::{MAX_NESTING, Parser};
use crate::attr::{Attr, AttrMap};
use crate::diagnostic::nearest;
use crate::dim::parse_dim_prefix;
use crate::{DType, Diagnostic, Dim, Tensor, TensorType};
use std::sync::Arc;

impl Cursor<'_> {
    /// Takes the mark if it is next.
    pub fn eat(&mut self, mark: &str) -> Result<bool, Diagnostic> {
        let found = matches!(self.peek()?.0, Token::Mark(m) if m == mark);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    /// Takes the keyword if it is next.
    pub fn eat_word(&mut self, word: &str) -> Result<bool, Diagnostic> {
        let found = matches!(self.peek()?.0, Token::Word(w) if w == word);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    /// Takes the mark. Errors: something else is there.
    pub fn expect(&mut self, mark: &str) -> Result<Span, Diagnostic> {
        let (token, span) = self.next()?;
        match token {
            Token::Mark(m) if m == mark => Ok(span),
            other => Err(self.unexpected(&format!("`{mark}`"), &other, span)),
        }
    }

    /// "expected …, found …".
    pub fn unexpected(&self, wanted: &str, found: &Token, span: Span) -> Diagnostic {
        self.error("syntax", format!("expected {wanted}, found {found}"), span, format!("{wanted} belongs here"))
    }

    /// A name: a word or a string.
    pub fn name(&mut self, what: &str) -> Result<(String, Span), Diagnostic> {
        let (token, span) = self.next()?;
        match token {
            Token::Word(name) | Token::Text(name) => Ok((name, span)),
            other => Err(self.unexpected(what, &other, span)),
        }
    }

    /// A string.
    pub fn text(&mut self, what: &str) -> Result<String, Diagnostic> {
        let (token, span) = self.next()?;
        match token {
            Token::Text(text) => Ok(text),
            other => Err(self.unexpected(what, &other, span)),
        }
    }

    /// A dim expression.
    pub fn dim(&mut self) -> Result<Dim, Diagnostic> {
        let rest = self.rest();
        let start = self.position();
        match parse_dim_prefix(rest) {
            Ok((dim, length)) => {
                self.advance(length);
                Ok(dim)
            }
            Err(e) => {
                let at = start + e.at;
                Err(self.error("syntax", e.message, (at, at), "in this dim"))
            }
        }
    }

    /// A whole number that may be negative.
    pub fn integer(&mut self) -> Result<i64, Diagnostic> {
        let negative = self.eat("-")?;
        let (token, span) = self.next()?;
        let Token::Number(digits) = &token else {
            return Err(self.unexpected("a whole number", &token, span));
        };
        let text = if negative { format!("-{digits}") } else { digits.clone() };
        text.parse().map_err(|_| self.error("syntax", "a number that does not fit 64 bits", span, "too large"))
    }

    /// Dims in brackets.
    fn shape(&mut self) -> Result<Vec<Dim>, Diagnostic> {
        self.expect("[")?;
        let mut shape = Vec::new();
        while !self.eat("]")? {
            if !shape.is_empty() {
                self.expect(",")?;
            }
            shape.push(self.dim()?);
        }
        Ok(shape)
    }

    /// `f32[batch, 784]`
    pub fn tensor_type(&mut self) -> Result<(TensorType, Span), Diagnostic> {
        let (token, span) = self.next()?;
        let Token::Word(word) = &token else {
            return Err(self.unexpected("a type such as `f32[2, 3]`", &token, span));
        };
        let Some(dtype) = DType::from_name(word) else {
            let error = self.error("unknown_dtype", format!("no element type `{word}`"), span, "not an element type");
            let names = DType::ALL.map(DType::name);
            return Err(error.help(match nearest(word, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", names.join(", ")),
            }));
        };
        let shape = self.shape()?;
        let end = self.end();
        if let Some(negative) = shape.iter().find(|d| d.as_const().is_some_and(|c| c < 0)) {
            return Err(self.error("syntax", format!("a size of {negative}"), (span.0, end), "sizes are 0 or more"));
        }
        Ok((TensorType { dtype, shape }, (span.0, end)))
    }

    /// The value of a tensor of type `ty`: elements, or a digest.
    pub fn literal(&mut self, ty: &TensorType, type_span: Span, constants: &ConstantTable) -> Result<Tensor, Diagnostic> {
        let Some(shape) = ty.fixed_shape() else {
            let message = format!("a constant needs constant sizes, {ty} has others");
            return Err(self.error("constant", message, type_span, "not all sizes are constants"));
        };
        if let (Token::Digest(digest), span) = self.peek_literal()? {
            self.next()?;
            return match constants.get(Digest(digest)) {
                Some(tensor) if tensor.ty() == *ty => Ok(tensor.clone()),
                Some(tensor) => Err(self.error("constant", format!("that digest is of a {}, not of a {ty}", tensor.ty()), span, "here")),
                None => Err(self
                    .error("unknown_constant", format!("no tensor with digest @{} was given", Digest(digest)), span, "named here")
                    .help("the values of large constants live in a file beside the text; give that too")),
            };
        }
        let start = self.position();
        let mut bytes = Vec::new();
        if shape.is_empty() {
            self.element_into(ty.dtype, &mut bytes)?;
        } else {
            self.expect("[")?;
            while !self.eat("]")? {
                if !bytes.is_empty() {
                    self.expect(",")?;
                }
                self.element_into(ty.dtype, &mut bytes)?;
            }
        }
        let span = (start, self.end());
        if crate::tensor::byte_size(ty.dtype, &shape) != Some(bytes.len()) {
            let count = bytes.len() / ty.dtype.size_bytes();
            let message = format!("{ty} takes {} elements, {count} are given", ty.elements());
            return Err(self.error("constant", message, span, format!("{count} elements")));
        }
        Ok(Tensor::from_vec(ty.dtype, shape, bytes))
    }

    /// Literals may begin with characters that are no tokens elsewhere; only a digest matters here.
    fn peek_literal(&mut self) -> Result<(Token, Span), Diagnostic> {
        if self.rest().starts_with('@') { self.peek() } else { Ok((Token::End, (0, 0))) }
    }

    fn element_into(&mut self, dtype: DType, bytes: &mut Vec<u8>) -> Result<(), Diagnostic> {
        let (text, span) = self.element();
        let element = parse_element(dtype, text).map_err(|e| self.error("constant", e, span, "here"))?;
        bytes.extend(element);
        Ok(())
    }
}

impl Parser<'_> {
    /// `{name = value, …}` if it is there.
    pub fn attributes(&mut self) -> Result<AttrMap, Diagnostic> {
        let mut attributes = AttrMap::new();
        if !self.cursor.eat("{")? {
            return Ok(attributes);
        }
        while !self.cursor.eat("}")? {
            if !attributes.is_empty() {
                self.cursor.expect(",")?;
            }
            let (token, span) = self.cursor.next()?;
            let Token::Word(name) = token else {
                return Err(self.cursor.unexpected("the name of an attribute", &token, span));
            };
            self.cursor.expect("=")?;
            let value = self.attribute()?;
            if attributes.insert(name.clone(), value).is_some() {
                return Err(self.cursor.error("attribute", format!("attribute `{name}` stands twice"), span, "the second"));
            }
        }
        Ok(attributes)
    }

    fn attribute(&mut self) -> Result<Attr, Diagnostic> {
        let rest = self.cursor.rest();
        match rest.as_bytes().first() {
            Some(b'[') => self.list(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => match word_length(rest.as_bytes()) {
                0 => Ok(Attr::Dim(self.cursor.dim()?)),
                length => self.word(&rest[..length], &rest[length..]),
            },
        }
    }

    fn list(&mut self) -> Result<Attr, Diagnostic> {
        self.enter()?;
        self.cursor.expect("[")?;
        let mut items = Vec::new();
        while !self.cursor.eat("]")? {
            if !items.is_empty() {
                self.cursor.expect(",")?;
            }
            items.push(self.attribute()?);
        }
        self.nesting -= 1;
        Ok(Attr::List(items))
    }

    /// A dim, unless it is written as a float.
    fn number(&mut self) -> Result<Attr, Diagnostic> {
        let rest = self.cursor.rest();
        let part = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'+' | b'-');
        let length = rest.as_bytes().iter().take_while(|c| part(c)).count();
        let text = &rest[..length];
        let sign = usize::from(text.starts_with('-'));
        let digits = sign + text[sign..].bytes().take_while(u8::is_ascii_digit).count();
        // `1.5`, `1e-5` and `0x7ff8…` are floats; `2*n - 1` and `1-n` are dims.
        let float = matches!(text.as_bytes().get(digits), Some(b'.' | b'e' | b'E' | b'x')) || text == "-inf";
        if !float {
            return Ok(Attr::Dim(self.cursor.dim()?));
        }
        let span = self.cursor.advance(length);
        match parse_float(DType::F64, text) {
            Some(bits) => Ok(Attr::Real(f64::from_bits(bits))),
            None => Err(self.cursor.error("syntax", format!("`{text}` is not a number"), span, "here")),
        }
    }

    fn word(&mut self, word: &str, after: &str) -> Result<Attr, Diagnostic> {
        let next = after.trim_start().as_bytes().first();
        match word {
            "graph" if next == Some(&b'(') => {
                self.cursor.advance(word.len());
                self.enter()?;
                let graph = self.region()?;
                self.nesting -= 1;
                return Ok(Attr::Graph(Arc::new(graph)));
            }
            // Part of an expression: `n + 1`, `max(a, b)`.
            _ if matches!(next, Some(b'+' | b'-' | b'*' | b'(')) => return Ok(Attr::Dim(self.cursor.dim()?)),
            _ => {}
        }
        self.cursor.advance(word.len());
        Ok(match word {
            "true" => Attr::Bool(true),
            "false" => Attr::Bool(false),
            "inf" => Attr::Real(f64::INFINITY),
            "nan" => Attr::Real(f64::NAN),
            _ => Attr::Word(word.to_string()),
        })
    }

    /// One level deeper. Errors: too deep, so that hostile text cannot exhaust the stack.
    fn enter(&mut self) -> Result<(), Diagnostic> {
        self.nesting += 1;
        if self.nesting <= MAX_NESTING {
            return Ok(());
        }
        let at = self.cursor.position();
        Err(self.cursor.error("nesting", format!("nested deeper than {MAX_NESTING}"), (at, at), "here"))
    }
}
