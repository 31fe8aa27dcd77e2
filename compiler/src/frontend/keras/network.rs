//! Models to graphs: sequences of layers, and functional models whose layers say what they are called with.

use super::super::model::STATISTIC;
use super::super::model::context::TrainingMode;
use super::super::model::tree::{Kind, Mistake, Node};
use super::call::{Argument, Call};
use super::config::{Object, Reference, element_type, reference};
use super::layer::{Import, Layer, Release};
use super::layers::{build_layer, nearest_class};
use super::masks;
use super::operations::build_operation;
use super::settings::Settings;
use kiln_ir::{DType, Dim, Origin, TensorType, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Calls of layers that a file may stand for.
const MAX_CALLS: usize = 10_000;
/// How deep models may lie in one another.
const MAX_DEPTH: usize = 16;

/// Where a layer stands.
#[derive(Clone)]
pub struct Place {
    /// See [`Layer::path`].
    pub path: String,
    /// See [`Layer::group`].
    pub group: String,
    /// See [`Layer::owners`].
    pub owners: Vec<String>,
    /// See [`Layer::dtypes`].
    pub dtypes: (DType, DType),
}

/// Builds the whole of a file: its inputs, what is made of them, its outputs. Errors: the first thing that does not fit.
pub fn build(root: &Node, import: &mut Import) -> Result<(), Mistake> {
    let object = Object::read(root)?;
    if !object.is_model() {
        let mistake = Mistake::new(format!("the file holds a {}, not a Sequential or Functional model", object.class));
        return Err(mistake.help("models of classes of one's own have no description that can be read: export them to ONNX"));
    }
    let dtypes = object.dtypes((DType::F32, DType::F32))?;
    let place = Place { path: String::new(), group: "layers".into(), owners: Vec::new(), dtypes };
    let inputs = inputs(&object, import)?;
    if import.trains {
        let key = import.graph.add_input("key", TensorType::fixed(DType::U64, &[]));
        import.training = Some(TrainingMode::new(key));
    }
    let outputs = model(import, &object, &inputs, &place)?;
    let mut names: Vec<String> = Vec::new();
    for (name, value) in outputs {
        let taken = names.iter().filter(|other| other.as_str() == name || other.starts_with(&format!("{name}_"))).count();
        let name = if names.contains(&name) { format!("{name}_{taken}") } else { name };
        import.graph.add_output(&name, value);
        names.push(name);
    }
    for (name, value) in import.training.take().map(|training| training.statistics).unwrap_or_default() {
        import.graph.add_output(format!("{STATISTIC}{name}"), value);
    }
    Ok(())
}

/// The layers of a model. Errors: an object that is none.
fn layers_of<'t>(object: &Object<'t>) -> Result<Vec<Object<'t>>, Mistake> {
    let layers = object.config.field("layers").and_then(Node::list).ok_or_else(|| Mistake::new("`layers` is no list"))?;
    layers.iter().map(Object::read).collect()
}

/// Adds the inputs of the outermost model to the graph.
fn inputs(object: &Object, import: &mut Import) -> Result<Vec<Value>, Mistake> {
    let layers = layers_of(object)?;
    let mut declared: Vec<(&str, DType, Vec<Option<usize>>)> = Vec::new();
    if object.class == "Sequential" {
        let first = layers.first().ok_or_else(|| Mistake::new("the model has no layers"))?;
        let shape = first.batch_shape()?.or(object.batch_shape()?);
        let shape = shape.ok_or_else(|| {
            Mistake::new("the model does not say what comes in").help("begin it with keras.Input(shape), or call it once before saving")
        })?;
        // A layer that comes first casts what comes in; indices keep their type.
        let user = layers.iter().find(|layer| layer.class != "InputLayer");
        let dtype = match first.class {
            _ if user.is_some_and(|layer| layer.class == "Embedding") => index_type(input_type(first)?),
            "InputLayer" => input_type(first)?,
            _ => first.dtypes((DType::F32, DType::F32))?.1,
        };
        declared.push((if first.class == "InputLayer" { first.name() } else { "input" }, dtype, shape));
    } else {
        for (_, (name, ..)) in references(object, "input_layers")? {
            let layer = layers.iter().find(|layer| layer.name() == name && layer.class == "InputLayer");
            let layer = layer.ok_or_else(|| Mistake::new(format!("the input `{name}` is no InputLayer of the model")))?;
            let shape = layer.batch_shape()?.ok_or_else(|| Mistake::new(format!("the input `{name}` has no shape")))?;
            let mut users = layers.iter().filter(|layer| layer.calls().is_ok_and(|calls| calls.iter().any(|call| mentions(call, name))));
            let dtype = input_type(layer)?;
            let index = users.clone().next().is_some() && users.all(|layer| layer.class == "Embedding");
            declared.push((name, if index { index_type(dtype) } else { dtype }, shape));
        }
    }
    let several = declared.len() > 1;
    let mut values = Vec::new();
    for (name, dtype, shape) in declared {
        let shape = open_shape(name, &shape, several);
        values.push(import.graph.add_input(name, TensorType::new(dtype, shape)));
    }
    Ok(values)
}

fn input_type(layer: &Object) -> Result<DType, Mistake> {
    for what in ["sparse", "ragged"] {
        if matches!(layer.config.field(what), Some(Node { kind: Kind::Bool(true), .. })) {
            return Err(Mistake::new(format!("the input `{}` is {what}; dense ones are supported", layer.name())));
        }
    }
    match layer.config.field("dtype").and_then(Node::text) {
        Some(name) => element_type(name),
        None => Ok(layer.dtypes((DType::F32, DType::F32))?.1),
    }
}

/// What Embedding alone looks up is whole numbers, whatever the input says: floats are what keras.Input says unless it is told.
fn index_type(dtype: DType) -> DType {
    if dtype.is_float() { DType::I32 } else { dtype }
}

/// Whether a call refers to a layer of that name.
fn mentions(node: &Node, name: &str) -> bool {
    match &node.kind {
        Kind::Text(text) => text == name,
        Kind::List(items) => items.iter().any(|item| mentions(item, name)),
        Kind::Table(entries) => entries.iter().any(|(_, value)| mentions(value, name)),
        _ => false,
    }
}

/// Sizes that stay open get names: the first is the batch, one more is the time, two or three more those of a picture.
fn open_shape(name: &str, shape: &[Option<usize>], several: bool) -> Vec<Dim> {
    let open = shape.iter().skip(1).filter(|size| size.is_none()).count();
    let words: &[&str] = match open {
        1 => &["time"],
        2 => &["height", "width"],
        3 => &["depth", "height", "width"],
        _ => &[],
    };
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let name = if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("input_{name}") };
    let mut words = words.iter();
    let size = |(axis, size): (usize, &Option<usize>)| match size {
        Some(size) => Dim::from(*size),
        None if axis == 0 => Dim::symbol("batch"),
        None => {
            let word = words.next().map_or_else(|| format!("axis{axis}"), |word| word.to_string());
            Dim::symbol(&if several { format!("{name}_{word}") } else { word })
        }
    };
    shape.iter().enumerate().map(size).collect()
}

/// References under `input_layers` or `output_layers`, with the names that a table gives them.
fn references<'t>(object: &Object<'t>, what: &str) -> Result<Vec<(Option<&'t str>, Reference<'t>)>, Mistake> {
    let node = object.config.field(what).ok_or_else(|| Mistake::new(format!("`{what}` is missing")))?;
    let found = match &node.kind {
        Kind::Table(entries) => entries.iter().map(|(key, node)| Ok((Some(key.name.as_str()), reference(node)?))).collect(),
        Kind::List(items) if items.first().is_some_and(|item| item.text().is_some()) => Ok(vec![(None, reference(node)?)]),
        Kind::List(items) => items.iter().map(|node| Ok((None, reference(node)?))).collect::<Result<Vec<_>, Mistake>>(),
        _ => Err(Mistake::new(format!("`{what}` is no list"))),
    }?;
    if found.is_empty() { Err(Mistake::new(format!("`{what}` is empty"))) } else { Ok(found) }
}

/// Calls a model; gives its outputs with their names.
pub fn model<'t>(import: &mut Import, object: &Object<'t>, x: &[Value], place: &Place) -> Result<Vec<(String, Value)>, Mistake> {
    if import.depth >= MAX_DEPTH {
        return Err(Mistake::new(format!("models lie in one another more than {MAX_DEPTH} deep")));
    }
    import.depth += 1;
    let held = matches!(object.config.field("trainable"), Some(Node { kind: Kind::Bool(false), .. }));
    import.held += usize::from(held);
    let result = if object.class == "Sequential" { sequence(import, object, x, place) } else { functional(import, object, x, place) };
    import.held -= usize::from(held);
    import.depth -= 1;
    result
}

/// Names that layers have in the weights of a model: their class, counted.
#[derive(Default)]
struct Counter(BTreeMap<String, usize>);

impl Counter {
    fn place_of(&mut self, object: &Object, model: &Place) -> Place {
        // Weights go by the class itself, configs by the name under which Keras shows it.
        let class = snake_case(match object.class {
            "Model" => "Functional",
            "GroupQueryAttention" => "GroupedQueryAttention",
            class => class,
        });
        let count = self.0.entry(class.clone()).or_default();
        let stored = if *count == 0 { class } else { format!("{class}_{count}") };
        *count += 1;
        let name = object.name();
        Place {
            path: if model.path.is_empty() { name.to_string() } else { format!("{}/{name}", model.path) },
            group: format!("{}/{stored}", model.group),
            owners: [&model.owners[..], &[name.to_string()]].concat(),
            dtypes: model.dtypes,
        }
    }
}

/// `Conv2DTranspose` → `conv2d_transpose`, as Keras does it.
pub fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut out = String::new();
    for (at, &letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| letters[at]);
        let begins_word = letters.get(at + 1).is_some_and(char::is_ascii_lowercase) || before.is_some_and(|c| c.is_ascii_lowercase());
        if letter.is_ascii_uppercase() && before.is_some_and(|c| c != '_') && begins_word {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

fn sequence<'t>(import: &mut Import, object: &Object<'t>, x: &[Value], place: &Place) -> Result<Vec<(String, Value)>, Mistake> {
    let &[mut current] = x else { return Err(Mistake::new(format!("a Sequential model takes one value, it is called with {}", x.len()))) };
    let mut counter = Counter::default();
    let mut last = object.name();
    for layer in layers_of(object)? {
        if layer.class == "InputLayer" {
            continue;
        }
        let results = apply(import, &layer, &Call::of(&[current]), &counter.place_of(&layer, place))?;
        let [result] = results[..] else {
            return Err(Mistake::new(format!("layer `{}` gives {} values, the next takes one", layer.name(), results.len())));
        };
        (current, last) = (result, layer.name());
    }
    Ok(vec![(last.to_string(), current)])
}

fn functional<'t>(import: &mut Import, object: &Object<'t>, x: &[Value], place: &Place) -> Result<Vec<(String, Value)>, Mistake> {
    let layers = layers_of(object)?;
    let input_layers = references(object, "input_layers")?;
    if input_layers.len() != x.len() {
        return Err(Mistake::new(format!("`{}` takes {} values, it is called with {}", object.name(), input_layers.len(), x.len())));
    }
    let mut results = Results { by_call: BTreeMap::new(), models: BTreeMap::new(), release: import.release };
    for layer in &layers {
        if results.models.insert(layer.name(), (layer.is_model(), layer.class)).is_some() {
            return Err(Mistake::new(format!("two layers are called `{}`", layer.name())));
        }
    }
    for ((_, (name, ..)), value) in input_layers.iter().zip(x) {
        results.by_call.insert((name, 0), vec![*value]);
    }
    let mut counter = Counter::default();
    // Layers with their places and the calls that are still to be made.
    let mut waiting: Vec<(&Object, Place, &[Node], usize)> = Vec::new();
    for layer in &layers {
        let calls = layer.calls().map_err(|mistake| of_layer(mistake, layer))?;
        let at = if layer.is_operation() { place.clone() } else { counter.place_of(layer, place) };
        waiting.push((layer, at, calls, 0));
    }
    loop {
        let mut progress = false;
        for (layer, at, calls, made) in &mut waiting {
            while let Some(node) = calls.get(*made) {
                let Some(call) = results.call(node).map_err(|mistake| of_layer(mistake, layer))? else { break };
                let values = apply(import, layer, &call, at)?;
                results.by_call.insert((layer.name(), *made), values);
                *made += 1;
                progress = true;
            }
        }
        waiting.retain(|(_, _, calls, made)| *made < calls.len());
        if waiting.is_empty() {
            break;
        }
        if !progress {
            let names: Vec<String> = waiting.iter().take(4).map(|(layer, ..)| format!("`{}`", layer.name())).collect();
            return Err(Mistake::new(format!("layers wait for one another or for others that are not there: {}", names.join(", "))));
        }
    }
    let mut outputs = Vec::new();
    for (key, (name, call, result)) in references(object, "output_layers")? {
        let one_based =
            results.models.get(name).is_some_and(|(model, class)| *model && (*class != "Sequential" || import.release == Release::Two));
        let value = results.value((name, call.saturating_sub(usize::from(one_based)), result));
        let value = value.ok_or_else(|| Mistake::new(format!("the output `{name}` is not computed by the model")))?;
        outputs.push((key.unwrap_or(name).to_string(), value));
    }
    Ok(outputs)
}

/// What calls of layers gave so far.
struct Results<'t> {
    by_call: BTreeMap<(&'t str, usize), Vec<Value>>,
    /// Whether each layer is a model, and its class.
    models: BTreeMap<&'t str, (bool, &'t str)>,
    release: Release,
}

impl<'t> Results<'t> {
    fn value(&self, (name, call, result): Reference) -> Option<Value> {
        self.by_call.get(&(name, call))?.get(result).copied()
    }

    /// Reads how a layer is called; `None` while something it takes is missing.
    fn call(&self, node: &'t Node) -> Result<Option<Call<'t>>, Mistake> {
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

/// Calls a layer, a model or an operation; gives its results.
pub fn apply<'t>(import: &mut Import, object: &Object<'t>, call: &Call<'t>, place: &Place) -> Result<Vec<Value>, Mistake> {
    import.calls += 1;
    if import.calls > MAX_CALLS {
        return Err(Mistake::new(format!("the model calls layers more than {MAX_CALLS} times")));
    }
    build_call(import, object, call, place).map_err(|mistake| of_layer(mistake, object))
}

fn build_call<'t>(import: &mut Import, object: &Object<'t>, call: &Call<'t>, place: &Place) -> Result<Vec<Value>, Mistake> {
    let dtypes = object.dtypes(place.dtypes)?;
    let place = &import.place_of_shared(object.shared(), place);
    if object.is_model() {
        let place = Place { dtypes, group: format!("{}/layers", place.group), ..place.clone() };
        let outputs = model(import, object, &call.values(), &place)?;
        call.finish()?;
        return Ok(outputs.into_iter().map(|(_, value)| value).collect());
    }
    masks::refuse(import, object.class, call)?;
    let origin = Arc::new(Origin { text: format!("{}: {} \"{}\"", import.place, object.class, object.name()) });
    let Place { path, group, owners, .. } = place.clone();
    let settings = Settings::new(object.config)?;
    let mut layer = Layer { import, class: object.class, settings, path, group, owners, dtypes, origin };
    let results = if object.is_operation() {
        build_operation(&mut layer, call)
    } else {
        let call = in_type_of_layer(&mut layer, call);
        let results = build_layer(&mut layer, &call);
        if let Some(Ok(_)) = results {
            call.finish()?;
        }
        results
    };
    let Some(results) = results else {
        let what = if object.is_operation() { "operation" } else { "class" };
        let mistake = Mistake::new(format!("the {what} `{}` is not supported", object.class));
        return Err(mistake.help(nearest_class(object.class, object.is_operation())));
    };
    let results = results?;
    layer.settings.finish()?;
    let masking = object.class == "Embedding" && layer.settings.flag("mask_zero", false)?;
    masks::follow(import, object, masking, call, &results);
    Ok(results)
}

/// Floats of other types become those that the layer computes in.
fn in_type_of_layer<'t>(layer: &mut Layer<'_, 't>, call: &Call<'t>) -> Call<'t> {
    fn turned<'t>(layer: &mut Layer<'_, 't>, argument: &Argument<'t>) -> Argument<'t> {
        match argument {
            Argument::Value(value) if layer.ty(*value).dtype.is_float() => Argument::Value(layer.cast(*value, layer.dtypes.1)),
            Argument::List(items) => Argument::List(items.iter().map(|item| turned(layer, item)).collect()),
            other => other.clone(),
        }
    }
    let arguments = call.arguments.iter().map(|argument| turned(layer, argument)).collect();
    let named = call.named.iter().map(|(name, argument)| (*name, turned(layer, argument))).collect();
    Call::new(arguments, named)
}

/// Says which layer a mistake is about, unless one inside it is named already.
fn of_layer(mistake: Mistake, object: &Object) -> Mistake {
    if mistake.message.starts_with("layer `") {
        return mistake;
    }
    let message = format!("layer `{}` ({}): {}", object.name(), object.class, mistake.message);
    Mistake { message, ..mistake }
}
