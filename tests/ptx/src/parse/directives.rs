//! Directives: of the module, of kernels, and declarations of variables.

use super::lexer::Token;
use super::{Parsed, Parser, Routine, Space, Tree, Variable};
use crate::exec::cluster::MOST_BLOCKS;
use crate::types::{Kind, Type};

/// Most bytes of a variable.
const MOST_BYTES: u64 = 1 << 30;

impl Parser<'_> {
    pub(crate) fn module(&mut self) -> Parsed<Tree> {
        if !self.take_word(".version") {
            return self.error("a module begins with `.version`");
        }
        let version = match self.next() {
            Token::Double(bits) => {
                let tenths = (f64::from_bits(bits) * 10.0).round() as u32;
                (tenths / 10, tenths % 10)
            }
            _ => return self.error("`.version` needs a number such as 8.0"),
        };
        let mut tree = Tree { version, target: String::new(), variables: Vec::new(), routines: Vec::new() };
        loop {
            if *self.peek() == Token::End {
                break;
            }
            let external = self.linkage();
            match self.peek_word().map(str::to_string).as_deref() {
                Some(".target") => {
                    self.next();
                    tree.target = self.word()?;
                    while self.take(',') {
                        self.word()?;
                    }
                }
                Some(".address_size") => {
                    self.next();
                    if self.integer()? != 64 {
                        return self.error("only `.address_size 64` is supported");
                    }
                }
                Some(".entry" | ".func") => {
                    if let Some(routine) = self.routine()? {
                        tree.routines.push(routine);
                    }
                }
                Some(".global" | ".const" | ".shared") => {
                    let variables = self.variables(external)?;
                    tree.variables.extend(variables);
                }
                Some(".file" | ".loc" | ".pragma") => self.skip_line(),
                Some(".section") => self.skip_section()?,
                _ => return self.error(format!("expected a directive of a module, found {}", self.shown())),
            }
        }
        if tree.target.is_empty() {
            return self.error("the module has no `.target`");
        }
        Ok(tree)
    }

    fn linkage(&mut self) -> bool {
        let mut external = false;
        while let Some(".visible" | ".extern" | ".weak" | ".common") = self.peek_word() {
            external |= self.peek_word() == Some(".extern");
            self.next();
        }
        external
    }

    /// Skips a directive that ends with its line or with `;`.
    pub(crate) fn skip_line(&mut self) {
        let line = self.line();
        while *self.peek() != Token::End && self.line() == line {
            self.next();
        }
    }

    fn skip_section(&mut self) -> Parsed<()> {
        while !matches!(self.peek(), Token::Sign('{') | Token::End) {
            self.next();
        }
        self.expect('{')?;
        while !matches!(self.peek(), Token::Sign('}') | Token::End) {
            self.next();
        }
        self.expect('}')
    }

    fn routine(&mut self) -> Parsed<Option<Routine>> {
        let line = self.line();
        let entry = self.word()? == ".entry";
        let returns = if !entry && *self.peek() == Token::Sign('(') { self.parameters()? } else { Vec::new() };
        let name = self.word()?;
        let params = if *self.peek() == Token::Sign('(') { self.parameters()? } else { Vec::new() };
        let (mut max_threads, mut required_threads, mut cluster) = (None, None, 1);
        loop {
            match self.peek_word() {
                Some(".maxntid") => {
                    self.next();
                    max_threads = Some(self.extents()?);
                }
                Some(".reqntid") => {
                    self.next();
                    required_threads = Some(self.extents()?);
                }
                Some(".minnctapersm" | ".maxnreg" | ".maxnctapersm" | ".maxclusterrank") => {
                    self.next();
                    self.integer()?;
                }
                Some(".noreturn") => {
                    self.next();
                }
                Some(".pragma") => {
                    self.next();
                    self.next();
                    self.expect(';')?;
                }
                Some(".explicitcluster") => {
                    self.next();
                }
                Some(".reqnctapercluster") => {
                    self.next();
                    let [x, y, z] = self.extents()?;
                    if !(1..=MOST_BLOCKS).contains(&x) || y * z != 1 {
                        return self.error(format!("clusters of {x} x {y} x {z} blocks are not supported: 1 to {MOST_BLOCKS} along x are"));
                    }
                    cluster = x;
                }
                _ => break,
            }
        }
        if self.take(';') {
            return Ok(None); // a declaration; its definition follows or a call of it is an error
        }
        let body = self.body()?;
        Ok(Some(Routine { name, line, entry, returns, params, max_threads, required_threads, cluster, body }))
    }

    fn extents(&mut self) -> Parsed<[u32; 3]> {
        let mut extents = [1; 3];
        for (i, extent) in extents.iter_mut().enumerate() {
            if i > 0 && !self.take(',') {
                break;
            }
            *extent = self.integer()? as u32;
        }
        Ok(extents)
    }

    fn parameters(&mut self) -> Parsed<Vec<Variable>> {
        self.expect('(')?;
        let mut params = Vec::new();
        while !self.take(')') {
            match self.peek_word() {
                Some(".param") => params.extend(self.variable_list(false)?),
                Some(".reg") => return self.error("`.reg` parameters of functions are not supported; use `.param`"),
                _ => return self.error(format!("expected `.param`, found {}", self.shown())),
            }
            if !self.take(',') && *self.peek() != Token::Sign(')') {
                return self.error(format!("expected `,` or `)`, found {}", self.shown()));
            }
        }
        Ok(params)
    }

    /// `.shared .align 16 .b8 a[64], b[4];`
    pub(crate) fn variables(&mut self, external: bool) -> Parsed<Vec<Variable>> {
        let mut found = self.variable_list(external)?;
        while self.take(',') {
            let last = found[found.len() - 1].clone();
            let next = self.declarator(last.space, last.element, last.align, external)?;
            found.push(next);
        }
        self.expect(';')?;
        Ok(found)
    }

    fn variable_list(&mut self, external: bool) -> Parsed<Vec<Variable>> {
        let space = match self.word()?.as_str() {
            ".global" => Space::Global,
            ".const" => Space::Const,
            ".shared" => Space::Shared,
            ".local" => Space::Local,
            ".param" => Space::Param,
            other => return self.error(format!("`{other}` is not a state space")),
        };
        let (mut align, mut element, mut vector) = (0, None, 1);
        loop {
            match self.peek_word() {
                Some(".align") => {
                    self.next();
                    align = self.integer()? as u64;
                }
                Some(".ptr") => {
                    self.next();
                    if let Some(".global" | ".const" | ".shared" | ".local") = self.peek_word() {
                        self.next();
                    }
                    if self.take_word(".align") {
                        self.integer()?;
                    }
                }
                Some(".v2") => {
                    self.next();
                    vector = 2;
                }
                Some(".v4") => {
                    self.next();
                    vector = 4;
                }
                Some(word) if word.starts_with('.') => match Type::parse(&word[1..]) {
                    Some(ty) if ty.kind != Kind::Predicate => {
                        element = Some(ty);
                        self.next();
                    }
                    _ => return self.error(format!("{} is not supported in a declaration", self.shown())),
                },
                _ => break,
            }
        }
        let Some(element) = element else { return self.error("the declaration has no type") };
        let mut variable = self.declarator(space, element, align, external)?;
        variable.size *= vector;
        variable.align = variable.align.max(element.bytes() * vector);
        Ok(vec![variable])
    }

    fn declarator(&mut self, space: Space, element: Type, align: u64, external: bool) -> Parsed<Variable> {
        let name = self.word()?;
        let mut size = element.bytes();
        let mut unsized_array = false;
        while self.take('[') {
            if self.take(']') {
                unsized_array = true;
            } else {
                size = size.saturating_mul(self.integer()? as u64);
                self.expect(']')?;
            }
        }
        let (mut initial, mut pointers) = (Vec::new(), Vec::new());
        if self.take('=') {
            self.initialiser(element, &mut initial, &mut pointers)?;
        }
        if unsized_array {
            size = initial.len() as u64;
            if size == 0 && !external {
                return self.error(format!("`{name}` has no size: only `.extern` arrays may be without one"));
            }
        }
        if size > MOST_BYTES || align > MOST_BYTES || !align.max(1).is_power_of_two() {
            return self
                .error(format!("`{name}` has {size} bytes aligned to {align}: at most {MOST_BYTES} and a power of two are possible"));
        }
        if initial.len() as u64 > size {
            return self.error(format!("`{name}` has {size} bytes and {} are given", initial.len()));
        }
        Ok(Variable { name, space, element, size, align: align.max(element.bytes()), external, initial, pointers })
    }

    fn initialiser(&mut self, element: Type, bytes: &mut Vec<u8>, pointers: &mut Vec<(usize, String, i64)>) -> Parsed<()> {
        if self.take('{') {
            while !self.take('}') {
                self.initialiser(element, bytes, pointers)?;
                if !self.take(',') && *self.peek() != Token::Sign('}') {
                    return self.error(format!("expected `,` or `}}`, found {}", self.shown()));
                }
            }
            return Ok(());
        }
        let width = element.bytes() as usize;
        let value = match self.peek().clone() {
            Token::Single(bits) if element == Type::F64 => f64::from(f32::from_bits(bits)).to_bits(),
            Token::Single(bits) => u64::from(bits),
            Token::Double(bits) if element == Type::F32 => u64::from((f64::from_bits(bits) as f32).to_bits()),
            Token::Double(bits) => bits,
            Token::Word(name) => {
                self.next();
                let generic = name == "generic";
                let target = if generic {
                    self.expect('(')?;
                    let target = self.word()?;
                    self.expect(')')?;
                    target
                } else {
                    name
                };
                let offset = if self.take('+') { self.integer()? } else { 0 };
                pointers.push((bytes.len(), target, offset));
                bytes.extend(vec![0; width]);
                return Ok(());
            }
            _ => {
                let value = self.integer()? as u64;
                bytes.extend(&value.to_le_bytes()[..width]);
                return Ok(());
            }
        };
        self.next();
        bytes.extend(&value.to_le_bytes()[..width]);
        Ok(())
    }
}
