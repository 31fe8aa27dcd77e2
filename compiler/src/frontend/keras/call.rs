//! What a layer is called with: values of the graph among settings, by position or by name.

use super::super::model::tree::{Kind, Mistake, Node};
use kiln_ir::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Something that a layer is called with.
#[derive(Clone)]
pub enum Argument<'t> {
    /// A value of the graph.
    Value(Value),
    /// Several things.
    List(Vec<Argument<'t>>),
    /// A setting.
    Setting(&'t Node),
}

/// One call of a layer.
#[derive(Clone, Default)]
pub struct Call<'t> {
    /// By position.
    pub arguments: Vec<Argument<'t>>,
    /// By name.
    pub named: Vec<(&'t str, Argument<'t>)>,
    read: RefCell<BTreeSet<String>>,
}

impl<'t> Argument<'t> {
    fn collect(&self, out: &mut Vec<Value>) {
        match self {
            Argument::Value(value) => out.push(*value),
            Argument::List(items) => items.iter().for_each(|item| item.collect(out)),
            Argument::Setting(_) => {}
        }
    }

    /// The values in it, in order.
    pub fn values(&self) -> Vec<Value> {
        let mut out = Vec::new();
        self.collect(&mut out);
        out
    }

    /// Whether it is no more than `None`.
    pub fn is_null(&self) -> bool {
        match self {
            Argument::Value(_) => false,
            Argument::List(items) => items.iter().all(Argument::is_null),
            Argument::Setting(node) => match &node.kind {
                Kind::Null => true,
                Kind::List(items) => items.iter().all(|item| item.kind == Kind::Null),
                _ => false,
            },
        }
    }
}

impl<'t> Call<'t> {
    /// A call with values alone.
    pub fn of(values: &[Value]) -> Call<'t> {
        Call { arguments: values.iter().map(|value| Argument::Value(*value)).collect(), ..Call::default() }
    }

    /// A call from its parts.
    pub fn new(arguments: Vec<Argument<'t>>, named: Vec<(&'t str, Argument<'t>)>) -> Call<'t> {
        Call { arguments, named, read: RefCell::default() }
    }

    /// The values given by position, those in lists too.
    pub fn values(&self) -> Vec<Value> {
        self.arguments.iter().flat_map(Argument::values).collect()
    }

    /// The one value given by position. Errors: there are others.
    pub fn value(&self) -> Result<Value, Mistake> {
        match self.values()[..] {
            [value] => Ok(value),
            ref values => Err(Mistake::new(format!("it takes one value and is called with {}", values.len()))),
        }
    }

    /// What is given under a name, unless that is `None`.
    pub fn named(&self, name: &str) -> Option<&Argument<'t>> {
        self.read.borrow_mut().insert(name.to_string());
        self.named.iter().find(|(key, _)| *key == name).map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// Values given under a name; none if it is missing.
    pub fn named_values(&self, name: &str) -> Vec<Value> {
        self.named(name).map(Argument::values).unwrap_or_default()
    }

    /// A truth value given under a name, `false` if it is missing.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.named(name), Some(Argument::Setting(Node { kind: Kind::Bool(true), .. })))
    }

    /// What is given at a position or under a name, unless that is `None`.
    pub fn argument(&self, position: usize, name: &str) -> Option<&Argument<'t>> {
        let positional = self.arguments.get(position).filter(|argument| !argument.is_null());
        positional.or_else(|| self.named(name))
    }

    /// Errors: something by name that nothing has read.
    pub fn finish(&self) -> Result<(), Mistake> {
        let read = self.read.borrow();
        // What says nothing about a prediction.
        let known = |name: &str| read.contains(name) || ["training", "name"].contains(&name);
        match self.named.iter().find(|(name, value)| !known(name) && !value.is_null() && !is_false(value)) {
            None => Ok(()),
            Some((name, _)) if name.ends_with("mask") => {
                Err(Mistake::new(format!("it is called with a `{name}`; masks are not supported")))
            }
            Some((name, _)) => Err(Mistake::new(format!("it is called with `{name}`, which is not known here"))),
        }
    }
}

fn is_false(argument: &Argument) -> bool {
    matches!(argument, Argument::Setting(Node { kind: Kind::Bool(false), .. }))
}
