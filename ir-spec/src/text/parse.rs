//! Parses modules and graphs. Mistakes are diagnostics with byte spans; after a mistake of meaning (a type, a name) parsing goes
//! on and finds the next one, after a mistake of syntax it stops. No text makes it panic, recurse deeply or take long.

use super::constants::ConstantTable;
use super::lex::{Cursor, Key, Span, Token};
use crate::diagnostic::nearest;
use crate::dim::{Range, Symbol};
use crate::graph::{Guard, Origin, Parameter, Relation};
use crate::ops::Op;
use crate::{Diagnostic, Graph, Module, TensorType, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Regions and lists inside each other.
pub(super) const MAX_NESTING: usize = 32;
/// More mistakes than this are not listed.
const MAX_ERRORS: usize = 50;

/// Parses a module. `place` is what messages and origins call the text; when it is empty, operators get no origin but what
/// `from` says. Large constants are looked up in `constants`.
///
/// Errors: every mistake found.
pub fn parse_module(place: &str, text: &str, constants: &ConstantTable) -> Result<Module, Vec<Diagnostic>> {
    let mut parser = Parser::new(place, text, constants);
    let module = parser.module();
    parser.finish(module)
}

/// Parses a single graph, `graph (%x: f32[4]) { … }`; otherwise as [`parse_module`].
pub fn parse_graph(place: &str, text: &str, constants: &ConstantTable) -> Result<Graph, Vec<Diagnostic>> {
    let mut parser = Parser::new(place, text, constants);
    let graph = parser.single_graph();
    parser.finish(graph)
}

pub(super) struct Parser<'a> {
    pub cursor: Cursor<'a>,
    pub nesting: usize,
    constants: &'a ConstantTable,
    /// Parameters of the module: they may be used without a statement, but not in regions, which are closed.
    declared: BTreeMap<String, TensorType>,
    errors: Vec<Diagnostic>,
}

/// What a name stands for.
#[derive(Clone, Copy)]
enum Local {
    Known(Value),
    /// Its definition was wrong; uses of it are not reported again.
    Unknown,
}

/// A graph under construction.
#[derive(Default)]
struct Body {
    graph: Graph,
    locals: BTreeMap<Key, Local>,
}

impl<'a> Parser<'a> {
    fn new(place: &'a str, text: &'a str, constants: &'a ConstantTable) -> Parser<'a> {
        let cursor = Cursor::new(place, text);
        Parser { cursor, nesting: 0, constants, declared: BTreeMap::new(), errors: Vec::new() }
    }

    fn finish<T>(mut self, result: Result<T, Diagnostic>) -> Result<T, Vec<Diagnostic>> {
        match result {
            Ok(value) if self.errors.is_empty() => Ok(value),
            Ok(_) => Err(self.errors),
            Err(error) => {
                self.errors.push(error);
                Err(self.errors)
            }
        }
    }

    /// Notes a mistake and goes on. Errors: there are too many.
    fn mistake(&mut self, error: Diagnostic) -> Result<(), Diagnostic> {
        if self.errors.len() + 1 >= MAX_ERRORS {
            return Err(error.help("there may be more mistakes; the others are not listed"));
        }
        self.errors.push(error);
        Ok(())
    }

    fn end_of_text(&mut self) -> Result<(), Diagnostic> {
        match self.cursor.next()? {
            (Token::End, _) => Ok(()),
            (other, span) => Err(self.cursor.unexpected("the end of the text", &other, span)),
        }
    }

    fn keyword(&mut self, word: &str) -> Result<(), Diagnostic> {
        let (token, span) = self.cursor.next()?;
        if token == Token::Word(word.into()) { Ok(()) } else { Err(self.cursor.unexpected(&format!("`{word}`"), &token, span)) }
    }

    fn single_graph(&mut self) -> Result<Graph, Diagnostic> {
        self.keyword("graph")?;
        let graph = self.graph()?;
        self.end_of_text()?;
        Ok(graph)
    }

    fn module(&mut self) -> Result<Module, Diagnostic> {
        self.keyword("module")?;
        let mut module = Module { name: self.cursor.name("the module's name")?.0, ..Module::default() };
        self.cursor.expect("{")?;
        loop {
            let (token, span) = self.cursor.next()?;
            match &token {
                Token::Mark("}") => break,
                Token::Mark(";") => {}
                Token::Word(word) if word == "metadata" => {
                    let (key, span) = self.cursor.name("a metadata key")?;
                    self.cursor.expect("=")?;
                    let text = self.cursor.text("the text of the metadata, in quotes")?;
                    if module.metadata.insert(key.clone(), text).is_some() {
                        self.mistake(self.cursor.error("duplicate", format!("metadata `{key}` stands twice"), span, "the second"))?;
                    }
                }
                Token::Word(word) if word == "parameter" => self.parameter(&mut module)?,
                Token::Word(word) if word == "fn" => {
                    let (name, span) = self.cursor.name("the function's name")?;
                    let graph = self.graph()?;
                    if module.functions.insert(name.clone(), graph).is_some() {
                        self.mistake(self.cursor.error("duplicate", format!("function `{name}` stands twice"), span, "the second"))?;
                    }
                }
                other => return Err(self.cursor.unexpected("`metadata`, `parameter`, `fn` or `}`", other, span)),
            }
        }
        self.end_of_text()?;
        Ok(module)
    }

    fn parameter(&mut self, module: &mut Module) -> Result<(), Diagnostic> {
        let (name, span) = self.cursor.name("the parameter's name")?;
        self.cursor.expect(":")?;
        let (ty, type_span) = self.cursor.tensor_type()?;
        let mut value = None;
        if self.cursor.eat("=")? {
            let typed = matches!(self.cursor.peek()?.0, Token::Word(w) if crate::DType::from_name(&w).is_some());
            let (value_type, value_span) = if typed { self.cursor.tensor_type()? } else { (ty.clone(), type_span) };
            value = Some(self.cursor.literal(&value_type, value_span, self.constants)?);
        }
        self.declared.insert(name.clone(), ty.clone());
        if module.parameters.insert(name.clone(), Parameter { ty, value }).is_some() {
            self.mistake(self.cursor.error("duplicate", format!("parameter `{name}` stands twice"), span, "the second"))?;
        }
        Ok(())
    }

    /// A region: a graph that sees nothing around it.
    pub fn region(&mut self) -> Result<Graph, Diagnostic> {
        let declared = std::mem::take(&mut self.declared);
        let graph = self.graph();
        self.declared = declared;
        graph
    }

    /// From the inputs to the closing brace.
    fn graph(&mut self) -> Result<Graph, Diagnostic> {
        let mut body = Body::default();
        self.inputs(&mut body)?;
        if self.cursor.eat_word("where")? {
            self.ranges(&mut body)?;
        }
        self.cursor.expect("{")?;
        loop {
            match self.cursor.peek()? {
                (Token::Mark(";"), _) => {
                    self.cursor.next()?;
                }
                (Token::Word(word), _) if word == "guard" => self.guard(&mut body)?,
                (Token::Word(word), _) if word == "return" => {
                    self.outputs(&mut body)?;
                    self.cursor.eat(";")?;
                    self.cursor.expect("}")?;
                    break;
                }
                (Token::Value(_), _) => self.statement(&mut body)?,
                (other, span) => return Err(self.cursor.unexpected("`%name = …`, `guard` or `return`", &other, span)),
            }
        }
        Ok(body.graph)
    }

    fn inputs(&mut self, body: &mut Body) -> Result<(), Diagnostic> {
        self.cursor.expect("(")?;
        let mut first = true;
        while !self.cursor.eat(")")? {
            if !first {
                self.cursor.expect(",")?;
            }
            first = false;
            let (token, span) = self.cursor.next()?;
            let Token::Value(key) = token else {
                return Err(self.cursor.unexpected("an input such as `%x: f32[4]`", &token, span));
            };
            self.cursor.expect(":")?;
            let (ty, _) = self.cursor.tensor_type()?;
            let value = body.graph.add_input(name_of(&key), ty);
            self.define(body, key, span, Local::Known(value))?;
        }
        Ok(())
    }

    fn ranges(&mut self, body: &mut Body) -> Result<(), Diagnostic> {
        loop {
            let (token, span) = self.cursor.next()?;
            let Token::Word(name) = token else {
                return Err(self.cursor.unexpected("a symbol such as `batch`", &token, span));
            };
            self.keyword("in")?;
            let min = self.cursor.integer()?;
            let max = if self.cursor.eat("..=")? {
                self.cursor.integer()?
            } else {
                self.cursor.expect("..")?;
                i64::MAX
            };
            if min > max {
                let span = (span.0, self.cursor.end());
                self.mistake(self.cursor.error("symbol_range", format!("no size is in {min}..={max}"), span, "empty range"))?;
            }
            body.graph.symbols.set(Symbol::new(&name), Range { min, max });
            if !self.cursor.eat(",")? {
                return Ok(());
            }
        }
    }

    fn guard(&mut self, body: &mut Body) -> Result<(), Diagnostic> {
        self.keyword("guard")?;
        let left = self.cursor.dim()?;
        let (token, span) = self.cursor.next()?;
        let relation = match &token {
            Token::Mark("=") => Relation::Equal,
            Token::Mark("<=") => Relation::AtMost,
            Token::Word(word) if word == "broadcasts" => Relation::Broadcasts,
            other => return Err(self.cursor.unexpected("`=`, `<=` or `broadcasts`", other, span)),
        };
        let right = self.cursor.dim()?;
        self.keyword("for")?;
        let why = self.cursor.text("what needs the guard, in quotes")?;
        body.graph.guards.insert(Guard { left, relation, right, why });
        Ok(())
    }

    fn outputs(&mut self, body: &mut Body) -> Result<(), Diagnostic> {
        self.keyword("return")?;
        if matches!(self.cursor.peek()?.0, Token::Mark(";" | "}")) {
            return Ok(());
        }
        loop {
            let (token, span) = self.cursor.next()?;
            let (name, local) = match token {
                Token::Value(key) => (name_of(&key), self.local(body, &key, span)?),
                Token::Word(name) | Token::Text(name) => {
                    self.cursor.expect(":")?;
                    let (token, span) = self.cursor.next()?;
                    let Token::Value(key) = token else {
                        return Err(self.cursor.unexpected("a value such as `%y`", &token, span));
                    };
                    (name, self.local(body, &key, span)?)
                }
                other => return Err(self.cursor.unexpected("an output such as `%y` or `name: %y`", &other, span)),
            };
            if let Local::Known(value) = local {
                body.graph.add_output(name, value);
            }
            if !self.cursor.eat(",")? {
                return Ok(());
            }
        }
    }

    fn define(&mut self, body: &mut Body, key: Key, span: Span, local: Local) -> Result<(), Diagnostic> {
        let message = format!("`{key}` is defined twice");
        if body.locals.insert(key, local).is_some() {
            self.mistake(self.cursor.error("duplicate", message, span, "the second definition"))?;
        }
        Ok(())
    }

    fn local(&mut self, body: &mut Body, key: &Key, span: Span) -> Result<Local, Diagnostic> {
        if let Some(local) = body.locals.get(key) {
            return Ok(*local);
        }
        if let Key::Name(name) = key
            && let Some(ty) = self.declared.get(name)
        {
            let local = Local::Known(body.graph.add_parameter(name, ty.clone()));
            body.locals.insert(key.clone(), local);
            return Ok(local);
        }
        let mut error = self.cursor.error("unknown_value", format!("no value `{key}`"), span, "not defined before this line");
        if let Key::Name(name) = key {
            let locals = body.locals.keys().filter_map(|k| if let Key::Name(n) = k { Some(n.as_str()) } else { None });
            if let Some(near) = nearest(name, locals.chain(self.declared.keys().map(String::as_str))) {
                error = error.help(format!("did you mean `{}`?", Key::Name(near.into())));
            }
        }
        self.mistake(error)?;
        body.locals.insert(key.clone(), Local::Unknown);
        Ok(Local::Unknown)
    }

    /// `%a, %b = op …`
    fn statement(&mut self, body: &mut Body) -> Result<(), Diagnostic> {
        let mut keys = Vec::new();
        loop {
            match self.cursor.next()? {
                (Token::Value(key), span) => keys.push((key, span)),
                (other, span) => return Err(self.cursor.unexpected("a name such as `%y`", &other, span)),
            }
            if !self.cursor.eat(",")? {
                break;
            }
        }
        self.cursor.expect("=")?;
        let (token, span) = self.cursor.next()?;
        let Token::Word(word) = token else {
            return Err(self.cursor.unexpected("an operator, `const` or `parameter`", &token, span));
        };
        let results = match word.as_str() {
            "const" => {
                let (ty, type_span) = self.cursor.tensor_type()?;
                let tensor = self.cursor.literal(&ty, type_span, self.constants)?;
                Some(vec![body.graph.add_constant(tensor)])
            }
            "parameter" => {
                let (name, _) = self.cursor.name("the parameter's name")?;
                self.cursor.expect(":")?;
                let (ty, _) = self.cursor.tensor_type()?;
                Some(vec![body.graph.add_parameter(&name, ty)])
            }
            _ => self.operator(body, &word, span, keys.len())?,
        };
        if let Some(results) = &results
            && results.len() != keys.len()
        {
            let message = format!("`{word}` has {} results, {} names are given", results.len(), keys.len());
            self.mistake(self.cursor.error("results", message, span, "here"))?;
        }
        for (position, (key, span)) in keys.into_iter().enumerate() {
            let local = results.as_ref().and_then(|r| r.get(position)).map_or(Local::Unknown, |v| Local::Known(*v));
            self.define(body, key, span, local)?;
        }
        Ok(())
    }

    /// An operator after its name. Nothing when it is wrong, which has been noted.
    fn operator(&mut self, body: &mut Body, name: &str, span: Span, results: usize) -> Result<Option<Vec<Value>>, Diagnostic> {
        let mut operands = Vec::new();
        if matches!(self.cursor.peek()?.0, Token::Value(_)) {
            loop {
                match self.cursor.next()? {
                    (Token::Value(key), span) => operands.push(self.local(body, &key, span)?),
                    (other, span) => return Err(self.cursor.unexpected("an operand such as `%x`", &other, span)),
                }
                if !self.cursor.eat(",")? {
                    break;
                }
            }
        }
        let mut attributes = self.attributes()?;
        let mut declared = None;
        if self.cursor.eat(":")? {
            let mut types = vec![self.cursor.tensor_type()?.0];
            while types.len() < results && self.cursor.eat(",")? {
                types.push(self.cursor.tensor_type()?.0);
            }
            declared = Some(types);
        }
        let mut origin = None;
        if self.cursor.eat_word("from")? {
            origin = Some(self.cursor.text("where it comes from, in quotes")?);
        } else if !self.cursor.place.is_empty() {
            let line = self.cursor.line(span.0);
            origin = Some(format!("{}:{line}", self.cursor.place));
        }
        let origin = origin.map(|text| Arc::new(Origin::new(text)));

        let Some(known) = Op::attribute_fields(name) else {
            let error = self.cursor.error("unknown_op", format!("no operator `{name}`"), span, "not an operator");
            let near = nearest(name, Op::NAMES.iter().copied());
            self.mistake(near.map_or(error.clone(), |near| error.help(format!("did you mean `{near}`?"))))?;
            return Ok(None);
        };
        let op = Op::from_attrs(name, &mut attributes);
        if let Some(unknown) = attributes.keys().find(|k| known.iter().all(|f| f.name != *k)) {
            let names: Vec<&str> = known.iter().map(|f| f.name).collect();
            let error = self.cursor.error("attribute", format!("`{name}` has no attribute `{unknown}`"), span, "this operator");
            self.mistake(error.help(match (nearest(unknown, names.iter().copied()), names.is_empty()) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, true) => "it has none".to_string(),
                (None, false) => format!("it has {}", names.join(", ")),
            }))?;
            return Ok(None);
        }
        let op = match op {
            Ok(op) => op,
            Err(message) => {
                self.mistake(self.cursor.error("attribute", format!("`{name}`: {message}"), span, "this operator"))?;
                return Ok(None);
            }
        };
        let known: Option<Vec<Value>> = operands.iter().map(|l| if let Local::Known(v) = l { Some(*v) } else { None }).collect();
        let Some(operands) = known else {
            return Ok(None);
        };
        match body.graph.add_declared(op, &operands, declared, origin) {
            Ok(values) => Ok(Some(values)),
            Err(e) => {
                let types: Vec<String> = operands.iter().map(|v| body.graph.ty(*v).to_string()).collect();
                let error = self.cursor.error(e.label, format!("`{name}`: {}", e.message), span, format!("on ({})", types.join(", ")));
                self.mistake(error)?;
                Ok(None)
            }
        }
    }
}

fn name_of(key: &Key) -> String {
    match key {
        Key::Number(name) | Key::Name(name) => name.clone(),
    }
}
