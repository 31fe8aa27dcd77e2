//! What layers of a functional model are called with: references to what earlier calls gave, as Keras 3 and as Keras 2 write them.

use super::super::model::tree::{Kind, Mistake, Node};
use super::call::{Argument, Call};
use super::config::{Object, Reference, reference};
use super::layer::Release;
use kiln_ir::Value;
use std::collections::BTreeMap;

/// What calls of the layers of one functional model gave so far.
pub struct Results<'t> {
    by_call: BTreeMap<(&'t str, usize), Vec<Value>>,
    /// Whether each layer is a model, and its class.
    models: BTreeMap<&'t str, (bool, &'t str)>,
    release: Release,
}

impl<'t> Results<'t> {
    /// Nothing yet.
    pub fn new(release: Release) -> Results<'t> {
        Results { by_call: BTreeMap::new(), models: BTreeMap::new(), release }
    }

    /// Notes that there is such a layer. Errors: another one has its name.
    pub fn declare(&mut self, layer: &Object<'t>) -> Result<(), Mistake> {
        match self.models.insert(layer.name(), (layer.is_model(), layer.class)) {
            None => Ok(()),
            Some(_) => Err(Mistake::new(format!("two layers are called `{}`", layer.name()))),
        }
    }

    /// Notes what a call gave.
    pub fn insert(&mut self, name: &'t str, call: usize, values: Vec<Value>) {
        self.by_call.insert((name, call), values);
    }

    /// A value that `output_layers` names, if it is there. Functional models count a call of their own there, the one that made them;
    /// in files of Keras 2 sequential ones do too.
    pub fn output(&self, (name, call, result): Reference) -> Option<Value> {
        let counts = |(model, class): &(bool, &str)| *model && (*class != "Sequential" || self.release == Release::Two);
        let own = usize::from(self.models.get(name).is_some_and(counts));
        self.value((name, call.saturating_sub(own), result))
    }

    fn value(&self, (name, call, result): Reference) -> Option<Value> {
        self.by_call.get(&(name, call))?.get(result).copied()
    }

    /// Reads how a layer is called; `None` while something it takes is missing.
    pub fn call(&self, node: &'t Node) -> Result<Option<Call<'t>>, Mistake> {
        match &node.kind {
            Kind::Table(_) => {
                let arguments = node.field("args").and_then(Node::list).ok_or_else(|| Mistake::new("a call has no `args`"))?;
                let named = node.field("kwargs").and_then(Node::table).unwrap_or_default();
                let arguments = arguments.iter().map(|item| self.argument(item));
                let named = named.iter().map(|(key, item)| Ok(self.argument(item)?.map(|value| (key.name.as_str(), value))));
                Ok(match (all(arguments)?, all(named)?) {
                    (Some(arguments), Some(named)) => Some(Call::new(arguments, named)),
                    _ => None,
                })
            }
            Kind::List(items) => self.old_call(items),
            _ => Err(Mistake::new("a call is neither a table nor a list")),
        }
    }

    /// Keras 3: values are objects of the class `__keras_tensor__`.
    fn argument(&self, node: &'t Node) -> Result<Option<Argument<'t>>, Mistake> {
        if node.field("class_name").and_then(Node::text) == Some("__keras_tensor__") {
            let history = node.field("config").and_then(|config| config.field("keras_history"));
            let place = reference(history.ok_or_else(|| Mistake::new("a value of a call has no `keras_history`"))?)?;
            return Ok(self.value(place).map(Argument::Value));
        }
        let items = match node.field("class_name").and_then(Node::text) {
            Some("__tuple__") => node.field("items").and_then(Node::list),
            _ => node.list(),
        };
        match items.filter(|_| mentions_value(node)) {
            Some(items) => Ok(all(items.iter().map(|item| self.argument(item)))?.map(Argument::List)),
            None => Ok(Some(Argument::Setting(node))),
        }
    }

    /// Keras 2: a list of `[layer, call, result, {settings}]`, the settings being those of the whole call.
    fn old_call(&self, items: &'t [Node]) -> Result<Option<Call<'t>>, Mistake> {
        let mut call: (Vec<Argument>, Vec<(&str, Argument)>) = Default::default();
        let one = items.first().is_some_and(|item| item.text().is_some());
        let lists: Vec<&[Node]> = if one { vec![items] } else { items.iter().map(|item| item.list().unwrap_or_default()).collect() };
        for list in lists {
            if list.first().and_then(Node::text) == Some("_CONSTANT_VALUE") {
                call.0.extend(list.get(2).map(Argument::Setting));
            } else {
                let wrong = || Mistake::new("a call lists something that is no [layer, call, result]");
                let (name, at, result) = match list.len() {
                    3.. => old_reference(list).ok_or_else(wrong)?,
                    _ => return Err(wrong()),
                };
                let Some(value) = self.old_value((name, at, result)) else { return Ok(None) };
                call.0.push(Argument::Value(value));
            }
            for (key, node) in list.get(3).and_then(Node::table).unwrap_or_default() {
                let values = node.list().filter(|_| self.mentions_old(node));
                let Some(values) = values else {
                    call.1.push((&key.name, Argument::Setting(node)));
                    continue;
                };
                let lists = if old_reference(values).is_some() { vec![values] } else { values.iter().filter_map(Node::list).collect() };
                let found = lists.iter().map(|list| old_reference(list).and_then(|place| self.old_value(place)).map(Argument::Value));
                let Some(found) = found.collect::<Option<Vec<_>>>() else { return Ok(None) };
                call.1.push((&key.name, Argument::List(found)));
            }
        }
        Ok(Some(Call::new(call.0, call.1)))
    }

    fn old_value(&self, (name, call, result): Reference) -> Option<Value> {
        // Models begin with a call of their own, the one that made them.
        let own = usize::from(self.models.get(name).is_some_and(|(model, _)| *model) && self.release == Release::Two);
        self.value((name, call.saturating_sub(own), result))
    }

    fn mentions_old(&self, node: &Node) -> bool {
        let is_value = |list: &[Node]| old_reference(list).is_some_and(|(name, ..)| self.models.contains_key(name));
        node.list().is_some_and(|list| is_value(list) || list.iter().any(|item| item.list().is_some_and(is_value)))
    }
}

fn old_reference(list: &[Node]) -> Option<Reference<'_>> {
    let position = |node: &Node| node.integer().and_then(|n| usize::try_from(n).ok());
    Some((list.first()?.text()?, position(list.get(1)?)?, position(list.get(2)?)?))
}

fn mentions_value(node: &Node) -> bool {
    match &node.kind {
        Kind::List(items) => items.iter().any(mentions_value),
        Kind::Table(entries) => match node.field("class_name").and_then(Node::text) {
            Some("__keras_tensor__") => true,
            _ => entries.iter().any(|(_, value)| mentions_value(value)),
        },
        _ => false,
    }
}

/// All of them, or `None` if one is missing.
fn all<T>(items: impl Iterator<Item = Result<Option<T>, Mistake>>) -> Result<Option<Vec<T>>, Mistake> {
    items.collect::<Result<Vec<Option<T>>, Mistake>>().map(|items| items.into_iter().collect())
}
