//! Names of a kernel: registers, variables with their places, labels.

use super::line::Decoded;
use crate::parse::lexer::error_at;
use crate::parse::{Routine, Space, Variable};
use crate::types::{Kind, Type};
use std::collections::HashMap;

/// Shared memory begins here, so that address 0 is never valid; a multiple of the largest swizzle pattern.
pub(crate) const SHARED_START: u64 = 1024;
/// Local memory begins here, for the same reason.
pub(crate) const LOCAL_START: u64 = 16;

/// Most bytes of local memory of a thread: 512 KiB, as on hardware.
const MOST_LOCAL: u64 = 512 * 1024;

/// Name, address and bytes of variables.
pub(crate) type Layout = Vec<(String, u64, u64)>;

/// The names that a body can use, and the layout of its variables.
pub(crate) struct Scope<'a> {
    pub source: &'a str,
    names: Vec<HashMap<String, (Type, u32)>>,
    places: Vec<HashMap<String, (Space, u64)>>,
    pub labels: HashMap<String, u32>,
    pub targets: HashMap<String, Vec<String>>,
    pub register_names: Vec<String>,
    pub predicate_names: Vec<String>,
    pub shared: Layout,
    pub shared_end: u64,
    pub local_end: u64,
    external: Vec<(String, u64)>,
}

impl<'a> Scope<'a> {
    /// The scope of `routine`: variables of the module, then its parameters. Gives the parameters' layout as well.
    pub(crate) fn new(source: &'a str, variables: &[Variable], routine: &Routine) -> Decoded<(Scope<'a>, Layout, u64)> {
        let mut scope = Scope {
            source,
            names: vec![HashMap::new()],
            places: vec![HashMap::new()],
            labels: HashMap::new(),
            targets: HashMap::new(),
            register_names: Vec::new(),
            predicate_names: Vec::new(),
            shared: Vec::new(),
            shared_end: SHARED_START,
            local_end: LOCAL_START,
            external: Vec::new(),
        };
        let mut globals = 0;
        for variable in variables {
            if matches!(variable.space, Space::Global | Space::Const) {
                scope.places[0].insert(variable.name.clone(), (variable.space, globals));
                globals += 1;
            } else {
                scope.declare(variable, routine.line)?;
            }
        }
        let mut params = Vec::new();
        let mut end = 0u64;
        for param in &routine.params {
            let at = end.next_multiple_of(param.align.max(1));
            scope.places[0].insert(param.name.clone(), (Space::Param, at));
            params.push((param.name.clone(), at, param.size));
            end = at + param.size;
        }
        Ok((scope, params, end))
    }

    pub(crate) fn open(&mut self) {
        self.names.push(HashMap::new());
        self.places.push(HashMap::new());
    }

    pub(crate) fn close(&mut self) {
        self.names.pop();
        self.places.pop();
    }

    pub(crate) fn declare(&mut self, variable: &Variable, line: u32) -> Decoded<()> {
        let align = variable.align.max(1);
        let address = match variable.space {
            Space::Shared if variable.external => {
                // Every `extern` array begins where static memory ends; known only when all of it was seen.
                self.external.push((variable.name.clone(), align));
                return Ok(());
            }
            Space::Shared => {
                let at = self.shared_end.next_multiple_of(align);
                self.shared_end = at + variable.size;
                self.shared.push((variable.name.clone(), at, variable.size));
                at
            }
            // Parameters of calls are memory of the thread.
            Space::Local | Space::Param => {
                let at = self.local_end.next_multiple_of(align);
                self.local_end = at + variable.size;
                if self.local_end > MOST_LOCAL {
                    return Err(error_at(self.source, line, format!("more than {MOST_LOCAL} bytes of local memory")));
                }
                at
            }
            other => {
                return Err(error_at(
                    self.source,
                    line,
                    format!("`{}`: {other:?} variables are not supported inside a body", variable.name),
                ));
            }
        };
        if let Some(places) = self.places.last_mut() {
            let space = if variable.space == Space::Param { Space::Local } else { variable.space };
            places.insert(variable.name.clone(), (space, address));
        }
        Ok(())
    }

    /// Another name for a variable.
    pub(crate) fn alias(&mut self, name: &str, target: &str, line: u32) -> Decoded<()> {
        let Some(place) = self.place(target) else {
            return Err(error_at(self.source, line, format!("`{target}` is not declared")));
        };
        if let Some(places) = self.places.last_mut() {
            places.insert(name.to_string(), place);
        }
        Ok(())
    }

    /// Gives `extern` arrays their address: after all static variables, aligned as the strictest of them.
    pub(crate) fn place_external(&mut self) {
        let align = self.external.iter().map(|(_, a)| *a).max().unwrap_or(1).max(16);
        self.shared_end = self.shared_end.next_multiple_of(align);
        for (name, _) in std::mem::take(&mut self.external) {
            self.places[0].insert(name.clone(), (Space::Shared, self.shared_end));
        }
    }

    pub(crate) fn add_registers(&mut self, class: Type, prefix: &str, count: Option<u32>) -> Result<(), String> {
        let names = match count {
            Some(count) => (0..count).map(|i| format!("{prefix}{i}")).collect(),
            None => vec![prefix.to_string()],
        };
        for name in names {
            let list = if class.kind == Kind::Predicate { &mut self.predicate_names } else { &mut self.register_names };
            let index = list.len() as u32;
            list.push(name.clone());
            if let Some(map) = self.names.last_mut()
                && map.insert(name.clone(), (class, index)).is_some()
            {
                return Err(name);
            }
        }
        Ok(())
    }

    pub(crate) fn register(&self, name: &str) -> Option<(Type, u32)> {
        self.names.iter().rev().find_map(|map| map.get(name)).copied()
    }

    pub(crate) fn place(&self, name: &str) -> Option<(Space, u64)> {
        self.places.iter().rev().find_map(|map| map.get(name)).copied()
    }
}
