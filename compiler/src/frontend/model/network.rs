//! From layers to a graph: names and their scopes, sharing, repetition, groups.

use super::Model;
use super::context::{Care, Context, Parameters, TrainingMode};
use super::file::{Body, Entry, File, InputType};
use super::generation::{Generation, Writer};
use super::hearing::{Hearer, Hearing, hears_nothing};
use super::layers::Read;
use super::read::suggest;
use super::sequences::Sequences;
use super::states::{Purpose, States};
use super::tree::Mistake;
use crate::losses::{Penalty, weight_penalty};
use kiln_ir::artifact::Signature;
use kiln_ir::dim::Range;
use kiln_ir::graph::Parameter;
use kiln_ir::{Builder, DType, Dim, Graph, Module, Origin, Symbol, TensorType, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Layers that a file may stand for, repetitions counted.
const MAX_LAYERS: usize = 10_000;
/// The size that every input has, first unless it says otherwise.
const BATCH: &str = "batch";

/// What outputs of the function that trains begin with if they are parameters' values after the step.
pub const STATISTIC: &str = "statistic.";

/// The output of the function that trains which outputs of layers add to the loss, if they do. No output of a network is called so.
pub const ACTIVITY: &str = "activity penalty";

/// Builds the network. Errors: the first thing that does not fit.
pub fn build(file: File, name: &str, place: &str, line_of: &dyn Fn(usize) -> usize) -> Result<Model, Mistake> {
    let Built { graph: predict, parameters, .. } = function(&file, place, line_of, Mode::Predict)?;
    let training = function(&file, place, line_of, Mode::Train)?.graph;
    let writer = scores_next(&file, &predict).then(|| {
        let built = function(&file, place, line_of, Mode::Write).map_err(|mistake| mistake.told("model_writer", place))?;
        let length = if let Some(Purpose::Writing(generation)) = &built.purpose { generation.window() } else { None };
        Ok(Writer { graph: built.graph, length })
    });
    let hearer = takes_a_stream(&file).then(|| {
        let built = function(&file, place, line_of, Mode::Hear).map_err(|mistake| mistake.told("model_hearer", place))?;
        let Some(Purpose::Hearing(hearing)) = built.purpose else { return Err(hears_nothing(name)) };
        let (_, output) = built.graph.outputs()[0];
        let time = Hearing::time_axis(&built.graph.ty(output).shape).ok().flatten();
        let time = time.map(|axis| built.graph.ty(output).shape[axis].clone());
        Ok(Hearer { stream: hearing.stream(time.as_ref()), graph: built.graph })
    });
    let mut module = Module { name: file.head.name.unwrap_or_else(|| name.to_string()), ..Module::default() };
    module.functions.insert("predict".into(), predict);
    let parameters: BTreeMap<String, _> = parameters.into_infos();
    let declared = parameters.iter().map(|(name, info)| (name.clone(), Parameter { ty: info.ty.clone(), value: None }));
    module.parameters = declared.collect();
    module.metadata = file.metadata;
    super::audio::find_output(&module.functions["predict"], &mut module.metadata)?;
    Ok(Model { module, parameters, seed: file.head.seed, training, config: file.train, adapters: Vec::new(), writer, hearer })
}

/// What a function is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Predict,
    /// Training differentiates it.
    Train,
    /// It takes what is new of a text: see [`super::generation`].
    Write,
    /// It takes what is new of a stream: see [`super::hearing`].
    Hear,
}

/// A function.
struct Built {
    graph: Graph,
    parameters: Parameters,
    /// What one with states has them for.
    purpose: Option<Purpose>,
}

/// Whether a network scores the next token for each one of a text: its only output has a class for each token.
fn scores_next(file: &File, predict: &Graph) -> bool {
    let (Some(text), [_], [(_, output)]) = (&file.text, predict.inputs(), predict.outputs()) else { return false };
    let [_, _, classes] = &predict.ty(*output).shape[..] else { return false };
    classes.as_const().is_some_and(|classes| classes >= i64::from(text.size))
}

/// Whether a network takes a sound of open length and nothing else but which part of it is no padding.
fn takes_a_stream(file: &File) -> bool {
    let mut sounds = file.inputs.iter().filter_map(|(input, _)| Some((input, input.audio.as_ref()?)));
    let Some((sound, audio)) = sounds.next() else { return false };
    let is_open = sound.shape.last().is_some_and(|samples| samples.as_const().is_none());
    let is_known = |name: &String| *name == sound.name || Some(name) == audio.lengths.as_ref();
    is_open && file.inputs.iter().all(|(input, _)| is_known(&input.name))
}

/// Builds one of the functions.
fn function(file: &File, place: &str, line_of: &dyn Fn(usize) -> usize, mode: Mode) -> Result<Built, Mistake> {
    let trains = mode == Mode::Train;
    let stored = file.head.dtype.dtype();
    let precision = file.train.as_ref().and_then(|train| train.precision).filter(|_| trains);
    let dtype = precision.unwrap_or(stored);
    let mut network = Network {
        graph: Graph::new(),
        parameters: Parameters::default(),
        training: None,
        activity: None,
        sequences: Sequences::default(),
        states: None,
        dtype,
        stored,
        scopes: vec![Scope::default()],
        built: 0,
        sample_rate: file.inputs.iter().find_map(|(input, _)| Some(input.audio.as_ref()?.sample_rate)),
        place,
        line_of,
    };
    for (input, span) in &file.inputs {
        let batch = Dim::symbol(BATCH);
        let understood = (!input.shape.contains(&batch)).then_some(batch);
        let mut shape: Vec<Dim> = understood.iter().chain(&input.shape).cloned().collect();
        match (mode, shape.as_mut_slice()) {
            (Mode::Write, [_, time, ..]) => *time = Dim::symbol(Generation::NEW),
            (Mode::Hear, [_, .., time]) => *time = Dim::symbol(Hearing::NEW),
            (Mode::Hear, [batch]) => {
                // Nothing of a piece is padding.
                let mut b = Builder::new(&mut network.graph);
                let one = b.scalar(stored, 1.0);
                let value = b.broadcast_to(one, std::slice::from_ref(batch));
                network.define(&input.name, Named { value, path: input.name.clone(), word: "input".into() }).map_err(|m| m.at(*span))?;
                continue;
            }
            _ => {}
        }
        let unsaid = if input.text.is_some() { DType::I64 } else { stored };
        let ty = TensorType::new(input.dtype.map_or(unsaid, InputType::dtype), shape);
        let mut value = network.graph.add_input(&input.name, ty);
        if input.dtype.is_none() && input.text.is_none() && dtype != stored {
            value = Builder::new(&mut network.graph).cast(value, dtype);
        }
        if let Some(text) = file.text.as_ref().filter(|text| text.input == input.name) {
            network.sequences.add_tokens(value, text.clone());
        }
        network.define(&input.name, Named { value, path: input.name.clone(), word: "input".into() }).map_err(|m| m.at(*span))?;
    }
    if mode == Mode::Write {
        let start = network.graph.add_input(Signature::START, TensorType::fixed(DType::I64, &[]));
        let generation = Generation::new(start, file.text.as_ref().and_then(|text| text.length));
        network.states = Some(States::new(Purpose::Writing(generation)));
    }
    if mode == Mode::Hear {
        network.graph.add_input(Signature::END, TensorType::new(DType::F32, vec![Dim::symbol(Hearing::END)]));
        network.graph.symbols.set(Symbol::new(Hearing::END), Range { min: 0, max: 1 });
        network.states = Some(States::new(Purpose::Hearing(Hearing::default())));
    }
    if trains {
        let key = network.graph.add_input("step/key", TensorType::fixed(DType::U64, &[]));
        network.training = Some(TrainingMode::new(key));
    }
    let first = network.scopes[0].names[&file.inputs[0].0.name].value;
    // With several inputs the first layer says what it takes.
    network.scopes[0].current = (file.inputs.len() == 1).then_some(first);
    let last = network.layers(&file.layers)?;
    let (purpose, states) = network.states.take().map(States::finish).unzip();
    let states = states.unwrap_or_default();
    if mode == Mode::Write {
        let graph = network.written(file, last, states)?;
        return Ok(Built { graph, parameters: network.parameters, purpose });
    }
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
    if let Some(activity) = network.activity {
        network.graph.add_output(ACTIVITY, activity);
    }
    for (name, value) in network.training.map(|training| training.statistics).unwrap_or_default() {
        network.graph.add_output(format!("{STATISTIC}{name}"), value);
    }
    for (name, after) in states {
        network.graph.add_output(name, after);
    }
    Ok(Built { graph: network.graph, parameters: network.parameters, purpose })
}

struct Network<'f> {
    graph: Graph,
    parameters: Parameters,
    training: Option<TrainingMode>,
    /// What outputs of layers add to the loss of training.
    activity: Option<Value>,
    sequences: Sequences,
    states: Option<States>,
    dtype: DType,
    stored: DType,
    /// The list that is built, in the groups that it stands in.
    scopes: Vec<Scope>,
    built: usize,
    /// Samples of a second of sound, if an input takes sounds.
    sample_rate: Option<u32>,
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
    /// The function that writes, with its outputs: scores of the token behind the last one, then what is remembered.
    fn written(&mut self, file: &File, last: Value, states: Vec<(String, Value)>) -> Result<Graph, Mistake> {
        let scores = match file.outputs.first() {
            Some((name, _)) => self.find(name)?.value,
            None => last,
        };
        let ty = self.graph.ty(scores).clone();
        let [batch, new, classes] = &ty.shape[..] else { return Err(Mistake::new(format!("{ty} does not score the next token"))) };
        let mut b = Builder::new(&mut self.graph);
        let scores = b.slice_axis(scores, 1, &(new.clone() - Dim::ONE), &Dim::ONE);
        let scores = b.reshape(scores, &[batch.clone(), classes.clone()]);
        self.graph.add_output("scores", scores);
        for (name, after) in states {
            self.graph.add_output(name, after);
        }
        Ok(std::mem::take(&mut self.graph))
    }

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
        if let Some(states) = &self.states {
            states.check(&entry.word)?;
        }
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
            let y = self.once(entry, &path, &x)?;
            self.keep_lengths(x[0], y);
            x = vec![y];
            if entry.activity != Penalty::default() && self.training.is_some() {
                self.add_activity(x[0], entry.activity)?;
            }
        }
        self.define(&name, Named { value: x[0], path, word: entry.word.clone() })
            .map_err(|mistake| mistake.at(entry.name.as_ref().map_or(entry.span, |(_, span)| *span)))?;
        Ok(x[0])
    }

    /// Lets what a layer gives have the lengths of what it takes, if it is of the same samples and time steps.
    fn keep_lengths(&mut self, x: Value, y: Value) {
        let (from, to) = (&self.graph.ty(x).shape, &self.graph.ty(y).shape);
        if from.len() >= 2 && to.len() == from.len() && from[..2] == to[..2] {
            self.sequences.keep(x, y);
        }
    }

    /// Adds what an output of a layer costs, for each sample.
    fn add_activity(&mut self, y: Value, penalty: Penalty) -> Result<(), Mistake> {
        let ty = self.graph.ty(y).clone();
        let (Some(batch), true) = (ty.shape.first().cloned(), ty.dtype.is_float()) else {
            return Err(Mistake::new(format!("an activity of {ty} costs nothing: it is no batch of floating numbers")));
        };
        let mut b = Builder::new(&mut self.graph);
        let y = b.cast(y, if ty.dtype == DType::F64 { DType::F64 } else { DType::F32 });
        let cost = weight_penalty(&mut b, y, penalty);
        let samples = b.dims(&[batch.maximum(&Dim::ONE)]);
        let samples = b.reshape(samples, &[]);
        let samples = b.cast(samples, b.dtype(cost));
        let cost = b.div(cost, samples);
        self.activity = Some(self.activity.map_or(cost, |sum| b.add(sum, cost)));
        Ok(())
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
        let (path, origin) = (path.to_string(), Arc::new(Origin::new(text)));
        Context {
            graph,
            parameters,
            dtype: self.dtype,
            stored: self.stored,
            path,
            origin,
            care: entry.care,
            sample_rate: self.sample_rate,
            training: self.training.as_mut(),
            sequences: Some(&mut self.sequences),
            states: self.states.as_mut(),
        }
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
