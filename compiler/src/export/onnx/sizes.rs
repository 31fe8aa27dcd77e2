//! Sizes as values of the file: lists of 64-bit integers, computed from the shapes of inputs where they are open.

use super::writer::{Writer, int};
use kiln_ir::dim::Atom;
use kiln_ir::{Diagnostic, Dim};

impl Writer<'_> {
    /// Sizes as one list. Errors: `export_size` when an open one is that of no input.
    pub fn sizes(&mut self, dims: &[Dim]) -> Result<String, Diagnostic> {
        if let Some(known) = dims.iter().map(Dim::as_const).collect::<Option<Vec<i64>>>() {
            return Ok(self.integers(&known));
        }
        let mut parts = Vec::new();
        for dim in dims {
            parts.push(self.size(dim)?);
        }
        match &parts[..] {
            [only] => Ok(only.clone()),
            _ => Ok(self.node("Concat", &parts, vec![int("axis", 0)])),
        }
    }

    /// A size as a list of one. Errors: as [`Writer::sizes`].
    pub fn size(&mut self, dim: &Dim) -> Result<String, Diagnostic> {
        if let Some(known) = dim.as_const() {
            return Ok(self.integers(&[known]));
        }
        let text = dim.to_string();
        if let Some(name) = self.sizes.get(&text) {
            return Ok(name.clone());
        }
        let mut sum: Option<String> = None;
        for term in dim.terms() {
            let mut factors = Vec::new();
            if term.coefficient != 1 || term.atoms.is_empty() {
                factors.push(self.integers(&[term.coefficient]));
            }
            for atom in &term.atoms {
                factors.push(self.atom(atom)?);
            }
            let product = self.folded("Mul", factors);
            sum = Some(match sum {
                Some(sum) => self.node("Add", &[sum, product], vec![]),
                None => product,
            });
        }
        let name = sum.unwrap_or_else(|| self.integers(&[0]));
        self.sizes.insert(text, name.clone());
        Ok(name)
    }

    fn folded(&mut self, op: &str, factors: Vec<String>) -> String {
        let mut factors = factors.into_iter();
        let first = factors.next().expect("a term has a factor");
        factors.fold(first, |product, factor| self.node(op, &[product, factor], vec![]))
    }

    fn atom(&mut self, atom: &Atom) -> Result<String, Diagnostic> {
        if let Atom::Symbol(symbol) = atom {
            let found = self.symbols.get(symbol).cloned();
            let (input, axis) = found.ok_or_else(|| {
                let error = Diagnostic::new("export_size", format!("no axis of an input has the size `{}`", symbol.name()));
                error.help(format!("fix it with --dim {}=SIZE", symbol.name()))
            })?;
            return Ok(self.node("Shape", &[input], vec![int("start", axis as i64), int("end", axis as i64 + 1)]));
        }
        let (left, right) = atom.operands().expect("all others have two");
        // Division of integers truncates there, which is the same for sizes.
        let are_sizes = self.ranges.range(left).min >= 0 && self.ranges.range(right).min > 0;
        let (a, b) = (self.size(left)?, self.size(right)?);
        Ok(match atom {
            Atom::Min(..) => self.node("Min", &[a, b], vec![]),
            Atom::Max(..) => self.node("Max", &[a, b], vec![]),
            Atom::Mod(..) => self.node("Mod", &[a, b], vec![]),
            Atom::FloorDiv(..) if are_sizes => self.node("Div", &[a, b], vec![]),
            Atom::FloorDiv(..) => {
                // Of what the remainder leaves, there is nothing to truncate.
                let rest = self.node("Mod", &[a.clone(), b.clone()], vec![]);
                let whole = self.node("Sub", &[a, rest], vec![]);
                self.node("Div", &[whole, b], vec![])
            }
            Atom::Symbol(_) | Atom::Bcast(..) => {
                let one = self.integers(&[1]);
                let is_one = self.node("Equal", &[a.clone(), one], vec![]);
                self.node("Where", &[is_one, b, a], vec![])
            }
        })
    }
}
