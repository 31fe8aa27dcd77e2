//! Bodies of kernels: registers, labels, instructions and their operands.

use super::lexer::Token;
use super::{Item, Operand, Parsed, Parser, Statement};
use crate::types::Type;

impl Parser<'_> {
    pub(crate) fn body(&mut self) -> Parsed<Vec<Item>> {
        self.expect('{')?;
        let mut items = Vec::new();
        let mut depth = 0;
        loop {
            if self.take('{') {
                depth += 1;
                items.push(Item::Open);
                continue;
            }
            if self.take('}') {
                if depth == 0 {
                    return Ok(items);
                }
                depth -= 1;
                items.push(Item::Close);
                continue;
            }
            if self.take(';') {
                continue;
            }
            let line = self.line();
            match self.peek().clone() {
                Token::End => return self.error("the body does not end"),
                Token::Sign('@') => {
                    let statement = self.statement()?;
                    items.push(statement);
                }
                Token::Word(word) => match word.as_str() {
                    ".reg" => self.registers(&mut items)?,
                    ".shared" | ".local" | ".param" | ".const" | ".global" => {
                        items.extend(self.variables(false)?.into_iter().map(|v| Item::Variable(v, line)));
                    }
                    ".loc" | ".file" => self.skip_line(),
                    ".pragma" => {
                        while !self.take(';') {
                            if *self.peek() == Token::End {
                                return self.error("`.pragma` does not end");
                            }
                            self.next();
                        }
                    }
                    _ if word.starts_with('.') => return self.error(format!("directive `{word}` is not supported in a body")),
                    _ if self.tokens[self.at + 1].token == Token::Sign(':') => {
                        self.next();
                        self.next();
                        if self.take_word(".branchtargets") {
                            let mut labels = vec![self.word()?];
                            while self.take(',') {
                                labels.push(self.word()?);
                            }
                            self.expect(';')?;
                            items.push(Item::Targets { name: word, labels });
                        } else if self.peek_word().is_some_and(|w| w == ".callprototype" || w == ".calltargets") {
                            return self.error(format!("indirect calls are not supported: {}", self.shown()));
                        } else {
                            items.push(Item::Label(word, line));
                        }
                    }
                    _ => {
                        let statement = self.statement()?;
                        items.push(statement);
                    }
                },
                _ => return self.error(format!("expected an instruction, found {}", self.shown())),
            }
        }
    }

    fn registers(&mut self, items: &mut Vec<Item>) -> Parsed<()> {
        let line = self.line();
        self.next();
        let class = self.word()?;
        let Some(class) = class.strip_prefix('.').and_then(Type::parse).filter(|t| t.width() <= 64 && t.width() != 8) else {
            return self.error(format!("registers of type `{class}` are not supported"));
        };
        loop {
            let prefix = self.word()?;
            let count = if self.take('<') {
                let count = self.integer()?;
                self.expect('>')?;
                if !(0..=1 << 20).contains(&count) {
                    return self.error(format!("{count} registers are too many"));
                }
                Some(count as u32)
            } else {
                None
            };
            items.push(Item::Registers { class, prefix, count, line });
            if !self.take(',') {
                break;
            }
        }
        self.expect(';')
    }

    fn statement(&mut self) -> Parsed<Item> {
        let line = self.line();
        let guard = if self.take('@') {
            let negated = self.take('!');
            Some((self.word()?, negated))
        } else {
            None
        };
        let opcode = self.word()?;
        let mut operands = Vec::new();
        while !self.take(';') {
            if !operands.is_empty() && !self.take(',') {
                return self.error(format!("expected `,` or `;`, found {}", self.shown()));
            }
            let operand = self.operand()?;
            operands.push(operand);
        }
        Ok(Item::Statement(Statement { line, guard, opcode, operands }))
    }

    fn operand(&mut self) -> Parsed<Operand> {
        let first = self.simple_operand()?;
        if self.take('|') {
            let second = self.simple_operand()?;
            return Ok(Operand::Pair(Box::new(first), Box::new(second)));
        }
        Ok(first)
    }

    fn simple_operand(&mut self) -> Parsed<Operand> {
        if self.take('!') {
            return Ok(Operand::Not(Box::new(self.simple_operand()?)));
        }
        if self.take('{') {
            return Ok(Operand::Vector(self.operands_until('}')?));
        }
        if self.take('(') {
            return Ok(Operand::List(self.operands_until(')')?));
        }
        if self.take('[') {
            let base = self.operand_at_start_of_address()?;
            let mut offset = 0i64;
            while self.take('+') || *self.peek() == Token::Sign('-') {
                offset = offset.wrapping_add(self.integer()?);
            }
            let mut coordinates = Vec::new();
            if self.take(',') {
                self.expect('{')?;
                coordinates = self.operands_until('}')?;
                if self.take(',') {
                    return self.error("im2col offsets are not supported");
                }
            }
            self.expect(']')?;
            return Ok(Operand::Address { base: Box::new(base), offset, coordinates });
        }
        match self.peek().clone() {
            Token::Word(word) => {
                self.next();
                if word == "_" {
                    return Ok(Operand::Sink);
                }
                if word == "WARP_SZ" {
                    return Ok(Operand::Integer(32));
                }
                let mut offset = 0i64;
                if self.take('+') || *self.peek() == Token::Sign('-') {
                    offset = self.integer()?;
                }
                Ok(Operand::Name(word, offset))
            }
            Token::Single(bits) => {
                self.next();
                Ok(Operand::Single(bits))
            }
            Token::Double(bits) => {
                self.next();
                Ok(Operand::Double(bits))
            }
            Token::Sign('-') if matches!(self.tokens[self.at + 1].token, Token::Double(_)) => {
                self.next();
                match self.next() {
                    Token::Double(bits) => Ok(Operand::Double(bits ^ 1 << 63)),
                    _ => self.error("expected a number after `-`"),
                }
            }
            _ => Ok(Operand::Integer(self.integer()?)),
        }
    }

    fn operand_at_start_of_address(&mut self) -> Parsed<Operand> {
        match self.peek() {
            Token::Word(_) => Ok(Operand::Name(self.word()?, 0)),
            _ => Ok(Operand::Integer(self.integer()?)),
        }
    }

    fn operands_until(&mut self, close: char) -> Parsed<Vec<Operand>> {
        let mut operands = Vec::new();
        while !self.take(close) {
            if !operands.is_empty() {
                self.expect(',')?;
            }
            let operand = self.operand()?;
            operands.push(operand);
        }
        Ok(operands)
    }
}
