//! Text into a tree of directives and statements.

pub(crate) mod directives;
pub(crate) mod lexer;
pub(crate) mod statements;

use crate::fault::ParseError;
use crate::types::Type;
use lexer::{Placed, Token, error_at, tokens};

/// An operand as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    /// A register, label or variable, with a constant added.
    Name(String, i64),
    Integer(i64),
    Single(u32),
    Double(u64),
    Vector(Vec<Operand>),
    /// `[base + offset]`, or `[base, {coordinates}]`.
    Address {
        base: Box<Operand>,
        offset: i64,
        coordinates: Vec<Operand>,
    },
    /// `a|b`.
    Pair(Box<Operand>, Box<Operand>),
    /// `!p`.
    Not(Box<Operand>),
    /// `( … )` of a call.
    List(Vec<Operand>),
    /// `_`.
    Sink,
}

/// `@p opcode operands;`
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub line: u32,
    pub guard: Option<(String, bool)>,
    pub opcode: String,
    pub operands: Vec<Operand>,
}

/// State spaces of variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Global,
    Const,
    Shared,
    Local,
    Param,
    Generic,
}

/// A variable or parameter with its place inside its space (once laid out).
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub name: String,
    pub space: Space,
    pub element: Type,
    /// Bytes; 0 for `extern` arrays without a size.
    pub size: u64,
    pub align: u64,
    pub external: bool,
    /// Bytes given, the rest is zero; empty when none are given.
    pub initial: Vec<u8>,
    /// Addresses of other variables inside the initial bytes: offset, name, addend.
    pub pointers: Vec<(usize, String, i64)>,
}

/// A line of a body.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Label(String, u32),
    Registers {
        class: Type,
        prefix: String,
        count: Option<u32>,
        line: u32,
    },
    Variable(Variable, u32),
    Targets {
        name: String,
        labels: Vec<String>,
    },
    Statement(Statement),
    /// Another name for a variable: a parameter of an inlined function.
    Alias {
        name: String,
        target: String,
        line: u32,
    },
    /// `{` and `}` of a scope.
    Open,
    Close,
}

/// A kernel or function.
#[derive(Clone, Debug)]
pub(crate) struct Routine {
    pub name: String,
    pub line: u32,
    pub entry: bool,
    pub returns: Vec<Variable>,
    pub params: Vec<Variable>,
    pub max_threads: Option<[u32; 3]>,
    pub required_threads: Option<[u32; 3]>,
    pub cluster: u32,
    pub body: Vec<Item>,
}

/// A module as written.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub version: (u32, u32),
    pub target: String,
    pub variables: Vec<Variable>,
    pub routines: Vec<Routine>,
}

/// Reads a module.
pub(crate) fn tree(source: &str) -> Result<Tree, ParseError> {
    let mut parser = Parser { source, tokens: tokens(source)?, at: 0 };
    parser.module()
}

/// A cursor over the tokens.
pub(crate) struct Parser<'a> {
    pub source: &'a str,
    pub tokens: Vec<Placed>,
    pub at: usize,
}

pub(crate) type Parsed<T> = Result<T, ParseError>;

impl Parser<'_> {
    pub(crate) fn peek(&self) -> &Token {
        &self.tokens[self.at].token
    }

    pub(crate) fn line(&self) -> u32 {
        self.tokens[self.at].line
    }

    pub(crate) fn next(&mut self) -> Token {
        let token = self.tokens[self.at].token.clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    pub(crate) fn error<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(error_at(self.source, self.line(), message))
    }

    pub(crate) fn take(&mut self, sign: char) -> bool {
        let found = *self.peek() == Token::Sign(sign);
        if found {
            self.next();
        }
        found
    }

    pub(crate) fn expect(&mut self, sign: char) -> Parsed<()> {
        if self.take(sign) { Ok(()) } else { self.error(format!("expected `{sign}`, found {}", self.shown())) }
    }

    pub(crate) fn word(&mut self) -> Parsed<String> {
        match self.peek().clone() {
            Token::Word(word) => {
                self.next();
                Ok(word)
            }
            _ => self.error(format!("expected a name, found {}", self.shown())),
        }
    }

    pub(crate) fn peek_word(&self) -> Option<&str> {
        if let Token::Word(word) = self.peek() { Some(word) } else { None }
    }

    pub(crate) fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek_word() == Some(word);
        if found {
            self.next();
        }
        found
    }

    /// An integer constant, with its sign.
    pub(crate) fn integer(&mut self) -> Parsed<i64> {
        let negative = self.take('-');
        match self.peek() {
            Token::Integer(value) => {
                let value = *value as i64;
                self.next();
                Ok(if negative { value.wrapping_neg() } else { value })
            }
            _ => self.error(format!("expected an integer, found {}", self.shown())),
        }
    }

    pub(crate) fn shown(&self) -> String {
        match self.peek() {
            Token::Word(word) => format!("`{word}`"),
            Token::Integer(value) => format!("`{value}`"),
            Token::Single(bits) => format!("`0f{bits:08X}`"),
            Token::Double(bits) => format!("`0d{bits:016X}`"),
            Token::Text(text) => format!("\"{text}\""),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end of the text".into(),
        }
    }
}
