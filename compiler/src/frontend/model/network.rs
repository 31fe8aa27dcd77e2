//! From layers to a graph: names and their scopes, sharing, repetition, groups.

use super::Model;
use super::context::{Care, Context, Parameters};
use super::layers::{NAMES, Read, read_layer};
use super::read::{read, suggest, word_and_number};
use super::tree::{Key, Kind, Mistake, Node, Span};
use crate::optim::Constraint;
use kiln_ir::graph::Parameter;
use kiln_ir::{DType, Dim, Graph, Module, Origin, TensorType, Value};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Layers that a file may stand for, repetitions counted.
const MAX_LAYERS: usize = 10_000;
/// Groups inside groups.
const MAX_DEPTH: usize = 16;
/// The size that every input has, first unless it says otherwise.
const BATCH: &str = "batch";

/// Words that mean something else in the text of programs.
const NO_SIZES: [&str; 5] = ["true", "false", "inf", "nan", "none"];

/// A model file as it was read.
pub struct File {
    head: Head,
    inputs: Vec<(Input, Span)>,
    layers: Vec<Entry>,
    outputs: Vec<(String, Span)>,
}

#[derive(Deserialize)]
struct Head {
    name: Option<String>,
    #[serde(default)]
    dtype: Floating,
    #[serde(default)]
    seed: u64,
    #[serde(rename = "input")]
    _input: Option<IgnoredAny>,
    #[serde(rename = "layer")]
    _layer: Option<IgnoredAny>,
    #[serde(rename = "outputs")]
    _outputs: Option<IgnoredAny>,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
enum Floating {
    #[default]
    F32,
    F64,
    F16,
    Bf16,
}

impl Floating {
    fn dtype(self) -> DType {
        match self {
            Floating::F32 => DType::F32,
            Floating::F64 => DType::F64,
            Floating::F16 => DType::F16,
            Floating::Bf16 => DType::BF16,
        }
    }
}

#[derive(Deserialize)]
struct Input {
    name: String,
    /// Behind the batch, unless the batch is among them; names are sizes that stay open.
    shape: Vec<Dim>,
    /// The network's, or integers.
    dtype: Option<InputType>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum InputType {
    F32,
    F64,
    F16,
    Bf16,
    I32,
    I64,
    U8,
}

impl InputType {
    fn dtype(self) -> DType {
        match self {
            InputType::F32 => DType::F32,
            InputType::F64 => DType::F64,
            InputType::F16 => DType::F16,
            InputType::Bf16 => DType::BF16,
            InputType::I32 => DType::I32,
            InputType::I64 => DType::I64,
            InputType::U8 => DType::U8,
        }
    }
}

/// One entry of a list of layers.
struct Entry {
    word: String,
    span: Span,
    name: Option<(String, Span)>,
    inputs: Option<Vec<(String, Span)>>,
    share: Option<(String, Span)>,
    repeat: usize,
    care: Care,
    body: Body,
}

enum Body {
    Layer(Read),
    Group { residual: bool, layers: Vec<Entry> },
}

/// Reads everything that needs no shapes. Errors: all that is wrong with it.
pub fn read_file(root: &Node) -> Result<File, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let head = read::<Head>(root).map_err(|mistake| vec![mistake])?;
    let Kind::Table(entries) = &root.kind else { return Err(vec![Mistake::new("expected a table").at(root.span)]) };
    let find = |name: &str| entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node);
    // It becomes part of the names of files and symbols.
    mistakes.extend(find("name").and_then(|node| checked_name(node).err()));
    let items = |name: &str, what: &str| match find(name).map(|node| (&node.kind, node.span)) {
        Some((Kind::List(items), _)) if !items.is_empty() => Ok(items.as_slice()),
        Some((_, span)) => Err(Mistake::new(format!("`{name}` lists tables, one at least, {what}")).at(span)),
        None => Err(Mistake::new(format!("`{name}` is missing: tables, {what}")).at((0, 0))),
    };
    let mut inputs = Vec::new();
    match items("input", "each with a name and a shape: [[input]]") {
        Ok(nodes) => nodes.iter().for_each(|node| match read_input(node) {
            Ok(input) => inputs.push(input),
            Err(mistake) => mistakes.push(mistake),
        }),
        Err(mistake) => mistakes.push(mistake),
    }
    let layers = match items("layer", "each with a type: [[layer]]") {
        Ok(nodes) => read_layers(nodes, 0, &mut mistakes),
        Err(mistake) => {
            mistakes.push(mistake);
            Vec::new()
        }
    };
    let outputs = find("outputs").map_or(Ok(Vec::new()), names).unwrap_or_else(|mistake| {
        mistakes.push(mistake);
        Vec::new()
    });
    if mistakes.is_empty() { Ok(File { head, inputs, layers, outputs }) } else { Err(mistakes) }
}

/// An input and where its name stands.
fn read_input(node: &Node) -> Result<(Input, Span), Mistake> {
    let input: Input = read(node)?;
    let Kind::Table(entries) = &node.kind else { return Err(Mistake::new("an input is a table").at(node.span)) };
    let value = |name: &str| entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node);
    let name = value("name").expect("what was read has a name");
    checked_name(name)?;
    for dim in &input.shape {
        let fits = dim.as_const().is_some_and(|c| c >= 0) || dim.as_symbol().is_some_and(|s| !NO_SIZES.contains(&s.name()));
        if !fits {
            let mistake = Mistake::new(format!("{dim} is no size: numbers from 0 on and names of open sizes are"));
            return Err(mistake.at(value("shape").map_or(node.span, |shape| shape.span)));
        }
    }
    Ok((input, name.span))
}

/// A name or a list of names.
fn names(node: &Node) -> Result<Vec<(String, Span)>, Mistake> {
    match &node.kind {
        Kind::Text(name) => Ok(vec![(name.clone(), node.span)]),
        Kind::List(items) => items.iter().map(|item| Ok((read(item)?, item.span))).collect(),
        _ => Err(Mistake::new("expected a name, or a list of names").at(node.span)),
    }
}

fn read_layers(nodes: &[Node], depth: usize, mistakes: &mut Vec<Mistake>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for node in nodes {
        match read_entry(node, depth, mistakes) {
            Ok(entry) => entries.push(entry),
            Err(mistake) => mistakes.push(mistake.at(node.span)),
        }
    }
    entries
}

fn read_entry(node: &Node, depth: usize, mistakes: &mut Vec<Mistake>) -> Result<Entry, Mistake> {
    let Kind::Table(entries) = &node.kind else { return Err(Mistake::new("a layer is a table with a `type`")) };
    let mut entry = Entry {
        word: String::new(),
        span: node.span,
        name: None,
        inputs: None,
        share: None,
        repeat: 1,
        care: Care::default(),
        body: Body::Group { residual: false, layers: Vec::new() },
    };
    let mut settings: Vec<(Key, Node)> = Vec::new();
    let mut inner = None;
    for (key, value) in entries {
        match key.name.as_str() {
            "type" => (entry.word, entry.span) = (read(value)?, value.span),
            "name" => entry.name = Some((checked_name(value)?, value.span)),
            "inputs" => entry.inputs = Some(names(value)?),
            "share" => entry.share = Some((read(value)?, value.span)),
            "repeat" => entry.repeat = read::<u32>(value)? as usize,
            "l1" => entry.care.penalty.l1 = factor(value)?,
            "l2" => entry.care.penalty.l2 = factor(value)?,
            "constraint" => entry.care.constraint = Some(constraint(value)?),
            "layers" => inner = Some(value),
            _ => settings.push((key.clone(), value.clone())),
        }
    }
    if !entries.iter().any(|(key, _)| key.name == "type") {
        return Err(Mistake::new("a layer needs a `type`").help(format!("one of {}", NAMES.join(", "))));
    }
    if entry.repeat == 0 {
        return Err(Mistake::new("`repeat` is at least 1").at(entry.span));
    }
    let residual = entry.word == "residual";
    if entry.care != Care::default() && (residual || entry.word == "sequence") {
        return Err(Mistake::new(format!("a `{}` has no weights of its own: `l1`, `l2` and `constraint` are its layers'", entry.word)));
    }
    entry.body = if residual || entry.word == "sequence" {
        if let Some((key, _)) = settings.first() {
            let mistake = Mistake::new(format!("nothing here is called `{}`", key.name)).at(key.span);
            return Err(suggest(mistake, &key.name, ["name", "inputs", "repeat", "layers"]));
        }
        let Some(Node { kind: Kind::List(inner), .. }) = inner else {
            return Err(Mistake::new(format!("a `{}` holds `layers`", entry.word)).at(entry.span));
        };
        if depth == MAX_DEPTH {
            return Err(Mistake::new(format!("groups lie in one another more than {MAX_DEPTH} deep")).at(entry.span));
        }
        Body::Group { residual, layers: read_layers(inner, depth + 1, mistakes) }
    } else {
        if let Some(inner) = inner {
            return Err(Mistake::new("only a `sequence` and a `residual` hold `layers`").at(inner.span));
        }
        match read_layer(&entry.word, &Node { span: entry.span, kind: Kind::Table(settings) }) {
            Some(layer) => Body::Layer(layer?),
            None => {
                let mistake = Mistake::new(format!("there is no layer of type `{}`", entry.word)).at(entry.span);
                return Err(suggest(mistake, &entry.word, NAMES.iter().copied().chain(["sequence", "residual"])));
            }
        }
    };
    Ok(entry)
}

/// A factor of a penalty.
fn factor(node: &Node) -> Result<f64, Mistake> {
    let factor: f64 = read(node)?;
    if factor >= 0.0 && factor.is_finite() {
        Ok(factor)
    } else {
        Err(Mistake::new(format!("{factor} is no factor of a penalty: numbers from 0 on are")).at(node.span))
    }
}

/// `max_norm(c)`, `unit_norm` or `non_negative`.
fn constraint(node: &Node) -> Result<Constraint, Mistake> {
    const WORDS: &[(&str, Option<f64>)] = &[("max_norm", Some(2.0)), ("unit_norm", None), ("non_negative", None)];
    let text: String = read(node)?;
    let (word, number) = word_and_number(&text, "constraint", WORDS).map_err(|mistake| mistake.at(node.span))?;
    Ok(match word {
        "max_norm" if number > 0.0 => Constraint::MaxNorm(number),
        "max_norm" => return Err(Mistake::new("a norm is at most a number above 0").at(node.span)),
        "unit_norm" => Constraint::UnitNorm,
        _ => Constraint::NonNegative,
    })
}

/// A name of letters, digits and underscores: names become those of parameters, whose parts are separated by dots.
fn checked_name(node: &Node) -> Result<String, Mistake> {
    let name: String = read(node)?;
    let fits = |ch: char| ch.is_ascii_alphanumeric() || ch == '_';
    if name.is_empty() || !name.chars().all(fits) {
        return Err(Mistake::new(format!("`{name}` is no name: letters, digits and `_` are")).at(node.span));
    }
    Ok(name)
}

/// Builds the network. Errors: the first thing that does not fit.
pub fn build(file: File, name: &str, place: &str, line_of: &dyn Fn(usize) -> usize) -> Result<Model, Mistake> {
    let dtype = file.head.dtype.dtype();
    let mut network =
        Network { graph: Graph::new(), parameters: Parameters::default(), dtype, scopes: vec![Scope::default()], built: 0, place, line_of };
    for (input, span) in &file.inputs {
        let batch = Dim::symbol(BATCH);
        let understood = (!input.shape.contains(&batch)).then_some(batch);
        let shape: Vec<Dim> = understood.iter().chain(&input.shape).cloned().collect();
        let ty = TensorType::new(input.dtype.map_or(dtype, InputType::dtype), shape);
        let value = network.graph.add_input(&input.name, ty);
        network.define(&input.name, Named { value, path: input.name.clone(), word: "input".into() }).map_err(|m| m.at(*span))?;
    }
    let first = network.scopes[0].names[&file.inputs[0].0.name].value;
    // With several inputs the first layer says what it takes.
    network.scopes[0].current = (file.inputs.len() == 1).then_some(first);
    let last = network.layers(&file.layers)?;
    if file.outputs.is_empty() {
        let name = file.layers.last().and_then(|layer| layer.name.as_ref()).map_or("output", |(name, _)| name.as_str());
        network.graph.add_output(name, last);
    }
    let mut seen = BTreeSet::new();
    for (output, span) in &file.outputs {
        if !seen.insert(output) {
            return Err(Mistake::new(format!("`{output}` is an output already")).at(*span));
        }
        let value = network.find(output).map_err(|mistake| mistake.at(*span))?.value;
        network.graph.add_output(output, value);
    }
    let mut module = Module { name: file.head.name.unwrap_or_else(|| name.to_string()), ..Module::default() };
    module.functions.insert("predict".into(), network.graph);
    let parameters: BTreeMap<String, _> = network.parameters.into_infos();
    let declared = parameters.iter().map(|(name, info)| (name.clone(), Parameter { ty: info.ty.clone(), value: None }));
    module.parameters = declared.collect();
    Ok(Model { module, parameters, seed: file.head.seed })
}

struct Network<'f> {
    graph: Graph,
    parameters: Parameters,
    dtype: DType,
    /// The list that is built, in the groups that it stands in.
    scopes: Vec<Scope>,
    built: usize,
    place: &'f str,
    line_of: &'f dyn Fn(usize) -> usize,
}

/// A list of layers while it is built.
#[derive(Default)]
struct Scope {
    /// What paths of its layers begin with.
    path: String,
    names: BTreeMap<String, Named>,
    /// How many layers without a name there are, by type.
    unnamed: BTreeMap<String, usize>,
    /// What the last layer gives.
    current: Option<Value>,
}

#[derive(Clone)]
struct Named {
    value: Value,
    path: String,
    word: String,
}

impl Network<'_> {
    fn scope(&mut self) -> &mut Scope {
        self.scopes.last_mut().expect("there is the outermost")
    }

    fn define(&mut self, name: &str, named: Named) -> Result<(), Mistake> {
        match self.scope().names.insert(name.to_string(), named) {
            None => Ok(()),
            Some(_) => Err(Mistake::new(format!("two things here are called `{name}`"))),
        }
    }

    /// The innermost thing of that name.
    fn find(&self, name: &str) -> Result<&Named, Mistake> {
        let found = self.scopes.iter().rev().find_map(|scope| scope.names.get(name));
        found.ok_or_else(|| {
            let known: Vec<&str> = self.scopes.iter().flat_map(|scope| scope.names.keys()).map(String::as_str).collect();
            suggest(Mistake::new(format!("nothing before this is called `{name}`")), name, known)
        })
    }

    /// Builds a list of layers and gives what the last of them gives.
    fn layers(&mut self, entries: &[Entry]) -> Result<Value, Mistake> {
        let mut last = self.scope().current;
        for entry in entries {
            last = Some(self.entry(entry).map_err(|mistake| mistake.at(entry.span))?);
            self.scope().current = last;
        }
        last.ok_or_else(|| Mistake::new("there is no layer"))
    }

    fn entry(&mut self, entry: &Entry) -> Result<Value, Mistake> {
        let mut x = match &entry.inputs {
            Some(names) => {
                let named = names.iter().map(|(name, span)| Ok(self.find(name).map_err(|m| m.at(*span))?.value));
                named.collect::<Result<Vec<Value>, Mistake>>()?
            }
            None => match self.scope().current {
                Some(value) => vec![value],
                None => {
                    let known: Vec<&str> = self.scopes[0].names.keys().map(String::as_str).collect();
                    let mistake = Mistake::new("there are several inputs, so the first layer says which of them it takes");
                    return Err(mistake.help(format!("inputs = one of {}", known.join(", "))));
                }
            },
        };
        let name = self.name_of(entry);
        let path = match &entry.share {
            None => joined(&self.scope().path, &name),
            Some((name, span)) => {
                let other = self.find(name).map_err(|mistake| mistake.at(*span))?;
                if other.word != entry.word {
                    let message = format!("a `{}` shares the parameters of its like, `{name}` is `{}`", entry.word, other.word);
                    return Err(Mistake::new(message).at(*span));
                }
                other.path.clone()
            }
        };
        for turn in 0..entry.repeat {
            let path = if entry.repeat == 1 { path.clone() } else { format!("{path}.{turn}") };
            x = vec![self.once(entry, &path, &x)?];
        }
        self.define(&name, Named { value: x[0], path, word: entry.word.clone() })
            .map_err(|mistake| mistake.at(entry.name.as_ref().map_or(entry.span, |(_, span)| *span)))?;
        Ok(x[0])
    }

    /// The name given, or the type with the number of layers without a name of that type.
    fn name_of(&mut self, entry: &Entry) -> String {
        if let Some((name, _)) = &entry.name {
            return name.clone();
        }
        let count = self.scope().unnamed.entry(entry.word.clone()).or_default();
        *count += 1;
        if *count == 1 { entry.word.clone() } else { format!("{}_{count}", entry.word) }
    }

    /// What a layer at that path sees.
    fn context(&mut self, entry: &Entry, path: &str) -> Context<'_> {
        let text = format!("{}:{}: {} \"{path}\"", self.place, (self.line_of)(entry.span.0), entry.word);
        let (graph, parameters) = (&mut self.graph, &mut self.parameters);
        let (path, origin) = (path.to_string(), Arc::new(Origin { text }));
        Context { graph, parameters, dtype: self.dtype, path, origin, care: entry.care }
    }

    fn once(&mut self, entry: &Entry, path: &str, x: &[Value]) -> Result<Value, Mistake> {
        self.built += 1;
        if self.built > MAX_LAYERS {
            return Err(Mistake::new(format!("the network has more than {MAX_LAYERS} layers")));
        }
        match &entry.body {
            Body::Layer(Read { layer, operands }) => {
                if !operands.contains(&x.len()) {
                    let expected = match (operands.start(), operands.end()) {
                        (a, b) if a == b => format!("{a}"),
                        (a, b) => format!("{a} to {b}"),
                    };
                    let mistake = Mistake::new(format!("`{}` takes {expected} values, it is given {}", entry.word, x.len()));
                    return Err(mistake.help("`inputs` lists what it takes"));
                }
                let y = layer.build(&mut self.context(entry, path), x)?;
                if entry.care != Care::default() && !self.parameters.has_matrix(path) {
                    let message = format!("a `{}` has no weight matrix for `l1`, `l2` or `constraint`", entry.word);
                    return Err(Mistake::new(message));
                }
                Ok(y)
            }
            Body::Group { residual, layers } => {
                let [x] = x else { return Err(Mistake::new(format!("a `{}` takes one value, it is given {}", entry.word, x.len()))) };
                self.scopes.push(Scope { path: path.to_string(), current: Some(*x), ..Scope::default() });
                let result = self.layers(layers);
                self.scopes.pop();
                let y = result?;
                if !*residual {
                    return Ok(y);
                }
                let (given, made) = (self.graph.ty(*x).clone(), self.graph.ty(y).clone());
                if !given.provably_equal(&made, &self.graph.symbols) {
                    return Err(Mistake::new(format!("a residual adds what comes in, {given}, to what its layers make of it, {made}")));
                }
                self.context(entry, path).op(kiln_ir::ops::Add {}, &[*x, y])
            }
        }
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}
