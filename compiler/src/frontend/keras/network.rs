//! Models to graphs: sequences of layers, and functional models whose layers say what they are called with.

use super::super::model::STATISTIC;
use super::super::model::context::TrainingMode;
use super::super::model::tree::{Kind, Mistake, Node};
use super::call::{Argument, Call};
use super::config::Object;
use super::inputs::inputs;
use super::layer::{Import, Layer};
use super::layers::{build_layer, nearest_class};
use super::masks;
use super::operations::build_operation;
use super::results::Results;
use super::settings::Settings;
use kiln_ir::{DType, Origin, TensorType, Value};
use std::collections::{BTreeMap, BTreeSet};
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
        let key = import.graph.add_input("step/key", TensorType::fixed(DType::U64, &[]));
        import.training = Some(TrainingMode::new(key));
    }
    let outputs = model(import, &object, &inputs, &place)?;
    let mut names = BTreeSet::new();
    for (name, value) in outputs {
        // A layer may give several outputs.
        let counted = (0..).map(|n| if n == 0 { name.clone() } else { format!("{name}_{n}") }).find(|name| !names.contains(name));
        let name = counted.unwrap_or_default();
        import.graph.add_output(&name, value);
        names.insert(name);
    }
    for (name, value) in import.training.take().map(|training| training.statistics).unwrap_or_default() {
        import.graph.add_output(format!("{STATISTIC}{name}"), value);
    }
    Ok(())
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
    for layer in object.layers()? {
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
    let layers = object.layers()?;
    let input_layers = object.references("input_layers")?;
    if input_layers.len() != x.len() {
        return Err(Mistake::new(format!("`{}` takes {} values, it is called with {}", object.name(), input_layers.len(), x.len())));
    }
    let mut results = Results::new(import.release);
    for layer in &layers {
        results.declare(layer)?;
    }
    for ((_, (name, ..)), value) in input_layers.iter().zip(x) {
        results.insert(name, 0, vec![*value]);
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
                results.insert(layer.name(), *made, values);
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
    for (key, (name, call, result)) in object.references("output_layers")? {
        let value = results.output((name, call, result));
        let value = value.ok_or_else(|| Mistake::new(format!("the output `{name}` is not computed by the model")))?;
        outputs.push((key.unwrap_or(name).to_string(), value));
    }
    Ok(outputs)
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
    let named = if object.is_operation() { object.name() } else { place.path.as_str() };
    let origin = Arc::new(Origin::new(format!("{} \"{named}\"", object.class)));
    let Place { path, group, owners, .. } = place.clone();
    let settings = Settings::new(object.config)?;
    let mut layer = Layer { import, class: object.class, settings, path, group, owners, dtypes, origin, anew: false };
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
    if layer.settings.get("activity_regularizer").is_some() {
        layer.leave_out("the activity regulariser");
    }
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
